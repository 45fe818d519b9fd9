//! What receivers are told while the store is away, straight from memory: that nothing is stored and no alarm judged, once for
//! each outage, and once more when it is over.
//!
//! The outbox stands in the store, so it cannot tell of this. What is told here is in no table, and is not tried again after a
//! restart; the log has it too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::{error, info, warn};

use wardwatch_alert::{EpisodeId, Facts, Notification, STORE_AWAY, notification_id};
use wardwatch_config::{Job, Outlet, OutletKind, When};
use wardwatch_model::clock::{Clock, Stopwatch};
use wardwatch_model::health::{Complaint, Health, Outage, STORE_AWAY_TOLD_AFTER};
use wardwatch_model::telemetry::caught;
use wardwatch_model::terms::Severity;

use super::deliver::Backoff;
use super::message::Texts;
use super::sink::{Sink, Undelivered};

/// How often it is looked whether the store answers.
const LOOK: Duration = Duration::from_millis(500);

/// Whether a receiver is told of the job's own technical alerts, and so of this.
pub(super) fn is_told(outlet: &Outlet) -> bool {
    let is_heartbeat = matches!(outlet.kind, OutletKind::Heartbeat { .. });
    !is_heartbeat && outlet.when == When::Always && outlet.severity == Severity::Technical
}

/// What the thread of one receiver works with.
pub(super) struct OutageWatch {
    outlet: Outlet,
    sink: Box<dyn Sink>,
    texts: Texts,
    job: String,
    health: Health,
    clock: Arc<dyn Clock>,
    rings: Receiver<()>,
    told: Told,
    backoff: Option<Backoff>,
    /// When the receiver was told last that an outage goes on, where it forgets what it does not hear again.
    repeated: Option<Stopwatch>,
}

/// What a receiver is told of outages, and what it still has to be told. A pure state machine.
#[derive(Debug, Default)]
struct Told {
    /// The outage that goes on, as far as it is to be told of.
    standing: Option<Away>,
    /// What is still to be said, in order.
    due: VecDeque<Saying>,
}

/// An outage as it was when it was to be told of first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Away {
    since: DateTime<Utc>,
    complaint: Complaint,
}

/// That an outage goes on, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    Began(Away),
    Over { away: Away, until: DateTime<Utc> },
}

