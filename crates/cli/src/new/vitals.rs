//! Vitals as records call them, and how their values are written.

use wardwatch_config::Conversion;

use super::names::{normal, quoted};

/// A vital: its column, unit, plausible range, and names without signs and capitals.
#[derive(Debug)]
pub(super) struct Vital {
    pub(super) column: &'static str,
    pub(super) unit: &'static str,
    pub(super) plausible: [u16; 2],
    names: &'static [&'static str],
}

/// The vitals that are known by name. The ranges are those of the shipped job.
pub(super) const VITALS: [Vital; 8] = [
    Vital {
        column: "heart_rate",
        unit: "/min",
        plausible: [10, 300],
        names: &["heartrate", "hr", "bpm", "frequenciacardiaca", "herzfrequenz"],
    },
    Vital {
        column: "respiratory_rate",
        unit: "/min",
        plausible: [0, 120],
        names: &["respiratoryrate", "resprate", "rr", "respiration", "respirationrate", "breathingrate", "resp"],
    },
    Vital {
        column: "spo2",
        unit: "%",
        plausible: [50, 100],
        names: &["spo2", "oxygensaturation", "o2sat", "sao2", "saturation", "oxygen", "oxygenlevel", "bloodoxygen"],
    },
    Vital {
        column: "systolic_bp",
        unit: "mmHg",
        plausible: [20, 300],
        names: &[
            "systolicbp",
            "systolic",
            "sbp",
            "sysbp",
            "bpsys",
            "bpsystolic",
            "sys",
            "bphigh",
            "nibpsys",
            "bloodpressuresystolic",
            "systolicbloodpressure",
        ],
    },
    Vital {
        column: "diastolic_bp",
        unit: "mmHg",
        plausible: [0, 200],
        names: &[
            "diastolicbp",
            "diastolic",
            "dbp",
            "diabp",
            "bpdia",
            "bpdiastolic",
            "dia",
            "bplow",
            "nibpdia",
            "bloodpressurediastolic",
            "diastolicbloodpressure",
        ],
    },
    Vital {
        column: "mean_bp",
        unit: "mmHg",
        plausible: [10, 250],
        names: &["meanbp", "mbp", "map", "meanarterialpressure", "bpmean", "nibpmean", "bloodpressuremean"],
    },
    Vital {
        column: "temperature",
        unit: "°C",
        plausible: [32, 44],
        names: &["temperature", "temp", "bodytemp", "bodytemperature"],
    },
    Vital { column: "pulse", unit: "/min", plausible: [10, 300], names: &["pulse", "pulserate", "pr"] },
];

impl Vital {
    /// Which of its names this is; the first is the plainest.
    pub(super) fn rank(&self, name: &str) -> usize {
        let name = normal(name);
        self.names.iter().position(|known| *known == name).unwrap_or(self.names.len())
    }

    pub(super) fn is_pressure(&self) -> bool {
        self.unit == "mmHg"
    }

    /// Whether a field called `name` and "unit" says the unit of this one: `temp_unit` beside `temperature`.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let is_it = || named(name).is_some_and(|(vital, _)| vital.column == self.column);
        is_it() || (self.is_pressure() && PRESSURE.contains(&normal(name).as_str()))
    }
}

/// A pressure in one text, "118/76": its columns, and the names under which it comes.
pub(super) const PRESSURES: [&str; 2] = ["systolic_bp", "diastolic_bp"];
const PRESSURE: [&str; 4] = ["bloodpressure", "bp", "nibp", "abp"];

/// What stands behind a vital's name: a unit, or nothing that matters.
const ENDINGS: [(&str, &str); 15] = [
    ("bpm", "/min"),
    ("permin", "/min"),
    ("perminute", "/min"),
    ("mmhg", "mmHg"),
    ("kpa", "kPa"),
    ("percent", "%"),
    ("pct", "%"),
    ("celsius", "°C"),
    ("degc", "°C"),
    ("c", "°C"),
    ("fahrenheit", "°F"),
    ("degf", "°F"),
    ("f", "°F"),
    ("kelvin", "K"),
    ("value", ""),
];

