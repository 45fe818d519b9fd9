//! One outlet's thread: looks into the outbox, delivers in order, backs off, gives up, and puts down every attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use tracing::{error, info, warn};

use wardwatch_config::{Job, Outlet, StoreUrl};
use wardwatch_model::clock::{Clock, Stopwatch};
use wardwatch_model::telemetry::caught;
use wardwatch_store::{Attempt, Outcome, Store, StoreError, Waiting};

use super::message::{Message, Texts};
use super::sink::{MaintainFault, Sink, Undelivered};

/// The outbox is looked into this often without being asked to: a batch that was written while the bell was lost.
const LOOK: Duration = Duration::from_secs(30);

/// How many notifications are read at once.
const MOST: usize = 1_000;

/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What a thread works with.
pub(super) struct Delivery {
    outlet: Outlet,
    sink: Box<dyn Sink>,
    texts: Texts,
    url: StoreUrl,
    job: String,
    clock: Arc<dyn Clock>,
    rings: Receiver<()>,
    store: Option<Store>,
    /// While nobody answers.
    backoff: Option<Backoff>,
    /// Episodes of which the receiver refused a message; the messages behind it wait.
    held: BTreeMap<String, Backoff>,
    tended: Option<Stopwatch>,
    is_told: Complaints,
}

/// What somebody has been told of already.
#[derive(Debug, Default)]
struct Complaints {
    store: bool,
    tending: bool,
}

impl Delivery {
    pub(super) fn new(
        outlet: &Outlet,
        sink: Box<dyn Sink>,
        job: &Job,
        clock: Arc<dyn Clock>,
        rings: Receiver<()>,
    ) -> Self {
        Self {
            texts: Texts::of(outlet),
            outlet: outlet.clone(),
            sink,
            url: job.store.clone(),
            job: job.name.clone(),
            clock,
            rings,
            store: None,
            backoff: None,
            held: BTreeMap::new(),
            tended: None,
            is_told: Complaints::default(),
        }
    }

