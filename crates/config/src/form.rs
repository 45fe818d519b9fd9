//! The forms of a topic's records: how one is told from another, what it is wrapped in, how it is written.

use std::path::PathBuf;
use std::time::Duration;

use super::{Columns, Condition, Pattern, SourcePath};

/// One way in which records are written.
#[derive(Debug, Clone)]
pub struct Form {
    /// What it is called; empty where the job has only one.
    pub name: String,
    /// Of which of the job's sources its records are: the first is 0.
    pub source: usize,
    /// A record is of this form if it meets all of these.
    pub when: Vec<Condition>,
    /// What is taken off before it is read.
    pub unwrap: Vec<Unwrap>,
    /// How the rest is written.
    pub format: Format,
    /// Where in a record the items stand that become rows, if not each object is one.
    pub rows: Vec<SourcePath>,
    /// Set where each record, or item of one, carries one vital by name.
    pub long: Option<LongForm>,
    /// Which of its rows count.
    pub counts: Counts,
    /// What its records are about.
    pub subject: Subject,
    /// Its columns; of readings they differ from those of the other forms only in where and how they stand.
    pub columns: Columns,
}

/// What records are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Measurements: they become rows.
    Readings,
    /// Who comes, moves and goes: they become requests, whose columns are those of the table of encounters.
    Encounters,
}

impl Subject {
    /// The columns of an encounter that a form may say where to read, as a job file would declare them. `kind` takes the names of kinds of
    /// requests.
    pub(super) const OF_ENCOUNTERS: &str = r#"
        kind = { type = "text", required = true, map = { admit = "admit", move = "move", discharge = "discharge", update = "update", cancel_admit = "cancel_admit", cancel_move = "cancel_move", cancel_discharge = "cancel_discharge", merge = "merge" } }
        patient_id = { type = "text" }
        from_at = { type = "time" }
        until_at = { type = "time" }
        device = { type = "text" }
        ward = { type = "text" }
        place = { type = "text" }
        name = { type = "text" }
        born = { type = "text" }
        age_band = { type = "text" }
        merged_id = { type = "text" }
        stay = { type = "text" }
        note = { type = "text" }
    "#;
}

impl Form {
    /// Every path that is read in its records, in the order of its columns; the conditions first.
    pub fn paths(&self) -> impl Iterator<Item = &SourcePath> {
        let conditions = self.when.iter().chain(self.counts.conditions());
        let long = self.long.iter().flat_map(|long| long.name.iter().chain(&long.value));
        let paths = conditions.flat_map(|condition| &condition.fields).chain(long).chain(self.columns.paths());
        paths.flat_map(SourcePath::places)
    }

    /// Whether a record is known to have several rows, by what the job says of it. A list of JSON objects may come all the same.
    #[must_use]
    pub fn has_several_rows(&self) -> bool {
        !self.rows.is_empty() || matches!(self.format, Format::Csv(_) | Format::Hl7v2 | Format::Text(_))
    }

    /// Whether a record is an object with the values in its fields, or with one vital.
    pub(super) fn is_bare(&self) -> bool {
        let is_conditional = !self.when.is_empty() || self.counts.conditions().next().is_some();
        matches!((&self.format, &self.counts), (Format::Json, Counts::Some { .. }))
            && self.unwrap.is_empty()
            && self.rows.is_empty()
            && !is_conditional
    }
}

impl Counts {
    /// What it depends on.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let (only, ignore): (&[Condition], &[Condition]) = match self {
            Self::None => (&[], &[]),
            Self::Some { only, ignore } => (only, ignore),
        };
        only.iter().chain(ignore)
    }
}

/// Which rows of a form count; the others are left out and counted.
#[derive(Debug, Clone)]
pub enum Counts {
    /// None: the form is known and of no interest.
    None,
    /// Those that meet all of `only`, and none of `ignore`.
    Some {
        /// All of these must be met.
        only: Vec<Condition>,
        /// None of these may be met.
        ignore: Vec<Condition>,
    },
}

/// Something that a record is wrapped in. What is not wrapped in it is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwrap {
    /// Compressed with gzip (RFC 1952).
    Gzip,
    /// Base64 (RFC 4648, sections 4 and 5).
    Base64,
    /// A JSON text that has JSON, or another format, in it.
    JsonText,
    /// A CloudEvent (version 1.0) in its structured mode: its data.
    CloudEvents,
    /// What Kafka Connect and Debezium put around a row: the row as it is now. Deletes are none.
    Debezium,
    /// The bases of SenML (RFC 8428), put together with what follows them.
    SenMl,
    /// A field of an object.
    Field(SourcePath),
}

/// How a record is written.
#[derive(Debug, Clone)]
pub enum Format {
    /// JSON: objects, lists of them, several one behind the other.
    Json,
    /// Comma-separated values (RFC 4180).
    Csv(CsvFormat),
    /// HL7 version 2 in its encoding with bars; each OBX segment is an item.
    Hl7v2,
    /// Apache Avro: datums of a schema, or of the registry that the form of Confluent names (a zero byte, and the id).
    Avro(SchemaSource),
    /// Protocol Buffers: messages of a type, or of the registry.
    Protobuf {
        /// Where the type is described.
        schema: SchemaSource,
        /// Its name, where it is not the file's first.
        message: Option<String>,
    },
    /// Text whose lines a regular expression takes apart; each line is an item.
    Text(Pattern),
}

impl Format {
    /// The URL of the registry that has the schemas of its records, if one has.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        match self {
            Self::Avro(SchemaSource::Registry(url)) | Self::Protobuf { schema: SchemaSource::Registry(url), .. } => {
                Some(url)
            }
            _ => None,
        }
    }
}

/// Where the schema of records stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSource {
    /// In this file.
    File(PathBuf),
    /// In the registry at this URL, by the id that each record has.
    Registry(String),
}

/// How CSV is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFormat {
    /// The names of its columns; empty where the first line of each record has them.
    pub header: Vec<String>,
    /// What stands between values.
    pub delimiter: u8,
    /// What stands around values.
    pub quote: u8,
}

/// How a record with one vital names it and carries its value.
#[derive(Debug, Clone)]
pub struct LongForm {
    /// The paths of the vital's name; it is looked up among the names of the columns. Of several, the first with a name that is
    /// known counts.
    pub name: Vec<SourcePath>,
    /// The paths of its value; the first that is not null counts.
    pub value: Vec<SourcePath>,
    /// Vitals of one record, patient and device that were measured within this are one row: by default those of one time.
    pub join_within: Duration,
    /// What becomes of a vital that no column is named after.
    pub undeclared: Undeclared,
}

/// What becomes of what the job does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeclared {
    /// It is left out, and counted.
    Ignored,
    /// It is a reject.
    Rejected,
}