/// Units in which values are sent without a word, when those of the column make no sense.
const UNSAID: [&str; 4] = ["°F", "K", "1", "kPa"];

/// Numbers that devices send for "no value", where they cannot be one.
const SENTINELS: [&str; 12] =
    ["-999", "-9999", "-99", "-1", "999", "9999", "65535", "32767", "-32768", "-999.0", "-1.0", "999.0"];

/// The vital of a name, and the unit that the name tells.
pub(super) fn named(name: &str) -> Option<(&'static Vital, Option<&'static str>)> {
    let name = normal(name);
    let of = |name: &str| VITALS.iter().find(|vital| vital.names.contains(&name));
    let ending = |(ending, unit): &(&str, &'static str)| {
        let vital = of(name.strip_suffix(ending)?)?;
        let is_of_it = unit.is_empty() || Conversion::between(unit, vital.unit, None).is_ok();
        is_of_it.then_some((vital, Some(*unit).filter(|unit| !unit.is_empty())))
    };
    of(&name).map(|vital| (vital, None)).or_else(|| ENDINGS.iter().find_map(ending))
}

/// Whether this is a pressure with both its values in one text.
pub(super) fn is_pressure(name: &str, values: &[String]) -> bool {
    let is_pair = |value: &String| {
        let parts: Vec<&str> = value.split('/').map(str::trim).collect();
        matches!(parts[..], [first, second] if [first, second].iter().all(|part| part.starts_with(|c: char| c.is_ascii_digit())))
    };
    PRESSURE.contains(&normal(name).as_str()) && values.iter().any(is_pair)
}

/// Words for "no value". Others are left to become artefacts, which somebody sees.
const NOTHING: [&str; 22] = [
    "na",
    "n/a",
    "n.a.",
    "null",
    "none",
    "nil",
    "nan",
    "unavailable",
    "not available",
    "unknown",
    "missing",
    "error",
    "err",
    "off",
    "lead off",
    "leads off",
    "disconnected",
    "no signal",
    "invalid",
    "?",
    "x",
    "undefined",
];

/// How the values of a vital are written, as far as samples show it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Some have a text behind the number.
    pub(super) has_text: bool,
    pub(super) has_comma: bool,
    /// What stands for "no value".
    pub(super) nulls: Vec<String>,
    /// The unit that makes sense of the numbers, where the column's own makes none.
    pub(super) unit: Option<&'static str>,
    /// The unit that makes sense of some of them, while others are in the column's own.
    pub(super) also_in: Option<&'static str>,
    /// One of the numbers, where they make no sense in any unit.
    pub(super) nonsense: Option<String>,
}

impl Written {
    pub(super) fn of(values: &[String], vital: &Vital) -> Self {
        let mut written = Self::default();
        let [low, high] = vital.plausible.map(f64::from);
        let is_plausible = |value: f64| (low..=high).contains(&value);
        let mut numbers = Vec::new();
        for text in values.iter().map(|text| text.trim()) {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            match number {
                Some(number) if SENTINELS.contains(&text) && !is_plausible(number) => {
                    written.nulls.push(text.to_owned());
                }
                Some(number) => numbers.push((number, text)),
                None if text.is_empty() || text.eq_ignore_ascii_case("nan") => {}
                None => written.note_text(text),
            }
        }
        written.nulls.truncate(5);
        let odd: Vec<(f64, &str)> = numbers.iter().copied().filter(|(number, _)| !is_plausible(*number)).collect();
        let fit_in = |unit: &str| {
            let conversion = Conversion::between(unit, vital.unit, None).ok()?;
            Some(odd.iter().filter(|(number, _)| is_plausible(conversion.apply(*number))).count())
        };
        // A few are artefacts, whatever the unit.
        let best =
            UNSAID.into_iter().filter_map(|unit| Some((fit_in(unit)?, unit))).rev().max_by_key(|(count, _)| *count);
        let is_in_another = best.filter(|(count, _)| *count > 0 && 2 * count >= odd.len()).map(|(_, unit)| unit);
        let own = numbers.len() - odd.len();
        match is_in_another {
            Some(unit) if own == 0 => written.unit = Some(unit),
            unit @ Some(_) => written.also_in = unit,
            None if 2 * odd.len() > numbers.len() => written.nonsense = odd.first().map(|(_, text)| (*text).to_owned()),
            None => {}
        }
        written
    }

