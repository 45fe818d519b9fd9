//! Which process writes for a job: the lease, who may take it, how it is renewed, and how its loss is noticed.
//!
//! ```text
//!   holder    loop ──"I am alive"──▶ thread "lease" ──renews every 2 s──▶ row in `leases` ◀──reads── others
//!                                    (a connection of its own)            (expires after 6 s, by the database's clock)
//! ```
//!
//! A thread renews, not the loop, so that a commit of two minutes keeps the lease; it stops renewing when the loop has given no
//! sign of life for [`HUNG_AFTER`]. A process that stands still, or has lost the network, renews nothing.
//!
//! A lease is taken over when its holder is no longer connected to the server (it has ended), or when it has expired and is
//! not renewed while it is watched for [`WATCHED`]. So a step of the database's clock takes no lease away: the holder
//! renews it within that time. The other way round, a lease that is not renewed for its whole length while it is watched counts
//! as expired whatever the database's clock says. Clocks of hosts are never compared.
//!
//! The lease makes the second process wait; it is the fence in the store that keeps it from writing: each commit asks for the
//! writer's name in `offsets`, and whoever takes over puts its own there first.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use wardwatch_config::{Job, StoreUrl};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::telemetry::{Panicked, join};
use wardwatch_store::{LeaseRow, Store, StoreError};

use super::error::RunError;
use super::options::Standby;
use super::retry::Retry;

/// How long a lease lasts without being renewed.
const LENGTH: Duration = Duration::from_secs(6);

/// How often it is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// An expired lease is watched for so long before it is taken over: a living holder renews it meanwhile.
const WATCHED: Duration = Duration::from_millis(2_500);

/// How often somebody else's lease is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A loop that has given no sign of life for so long is stuck for good: no single statement may take longer.
const HUNG_AFTER: Duration = Duration::from_secs(300);

/// How long a renewal may take. One that takes longer is tried again on a new connection.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(4);

/// How long to wait for the lock of somebody whose connections were ended.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);

/// The lease of a job, held by this process and renewed by a thread until it is dropped.
pub(super) struct Lease {
    holder: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the loop and the thread tell each other.
#[derive(Debug)]
struct Shared {
    stop: (Mutex<bool>, Condvar),
    alive: Mutex<Stopwatch>,
    /// Why the lease is lost.
    lost: OnceLock<String>,
}

impl Lease {
    /// Takes the job's lease, as soon as it may be taken, and becomes the writer of `store`.
    ///
    /// `None` where this was stopped while it waited. Errors: fenced, where somebody holds it and this is not to wait for that
    /// to change; the store does not answer.
    pub(super) fn take(
        store: &mut Store,
        job: &Job,
        standby: Standby,
        retry: &Retry<'_>,
    ) -> Result<Option<Self>, RunError> {
        let holder = name_of_this_process();
        retry.until_done(|| store.make_leases())?;
        let taken = if store.leases_expire() {
            take_over(store, &holder, standby, retry)?
        } else {
            wait_for_lock(store, &holder, standby, retry)?
        };
        if !taken {
            return Ok(None);
        }
        let shared = Arc::new(Shared {
            stop: (Mutex::new(false), Condvar::new()),
            alive: Mutex::new(Stopwatch::start()),
            lost: OnceLock::new(),
        });
        let renewal = Renewal {
            url: job.store.clone(),
            job: job.name.clone(),
            holder: holder.clone(),
            shared: Arc::clone(&shared),
            store: None,
        };
        let thread = store
            .leases_expire()
            .then(|| std::thread::Builder::new().name("lease".to_owned()).spawn(move || renewal.run()))
            .transpose()
            .map_err(RunError::Thread)?;
        Ok(Some(Self { holder, shared, thread }))
    }

    /// The loop is alive.
    pub(super) fn note_alive(&self) {
        *self.shared.alive.lock().unwrap_or_else(PoisonError::into_inner) = Stopwatch::start();
    }

    /// Why this process must not write any more; `None` while the lease is held and renewed.
    pub(super) fn ended(&self) -> Option<RunError> {
        if let Some(reason) = self.shared.lost.get() {
            return Some(StoreError::Fenced(reason.clone()).into());
        }
        let is_renewed = self.thread.as_ref().is_none_or(|thread| !thread.is_finished());
        // The thread says why before it ends, so the reason may have come meanwhile; what is left is a panic.
        (!is_renewed && self.shared.lost.get().is_none()).then(|| Panicked::of("lease").into())
    }

