//! Units as records and people name them, and how a value in one becomes a value in another.
//!
//! Units are UCUM's (the Unified Code for Units of Measure, <https://ucum.org>), and the usual names of those that stand in records of
//! vitals: `°F`, `mmHg`, `bpm`.

use ucum::{Analysis, UcumError};

use wardwatch_model::diagnostic::nearest;

/// Usual names that UCUM does not know, or by which it means something else, with its own; large and small letters are the same.
const USUAL: [(&str, &str); 92] = [
    // ISO/IEEE 11073-10101, table A.6: the codes and reference identifiers of units that stand in OBX-6.
    ("262688", "%"),
    ("mdc_dim_percent", "%"),
    ("264864", "/min"),
    ("mdc_dim_beat_per_min", "/min"),
    ("264928", "/min"),
    ("mdc_dim_resp_per_min", "/min"),
    ("264896", "/min"),
    ("mdc_dim_per_min", "/min"),
    ("266016", "mm[Hg]"),
    ("mdc_dim_mmhg", "mm[Hg]"),
    ("265987", "kPa"),
    ("mdc_dim_kilo_pascal", "kPa"),
    ("268192", "Cel"),
    ("mdc_dim_degc", "Cel"),
    ("266560", "[degF]"),
    ("mdc_dim_fahr", "[degF]"),
    ("cel", "Cel"),
    ("min^-1", "/min"),
    ("beat/min", "/min"),
    ("/", "1"),
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
    ("count/min", "/min"),
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
    ("℃", "Cel"),
    ("℉", "[degF]"),
    ("°k", "K"),
    ("degrees c", "Cel"),
    ("degrees f", "[degF]"),
    ("cm h2o", "cm[H2O]"),
    ("inhg", "[in_i'Hg]"),
    ("psi", "[psi]"),
    ("beats per minute", "/min"),
    ("breaths per minute", "/min"),
    ("per min", "/min"),
    ("min-1", "/min"),
    ("/sec", "/s"),
    ("sec", "s"),
    ("msec", "ms"),
    ("hr", "h"),
    ("pct", "%"),
    ("in", "[in_i]"),
    ("inches", "[in_i]"),
    ("feet", "[ft_i]"),
    ("oz", "[oz_av]"),
    ("pounds", "[lb_av]"),
    ("mcg", "ug"),
    // Devices write these in capitals, by which UCUM would mean a million of them.
    ("mg", "mg"),
    ("ml", "mL"),
    ("mv", "mV"),
    ("ms", "ms"),
    ("mmol", "mmol"),
    ("l/min", "L/min"),
    ("ml/h", "mL/h"),
    ("g/dl", "g/dL"),
];

/// A unit is no longer than this; reading one costs as much stack as it is long.
const MOST_CHARS: usize = 64;

/// What UCUM counts without a dimension, though nothing else is of its kind: molecules, decays, acidity.
const KINDS: [&str; 8] = ["mol", "eq", "osm", "Bq", "Ci", "[pH]", "[iU]", "10*"];

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
        let differ = || format!("\"{from}\" cannot be converted to \"{to}\": they measure different things");
        if source.dimension == target.dimension {
            let (from_code, to_code) = (code(from), code(to));
            if KINDS.iter().any(|kind| from_code.contains(kind) != to_code.contains(kind)) {
                return Err(differ());
            }
            let linear =
                Self { factor: source.factor / target.factor, offset: (source.offset - target.offset) / target.factor };
            // A scale that is no straight line agrees with none at three places.
            let is_linear = [1.0, 7.0, 30.0].into_iter().all(|value| {
                let expected = value * linear.factor + linear.offset;
                let converted = ucum::convert(value, &from_code, &to_code);
                converted.is_ok_and(|converted| (converted - expected).abs() <= 1e-9 * expected.abs().max(1.0))
            });
            let is_special = |code: &str| {
                SPECIAL.iter().any(|special| code.contains(special))
                    || SHIFTED.iter().any(|shifted| code.contains(shifted) && code != *shifted)
            };
            return match is_linear && (from_code == to_code || !is_special(&from_code) && !is_special(&to_code)) {
                true => Ok(linear),
                false => Err(format!("\"{from}\" and \"{to}\" are no scales between which a factor converts")),
            };
        }
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

    /// The value in the other unit, to twelve digits: 98.6 °F are 37 °C, and not a little more.
    #[must_use]
    pub fn apply(self, value: f64) -> f64 {
        if self == Self::NONE {
            return value;
        }
        let converted = value * self.factor + self.offset;
        // What is left of a difference of large numbers is not told apart from nothing.
        let size = converted.abs().max(self.offset.abs() * 1e-3);
        if size == 0.0 || !size.is_finite() {
            return converted;
        }
        #[allow(clippy::cast_possible_truncation, reason = "a logarithm of a double is small")]
        let digits = 11 - size.log10().floor() as i32;
        let scale = 10f64.powi(digits.clamp(-300, 300));
        let rounded = (converted * scale).round() / scale;
        if rounded.is_finite() { rounded } else { converted }
    }
}

