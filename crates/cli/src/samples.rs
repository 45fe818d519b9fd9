//! What sample records have of what a job reads: for `sample`, which shows it, and `check`, which warns of what they lack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use wardwatch_config::{Form, Format, Job, SourcePath, Subject};
use wardwatch_ingest::decode::{Decoder, Found, Lacking, RawRecords, lacking};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, Warning};
use wardwatch_model::terms::Offset;
use wardwatch_model::topics::Topics;
use wardwatch_pipeline::{FileRecord, newest_records, records_of_file};

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The warning that no sample has a value at one of a column's places.
pub(super) const UNSEEN: &str = "unseen-place";

/// All warnings of samples.
pub(super) const OF_SAMPLES: [&str; 8] =
    [UNSEEN, LACKING, "unseen-form", "two-forms", "always-empty", "path-into-list", "rejected", "no-rows"];

/// The warning that a schema has no field for a column.
const LACKING: &str = "not-in-schema";

/// What schemas in files lack of what the job reads, which needs no sample.
pub(super) fn of_schemas(job: &Job) -> Vec<Warning> {
    let lacking = lacking(&job.source).into_iter();
    placed(
        job,
        lacking.map(|Lacking { source, column, message }| Noted {
            name: LACKING,
            about: About::Column(source, column),
            message,
        }),
    )
}

/// Reads sample records as the job does.
pub(super) struct Samples<'j> {
    job: &'j Job,
    topics: Topics,
    decoder: Decoder,
}

impl<'j> Samples<'j> {
    /// Errors: every fault of the job's schemas and of its `source.sql`.
    pub(super) fn of(job: &'j Job) -> anyhow::Result<Self> {
        let topics = job.source.topics.unnumbered();
        let mut decoder = wardwatch_pipeline::decoder(job, &topics)?;
        let faults = decoder.faults();
        if !faults.is_empty() {
            let fault = |message| Diagnostic { file: job.file.clone(), line: 1, column: 1, message };
            bail!(Diagnostics(faults.into_iter().map(fault).collect()));
        }
        Ok(Self { job, topics, decoder })
    }

    /// The records of a file, which are of `topic` where they do not say of which.
    pub(super) fn of_file(&self, file: &Path, topic: Option<&str>) -> anyhow::Result<Vec<FileRecord>> {
        let source = &self.job.source;
        if let Some(topic) = topic.filter(|topic| !source.topics.takes(topic)) {
            bail!("the job does not read the topic \"{topic}\"; it reads {}", source.topics);
        }
        let mut records = records_of_file(self.job, file, topic.map_or(0, |topic| source.source_of(topic)))
            .map_err(|error| anyhow::anyhow!("\"{}\": {error}", file.display()))?;
        for record in records.iter_mut().filter(|record| record.topic.is_none()) {
            record.topic = topic.map(str::to_owned);
        }
        Ok(records)
    }

    pub(super) fn newest(&self, count: usize) -> anyhow::Result<Vec<FileRecord>> {
        Ok(newest_records(self.job, count, self.decoder.headers(), PATIENCE)?)
    }

    /// What becomes of a record, form by form.
    pub(super) fn explain(&mut self, record: &FileRecord) -> Vec<Found> {
        let one = self.raw(record);
        self.decoder.explain(&one)
    }

    /// The forms whose conditions it meets, or each part of it.
    pub(super) fn forms_that_take(&self, record: &FileRecord) -> Vec<Vec<&str>> {
        self.decoder.forms_that_take(&self.raw(record))
    }

    fn raw(&self, record: &FileRecord) -> RawRecords {
        let mut one = RawRecords::default();
        let offset = Offset(i64::try_from(record.line).unwrap_or(0));
        record.push(&mut one, offset, self.decoder.headers(), &self.topics);
        one
    }
}

