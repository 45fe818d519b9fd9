//! What to do about each thing that is not being watched.

use wardwatch_alert::{
    CLOCK_AHEAD, CLOCK_DIFFERS, CLOCK_STEP, DEVICES_DISAGREE, DOUBTFUL, HOST_CLOCK, KAFKA_AWAY, LIMIT_MISSING,
    PARTITION_STALLED, RECORDS_LOST, REFERENCE_LOST, REFERENCE_UNREAD, REJECTED, STORE_AWAY, TABLE_AT_FAULT,
    TABLE_INCOMPLETE, UNATTACHED, UNJUDGED, UNREACHED, Why,
};

/// What to do where a rule does not judge a patient.
#[must_use]
pub fn remedy_of(cause: Why) -> &'static str {
    match cause {
        Why::NoBatch => NO_BATCH_REMEDY,
        Why::KafkaAway => KAFKA_REMEDY,
        Why::PartitionStalled => PARTITION_REMEDY,
        Why::QueryFailing => "mend the query's file",
        Why::Clock => "set the device's clock, or `time_zone` in the job file",
        Why::Rejected => "see `rejects` for each record with its reason, and mend what sends them",
        Why::NotAttached => {
            "see on whom the monitor is: take it off who has left, or have it said by `wardwatch encounters admit` whose it is"
        }
        Why::Suppressed => "go to the patient, and see to the sensor, lead or monitor that the technical alert names",
        Why::Late => "set the device's clock, mend what holds its records up, or raise `lateness` in the job file",
        Why::BadValue => "see what the device sends: `artefacts` has each value with the reason",
        Why::NoValue => "see whether the sensor is on and sends; a patient who has left is to be discharged",
        Why::Paused => "end it by `wardwatch alerts end`, if it is not meant to last",
    }
}

/// What to do about a technical alert of the job's own; `None` where the alert is a rule's.
#[must_use]
pub fn remedy_of_alert(rule: &str) -> Option<&'static str> {
    let remedy = match rule {
        UNREACHED => "go to the patient, then see in `deliveries` why the receiver does not answer",
        UNJUDGED => "put the sensor on, or mend what the text says; discharge a patient who has left",
        UNATTACHED => remedy_of(Why::NotAttached),
        DEVICES_DISAGREE => "look at the patient, then at the sensors",
        CLOCK_STEP => "see whether the device's clock is right now",
        CLOCK_AHEAD | CLOCK_DIFFERS => "set the devices' clocks",
        DOUBTFUL => "go to the patient; have the rule read the column's doubtful values",
        REJECTED => remedy_of(Why::Rejected),
        TABLE_AT_FAULT => TABLE_REMEDY,
        TABLE_INCOMPLETE => INCOMPLETE_REMEDY,
        HOST_CLOCK => CLOCK_REMEDY,
        REFERENCE_UNREAD => {
            "mend the table that the text names, or its rights; what was changed in it since does not count before"
        }
        LIMIT_MISSING => {
            "set the default again by `wardwatch limits set --default`; one that is not wanted is to be taken out of the set's \
             seeds/limits.csv, too"
        }
        REFERENCE_LOST => {
            "stop the job, put the table back under its name and start it; or set again what people had set: `reference_changes` has \
             it. Then acknowledge the alert"
        }
        RECORDS_LOST => {
            "look after the patients whom it concerns; have the topic keep records for longer than the job may be away; acknowledge the \
             alert when that is done"
        }
        KAFKA_AWAY => KAFKA_REMEDY,
        PARTITION_STALLED => PARTITION_REMEDY,
        STORE_AWAY => STORE_REMEDY,
        _ => return None,
    };
    Some(remedy)
}

pub(super) const NO_BATCH_REMEDY: &str =
    "watch the patients by their monitors; see whether the job runs, and what it logs";
pub(super) const KAFKA_REMEDY: &str =
    "watch the patients by their monitors; see to the brokers and the topic: reading goes on by itself when it can";
/// What to do while the store does not answer.
pub const STORE_REMEDY: &str = "watch the patients by their monitors; see to the database: the job goes on by itself when it \
                                answers, and loses no record";
pub(super) const PARTITION_REMEDY: &str = "see whether the partition has a leader, whether the job's account may read it, and whether the schema registry answers, if the job \
     has one; reading goes on by itself";
pub(super) const TABLE_REMEDY: &str =
    "mend the table or its rights; the rows that wait are written then, the oldest first";
pub(super) const INCOMPLETE_REMEDY: &str =
    "read those batches again into another table, or take note of the gap; then delete the row of `incomplete_tables`";
pub(super) const CLOCK_REMEDY: &str = "set the clock of wardwatch's machine right, by a time server";
