//! What people and hospital systems ask for: that somebody comes, moves or goes, or did not.

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

/// What a request is called.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub String);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Somebody comes, moves or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is called.
    pub id: RequestId,
    /// What happens.
    pub kind: Kind,
    /// To whom.
    pub patient: String,
    /// From when on, in event time.
    pub at: DateTime<Utc>,
    /// Until when, where that is known; of a discharge there is none.
    pub until: Option<DateTime<Utc>>,
    /// What is said beside.
    pub given: Given,
    /// Of a merge: the id that is no patient's any more. Otherwise empty.
    pub merged: String,
    /// The stay that it is about, as the hospital's system calls it; empty where nobody says.
    pub stay: String,
    /// Who says so.
    pub origin: Origin,
    /// The person, or the system.
    pub by: String,
    /// What others should know.
    pub note: String,
}

impl Request {
    /// The same under a name that is made of it and of when it was asked, so nobody asks for the same twice by accident.
    #[must_use]
    pub fn named(self, asked_at: DateTime<Utc>) -> Self {
        let digest = Sha256::digest(format!("{}\n{self:?}", asked_at.timestamp_micros()).as_bytes());
        let id = RequestId(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect());
        Self { id, ..self }
    }
}

/// What a request says; what it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The device or bed that the patient is attached to.
    pub device: String,
    /// The ward.
    pub ward: String,
    /// The place in it.
    pub place: String,
    /// The patient's name.
    pub name: String,
    /// The day of birth, `2019-05-04`.
    pub born: String,
    /// The age band whose limits hold.
    pub age_band: String,
}

impl Given {
    /// What is said of the patient, wherever they lie.
    #[must_use]
    pub fn details(&self) -> Self {
        let Self { name, born, age_band, .. } = self.clone();
        Self { name, born, age_band, ..Self::default() }
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The patient comes, or is attached to one more device.
    Admit,
    /// The patient lies elsewhere; a device that is named takes the place of all others.
    Move,
    /// The patient goes.
    Discharge,
    /// What is known of the patient is other than was said; where the patient lies stays as it is.
    Update,
    /// The patient did not come, or not yet.
    CancelAdmit,
    /// The patient lies where they lay before the last move.
    CancelMove,
    /// The patient did not go.
    CancelDischarge,
    /// Another id is the same patient's: what was said of it was said of them.
    Merge,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Admit,
        Self::Move,
        Self::Discharge,
        Self::Update,
        Self::CancelAdmit,
        Self::CancelMove,
        Self::CancelDischarge,
        Self::Merge,
    ];

    /// The name used in the store and at the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Move => "move",
            Self::Discharge => "discharge",
            Self::Update => "update",
            Self::CancelAdmit => "cancel_admit",
            Self::CancelMove => "cancel_move",
            Self::CancelDischarge => "cancel_discharge",
            Self::Merge => "merge",
        }
    }

    /// The kind called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A person wrote a row or a command.
    Manual,
    /// A topic of the hospital's system.
    Topic,
}

impl Origin {
    /// The name used in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Topic => "topic",
        }
    }

    /// The origin called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Manual, Self::Topic].into_iter().find(|origin| origin.name() == name)
    }
}
