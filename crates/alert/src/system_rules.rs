//! The rules that the job itself has: what each is called.

use chrono::TimeDelta;

use wardwatch_model::diagnostic::unknown;

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

/// A table lacks rows for good.
pub const TABLE_INCOMPLETE: &str = "table_incomplete";

/// Reference tables cannot be read again.
pub const REFERENCE_UNREAD: &str = "reference_unread";

/// Reference tables were gone, and were made from their seeds.
pub const REFERENCE_LOST: &str = "reference_lost";

/// A vital that rules judge by limits has no default limit any more.
pub const LIMIT_MISSING: &str = "limit_missing";

/// The clock of the machine that the job runs on is behind.
pub const HOST_CLOCK: &str = "host_clock";

/// Kafka does not answer.
pub const KAFKA_AWAY: &str = "kafka_away";

/// Partitions have records, or no leader, and none is read of them.
pub const PARTITION_STALLED: &str = "partition_stalled";

/// Kafka has deleted records before they were read.
pub const RECORDS_LOST: &str = "records_lost";

/// The store does not answer. Receivers are told of it from memory; in the store it stands once it is over.
pub const STORE_AWAY: &str = "store_away";

/// Readings come that belong to nobody.
pub const UNATTACHED: &str = "unattached";

/// A clock of the job's machine that is behind by more than this is told of.
pub const HOST_CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// The names under which the job opens technical alerts of its own, each with what such an alert says. No query of
/// analysts bears one of them.
pub const SYSTEM_RULES: [(&str, &str); 19] = [
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
    (TABLE_INCOMPLETE, "a table lacks rows for good"),
    (REFERENCE_UNREAD, "reference tables cannot be read again"),
    (REFERENCE_LOST, "reference tables were gone, and were made from their seeds"),
    (LIMIT_MISSING, "a vital has no default limit any more"),
    (HOST_CLOCK, "this machine's clock is behind the last batch"),
    (KAFKA_AWAY, "Kafka does not answer"),
    (PARTITION_STALLED, "a partition is not read"),
    (RECORDS_LOST, "Kafka has deleted records before they were read"),
    (STORE_AWAY, "the store does not answer"),
];

/// Whether alerts under this name are the job's own.
#[must_use]
pub fn is_system_rule(name: &str) -> bool {
    SYSTEM_RULES.iter().any(|(rule, _)| *rule == name)
}

/// Makes sure that alerts can be silenced by the name `rule`: one of `rules`, or of the job's own. A name that nothing bears would be
/// silenced in vain.
///
/// # Errors
/// Nothing bears it; the nearest name is told.
pub fn check_rule<'a>(rule: &str, rules: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let known: Vec<&str> = rules.chain(SYSTEM_RULES.map(|(name, _)| name)).collect();
    if known.contains(&rule) { Ok(()) } else { Err(unknown("rule", rule, known.into_iter())) }
}
