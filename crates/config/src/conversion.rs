//! Units as records and people name them, and how a value in one becomes a value in another.
//!
//! Units are UCUM's (the Unified Code for Units of Measure, <https://ucum.org>), and the usual names of those that stand in records of
//! vitals: `°F`, `mmHg`, `bpm`.

use ucum::{Analysis, UcumError};

/// Usual names that UCUM does not know, or by which it means something else, with its own; large and small letters are the same.
const USUAL: [(&str, &str); 40] = [
    ("°c", "Cel"),
    ("ºc", "Cel"),
    ("c", "Cel"),
    ("degc", "Cel"),
    ("deg c", "Cel"),
    ("celsius", "Cel"),
    ("°f", "[degF]"),
    ("ºf", "[degF]"),
    ("f", "[degF]"),
    ("degf", "[degF]"),
    ("deg f", "[degF]"),
    ("fahrenheit", "[degF]"),
    ("kelvin", "K"),
    ("mmhg", "mm[Hg]"),
    ("mm hg", "mm[Hg]"),
    ("torr", "mm[Hg]"),
    ("kpa", "kPa"),
    ("hpa", "hPa"),
    ("mbar", "mbar"),
    ("cmh2o", "cm[H2O]"),
    ("bpm", "/min"),
    ("rpm", "/min"),
    ("brpm", "/min"),
    ("beats/min", "/min"),
    ("beats/minute", "/min"),
    ("breaths/min", "/min"),
    ("breaths/minute", "/min"),
    ("resp/min", "/min"),
    ("1/min", "/min"),
    ("/minute", "/min"),
    ("per minute", "/min"),
    ("hz", "Hz"),
    ("percent", "%"),
    ("mg/dl", "mg/dL"),
    ("mmol/l", "mmol/L"),
    ("kgs", "kg"),
    ("lb", "[lb_av]"),
    ("lbs", "[lb_av]"),
    ("inch", "[in_i]"),
    ("ft", "[ft_i]"),
];

/// How a value of one unit becomes one of another: by this factor, and then this much more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    factor: f64,
    offset: f64,
}

impl Conversion {
    /// A value stays as it is.
    pub const NONE: Self = Self { factor: 1.0, offset: 0.0 };

    /// A value times `factor`, and `offset` more.
    #[must_use]
    pub fn new(factor: f64, offset: f64) -> Self {
        Self { factor, offset }
    }

    /// How values in the unit `from` become values in `to`; `molar_mass` is that of the substance, in grams per mole, where one unit
    /// counts its mass and the other its molecules.
    ///
    /// # Errors
    /// A unit that is not known, or two that measure different things; with a text that follows the value or setting.
    pub fn between(from: &str, to: &str, molar_mass: Option<f64>) -> Result<Self, String> {
        if from.trim() == to.trim() {
            return Ok(Self::NONE);
        }
        let (source, target) = (analysis(from)?, analysis(to)?);
        if source.dimension == target.dimension {
            return Ok(Self {
                factor: source.factor / target.factor,
                offset: (source.offset - target.offset) / target.factor,
            });
        }
        let differ = || format!("\"{from}\" cannot be converted to \"{to}\": they measure different things");
        let [molar, mass] = [analysis("mol/L")?, analysis("g/L")?];
        let is = |unit: &Analysis, other: &Analysis| unit.dimension == other.dimension;
        let grams = molar_mass.ok_or_else(|| match is(&source, &mass) && is(&target, &molar) {
            true => format!("{}; give the substance's molar_mass", differ()),
            false => differ(),
        });
        if is(&source, &mass) && is(&target, &molar) {
            Ok(Self { factor: source.factor / mass.factor / grams? * molar.factor / target.factor, offset: 0.0 })
        } else if is(&source, &molar) && is(&target, &mass) {
            Ok(Self { factor: source.factor / molar.factor * grams? * mass.factor / target.factor, offset: 0.0 })
        } else {
            Err(differ())
        }
    }

    /// Checks that a unit is known.
    ///
    /// # Errors
    /// It is not, with a text that says so.
    pub(super) fn check(unit: &str) -> Result<(), String> {
        analysis(unit).map(drop)
    }

    /// The value in the other unit, to a billionth: 98.6 °F are 37 °C, and not a little more.
    #[must_use]
    pub fn apply(self, value: f64) -> f64 {
        if self == Self::NONE {
            return value;
        }
        let converted = value * self.factor + self.offset;
        let rounded = (converted * 1e9).round() / 1e9;
        if rounded.is_finite() { rounded } else { converted }
    }

    /// This one, and then `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { factor: self.factor * next.factor, offset: self.offset * next.factor + next.offset }
    }
}

fn analysis(unit: &str) -> Result<Analysis, String> {
    let written = unit.trim();
    let usual = USUAL.iter().find(|(name, _)| *name == written.to_lowercase());
    let code = usual.map_or_else(|| written.replace(['µ', 'μ'], "u"), |(_, code)| (*code).to_owned());
    let wrong = |error: UcumError| match error {
        UcumError::UnsupportedSpecial { .. } => {
            format!("the unit \"{unit}\" has no scale that values can be converted by")
        }
        _ => format!("\"{unit}\" is not a unit that is known"),
    };
    ucum::analyze(&code).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(value: f64, from: &str, to: &str) -> f64 {
        Conversion::between(from, to, None).unwrap().apply(value)
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "results are rounded")]
    fn units_of_vitals_are_converted() {
        assert_eq!(converted(98.6, "F", "°C"), 37.0);
        assert_eq!(converted(310.15, "K", "°C"), 37.0);
        assert_eq!(converted(37.0, "Cel", "[degF]"), 98.6);
        assert_eq!(converted(72.0, "bpm", "/min"), 72.0);
        assert_eq!(converted(1.2, "Hz", "/min"), 72.0);
        assert!((converted(16.0, "kPa", "mmHg") - 120.01).abs() < 1e-3);
        assert_eq!(converted(0.97, "1", "%"), 97.0);
        assert_eq!(converted(180.0, "lb", "kg"), 81.646_626_6);
    }

    #[test]
    fn glucose_needs_its_molar_mass() {
        let glucose = Some(180.156);
        let molar = Conversion::between("mg/dL", "mmol/L", glucose).unwrap();
        assert!((molar.apply(100.0) - 5.5507).abs() < 1e-3);
        let back = Conversion::between("mmol/L", "mg/dL", glucose).unwrap();
        assert!((back.apply(5.5507) - 100.0).abs() < 1e-2);
        assert!(Conversion::between("mg/dL", "mmol/L", None).unwrap_err().contains("molar_mass"));
    }

    #[test]
    fn what_measures_other_things_is_refused() {
        let refused = Conversion::between("°C", "mmHg", None).unwrap_err();
        assert_eq!(refused, "\"°C\" cannot be converted to \"mmHg\": they measure different things");
        assert_eq!(Conversion::between("°X", "°C", None).unwrap_err(), "\"°X\" is not a unit that is known");
    }
}