/// What samples had.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The places of each source's columns, with how many values.
    places: BTreeMap<(usize, String), BTreeMap<String, usize>>,
    columns: BTreeSet<(usize, String)>,
    forms: BTreeSet<String>,
    /// Forms that some record meets beside the one that counts.
    both: BTreeSet<(String, String)>,
    /// Of a column: a path, and where in it a list stands.
    into_lists: BTreeMap<(usize, String), (String, String)>,
    /// Of a form of encounters and a column: the places that were read.
    said: BTreeMap<(String, String), BTreeSet<String>>,
    /// How many rows each source had.
    rows: BTreeMap<usize, usize>,
    encounters: usize,
    rejects: usize,
    /// The reason of the first of them.
    reason: Option<String>,
    ignored: usize,
}

/// What is noted of samples.
#[derive(Debug)]
pub(super) struct Noted {
    /// Of which kind it is.
    pub(super) name: &'static str,
    /// The column, or else the form, that it is about.
    about: About,
    pub(super) message: String,
}

#[derive(Debug)]
enum About {
    All,
    /// Of a source.
    Column(usize, String),
    Form(String),
}

impl Seen {
    /// `forms`: those whose conditions each part of the record meets.
    pub(super) fn note(&mut self, job: &Job, record: &FileRecord, found: &[Found], forms: &[Vec<&str>]) {
        found.iter().for_each(|found| self.note_one(job, record, found));
        // A last form without conditions takes what the others leave: that is what it is for.
        let has_conditions =
            |name: &&&str| job.source.forms.iter().any(|form| form.name == **name && !form.when.is_empty());
        for of_part in forms {
            let Some((first, others)) = of_part.split_first() else { continue };
            let pairs = others.iter().filter(has_conditions).map(|other| ((*first).to_owned(), (*other).to_owned()));
            self.both.extend(pairs);
        }
    }

    fn note_one(&mut self, job: &Job, record: &FileRecord, found: &Found) {
        self.forms.extend(found.form.clone());
        let form = job.source.forms.iter().find(|form| found.form.as_deref().is_none_or(|name| form.name == name));
        if let Some(form) = form.filter(|form| form.subject == Subject::Encounters) {
            for (column, place, _) in found.items.iter().flat_map(|item| &item.values) {
                self.said.entry((form.name.clone(), column.clone())).or_default().insert(place.clone());
            }
            self.note_counts(form.source, found);
            return;
        }
        let source = form.map_or(0, |form| form.source);
        for (column, place, _) in found.items.iter().flat_map(|item| &item.values) {
            // In the long form, a place says of which name it is.
            *self.places.entry((source, column.clone())).or_default().entry(place.clone()).or_default() += 1;
        }
        let rows = &found.decoded.rows;
        let schema = rows.schema();
        let with_value =
            schema.fields().iter().zip(rows.columns()).filter(|(_, array)| array.null_count() < array.len());
        let with_value = with_value.map(|(field, _)| (source, field.name().clone()));
        self.columns.extend(with_value);
        self.note_counts(source, found);
        if let (Some(form), Some(payload)) = (form, &record.payload) {
            let found = into_lists(form, payload).into_iter();
            self.into_lists.extend(found.map(|(column, list)| ((source, column), list)));
        }
    }

    fn note_counts(&mut self, source: usize, found: &Found) {
        *self.rows.entry(source).or_default() += found.decoded.rows.num_rows();
        self.encounters += found.decoded.encounters.len();
        self.rejects += found.decoded.rejects.len();
        self.ignored += found.decoded.ignored;
        if self.reason.is_none() {
            self.reason = found.decoded.rejects.first().map(|reject| reject.reason.clone());
        }
    }

    pub(super) fn summary(&self, records: usize) -> String {
        let encounters = if self.encounters > 0 { format!(" {} encounters,", self.encounters) } else { String::new() };
        format!(
            "{records} records: {} rows,{encounters} {} rejected, {} left out",
            self.rows.values().sum::<usize>(),
            self.rejects,
            self.ignored
        )
    }

