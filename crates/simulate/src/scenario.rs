//! What can happen to a patient or a device.

use super::Vital;

/// A course of events. The clinical ones move several vitals together, as the illness would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Nothing: a stable patient.
    Stable,
    /// Infection: fast heart and breathing, fever, falling pressure and saturation.
    Sepsis,
    /// Blood loss: fast heart, falling pressure.
    Bleeding,
    /// Lack of oxygen: falling saturation, fast breathing.
    Hypoxia,
    /// The electrodes come off: no heart rate, respiration 0.
    LeadOff,
    /// The device sends nothing.
    DeviceOffline,
    /// The device's clock is an hour ahead.
    ClockWrong,
    /// Every record comes twice.
    Duplicates,
    /// Records wait in the device and come in bursts.
    LateBursts,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Stable,
        Self::Sepsis,
        Self::Bleeding,
        Self::Hypoxia,
        Self::LeadOff,
        Self::DeviceOffline,
        Self::ClockWrong,
        Self::Duplicates,
        Self::LateBursts,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Sepsis => "sepsis",
            Self::Bleeding => "bleeding",
            Self::Hypoxia => "hypoxia",
            Self::LeadOff => "lead-off",
            Self::DeviceOffline => "device-offline",
            Self::ClockWrong => "clock-wrong",
            Self::Duplicates => "duplicates",
            Self::LateBursts => "late-bursts",
        }
    }

    /// The scenario called `name`.
    ///
    /// # Errors
    /// There is none; the nearest is named.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let names = Self::ALL.iter().map(|scenario| scenario.name());
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| wardwatch_model::diagnostic::unknown("scenario", name, names))
    }

    /// Whether nurses give oxygen as it gets worse.
    pub(super) fn needs_oxygen(self) -> bool {
        matches!(self, Self::Sepsis | Self::Hypoxia)
    }

    /// Whether the patient is newly confused at its height.
    pub(super) fn confuses(self) -> bool {
        self == Self::Sepsis
    }

    /// By how much the scenario at its height moves a vital.
    pub(super) fn shift(self, vital: Vital) -> f64 {
        match (self, vital) {
            (Self::Sepsis, Vital::HeartRate) => 48.0,
            (Self::Sepsis, Vital::RespiratoryRate) => 14.0,
            (Self::Sepsis, Vital::Temperature) => 2.4,
            (Self::Sepsis, Vital::SystolicBp) => -34.0,
            (Self::Sepsis, Vital::DiastolicBp) => -22.0,
            (Self::Sepsis, Vital::Spo2) => -5.0,
            (Self::Bleeding, Vital::HeartRate) => 55.0,
            (Self::Bleeding, Vital::RespiratoryRate) => 8.0,
            (Self::Bleeding, Vital::SystolicBp) => -48.0,
            (Self::Bleeding, Vital::DiastolicBp) => -26.0,
            (Self::Bleeding, Vital::Temperature) => -0.6,
            (Self::Hypoxia, Vital::Spo2) => -13.0,
            (Self::Hypoxia, Vital::RespiratoryRate) => 11.0,
            (Self::Hypoxia, Vital::HeartRate) => 22.0,
            _ => 0.0,
        }
    }
}
