//! One alert from first to last as a value: what is known of it, what may happen to it, and what it is called.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use wardwatch_model::terms::Severity;

use super::track::{Holds, Track};

/// What an episode is called by people and by receivers of notifications.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpisodeId(pub Arc<str>);

impl EpisodeId {
    /// The name of the episode of `rule` and `patient` that began at `started_at`; a replay gives the same.
    ///
    /// Shape: twelve hexadecimal digits, the start of a SHA-256. Among a million episodes of a job, two bear the same
    /// name with a chance of 1 in 560.
    #[must_use]
    pub fn of(rule: &str, patient: &str, started_at: DateTime<Utc>) -> Self {
        let text = format!("{rule}\n{patient}\n{}", started_at.timestamp_micros());
        let digest = Sha256::digest(text.as_bytes());
        let digits: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self(digits.into())
    }
}

impl EpisodeId {
    /// A number that orders ids as their texts do, as far as these are of one length; quicker to compare.
    pub(super) fn rank(&self) -> u128 {
        self.0.bytes().take(16).fold(0, |rank, byte| rank << 8 | u128::from(byte))
    }
}

impl fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One alert from first to last.
///
/// Times are event time, but for those of [`Handling`]. An episode is copied with every batch that it outlasts, so its texts
/// are shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// What it is called.
    pub id: EpisodeId,
    /// The rule.
    pub rule: Arc<str>,
    /// The patient.
    pub patient: Arc<str>,
    /// The rule's severity when the episode began.
    pub severity: Severity,
    /// Where it stands.
    pub state: State,
    /// The first sample at which the condition was true.
    pub started_at: DateTime<Utc>,
    /// The sample at which it had held for long enough.
    pub firing_at: Option<DateTime<Utc>>,
    /// The last sample at which it was true.
    pub last_at: DateTime<Utc>,
    /// The last sample at which it was known whether it is true.
    pub known_at: DateTime<Utc>,
    /// The first sample at which it was false, while it has not been true since.
    pub clear_since: Option<DateTime<Utc>>,
    /// The sample at which it had been gone for long enough.
    pub cleared_at: Option<DateTime<Utc>>,
    /// When the episode was over: as `cleared_at`, or when a latched one was acknowledged.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it is over.
    pub end: Option<End>,
    /// At how many samples it was true.
    pub samples: u64,
    /// What to tell people; of the sample at which it fired.
    pub text: Arc<str>,
    /// The sample that was furthest from what is allowed.
    pub peak: Peak,
    /// Since when nothing has been known of the condition for too long; `None` while something is.
    pub stale_at: Option<DateTime<Utc>>,
    /// The technical rule that says that this condition cannot be judged now.
    pub suppressed_by: Option<String>,
    /// What is known of its condition in each stream.
    pub tracks: Vec<Track>,
    /// What people and notifications have done about it.
    pub handling: Handling,
    /// How many events it has had.
    pub events: u32,
}

/// The extreme of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// The value, where the rule has one.
    pub value: Option<f64>,
    /// The limit that it broke, where the rule tells it.
    pub limit: Option<f64>,
    /// The sample.
    pub at: DateTime<Utc>,
    /// The message as it reads of that sample: `HR 134 > 120`.
    pub text: Arc<str>,
}

/// What people and notifications have done about an episode, in processing time: people act when they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handling {
    /// The `now` of the batch with which it fired.
    pub fired_now: Option<DateTime<Utc>>,
    /// Whether people were told that it fires and not yet that it is over; nobody is told while it is silenced.
    pub told: bool,
    /// How many notices it has had.
    pub notices: u32,
    /// Who has taken it on.
    pub acknowledged: Option<Acknowledged>,
    /// When a reminder went out last.
    pub reminded_at: Option<DateTime<Utc>>,
    /// How many steps of the escalation have been taken.
    pub escalated: u32,
}

/// Who has taken an episode on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub by: String,
    /// What they say.
    pub note: String,
}

/// Where an episode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The condition is true, but has not held for `@for` yet.
    Pending,
    /// It was pending and did not hold: there is no episode.
    Dropped,
    /// The alert stands.
    Firing,
    /// The condition is gone, but not for `@clear_after` yet.
    Recovering,
    /// The condition is gone, and nobody has acknowledged the alert.
    Latched,
    /// It is over.
    Ended,
}

impl State {
    const ALL: [Self; 6] = [Self::Pending, Self::Dropped, Self::Firing, Self::Recovering, Self::Latched, Self::Ended];

    /// The name used in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dropped => "dropped",
            Self::Firing => "firing",
            Self::Recovering => "recovering",
            Self::Latched => "latched",
            Self::Ended => "ended",
        }
    }

    /// The state called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether samples still decide what becomes of it.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Firing | Self::Recovering)
    }

    /// Whether people should see it: it has fired and is not over.
    #[must_use]
    pub fn is_shown(self) -> bool {
        matches!(self, Self::Firing | Self::Recovering | Self::Latched)
    }
}

