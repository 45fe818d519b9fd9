//! Committing until it is done: what passes is tried again, what is one query's fault is left out.

use std::time::Duration;

use tracing::{error, info, warn};

use crate::clock::Stopwatch;
use crate::store::{Commit, Store, StoreError};

/// The pauses between two tries grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Somebody is told about a stalled store this often.
const REMIND: Duration = Duration::from_secs(30);

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Committed {
    /// It is in the store.
    Done,
    /// It is not: one table does not take its rows.
    TableAtFault {
        /// The table, and so the query.
        table: String,
        /// What the database says.
        reason: String,
    },
}

/// Commits, trying again until it is done or `stopped` says to give up.
///
/// Errors: fenced, or given up; nothing of the batch is in the store then.
pub(super) fn commit(
    store: &mut Store,
    commit: &Commit<'_>,
    stopped: &dyn Fn() -> bool,
) -> Result<Committed, StoreError> {
    let is_result = |table: &str| commit.tables.iter().any(|rows| rows.spec.name == table);
    until_done(stopped, || match store.commit(commit) {
        Ok(()) => Ok(Committed::Done),
        Err(StoreError::Table { table, reason }) if is_result(&table) => Ok(Committed::TableAtFault { table, reason }),
        Err(error) => Err(error),
    })
}

/// Does what the store must do, however long it takes; only a fence and `stopped` end it.
///
/// A wrong password, or a table of ours that somebody is changing, is waited for too: the batch is safe in Kafka
/// meanwhile, and its queries would have to run again.
pub(super) fn until_done<T>(
    stopped: &dyn Fn() -> bool,
    mut work: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut pause = Duration::from_millis(50);
    let mut stalled: Option<Stopwatch> = None;
    let mut reminded = Stopwatch::start();
    loop {
        let trouble = match work() {
            Ok(done) => {
                if let Some(since) = stalled {
                    info!(stalled_seconds = since.elapsed().as_secs_f64(), "the store is back");
                }
                return Ok(done);
            }
            Err(fenced @ StoreError::Fenced(_)) => return Err(fenced),
            Err(trouble) => trouble,
        };
        if stopped() {
            return Err(StoreError::Unavailable(trouble.to_string()));
        }
        match &stalled {
            None => {
                warn!(error = %trouble, "the store does not take the batch; trying again until it does");
                stalled = Some(Stopwatch::start());
            }
            Some(since) if reminded.elapsed() >= REMIND => {
                error!(error = %trouble, stalled_seconds = since.elapsed().as_secs(), "the store is stalled");
                reminded = Stopwatch::start();
            }
            Some(_) => {}
        }
        wait(pause, stopped);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn wait(pause: Duration, stopped: &dyn Fn() -> bool) {
    let waiting = Stopwatch::start();
    while waiting.elapsed() < pause && !stopped() {
        std::thread::sleep(waiting.left_of(pause).min(Duration::from_millis(20)));
    }
}
