//! The words of the field as types: what has a unit or an identity gets a type of its own.
//!
//! Nothing here reads, writes or computes; the meanings are those of the crate's front page.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};

/// A partition of one of the job's topics. Of the first topic the number is Kafka's; see [`Topics`](crate::topics::Topics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// The position of a record in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

/// The number of a micro-batch of one job, counted from 1 without holes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

impl BatchId {
    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A half-open range of offsets; `end` is the next offset to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first offset of the range.
    pub start: Offset,
    /// The offset after the last one.
    pub end: Offset,
}

/// What a micro-batch covers, partition by partition.
pub type Ranges = BTreeMap<Partition, OffsetRange>;

/// Where reading goes on, partition by partition: the next offset.
pub type Positions = BTreeMap<Partition, Offset>;

/// The greatest event time that a partition has seen, less the allowed lateness.
///
/// It only moves forward. The definition is Spark's (Structured Streaming Programming Guide, "Handling
/// Late Data and Watermarking"), kept per partition as in Flink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watermark(pub DateTime<Utc>);

/// The tables of the store that tell who may see the page, who is logged in, and who has looked at what. No SQL reads them,
/// and no job file names one: what is read so is shown to people who must not see hashes of passwords, nor which nurse looked at
/// whom.
pub const PRIVATE_TABLES: [&str; 4] = ["users", "sessions", "api_tokens", "audit"];

/// Whether a name may lead to one of [`PRIVATE_TABLES`]. Databases differ in which names they take for the same: SQLite and some
/// servers of MySQL know "USERS" as "users".
#[must_use]
pub fn is_private_table(table: &str) -> bool {
    PRIVATE_TABLES.contains(&table.to_lowercase().as_str())
}

/// Why a private table is refused.
#[must_use]
pub fn private_table(table: &str) -> String {
    format!(
        "table \"{table}\" is not for SQL: it tells who may see the page and who has looked at what, which `wardwatch users` \
         shows"
    )
}

macro_rules! shows_its_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
shows_its_number!(Partition, Offset, BatchId);

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// The priorities of IEC 60601-1-8, and the conditions that concern the signal and not the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The signal, not the patient.
    Technical,
    /// Awareness.
    Low,
    /// Prompt response.
    Medium,
    /// Immediate response.
    High,
}

impl Severity {
    /// All of them, the most pressing first.
    pub const ALL: [Self; 4] = [Self::High, Self::Medium, Self::Low, Self::Technical];

    /// The name used in headers and in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Technical => "technical",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The severity called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// What a user of the page may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See numbers and alerts, without the names of patients.
    Viewer,
    /// See names, acknowledge, pause and silence.
    Nurse,
    /// Set limits.
    Admin,
}

impl Role {
    /// All of them, the one that may least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Nurse, Self::Admin];

    /// The name used on the command line and in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Nurse => "nurse",
            Self::Admin => "admin",
        }
    }

    /// The role called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}
