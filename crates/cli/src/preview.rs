//! `wardwatch preview`: what one query gives, before it is part of the job.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use wardwatch_model::diagnostic::{Diagnostics, unknown};
use wardwatch_pipeline::{Past, Plan, Preview as Previewed, preview};
use wardwatch_sql::read_rows;

use super::arguments::{JobFile, Takes};
use super::table::{aligned, second};

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many values that are left empty are named.
const MOST_ARTEFACTS: usize = 10;

/// The arguments of `preview`.
#[derive(Debug, clap::Args)]
pub(super) struct Preview {
    #[command(flatten)]
    file: JobFile,
    /// A query of the set by its name, or the file of one that is not in it yet
    #[arg(value_name = "QUERY")]
    query: String,
    /// Sample records, one JSON object a line, in the form that the job's topic has
    #[arg(long, value_name = "FILE", conflicts_with = "last", required_unless_present = "last")]
    input: Option<PathBuf>,
    /// The newest records of the job's topic
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Rows of a reference table in place of those of its seed
    #[arg(long = "table", value_name = "NAME=FILE.csv", value_parser = named_file)]
    tables: Vec<(String, PathBuf)>,
    /// Show at most so many rows
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// Print all rows as JSON, an object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print all rows as CSV
    #[arg(long)]
    csv: bool,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("write the table's name and a file: patients=patients.csv")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

impl Preview {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (plan, query) = self.file.with_query(&self.query, Takes::Queries)?;
        let given = self.given(&plan)?;
        let past = match (&self.input, self.last) {
            (Some(file), _) => Past::of_file(&plan, file, None, None)?,
            (None, last) => Past::of_topic(&plan, last.unwrap_or_default(), PATIENCE)?,
        };
        let previewed = preview(&plan, &query, &past, &given).with_context(|| format!("query \"{query}\" fails"))?;
        self.notes(&previewed, &past);
        let rows = &previewed.rows;
        if self.json {
            print!("{}", json_lines(rows)?);
        } else if self.csv {
            print!("{}", csv_lines(rows)?);
        } else {
            let heading: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
            let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
            let shown = rows.slice(0, rows.num_rows().min(self.limit));
            print!("{}", aligned(&heading, cells(&shown)?));
            if rows.num_rows() > self.limit {
                println!("and {} more rows; --limit shows more", rows.num_rows() - self.limit);
            }
            show_alerts(&previewed);
        }
        Ok(())
    }

    fn given(&self, plan: &Plan) -> anyhow::Result<Vec<(String, RecordBatch)>> {
        let mut given = Vec::new();
        for (name, file) in &self.tables {
            let Some(reference) = plan.references.iter().find(|reference| reference.spec.name == *name) else {
                bail!(unknown("reference table", name, plan.references.iter().map(|known| known.spec.name.as_str())));
            };
            let rows = read_rows(file, &reference.rows.schema(), &reference.spec.key);
            given.push((name.clone(), rows.map_err(|fault| Diagnostics(vec![fault]))?));
        }
        Ok(given)
    }

    /// What a reader must know of the rows goes to standard error, so that these alone can be piped on.
    fn notes(&self, previewed: &Previewed, past: &Past) {
        if let Some(reason) = &past.first_reject {
            eprintln!("note: {} records are none of the job's; the first, {reason}", past.rejects);
        }
        if past.ignored > 0 {
            eprintln!(
                "note: {} are left out on purpose: no column is named after them, or they are empty",
                past.ignored
            );
        }
        for artefact in past.artefacts.iter().take(MOST_ARTEFACTS) {
            let (patient, at, column) = (&artefact.patient, second(artefact.event_time), &artefact.column);
            let (text, reason) = (&artefact.text, &artefact.reason);
            eprintln!("note: \"{column}\" of patient \"{patient}\" at {at} is left empty: \"{text}\" {reason}");
        }
        if past.artefacts.len() > MOST_ARTEFACTS {
            eprintln!("note: {} more values are left empty", past.artefacts.len() - MOST_ARTEFACTS);
        }
        for table in &previewed.empty {
            match table.as_str() {
                "open_alerts" => {
                    eprintln!("note: \"open_alerts\" is empty: records alone open no alert before the query runs")
                }
                _ => eprintln!(
                    "note: the reference table \"{table}\" is empty; give it rows with --table {table}=FILE.csv"
                ),
            }
        }
        if past.rows.num_rows() == 0 {
            eprintln!("note: there are no records");
        }
    }
}

fn show_alerts(previewed: &Previewed) {
    if previewed.alerts.is_empty() {
        return;
    }
    let rows = previewed.alerts.iter().map(|episode| {
        vec![
            episode.patient.to_string(),
            second(episode.started_at),
            episode.firing_at.map_or("–".to_owned(), second),
            episode.cleared_at.map_or("–".to_owned(), second),
            episode.state.name().to_owned(),
            episode.peak.text.to_string(),
        ]
    });
    print!("\n{}", aligned(&["PATIENT", "CONDITION SINCE", "FIRES", "CLEARED", "STATE", "WORST"], rows));
}

/// The rows as text; NULL is an empty cell.
fn cells(rows: &RecordBatch) -> anyhow::Result<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
    let columns: Vec<ArrayFormatter<'_>> =
        rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<_, _>>()?;
    Ok((0..rows.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect())
}

fn json_lines(rows: &RecordBatch) -> anyhow::Result<String> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    Ok(String::from_utf8(writer.into_inner())?)
}

fn csv_lines(rows: &RecordBatch) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(rows.schema().fields().iter().map(|field| field.name()))?;
    for row in cells(rows)? {
        writer.write_record(row)?;
    }
    writer.flush()?;
    let mut bytes = writer.into_inner().map_err(|error| error.into_error())?;
    bytes.flush()?;
    Ok(String::from_utf8(bytes)?)
}
