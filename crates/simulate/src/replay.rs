//! Recordings: CSV files of one patient each, replayed as if they were measured now.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_model::diagnostic::unknown;

use super::{Sample, Vital};

/// The samples of all recordings of a folder, by time.
#[derive(Debug)]
pub struct Recordings(Vec<Sample>);

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {message}", .file.display())]
pub struct ReplayError {
    file: PathBuf,
    line: u64,
    message: String,
}

impl Recordings {
    /// Reads every `.csv` file of `folder`; the file's name up to the first dot is the patient.
    ///
    /// `columns` maps names to CSV headers, such as `time=Time` (seconds) and `heart_rate=HR`; the first sample
    /// of time 0 is at `start`. Cells that hold no number (`NaN`, empty) are left out.
    ///
    /// # Errors
    /// A file that cannot be read, a header that is not there, a time that is no number, a folder without files.
    pub fn read(folder: &Path, columns: &[(String, String)], start: DateTime<Utc>) -> Result<Self, ReplayError> {
        let fault = |message: String| ReplayError { file: folder.to_owned(), line: 0, message };
        let entries = std::fs::read_dir(folder).map_err(|error| fault(format!("cannot be read: {error}")))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(fault("holds no .csv file".to_owned()));
        }
        let mut samples = Vec::new();
        for file in files {
            read_file(&file, columns, start, &mut samples)?;
        }
        samples.sort_by(|a: &Sample, b: &Sample| (a.at, &a.patient).cmp(&(b.at, &b.patient)));
        Ok(Self(samples))
    }

    /// The samples in the order of time.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.0
    }
}

fn read_file(
    file: &Path,
    columns: &[(String, String)],
    start: DateTime<Utc>,
    samples: &mut Vec<Sample>,
) -> Result<(), ReplayError> {
    let fault = |line: u64, message: String| ReplayError { file: file.to_owned(), line, message };
    let patient = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let patient = patient.split('.').next().unwrap_or_default();
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(|error| fault(1, error.to_string()))?;
    let headers = reader.headers().map_err(|error| fault(1, error.to_string()))?.clone();
    let place = |header: &str| {
        headers
            .iter()
            .position(|found| found == header)
            .ok_or_else(|| fault(1, unknown("header", header, headers.iter())))
    };
    let mut time = None;
    let mut vitals = Vec::new();
    for (name, header) in columns {
        if name == "time" {
            time = Some(place(header)?);
        } else {
            let known = Vital::ALL.iter().map(|vital| vital.name()).chain(["time"]);
            let vital = Vital::from_name(name).ok_or_else(|| fault(0, unknown("vital", name, known)))?;
            vitals.push((vital, place(header)?));
        }
    }
    let time = time.ok_or_else(|| fault(0, "no column is mapped to \"time\"; add \"time=<header>\"".to_owned()))?;
    for record in reader.records() {
        let record =
            record.map_err(|error| fault(error.position().map_or(0, csv::Position::line), error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let number = |index: usize| record.get(index)?.parse::<f64>().ok().filter(|value| value.is_finite());
        let seconds = number(time).ok_or_else(|| {
            fault(line, format!("\"{}\" is no time in seconds", record.get(time).unwrap_or_default()))
        })?;
        #[allow(clippy::cast_possible_truncation, reason = "a recording lasts hours, not ages")]
        let at = start + TimeDelta::microseconds((seconds * 1e6).round() as i64);
        let values = vitals.iter().filter_map(|(vital, index)| Some((*vital, number(*index)?))).collect();
        samples.push(Sample { patient: patient.to_owned(), at, values });
    }
    Ok(())
}
