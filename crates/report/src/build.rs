//! From a spec and what the store holds to a picture, with the rows behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::{cast, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use wardwatch_model::diagnostic::{Diagnostic, unknown};
use wardwatch_model::terms::Severity;
use wardwatch_sql::{Given, Parameters, StoredFailure, StoredReader};

use super::figure::frame::span;
use super::figure::{
    Band, Bars, Body, Cell, Entry, Figure, Heat, Histogram, Limit, Line, Lines, Panel, Ranges, Spark, Sparks, Strip,
    Table, Timeline, Trace,
};
use super::spec::plain::{ChartSpec, Kind, LIMITS, Limits, Range, Spec, Wanted};

/// What a report is made at, and of.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The job.
    pub job: String,
    /// When it is made.
    pub made: DateTime<Utc>,
    /// The last batch in the store; 0 before the first.
    pub batch: u64,
    /// The devices' time of that batch.
    pub newest: Option<DateTime<Utc>>,
    /// The left edge, where it is not the spec's.
    pub last: Option<std::time::Duration>,
    /// The right edge, where it is not the newest batch.
    pub until: Option<DateTime<Utc>>,
    /// The ward's zone.
    pub zone: Tz,
}

impl Moment {
    /// The edges of a report in time.
    #[must_use]
    pub fn edges(&self, range: Range) -> (DateTime<Utc>, DateTime<Utc>) {
        let until = self.until.or(self.newest).unwrap_or(self.made);
        let back = |length: std::time::Duration| until - TimeDelta::from_std(length).unwrap_or(TimeDelta::days(36_500));
        match (self.last, range) {
            (Some(length), _) | (None, Range::Last(length)) => (back(length), until),
            (None, Range::Fixed(from, until)) => (from, until),
        }
    }
}

/// Whom or what one report of a spec is of.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its first value: by it files are named. Empty where the spec makes one report only.
    pub name: String,
    /// All values of its row, by column.
    values: Parameters,
}

/// One report, made.
#[derive(Debug)]
pub struct RenderedReport {
    /// The picture.
    pub figure: Figure,
    /// The rows behind it, by the name of the data.
    pub data: Vec<(String, RecordBatch)>,
}

/// The subjects of a spec: the rows of its `for_each`, or the one that is none.
///
/// # Errors
/// The SELECT.
pub fn subjects(spec: &Spec, reader: &StoredReader, moment: &Moment) -> Result<Vec<Subject>, StoredFailure> {
    let Some(sql) = &spec.for_each else {
        return Ok(vec![Subject { name: String::new(), values: Parameters::new() }]);
    };
    let rows = reader.read(sql, &parameters(spec, moment, None), &Given::new())?;
    let schema = rows.schema();
    let subject = |row: usize| {
        let values = schema.fields().iter().zip(rows.columns());
        let values: Parameters = values.map(|(field, array)| (field.name().clone(), array.slice(row, 1))).collect();
        Subject { name: text_at(rows.column(0), row), values }
    };
    Ok((0..rows.num_rows()).map(subject).collect())
}

fn parameters(spec: &Spec, moment: &Moment, subject: Option<&Subject>) -> Parameters {
    let (from, until) = moment.edges(spec.range);
    let mut parameters = subject.map(|subject| subject.values.clone()).unwrap_or_default();
    parameters.insert("from".to_owned(), instant(from));
    parameters.insert("until".to_owned(), instant(until));
    parameters.insert("job".to_owned(), Arc::new(StringArray::from(vec![moment.job.as_str()])));
    parameters
}

fn instant(time: DateTime<Utc>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![time.timestamp_micros()]).with_timezone("UTC"))
}

