//! Runs tests, each in all manners that it allows, and tells what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wardwatch_model::clock::Stopwatch;
use wardwatch_pipeline::Plan;

use super::checked::{Checked, CheckedTable, CheckedTest};
use super::differ::{differ, differ_between, show, shown_rows};
use super::file::ExpectedRows;
use super::mode::ReplayMode;
use super::pipe::render;
use super::stage::{Played, Stage};
use super::views::{Found, Shape};

/// In how many manners tests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// As given alone: quick, while a query is being written.
    AsGiven,
    /// In every mode that a test allows.
    EveryManner,
}

/// What became of the tests.
#[derive(Debug)]
pub struct Report {
    /// Test by test, in the order of the files.
    pub results: Vec<TestResult>,
}

impl Report {
    /// The queries of the plan that no test that was run is about.
    #[must_use]
    pub fn untested(&self, plan: &Plan) -> Vec<String> {
        let tested: BTreeSet<&String> = self.results.iter().flat_map(|result| &result.queries).collect();
        let names = plan.engine.queries().map(|query| query.file.name.clone());
        names.filter(|name| !tested.contains(name)).collect()
    }
}

/// What became of one test.
#[derive(Debug)]
pub struct TestResult {
    /// Its file.
    pub file: PathBuf,
    /// The line of its name.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// The queries that it is about.
    pub queries: Vec<String>,
    /// In which manners it was run.
    pub manners: Vec<ReplayMode>,
    /// How long it took.
    pub took: Duration,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// What expectations would be right, by the bytes that they stand in.
    pub(super) found: Vec<(Range<usize>, String)>,
}

/// What went wrong in a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line of what was expected.
    pub line: usize,
    /// How the records were given.
    pub mode: ReplayMode,
    /// What differs, in one line or several.
    pub message: String,
}