    /// Delivers until nobody is left to ring; then once more.
    pub(super) fn run(mut self) {
        loop {
            self.turn();
            match self.rings.recv_timeout(self.patience()) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.turn();
    }

    fn turn(&mut self) {
        let Ok(worked) = caught(|| self.work()) else {
            // What is to be delivered is in the outbox; it is looked at again with a new connection, after a while.
            self.store = None;
            self.backoff.get_or_insert_default().grow(self.outlet.longest_backoff);
            return;
        };
        match worked {
            Ok(()) => self.is_told.store = false,
            Err(error) => {
                self.store = None;
                if !std::mem::replace(&mut self.is_told.store, true) {
                    warn!(outlet = self.outlet.name, %error, "the outbox cannot be read; trying again");
                }
            }
        }
    }

    /// How long there is nothing to do, as far as is known.
    fn patience(&self) -> Duration {
        let tend = self.sink.maintain_every().map(|every| match self.tended {
            Some(tended) => tended.left_of(every),
            None => Duration::ZERO,
        });
        let retry = self.backoff.iter().chain(self.held.values()).map(Backoff::left).min();
        let store = self.store.is_none().then(|| Duration::from_secs(1));
        [Some(LOOK), tend, retry, store].into_iter().flatten().min().unwrap_or(LOOK).max(Duration::from_millis(5))
    }

    fn work(&mut self) -> Result<(), StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::connect(&self.url, &self.job)?,
        };
        self.maintain(&mut store)?;
        while self.backoff.as_ref().is_none_or(Backoff::is_over) {
            let waiting = store.waiting(&self.outlet.name, MOST)?;
            let is_all = waiting.len() < MOST;
            let held: BTreeSet<&String> =
                self.held.iter().filter(|(_, backoff)| !backoff.is_over()).map(|(episode, _)| episode).collect();
            let due: Vec<Waiting> =
                waiting.into_iter().filter(|waiting| !held.contains(&waiting.notification.facts.episode)).collect();
            let most = self.sink.max_batch();
            let mut is_open = true;
            for group in due.chunks(most) {
                is_open = self.deliver(&mut store, group)?;
                if !is_open {
                    break;
                }
            }
            if is_all || !is_open || due.is_empty() {
                break;
            }
        }
        self.store = Some(store);
        Ok(())
    }

    fn maintain(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let Some(every) = self.sink.maintain_every() else { return Ok(()) };
        if self.tended.is_some_and(|tended| !tended.left_of(every).is_zero()) {
            return Ok(());
        }
        self.tended = Some(Stopwatch::start());
        match self.sink.maintain(store, self.clock.now()) {
            Ok(()) => self.is_told.tending = false,
            Err(MaintainFault::Store(error)) => return Err(error),
            Err(MaintainFault::Receiver(reason)) => {
                if !std::mem::replace(&mut self.is_told.tending, true) {
                    warn!(outlet = self.outlet.name, reason, "the outlet does not answer");
                }
            }
        }
        Ok(())
    }

    /// Delivers a group. Returns whether the receiver is there.
    fn deliver(&mut self, store: &mut Store, group: &[Waiting]) -> Result<bool, StoreError> {
        match self.attempt(store, group)? {
            Ok(()) => Ok(true),
            Err(Undelivered::Later(_)) => Ok(false),
            Err(Undelivered::Refused(_)) if group.len() == 1 => {
                self.hold(&group[0]);
                Ok(true)
            }
            Err(Undelivered::Refused(_)) => self.deliver_singly(store, group),
        }
    }

    /// One message that the receiver does not take must not keep others from it.
    fn deliver_singly(&mut self, store: &mut Store, group: &[Waiting]) -> Result<bool, StoreError> {
        for waiting in group {
            let again = Waiting { attempts: waiting.attempts + 1, ..waiting.clone() };
            if self.held.get(&again.notification.facts.episode).is_some_and(|backoff| !backoff.is_over()) {
                continue;
            }
            match self.attempt(store, std::slice::from_ref(&again))? {
                Ok(()) => {}
                Err(Undelivered::Refused(_)) => self.hold(&again),
                Err(Undelivered::Later(_)) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn hold(&mut self, refused: &Waiting) {
        let longest = self.outlet.longest_backoff;
        let held = self.held.entry(refused.notification.facts.episode.clone()).or_default();
        held.grow(longest);
    }

    /// Tells the receiver once, and puts down how it went.
    fn attempt(&mut self, store: &mut Store, group: &[Waiting]) -> Result<Result<(), Undelivered>, StoreError> {
        let messages: Vec<Message> =
            group.iter().map(|waiting| self.texts.message(waiting.notification.clone())).collect();
        let (at, running) = (self.clock.now(), Stopwatch::start());
        // A message that the sink cannot bear is like one that its receiver does not take: the others are delivered.
        let told = caught(|| self.sink.send(&messages, at))
            .unwrap_or_else(|_| Err(Undelivered::Refused("wardwatch panicked over it; the log says where".to_owned())));
        let took = running.elapsed();
        let attempts: Vec<Attempt> = group
            .iter()
            .map(|waiting| Attempt {
                notification: waiting.notification.id.clone(),
                number: waiting.attempts + 1,
                at,
                took,
                outcome: self.outcome(waiting, &told, at),
            })
            .collect();
        self.note(&told, group);
        store.record_attempts(&self.outlet.name, &attempts)?;
        Ok(told)
    }

    fn outcome(&self, waiting: &Waiting, told: &Result<(), Undelivered>, at: DateTime<Utc>) -> Outcome {
        let reason = match told {
            Ok(()) => return Outcome::Delivered,
            Err(Undelivered::Later(reason) | Undelivered::Refused(reason)) => reason.clone(),
        };
        let long_enough = TimeDelta::from_std(self.outlet.give_up_after).unwrap_or(TimeDelta::MAX);
        if at - waiting.written_at < long_enough {
            return Outcome::Failed(reason);
        }
        error!(outlet = self.outlet.name, notification = waiting.notification.id, reason, "given up");
        Outcome::GivenUp(reason)
    }

    /// Remembers whether somebody answers, and says so once.
    fn note(&mut self, told: &Result<(), Undelivered>, group: &[Waiting]) {
        match told {
            Ok(()) => {
                if let Some(backoff) = self.backoff.take() {
                    let seconds = backoff.since.elapsed().as_secs_f64();
                    info!(outlet = self.outlet.name, silent_seconds = seconds, "the outlet is back");
                }
                for waiting in group {
                    self.held.remove(&waiting.notification.facts.episode);
                }
            }
            Err(Undelivered::Later(reason)) => {
                if self.backoff.is_none() {
                    warn!(outlet = self.outlet.name, reason, "the outlet does not answer; trying again");
                }
                self.backoff.get_or_insert_default().grow(self.outlet.longest_backoff);
            }
            Err(Undelivered::Refused(reason)) => {
                warn!(outlet = self.outlet.name, messages = group.len(), reason, "the outlet refuses");
            }
        }
    }
}

/// Pauses that grow: twice as long each time, and a little at random, so that jobs that lost a receiver together do not
/// come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    since: Stopwatch,
    pause: Duration,
    waiting: Stopwatch,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { since: Stopwatch::start(), pause: Duration::ZERO, waiting: Stopwatch::start() }
    }
}

