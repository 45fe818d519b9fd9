//! A file of tests as it was typed: TOML with pipe tables, each piece with its place. Whether the names in it are anything is not
//! looked at here.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, place, unknown};

use super::cell::time;
use super::pipe::{PipeTable, Written};

/// One file of tests.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// The file.
    pub path: PathBuf,
    pub(super) text: String,
    pub(super) tests: Vec<TestCase>,
}

/// One `[[test]]`.
#[derive(Debug, Clone)]
pub(super) struct TestCase {
    pub(super) name: Written,
    /// The queries that it is about; all of the set where it names none.
    pub(super) queries: Vec<Written>,
    /// How far numbers may be away from those expected.
    pub(super) tolerance: f64,
    /// Whether rows are compared in their order.
    pub(super) ordered: bool,
    /// Whether the batching may matter; `None` leaves it to the queries.
    pub(super) rebatch: Option<bool>,
    /// The rows of reference tables and of queries that are not run.
    pub(super) given: Vec<(Written, PipeTable)>,
    pub(super) batches: Vec<BatchCase>,
}

/// One `[[test.batch]]`.
#[derive(Debug, Clone)]
pub(super) struct BatchCase {
    pub(super) now: Option<(DateTime<Utc>, (usize, usize))>,
    pub(super) records: Records,
    pub(super) expected: Vec<Expected>,
}

/// What the topic is given.
#[derive(Debug, Clone)]
pub(super) enum Records {
    /// A row per record.
    Table(PipeTable),
    /// Each record as its text.
    Lines(Vec<Written>),
}

/// What one table is to hold after a batch.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) table: Written,
    pub(super) rows: ExpectedRows,
    /// The bytes of the file that say so.
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum ExpectedRows {
    /// What it held after the batch before.
    Unchanged,
    /// These.
    These(PipeTable),
}

const UNCHANGED: &str = "unchanged";

const TEST_KEYS: [&str; 6] = ["batch", "name", "ordered", "query", "rebatch", "tolerance"];
const BATCH_KEYS: [&str; 3] = ["expect", "given", "now"];

/// The JSON Schema of a file of tests, for completion in editors.
pub const TEST_SCHEMA: &str = include_str!("schema.json");

/// Reads every `tests/*.toml` of the set in `dir`, by name; none where there is no folder.
///
/// # Errors
/// Every fault of every file.
pub fn load(dir: &Path) -> Result<Vec<TestFile>, Diagnostics> {
    let folder = dir.join("tests");
    let paths = wardwatch_sql::files(&folder, "toml").map_err(|fault| Diagnostics(vec![fault]))?;
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        match std::fs::read_to_string(&path) {
            Ok(text) => match parse(&path, text) {
                Ok(file) => files.push(file),
                Err(found) => faults.extend(found),
            },
            Err(error) => {
                faults.push(Diagnostic { file: path, line: 1, column: 1, message: format!("cannot be read: {error}") });
            }
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(Diagnostics(faults)) }
}

fn parse(path: &Path, text: String) -> Result<TestFile, Vec<Diagnostic>> {
    let mut reader = Reader { path, text: &text, faults: Vec::new() };
    let tests = match DeTable::parse(&text) {
        Ok(root) => reader.root(root.into_inner()),
        Err(error) => {
            reader.fault(error.span().unwrap_or(0..0), error.message().to_owned());
            Vec::new()
        }
    };
    let faults = reader.faults;
    if faults.is_empty() { Ok(TestFile { path: path.to_owned(), text, tests }) } else { Err(faults) }
}

type Value<'i> = Spanned<DeValue<'i>>;
type Entry<'i> = (Spanned<Cow<'i, str>>, Value<'i>);