/// UCUM's units whose scale is no straight line, or whose zero is a matter of agreement.
const SPECIAL: [&str; 8] = ["[pH]", "dB", "B[", "Np", "bit_s", "[hp'", "[p'diop]", "%[slope]"];

/// Scales with a zero of their own: only as they stand, not by the thousand or per something.
const SHIFTED: [&str; 2] = ["Cel", "[degF]"];

/// UCUM's code for a unit as people write it.
fn code(unit: &str) -> String {
    let written = unit.trim().trim_end_matches('.');
    let usual = USUAL.iter().find(|(name, _)| *name == written.to_lowercase());
    usual.map_or_else(|| written.replace(['µ', 'μ'], "u"), |(_, code)| (*code).to_owned())
}

fn analysis(unit: &str) -> Result<Analysis, String> {
    if unit.len() > MOST_CHARS {
        let first: String = unit.chars().take(16).collect();
        return Err(format!("\"{first}…\" is too long for a unit"));
    }
    let code = code(unit);
    // UCUM takes a number for so many of one; in a record it is some other list's code for a unit.
    if code.bytes().all(|byte| byte.is_ascii_digit()) && code != "1" {
        return Err(format!("\"{unit}\" is not a unit that is known"));
    }
    let wrong = |error: UcumError| match error {
        UcumError::UnsupportedSpecial { .. } => {
            format!("the unit \"{unit}\" has no scale that values can be converted by")
        }
        _ => {
            let names = USUAL.iter().map(|(name, _)| *name);
            let near = nearest(&unit.trim().to_lowercase(), names).map(|near| format!("; did you mean \"{near}\"?"));
            format!("\"{unit}\" is not a unit that is known{}", near.unwrap_or_default())
        }
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
        assert!(Conversion::between("°X", "°C", None).unwrap_err().starts_with("\"°X\" is not a unit that is known"));
        assert!(Conversion::between("Farenheit", "°C", None).unwrap_err().ends_with("did you mean \"fahrenheit\"?"));
        for (from, to) in
            [("10*9/L", "mmol/L"), ("mol", "%"), ("Bq", "/min"), ("[pH]", "mol/L"), ("dB[W]", "W"), ("kCel", "Cel")]
        {
            assert!(Conversion::between(from, to, None).is_err(), "{from} to {to}");
        }
        let long = format!("kg{}", "/m".repeat(30_000));
        assert_eq!(Conversion::between(&long, "kg", None).unwrap_err(), "\"kg/m/m/m/m/m/m/m…\" is too long for a unit");
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "results are rounded")]
    fn capitals_of_devices_are_no_millions_and_small_values_stay() {
        assert_eq!(converted(5.0, "MG", "mg"), 5.0);
        assert_eq!(converted(5.0, "ML", "mL"), 5.0);
        assert_eq!(converted(0.4, "nmol/L", "mol/L"), 4e-10);
        assert_eq!(converted(32.0, "°F", "°C"), 0.0);
        assert_eq!(Conversion::new(1e-13, 0.0).apply(3000.0), 3e-10);
    }
}
