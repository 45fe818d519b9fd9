//! The life of one episode, sample by sample: pending, firing, ended.
//!
//! ```text
//!   none ──true──▶ pending ──held for @for──▶ firing ──gone for @clear_after──▶ ended
//!                     └──────false──────▶ none   ▲──true before that──┘
//! ```

use chrono::{DateTime, TimeDelta, Utc};

use crate::query::Severity;

use super::{Change, Rule};

/// One alert from first to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// The rule.
    pub rule: String,
    /// The patient.
    pub patient: String,
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
    /// The first sample at which it was false, while it has not been true since.
    pub clear_since: Option<DateTime<Utc>>,
    /// The sample at which it had been gone for long enough.
    pub ended_at: Option<DateTime<Utc>>,
    /// At how many samples it was true.
    pub samples: u64,
    /// What to tell people; of the sample at which it fired.
    pub text: String,
}

/// Where an episode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The condition is true, but has not held for `@for` yet.
    Pending,
    /// The alert stands.
    Firing,
    /// It is over.
    Ended,
}

impl State {
    const ALL: [Self; 3] = [Self::Pending, Self::Firing, Self::Ended];

    /// The name used in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Ended => "ended",
        }
    }

    /// The state called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What a rule says at one sample.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The sample's event time.
    pub at: DateTime<Utc>,
    /// The alert's text where the rule is true; `None` where it is false.
    pub text: Option<String>,
}

/// The episode after one more sample, if one is open then, and what changed.
///
/// A sample older than the last one that the episode counted changes nothing.
pub(super) fn step(
    rule: &Rule,
    patient: &str,
    episode: Option<Episode>,
    condition: Condition,
) -> (Option<Episode>, Option<Change>) {
    let Condition { at, text } = condition;
    match (episode, text) {
        (None, None) => (None, None),
        (None, Some(text)) => {
            let mut episode = Episode {
                rule: rule.name.clone(),
                patient: patient.to_owned(),
                severity: rule.header.severity,
                state: State::Pending,
                started_at: at,
                firing_at: None,
                last_at: at,
                clear_since: None,
                ended_at: None,
                samples: 1,
                text,
            };
            fire_if_held(&mut episode, rule, None);
            open(episode)
        }
        (Some(episode), _) if at < episode.clear_since.unwrap_or(episode.last_at) => (Some(episode), None),
        (Some(mut episode), Some(text)) => {
            episode.last_at = at;
            episode.clear_since = None;
            episode.samples += 1;
            fire_if_held(&mut episode, rule, Some(text));
            open(episode)
        }
        (Some(episode), None) if episode.state == State::Pending => (None, Some(Change::Gone(episode))),
        (Some(mut episode), None) => {
            let since = *episode.clear_since.get_or_insert(at);
            if at - since < as_delta(rule.header.clear_after) {
                return open(episode);
            }
            episode.state = State::Ended;
            episode.ended_at = Some(at);
            (None, Some(Change::Is(episode)))
        }
    }
}

/// The end of an episode whose rule is gone.
pub(super) fn end(mut episode: Episode, at: DateTime<Utc>) -> Change {
    if episode.state == State::Pending {
        return Change::Gone(episode);
    }
    episode.state = State::Ended;
    episode.ended_at = Some(at.max(episode.last_at));
    Change::Is(episode)
}

fn fire_if_held(episode: &mut Episode, rule: &Rule, text: Option<String>) {
    if episode.state == State::Pending && episode.last_at - episode.started_at >= as_delta(rule.header.hold) {
        episode.state = State::Firing;
        episode.firing_at = Some(episode.last_at);
        if let Some(text) = text {
            episode.text = text;
        }
    }
}

fn open(episode: Episode) -> (Option<Episode>, Option<Change>) {
    (Some(episode.clone()), Some(Change::Is(episode)))
}

/// A header's length of time; one that is longer than time itself never passes.
fn as_delta(length: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}
