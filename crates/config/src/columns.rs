//! The columns that a record becomes: type, aliases, unit, plausible range.

use std::time::Duration;

use super::{SourcePath, Written};

/// The declared columns, in the order of their names, with the two that every job has.
#[derive(Debug, Clone)]
pub struct Columns {
    all: Vec<Column>,
    key: usize,
    event_time: usize,
}

impl Columns {
    /// `key` and `event_time` are indices into `all`.
    pub(super) fn new(all: Vec<Column>, key: usize, event_time: usize) -> Self {
        Self { all, key, event_time }
    }

    /// The same with others behind them: `all` begins with these.
    pub(super) fn with_others(&self, all: Vec<Column>) -> Self {
        Self { all, key: self.key, event_time: self.event_time }
    }

    /// The same, whose values count for so long where nothing is said of it.
    pub(super) fn with_valid_for(mut self, valid_for: Duration) -> Self {
        self.all.iter_mut().for_each(|column| column.valid_for = column.valid_for.or(Some(valid_for)));
        self
    }

    /// All columns, in the order in which queries see them.
    #[must_use]
    pub fn all(&self) -> &[Column] {
        &self.all
    }

    /// The column that names the patient.
    #[must_use]
    pub fn key(&self) -> &Column {
        &self.all[self.key]
    }

    /// The column with the time at which the device measured.
    #[must_use]
    pub fn event_time(&self) -> &Column {
        &self.all[self.event_time]
    }

    /// Has the key read from where `other` is.
    pub(super) fn read_key_as(&mut self, other: &str) {
        if let Some((from, named)) = self.get(other).map(|column| (column.from.clone(), column.named.clone())) {
            (self.all[self.key].from, self.all[self.key].named) = (from, named);
        }
    }

    /// Takes the units of `others`, which are the same columns, where these have none; or tells of one in which both differ.
    pub(super) fn take_units_of(&mut self, others: &Self) -> Option<(String, (String, String))> {
        for (own, other) in self.all.iter_mut().zip(&others.all) {
            if own.unit.is_empty() {
                own.unit.clone_from(&other.unit);
            } else if !other.unit.is_empty() && own.unit != other.unit {
                return Some((own.name.clone(), (own.unit.clone(), other.unit.clone())));
            }
        }
        None
    }

    /// Every path that a column is read from, or its meaning.
    pub(super) fn paths(&self) -> impl Iterator<Item = &SourcePath> {
        self.all.iter().flat_map(|column| column.from.iter().chain(column.written.fields()))
    }

    /// The column called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.all.iter().find(|column| column.name == name)
    }
}

/// One declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name in queries.
    pub name: String,
    /// Its type.
    pub r#type: ColumnType,
    /// Whether a record without it is a reject.
    pub required: bool,
    /// Where in a record it may stand; the first that is not null counts.
    pub from: Vec<SourcePath>,
    /// In the long form: what the records are called that have its value; the places of `from` come after these. Empty where the
    /// column stands beside the long value.
    pub named: Vec<String>,
    /// The unit of its values, for people.
    pub unit: String,
    /// What people call it.
    pub label: String,
    /// Values outside are artefacts: NULL in the frame, kept in `artefacts`.
    pub plausible: Option<[f64; 2]>,
    /// Values within it that are not plausible may be true and deadly: they stand in the column's doubtful twin too.
    pub doubtful: Option<[f64; 2]>,
    /// The default limits that charts show.
    pub limits: Option<[f64; 2]>,
    /// How long a value counts for alerts while no newer one comes; `None`: as long as the job says of all.
    pub valid_for: Option<Duration>,
    /// What words mean; a word that is not among them is an artefact.
    pub words: Option<Words>,
    /// How its values are written, and what they mean.
    pub written: Written,
}

/// The words that a text column takes, each with what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<(String, String)>);

impl Words {
    /// `meanings` are of distinct words. What a word becomes is a word of this meaning, too.
    pub(super) fn new(meanings: Vec<(String, String)>) -> Self {
        let mut words: Vec<(String, String)> = Vec::new();
        for (_, meaning) in &meanings {
            if !words.iter().any(|(word, _)| word == meaning) {
                words.push((meaning.clone(), meaning.clone()));
            }
        }
        words.extend(meanings);
        Self(words)
    }

    /// What words become.
    pub(super) fn meanings(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, meaning)| meaning.as_str())
    }

    /// What a text means, whether its letters are large or small; `None` where it is not a word of the column's.
    #[must_use]
    pub fn meaning(&self, text: &str) -> Option<&str> {
        let is_it = |word: &str| {
            word.eq_ignore_ascii_case(text) || (!text.is_ascii() && word.to_lowercase() == text.to_lowercase())
        };
        self.0.iter().find(|(word, _)| is_it(word)).map(|(_, meaning)| meaning.as_str())
    }
}

/// What the name of a column's doubtful twin ends with.
const DOUBTFUL: &str = "_doubtful";

impl Column {
    /// The name of the frame's column with its doubtful values, if it may have any.
    #[must_use]
    pub fn doubtful_name(&self) -> Option<String> {
        self.doubtful.map(|_| format!("{}{DOUBTFUL}", self.name))
    }

    /// Whether a value of the column, put at the first place that it is read from, is read as itself.
    #[must_use]
    pub fn is_written_plainly(&self) -> bool {
        self.written.is_plain() && (!self.named.is_empty() || matches!(self.from.first(), Some(SourcePath::Fields(_))))
    }

    /// Whether a value is outside the plausible range on the side where that may be true.
    #[must_use]
    pub fn is_doubtful(&self, value: f64) -> bool {
        let is_in = |range: Option<[f64; 2]>| range.is_some_and(|[low, high]| (low..=high).contains(&value));
        is_in(self.doubtful) && !is_in(self.plausible)
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Text; numbers are taken as their digits.
    Text,
    /// A 64-bit float.
    Float,
    /// A 64-bit whole number.
    Int,
    /// True or false.
    Bool,
    /// A time, in microseconds, UTC.
    Time,
}

impl ColumnType {
    /// The names a job file may use.
    pub const NAMES: [(&'static str, Self); 5] =
        [("text", Self::Text), ("float", Self::Float), ("int", Self::Int), ("bool", Self::Bool), ("time", Self::Time)];
}
