//! What is said of a column, and of what its values depend on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::super::spanned::Spanned;

type Text = Spanned<String>;

/// How a column stands in records of one form.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum RawFormColumn {
    From(RawPlaces),
    Settings(Box<RawColumn>),
}

/// By hand, since serde's untagged enums lose the places of what is inside.
impl<'de> Deserialize<'de> for RawFormColumn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOf;
        impl<'de> Visitor<'de> for OneOf {
            type Value = RawFormColumn;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path, several, or settings of a column: \"hr\", { from = \"hr\", unit_in = \"/s\" }")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Self::Value, E> {
                Ok(RawFormColumn::From(RawPlaces::One(path.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut paths: A) -> Result<Self::Value, A::Error> {
                let mut several = Vec::new();
                while let Some(path) = paths.next_element()? {
                    several.push(path);
                }
                Ok(RawFormColumn::From(RawPlaces::Several(several)))
            }

            fn visit_map<A: MapAccess<'de>>(self, settings: A) -> Result<Self::Value, A::Error> {
                let settings = RawColumn::deserialize(MapAccessDeserializer::new(settings))?;
                Ok(RawFormColumn::Settings(Box::new(settings)))
            }
        }
        deserializer.deserialize_any(OneOf)
    }
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawColumn {
    /// Where a form says something of it; without that, where its name stands.
    #[serde(skip)]
    pub(crate) place: Option<std::ops::Range<usize>>,
    /// text, float, int, bool or time.
    pub(crate) r#type: Option<Text>,
    /// Whether a record without it is a reject.
    pub(crate) required: Option<bool>,
    /// Where in a record it stands; the first that is not null counts: ["heart_rate", "vitals.hr"].
    pub(crate) from: Option<RawPlaces>,
    /// In the long form: what the records are called whose value it is: ["8867-4", "HR"].
    pub(crate) named: Option<RawPlaces>,
    /// The unit, for people.
    pub(crate) unit: Option<String>,
    /// What people call it.
    pub(crate) label: Option<String>,
    /// Values outside are NULL, and kept as artefacts: [0, 300].
    pub(crate) plausible: Option<Spanned<[f64; 2]>>,
    /// Which values that are not plausible may be true all the same, and so stand in `<column>_doubtful`: [0, 100], or []
    /// for none. Without it, those from 0 up to the plausible range.
    pub(crate) doubtful: Option<Spanned<Vec<f64>>>,
    /// The default limits that charts show: [50, 120].
    pub(crate) limits: Option<Spanned<[f64; 2]>>,
    /// How long a value counts for alerts while no newer one comes: "30s"; without it, stale_after of alerts.
    pub(crate) valid_for: Option<Text>,
    /// What the words of a text column mean: { Alert = "A", Confusion = "C" }. Any other word is NULL, and kept as an artefact.
    pub(crate) map: Option<BTreeMap<Text, String>>,
    /// What says that there is no value: ["--", "unavailable", -999].
    pub(crate) null: Option<RawWords>,
    /// A regular expression whose first group that finds something is the value: `Patient/([^/]+)`. A text in which it finds nothing is left
    /// to the next place.
    pub(crate) take: Option<Text>,
    /// The text has several values, with this between them: "/" of "118/76".
    pub(crate) split: Option<Text>,
    /// Which of them the column takes: 1 is the first.
    pub(crate) part: Option<Spanned<i64>>,
    /// What stands before decimals: "," for 36,6. Without it, ".".
    pub(crate) decimal: Option<Text>,
    /// "number": what begins with a number is that number, as in "72 bpm"; a unit behind it is converted to the column's. "json", of
    /// texts: an object or a list as the JSON in which it is written, for source.sql.
    pub(crate) extract: Option<Text>,
    /// The unit that records use, where they do not say: "°F". Values are converted to `unit`.
    pub(crate) unit_in: Option<Text>,
    /// The field of the record that names the unit; of several, the first that has a value counts.
    pub(crate) unit_from: Option<RawPlaces>,
    /// The molar mass of what is measured, in g/mol, where one unit counts its mass and the other its molecules.
    pub(crate) molar_mass: Option<Spanned<f64>>,
    /// Of times: how they are written, as strftime has it: "%d.%m.%Y %H:%M".
    pub(crate) time_format: Option<RawPlaces>,
    /// Of times: what a number counts: ns, us, ms, s, min, h or d.
    pub(crate) count_in: Option<Text>,
    /// Of times: the field from whose time a number counts, if not from 1970.
    pub(crate) origin: Option<RawPlaces>,
    /// Of times: a field that is added, if it is there: { field = "nanosec", unit = "ns" }.
    pub(crate) plus: Option<RawPlus>,
    /// Of times: "@stamp" where records have the time of day only; the day is the one nearest to Kafka's stamp.
    pub(crate) day: Option<Text>,
    /// Of times: two-digit years from this one on are of 1900, those below it of 2000. Without it, 70.
    pub(crate) year_pivot: Option<Spanned<i64>>,
    /// Of times: "1h" where Kafka's stamp counts in place of one that is missing, cannot be read or lies further from it than that;
    /// true where it always does.
    pub(crate) trust_stamp: Option<Spanned<RawTrust>>,
    /// Numbers are multiplied by this.
    pub(crate) scale: Option<Spanned<f64>>,
    /// And this is added.
    pub(crate) offset: Option<Spanned<f64>>,
    /// A value counts only beside these: { field = "status", is = ["final"] }. Otherwise it is NULL, and kept as an artefact.
    pub(crate) valid_when: Option<RawConditions>,
}