    /// Why the first of the rejects is one.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What of the job no sample has.
    pub(super) fn findings(&self, job: &Job) -> Vec<Noted> {
        // Of a source of which there is no sample, nothing is known.
        let has_samples = |source: usize| {
            let mut own = job.source.forms.iter().filter(|form| form.source == source);
            job.source.others.is_empty() || own.any(|form| self.forms.contains(&form.name))
        };
        let is_unmet = |form: &&Form| !form.name.is_empty() && !self.forms.contains(&form.name);
        let forms = job.source.forms.iter().filter(is_unmet).filter(|form| has_samples(form.source));
        let unmet = forms.map(|form| Noted {
            name: "unseen-form",
            about: About::Form(form.name.clone()),
            message: format!("no record is of the form \"{}\"", form.name),
        });
        let both = self.both.iter().map(|(first, other)| Noted {
            name: "two-forms",
            about: About::Form(other.clone()),
            message: format!(
                "a record of the form \"{first}\" meets the conditions of \"{other}\" too; the first of them counts"
            ),
        });
        // What a form that comes with wardwatch reads beside, nobody wrote.
        let text = std::fs::read_to_string(&job.file).unwrap_or_default();
        let is_written = |place: &str| text.contains(place);
        let columns = job.source.tables().flat_map(|(source, _)| {
            let columns = job.source.columns_of(source).all().iter();
            columns.filter_map(|column| self.of_column(job, (source, &column.name), &is_written)).collect::<Vec<_>>()
        });
        let of_encounters = job.source.forms.iter().filter(|form| form.subject == Subject::Encounters);
        let said = of_encounters.flat_map(|form| self.of_encounters(form, &is_written));
        self.of_all().into_iter().chain(unmet).chain(both).chain(columns).chain(said).collect()
    }

    /// That nothing, or not all, could be read.
    fn of_all(&self) -> Option<Noted> {
        let noted = |name, message| Some(Noted { name, about: About::All, message });
        match &self.reason {
            Some(reason) => noted("rejected", format!("{} rejected; the first: {reason}", self.rejects)),
            None if self.rows.values().sum::<usize>() + self.encounters == 0 => {
                noted("no-rows", format!("no record became a row; {} are left out on purpose", self.ignored))
            }
            None => None,
        }
    }

    /// The places of encounters where no record had anything.
    fn of_encounters<'s>(
        &'s self,
        form: &'s Form,
        is_written: &'s dyn Fn(&str) -> bool,
    ) -> impl Iterator<Item = Noted> + 's {
        let is_met = self.forms.contains(&form.name);
        form.columns.all().iter().filter(move |_| is_met).filter_map(|column| {
            let seen = self.said.get(&(form.name.clone(), column.name.clone()));
            let places = column.from.iter().filter(|path| path.beside().is_none()).map(ToString::to_string);
            // Of an own name nothing was said, and what is not told is not told.
            let never: Vec<String> = places
                .filter(|place| *place != column.name && is_written(place))
                .filter(|place| seen.is_none_or(|seen| !seen.contains(place)))
                .map(|place| format!("\"{place}\""))
                .collect();
            let message =
                format!("\"{}\" of form \"{}\" was never read at {}", column.name, form.name, never.join(", "));
            (!never.is_empty()).then(|| Noted { name: UNSEEN, about: About::Form(form.name.clone()), message })
        })
    }

    fn of_column(
        &self,
        job: &Job,
        (source, column): (usize, &str),
        is_written: &dyn Fn(&str) -> bool,
    ) -> Option<Noted> {
        let noted = |name, message| Some(Noted { name, about: About::Column(source, column.to_owned()), message });
        let key = (source, column.to_owned());
        let has_rows = self.rows.get(&source).is_some_and(|rows| *rows > 0);
        let has_value = self.columns.contains(&key);
        let column = match job.source.others.get(source.wrapping_sub(1)) {
            Some(other) => &other.column(column),
            None => column,
        };
        if let Some((path, list)) = self.into_lists.get(&key).filter(|_| !has_value) {
            return noted(
                "path-into-list",
                format!(
                    "column \"{column}\" is read at \"{path}\", and at \"{list}\" records have a list: \"{list}[0]\" is its first item, and \
                     rows = \"$.{list}[*]\" makes a row of each"
                ),
            );
        }
        if has_rows && !has_value {
            return noted("always-empty", format!("column \"{column}\" is always empty"));
        }
        let seen = self.places.get(&key);
        let is_seen = |place: &str| {
            let is_of =
                |known: &str| known == place || known.strip_suffix(place).is_some_and(|rest| rest.ends_with(" of "));
            seen.is_some_and(|places| places.keys().any(|known| is_of(known)))
        };
        let is_own = |form: &&Form| form.subject == Subject::Readings && form.source == source;
        let columns = job.source.forms.iter().filter(is_own).filter_map(|form| form.columns.get(&key.1));
        let places = columns.flat_map(|column| {
            // Files of samples have neither keys nor headers, and a stamp is there always.
            let from = column.from.iter().filter(|path| path.beside().is_none());
            from.map(ToString::to_string).chain(column.named.iter().cloned())
        });
        let places = places.filter(|place| is_written(place));
        let never: BTreeSet<String> =
            places.filter(|place| !is_seen(place)).map(|place| format!("\"{place}\"")).collect();
        if !has_rows || never.is_empty() {
            return None;
        }
        let never: Vec<String> = never.into_iter().collect();
        noted(UNSEEN, format!("column \"{column}\" was never read at {}", never.join(", ")))
    }

    /// The same, each with its place in the job file.
    pub(super) fn warnings(&self, job: &Job) -> Vec<Warning> {
        placed(job, self.findings(job).into_iter())
    }
}