/// Runs `checked` on the engine of `plan`; `progress` is told how many of how many tests are done.
///
/// Shape: a result per test, in their order. Two threads, each with the part of the job that its tests need.
#[must_use]
pub fn run(
    plan: &Plan,
    checked: &Checked<'_>,
    thoroughness: Thoroughness,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Report {
    let tests = &checked.tests;
    // Tests that want the same part of the job share a stage: planning takes longer than playing.
    let mut groups: BTreeMap<(Vec<&String>, Vec<&String>), Vec<usize>> = BTreeMap::new();
    for (index, test) in tests.iter().enumerate() {
        let stand_ins = test.stand_ins.iter().map(|seed| &seed.name).collect();
        groups.entry((test.wanted.iter().collect(), stand_ins)).or_default().push(index);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Vec<Option<TestResult>>> = Mutex::new(tests.iter().map(|_| None).collect());
    let work = || {
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut stage = Stage::set_up(plan, &tests[group[0]]);
            for &index in group {
                let result = match &mut stage {
                    Ok(stage) => test(stage, &tests[index], thoroughness),
                    Err(faults) => not_set_up(&tests[index], &faults.to_string()),
                };
                results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, tests.len());
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report { results: results.into_iter().flatten().collect() }
}

fn test(stage: &mut Stage, test: &CheckedTest<'_>, thoroughness: Thoroughness) -> TestResult {
    let running = Stopwatch::start();
    let mut result = blank(test);
    let expected = || test.batches.iter().flat_map(|batch| &batch.expected);
    let shapes: BTreeMap<&str, &Shape> =
        expected().map(|table| (table.written.table.text.as_str(), &table.shape)).collect();
    let as_given = stage.play(test, ReplayMode::AsGiven, &shapes);
    result.failures.extend(failed_queries(test, ReplayMode::AsGiven, &as_given));
    compare(test, &as_given, &mut result);
    let others = match test.rebatched {
        _ if thoroughness == Thoroughness::AsGiven => &[][..],
        true => &[ReplayMode::RecordByRecord, ReplayMode::AtOnce, ReplayMode::Interrupted],
        false => &[ReplayMode::Interrupted],
    };
    for &mode in others {
        let played = stage.play(test, mode, &shapes);
        result.failures.extend(failed_queries(test, mode, &played));
        result.failures.extend(unlike(test, mode, &as_given, &played));
        result.manners.push(mode);
    }
    result.took = running.elapsed();
    result
}

fn blank(test: &CheckedTest<'_>) -> TestResult {
    TestResult {
        file: test.file.path.clone(),
        line: test.case.name.line,
        name: test.case.name.text.clone(),
        queries: test.queries.clone(),
        manners: vec![ReplayMode::AsGiven],
        took: Duration::ZERO,
        failures: Vec::new(),
        found: Vec::new(),
    }
}

fn not_set_up(test: &CheckedTest<'_>, faults: &str) -> TestResult {
    let message = format!("the queries cannot be planned with what the test gives:\n{faults}\n");
    let failure = Failure { line: test.case.name.line, mode: ReplayMode::AsGiven, message };
    TestResult { failures: vec![failure], ..blank(test) }
}

fn failed_queries(test: &CheckedTest<'_>, mode: ReplayMode, played: &Played) -> Vec<Failure> {
    let told: BTreeSet<&(String, String)> = played.failures.iter().collect();
    let failure = |(query, error): &(String, String)| Failure {
        line: test.case.name.line,
        mode,
        message: format!("query \"{query}\" failed: {error}\n"),
    };
    told.into_iter().map(failure).collect()
}

/// Holds what was found against what was expected, batch by batch.
fn compare(test: &CheckedTest<'_>, played: &Played, result: &mut TestResult) {
    for (index, (batch, seen)) in test.batches.iter().zip(&played.seen).enumerate() {
        for expected in &batch.expected {
            let name = &expected.written.table.text;
            let Some(found) = seen.tables.get(name) else { continue };
            let before = index.checked_sub(1).and_then(|before| played.seen[before].tables.get(name));
            if let Some(rows) = unmet(test, expected, found, before) {
                let message = format!("{name} after batch {} is not as expected:\n{rows}", index + 1);
                result.failures.push(Failure { line: expected.written.table.line, mode: ReplayMode::AsGiven, message });
                result.found.push((expected.written.span.clone(), rewritten(expected, found)));
            }
        }
    }
}

/// The rows that differ from what was expected, if any do.
fn unmet(test: &CheckedTest<'_>, expected: &CheckedTable<'_>, found: &Found, before: Option<&Found>) -> Option<String> {
    match (&expected.written.rows, &expected.rows) {
        (ExpectedRows::These(table), Some(rows)) => {
            let named: Vec<String> = table.heading.iter().map(|heading| heading.text.clone()).collect();
            let difference = differ(&named, rows, found, test.case.ordered);
            let is_whole = named.is_empty() || !lacks(expected, &named);
            let columns = if named.is_empty() { expected.shape.usual.clone() } else { named };
            let cells: Vec<Vec<String>> =
                table.rows.iter().map(|row| row.iter().map(|cell| cell.text.clone()).collect()).collect();
            (!difference.is_none() || !is_whole).then(|| show(&difference, &columns, &cells, found))
        }
        _ => {
            let nothing = Found { columns: found.columns.clone(), rows: Vec::new() };
            let before = before.unwrap_or(&nothing);
            let difference = differ_between(before, found, 0.0);
            let columns = changed_columns(&expected.shape.usual, before, found);
            (!difference.is_none()).then(|| show(&difference, &columns, &shown_rows(&columns, before), found))
        }
    }
}

/// Whether the expectation would have to name more columns.
fn lacks(expected: &CheckedTable<'_>, named: &[String]) -> bool {
    let is_open = matches!(&expected.written.rows, ExpectedRows::These(table) if table.is_open);
    expected.shape.whole && !is_open && expected.shape.columns.iter().any(|(column, _)| !named.contains(column))
}

/// The usual columns and those others that tell the two apart.
fn changed_columns(usual: &[String], before: &Found, found: &Found) -> Vec<String> {
    let differs = |name: &String| {
        let column = std::slice::from_ref(name);
        shown_rows(column, before) != shown_rows(column, found)
    };
    let others = found.columns.iter().map(|(name, _)| name).filter(|name| !usual.contains(name) && differs(name));
    usual.iter().chain(others).cloned().collect()
}

/// The expectation as it would be right.
fn rewritten(expected: &CheckedTable<'_>, found: &Found) -> String {
    let (mut columns, is_open) = match &expected.written.rows {
        ExpectedRows::These(table) if !table.heading.is_empty() => {
            (table.heading.iter().map(|heading| heading.text.clone()).collect(), table.is_open)
        }
        _ => (expected.shape.usual.clone(), false),
    };
    if found.rows.is_empty() {
        return "\"\"".to_owned();
    }
    if expected.shape.whole && !is_open {
        let others = expected.shape.columns.iter().map(|(name, _)| name).filter(|name| !columns.contains(name));
        columns.extend(others.cloned().collect::<Vec<_>>());
    }
    let mut rows = shown_rows(&columns, found);
    if is_open {
        columns.push("...".to_owned());
        rows.iter_mut().for_each(|row| row.push(String::new()));
    }
    format!("'''\n{}'''", render(&columns, &rows))
}

/// What another mode found otherwise than the test's own batches.
fn unlike(test: &CheckedTest<'_>, mode: ReplayMode, as_given: &Played, played: &Played) -> Option<Failure> {
    for seen in &played.seen {
        for (name, found) in &seen.tables {
            let given = &as_given.seen[seen.batch].tables[name];
            let difference = differ_between(given, found, test.case.tolerance);
            if !difference.is_none() {
                let table = test
                    .batches
                    .iter()
                    .flat_map(|batch| &batch.expected)
                    .find(|table| table.written.table.text == *name)?;
                let columns = changed_columns(&table.shape.usual, given, found);
                let rows = show(&difference, &columns, &shown_rows(&columns, given), found);
                let message =
                    format!("{name} after batch {} is not what the test's own batches give:\n{rows}", seen.batch + 1);
                return Some(Failure { line: test.case.name.line, mode, message });
            }
        }
    }
    None
}
