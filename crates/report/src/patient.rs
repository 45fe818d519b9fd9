//! One patient's vitals as they stand in the table of readings: a panel for each, the episodes above them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_config::{Column, ColumnType, Job};
use wardwatch_model::diagnostic::nearest;
use wardwatch_store::{Readings, Store, Value};

use super::build::Moment;
use super::error::ReportError;
use super::figure::frame::span;
use super::figure::{Body, Cell, Entry, Figure, Limit, Line, Lines, Panel, Ranges, Strip, Timeline, Trace};
use super::resample::sampling_interval;
use super::spec::plain::NEWS2;
use super::theme::Theme;

/// Which chart is wanted.
#[derive(Debug, Clone)]
pub struct PatientChart {
    /// The patient.
    pub patient: String,
    /// How much time it shows.
    pub span: Duration,
    /// The right edge; without one, the patient's newest reading.
    pub until: Option<DateTime<Utc>>,
    /// Its colours.
    pub theme: Theme,
    /// The limits that hold for the patient, by column; without them, the job's own are shown.
    pub limits: Option<HashMap<String, Limit>>,
    /// The patient's scores.
    pub scores: Vec<Cell>,
}

impl PatientChart {
    /// The newest readings of a patient, with the job's own limits.
    #[must_use]
    pub fn of(patient: &str, span: Duration) -> Self {
        Self { patient: patient.to_owned(), span, until: None, theme: Theme::Light, limits: None, scores: Vec::new() }
    }
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
) -> Result<Figure, ReportError> {
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
    let (rows, gap) = rows_to_draw(store, &wanted_rows)?;
    if rows.is_empty() {
        return Err(ReportError::NoReadings { patient: wanted.patient.clone(), from, until, newest });
    }
    let time = |row: &Vec<Value>| row.first().and_then(Value::as_time).map_or(0, |time| time.timestamp_micros());
    let times: Vec<i64> = rows.iter().map(time).collect();
    let series = shown.iter().enumerate().map(|(index, column)| Series {
        column,
        values: rows.iter().map(|row| row.get(index + 1).and_then(Value::as_float)).collect(),
    });
    let episodes = store.episodes_between(&wanted.patient, from, until)?;
    let entries = episodes.into_iter().map(|episode| Entry {
        severity: episode.severity,
        from: episode.from,
        until: episode.until,
        text: episode.text,
    });
    let entries: Vec<Entry> = entries.collect();
    let alerts = (!entries.is_empty()).then(|| Panel {
        title: "Alerts".to_owned(),
        unit: String::new(),
        body: Body::Timeline(Timeline { entries }),
    });
    let moment = Moment {
        job: job.name.clone(),
        made,
        batch: store.last_batch()?.map_or(0, |last| last.batch.0),
        newest: Some(newest),
        last: None,
        until: None,
        zone: job.reports.time_zone,
    };
    let scores = (!wanted.scores.is_empty()).then(|| Panel {
        title: "NEWS2-style score".to_owned(),
        unit: String::new(),
        body: Body::Strip(Strip { cells: wanted.scores.clone(), steps: NEWS2.to_vec() }),
    });
    let limits = |column: &Column| match &wanted.limits {
        Some(limits) => limits.get(&column.name).cloned().into_iter().collect(),
        None => limits(column),
    };
    let above = alerts.into_iter().chain(scores);
    let panels: Vec<Panel> = above.chain(panels(series.collect(), &times, gap, &limits)).collect();
    let complete = panels.iter().find_map(|panel| panel.body.covered(from, until));
    Ok(Figure {
        title: format!("Patient {}", wanted.patient),
        note: format!(
            "{}, {} · pale areas and thin lines: {}",
            span(until - from),
            super::build::edges_in_words(from, until, moment.zone),
            if wanted.limits.is_some() { "the patient's limits, each with whose it is" } else { "default limits" }
        ),
        from,
        until,
        zone: moment.zone,
        theme: wanted.theme,
        panels,
        footer: super::build::footer(&moment, rows.len(), complete),
    })
}

/// More than this is not kept as it is: a week of readings by the second are hundreds of megabytes.
const KEPT_WHOLE: TimeDelta = TimeDelta::hours(24);

/// So much is read at a time of what is not kept whole.
const AT_A_TIME: TimeDelta = TimeDelta::hours(6);