/// What is noted, with its place in the job file.
fn placed(job: &Job, noted: impl Iterator<Item = Noted>) -> Vec<Warning> {
    let text = std::fs::read_to_string(&job.file).unwrap_or_default();
    let warning = |noted: Noted| {
        let offset = match &noted.about {
            About::All => None,
            About::Column(source, column) => {
                offset_of(of_source(&text, *source), "columns", |line| is_key(line, column))
                    .map(|offset| offset + text.len() - of_source(&text, *source).len())
            }
            About::Form(form) => {
                offset_of(&text, "form", |line| is_key(line, "name") && line.contains(&format!("\"{form}\"")))
                    .or_else(|| offset_of(&text, "form", |line| is_key(line, "use") && line.contains(form.as_str())))
            }
        };
        Warning { diagnostic: Diagnostic::at(&job.file, &text, offset.unwrap_or(0), noted.message), name: noted.name }
    };
    noted.map(warning).collect()
}

/// The text from where the source at this place begins.
fn of_source(text: &str, source: usize) -> &str {
    let begins = |line: &str| ["[source]", "[[sources]]"].iter().any(|head| line.trim_start().starts_with(head));
    let lines = text.split_inclusive('\n').scan(0, |offset, line| {
        let start = *offset;
        *offset += line.len();
        Some((start, line))
    });
    let mut starts = lines.filter(|(_, line)| begins(line)).map(|(start, _)| start);
    starts.nth(source).map_or(text, |start| &text[start..])
}

fn is_key(line: &str, key: &str) -> bool {
    let line = line.trim_start_matches('"');
    line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with('='))
}

/// Where a line stands below a table of the job file whose name has `table` in it.
fn offset_of(text: &str, table: &str, is_it: impl Fn(&str) -> bool) -> Option<usize> {
    let (mut offset, mut is_inside) = (0, false);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            is_inside = trimmed.contains(table);
        } else if is_inside && is_it(trimmed) {
            return Some(offset + line.len() - trimmed.len());
        }
        offset += line.len();
    }
    None
}

/// The columns that are read at a path which leads into a list of the record.
fn into_lists(form: &Form, payload: &[u8]) -> Vec<(String, (String, String))> {
    let is_plain = matches!(form.format, Format::Json) && form.unwrap.is_empty() && form.rows.is_empty();
    let Some(record) = is_plain.then(|| serde_json::from_slice::<Value>(payload).ok()).flatten() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for column in form.columns.all() {
        for path in column.from.iter().filter(|path| matches!(path, SourcePath::Fields(_))) {
            let SourcePath::Fields(names) = path else { continue };
            let mut value = &record;
            for (depth, name) in names.iter().enumerate() {
                match value.get(name) {
                    Some(Value::Array(_)) if depth + 1 < names.len() => {
                        let list = names[..=depth].join(".");
                        found.push((column.name.clone(), (path.to_string(), list)));
                        break;
                    }
                    Some(inner) => value = inner,
                    None => break,
                }
            }
        }
    }
    found
}
