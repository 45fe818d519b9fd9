//! Charts of what the store holds: one patient's vitals, stacked, as SVG and PNG.
//!
//! It reads committed rows only and can neither delay nor lose a batch. It draws no names and scores; what the
//! store does not hold is not drawn.

mod canvas;
mod chart;
mod picture;
mod resample;
mod scale;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{Column, ColumnType, Job};
use crate::diagnostic::nearest;
use crate::store::{Readings, Store, StoreError};

pub use chart::{Chart, ChartError, Panel, Series, Traces};
pub use picture::png;

/// Which chart is wanted.
#[derive(Debug, Clone)]
pub struct PatientChart {
    /// The patient.
    pub patient: String,
    /// How much time it shows.
    pub span: Duration,
    /// The right edge; without one, the patient's newest reading.
    pub until: Option<DateTime<Utc>>,
}

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no table to draw from.
    #[error("{address} has no table \"{table}\" yet; run the job first, or name another one in [reports] table")]
    NoTable {
        /// The table of `[reports]`.
        table: String,
        /// The store.
        address: String,
    },
    /// The table lacks a column that every chart needs.
    #[error("table \"{table}\" has no column \"{column}\"; charts need a row per record with the job's columns")]
    NoColumn {
        /// The table of `[reports]`.
        table: String,
        /// The column.
        column: String,
    },
    /// Nothing is known of the patient.
    #[error("there is no reading of patient \"{patient}\"{}", .near.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
    NoPatient {
        /// The patient.
        patient: String,
        /// A patient with a similar id.
        near: Option<String>,
    },
    /// The patient has readings, but not in this time.
    #[error("patient \"{patient}\" has no reading between {from} and {until}; the newest is of {newest}")]
    NoReadings {
        /// The patient.
        patient: String,
        /// The left edge.
        from: DateTime<Utc>,
        /// The right edge.
        until: DateTime<Utc>,
        /// The newest reading.
        newest: DateTime<Utc>,
    },
    /// Drawing.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// Writing the file.
    #[error("\"{}\" cannot be written", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Collects what a patient's chart shows.
///
/// # Errors
/// An unknown patient, a time without readings, a store that does not answer.
pub fn patient_chart(
    store: &mut Store,
    job: &Job,
    wanted: &PatientChart,
    made: DateTime<Utc>,
) -> Result<Chart, ReportError> {
    let table = job.reports.table.as_str();
    let key = job.source.columns.key().name.as_str();
    let event_time = job.source.columns.event_time().name.as_str();
    let stored = store.column_names(table)?;
    if stored.is_empty() {
        return Err(ReportError::NoTable { table: table.to_owned(), address: store.address() });
    }
    if let Some(missing) = [key, event_time].into_iter().find(|name| !stored.iter().any(|column| column == name)) {
        return Err(ReportError::NoColumn { table: table.to_owned(), column: missing.to_owned() });
    }
    let Some(newest) = store.newest(table, key, event_time, &wanted.patient)? else {
        let patients = store.patients(table, key, event_time)?;
        let near = nearest(&wanted.patient, patients.iter().map(|(id, _)| id.as_str())).map(str::to_owned);
        return Err(ReportError::NoPatient { patient: wanted.patient.clone(), near });
    };
    let until = wanted.until.unwrap_or(newest);
    let from = until - TimeDelta::from_std(wanted.span).unwrap_or(TimeDelta::days(36_500));
    let numeric = |column: &&Column| matches!(column.r#type, ColumnType::Float | ColumnType::Int);
    let shown: Vec<&Column> =
        job.source.columns.all().iter().filter(numeric).filter(|column| stored.contains(&column.name)).collect();
    let columns: Vec<String> = shown.iter().map(|column| column.name.clone()).collect();
    let wanted_rows = Readings { table, key, event_time, columns: &columns, patient: &wanted.patient, from, until };
    let rows = store.readings(&wanted_rows)?;
    if rows.is_empty() {
        return Err(ReportError::NoReadings { patient: wanted.patient.clone(), from, until, newest });
    }
    let times: Vec<i64> = rows
        .iter()
        .map(|row| row.first().and_then(crate::store::Value::as_time).map_or(0, |time| time.timestamp_micros()))
        .collect();
    let series = shown.iter().enumerate().map(|(index, column)| Series {
        name: column.name.clone(),
        label: column.label.clone(),
        unit: column.unit.clone(),
        limits: column.limits,
        plausible: column.plausible,
        values: rows.iter().map(|row| row.get(index + 1).and_then(crate::store::Value::as_float)).collect(),
    });
    Ok(Chart {
        title: format!("Patient {}", wanted.patient),
        from,
        until,
        zone: job.reports.time_zone,
        panels: chart::panels(series.collect()),
        times,
        episodes: store.episodes_between(&wanted.patient, from, until)?,
        made,
        batch: store.status(&job.source.topic)?.last.map_or(0, |last| last.batch.0),
    })
}

/// Writes a patient's chart as PNG, under another name first, so that nobody reads half a picture.
///
/// # Errors
/// The file cannot be written; what was there is still there.
pub fn write_png(chart: &Chart, file: &Path) -> Result<(), ReportError> {
    let failed = |source| ReportError::Write { file: file.to_owned(), source };
    let bytes = png(&chart.svg()?, 2.0)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let partial = file.with_extension("png.part");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, file))
        .inspect_err(|_| drop(std::fs::remove_file(&partial)))
        .map_err(failed)
}

/// A file name for a patient's chart: letters and digits of the id, and a checksum where others were dropped.
#[must_use]
pub fn file_name(patient: &str) -> String {
    let plain: String = patient.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).take(60).collect();
    if plain == patient && !plain.is_empty() {
        return format!("{plain}.png");
    }
    // Two ids that differ only in dropped letters get two files. FNV-1a.
    let hash = patient
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{plain}-{hash:016x}.png")
}

#[cfg(test)]
mod tests;
