//! Whether the services that a running job needs answer it, kept in memory: who has to tell that the store is away cannot
//! ask the store.
//!
//! Whoever asks a service writes it down here; pages, metrics and receivers of alerts read it. Nothing here asks a service, or
//! decides what to tell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::Clock;

/// A store that has owed an answer for so long is away. A commit takes milliseconds, and a server that is restarted, seconds.
pub const STORE_AWAY_AFTER: Duration = Duration::from_secs(4);

/// People are called once the store has been away for so long, and what they were called for is written down when it is over; a
/// server that is restarted, or busy for a moment, is back by then.
pub const STORE_AWAY_TOLD_AFTER: Duration = Duration::from_secs(10);

/// In which way a store does not do what it must, as far as it says so itself. What it says in its own words is for logs: it may tell
/// more than whoever looks at a page should know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Complaint {
    /// It says nothing, or there is no connection.
    #[default]
    Silent,
    /// It is read-only.
    ReadOnly,
    /// It has no room left.
    Full,
    /// Others keep it locked.
    Locked,
    /// It refuses, as where a table is missing, or a right.
    Refuses,
}

impl Complaint {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Silent, Self::ReadOnly, Self::Full, Self::Locked, Self::Refuses];

    /// The name used in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Refuses => "refuses",
        }
    }

    /// `the store is read-only`: how it is.
    #[must_use]
    pub fn is(self) -> &'static str {
        match self {
            Self::Silent => "the store does not answer",
            Self::ReadOnly => "the store is read-only",
            Self::Full => "the store has no room left on its disk",
            Self::Locked => "the store is locked by others",
            Self::Refuses => "the store refuses what it is asked, as where a table is missing",
        }
    }

    /// `the store has been read-only`: how it has been since then, or for so long.
    #[must_use]
    pub fn has_been(self) -> &'static str {
        match self {
            Self::Silent => "the store has not answered",
            Self::ReadOnly => "the store has been read-only",
            Self::Full => "the store has had no room left on its disk",
            Self::Locked => "the store has been locked by others",
            Self::Refuses => "the store has refused what it is asked, as where a table is missing,",
        }
    }
}

/// A service that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Since when.
    pub since: DateTime<Utc>,
    /// For how long, whatever became of the clock meanwhile.
    pub lasts: Duration,
    /// In which way; of Kafka always the first.
    pub complaint: Complaint,
    /// What was said last; empty where nothing was.
    pub reason: String,
}

/// What is known of a job's services, shared by all who hold a clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    services: Mutex<Services>,
}

#[derive(Debug, Default)]
struct Services {
    /// The request that the store has not answered, if there is one.
    asked: Option<Asked>,
    /// The last outage of the store that is over.
    past: Option<(DateTime<Utc>, DateTime<Utc>)>,
    kafka: Option<Outage>,
}

#[derive(Debug)]
struct Asked {
    at: DateTime<Utc>,
    monotonic: Duration,
    complaint: Complaint,
    reason: String,
}

impl Health {
    /// Of services that nobody has asked yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { clock, services: Mutex::default() }))
    }

    /// The store is being asked. A request that is tried again is the same request.
    pub fn store_is_asked(&self) {
        let mut services = self.services();
        if services.asked.is_none() {
            let (at, monotonic) = (self.0.clock.now(), self.0.clock.monotonic());
            services.asked = Some(Asked { at, monotonic, complaint: Complaint::default(), reason: String::new() });
        }
    }

    /// The store has done what it was asked for, or has said why it never will.
    pub fn store_has_answered(&self) {
        let (outage, now) = (self.store_away(), self.0.clock.now());
        let mut services = self.services();
        services.asked = None;
        if let Some(Outage { since, .. }) = outage.filter(|outage| outage.lasts >= STORE_AWAY_TOLD_AFTER) {
            services.past = Some((since, now.max(since)));
        }
    }

    /// The last outage of the store that is over and that people were called for, once: since when, and until when.
    #[must_use]
    pub fn take_past_outage(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        self.services().past.take()
    }

    /// The store could not do what it was asked for; it is asked again.
    pub fn store_has_failed(&self, complaint: Complaint, reason: &str) {
        if let Some(asked) = &mut self.services().asked {
            asked.complaint = complaint;
            reason.clone_into(&mut asked.reason);
        }
    }

    /// Since when the store has owed an answer; `None` where that is not [`STORE_AWAY_AFTER`] yet.
    #[must_use]
    pub fn store_away(&self) -> Option<Outage> {
        let services = self.services();
        let asked = services.asked.as_ref()?;
        let lasts = self.0.clock.monotonic().saturating_sub(asked.monotonic);
        (lasts >= STORE_AWAY_AFTER).then(|| {
            let Asked { at: since, complaint, .. } = *asked;
            Outage { since, lasts, complaint, reason: asked.reason.clone() }
        })
    }

    /// Kafka answers, or has not for as long as this says.
    pub fn note_kafka(&self, outage: Option<Outage>) {
        self.services().kafka = outage;
    }

    /// Since when Kafka has not answered, as it was with the last batch.
    #[must_use]
    pub fn kafka_away(&self) -> Option<Outage> {
        self.services().kafka.clone()
    }

    fn services(&self) -> std::sync::MutexGuard<'_, Services> {
        self.0.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_store_is_away_once_it_owes_an_answer_for_long_and_until_it_gives_one() {
        let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
        let health = Health::new(clock.clone());
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(health.store_away(), None, "nobody has asked it");

        health.store_is_asked();
        clock.advance(STORE_AWAY_AFTER / 2);
        assert_eq!(health.store_away(), None);
        health.store_has_failed(Complaint::Silent, "connection refused");
        health.store_is_asked();
        clock.advance(STORE_AWAY_AFTER / 2);
        let since = DateTime::UNIX_EPOCH + Duration::from_secs(3_600);
        let reason = "connection refused".to_owned();
        assert_eq!(
            health.store_away(),
            Some(Outage { since, lasts: STORE_AWAY_AFTER, complaint: Complaint::Silent, reason })
        );

        // Somebody puts the clock right meanwhile; that makes the outage neither longer nor shorter.
        clock.set(since + Duration::from_secs(100));
        assert_eq!(health.store_away().map(|outage| outage.lasts), Some(STORE_AWAY_AFTER));
        clock.advance(STORE_AWAY_TOLD_AFTER - STORE_AWAY_AFTER);
        health.store_has_answered();
        assert_eq!(health.store_away(), None);
        assert_eq!(
            health.take_past_outage(),
            Some((since, since + Duration::from_secs(100) + STORE_AWAY_TOLD_AFTER - STORE_AWAY_AFTER))
        );
        assert_eq!(health.take_past_outage(), None, "it is told once");

        health.store_is_asked();
        clock.advance(STORE_AWAY_AFTER);
        health.store_has_answered();
        assert_eq!(health.take_past_outage(), None, "nobody was called for that");
    }
}
