//! Records as the topic would have them, from a test's pipe table or lines.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use wardwatch_config::{Column, ColumnType, LongForm, SourceSpec};
use wardwatch_model::diagnostic::unknown;
use wardwatch_model::terms::Partition;
use wardwatch_pipeline::GivenRecord;

use super::cell::time;
use super::file::Records;
use super::pipe::{PipeTable, Written};

/// The source that a record comes from, by its table, where the table has this column; without it, the first.
const SOURCE: &str = "_source";
/// The partition that a record comes from, where the table has this column.
const PARTITION: &str = "_partition";
/// When Kafka stamped it.
const STAMPED_AT: &str = "_stamped_at";

/// What is wrong with a cell or heading.
pub(super) type CellFault<'a> = (&'a Written, String);

/// The records, in their order.
///
/// A cell stands in its record where the job's column is looked for first; an empty one does not stand there at all. What is no
/// number goes into a column of numbers as the text that it is: the job must cope with such records.
///
/// # Errors
/// Columns that the job does not have, partitions and stamps that are none.
pub(super) fn records<'a>(given: &'a Records, source: &SourceSpec) -> Result<Vec<GivenRecord>, Vec<CellFault<'a>>> {
    match given {
        Records::Table(table) => of_table(table, source),
        Records::Lines(lines) => {
            let record = |line: &Written| GivenRecord {
                partition: Partition(0),
                stamp: None,
                payload: line.text.clone().into_bytes(),
            };
            Ok(lines.iter().map(record).collect())
        }
    }
}

fn of_table<'a>(table: &'a PipeTable, source: &SourceSpec) -> Result<Vec<GivenRecord>, Vec<CellFault<'a>>> {
    let columns = |place: usize| source.columns_of(place).all().iter().map(|column| column.name.as_str());
    let of_several = (!source.others.is_empty()).then_some(SOURCE);
    let known: BTreeSet<&str> = source.tables().flat_map(|(place, _)| columns(place)).collect();
    let names = || known.iter().copied().chain([PARTITION, STAMPED_AT]).chain(of_several);
    let mut faults: Vec<CellFault<'a>> = Vec::new();
    for heading in &table.heading {
        if !names().any(|name| name == heading.text) {
            faults.push((heading, unknown("column of the job", &heading.text, names())));
        }
    }
    let topics = source.topics.unnumbered();
    let mut records = Vec::new();
    for row in &table.rows {
        let cell = |name: &str| table.index_of(name).map(|index| &row[index]).filter(|cell| !cell.text.is_empty());
        let mut place = 0;
        if let Some(cell) = cell(SOURCE) {
            match source.tables().find(|(_, known)| *known == cell.text) {
                Some((known, _)) => place = known,
                None => {
                    faults.push((cell, unknown("source", &cell.text, source.tables().map(|(_, known)| known))));
                    continue;
                }
            }
        }
        let Some(form) = source.bare_form(place) else {
            let message = "these records are no bare JSON objects (forms, rows, formats, conditions); give them as texts: \
                           given = '{\"…\": …}', a record a line";
            faults.extend(table.heading.first().map(|heading| (heading, message.to_owned())));
            return Err(faults);
        };
        if let Some((heading, cell)) = table.heading.iter().zip(row).find_map(|(heading, cell)| {
            let is_own = columns(place).chain([SOURCE, PARTITION, STAMPED_AT]).any(|name| name == heading.text);
            (!is_own && !cell.text.is_empty() && names().any(|name| name == heading.text)).then_some((heading, cell))
        }) {
            let message = unknown("column of this row's source", &heading.text, columns(place));
            faults.push((cell, message));
        }
        let mut number = 0;
        if let Some(cell) = cell(PARTITION) {
            match cell.text.parse().ok().filter(|number| *number >= 0) {
                Some(known) => number = known,
                None => faults.push((cell, format!("\"{}\" is no partition; write 0, 1, 2", cell.text))),
            }
        }
        let partition = topics.partition(&source.topics_of(place).first(), number).unwrap_or(Partition(number));
        let mut stamp = None;
        if let Some(cell) = cell(STAMPED_AT) {
            stamp = time(&cell.text).map(|time| time.timestamp_millis());
            if stamp.is_none() {
                faults.push((cell, format!("\"{}\" is no time such as 2026-01-01T00:00:00Z", cell.text)));
            }
        }
        let of_cells = form.columns.all().iter().filter_map(|column| Some((column, cell(&column.name)?)));
        for (column, cell) in of_cells.filter(|(column, _)| !column.is_written_plainly()) {
            let message = format!(
                "column \"{}\" is not written as it is read (units, parts, keys); give such records as texts: \
                 given = '{{\"…\": …}}', a record a line",
                column.name
            );
            faults.push((cell, message));
        }
        let filled = form.columns.all().iter().filter_map(|column| Some((column, cell(&column.name)?.text.as_str())));
        let payloads = payloads(&filled.collect::<Vec<_>>(), form.long.as_ref());
        records.extend(payloads.into_iter().map(|payload| GivenRecord { partition, stamp, payload }));
    }
    if faults.is_empty() { Ok(records) } else { Err(faults) }
}

/// The records of one row; more than one only where each vital is a record of its own.
fn payloads(cells: &[(&Column, &str)], long: Option<&LongForm>) -> Vec<Vec<u8>> {
    let (head, vitals): (Vec<_>, Vec<_>) = cells.iter().partition(|(column, _)| column.named.is_empty());
    let mut record = Map::new();
    for (column, text) in head {
        if let Some(path) = column.from.first() {
            path.put(&mut record, json(column, text));
        }
    }
    let Some(long) = long else { return vec![Value::Object(record).to_string().into_bytes()] };
    let one = |(column, text): (&Column, &str)| {
        let mut record = record.clone();
        if let Some(path) = long.name.first() {
            path.put(&mut record, Value::String(column.named[0].clone()));
        }
        if let Some(path) = long.value.first() {
            path.put(&mut record, json(column, text));
        }
        Value::Object(record).to_string().into_bytes()
    };
    vitals.into_iter().map(one).collect()
}

fn json(column: &Column, text: &str) -> Value {
    let as_text = || Value::String(if text == "\"\"" { String::new() } else { text.to_owned() });
    match column.r#type {
        ColumnType::Text | ColumnType::Time => as_text(),
        ColumnType::Float | ColumnType::Int | ColumnType::Bool => serde_json::from_str(text)
            .ok()
            .filter(|value: &Value| !value.is_object() && !value.is_array())
            .unwrap_or_else(as_text),
    }
}
