//! What is measured of a patient.

use chrono::{DateTime, Utc};

/// Within how many seconds of the start events begin, unless something else is asked for.
pub const ONSET: std::ops::Range<f64> = 15.0..60.0;

/// What can be measured. The names are those of a job's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vital {
    /// Heart rate from the ECG, `/min`.
    HeartRate,
    /// Pulse rate from the oximeter, `/min`.
    Pulse,
    /// Respiratory rate, `/min`.
    RespiratoryRate,
    /// Oxygen saturation, `%`.
    Spo2,
    /// Systolic blood pressure, `mm[Hg]`.
    SystolicBp,
    /// Diastolic blood pressure, `mm[Hg]`.
    DiastolicBp,
    /// Body temperature, `Cel`.
    Temperature,
    /// Glucose, `mg/dL`.
    GlucoseLevel,
    /// Whether the patient exercises, 0 or 1.
    SportMode,
    /// Whether oxygen is given, 0 or 1.
    Oxygen,
    /// How awake the patient is: the place in [`ACVPU`].
    Consciousness,
}

/// Alert, newly confused, responding to voice, responding to pain, unresponsive.
pub const ACVPU: [&str; 5] = ["A", "C", "V", "P", "U"];

impl Vital {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::HeartRate,
        Self::Pulse,
        Self::RespiratoryRate,
        Self::Spo2,
        Self::SystolicBp,
        Self::DiastolicBp,
        Self::Temperature,
        Self::GlucoseLevel,
        Self::SportMode,
        Self::Oxygen,
        Self::Consciousness,
    ];

    /// The name of the column that takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HeartRate => "heart_rate",
            Self::Pulse => "pulse",
            Self::RespiratoryRate => "respiratory_rate",
            Self::Spo2 => "spo2",
            Self::SystolicBp => "systolic_bp",
            Self::DiastolicBp => "diastolic_bp",
            Self::Temperature => "temperature",
            Self::GlucoseLevel => "glucose_level",
            Self::SportMode => "sport_mode",
            Self::Oxygen => "oxygen",
            Self::Consciousness => "consciousness",
        }
    }

    /// The vital called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vital| vital.name() == name)
    }
}

/// One measurement of one patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The patient's id.
    pub patient: String,
    /// When it was measured, by the device's clock.
    pub at: DateTime<Utc>,
    /// What was measured; a vital whose sensor gives nothing is left out.
    pub values: Vec<(Vital, f64)>,
}
