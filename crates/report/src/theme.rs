//! The colours and sizes of everything that is drawn, in light and dark.

use wardwatch_model::terms::Severity;

use super::canvas::Ink;

/// Light for paper, dark for a ward at night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Dark on white.
    #[default]
    Light,
    /// Light on black.
    Dark,
}

/// How an episode is drawn: its bar, what is written in it, and the sign of its severity.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeverityLook {
    pub(super) fill: Ink,
    pub(super) ink: Ink,
    pub(super) is_outlined: bool,
    pub(super) sign: &'static str,
}

impl Theme {
    fn pick(self, light: u32, dark: u32) -> Ink {
        Ink(if self == Self::Light { light } else { dark }, 1.0)
    }

    pub(super) fn background(self) -> Ink {
        self.pick(0xFFFFFF, 0x0F1419)
    }

    pub(super) fn rule(self) -> Ink {
        self.pick(0xD9DEE5, 0x2B343F)
    }

    pub(super) fn text(self) -> Ink {
        self.pick(0x1B2430, 0xE8EDF2)
    }

    pub(super) fn quiet(self) -> Ink {
        self.pick(0x5B6775, 0x9AA7B4)
    }

    /// A normal range.
    pub(super) fn normal(self) -> Ink {
        match self {
            Self::Light => Ink(0x2E7D32, 0.08),
            Self::Dark => Ink(0x66BB6A, 0.10),
        }
    }

    /// The line of a limit.
    pub(super) fn limit(self) -> Ink {
        Ink(self.pick(0xC62828, 0xEF5350).0, 0.55)
    }

    pub(super) fn severity(self, severity: Severity) -> SeverityLook {
        let (white, black) = (Ink(0xFFFFFF, 1.0), Ink(0x000000, 1.0));
        let look = |fill, ink, is_outlined, sign| SeverityLook { fill, ink, is_outlined, sign };
        match severity {
            Severity::High => look(Ink(0xC62828, 1.0), white, false, "*** "),
            Severity::Medium => look(Ink(0xF9C20A, 1.0), black, false, "** "),
            Severity::Low => look(Ink(0x006B76, 1.0), white, false, "* "),
            Severity::Technical => look(self.background(), self.pick(0x006B76, 0x26C6DA), true, "sensor: "),
        }
    }

    /// Okabe and Ito's colours, which colour-blind readers can tell apart; a vital has its own wherever it is drawn.
    pub(super) fn series(self, name: &str, index: usize) -> Ink {
        const OTHERS: [u32; 6] = [0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7, 0xB8860B, 0x56B4E9];
        let vitals = [
            ("heart_rate", 0x009E73),
            ("spo2", 0x0072B2),
            ("respiratory_rate", 0xB8860B),
            ("systolic", 0xD55E00),
            ("diastolic", 0xD55E00),
            ("temperature", 0xCC79A7),
            ("pulse", 0x56B4E9),
            ("score", 0x5B6775),
            ("news2", 0x5B6775),
        ];
        let own = vitals.iter().find(|(vital, _)| name.starts_with(vital)).map(|(_, colour)| *colour);
        Ink(own.unwrap_or(OTHERS[index % OTHERS.len()]), 1.0)
    }

    /// A score's cell and its number: darker is worse, so that it reads in black and white too.
    pub(super) fn score(self, value: f64, steps: &[f64]) -> (Ink, Ink) {
        const CELLS: [(u32, u32); 5] = [
            (0xE8EEF4, 0x1B2430),
            (0xC9D8E6, 0x1B2430),
            (0xF9C20A, 0x000000),
            (0xE07B39, 0x000000),
            (0xA3161A, 0xFFFFFF),
        ];
        let passed = steps.iter().filter(|step| value >= **step).count();
        let (fill, ink) = CELLS[(passed * (CELLS.len() - 1)).div_ceil(steps.len().max(1)).min(CELLS.len() - 1)];
        (Ink(fill, 1.0), Ink(ink, 1.0))
    }
}
