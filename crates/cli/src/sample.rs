//! `wardwatch sample`: what becomes of sample records, value by value, before a job is run on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;

use wardwatch_config::Job;
use wardwatch_ingest::decode::{Found, RawRecords};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics};
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::terms::Offset;
use wardwatch_pipeline::{FileRecord, newest_records, records_of_file};

use super::arguments::JobFile;

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// So much of a record is shown.
const SHOWN: usize = 600;

/// The arguments of `sample`.
#[derive(Debug, clap::Args)]
pub(super) struct Sample {
    #[command(flatten)]
    file: JobFile,
    /// A file of records: one a line, or one as it is where the form has no lines
    #[arg(long, value_name = "FILE", conflicts_with = "last")]
    input: Option<PathBuf>,
    /// The newest records of the job's topic
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    last: usize,
}

impl Sample {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let topics = job.source.topics.unnumbered();
        let mut decoder = wardwatch_pipeline::decoder(&job, &topics)?;
        let faults = decoder.faults();
        if !faults.is_empty() {
            let fault = |message| Diagnostic { file: job.file.clone(), line: 1, column: 1, message };
            bail!(Diagnostics(faults.into_iter().map(fault).collect()));
        }
        let records = match &self.input {
            Some(file) => {
                records_of_file(&job, file).map_err(|error| anyhow::anyhow!("\"{}\": {error}", file.display()))?
            }
            None => newest_records(&job, self.last, decoder.headers(), PATIENCE)?,
        };
        let mut seen = Seen::default();
        for record in &records {
            let mut one = RawRecords::default();
            record.push(&mut one, Offset(i64::try_from(record.line).unwrap_or(0)), decoder.headers(), &topics);
            let found = decoder.explain(&one);
            let place = match &self.input {
                Some(file) => format!("{}:{}", file.display(), record.line),
                None => {
                    let topic = record.topic.as_ref().filter(|_| job.source.topics.is_several());
                    let topic = topic.map(|topic| format!("{topic}/")).unwrap_or_default();
                    format!("partition {topic}{}, offset {}", record.partition, record.line)
                }
            };
            show(&job, &place, record, &found);
            seen.note(&found);
        }
        seen.tell(&job, records.len());
        Ok(())
    }
}

fn show(job: &Job, place: &str, record: &FileRecord, found: &Found) {
    let rows = &found.decoded.rows;
    let of_form = found.form.as_deref().filter(|name| !name.is_empty()).map(|name| format!(", form \"{name}\""));
    println!("{place}{}: {}", of_form.unwrap_or_default(), outcome(found));
    match &record.payload {
        None => println!("  no value"),
        Some(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let text: String = text.chars().map(|c| if c.is_control() { '␤' } else { c }).collect();
            match text.char_indices().nth(SHOWN) {
                None => println!("  {text}"),
                Some((end, _)) => println!("  {}…", &text[..end]),
            }
        }
    }
    for (row, members) in found.members.iter().enumerate() {
        let numbers: Vec<String> = members.iter().map(|item| item.0.to_string()).collect();
        if rows.num_rows() > 1 || numbers != ["0"] {
            println!("  row of item{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "));
        }
        let of_row: Vec<_> = found.items.iter().filter(|found| members.contains(&found.item)).collect();
        for column in job.source.columns.all() {
            let sent = of_row.iter().flat_map(|found| &found.values).find(|(name, ..)| *name == column.name);
            let value = value(rows, &column.name, row);
            let is_empty = value.is_none();
            let value = value.map(|value| format!("{value} {}", column.unit)).unwrap_or_default();
            match sent {
                Some((_, place, text)) => println!("    {:<20} {:<28} {place} = \"{text}\"", column.name, value.trim()),
                None if is_empty => {}
                None => println!("    {:<20} {}", column.name, value.trim()),
            }
        }
    }
    for Artefact { column, text, reason, place, .. } in &found.decoded.artefacts {
        println!("    {column} of item {} is left empty: \"{text}\" {reason}", place.item.0);
    }
    for Reject { reason, place, .. } in &found.decoded.rejects {
        println!("  rejected, item {}: {reason}", place.item.0);
    }
    println!();
}

fn outcome(found: &Found) -> String {
    let rows = found.decoded.rows.num_rows();
    let mut parts = vec![format!("{rows} row{}", if rows == 1 { "" } else { "s" })];
    if !found.decoded.rejects.is_empty() {
        parts.push(format!("{} rejected", found.decoded.rejects.len()));
    }
    if found.decoded.ignored > 0 {
        parts.push(format!("{} left out", found.decoded.ignored));
    }
    parts.join(", ")
}

fn value(rows: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let array = &rows[column];
    array.is_valid(row).then(|| array_value_to_string(array, row).unwrap_or_default())
}

/// What samples had.
#[derive(Debug, Default)]
struct Seen {
    /// The places of each column, with how many values.
    places: BTreeMap<String, BTreeMap<String, usize>>,
    columns: BTreeSet<String>,
    forms: BTreeSet<String>,
    rows: usize,
    rejects: usize,
    ignored: usize,
}

impl Seen {
    fn note(&mut self, found: &Found) {
        self.forms.extend(found.form.clone());
        for (column, place, _) in found.items.iter().flat_map(|item| &item.values) {
            // In the long form, a place says of which name it is.
            *self.places.entry(column.clone()).or_default().entry(place.clone()).or_default() += 1;
        }
        let rows = &found.decoded.rows;
        let schema = rows.schema();
        let with_value =
            schema.fields().iter().zip(rows.columns()).filter(|(_, array)| array.null_count() < array.len());
        let with_value = with_value.map(|(field, _)| field.name().clone());
        self.columns.extend(with_value);
        self.rows += rows.num_rows();
        self.rejects += found.decoded.rejects.len();
        self.ignored += found.decoded.ignored;
    }

    fn tell(&self, job: &Job, records: usize) {
        println!("{records} records: {} rows, {} rejected, {} left out", self.rows, self.rejects, self.ignored);
        for form in &job.source.forms {
            if !self.forms.contains(&form.name) && !form.name.is_empty() {
                println!("warning: no record is of the form \"{}\"", form.name);
            }
        }
        for column in job.source.columns.all() {
            if self.rows > 0 && !self.columns.contains(&column.name) {
                println!("warning: column \"{}\" is always empty", column.name);
                continue;
            }
            let seen = self.places.get(&column.name);
            let is_seen = |place: &str| {
                seen.is_some_and(|places| {
                    places.keys().any(|known| {
                        known == place || known.strip_suffix(place).is_some_and(|rest| rest.ends_with(" of "))
                    })
                })
            };
            let never: Vec<String> = job
                .source
                .forms
                .iter()
                .filter_map(|form| form.columns.get(&column.name))
                .flat_map(|column| column.from.iter().map(ToString::to_string).chain(column.named.iter().cloned()))
                .collect::<BTreeSet<String>>()
                .into_iter()
                .filter(|place| !is_seen(place))
                .map(|place| format!("\"{place}\""))
                .collect();
            if self.rows > 0 && !never.is_empty() {
                println!("note: column \"{}\" was never read at {}", column.name, never.join(", "));
            }
        }
    }
}