/// Why an episode is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The condition was gone for `@clear_after`.
    Cleared,
    /// It was latched, and somebody acknowledged it.
    Acknowledged,
    /// It was latched, and the next episode of the same rule and patient fired.
    Followed,
    /// Its rule was removed.
    RuleRemoved,
    /// The patient has left, or nothing has come of them for so long that they are let go.
    Left,
}

impl End {
    const ALL: [Self; 5] = [Self::Cleared, Self::Acknowledged, Self::Followed, Self::RuleRemoved, Self::Left];

    /// The name used in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::Acknowledged => "acknowledged",
            Self::Followed => "followed by another",
            Self::RuleRemoved => "rule removed",
            Self::Left => "left",
        }
    }

    /// The reason called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }
}

/// Something that happened to an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which of the episode's events, counted from 1.
    pub number: u32,
    /// When: event time for what follows from samples, processing time for what people and notifications do.
    pub at: DateTime<Utc>,
    /// What.
    pub kind: EventKind,
    /// Who did it, where a person did.
    pub by: String,
    /// More about it: the text, the note, the suppressing rule, the people escalated to.
    pub note: String,
}

/// What can happen to an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The condition became true.
    Pending,
    /// It did not hold.
    Dropped,
    /// It held.
    Firing,
    /// It became false.
    Recovering,
    /// It was true again before it had been gone for long enough.
    Relapsed,
    /// It was gone, and nobody had acknowledged.
    Latched,
    /// The episode was over.
    Ended,
    /// Nothing was known for too long.
    Stale,
    /// Something is known again.
    Fresh,
    /// A technical alert says that the condition cannot be judged.
    Suppressed,
    /// It no longer says so.
    Released,
    /// Somebody took it on.
    Acknowledged,
    /// Somebody was reminded.
    Reminded,
    /// Others were told, because nobody took it on.
    Escalated,
}

impl EventKind {
    const ALL: [Self; 14] = [
        Self::Pending,
        Self::Dropped,
        Self::Firing,
        Self::Recovering,
        Self::Relapsed,
        Self::Latched,
        Self::Ended,
        Self::Stale,
        Self::Fresh,
        Self::Suppressed,
        Self::Released,
        Self::Acknowledged,
        Self::Reminded,
        Self::Escalated,
    ];

    /// The kind called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name used in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dropped => "dropped",
            Self::Firing => "firing",
            Self::Recovering => "recovering",
            Self::Relapsed => "relapsed",
            Self::Latched => "latched",
            Self::Ended => "ended",
            Self::Stale => "stale",
            Self::Fresh => "fresh",
            Self::Suppressed => "suppressed",
            Self::Released => "released",
            Self::Acknowledged => "acknowledged",
            Self::Reminded => "reminded",
            Self::Escalated => "escalated",
        }
    }
}

impl Episode {
    /// What a version that knew of no streams has left of the condition: the patient's next sample goes on with it.
    #[must_use]
    pub fn track_of_before(&self) -> Option<Track> {
        let (holds, since) = match self.state {
            State::Pending | State::Firing => (Holds::Yes, self.started_at),
            State::Recovering => (Holds::No, self.clear_since.unwrap_or(self.known_at)),
            State::Dropped | State::Latched | State::Ended => return None,
        };
        let known = self.known_at;
        Some(Track {
            stream: None,
            holds,
            since,
            at: known,
            valid_until: known,
            holds_until: known,
            passed: known,
            delay: TimeDelta::zero(),
        })
    }

    /// Adds an event to `events`, numbered as the episode's next.
    pub(super) fn note(&mut self, events: &mut Vec<Event>, at: DateTime<Utc>, kind: EventKind, note: &str) {
        self.note_by(events, at, kind, "", note);
    }

    /// The same for what a person did.
    pub(super) fn note_by(
        &mut self,
        events: &mut Vec<Event>,
        at: DateTime<Utc>,
        kind: EventKind,
        by: &str,
        note: &str,
    ) {
        self.events += 1;
        events.push(Event { number: self.events, at, kind, by: by.to_owned(), note: note.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_states_and_ends_are_read_back() {
        State::ALL.into_iter().for_each(|state| assert_eq!(State::from_name(state.name()), Some(state)));
        End::ALL.into_iter().for_each(|end| assert_eq!(End::from_name(end.name()), Some(end)));
    }

    #[test]
    fn an_id_tells_episodes_apart_and_never_changes() {
        let at = DateTime::UNIX_EPOCH;
        assert_eq!(EpisodeId::of("tachycardia", "P1", at).0, EpisodeId::of("tachycardia", "P1", at).0);
        assert_ne!(EpisodeId::of("tachycardia", "P1", at), EpisodeId::of("tachycardia", "P2", at));
        assert_eq!(EpisodeId::of("tachycardia", "P1", at).0.len(), 12);
    }
}
