//! How a column's values are written in records, and what they mean.

use super::{Conversion, Pattern, SourcePath};

/// So much of a field's text is shown.
const SHOWN: usize = 64;

/// How a column's values are written in records, and what they mean.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Written {
    /// Texts that say that there is no value.
    pub null: Vec<String>,
    /// Which part of the text it is.
    pub part: Option<Part>,
    /// What of the text it is: what the first group of an expression finds. A text in which it finds nothing is none of the column's.
    pub take: Option<Pattern>,
    /// Whether a comma stands before decimals, and a point between thousands.
    pub has_decimal_comma: bool,
    /// Whether the number is taken out of a text that begins with it: `72 bpm`.
    pub is_in_text: bool,
    /// Whether an object or a list is taken as the JSON in which it is written.
    pub is_json: bool,
    /// The unit, and how values become such of it.
    pub units: Units,
    /// What becomes of a number after that.
    pub scaled: Option<Conversion>,
    /// When it counts.
    pub valid_when: Vec<Condition>,
    /// How times are written.
    pub time: TimeWritten,
}

/// How the times of a column are written, beside the forms that are always read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeWritten {
    /// Formats of chrono's (`%d.%m.%Y %H:%M`).
    pub formats: Vec<String>,
    /// What numbers count.
    pub count_in: Option<TimeUnit>,
    /// From when they count, if not from 1970; the first that has a value.
    pub origin: Vec<SourcePath>,
    /// A field that is added, if it is there, and what it counts.
    pub plus: Option<(SourcePath, TimeUnit)>,
    /// Whether a time of day is of the day that brings it nearest to Kafka's stamp.
    pub is_near_stamp: bool,
    /// Two-digit years from this one on are of 1900, those below it of 2000; `None` has chrono's, 70.
    pub year_pivot: Option<i32>,
    /// A time that lies further than this from Kafka's stamp does not count, in microseconds.
    pub most_off_stamp: Option<i64>,
}

impl TimeWritten {
    /// Whether a format of chrono's has years of two digits.
    #[must_use]
    pub fn has_short_year(format: &str) -> bool {
        use chrono::format::{Item, Numeric, StrftimeItems};
        StrftimeItems::new(format).any(|item| matches!(item, Item::Numeric(Numeric::YearMod100, _)))
    }
}

/// What a number that is a time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeUnit {
    /// So many of them are a microsecond; 1 where one is longer.
    pub per_microsecond: u32,
    /// So many microseconds one is long.
    pub microseconds: i64,
}

impl TimeUnit {
    /// By name.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("ns", Self { per_microsecond: 1_000, microseconds: 1 }),
        ("us", Self::of(1)),
        ("ms", Self::of(1_000)),
        ("s", Self::of(1_000_000)),
        ("min", Self::of(60_000_000)),
        ("h", Self::of(3_600_000_000)),
        ("d", Self::of(86_400_000_000)),
    ];

    const fn of(microseconds: i64) -> Self {
        Self { per_microsecond: 1, microseconds }
    }
}

/// One of the parts that a text is split into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What stands between them.
    pub separator: String,
    /// Which it is; 0 is the first, -1 the last.
    pub index: i64,
}

impl Part {
    /// It, of a text; `None` where there are not so many.
    #[must_use]
    pub fn of<'t>(&self, text: &'t str) -> Option<&'t str> {
        let separator = self.separator.as_str();
        match usize::try_from(self.index) {
            Ok(index) => text.split(separator).nth(index),
            Err(_) => text.rsplit(separator).nth(usize::try_from(-1 - self.index).ok()?),
        }
    }
}

/// The units of a column's values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Units {
    /// The column's own.
    pub own: String,
    /// The one that records use which do not say; `None` where that is the column's own.
    pub sent: Option<Conversion>,
    /// Where a record may name its unit; the first that has a value counts.
    pub from: Vec<SourcePath>,
    /// The molar mass of what is measured, in grams per mole.
    pub molar_mass: Option<f64>,
}

impl Units {
    /// How a value becomes one of the column's unit where its record names the unit `sent`.
    ///
    /// # Errors
    /// It is not known, or measures something else.
    pub fn conversion(&self, sent: &str) -> Result<Conversion, String> {
        Conversion::between(sent, &self.own, self.molar_mass)
    }
}

/// When a value counts: by another field of its record.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Where it may stand; the first that has a value counts.
    pub fields: Vec<SourcePath>,
    /// What it has to be.
    pub test: FieldTest,
}

