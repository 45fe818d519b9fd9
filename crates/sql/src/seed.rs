//! Reference tables as files: `seeds/*.csv`, which give a table its columns, its key and the rows that it starts with.
//!
//! Once the table is in the store, its rows there count, not the file's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::DateTime;

use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, unknown};

use super::file::{check_name, files};

/// A reference table.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Its name: the file's stem.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The rows that it starts with.
    pub rows: RecordBatch,
}

impl Seed {
    /// The schema of its rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

const TYPES: [(&str, DataType); 4] =
    [("text", DataType::Utf8View), ("float", DataType::Float64), ("int", DataType::Int64), ("bool", DataType::Boolean)];

/// Reads every seed of the set in `dir`, by name.
///
/// The first line is `# @key: column, …`; the next names the columns with their types, `name:type`, of which `text` may
/// be left out. An empty cell is NULL, but in the key, where it is an empty text.
///
/// # Errors
/// Every fault of every file.
pub fn load_seeds(dir: &Path) -> Result<Vec<Seed>, Diagnostics> {
    let paths = files(&dir.join("seeds"), "csv").map_err(|fault| Diagnostics(vec![fault]))?;
    let (mut seeds, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        match load(&path) {
            Ok(seed) => seeds.push(seed),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(seeds) } else { Err(Diagnostics(faults)) }
}

fn load(path: &Path) -> Result<Seed, Diagnostic> {
    let at = |line: u64, column: usize, message: String| Diagnostic {
        file: path.to_owned(),
        line: usize::try_from(line).unwrap_or(1),
        column,
        message,
    };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    check_name(&name).map_err(|message| at(1, 1, message))?;
    let text = std::fs::read_to_string(path).map_err(|error| at(1, 1, format!("cannot be read: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let first = text.lines().next().unwrap_or_default();
    let Some(key) = first.strip_prefix("# @key:") else {
        return Err(at(1, 1, "the first line must name the key: \"# @key: patient_id\"".to_owned()));
    };
    let key: Vec<String> = key.split(',').map(|name| name.trim().to_owned()).collect();

    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| at(2, 1, error.to_string()))?.clone();
    let fields =
        header.iter().map(field).collect::<Result<Vec<Field>, String>>().map_err(|message| at(2, 1, message))?;
    let names = || fields.iter().map(|field| field.name().as_str());
    if let Some(missing) = key.iter().find(|key| !names().any(|name| name == key.as_str())) {
        return Err(at(1, 1, format!("@key: {}", unknown("column", missing, names()))));
    }
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    for record in reader.records() {
        let record =
            record.map_err(|error| at(error.position().map_or(2, csv::Position::line), 1, error.to_string()))?;
        rows.push((record.position().map_or(2, csv::Position::line), record.iter().map(str::to_owned).collect()));
    }
    let place = |name: &String| fields.iter().position(|field| field.name() == name);
    let in_key: Vec<usize> = key.iter().filter_map(place).collect();
    let mut keys: BTreeMap<Vec<&str>, u64> = BTreeMap::new();
    for (line, cells) in &rows {
        let values: Vec<&str> = in_key.iter().map(|&column| cells[column].as_str()).collect();
        if let Some(first) = keys.insert(values.clone(), *line) {
            let shown: Vec<String> =
                key.iter().zip(values).map(|(name, value)| format!("{name} = \"{value}\"")).collect();
            return Err(at(*line, 1, format!("line {first} has this key already: {}", shown.join(", "))));
        }
    }
    let columns: Vec<ArrayRef> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let cells = rows.iter().map(|(line, cells)| (*line, cells[index].as_str()));
            column(field, key.contains(field.name()), cells).map_err(|(line, message)| at(line, 1, message))
        })
        .collect::<Result<_, _>>()?;
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(schema, columns).map_err(|error| at(2, 1, error.to_string()))?;
    Ok(Seed { name, file: path.to_owned(), key, rows })
}

/// The cells of a column that a person has written, typed as in a seed. In a key, an empty text is the empty text, and an empty time
/// is 1970.
///
/// # Errors
/// The row of a cell that is no value of the type, counted from 0, and why.
pub fn seed_column(field: &Field, in_key: bool, cells: &[&str]) -> Result<ArrayRef, (usize, String)> {
    let is_time = matches!(field.data_type(), DataType::Timestamp(_, _));
    let cells = cells.iter().map(|cell| if in_key && is_time && cell.is_empty() { EPOCH } else { cell });
    let wanted = match field.data_type() {
        DataType::Boolean | DataType::Float64 | DataType::Timestamp(_, _) => field.data_type().clone(),
        whole if whole.is_integer() => DataType::Int64,
        _ => DataType::Utf8View,
    };
    let typed = Field::new(field.name(), wanted, true);
    let column = column(&typed, in_key, (0..).zip(cells));
    let column = column.map_err(|(row, message)| (usize::try_from(row).unwrap_or(0), message))?;
    cast(&column, field.data_type()).map_err(|error| (0, error.to_string()))
}

/// Reads rows of a reference table from a CSV file, whose first line names the columns; those that it lacks are NULL.
///
/// # Errors
/// The file cannot be read, names a column that the table does not have, or has a cell that its column does not take.
pub fn read_rows(file: &Path, schema: &SchemaRef, key: &[String]) -> Result<RecordBatch, Diagnostic> {
    let at = |line: usize, message: String| Diagnostic { file: file.to_owned(), line, column: 1, message };
    let line_of = |error: &csv::Error| error.position().map_or(1, |place| usize::try_from(place.line()).unwrap_or(1));
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_path(file);
    let mut reader = reader.map_err(|error| at(1, format!("cannot be read: {error}")))?;
    let header = reader.headers().map_err(|error| at(line_of(&error), error.to_string()))?.clone();
    // A seed's heading has types behind the names.
    let names: Vec<&str> = header.iter().map(|cell| cell.split_once(':').map_or(cell, |(name, _)| name)).collect();
    let known = || schema.fields().iter().map(|field| field.name().as_str());
    if let Some(wrong) = names.iter().find(|name| !known().any(|known| known == **name)) {
        return Err(at(1, unknown("column", wrong, known())));
    }
    let records: Vec<csv::StringRecord> =
        reader.records().collect::<Result<_, _>>().map_err(|error| at(line_of(&error), error.to_string()))?;
    let columns = schema.fields().iter().map(|field| {
        let place = names.iter().position(|name| name == field.name());
        let cells: Vec<&str> = records.iter().map(|record| place.map_or("", |place| &record[place])).collect();
        seed_column(field, key.contains(field.name()), &cells).map_err(|(row, message)| {
            let line = records[row].position().map_or(1, |place| usize::try_from(place.line()).unwrap_or(1));
            at(line, message)
        })
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| at(1, error.to_string()))
}

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// `high:float`.
fn field(cell: &str) -> Result<Field, String> {
    let (name, r#type) = cell.split_once(':').unwrap_or((cell, "text"));
    check_name(name)
        .map_err(|_| format!("\"{name}\" is no name for a column: lower-case letters, digits and \"_\""))?;
    let instant = ("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    let types = || TYPES.into_iter().chain([instant.clone()]);
    match types().find(|(known, _)| *known == r#type) {
        Some((_, data_type)) => Ok(Field::new(name, data_type, true)),
        None => {
            let known: Vec<&str> = types().map(|(known, _)| known).collect();
            Err(format!("column \"{name}\": {}", unknown("type", r#type, known.iter().copied())))
        }
    }
}

/// The cells of one column, typed.
fn column<'a>(
    field: &Field,
    in_key: bool,
    cells: impl Iterator<Item = (u64, &'a str)>,
) -> Result<ArrayRef, (u64, String)> {
    fn typed<'a, T>(
        name: &str,
        what: &str,
        cells: impl Iterator<Item = (u64, &'a str)>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<Option<T>>, (u64, String)> {
        let value = |(line, cell): (u64, &str)| match cell {
            "" => Ok(None),
            _ => parse(cell).map(Some).ok_or_else(|| (line, format!("column \"{name}\": \"{cell}\" is no {what}"))),
        };
        cells.map(value).collect()
    }
    let name = field.name();
    Ok(match field.data_type() {
        DataType::Float64 => Arc::new(Float64Array::from(typed(name, "number", cells, |cell| cell.parse().ok())?)),
        DataType::Int64 => Arc::new(Int64Array::from(typed(name, "whole number", cells, |cell| cell.parse().ok())?)),
        DataType::Boolean => Arc::new(BooleanArray::from(typed(name, "truth value", cells, |cell| cell.parse().ok())?)),
        DataType::Timestamp(_, _) => {
            let micros = |cell: &str| DateTime::parse_from_rfc3339(cell).ok().map(|time| time.timestamp_micros());
            let times = typed(name, "time such as \"2026-01-01T00:00:00Z\"", cells, micros)?;
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
        }
        _ => {
            let texts: StringViewArray =
                cells.map(|(_, cell)| if cell.is_empty() && !in_key { None } else { Some(cell) }).collect();
            Arc::new(texts)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Seed, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("limits.csv");
        std::fs::write(&file, text).expect("written");
        load(&file).map_err(|fault| format!("{}:{}: {}", fault.line, fault.column, fault.message))
    }

    #[test]
    fn columns_are_typed_and_empty_cells_are_null_but_in_the_key() {
        let seed =
            read("# @key: patient_id\npatient_id, high:float, since:time\n# all\n,120,2026-01-01T00:00:00Z\nP1,,\n")
                .expect("valid");
        assert_eq!(seed.key, ["patient_id"]);
        assert_eq!(seed.rows.num_rows(), 2);
        let nulls: Vec<usize> = seed.rows.columns().iter().map(|column| column.null_count()).collect();
        assert_eq!(nulls, [0, 1, 1]);
    }

    #[test]
    fn faults_are_told_with_their_line_and_the_nearest_name() {
        let check = |text: &str, expected: &str| {
            let told = read(text).expect_err("refused");
            assert!(told.contains(expected), "{told}");
        };
        check("patient_id\n", "1:1: the first line must name the key");
        check("# @key: patient\npatient_id\n", "did you mean \"patient_id\"?");
        check("# @key: id\nid,high:flaot\n", "2:1: column \"high\": unknown type \"flaot\"; did you mean \"float\"?");
        check("# @key: id\nid,high:float\na,1\nb,much\n", "4:1: column \"high\": \"much\" is no number");
        check("# @key: id\nid,high\na\n", "found record with 1 fields");
    }
}
