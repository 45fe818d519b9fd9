//! Delivery: what stands in the outbox is brought to its outlets, at least once, each episode's messages in their order.
//!
//! ```text
//!                       ┌─ thread "outlet mail"  ─▶ groups what waits ─▶ SMTP          ─▶ deliveries
//!   outbox (store) ─────┼─ thread "outlet phone" ─▶ groups what waits ─▶ HTTP          ─▶ deliveries
//!                       ├─ …                          after a failure: backoff, until it is given up
//!                       └─ thread "outbox" ─▶ what nobody has taken, for the loop, which calls others
//!   memory (health) ───── threads "outage …" ─▶ that the store is away, which no outbox can tell
//! ```
//!
//! Each outlet has a thread and a connection of its own, so one that hangs delays no other, and no batch. What is
//! delivered twice, because the job was killed between the delivery and the note of it, bears the same id. Nothing here
//! decides whom to tell: that is in the outbox already.

#![cfg_attr(not(feature = "receivers"), allow(dead_code, reason = "texts for receivers that are left out"))]

mod deliver;
#[cfg(feature = "receivers")]
mod http;
mod kafka;
mod log;
#[cfg(feature = "receivers")]
mod mail;
mod message;
#[cfg(feature = "receivers")]
mod ntfy;
mod outage;
mod outbox;
#[cfg(feature = "receivers")]
mod report;
mod sink;
#[cfg(feature = "receivers")]
mod webhook;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use wardwatch_alert::Outstanding;
use wardwatch_config::{Job, Outlet, OutletKind};
use wardwatch_model::clock::Clock;
use wardwatch_model::health::Health;
use wardwatch_store::{Store, StoreError};

use deliver::Delivery;
use outage::OutageWatch;
use outbox::{Board, Watch};
use sink::{Pulse, Sink};

#[cfg(feature = "receivers")]
pub use report::{ReportLetter, mail_report};
pub use sink::Undelivered;

/// The threads that deliver. They end, after a last look, when this is dropped.
#[derive(Debug)]
pub struct Notifier {
    threads: Vec<(SyncSender<()>, JoinHandle<()>)>,
    pulse: Pulse,
    board: Board,
}

impl Notifier {
    /// Starts a thread for each outlet of the job; what waits from before is delivered at once. While `health` says that the
    /// store is away, those who are told of technical alerts are told of that.
    ///
    /// # Errors
    /// The store does not answer, or the operating system has no thread to give.
    pub fn start(job: &Job, store: &mut Store, health: &Health, clock: &Arc<dyn Clock>) -> Result<Self, StoreError> {
        let names: Vec<&str> = job.notify.iter().map(|outlet| outlet.name.as_str()).collect();
        let given_up = store.give_up_all_but(&names, clock.now())?;
        if given_up > 0 {
            tracing::warn!(notifications = given_up, "given up: the job no longer has their outlets");
        }
        let pulse = Pulse::default();
        let board = Board::default();
        let mut threads = Vec::new();
        let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name)
                .spawn(work)
                .map_err(|error| StoreError::Refused(format!("a thread for notifications cannot be started: {error}")))
        };
        if job.notify.iter().any(|outlet| outlet.kind.reaches_people()) {
            let (bell, rings) = sync_channel(1);
            let watch = Watch::new(job, Arc::clone(clock), rings, board.clone());
            threads.push((bell, spawn("outbox".to_owned(), Box::new(move || watch.run()))?));
        }
        for outlet in &job.notify {
            let (bell, rings) = sync_channel(1);
            let delivery = Delivery::new(outlet, sink(outlet, job, &pulse)?, job, Arc::clone(clock), rings);
            threads.push((bell, spawn(format!("outlet {}", outlet.name), Box::new(move || delivery.run()))?));
        }
        // Threads of their own: an outlet's waits for the store.
        for outlet in job.notify.iter().filter(|outlet| outage::is_told(outlet)) {
            let (bell, rings) = sync_channel(1);
            let watch = OutageWatch::new(outlet, sink(outlet, job, &pulse)?, job, health, Arc::clone(clock), rings);
            threads.push((bell, spawn(format!("outage {}", outlet.name), Box::new(move || watch.run()))?));
        }
        Ok(Self { threads, pulse, board })
    }

    /// Says that there is something new in the outbox.
    pub fn wake(&self) {
        for (bell, _) in &self.threads {
            let _ = bell.try_send(()); // one that rings already will look anyway
        }
    }

    /// What nobody had taken when the outbox was looked into last, which takes no time.
    pub fn outstanding(&self) -> Arc<Outstanding> {
        self.board.newest()
    }

    /// Says that the job is well: a batch was committed, or nothing had to be, and both Kafka and the store have answered.
    /// Without it, heartbeats cease.
    pub fn beat(&self) {
        self.pulse.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for (bell, thread) in self.threads.drain(..) {
            drop(bell);
            if thread.join().is_err() {
                tracing::error!("the thread of an outlet panicked");
            }
        }
    }
}

/// How an outlet is spoken to.
///
/// Errors: this program was built without what it takes.
#[cfg_attr(not(feature = "receivers"), expect(unused_variables, reason = "only heartbeats have a pulse"))]
fn sink(outlet: &Outlet, job: &Job, pulse: &Pulse) -> Result<Box<dyn Sink>, StoreError> {
    Ok(match &outlet.kind {
        OutletKind::Kafka { topic } => Box::new(kafka::Records::new(outlet, &job.source, topic)),
        OutletKind::Log => Box::new(log::Log::new(outlet)),
        #[cfg(feature = "receivers")]
        OutletKind::Webhook { .. } => Box::new(webhook::Webhook::new(outlet)),
        #[cfg(feature = "receivers")]
        OutletKind::Alertmanager { .. } => Box::new(webhook::Alertmanager::new(outlet)),
        #[cfg(feature = "receivers")]
        OutletKind::Email { .. } => Box::new(mail::Mail::new(outlet, &job.name)),
        #[cfg(feature = "receivers")]
        OutletKind::Ntfy { .. } => Box::new(ntfy::Ntfy::new(outlet)),
        #[cfg(feature = "receivers")]
        OutletKind::Heartbeat { .. } => Box::new(http::Heartbeat::new(outlet, pulse.clone())),
        #[cfg(not(feature = "receivers"))]
        kind => {
            let (name, kind) = (&outlet.name, kind.name());
            let message =
                format!("this program was built without what [[notify]] \"{name}\" takes, {kind}: feature \"notify\"");
            return Err(StoreError::Refused(message));
        }
    })
}