impl RawColumn {
    /// What this leaves open of how the column stands in records, as `other` says it, and what `other` leaves open of the frame's
    /// column. Where this says where the column stands, `other` says nothing of it.
    pub(crate) fn over(self, other: Self) -> Self {
        let is_placed = self.from.is_some() || self.named.is_some();
        let (from, named) = if is_placed { (None, None) } else { (other.from, other.named) };
        Self {
            place: self.place.or(other.place),
            // These are of the frame, whatever the form.
            r#type: other.r#type.or(self.r#type),
            required: other.required.or(self.required),
            from: self.from.or(from),
            named: self.named.or(named),
            unit: other.unit.or(self.unit),
            label: other.label.or(self.label),
            plausible: other.plausible.or(self.plausible),
            doubtful: other.doubtful.or(self.doubtful),
            limits: other.limits.or(self.limits),
            valid_for: other.valid_for.or(self.valid_for),
            map: self.map.or(other.map),
            null: self.null.or(other.null),
            take: self.take.or(other.take),
            split: self.split.or(other.split),
            part: self.part.or(other.part),
            decimal: self.decimal.or(other.decimal),
            extract: self.extract.or(other.extract),
            unit_in: self.unit_in.or(other.unit_in),
            unit_from: self.unit_from.or(other.unit_from),
            molar_mass: self.molar_mass.or(other.molar_mass),
            time_format: self.time_format.or(other.time_format),
            count_in: self.count_in.or(other.count_in),
            origin: self.origin.or(other.origin),
            plus: self.plus.or(other.plus),
            day: self.day.or(other.day),
            year_pivot: self.year_pivot.or(other.year_pivot),
            trust_stamp: self.trust_stamp.or(other.trust_stamp),
            scale: self.scale.or(other.scale),
            offset: self.offset.or(other.offset),
            valid_when: self.valid_when.or(other.valid_when),
        }
    }

    /// A setting that is of the frame's column and not of how it stands in records.
    pub(crate) fn of_frame(&self) -> Option<&'static str> {
        let settings = [
            (self.r#type.is_some(), "the type"),
            (self.required.is_some(), "required"),
            (self.unit.is_some(), "the unit"),
            (self.label.is_some(), "the label"),
            (self.plausible.is_some(), "plausible"),
            (self.doubtful.is_some(), "doubtful"),
            (self.limits.is_some(), "limits"),
            (self.valid_for.is_some(), "valid_for"),
        ];
        settings.into_iter().find(|(is_set, _)| *is_set).map(|(_, name)| name)
    }