/// Takes values out of the TOML and collects what is wrong with them.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    faults: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn root(&mut self, root: DeTable<'_>) -> Vec<TestCase> {
        let mut tests = Vec::new();
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "test" => {
                    tests.extend(self.tables(value, "test").into_iter().map(|(test, span)| self.test(test, span)))
                }
                other => self.fault(key.span(), unknown("key", other, ["test"].into_iter())),
            }
        }
        for (index, test) in tests.iter().enumerate() {
            if let Some(first) = tests[..index].iter().find(|first| first.name.text == test.name.text) {
                let message = format!("the test in line {} has this name already", first.name.line);
                let Written { line, column, .. } = test.name;
                self.faults.push(Diagnostic { file: self.path.to_owned(), line, column, message });
            }
        }
        tests
    }

    fn test(&mut self, entries: Vec<Entry<'_>>, span: Range<usize>) -> TestCase {
        let mut test = TestCase {
            name: self.written(String::new(), span.start),
            queries: Vec::new(),
            tolerance: 0.0,
            ordered: false,
            rebatch: None,
            given: Vec::new(),
            batches: Vec::new(),
        };
        for (key, value) in entries {
            match key.get_ref().as_ref() {
                "name" => test.name = self.string(&value),
                "query" => test.queries = self.strings(value),
                "tolerance" => test.tolerance = self.tolerance(&value),
                "ordered" => test.ordered = self.bool(&value),
                "rebatch" => test.rebatch = Some(self.bool(&value)),
                "batch" => {
                    let batches = self.tables(value, "test.batch");
                    test.batches = batches.into_iter().map(|(batch, _)| self.batch(batch)).collect();
                }
                name => {
                    // Any other key is a table that is given; what is none cannot be one.
                    let table = self.written(name.to_owned(), key.span().start);
                    match value.get_ref() {
                        DeValue::String(_) => test.given.extend(self.pipe(&value).map(|rows| (table, rows))),
                        _ => self.fault(key.span(), unknown("key", name, TEST_KEYS.into_iter())),
                    }
                }
            }
        }
        if test.name.text.is_empty() {
            self.fault(span.clone(), "a test needs a name: what must hold, as a sentence".to_owned());
        }
        self.check_times(&test);
        if test.batches.iter().all(|batch| batch.expected.is_empty()) {
            self.fault(span, "the test expects nothing; write expect.<table> into one of its batches".to_owned());
        }
        test
    }

    fn batch(&mut self, entries: Vec<Entry<'_>>) -> BatchCase {
        let mut batch = BatchCase { now: None, records: Records::Table(PipeTable::default()), expected: Vec::new() };
        for (key, value) in entries {
            match key.get_ref().as_ref() {
                "now" => batch.now = self.time(&value).map(|time| (time, place(self.text, value.span().start))),
                "given" => batch.records = self.records(&value),
                "expect" => batch.expected = self.expected(value),
                other => self.fault(key.span(), unknown("key of a batch", other, BATCH_KEYS.into_iter())),
            }
        }
        batch
    }

    /// `now` goes forwards.
    fn check_times(&mut self, test: &TestCase) {
        let nows: Vec<_> = test.batches.iter().filter_map(|batch| batch.now).collect();
        for pair in nows.windows(2) {
            let [(before, _), (now, (line, column))] = [pair[0], pair[1]];
            if now < before {
                let message = format!(
                    "time goes backwards: the batch before is at {}",
                    before.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
                );
                self.faults.push(Diagnostic { file: self.path.to_owned(), line, column, message });
            }
        }
    }

    fn records(&mut self, value: &Value<'_>) -> Records {
        let DeValue::String(text) = value.get_ref() else {
            self.fault(value.span(), "records are a pipe table, or JSON with a record a line".to_owned());
            return Records::Lines(Vec::new());
        };
        if !text.trim_start().starts_with('{') {
            return Records::Table(self.pipe(value).unwrap_or_default());
        }
        let (line, _) = self.content(value);
        let lines = text.lines().zip(line..).filter(|(text, _)| !text.trim().is_empty());
        Records::Lines(lines.map(|(text, line)| Written { text: text.to_owned(), line, column: 1 }).collect())
    }

    fn expected(&mut self, value: Value<'_>) -> Vec<Expected> {
        let span = value.span();
        let DeValue::Table(tables) = value.into_inner() else {
            self.fault(span, "write what each table must hold: expect.vitals_1m = …".to_owned());
            return Vec::new();
        };
        let mut expected = Vec::new();
        for (key, value) in tables {
            let table = self.written(key.get_ref().to_string(), key.span().start);
            let rows = match value.get_ref() {
                DeValue::String(text) if text.trim() == UNCHANGED => Some(ExpectedRows::Unchanged),
                _ => self.pipe(&value).map(ExpectedRows::These),
            };
            expected.extend(rows.map(|rows| Expected { table, rows, span: value.span() }));
        }
        expected
    }

    fn pipe(&mut self, value: &Value<'_>) -> Option<PipeTable> {
        let DeValue::String(text) = value.get_ref() else {
            self.fault(value.span(), "write rows as a pipe table, \"\" for none, or \"unchanged\"".to_owned());
            return None;
        };
        let (line, column) = self.content(value);
        match PipeTable::parse(text, line, column) {
            Ok(table) => Some(table),
            Err(fault) => {
                let (line, column) = (fault.line, fault.column);
                self.faults.push(Diagnostic { file: self.path.to_owned(), line, column, message: fault.message });
                None
            }
        }
    }

    /// Where the first character of a text stands, behind its quotes.
    fn content(&self, value: &Value<'_>) -> (usize, usize) {
        let start = value.span().start;
        let written = &self.text[value.span()];
        let (line, column) = place(self.text, start);
        let is_long = written.starts_with("'''") || written.starts_with("\"\"\"");
        match is_long.then(|| &written[3..]) {
            Some(rest) if rest.starts_with('\n') || rest.starts_with("\r\n") => (line + 1, 1),
            Some(_) => (line, column + 3),
            None => (line, column + 1),
        }
    }

    fn strings(&mut self, value: Value<'_>) -> Vec<Written> {
        match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| self.string(value)).collect(),
            _ => vec![self.string(&value)],
        }
    }

    fn string(&mut self, value: &Value<'_>) -> Written {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.fault(value.span(), format!("this must be a text, not {}", value.get_ref().type_str()));
        }
        self.written(text.unwrap_or_default(), value.span().start)
    }

    fn bool(&mut self, value: &Value<'_>) -> bool {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.fault(value.span(), "this must be true or false".to_owned());
        }
        found.unwrap_or_default()
    }

    fn tolerance(&mut self, value: &Value<'_>) -> f64 {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
        if number.is_none() {
            self.fault(value.span(), "a tolerance is a number from 0 up: how far values may be away".to_owned());
        }
        number.unwrap_or_default()
    }

    /// A TOML time with its zone, or the same as a text.
    fn time(&mut self, value: &Value<'_>) -> Option<DateTime<Utc>> {
        let text = match value.get_ref() {
            DeValue::Datetime(written) => written.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let found = time(&text);
        if found.is_none() {
            self.fault(value.span(), "this must be a time with its zone: 2026-01-01T00:00:00Z".to_owned());
        }
        found
    }

    /// The tables of `[[name]]`.
    fn tables<'i>(&mut self, value: Value<'i>, name: &str) -> Vec<(Vec<Entry<'i>>, Range<usize>)> {
        let span = value.span();
        let DeValue::Array(values) = value.into_inner() else {
            self.fault(span, format!("write [[{name}]], with two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in values {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => tables.push((table.into_iter().collect(), span)),
                _ => self.fault(span, format!("write [[{name}]], with two brackets")),
            }
        }
        tables
    }

    fn written(&self, text: String, offset: usize) -> Written {
        let (line, column) = place(self.text, offset);
        Written { text, line, column }
    }

    fn fault(&mut self, span: Range<usize>, message: String) {
        self.faults.push(Diagnostic::at(self.path, self.text, span.start, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let told = parse(Path::new("t.toml"), text.to_owned()).expect_err("refused");
        told.into_iter().map(|fault| format!("{}:{}: {}", fault.line, fault.column, fault.message)).collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let schema: serde_json::Value = serde_json::from_str(TEST_SCHEMA).expect("JSON");
        let keys = |definition: &str| -> Vec<String> {
            let properties = schema["definitions"][definition]["properties"].as_object().expect("properties");
            let mut keys: Vec<String> = properties.keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys("test"), TEST_KEYS);
        assert_eq!(keys("batch"), BATCH_KEYS);
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let check = |text: &str, expected: &str| {
            let told = faults(text).join("\n");
            assert!(told.contains(expected), "{told}");
        };
        let batch = "[[test.batch]]\nexpect.alerts = \"\"\n";
        check("[[tests]]\n", "1:3: unknown key \"tests\"; did you mean \"test\"?");
        check("[test]\nname = \"a\"", "write [[test]], with two brackets");
        check(&format!("[[test]]\n{batch}"), "1:1: a test needs a name");
        check("[[test]]\nname = \"a\"\n", "1:1: the test expects nothing");
        check(
            &format!("[[test]]\nname = \"a\"\nrebacth = true\n{batch}"),
            "3:1: unknown key \"rebacth\"; did you mean \"rebatch\"?",
        );
        check(
            &format!("[[test]]\nname = \"a\"\n{batch}gvien = \"\"\n"),
            "5:1: unknown key of a batch \"gvien\"; did you mean \"given\"?",
        );
        check(
            "[[test]]\nname = \"a\"\n[[test.batch]]\nexpect.alerts = '''\n| a | b |\n| 1 |\n'''\n",
            "6:1: the row has 1 cells, its heading 2",
        );
        check(
            &format!("[[test]]\nname = \"a\"\n{batch}now = 2026-01-01T00:00:10Z\n{batch}now = 2026-01-01T00:00:09Z\n"),
            "8:7: time goes backwards: the batch before is at 2026-01-01T00:00:10Z",
        );
        check(
            &format!("[[test]]\nname = \"a\"\n{batch}[[test]]\nname = \"a\"\n{batch}"),
            "6:8: the test in line 2 has this name already",
        );
        check(&format!("[[test]]\nname = \"a\"\n{batch}now = 2026-01-01\n"), "a time with its zone");
        check("[[test]\n", "1:");
    }
}
