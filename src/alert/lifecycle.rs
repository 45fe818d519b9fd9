//! The life of one episode, sample by sample: pure functions from an episode and a sample to the episode after it.
//!
//! ```text
//!           true          held for @for           false, or @clear_when       gone for @clear_after
//!   none ─────────▶ pending ─────────▶ firing ◀──────────────────▶ recovering ─────────▶ ended
//!                      │ false                     true again            │
//!                      ▼                                                 │ nobody acknowledged, and it latches
//!                   dropped                                              ▼
//!                                                                     latched ── acknowledged ──▶ ended
//! ```
//!
//! A sample at which the condition cannot be known — no value, or a technical alert that says that the value means
//! nothing — changes no state: it neither clears nor fires.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::Rule;
use super::episode::{Acknowledged, End, Episode, EpisodeId, Event, EventKind, Handling, Peak, State};

/// What a rule says at one sample.
pub(super) struct Sample<'a> {
    /// The sample's event time.
    pub(super) at: DateTime<Utc>,
    /// What it says.
    pub(super) truth: Truth<'a>,
    /// The technical rule by which the condition cannot be judged at the sample.
    pub(super) suppressed_by: Option<&'a str>,
}

/// Whether a condition is true.
pub(super) enum Truth<'a> {
    /// It is.
    True(Evidence<'a>),
    /// It is not, but it is not gone either, by `@clear_when`.
    Between,
    /// It is gone.
    False,
    /// There is no value to judge by.
    Unknown,
}

/// What makes a condition true.
pub(super) struct Evidence<'a> {
    /// The value, where the rule has one.
    pub(super) value: Option<f64>,
    /// The limit that it breaks, where the rule tells it.
    pub(super) limit: Option<f64>,
    /// What to tell people.
    pub(super) text: &'a dyn Fn() -> String,
}

/// The episode after one more sample, if one is live then or was before. What happened is added to `events`.
///
/// A sample older than the last one that the episode knows of changes nothing.
pub(super) fn step(
    rule: &Rule,
    patient: &str,
    before: Option<Episode>,
    sample: &Sample<'_>,
    events: &mut Vec<Event>,
) -> Option<Episode> {
    let at = sample.at;
    let Some(mut episode) = before else {
        return match (&sample.truth, sample.suppressed_by) {
            (Truth::True(evidence), None) => Some(begin(rule, patient, at, evidence, events)),
            _ => None,
        };
    };
    if at < episode.known_at {
        return Some(episode);
    }
    note_silence(&mut episode, rule, at, events);
    mark_suppressed(&mut episode, sample.suppressed_by, at, events);
    if sample.suppressed_by.is_some() || matches!(sample.truth, Truth::Unknown) {
        return Some(episode);
    }
    episode.known_at = at;
    if episode.stale_at.take().is_some() {
        episode.note(events, at, EventKind::Fresh, "");
    }
    match &sample.truth {
        Truth::True(evidence) => is_true(&mut episode, rule, at, evidence, events),
        Truth::False | Truth::Between if episode.state == State::Pending => {
            episode.state = State::Dropped;
            episode.note(events, at, EventKind::Dropped, "");
        }
        Truth::Between => relapse(&mut episode, at, events),
        Truth::False => is_false(&mut episode, rule, at, events),
        Truth::Unknown => {}
    }
    Some(episode)
}

/// Marks a live episode of which nothing has been known for too long at `now`.
pub(super) fn note_silence(episode: &mut Episode, rule: &Rule, now: DateTime<Utc>, events: &mut Vec<Event>) {
    let Some(stale_at) = episode.known_at.checked_add_signed(as_delta(rule.stale_after)) else { return };
    if episode.stale_at.is_none() && now >= stale_at {
        episode.stale_at = Some(stale_at);
        episode.note(events, stale_at, EventKind::Stale, "");
    }
}

/// Says which technical alert the episode waits for, if any.
pub(super) fn mark_suppressed(episode: &mut Episode, by: Option<&str>, at: DateTime<Utc>, events: &mut Vec<Event>) {
    if episode.suppressed_by.as_deref() == by {
        return;
    }
    match by {
        Some(rule) => episode.note(events, at, EventKind::Suppressed, rule),
        None => episode.note(events, at, EventKind::Released, ""),
    }
    episode.suppressed_by = by.map(str::to_owned);
}