/// What a field has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldTest {
    /// One of these.
    Is(Vec<String>),
    /// None of these, or not there.
    IsNot(Vec<String>),
    /// A number of at least this.
    AtLeast(f64),
    /// A number of at most this.
    AtMost(f64),
    /// Whether it has a value.
    Exists(bool),
    /// A text that this expression finds something in.
    Matches(Pattern),
}

impl Written {
    /// Whether values stand for themselves.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_taken_apart =
            self.part.is_some() || self.take.is_some() || self.has_decimal_comma || self.time != TimeWritten::default();
        let is_taken_apart = is_taken_apart || self.is_json;
        self.null.is_empty() && self.valid_when.is_empty() && !is_taken_apart && !self.converts()
    }

    /// Whether numbers may become others, by a unit that the job or the record names, or by a scale.
    #[must_use]
    pub fn converts(&self) -> bool {
        self.units.sent.is_some() || !self.units.from.is_empty() || self.is_in_text || self.scaled.is_some()
    }

    /// Whether a text says that there is no value.
    #[must_use]
    pub fn is_null(&self, text: &str) -> bool {
        self.null.iter().any(|null| is_same_word(null, text))
    }

    /// Whether a number says that there is no value.
    #[must_use]
    #[allow(clippy::float_cmp, reason = "it is that number or another")]
    pub fn is_null_number(&self, value: f64) -> bool {
        self.null.iter().any(|null| null.parse() == Ok(value))
    }

    /// The fields of a record that say something of the value.
    pub fn fields(&self) -> impl Iterator<Item = &SourcePath> {
        let of_time = self.time.origin.iter().chain(self.time.plus.iter().map(|(field, _)| field));
        self.units.from.iter().chain(self.valid_when.iter().flat_map(|condition| &condition.fields)).chain(of_time)
    }
}

/// Whether both are one word, its letters large or small.
fn is_same_word(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || (!(one.is_ascii() && other.is_ascii()) && one.to_lowercase() == other.to_lowercase())
}

/// Whether both are one word, or one number.
#[allow(clippy::float_cmp, reason = "it is that number or another")]
fn is_same(one: &str, other: &str) -> bool {
    let numbers = || Some((one.parse::<f64>().ok()?, other.parse::<f64>().ok()?));
    is_same_word(one, other) || numbers().is_some_and(|(one, other)| one == other)
}

impl Condition {
    /// Whether a value counts beside this text of the field.
    #[must_use]
    pub fn is_met(&self, text: Option<&str>) -> bool {
        let is_among = |wanted: &[String]| text.is_some_and(|text| wanted.iter().any(|wanted| is_same(wanted, text)));
        let number = || text.and_then(|text| text.parse::<f64>().ok());
        match &self.test {
            FieldTest::Is(wanted) => is_among(wanted),
            FieldTest::IsNot(unwanted) => !is_among(unwanted),
            FieldTest::AtLeast(least) => number().is_some_and(|number| number >= *least),
            FieldTest::AtMost(most) => number().is_some_and(|number| number <= *most),
            FieldTest::Exists(exists) => text.is_some() == *exists,
            FieldTest::Matches(pattern) => text.is_some_and(|text| pattern.0.is_match(text)),
        }
    }

    /// The field, for people.
    #[must_use]
    pub fn field(&self) -> String {
        self.fields.iter().map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(" or ")
    }

    /// What is said of a value that does not count.
    #[must_use]
    pub fn reason(&self, text: Option<&str>) -> String {
        let list = |words: &[String]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let wanted = match &self.test {
            FieldTest::Is(wanted) => list(wanted),
            FieldTest::IsNot(unwanted) => format!("anything but {}", list(unwanted)),
            FieldTest::AtLeast(least) => format!("{least} or more"),
            FieldTest::AtMost(most) => format!("{most} or less"),
            FieldTest::Exists(true) => "something".to_owned(),
            FieldTest::Exists(false) => "nothing".to_owned(),
            FieldTest::Matches(pattern) => format!("something that \"{}\" finds", pattern.0.as_str()),
        };
        match text {
            Some(text) => {
                let (mut shown, rest) = (text.chars().take(SHOWN).collect::<String>(), text.chars().nth(SHOWN));
                shown.extend(rest.map(|_| '…'));
                format!("does not count: field {} is \"{shown}\"; it must be {wanted}", self.field())
            }
            None => format!("does not count: field {} has no value; it must be {wanted}", self.field()),
        }
    }
}
