//! What a simulated ward is to be like.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Scenario;

/// What ward to simulate.
#[derive(Debug, Clone)]
pub struct WardOptions {
    /// How many patients.
    pub patients: u32,
    /// The same seed gives the same records.
    pub seed: u64,
    /// The event time of the first samples.
    pub start: DateTime<Utc>,
    /// The time between two samples of one patient.
    pub interval: Duration,
    /// When events begin after the start; each patient has its own moment within this range of seconds.
    pub onset: std::ops::Range<f64>,
    /// How long they last; then patients recover, and devices work again. Without it, they do not end.
    pub lasts: Option<Duration>,
    /// What happens, in turn to the first patients; the others are stable.
    pub scenarios: Vec<Scenario>,
}
