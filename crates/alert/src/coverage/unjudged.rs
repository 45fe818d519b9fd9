//! Whom which rule does not judge, and why.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

/// In the place of a rule: every rule about patients.
pub const EVERY_RULE: &str = "*";

/// A rule that does not judge a patient, or whose alarms nobody is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The patient; empty where no patient is named: it is everybody, or somebody whom nobody knows.
    pub patient: Arc<str>,
    /// How many patients it is about: one where one is named.
    pub patients: usize,
    /// The rule, or [`EVERY_RULE`].
    pub rule: String,
    /// The last event time that it has judged, where there is one.
    pub judged_until: Option<DateTime<Utc>>,
    /// Since when it has not, by the job's clock.
    pub since: DateTime<Utc>,
    /// Why.
    pub cause: Why,
    /// More about it, without values.
    pub detail: String,
    /// The technical rule whose alert says so already. It is known where coverage is found out, and not stored.
    pub told_by: Option<String>,
}

/// Why a rule does not judge a patient. Where there are several reasons, the first of these is to be mended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// No batch is committed. Nobody can write that down: whoever reads the store finds it out.
    NoBatch,
    /// Kafka does not answer.
    KafkaAway,
    /// The partition of the patient's records is not read.
    PartitionStalled,
    /// The query fails.
    QueryFailing,
    /// Its records are rejected because a clock is wrong.
    Clock,
    /// Its records are rejected.
    Rejected,
    /// Its records are nobody's, or nobody is attached to a device.
    NotAttached,
    /// A technical alert says that its values mean nothing.
    Suppressed,
    /// What comes is too late for the windows that it reads, or these wait for a partition that is behind.
    Late,
    /// What comes for it cannot be read, or cannot be true.
    BadValue,
    /// A vital has had no value for longer than one is valid.
    NoValue,
    /// It is judged, but somebody has asked that nobody be told.
    Paused,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoBatch,
        Self::KafkaAway,
        Self::PartitionStalled,
        Self::QueryFailing,
        Self::Clock,
        Self::Rejected,
        Self::NotAttached,
        Self::Suppressed,
        Self::Late,
        Self::BadValue,
        Self::NoValue,
        Self::Paused,
    ];

    /// The name used in the store, in metrics and by programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoBatch => "no batch",
            Self::KafkaAway => "kafka away",
            Self::PartitionStalled => "partition stalled",
            Self::QueryFailing => "query failing",
            Self::Clock => "clock",
            Self::Rejected => "records rejected",
            Self::NotAttached => "not attached",
            Self::Suppressed => "suppressed",
            Self::Late => "late",
            Self::BadValue => "bad value",
            Self::NoValue => "no value",
            Self::Paused => "paused",
        }
    }

    /// The cause called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }

    /// Whether another alert of the job's own, or a technical rule's, or a person, says so already.
    pub(super) fn is_told_elsewhere(self) -> bool {
        !matches!(self, Self::QueryFailing | Self::Late | Self::BadValue | Self::NoValue)
    }
}

impl Unjudged {
    /// The cause in words: `no valid SpO₂`.
    #[must_use]
    pub fn why(&self) -> String {
        let detail = &self.detail;
        match self.cause {
            Why::NoBatch => format!("no batch is committed: {detail}"),
            Why::KafkaAway if detail.is_empty() => "Kafka does not answer, so no new value comes".to_owned(),
            Why::KafkaAway => format!("nothing is read of Kafka: {detail}"),
            Why::PartitionStalled => format!("records wait that cannot be read: {detail}"),
            Why::Clock | Why::Rejected => format!("no record can be read: {detail}"),
            Why::QueryFailing | Why::NotAttached | Why::Late | Why::BadValue | Why::Paused => detail.clone(),
            Why::Suppressed => format!("the alert {detail} says that its values mean nothing"),
            Why::NoValue if self.rule == EVERY_RULE => detail.clone(),
            Why::NoValue => format!("no valid {detail}"),
        }
    }
}

/// How many patients some rule does not judge.
#[must_use]
pub fn unjudged_patients(unjudged: &[Unjudged]) -> usize {
    let named: BTreeSet<&str> =
        unjudged.iter().filter(|one| !one.patient.is_empty()).map(|one| &*one.patient).collect();
    let unnamed = || unjudged.iter().filter(|one| one.patient.is_empty());
    let everybody = unnamed().filter(|one| one.cause != Why::NotAttached).map(|one| one.patients).max();
    let strangers = unnamed().filter(|one| one.cause == Why::NotAttached).map(|one| one.patients).max();
    named.len().max(everybody.unwrap_or(0)) + strangers.unwrap_or(0)
}

/// What comes for the vitals of patients and is no value.
pub type BadValues = HashMap<(Arc<str>, String), BadValue>;

/// What comes for a vital and is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// When the first came of those that are remembered.
    pub first: DateTime<Utc>,
    /// When the last came.
    pub last: DateTime<Utc>,
    /// Why that is none.
    pub reason: String,
}

/// What is told of values of a vital, by its label, that are none.
#[must_use]
pub fn bad_text(label: &str, reason: &str) -> String {
    format!("what is sent as {label} {reason}")
}