    /// Gives the lease back, so that nobody has to wait until it expires.
    pub(super) fn release(mut self, store: &mut Store) {
        self.stop();
        // The first statement on a connection that is gone only finds that out.
        let released = store.release_lease(&self.holder).or_else(|_| store.release_lease(&self.holder));
        if let Err(error) = released {
            warn!(%error, "the lease could not be given back; it expires by itself");
        }
    }

    fn stop(&mut self) {
        *self.shared.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stop.1.notify_all();
        if let Some(Err(panicked)) = self.thread.take().map(join) {
            error!(%panicked, "the lease was not renewed any more");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Host, number of the process, and a number that no other process has.
fn name_of_this_process() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    format!("{host}:{}:{:08x}", std::process::id(), rand::random::<u32>())
}

fn fenced_by(row: &LeaseRow) -> StoreError {
    StoreError::Fenced(format!(
        "another process, {}, writes for this job since {}; it goes on, this one stops (with --standby it would wait)",
        row.holder,
        row.since.format("%Y-%m-%dT%H:%M:%SZ")
    ))
}

/// What becomes of somebody else's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may be taken.
    Takable,
    /// Its holder lives.
    Alive,
    /// Nothing can be said yet.
    Unclear,
}

/// Somebody else's lease as it was seen last, and since when it has been as it is.
struct Watch {
    row: LeaseRow,
    since: Stopwatch,
    was_renewed: bool,
}

impl Watch {
    fn new(row: LeaseRow) -> Self {
        Self { row, since: Stopwatch::start(), was_renewed: false }
    }

    fn see(&mut self, row: LeaseRow) {
        if row.holder != self.row.holder {
            *self = Self::new(row);
        } else if row.renewals != self.row.renewals {
            *self = Self { was_renewed: true, ..Self::new(row) };
        } else {
            self.row = row;
        }
    }