    fn note_text(&mut self, text: &str) {
        let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-');
        let behind = text.trim_start_matches(is_of_number);
        let number = &text[..text.len() - behind.len()];
        if !number.contains(|c: char| c.is_ascii_digit()) {
            let is_sign = !text.contains(|c: char| c.is_alphanumeric() || matches!(c, '<' | '>'));
            if is_sign || NOTHING.contains(&text.to_lowercase().as_str()) {
                self.nulls.push(text.to_owned());
            }
            return;
        }
        self.has_comma |= number.contains(',');
        self.has_text |= !behind.trim().is_empty();
    }

    /// As the job file says it, with a comma in front.
    pub(super) fn settings(&self) -> String {
        let mut settings = String::new();
        if self.has_text {
            settings.push_str(", extract = \"number\"");
        }
        if self.has_comma {
            settings.push_str(", decimal = \",\"");
        }
        if !self.nulls.is_empty() {
            let null = |text: &String| if text.parse::<f64>().is_ok() { text.clone() } else { quoted(text) };
            let nulls: Vec<String> = self.nulls.iter().map(null).collect();
            settings.push_str(&format!(", null = [{}]", nulls.join(", ")));
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(column: &str, values: &[&str]) -> Written {
        let vital = VITALS.iter().find(|vital| vital.column == column).unwrap();
        Written::of(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>(), vital)
    }

    #[test]
    fn names_are_known_with_their_units() {
        let known = |name| named(name).map(|(vital, unit)| (vital.column, unit));
        assert_eq!(known("Heart Rate (BPM)"), Some(("heart_rate", Some("/min"))));
        assert_eq!(known("temp_f"), Some(("temperature", Some("°F"))));
        assert_eq!(known("bpm"), Some(("heart_rate", None)));
        assert_eq!(known("oxygenSaturation"), Some(("spo2", None)));
        assert_eq!(known("battery"), None);
        assert_eq!(known("hr_f"), None, "no rate is in degrees");
    }

    #[test]
    fn values_show_how_they_are_written() {
        assert_eq!(written("heart_rate", &["72", "-999", "--"]).nulls, ["-999", "--"]);
        assert_eq!(written("temperature", &["98.6", "101"]).unit, Some("°F"));
        assert_eq!(written("temperature", &["36.6", "-1"]).unit, None);
        let mixed = written("temperature", &["36.6", "98.6"]);
        assert_eq!((mixed.unit, mixed.also_in), (None, Some("°F")), "neither is to be lost");
        assert_eq!(written("respiratory_rate", &["833", "840"]).nonsense.as_deref(), Some("833"), "milliseconds");
        assert!(written("heart_rate", &["bpm"]).nulls.is_empty(), "no word for nothing");
        assert_eq!(written("temperature", &["310.2"]).unit, Some("K"));
        assert_eq!(written("spo2", &["0.97", "1"]).unit, Some("1"));
        assert_eq!(written("systolic_bp", &["15.7"]).unit, Some("kPa"));
        assert_eq!(written("heart_rate", &["<40", "72 bpm"]), Written { has_text: true, ..Written::default() });
        assert!(written("temperature", &["36,6"]).has_comma);
    }
}