/// What is wrong with a spec, as far as the tables tell that are there: SELECTs that do not fit them, columns that charts
/// name and that are not there or of the wrong type.
#[must_use]
pub fn check(spec: &Spec, reader: &StoredReader, moment: &Moment) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut note = |result: Result<SchemaRef, StoredFailure>| match result {
        Ok(schema) => Some(schema),
        Err(StoredFailure::Fault(fault)) => {
            faults.push(fault);
            None
        }
        Err(StoredFailure::Failed { file, line, failure, .. }) => {
            faults.push(Diagnostic { file, line, column: 1, message: failure.to_string() });
            None
        }
    };
    let mut known = parameters(spec, moment, None);
    let mut is_known = true;
    if let Some(sql) = &spec.for_each {
        match note(reader.schema(sql, &known, &Given::new())) {
            Some(schema) => {
                let nulls = schema
                    .fields()
                    .iter()
                    .map(|field| (field.name().clone(), arrow::array::new_null_array(field.data_type(), 1)));
                known.extend(nulls);
            }
            None => is_known = false,
        }
    }
    if !is_known {
        return faults; // what follows would only be its echo
    }
    let mut given = Given::new();
    let mut schemas: BTreeMap<&str, Option<SchemaRef>> = BTreeMap::new();
    for name in data_order(spec) {
        let schema = note(reader.schema(&spec.data[name], &known, &given));
        given.extend(schema.iter().map(|schema| (given_name(name), RecordBatch::new_empty(Arc::clone(schema)))));
        schemas.insert(name, schema);
    }
    for chart in &spec.charts {
        let Some(Some(schema)) = schemas.get(chart.data.as_str()) else { continue };
        for (column, wanted) in chart.kind.columns() {
            let fault = |message| Diagnostic { file: spec.file.clone(), line: chart.line, column: 1, message };
            match schema.field_with_name(column) {
                Err(_) => {
                    let names = schema.fields().iter().map(|field| field.name().as_str());
                    let message = format!("chart \"{}\": {}", chart.title, unknown("column", column, names));
                    faults.push(fault(message));
                }
                Ok(field) if !fits(field.data_type(), wanted) => faults.push(fault(format!(
                    "chart \"{}\": column \"{column}\" must be a {}, and is {}",
                    chart.title,
                    if wanted == Wanted::Time { "time" } else { "number" },
                    field.data_type()
                ))),
                Ok(_) => {}
            }
        }
    }
    faults
}

fn fits(found: &DataType, wanted: Wanted) -> bool {
    match wanted {
        Wanted::Time => matches!(found, DataType::Timestamp(..) | DataType::Date32),
        Wanted::Number => found.is_numeric() || matches!(found, DataType::Boolean),
        Wanted::Any => true,
    }
}

/// Makes one report.
///
/// # Errors
/// A SELECT, or tables that cannot be read.
pub fn make(
    spec: &Spec,
    subject: &Subject,
    reader: &StoredReader,
    moment: &Moment,
) -> Result<RenderedReport, StoredFailure> {
    let parameters = parameters(spec, moment, Some(subject));
    let mut data = Vec::with_capacity(spec.data.len());
    let mut given = Given::new();
    for name in data_order(spec) {
        let rows = reader.read(&spec.data[name], &parameters, &given)?;
        given.insert(given_name(name), rows.clone());
        data.push((name.to_owned(), rows));
    }
    let rows_of = |name: &str| data.iter().find(|(known, _)| known == name).map(|(_, rows)| rows);
    let limits = rows_of(LIMITS);
    let mut panels = Vec::with_capacity(spec.charts.len());
    for chart in &spec.charts {
        let Some(rows) = rows_of(&chart.data) else { continue };
        let limits = chart_limits(chart, limits);
        let body = body(chart, rows, limits, moment.zone).map_err(|message| wrong(spec, chart, message))?;
        panels.push(Panel { title: chart.title.clone(), unit: chart.unit.clone(), body });
    }
    let (from, until) = moment.edges(spec.range);
    let rows: usize = data.iter().map(|(_, rows)| rows.num_rows()).sum();
    let complete = panels.iter().find_map(|panel| panel.body.covered(from, until));
    let figure = Figure {
        title: titled(&spec.title, subject),
        note: format!("{}, {}", span(until - from), edges_in_words(from, until, moment.zone)),
        from,
        until,
        zone: moment.zone,
        theme: spec.theme,
        panels,
        footer: footer(moment, rows, complete),
    };
    Ok(RenderedReport { figure, data })
}