    fn verdict(&self, is_connected: bool, standby: Standby) -> Verdict {
        let unchanged = self.since.elapsed();
        let is_expired = self.row.is_expired || unchanged >= LENGTH;
        match (is_connected, is_expired) {
            (false, true) => Verdict::Takable,
            // A server that is started again knows no connection for a moment, and who lives comes back to it. Whoever is started by
            // hand, or by a supervisor after a crash, has no time to wait for that.
            (false, false) if standby == Standby::Stop => Verdict::Takable,
            (true, true) if unchanged >= WATCHED => Verdict::Takable,
            _ if self.was_renewed => Verdict::Alive,
            _ => Verdict::Unclear,
        }
    }
}

/// Takes the lease from nobody, or from somebody who is gone. Returns whether it did; not if it was stopped.
fn take_over(store: &mut Store, holder: &str, standby: Standby, retry: &Retry<'_>) -> Result<bool, RunError> {
    let mut watch: Option<Watch> = None;
    let mut told = String::new();
    let mut mine: Option<Stopwatch> = None;
    while !(retry.stopped)() {
        match retry.until_done(|| store.lease())? {
            None => {
                retry.until_done(|| store.take_lease(holder, LENGTH, None))?;
                continue;
            }
            Some(row) if row.holder == holder => {
                let waiting = *mine.get_or_insert_with(Stopwatch::start);
                match lock(store, holder, watch.as_ref(), retry) {
                    Err(RunError::Store(StoreError::Fenced(reason))) => {
                        debug!(reason, "the lock of the writer is not free yet");
                        if standby == Standby::Stop && waiting.elapsed() >= LOCK_PATIENCE {
                            retry.until_done(|| store.release_lease(holder))?;
                            return Err(StoreError::Fenced(reason).into());
                        }
                        retry.until_done(|| store.renew_lease(holder, LENGTH))?;
                    }
                    done => return done.map(|()| true),
                }
            }
            Some(row) => {
                let watch = match &mut watch {
                    Some(watch) => {
                        watch.see(row);
                        watch
                    }
                    None => watch.insert(Watch::new(row)),
                };
                let connections = retry.until_done(|| store.connections_of(&watch.row.holder))?;
                match watch.verdict(!connections.is_empty(), standby) {
                    Verdict::Takable => {
                        info!(from = watch.row.holder, since = %watch.row.since.to_rfc3339(),
                            renewed = %watch.row.renewed.to_rfc3339(), "taking over from a process that is gone");
                        retry.until_done(|| store.take_lease(holder, LENGTH, Some(&watch.row)))?;
                        continue;
                    }
                    Verdict::Alive if standby == Standby::Stop => return Err(fenced_by(&watch.row).into()),
                    Verdict::Alive | Verdict::Unclear => {}
                }
                if standby == Standby::Wait && told != watch.row.holder {
                    info!(holder = watch.row.holder, since = %watch.row.since.to_rfc3339(), "standing by");
                    told.clone_from(&watch.row.holder);
                }
            }
        }
        std::thread::sleep(LOOK);
    }
    Ok(false)
}

/// Takes the writer's lock, which another connection may still have: of a holder that stands still, which is ended then, or of
/// one whose end the server has not noticed.
fn lock(store: &mut Store, holder: &str, gone: Option<&Watch>, retry: &Retry<'_>) -> Result<(), RunError> {
    if let Some(gone) = gone {
        let connections = retry.until_done(|| store.connections_of(&gone.row.holder))?;
        retry.until_done(|| store.end_connections(&connections))?;
    }
    retry.until_done(|| store.become_writer(holder))
}

/// Takes the lock of a SQLite file, which ends with the process that has it. Returns whether it did; not if it was stopped.
fn wait_for_lock(store: &mut Store, holder: &str, standby: Standby, retry: &Retry<'_>) -> Result<bool, RunError> {
    let mut is_told = false;
    while !(retry.stopped)() {
        match retry.until_done(|| store.become_writer(holder)) {
            Err(RunError::Store(StoreError::Fenced(reason))) => {
                let row = retry.until_done(|| store.lease())?;
                if standby == Standby::Stop {
                    return Err(row.map_or(StoreError::Fenced(reason), |row| fenced_by(&row)).into());
                }
                if !is_told {
                    info!(holder = row.map(|row| row.holder), "standing by");
                    is_told = true;
                }
            }
            Err(error) => return Err(error),
            // A row that is there is that of a process that has ended.
            Ok(()) => return retry.until_done(|| store.take_lease(holder, LENGTH, None)).map(|_| true),
        }
        std::thread::sleep(LOOK);
    }
    Ok(false)
}

/// What the thread needs.
struct Renewal {
    url: StoreUrl,
    job: String,
    holder: String,
    shared: Arc<Shared>,
    /// A connection of its own: that of the loop may be busy for minutes. Made when it is needed first.
    store: Option<Store>,
}

impl Renewal {
    fn run(mut self) {
        let mut is_hung = false;
        while self.waits() {
            let silent = self.shared.alive.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            if silent >= HUNG_AFTER {
                if !is_hung {
                    error!(
                        silent_seconds = silent.as_secs(),
                        "the loop gives no sign of life; its lease is not renewed"
                    );
                }
                is_hung = true;
                continue;
            }
            is_hung = false;
            match self.renew() {
                Ok(None) => {}
                Ok(Some(lost)) => {
                    error!(reason = lost, "the lease is lost");
                    // It is set once, here.
                    let _ = self.shared.lost.set(lost);
                    return;
                }
                Err(error) => {
                    debug!(%error, "the lease could not be renewed; it is tried again");
                    self.store = None;
                }
            }
        }
    }

    /// Waits until the next renewal is due. Returns whether there is to be one.
    fn waits(&self) -> bool {
        let (stop, wake) = &self.shared.stop;
        let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = wake.wait_timeout_while(stop, RENEWED_EVERY, |stop| !*stop);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Renews the lease; returns why it is lost, if it is.
    fn renew(&mut self) -> Result<Option<String>, StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                let mut store = Store::connect_with(&self.url, &self.job, RENEWAL_PATIENCE)?;
                store.show_renewing(&self.holder)?;
                self.store.insert(store)
            }
        };
        if store.renew_lease(&self.holder, LENGTH)? {
            return Ok(None);
        }
        Ok(Some(match store.lease()? {
            Some(row) => format!(
                "another process, {}, has taken over this job at {}; it goes on, this one stops",
                row.holder,
                row.since.format("%Y-%m-%dT%H:%M:%SZ")
            ),
            None => "somebody has removed this process's row of the table \"leases\"; this one stops".to_owned(),
        }))
    }
}