/// Somebody takes an episode on; a latched one is over with that.
///
/// Returns whether anything changed: who comes second finds it acknowledged.
pub(super) fn acknowledge(
    episode: &mut Episode,
    who: Acknowledged,
    event_now: DateTime<Utc>,
    events: &mut Vec<Event>,
) -> bool {
    if episode.handling.acknowledged.is_some() || !episode.state.is_shown() {
        return false;
    }
    episode.note_by(events, who.at, EventKind::Acknowledged, &who.by, &who.note);
    episode.handling.acknowledged = Some(who);
    if episode.state == State::Latched {
        end(episode, End::Acknowledged, event_now, events);
    }
    true
}

/// The end of an episode, whatever its samples say. One that has not fired is dropped.
pub(super) fn end(episode: &mut Episode, why: End, at: DateTime<Utc>, events: &mut Vec<Event>) {
    if episode.state == State::Pending {
        episode.state = State::Dropped;
        episode.note(events, at, EventKind::Dropped, why.name());
        return;
    }
    let at = at.max(episode.cleared_at.unwrap_or(episode.last_at));
    episode.state = State::Ended;
    episode.ended_at = Some(at);
    episode.end = Some(why);
    episode.note(events, at, EventKind::Ended, why.name());
}

fn begin(rule: &Rule, patient: &str, at: DateTime<Utc>, evidence: &Evidence<'_>, events: &mut Vec<Event>) -> Episode {
    let text: Arc<str> = (evidence.text)().into();
    let mut episode = Episode {
        id: EpisodeId::of(&rule.name, patient, at),
        rule: rule.name.as_str().into(),
        patient: patient.into(),
        severity: rule.header.severity,
        state: State::Pending,
        started_at: at,
        firing_at: None,
        last_at: at,
        known_at: at,
        clear_since: None,
        cleared_at: None,
        ended_at: None,
        end: None,
        samples: 1,
        peak: Peak { value: evidence.value, limit: evidence.limit, at, text: Arc::clone(&text) },
        text: Arc::clone(&text),
        stale_at: None,
        suppressed_by: None,
        handling: Handling::default(),
        events: 0,
    };
    episode.note(events, at, EventKind::Pending, &text);
    fire_if_held(&mut episode, rule, None, events);
    episode
}

fn is_true(episode: &mut Episode, rule: &Rule, at: DateTime<Utc>, evidence: &Evidence<'_>, events: &mut Vec<Event>) {
    episode.last_at = at;
    episode.samples += 1;
    if rule.is_further(evidence.value, episode.peak.value) {
        episode.peak = Peak { value: evidence.value, limit: evidence.limit, at, text: (evidence.text)().into() };
    }
    relapse(episode, at, events);
    fire_if_held(episode, rule, Some(evidence), events);
}

fn is_false(episode: &mut Episode, rule: &Rule, at: DateTime<Utc>, events: &mut Vec<Event>) {
    let since = *episode.clear_since.get_or_insert(at);
    if at - since < as_delta(rule.header.clear_after) {
        if episode.state == State::Firing {
            episode.state = State::Recovering;
            episode.note(events, at, EventKind::Recovering, "");
        }
        return;
    }
    episode.cleared_at = Some(at);
    if rule.latches && episode.handling.acknowledged.is_none() {
        episode.state = State::Latched;
        episode.note(events, at, EventKind::Latched, "");
    } else {
        end(episode, End::Cleared, at, events);
    }
}

fn relapse(episode: &mut Episode, at: DateTime<Utc>, events: &mut Vec<Event>) {
    episode.clear_since = None;
    if episode.state == State::Recovering {
        episode.state = State::Firing;
        episode.note(events, at, EventKind::Relapsed, "");
    }
}

fn fire_if_held(episode: &mut Episode, rule: &Rule, evidence: Option<&Evidence<'_>>, events: &mut Vec<Event>) {
    if episode.state == State::Pending && episode.last_at - episode.started_at >= as_delta(rule.header.hold) {
        episode.state = State::Firing;
        episode.firing_at = Some(episode.last_at);
        if let Some(evidence) = evidence {
            episode.text = (evidence.text)().into();
        }
        let text = Arc::clone(&episode.text);
        episode.note(events, episode.last_at, EventKind::Firing, &text);
    }
}

/// A length of time; one that is longer than time itself never passes.
fn as_delta(length: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}