/// The name under which other data read it.
fn given_name(data: &str) -> String {
    format!("data_{data}")
}

/// The names of data, each behind those that it reads; those that read each other are left as they are, and found out.
fn data_order(spec: &Spec) -> Vec<&str> {
    let reads = |name: &str, other: &str| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        name != other && spec.data[name].text.split(|c| !is_word(c)).any(|word| word == given_name(other))
    };
    let mut waiting: Vec<&str> = spec.data.keys().map(String::as_str).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = waiting.iter().position(|name| !waiting.iter().any(|other| reads(name, other)));
        ordered.push(waiting.remove(free.unwrap_or(0)));
    }
    ordered
}

fn wrong(spec: &Spec, chart: &ChartSpec, message: String) -> StoredFailure {
    let message = format!("chart \"{}\": {message}", chart.title);
    StoredFailure::Fault(Diagnostic { file: spec.file.clone(), line: chart.line, column: 1, message })
}

/// `{column}` stands for the subject's value.
fn titled(title: &str, subject: &Subject) -> String {
    let mut text = title.to_owned();
    for (name, value) in &subject.values {
        text = text.replace(&format!("{{{name}}}"), &text_at(value, 0));
    }
    text
}

/// From when to when, by the clock of the ward.
pub(super) fn edges_in_words(from: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> String {
    let (left, right) = (from.with_timezone(&zone), until.with_timezone(&zone));
    let form = if left.date_naive() == right.date_naive() { "%H:%M:%S" } else { "%-d %b %H:%M:%S" };
    format!("{} to {}", left.format(form), right.format("%-d %b %Y %H:%M:%S %Z"))
}

/// Made when, from what, how old that was, and for how much of the time there was any.
pub(super) fn footer(moment: &Moment, rows: usize, complete: Option<f64>) -> String {
    let made = moment.made.with_timezone(&moment.zone).format("%-d %b %Y %H:%M:%S %Z");
    let stale = match moment.newest {
        Some(newest) if moment.made - newest >= TimeDelta::seconds(1) => {
            format!("data up to {} before that", span(moment.made - newest))
        }
        Some(_) => "data up to then".to_owned(),
        None => "no data yet".to_owned(),
    };
    let complete = complete.map(|share| format!(", {:.0} % of the time", (share * 100.0).floor())).unwrap_or_default();
    format!(
        "Not a medical device · made {made} from batch {} · {stale} · {rows} rows{complete} · lines break where data are missing",
        moment.batch
    )
}

fn chart_limits(chart: &ChartSpec, rows: Option<&RecordBatch>) -> Vec<Limit> {
    match &chart.limits {
        Limits::None => Vec::new(),
        Limits::Fixed(low, high) => vec![Limit { low: Some(*low), high: Some(*high), whose: String::new() }],
        Limits::Of(vital) => {
            let Some(rows) = rows else { return Vec::new() };
            let text = |name: &str, row: usize| rows.column_by_name(name).map(|column| text_at(column, row));
            let number = |name: &str| rows.column_by_name(name).and_then(|column| numbers(column).ok());
            let (low, high) = (number("low"), number("high"));
            let of = |row: usize| Limit {
                low: low.as_ref().and_then(|low| low[row]),
                high: high.as_ref().and_then(|high| high[row]),
                whose: text("whose", row).unwrap_or_default(),
            };
            let is_of_vital = |row: &usize| text("vital", *row).as_ref() == Some(vital);
            (0..rows.num_rows()).filter(is_of_vital).map(of).collect()
        }
    }
}

fn body(chart: &ChartSpec, rows: &RecordBatch, limits: Vec<Limit>, zone: Tz) -> Result<Body, String> {
    let column = |name: &str| {
        let names = rows.schema();
        rows.column_by_name(name)
            .cloned()
            .ok_or_else(|| unknown("column", name, names.fields().iter().map(|field| field.name().as_str())))
    };
    Ok(match &chart.kind {
        Kind::Line { time, values, band, is_step } => {
            let rows = &by_time(rows, time)?;
            let line = |name: &String| -> Result<Line, String> {
                let band = match band {
                    Some((low, high)) => Some(Band { low: named(rows, low)?, high: named(rows, high)? }),
                    None => None,
                };
                Ok(Line { name: name.clone(), label: name.replace('_', " "), values: named(rows, name)?, band })
            };
            let gap = chart.gap.and_then(|gap| i64::try_from(gap.as_micros()).ok());
            Body::Lines(Lines {
                times: times(rows, time)?,
                lines: values.iter().map(line).collect::<Result<_, _>>()?,
                trace: if *is_step { Trace::Step } else { Trace::Straight },
                limits,
                gap,
            })
        }
        Kind::Range { time, low, high } => {
            let rows = &by_time(rows, time)?;
            let (low_values, high_values) = (named(rows, low)?, named(rows, high)?);
            let times = times(rows, time)?;
            Body::Ranges(Ranges { name: high.clone(), times, low: low_values, high: high_values, limits })
        }
        Kind::Strip { time, until, value, text, steps } => {
            let cells = cells(rows, time, until.as_deref(), value, text.as_deref())?;
            Body::Strip(Strip { cells: cells.into_iter().map(|(_, cell)| cell).collect(), steps: steps.clone() })
        }
        Kind::Timeline { time, until, severity, text } => {
            let (from, until) = (optional_times(&column(time)?)?, optional_times(&column(until)?)?);
            let (severity, text) = (column(severity)?, column(text)?);
            let entry = |row: usize| {
                let severity = Severity::from_name(&text_at(&severity, row)).unwrap_or(Severity::Low);
                Some(Entry { severity, from: from[row]?, until: until[row], text: text_at(&text, row) })
            };
            let mut entries: Vec<Entry> = (0..rows.num_rows()).filter_map(entry).collect();
            entries.sort_by_key(|entry| entry.from);
            Body::Timeline(Timeline { entries })
        }
        Kind::Heat { row, time, until, value, steps } => {
            let names = column(row)?;
            let mut heat: Vec<(String, Vec<Cell>)> = Vec::new();
            for (index, name) in distinct(&names) {
                let of_name = take_where(rows, &names, index)?;
                let cells = cells(&of_name, time, until.as_deref(), value, None)?;
                heat.push((name, cells.into_iter().map(|(_, cell)| cell).collect()));
            }
            Body::Heat(Heat { rows: heat, steps: steps.clone() })
        }
        Kind::Histogram { value, marks, bins } => Body::Histogram(Histogram {
            name: value.clone(),
            values: named(rows, value)?.into_iter().flatten().collect(),
            unit: chart.unit.clone(),
            marks: marks.clone(),
            bins: *bins,
        }),
        Kind::Bars { row, value } => {
            let (names, values) = (column(row)?, named(rows, value)?);
            let bars = values.iter().enumerate().filter_map(|(row, value)| Some((text_at(&names, row), (*value)?)));
            Body::Bars(Bars { name: value.clone(), bars: bars.collect() })
        }
        Kind::Sparkline { row, time, value } => {
            let names = column(row)?;
            let mut sparks = Vec::new();
            for (index, label) in distinct(&names) {
                let of_name = by_time(&take_where(rows, &names, index)?, time)?;
                sparks.push(Spark { label, times: times(&of_name, time)?, values: named(&of_name, value)? });
            }
            Body::Sparks(Sparks { name: value.clone(), rows: sparks })
        }
        Kind::Table => Body::Table(table(rows, zone)),
    })
}

/// All rows as text.
pub(super) fn table(rows: &RecordBatch, zone: Tz) -> Table {
    let schema = rows.schema();
    let columns = schema.fields().iter().map(|field| (field.name().replace('_', " "), field.data_type().is_numeric()));
    let row = |row: usize| rows.columns().iter().map(|column| cell(column, row, zone)).collect();
    Table { columns: columns.collect(), rows: (0..rows.num_rows()).map(row).collect() }
}

fn cell(column: &ArrayRef, row: usize, zone: Tz) -> String {
    match column.data_type() {
        _ if column.is_null(row) => "–".to_owned(),
        DataType::Timestamp(..) => optional_times(column)
            .ok()
            .and_then(|times| times[row])
            .map_or_else(String::new, |time| time.with_timezone(&zone).format("%-d %b %H:%M:%S").to_string()),
        DataType::Float64 => crate::figure::frame::shown(column.as_primitive::<Float64Type>().value(row)),
        _ => text_at(column, row),
    }
}

fn cells(
    rows: &RecordBatch,
    time: &str,
    until: Option<&str>,
    value: &str,
    text: Option<&str>,
) -> Result<Vec<(usize, Cell)>, String> {
    let rows = &by_time(rows, time)?;
    let starts = optional_times(rows.column_by_name(time).ok_or("the time is gone")?)?;
    let ends = match until.and_then(|until| rows.column_by_name(until)) {
        Some(column) => optional_times(column)?,
        None => starts.iter().skip(1).copied().chain([None]).collect(),
    };
    let values = named(rows, value)?;
    let text = text.and_then(|text| rows.column_by_name(text));
    // The last state lasts as long as the one before, where nothing says when it is over.
    let usual = starts.windows(2).filter_map(|pair| Some(pair[1]? - pair[0]?)).min().unwrap_or(TimeDelta::minutes(1));
    let cell = |row: usize| {
        let from = starts[row]?;
        let label = text.map(|text| text_at(text, row)).unwrap_or_default();
        Some((row, Cell { from, until: ends[row].unwrap_or(from + usual), value: values[row]?, label }))
    };
    Ok((0..rows.num_rows()).filter_map(cell).collect())
}

/// The rows in the order of their time; those without one are left out.
fn by_time(rows: &RecordBatch, time: &str) -> Result<RecordBatch, String> {
    let column = rows.column_by_name(time).ok_or_else(|| format!("unknown column \"{time}\""))?;
    let order = sort_to_indices(column, None, None).map_err(|error| error.to_string())?;
    let known = order.slice(column.null_count(), order.len() - column.null_count());
    take_record_batch(rows, &known).map_err(|error| error.to_string())
}

/// The first row of each name, and the name, in the order of the rows.
fn distinct(names: &ArrayRef) -> Vec<(usize, String)> {
    let mut seen = std::collections::BTreeSet::new();
    let all = (0..names.len()).map(|row| (row, text_at(names, row)));
    all.filter(|(_, name)| seen.insert(name.clone())).collect()
}

fn take_where(rows: &RecordBatch, names: &ArrayRef, like: usize) -> Result<RecordBatch, String> {
    let name = text_at(names, like);
    let wanted = (0..names.len()).map(|row| Some(text_at(names, row) == name));
    let wanted: arrow::array::BooleanArray = wanted.collect();
    arrow::compute::filter_record_batch(rows, &wanted).map_err(|error| error.to_string())
}

fn named(rows: &RecordBatch, name: &str) -> Result<Vec<Option<f64>>, String> {
    numbers(rows.column_by_name(name).ok_or_else(|| format!("unknown column \"{name}\""))?)
}

fn numbers(column: &ArrayRef) -> Result<Vec<Option<f64>>, String> {
    let numbers = cast(column, &DataType::Float64).map_err(|error| error.to_string())?;
    let numbers: &Float64Array = numbers.as_primitive::<Float64Type>();
    Ok(numbers.iter().map(|value| value.filter(|value| value.is_finite())).collect())
}

fn times(rows: &RecordBatch, name: &str) -> Result<Vec<i64>, String> {
    let column = rows.column_by_name(name).ok_or_else(|| format!("unknown column \"{name}\""))?;
    Ok(micros(column)?.as_primitive::<TimestampMicrosecondType>().values().to_vec())
}

fn micros(column: &ArrayRef) -> Result<ArrayRef, String> {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    cast(column, &wanted).map_err(|error| error.to_string())
}

fn optional_times(column: &ArrayRef) -> Result<Vec<Option<DateTime<Utc>>>, String> {
    let times = micros(column)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    Ok(times.iter().map(|micros| DateTime::from_timestamp_micros(micros?)).collect())
}

/// A value as text; NULL is the empty text.
pub(super) fn text_at(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) { String::new() } else { array_value_to_string(column, row).unwrap_or_default() }
}