    /// The same without such settings, but for the unit, which a form may know where the source leaves it open.
    pub(crate) fn of_records(self) -> Self {
        let unit = self.unit.clone();
        Self {
            r#type: None,
            required: None,
            label: None,
            plausible: None,
            doubtful: None,
            limits: None,
            valid_for: None,
            unit,
            ..self
        }
    }

    /// The same, as if all of it stood at one place of the job file.
    pub(crate) fn at(self, place: &std::ops::Range<usize>) -> Self {
        fn at<T>(value: Option<Spanned<T>>, place: &std::ops::Range<usize>) -> Option<Spanned<T>> {
            value.map(|value| value.at(place.clone()))
        }
        Self {
            r#type: at(self.r#type, place),
            plausible: at(self.plausible, place),
            doubtful: at(self.doubtful, place),
            limits: at(self.limits, place),
            valid_for: at(self.valid_for, place),
            map: self.map.map(|map| map.into_iter().map(|(word, means)| (word.at(place.clone()), means)).collect()),
            take: at(self.take, place),
            split: at(self.split, place),
            part: at(self.part, place),
            decimal: at(self.decimal, place),
            extract: at(self.extract, place),
            unit_in: at(self.unit_in, place),
            count_in: at(self.count_in, place),
            day: at(self.day, place),
            year_pivot: at(self.year_pivot, place),
            trust_stamp: at(self.trust_stamp, place),
            molar_mass: at(self.molar_mass, place),
            scale: at(self.scale, place),
            offset: at(self.offset, place),
            ..self
        }
    }
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a place is a text, and several a list of them: \"hr\", or [\"hr\", \"vitals.hr\"]")]
pub(crate) enum RawPlaces {
    One(String),
    Several(Vec<String>),
}

impl RawPlaces {
    pub(crate) fn into_list(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        }
    }
}

/// What is added to a time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPlus {
    /// The field.
    pub(crate) field: String,
    /// What it counts: ns, us, ms, s, min, h or d.
    pub(crate) unit: String,
}

/// Whether Kafka's stamp counts, or from how far off.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "how far a time may lie from Kafka's stamp, \"1h\"; or true, and the stamp always counts"
)]
pub(crate) enum RawTrust {
    Always(bool),
    Beyond(String),
}

/// One text or number, or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "texts or numbers are wanted here: \"--\", or [\"--\", -999]")]
pub(crate) enum RawWords {
    One(RawScalar),
    Several(Vec<RawScalar>),
}

impl RawWords {
    pub(crate) fn into_list(self) -> Vec<String> {
        let texts: Vec<RawScalar> = match self {
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        };
        texts.iter().map(|text| text.to_string().trim().to_owned()).collect()
    }
}

/// A text, a number or a truth.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text, a number, or true or false")]
pub(crate) enum RawScalar {
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl std::fmt::Display for RawScalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "a condition names a field and one of is, is_not, at_least, at_most, exists and matches: { field = \"status\", is = [\"final\"] }"
)]
pub(crate) enum RawConditions {
    One(RawCondition),
    Several(Vec<RawCondition>),
}

/// A field of the record, and one of what it may be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCondition {
    /// The field; of several, the first that has a value counts.
    pub(crate) field: RawPlaces,
    /// One of these: ["final", "amended"].
    pub(crate) is: Option<RawWords>,
    /// None of these.
    pub(crate) is_not: Option<RawWords>,
    /// A number of at least this.
    pub(crate) at_least: Option<f64>,
    /// A number of at most this.
    pub(crate) at_most: Option<f64>,
    /// Whether it has a value at all.
    pub(crate) exists: Option<bool>,
    /// A regular expression of its text.
    pub(crate) matches: Option<String>,
}
