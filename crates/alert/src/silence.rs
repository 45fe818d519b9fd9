//! What people have asked to be quiet about.

use std::fmt;

use chrono::{DateTime, Utc};

use wardwatch_model::terms::Severity;

use super::episode::Episode;
use super::wards::Wards;

/// What an action is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionId(pub String);

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why people are not to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceKind {
    /// Somebody is at the bed: for as long as the job allows, two minutes by default.
    Pause,
    /// For a reason, and for as long as its author says.
    Silence,
}

impl SilenceKind {
    const ALL: [Self; 2] = [Self::Pause, Self::Silence];

    /// The name used in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Silence => "silence",
        }
    }

    /// The kind called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a silence covers; an empty part covers everything, but not all three are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// A patient.
    pub patient: String,
    /// A ward.
    pub ward: String,
    /// A rule.
    pub rule: String,
}

impl Scope {
    pub(crate) fn covers(&self, episode: &Episode, wards: &Wards) -> bool {
        let fits = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        fits(&self.patient, &episode.patient)
            && fits(&self.rule, &episode.rule)
            && fits(&self.ward, wards.of(&episode.patient))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("patient", &self.patient), ("ward", &self.ward), ("rule", &self.rule)];
        let named: Vec<String> =
            parts.iter().filter(|(_, name)| !name.is_empty()).map(|(what, name)| format!("{what} {name}")).collect();
        f.write_str(&named.join(", "))
    }
}

/// A silence or pause that holds, or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The action that asked for it.
    pub id: ActionId,
    /// A pause or a silence.
    pub kind: SilenceKind,
    /// What it covers.
    pub scope: Scope,
    /// Nothing above this severity is hidden.
    pub up_to: Severity,
    /// Since when.
    pub from: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Silence {
    /// Whether people are not to be told of `episode` at `now`.
    #[must_use]
    pub fn hides(&self, episode: &Episode, wards: &Wards, now: DateTime<Utc>) -> bool {
        self.until > now && episode.severity <= self.up_to && self.scope.covers(episode, wards)
    }
}
