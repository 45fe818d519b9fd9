//! `wardwatch sample`: what becomes of sample records, value by value, before a job is run on them.

use std::path::PathBuf;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use chrono::SecondsFormat;

use wardwatch_config::Job;
use wardwatch_ingest::decode::Found;
use wardwatch_model::diagnostic::nearest;
use wardwatch_model::encounter::Request;
use wardwatch_model::record::{Artefact, Item, Reject};
use wardwatch_pipeline::FileRecord;

use super::arguments::JobFile;
use super::samples::{Noted, Samples, Seen, UNSEEN};

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
    /// The topic that records of the file are of, where they do not say so themselves and the job reads several
    #[arg(long, value_name = "TOPIC", requires = "input")]
    topic: Option<String>,
    /// The newest records of the job's topic
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    last: usize,
}

impl Sample {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let mut samples = Samples::of(&job)?;
        let records = match &self.input {
            Some(file) => samples.of_file(file, self.topic.as_deref())?,
            None => samples.newest(self.last)?,
        };
        let mut seen = Seen::default();
        for record in &records {
            let found = samples.explain(record);
            let place = match &self.input {
                Some(file) => format!("{}:{}", file.display(), record.line),
                None => {
                    let topic = record.topic.as_ref().filter(|_| job.source.topics.is_several());
                    let topic = topic.map(|topic| format!("{topic}/")).unwrap_or_default();
                    format!("partition {topic}{}, offset {}", record.partition, record.line)
                }
            };
            for (index, found) in found.iter().enumerate() {
                show(&job, &place, if index == 0 { Shown::Record(record) } else { Shown::Before }, found);
            }
            seen.note(&job, record, &found, &samples.forms_that_take(record));
        }
        println!("{}", seen.summary(records.len()));
        for Noted { name, message, .. } in seen.findings(&job) {
            // Places that devices of another make would use are no reason to worry here.
            println!("{}: {message}", if name == UNSEEN { "note" } else { "warning" });
        }
        Ok(())
    }
}

/// Whether a record itself is shown.
#[derive(Clone, Copy)]
enum Shown<'r> {
    Record(&'r FileRecord),
    /// It was, with what became of others of its items.
    Before,
}

fn show(job: &Job, place: &str, shown: Shown<'_>, found: &Found) {
    let rows = &found.decoded.rows;
    let form = job.source.forms.iter().find(|form| Some(&form.name) == found.form.as_ref());
    let source = form.map_or(0, |form| form.source);
    let of_form = found.form.as_deref().filter(|name| !name.is_empty()).map(|name| format!(", form \"{name}\""));
    println!("{place}{}: {}", of_form.unwrap_or_default(), outcome(found));
    match shown {
        Shown::Before => {}
        Shown::Record(FileRecord { payload: None, .. }) => println!("  no value"),
        Shown::Record(FileRecord { payload: Some(bytes), .. }) => {
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
        for column in job.source.columns_of(source).all() {
            let value = value(rows, &column.name, row);
            let is_empty = value.is_none();
            let mut sent = of_row.iter().flat_map(|found| found.values.iter().map(|value| (found.item, value)));
            // The value is not of what could not be read.
            let is_passed = |item: Item, text: &str| {
                let mut of_item = found.decoded.artefacts.iter().filter(|artefact| artefact.place.item == item);
                of_item.any(|artefact| artefact.column == column.name && artefact.text == text)
            };
            let sent = sent
                .find(|(item, (name, _, text))| *name == column.name && (is_empty || !is_passed(*item, text)))
                .map(|(_, sent)| sent);
            let value = value.map(|value| format!("{value} {}", column.unit)).unwrap_or_default();
            match sent {
                Some((_, place, text)) => println!("    {:<20} {:<28} {place} = \"{text}\"", column.name, value.trim()),
                None if is_empty => {}
                None => println!("    {:<20} {}", column.name, value.trim()),
            }
        }
    }
    for said in &found.decoded.encounters {
        println!("    {}", in_words(&said.request));
    }
    for Artefact { column, text, reason, place, .. } in &found.decoded.artefacts {
        let row = found.members.iter().position(|members| members.contains(&place.item));
        let what = match row.and_then(|row| value(rows, column, row)) {
            Some(_) => "has another place's value",
            None => "is left empty",
        };
        println!("    {column} of item {} {what}: \"{text}\" {reason}", place.item.0);
    }
    for name in &found.unnamed {
        println!("  left out: {}", unnamed(job, source, name));
    }
    for Reject { reason, place, .. } in &found.decoded.rejects {
        println!("  rejected, item {}: {reason}", place.item.0);
    }
    println!();
}

fn outcome(found: &Found) -> String {
    let rows = found.decoded.rows.num_rows();
    let said = found.decoded.encounters.len();
    let mut parts = vec![format!("{rows} row{}", if rows == 1 { "" } else { "s" })];
    if said > 0 {
        parts = vec![format!("{said} encounter{}", if said == 1 { "" } else { "s" })];
    }
    if !found.decoded.rejects.is_empty() {
        parts.push(format!("{} rejected", found.decoded.rejects.len()));
    }
    if found.decoded.ignored > 0 {
        parts.push(format!("{} left out", found.decoded.ignored));
    }
    parts.join(", ")
}

/// That no column is read from what bears this name, with the nearest that one is read from.
fn unnamed(job: &Job, source: usize, name: &str) -> String {
    let known = job.source.columns_of(source).all().iter().flat_map(|column| &column.named);
    let near = nearest(name, known.map(String::as_str));
    let near = near.map(|near| format!("; the nearest that is, is \"{near}\"")).unwrap_or_default();
    format!("no column is read from the vital \"{name}\"{near}")
}

/// What a record says of who comes, moves and goes.
fn in_words(request: &Request) -> String {
    let Request { kind, patient, at, until, given, merged, stay, .. } = request;
    let mut text = format!("{} of {patient} at {}", kind.name(), at.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    let said = [
        ("until", until.map(|until| until.to_rfc3339_opts(SecondsFormat::AutoSi, true)).unwrap_or_default()),
        ("device", given.device.clone()),
        ("ward", given.ward.clone()),
        ("place", given.place.clone()),
        ("name", given.name.clone()),
        ("born", given.born.clone()),
        ("age band", given.age_band.clone()),
        ("merged", merged.clone()),
        ("stay", stay.clone()),
    ];
    for (what, value) in said.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!(", {what} {value}"));
    }
    text
}

fn value(rows: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let array = &rows[column];
    array.is_valid(row).then(|| array_value_to_string(array, row).unwrap_or_default())
}
