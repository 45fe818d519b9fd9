//! Tests held against the plan: the queries, tables and columns that they name exist, and cells are what their columns take.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use chrono::{DateTime, Utc};

use wardwatch_ingest::decode::{Decoder, RawRecord, RawRecords};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, unknown};
use wardwatch_model::terms::Offset;
use wardwatch_pipeline::{GivenRecord, Plan};
use wardwatch_sql::{QueryKind, Seed, seed_column};
use wardwatch_store::Value;

use super::cell::Wanted;
use super::file::{BatchCase, Expected, ExpectedRows, TestCase, TestFile};
use super::given::records;
use super::pipe::{PipeTable, Written};
use super::views::{ALERTS, Shape};

/// Tests that can be run.
#[derive(Debug)]
pub struct Checked<'a> {
    pub(super) tests: Vec<CheckedTest<'a>>,
}

/// One test that can be run.
#[derive(Debug)]
pub(super) struct CheckedTest<'a> {
    pub(super) file: &'a TestFile,
    pub(super) case: &'a TestCase,
    /// The queries that it is about; all of the set where that is empty.
    pub(super) queries: Vec<String>,
    /// Those, and the tables that it expects something of.
    pub(super) wanted: BTreeSet<String>,
    /// The rules whose alerts it sees; all where that is empty.
    pub(super) rules: Vec<String>,
    /// Reference tables with other rows.
    pub(super) references: Vec<(String, RecordBatch)>,
    /// Queries that are not run, but have these rows.
    pub(super) stand_ins: Vec<Seed>,
    pub(super) batches: Vec<CheckedBatch<'a>>,
    /// Whether it must hold however its records are batched.
    pub(super) rebatched: bool,
}

/// One batch.
#[derive(Debug)]
pub(super) struct CheckedBatch<'a> {
    pub(super) records: Vec<GivenRecord>,
    pub(super) now: DateTime<Utc>,
    pub(super) expected: Vec<CheckedTable<'a>>,
}

/// What a table is to hold.
#[derive(Debug)]
pub(super) struct CheckedTable<'a> {
    pub(super) written: &'a Expected,
    pub(super) shape: Shape,
    /// `None` where it is to hold what it held before.
    pub(super) rows: Option<Vec<Vec<Wanted>>>,
}

/// Whether an expectation may lack columns of its table, because it is to be written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    MustBeWhole,
    MayLack,
}

/// Holds `files` against `plan`, which is that of the whole set.
///
/// Tests are left out unless one of `filters` is part of their name, of their file's, or the name of a query of theirs. Where
/// expectations are to be `rewritten`, they may lack columns.
///
/// # Errors
/// Every fault of every file.
pub fn check<'a>(
    plan: &Plan,
    files: &'a [TestFile],
    filters: &[String],
    rewritten: bool,
) -> Result<Checked<'a>, Diagnostics> {
    let columns = if rewritten { Columns::MayLack } else { Columns::MustBeWhole };
    let (mut tests, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        let mut checker = Checker { plan, file, columns, faults: Vec::new() };
        let checked: Vec<_> = file.tests.iter().map(|case| checker.test(case)).collect();
        tests.extend(checked);
        faults.extend(checker.faults);
    }
    if !faults.is_empty() {
        faults.sort();
        return Err(Diagnostics(faults));
    }
    tests.retain(|test| filters.is_empty() || filters.iter().any(|filter| is_meant(test, filter)));
    Ok(Checked { tests })
}

fn is_meant(test: &CheckedTest<'_>, filter: &str) -> bool {
    let stem = test.file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    test.case.name.text.contains(filter)
        || stem.contains(filter)
        || Path::new(filter) == test.file.path
        || test.queries.iter().any(|query| query == filter)
}

struct Checker<'p, 'a> {
    plan: &'p Plan,
    file: &'a TestFile,
    columns: Columns,
    faults: Vec<Diagnostic>,
}