/// The rows that a picture needs: all of them or, of a long time, those that are the first, the last or an extreme of some
/// column within a pixel. Then it is told, too, after how many microseconds without one a line breaks.
fn rows_to_draw(store: &mut Store, wanted: &Readings<'_>) -> Result<(Vec<Vec<Value>>, Option<i64>), ReportError> {
    let (from, until) = (wanted.from, wanted.until);
    if until - from <= KEPT_WHOLE {
        return Ok((store.readings(wanted)?, None));
    }
    let micros = |row: &Vec<Value>| row.first().and_then(Value::as_time).map_or(0, |time| time.timestamp_micros());
    // Two for each pixel, or the picture would depend on where they begin.
    let length = ((until - from).num_microseconds().unwrap_or(i64::MAX) / PIECES).max(1);
    let piece = |row: &Vec<Value>| (micros(row) - from.timestamp_micros()) / length;
    let (mut kept, mut interval, mut start) = (Vec::new(), None, from);
    while start <= until {
        let end = (start + AT_A_TIME).min(until + TimeDelta::microseconds(1));
        let part = Readings { from: start, until: end - TimeDelta::microseconds(1), ..*wanted };
        let rows = store.readings(&part)?;
        if interval.is_none() && rows.len() > 2 {
            interval = Some(sampling_interval(&rows.iter().map(micros).collect::<Vec<_>>()));
        }
        for rows in rows.chunk_by(|a, b| piece(a) == piece(b)) {
            kept.extend(telling(rows).into_iter().map(|row| rows[row].clone()));
        }
        start = end;
    }
    Ok((kept, interval.map(|interval| 3 * interval)))
}

/// Twice the pixels of a picture.
const PIECES: i64 = 2_080;

/// Which rows have the first, the last, the least or the greatest value of some column.
fn telling(rows: &[Vec<Value>]) -> BTreeSet<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let of_column = |column: usize| {
        let values =
            || rows.iter().enumerate().filter_map(move |(row, values)| Some((row, values.get(column)?.as_float()?)));
        let by_value = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
        [values().next(), values().next_back(), values().min_by(by_value), values().max_by(by_value)]
    };
    (1..columns).flat_map(of_column).flatten().map(|(row, _)| row).collect()
}

/// One vital's values.
pub(super) struct Series<'a> {
    pub(super) column: &'a Column,
    pub(super) values: Vec<Option<f64>>,
}

/// A panel for each vital that has a value; both blood pressures share one.
pub(super) fn panels(
    series: Vec<Series<'_>>,
    times: &[i64],
    gap: Option<i64>,
    limits: &dyn Fn(&Column) -> Vec<Limit>,
) -> Vec<Panel> {
    let has_data = |series: &Series<'_>| series.values.iter().any(Option::is_some);
    let mut series: Vec<Series<'_>> = series.into_iter().filter(has_data).collect();
    let place = |series: &[Series<'_>], name: &str| series.iter().position(|one| one.column.name == name);
    let diastolic = match (place(&series, "systolic_bp"), place(&series, "diastolic_bp")) {
        (Some(_), Some(diastolic)) => Some(series.remove(diastolic)),
        _ => None,
    };
    let panel = |Series { column, values }: Series<'_>| match &diastolic {
        Some(lower) if column.name == "systolic_bp" => Panel {
            title: "Blood pressure".to_owned(),
            unit: column.unit.clone(),
            body: Body::Ranges(Ranges {
                name: column.name.clone(),
                times: times.to_vec(),
                low: lower.values.clone(),
                high: values,
                limits: limits(column),
            }),
        },
        _ => Panel {
            title: column.label.clone(),
            unit: column.unit.clone(),
            body: Body::Lines(Lines {
                times: times.to_vec(),
                lines: vec![Line { name: column.name.clone(), label: column.label.clone(), values, band: None }],
                trace: Trace::Straight,
                limits: limits(column),
                gap,
            }),
        },
    };
    series.into_iter().map(panel).collect()
}

/// The job's own limits; an end of what is plausible is no limit.
pub(super) fn limits(column: &Column) -> Vec<Limit> {
    let Some([low, high]) = column.limits else { return Vec::new() };
    let is_limit = |limit: &f64| !column.plausible.is_some_and(|plausible| plausible.contains(limit));
    let (low, high) = (Some(low).filter(is_limit), Some(high).filter(is_limit));
    vec![Limit { low, high, whose: "default".to_owned() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_time_the_first_the_last_and_the_extremes_of_every_vital_are_kept() {
        let row = |second: i64, heart: Option<f64>, spo2: Option<f64>| {
            let at = DateTime::from_timestamp(second, 0).expect("a time");
            let value = |value: Option<f64>| value.map_or(Value::Null, Value::Float);
            vec![Value::Time(at), value(heart), value(spo2)]
        };
        let rows: Vec<Vec<Value>> = (0..100)
            .map(|second| match second {
                // One second of desaturation, and one of a fast heart.
                41 => row(41, Some(80.0), Some(70.0)),
                62 => row(62, Some(190.0), Some(97.0)),
                0 | 99 => row(second, None, None),
                _ => row(second, Some(80.0), Some(97.0)),
            })
            .collect();
        let kept = telling(&rows);
        assert!([1, 41, 62, 98].iter().all(|row| kept.contains(row)), "{kept:?}");
        assert!(kept.len() <= 8, "{kept:?}");
        assert!(telling(&rows[..1]).is_empty(), "a row without values tells nothing");
    }
}
