//! Technical alerts of the job's own: not of a query's rows, but of what the job knows of itself.
//!
//! Such an alert fires at once and ends at once, and stands in `alerts` beside those of rules, so that the page, receivers
//! and reports need not know the difference.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::terms::Severity;

use super::episode::{End, Episode, EpisodeId, Event, EventKind, Handling, Peak, State};
use super::lifecycle;
use super::open::{Moment, OpenEpisodes};

/// Nobody has taken a notice for too long.
pub const UNREACHED: &str = "unreached";

/// A rule does not judge a patient.
pub const UNJUDGED: &str = "unjudged";
/// Two devices of a patient say different things.
pub const DEVICES_DISAGREE: &str = "devices_disagree";
/// The clock of a device was set.
pub const CLOCK_STEP: &str = "clock_step";
/// The clock of a device is ahead.
pub const CLOCK_AHEAD: &str = "clock_ahead";
/// The clocks of a patient's devices differ.
pub const CLOCK_DIFFERS: &str = "clock_differs";
/// No record of a patient can become a row.
pub const REJECTED: &str = "rejected";
/// A value came that may be true and deadly, and no rule reads it.
pub const DOUBTFUL: &str = "doubtful";
/// A table does not take its rows.
pub const TABLE_AT_FAULT: &str = "table_at_fault";
/// Readings come that belong to nobody.
pub const UNATTACHED: &str = "unattached";

/// The names under which the job opens technical alerts of its own, each with what such an alert says. No query of
/// analysts bears one of them.
pub const SYSTEM_RULES: [(&str, &str); 10] = [
    (UNREACHED, "nobody has taken what there is to tell of an alert"),
    (UNJUDGED, "a patient is not judged by a rule"),
    (UNATTACHED, "readings come that belong to nobody"),
    (DEVICES_DISAGREE, "two devices of one patient say different things"),
    (CLOCK_STEP, "the clock of a device was set"),
    (CLOCK_AHEAD, "the clock of a device is ahead"),
    (CLOCK_DIFFERS, "the clocks of a patient's devices differ"),
    (DOUBTFUL, "a value may be true though it is not plausible, and no rule reads it"),
    (REJECTED, "no record of a patient can become a row"),
    (TABLE_AT_FAULT, "a table does not take its rows"),
];

/// Whether alerts under this name are the job's own.
#[must_use]
pub fn is_system_rule(name: &str) -> bool {
    SYSTEM_RULES.iter().any(|(rule, _)| *rule == name)
}

impl OpenEpisodes {
    /// Has the alert `rule` of the job's own stand for `patients`, and for nobody else.
    ///
    /// `text` is asked for what to tell of a patient of whom it begins; the empty patient is the ward. An alert that stands
    /// already stays as it is, so that nothing is written for it.
    pub(super) fn stand(
        &mut self,
        rule: &str,
        patients: &BTreeSet<&str>,
        text: &dyn Fn(&str) -> String,
        (now, event_now): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let standing = self.rules.get(rule).into_iter().flatten();
        let live: BTreeSet<Arc<str>> =
            standing.filter(|(_, standing)| standing.live.is_some()).map(|(patient, _)| Arc::clone(patient)).collect();
        let begins = patients.iter().filter(|patient| !live.contains(**patient));
        let ends = live.iter().filter(|patient| !patients.contains(&***patient));
        let steps: Vec<(&str, bool)> =
            begins.map(|patient| (*patient, true)).chain(ends.map(|patient| (&**patient, false))).collect();
        if steps.is_empty() {
            return;
        }
        for (patient, is_true) in steps {
            let standing = self.rules.get_mut(rule).and_then(|patients| patients.get_mut(patient));
            let before = standing.and_then(|standing| standing.live.take());
            let mut events = Vec::new();
            let episode = match before {
                None if is_true => fire(rule, patient, &text(patient), (now, event_now), &mut events),
                None => continue,
                Some(before) => {
                    let mut episode = Arc::unwrap_or_clone(before);
                    episode.cleared_at = Some(event_now.max(episode.known_at));
                    lifecycle::end(&mut episode, End::Cleared, event_now, &mut events);
                    episode
                }
            };
            self.record(Arc::new(episode), events);
        }
    }
}

impl OpenEpisodes {
    /// Has a technical alert of the ward stand while records come that are nobody's; `told` says whose, and is empty while none come.
    pub fn judge_unattached(&mut self, told: &str, moment: &Moment<'_>) {
        let ward = if told.is_empty() { BTreeSet::new() } else { BTreeSet::from([""]) };
        self.stand(UNATTACHED, &ward, &|_| told.to_owned(), (moment.now, moment.event_now));
    }
}

/// An alert of ours as it begins: it has fired.
fn fire(
    rule: &str,
    patient: &str,
    text: &str,
    (now, at): (DateTime<Utc>, DateTime<Utc>),
    events: &mut Vec<Event>,
) -> Episode {
    let text: Arc<str> = text.into();
    let mut episode = Episode {
        id: EpisodeId::of(rule, patient, at),
        rule: rule.into(),
        patient: patient.into(),
        severity: Severity::Technical,
        state: State::Firing,
        started_at: at,
        firing_at: Some(at),
        last_at: at,
        known_at: at,
        clear_since: None,
        cleared_at: None,
        ended_at: None,
        end: None,
        samples: 1,
        peak: Peak { value: None, limit: None, at, text: Arc::clone(&text) },
        text: Arc::clone(&text),
        stale_at: None,
        suppressed_by: None,
        tracks: Vec::new(),
        handling: Handling { fired_now: Some(now), ..Handling::default() },
        events: 0,
    };
    episode.note(events, at, EventKind::Pending, &text);
    episode.note(events, at, EventKind::Firing, &text);
    episode
}
