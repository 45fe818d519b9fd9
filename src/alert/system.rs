//! Technical alerts of the job's own: not of a query's rows, but of what the job knows of itself.
//!
//! Such an alert fires at once and ends at once, and stands in `alerts` beside those of rules, so that the page, receivers
//! and reports need not know the difference.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::query::{Extreme, RuleHeader};
use crate::terms::Severity;

use super::lifecycle::{self, Evidence, Sample, Truth};
use super::open::{Judged, MOMENT, OpenEpisodes};
use super::{Measure, Rule};

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
/// A table does not take its rows.
pub const TABLE_AT_FAULT: &str = "table_at_fault";
/// Readings come that belong to nobody.
pub const UNATTACHED: &str = "unattached";

/// The names under which the job opens technical alerts of its own, each with what such an alert says. No query of
/// analysts bears one of them.
pub const SYSTEM_RULES: [(&str, &str); 9] = [
    (UNREACHED, "nobody has taken what there is to tell of an alert"),
    (UNJUDGED, "a patient is not judged by a rule"),
    (UNATTACHED, "readings come that belong to nobody"),
    (DEVICES_DISAGREE, "two devices of one patient say different things"),
    (CLOCK_STEP, "the clock of a device was set"),
    (CLOCK_AHEAD, "the clock of a device is ahead"),
    (CLOCK_DIFFERS, "the clocks of a patient's devices differ"),
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
        let rule = as_rule(rule);
        for (patient, is_true) in steps {
            let standing = self.rules.get_mut(&rule.name).and_then(|patients| patients.get_mut(patient));
            let before = standing.and_then(|standing| standing.live.take());
            let at = before.as_ref().map_or(event_now, |episode| event_now.max(episode.known_at));
            let text = || text(patient);
            let truth = match is_true {
                true => Truth::True(Evidence { value: None, limit: None, text: &text }),
                false => Truth::False,
            };
            let sample = Sample {
                stream: &MOMENT,
                at,
                stamped: at.timestamp_micros(),
                valid_for: TimeDelta::MAX,
                truth,
                suppressed_by: None,
            };
            let mut events = Vec::new();
            let before = before.map(Arc::unwrap_or_clone);
            if let Some(mut episode) = lifecycle::step(&rule, patient, before, &sample, &|_, _| true, &mut events) {
                episode.handling.fired_now.get_or_insert(now);
                self.record(Arc::new(episode), events);
            }
        }
    }
}

/// A rule of ours as the lifecycle knows rules.
fn as_rule(name: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        header: RuleHeader::new(Severity::Technical),
        message: None,
        judged: Judged::ByBatch,
        looks_back: false,
        vitals: Vec::new(),
        stale_after: Duration::MAX,
        latches: false,
        suppressed_by: Vec::new(),
        measure: Measure { value: None, limit: None, worse: Extreme::Max },
    }
}
