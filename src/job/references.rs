//! Reference tables, read again every while on a thread of their own: a slow store must not hold up a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use tracing::{info, warn};

use crate::clock::Stopwatch;
use crate::config::StoreUrl;
use crate::store::{ReferenceChange, Store, StoreError};
use crate::terms::BatchId;

use super::plan::{Plan, Reference};

/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// The thread that reads reference tables.
#[derive(Debug)]
pub(super) struct References {
    changed: Receiver<Changed>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A reference table whose rows are others than before.
struct Changed {
    table: String,
    rows: RecordBatch,
    changes: Vec<ReferenceChange>,
}

impl References {
    /// Creates the tables that are missing, reads all, and goes on reading them.
    ///
    /// Errors: the store does not answer, or has an incompatible table.
    pub(super) fn start(plan: &mut Plan, store: &mut Store) -> Result<Self, StoreError> {
        let mut known = Vec::new();
        for Reference { spec, rows } in plan.references.clone() {
            store.seed(&spec, &rows)?;
            let rows = store.reference_rows(&spec, &rows.schema())?;
            plan.set_reference(&spec.name, &rows);
            known.push(Reference { spec, rows });
        }
        let (sender, changed) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            url: plan.job.store.clone(),
            job: plan.job.name.clone(),
            every: plan.job.sql.reference_refresh,
            known,
            sender,
            stop: Arc::clone(&stop),
        };
        let thread = match reader.known.is_empty() {
            true => None,
            false => std::thread::Builder::new().name("references".to_owned()).spawn(move || reader.run()).ok(),
        };
        Ok(Self { changed, stop, thread })
    }

    /// Lets the queries see what has changed, from `batch` on; returns what that is.
    pub(super) fn take_over(&self, plan: &mut Plan, batch: BatchId) -> Vec<ReferenceChange> {
        let mut all = Vec::new();
        for Changed { table, rows, changes } in self.changed.try_iter() {
            info!(table, rows = rows.num_rows(), changed = changes.len(), %batch, "reference table changed");
            plan.set_reference(&table, &rows);
            all.extend(changes);
        }
        all
    }
}

impl Drop for References {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for reference tables panicked");
        }
    }
}

struct Reader {
    url: StoreUrl,
    job: String,
    every: Duration,
    known: Vec<Reference>,
    sender: Sender<Changed>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        let mut store: Option<Store> = None;
        let mut failing = false;
        while self.wait() {
            let read = match &mut store {
                Some(store) => self.read(store),
                None => Store::connect(&self.url, &self.job).and_then(|new| self.read(store.insert(new))),
            };
            match read {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    warn!(%error, "reference tables cannot be read; the rows of before stand");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Returns false when it is time to stop.
    fn wait(&self) -> bool {
        let waiting = Stopwatch::start();
        while waiting.elapsed() < self.every {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(waiting.left_of(self.every).min(TICK));
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn read(&mut self, store: &mut Store) -> Result<(), StoreError> {
        for Reference { spec, rows } in &mut self.known {
            let found = store.reference_rows(spec, &rows.schema())?;
            if found != *rows {
                let changes = ReferenceChange::between(spec, rows, &found);
                rows.clone_from(&found);
                // Without a listener the job is stopping.
                let _ = self.sender.send(Changed { table: spec.name.clone(), rows: found, changes });
            }
        }
        Ok(())
    }
}