impl<'a> Checker<'_, 'a> {
    fn test(&mut self, case: &'a TestCase) -> CheckedTest<'a> {
        let mut queries = Vec::new();
        for query in &case.queries {
            match self.plan.engine.queries().find(|known| known.file.name == query.text) {
                Some(known) => queries.push(known.file.name.clone()),
                None => {
                    let known = self.plan.engine.queries().map(|query| query.file.name.as_str());
                    let message = unknown("query", &query.text, known.collect::<Vec<_>>().into_iter());
                    self.fault(query, message);
                }
            }
        }
        let is_rule = |name: &&String| self.plan.rules.iter().any(|rule| rule.name == **name);
        let rules: Vec<String> = queries.iter().filter(is_rule).cloned().collect();
        let (references, stand_ins) = self.given(case);
        let batches = self.batches(case, &rules);
        let expected = case.batches.iter().flat_map(|batch| &batch.expected).map(|expected| &expected.table.text);
        let tables = expected.filter(|table| self.plan.engine.queries().any(|query| query.file.name == **table));
        let wanted: BTreeSet<String> = match queries.is_empty() {
            true => BTreeSet::new(),
            false => queries.iter().chain(tables).cloned().collect(),
        };
        let rebatched = case.rebatch.unwrap_or_else(|| !self.is_by_batch(&wanted));
        CheckedTest { file: self.file, case, queries, wanted, rules, references, stand_ins, batches, rebatched }
    }

    /// Whether the batching is known to matter to one of these queries, or of all.
    fn is_by_batch(&self, wanted: &BTreeSet<String>) -> bool {
        let queries = self.plan.engine.queries().filter(|query| wanted.is_empty() || wanted.contains(&query.file.name));
        queries.into_iter().any(|query| match &query.file.kind {
            QueryKind::Rule(_) => !query.per_row || !query.beside.is_empty(),
            QueryKind::Table(_) | QueryKind::View => query.by_batch,
        })
    }

    fn given(&mut self, case: &'a TestCase) -> (Vec<(String, RecordBatch)>, Vec<Seed>) {
        let (mut references, mut stand_ins) = (Vec::new(), Vec::new());
        for (name, table) in &case.given {
            let reference = self.plan.references.iter().find(|reference| reference.spec.name == name.text);
            let query = self.plan.engine.queries().find(|query| query.file.name == name.text && !query.file.is_rule());
            if let Some(reference) = reference {
                let rows = self.rows(table, &reference.rows.schema(), &reference.spec.key);
                references.extend(rows.map(|rows| (name.text.clone(), rows)));
            } else if let Some(query) = query {
                let key = match &query.file.kind {
                    QueryKind::Table(header) => header.key.clone(),
                    QueryKind::View | QueryKind::Rule(_) => Vec::new(),
                };
                let file = self.file.path.clone();
                let rows = self.rows(table, &query.schema, &key);
                stand_ins.extend(rows.map(|rows| Seed { name: name.text.clone(), file, key, rows }));
            } else {
                let references = self.plan.references.iter().map(|reference| reference.spec.name.as_str());
                let queries = self.plan.engine.queries().filter(|query| !query.file.is_rule());
                let known: Vec<&str> = references.chain(queries.map(|query| query.file.name.as_str())).collect();
                let known = known.into_iter().chain(["name", "query", "ordered", "rebatch", "tolerance"]);
                self.fault(name, unknown("key or table", &name.text, known));
            }
        }
        (references, stand_ins)
    }

    /// Rows of `schema` as a pipe table gives them. Columns that it lacks are NULL; in the key, the empty text and 1970.
    fn rows(&mut self, table: &'a PipeTable, schema: &Schema, key: &[String]) -> Option<RecordBatch> {
        let before = self.faults.len();
        for heading in &table.heading {
            if schema.index_of(&heading.text).is_err() {
                let known = schema.fields().iter().map(|field| field.name().as_str());
                self.fault(heading, unknown("column", &heading.text, known));
            }
        }
        self.check_keys(table, key);
        // What a plan gives may not be NULL; what a person gives may.
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let mut columns = Vec::new();
        for field in &fields {
            let index = table.index_of(field.name());
            let cells: Vec<&str> =
                table.rows.iter().map(|row| index.map_or("", |index| row[index].text.as_str())).collect();
            match seed_column(field, key.contains(field.name()), &cells) {
                Ok(column) => columns.push(column),
                Err((row, message)) => {
                    if let Some(index) = index {
                        self.fault(&table.rows[row][index], message);
                    }
                }
            }
        }
        if self.faults.len() > before {
            return None;
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        Some(rows.unwrap_or_else(|error| panic!("every column has a cell for every row: {error}")))
    }

    fn check_keys(&mut self, table: &'a PipeTable, key: &[String]) {
        let key_of = |row: &[Written]| -> Vec<String> {
            key.iter().map(|name| table.index_of(name).map_or(String::new(), |index| row[index].text.clone())).collect()
        };
        let mut seen = BTreeSet::new();
        for row in table.rows.iter().filter(|_| !key.is_empty()) {
            if !seen.insert(key_of(row)) {
                let shown: Vec<String> =
                    key.iter().zip(key_of(row)).map(|(name, value)| format!("{name} = \"{value}\"")).collect();
                self.fault(&row[0], format!("two rows have the key {}", shown.join(", ")));
            }
        }
    }

    fn batches(&mut self, case: &'a TestCase, rules: &[String]) -> Vec<CheckedBatch<'a>> {
        let mut now = None;
        let mut batches = Vec::new();
        for batch in &case.batches {
            let before = self.faults.len();
            let records = records(&batch.records, &self.plan.job.source).unwrap_or_else(|faults| {
                faults.into_iter().for_each(|(cell, message)| self.fault(cell, message));
                Vec::new()
            });
            now = batch.now.map(|(now, _)| now).or_else(|| now.max(self.newest(&records)));
            let expected = batch.expected.iter().filter_map(|expected| self.expected(case, expected, rules)).collect();
            match now {
                Some(now) => batches.push(CheckedBatch { records, now, expected }),
                // Records that are wrong would only be told of again.
                None if self.faults.len() > before => {}
                None => self.no_time(case, batch),
            }
        }
        batches
    }

    fn no_time(&mut self, case: &'a TestCase, batch: &'a BatchCase) {
        let at = batch.expected.first().map_or(&case.name, |expected| &expected.table);
        self.fault(at, "the batch needs `now = …`: no record up to here tells the time".to_owned());
    }

    /// The newest event time of records, as far as they are any.
    fn newest(&self, records: &[GivenRecord]) -> Option<DateTime<Utc>> {
        let mut raw = RawRecords::default();
        for (record, offset) in records.iter().zip(0..) {
            raw.push(RawRecord {
                partition: record.partition,
                stamp: record.stamp,
                ..RawRecord::of_payload(Offset(offset), &record.payload)
            });
        }
        let rows = Decoder::new(&self.plan.job.source).decode(&raw).rows;
        let column = rows.column_by_name(&self.plan.samples.event_time)?;
        let times = (0..column.len()).map(|row| Value::of(column, row));
        times.filter_map(|value| if let Value::Time(time) = value { Some(time) } else { None }).max()
    }

    fn expected(&mut self, case: &'a TestCase, written: &'a Expected, rules: &[String]) -> Option<CheckedTable<'a>> {
        let name = &written.table;
        let Some(shape) = Shape::of(self.plan, &name.text) else {
            let known = Shape::names(self.plan);
            let message = if self.plan.rules.iter().any(|rule| rule.name == name.text) {
                format!("\"{}\" is a rule: what it opens stands in expect.alerts", name.text)
            } else {
                unknown("table", &name.text, known.iter().map(String::as_str))
            };
            self.fault(name, message);
            return None;
        };
        let is_known = |query: &Written| self.plan.engine.queries().any(|known| known.file.name == query.text);
        let all_known = !case.queries.is_empty() && case.queries.iter().all(is_known);
        if name.text == ALERTS && rules.is_empty() && all_known {
            self.fault(name, "none of the test's queries is a rule, so no alert can be expected".to_owned());
        }
        if case.given.iter().any(|(given, _)| given.text == name.text) {
            self.fault(
                name,
                format!("\"{}\" has the rows that the test gives it; nothing is to be found out", name.text),
            );
        }
        let rows = match &written.rows {
            ExpectedRows::Unchanged => None,
            ExpectedRows::These(table) => Some(self.wanted(case, name, table, &shape)),
        };
        Some(CheckedTable { written, shape, rows })
    }

    fn wanted(
        &mut self,
        case: &'a TestCase,
        name: &'a Written,
        table: &'a PipeTable,
        shape: &Shape,
    ) -> Vec<Vec<Wanted>> {
        let known = || shape.columns.iter().map(|(name, _)| name.as_str());
        for heading in table.heading.iter().filter(|heading| shape.kind(&heading.text).is_none()) {
            let kind = format!("column of \"{}\"", name.text);
            self.fault(heading, unknown(&kind, &heading.text, known()));
        }
        let lacks: Vec<&str> = known().filter(|column| table.index_of(column).is_none()).collect();
        let must_be_whole = shape.whole && !table.is_open && self.columns == Columns::MustBeWhole;
        if must_be_whole && !table.heading.is_empty() && !lacks.is_empty() {
            let message = format!(
                "the expectation lacks columns of \"{}\": {}; add them, or end the heading with \"...\"",
                name.text,
                lacks.join(", ")
            );
            self.fault(&table.heading[0], message);
        }
        let mut rows = Vec::new();
        for row in &table.rows {
            let mut wanted = Vec::new();
            for (heading, cell) in table.heading.iter().zip(row) {
                let Some(kind) = shape.kind(&heading.text) else { continue };
                match Wanted::parse(&cell.text, kind, case.tolerance) {
                    Ok(value) => wanted.push(value),
                    Err(message) => self.fault(cell, format!("column \"{}\": {message}", heading.text)),
                }
            }
            rows.push(wanted);
        }
        rows
    }

    fn fault(&mut self, at: &Written, message: String) {
        let Written { line, column, .. } = *at;
        self.faults.push(Diagnostic { file: self.file.path.clone(), line, column, message });
    }
}