impl Backoff {
    pub(super) fn grow(&mut self, longest: Duration) {
        let pause = if self.pause.is_zero() { FIRST_PAUSE } else { self.pause * 2 };
        self.pause = pause.min(longest).mul_f64(rand::rng().random_range(0.8..1.0));
        self.waiting = Stopwatch::start();
    }

    fn left(&self) -> Duration {
        self.waiting.left_of(self.pause)
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics over what it is told of the episode "bad".
    struct Fragile(std::sync::mpsc::Sender<String>);

    impl Sink for Fragile {
        fn max_batch(&self) -> usize {
            10
        }

        fn send(&mut self, messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
            assert!(messages.iter().all(|message| message.facts().episode != "bad"), "it is meant to");
            messages.iter().for_each(|message| self.0.send(message.facts().episode.clone()).expect("somebody listens"));
            Ok(())
        }
    }

    const JOB: &str = "name = \"test\"\n[source]\nbrokers = \"localhost:9\"\ntopic = \"t\"\nkey = \"patient_id\"\n\
        event_time = \"event_time\"\n[source.columns]\npatient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n\
        heart_rate = { type = \"float\" }\n[store]\nurl = \"sqlite://test.db\"\n[sql]\ndir = \"sql\"\n";

    #[test]
    fn a_message_that_a_sink_panics_over_keeps_no_other_from_its_receiver_and_is_told_as_undelivered() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("job.toml");
        std::fs::write(&file, JOB).expect("written");
        std::fs::create_dir(folder.path().join("sql")).expect("a folder of queries");
        let mut job = wardwatch_config::load(&file).expect("valid");
        job.store = StoreUrl::Sqlite(folder.path().join("test.db"));
        let mut store = Store::connect(&job.store, &job.name).expect("a store");
        store.migrate(&[]).expect("tables");
        let now = DateTime::UNIX_EPOCH;
        let notifications: Vec<_> = ["good", "bad", "fine"]
            .map(|episode| crate::message::tests::notification(episode, "firing", "high"))
            .into_iter()
            .map(|notification| wardwatch_alert::Notification { outlet: "test".to_owned(), ..notification })
            .collect();
        store.write_notifications(now, &notifications).expect("written");

        let (sender, told) = std::sync::mpsc::channel();
        let (_bell, rings) = std::sync::mpsc::sync_channel(1);
        let clock: Arc<dyn Clock> = Arc::new(wardwatch_model::clock::SystemClock);
        let outlet = crate::message::tests::outlet(wardwatch_config::OutletKind::Log);
        let mut delivery = Delivery::new(&outlet, Box::new(Fragile(sender)), &job, clock, rings);
        delivery.turn();
        let mut delivered: Vec<String> = told.try_iter().collect();
        delivered.sort();
        assert_eq!(delivered, ["fine", "good"]);
        assert!(delivery.held.contains_key("bad"), "it is tried again later");
        let states = store.outlet_states().expect("read");
        assert_eq!((states[0].waiting, states[0].given_up), (0, 1), "long due, so it is given up, and shown as that");
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_over());
        let mut pauses = Vec::new();
        for _ in 0..20 {
            backoff.grow(Duration::from_secs(60));
            pauses.push(backoff.pause);
        }
        assert!(pauses[0] <= FIRST_PAUSE && !backoff.is_over());
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(60)));
        assert!(pauses[19] >= Duration::from_secs(40));
    }
}