impl Told {
    /// Takes note of how the store fares: away since when, or there.
    fn note(&mut self, away: Option<Away>, now: DateTime<Utc>) {
        match (self.standing, away) {
            (None, Some(away)) => {
                self.standing = Some(away);
                self.due.push_back(Saying::Began(away));
            }
            (Some(away), None) => {
                self.standing = None;
                // Of what nobody has heard that it began, nobody need hear that it is over.
                if self.due.back() == Some(&Saying::Began(away)) {
                    self.due.pop_back();
                } else {
                    self.due.push_back(Saying::Over { away, until: now });
                }
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

impl OutageWatch {
    pub(super) fn new(
        outlet: &Outlet,
        sink: Box<dyn Sink>,
        job: &Job,
        health: &Health,
        clock: Arc<dyn Clock>,
        rings: Receiver<()>,
    ) -> Self {
        Self {
            texts: Texts::of(outlet),
            outlet: outlet.clone(),
            sink,
            job: job.name.clone(),
            health: health.clone(),
            clock,
            rings,
            told: Told::default(),
            backoff: None,
            repeated: None,
        }
    }

    /// Looks until nobody is left to ring.
    pub(super) fn run(mut self) {
        loop {
            match self.rings.recv_timeout(LOOK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) {
        let away = self.health.store_away();
        // An outage that has been told of goes on until the store answers.
        let away = away.filter(|outage| outage.lasts >= STORE_AWAY_TOLD_AFTER || self.told.standing.is_some());
        let away = away.map(|Outage { since, complaint, .. }| Away { since, complaint });
        self.told.note(away, self.clock.now());
        while self.backoff.as_ref().is_none_or(Backoff::is_over) {
            let Some(saying) = self.told.due.front().copied().or_else(|| self.repetition()) else { return };
            match caught(|| self.say(saying)) {
                Ok(Ok(())) => {
                    info!(outlet = self.outlet.name, "told that the store is away, or back");
                    self.backoff = None;
                    self.told.due.pop_front();
                    self.repeated = Some(Stopwatch::start());
                }
                Ok(Err(Undelivered::Later(reason))) => {
                    if self.backoff.is_none() {
                        warn!(outlet = self.outlet.name, reason, "not told that the store is away; trying again");
                    }
                    self.backoff.get_or_insert_default().grow(self.outlet.longest_backoff);
                }
                Ok(Err(Undelivered::Refused(reason))) => {
                    error!(outlet = self.outlet.name, reason, "refuses to be told that the store is away");
                    self.told.due.pop_front();
                    self.repeated = Some(Stopwatch::start());
                }
                Err(panicked) => {
                    error!(outlet = self.outlet.name, %panicked, "not told that the store is away");
                    self.told.due.pop_front();
                    self.repeated = Some(Stopwatch::start());
                }
            }
        }
    }

    /// What is said again to a receiver that forgets what it does not hear again.
    fn repetition(&self) -> Option<Saying> {
        let OutletKind::Alertmanager { resend, .. } = &self.outlet.kind else { return None };
        let is_due = self.repeated.is_some_and(|repeated| repeated.left_of(*resend).is_zero());
        self.told.standing.filter(|_| is_due).map(Saying::Began)
    }

    fn say(&mut self, saying: Saying) -> Result<(), Undelivered> {
        let now = self.clock.now();
        let message = self.texts.message(notification(&self.job, &self.outlet.name, saying, now));
        self.sink.send(&[message], now)
    }
}

/// What there is to tell, in the form of any other notice.
fn notification(job: &str, outlet: &str, saying: Saying, now: DateTime<Utc>) -> Notification {
    let written = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (Away { since, complaint }, until) = match saying {
        Saying::Began(away) => (away, None),
        Saying::Over { away, until } => (away, Some(until)),
    };
    let text = format!(
        "{} since {}: wardwatch judges no alarm and stores nothing; watch the patients by their monitors",
        complaint.has_been(),
        written(since)
    );
    let episode = EpisodeId::of(STORE_AWAY, "", since);
    let number = if until.is_some() { 2 } else { 1 };
    let facts = Facts {
        job: job.to_owned(),
        kind: if until.is_some() { "resolved" } else { "firing" }.to_owned(),
        episode: episode.to_string(),
        rule: STORE_AWAY.to_owned(),
        severity: Severity::Technical.name().to_owned(),
        state: if until.is_some() { "ended" } else { "firing" }.to_owned(),
        peak: text.clone(),
        text,
        started_at: written(since),
        firing_at: written(since),
        last_at: written(until.unwrap_or(now)),
        cleared_at: until.map(written).unwrap_or_default(),
        ended_at: until.map(written).unwrap_or_default(),
        end_reason: until.map_or("", |_| "cleared").to_owned(),
        ..Facts::default()
    };
    Notification { id: notification_id(&episode, number, outlet), outlet: outlet.to_owned(), number, facts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn silent(second: i64) -> Away {
        Away { since: at(second), complaint: Complaint::Silent }
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once_and_neither_where_nobody_heard_of_it() {
        let mut told = Told::default();
        told.note(None, at(0));
        assert_eq!(told.due, []);
        for second in 10..20 {
            told.note(Some(silent(0)), at(second));
        }
        assert_eq!(told.due, [Saying::Began(silent(0))]);
        told.due.pop_front();
        for second in 20..30 {
            told.note(None, at(second));
        }
        assert_eq!(told.due, [Saying::Over { away: silent(0), until: at(20) }]);
        told.due.pop_front();

        told.note(Some(silent(40)), at(50));
        told.note(None, at(60));
        assert_eq!(told.due, [], "it never reached the receiver");
    }

    #[test]
    fn what_is_told_has_one_id_for_each_outage_and_end() {
        let began = notification("ward", "phone", Saying::Began(silent(0)), at(10));
        let again = notification("ward", "phone", Saying::Began(silent(0)), at(70));
        let over = notification("ward", "phone", Saying::Over { away: silent(0), until: at(80) }, at(80));
        assert_eq!(began.id, again.id);
        assert_ne!(began.id, over.id);
        assert_eq!(began.facts.episode, over.facts.episode);
        assert_eq!((over.facts.kind.as_str(), over.facts.ended_at.as_str()), ("resolved", "1970-01-01T00:01:20Z"));
        assert!(
            began.facts.text.starts_with("the store has not answered since 1970-01-01T00:00:00Z: wardwatch judges no")
        );
        let full = Away { since: at(0), complaint: Complaint::Full };
        let full = notification("ward", "phone", Saying::Began(full), at(10)).facts.text;
        assert!(full.starts_with("the store has had no room left on its disk since 1970-01-01T00:00:00Z:"), "{full}");
    }
}
