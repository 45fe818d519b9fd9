//! A set of queries as files: `tables/*.sql`, `rules/*.sql` and `views/*.sql`, one SELECT each, named by the file.

use std::path::{Path, PathBuf};

use wardwatch_config::{QueryFolder, SqlSpec};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics};

use super::header::{self, Fault};
use wardwatch_model::header::{RuleHeader, TableHeader};

/// One query file, its header read.
#[derive(Debug, Clone)]
pub struct QueryFile {
    /// The file's stem: the table's or the rule's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The whole text, header included, so that places in it are places in the file.
    pub text: String,
    /// What its rows become.
    pub kind: QueryKind,
    /// The warnings that it asks not to be given.
    pub allows: Vec<String>,
}

/// What a query's rows become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryKind {
    /// Rows of a table in the store.
    Table(TableHeader),
    /// Conditions that are true.
    Rule(Box<RuleHeader>),
    /// Nothing by themselves: other queries read them.
    View,
}

impl QueryFile {
    /// A fault of this file.
    #[must_use]
    pub fn diagnostic(&self, line: usize, column: usize, message: String) -> Diagnostic {
        Diagnostic { file: self.path.clone(), line, column, message }
    }

    /// Whether its rows are conditions.
    #[must_use]
    pub fn is_rule(&self) -> bool {
        matches!(self.kind, QueryKind::Rule(_))
    }

    /// The place of the header line that starts with `-- @name`, or the start of the file.
    #[must_use]
    pub fn header_place(&self, name: &str) -> (usize, usize) {
        let found = self.text.lines().zip(1..).find_map(|(line, number)| {
            let at = line.find(&format!("@{name}:"))?;
            Some((number, line[..at].chars().count() + 1))
        });
        found.unwrap_or((1, 1))
    }
}

/// Reads every query of the set, tables first, each kind by name; those that a program gives stand behind the files of their kind.
///
/// # Errors
/// Every fault: a file that cannot be read, a name that SQL would have to quote, a faulty header, two of one name.
pub fn load_set(spec: &SqlSpec) -> Result<Vec<QueryFile>, Diagnostics> {
    let dir = &spec.dir;
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for folder in QueryFolder::ALL {
        let paths = sql_files(&dir.join(folder.name())).unwrap_or_else(|fault| {
            faults.push(fault);
            Vec::new()
        });
        let given = spec.given.iter().filter(|given| given.folder == folder);
        let given = given.map(|given| {
            let path = Path::new(GIVEN).join(folder.name()).join(&given.name).with_extension("sql");
            parse(path, given.text.clone(), header_of(folder))
        });
        let read = paths.into_iter().map(|path| load(path, header_of(folder))).chain(given);
        for file in read {
            match file {
                Ok(file) => files.push(file),
                Err(mut found) => faults.append(&mut found),
            }
        }
    }
    if files.is_empty() && faults.is_empty() {
        let message = "there is no query: put SELECTs into tables/*.sql and rules/*.sql".to_owned();
        faults.push(Diagnostic { file: dir.to_owned(), line: 1, column: 1, message });
    }
    for (index, file) in files.iter().enumerate() {
        if let Some(first) = files[..index].iter().find(|first| first.name == file.name) {
            faults.push(file.diagnostic(1, 1, format!("{} has this name already", first.path.display())));
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(Diagnostics(faults)) }
}

/// Reads one query, wherever it lies. What it is, its folder says as in a set; elsewhere its header does: a rule has a severity,
/// a table a key, a view neither.
///
/// # Errors
/// Every fault of its name and header.
pub fn load_draft(path: &Path) -> Result<QueryFile, Diagnostics> {
    let folder = path.parent().and_then(|folder| folder.file_name()).and_then(|name| name.to_str());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let has = |key: &str| text.lines().any(|line| line.trim_start().starts_with("--") && line.contains(key));
    let folder = match QueryFolder::ALL.into_iter().find(|known| Some(known.name()) == folder) {
        Some(folder) => folder,
        None if has("@severity") => QueryFolder::Rules,
        None if has("@key") => QueryFolder::Tables,
        None => QueryFolder::Views,
    };
    load(path.to_owned(), header_of(folder)).map_err(Diagnostics)
}

/// A file's name is a name in SQL.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 60 {
        return Ok(());
    }
    Err("the file's name becomes a name in SQL: lower-case letters, digits and \"_\", a letter first, at most 60"
        .to_owned())
}

/// Where queries that are no files are said to stand.
const GIVEN: &str = "(given)";

type ParseHeader = fn(&str) -> Result<QueryKind, Vec<Fault>>;

fn header_of(folder: QueryFolder) -> ParseHeader {
    match folder {
        QueryFolder::Tables => table,
        QueryFolder::Views => view,
        QueryFolder::Rules => rule,
    }
}

fn table(text: &str) -> Result<QueryKind, Vec<Fault>> {
    header::table(text).map(QueryKind::Table)
}

fn rule(text: &str) -> Result<QueryKind, Vec<Fault>> {
    header::rule(text).map(|header| QueryKind::Rule(Box::new(header)))
}

fn view(text: &str) -> Result<QueryKind, Vec<Fault>> {
    header::view(text).map(|()| QueryKind::View)
}

/// The `.sql` files of a folder by name; none where there is no folder.
fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    files(folder, "sql")
}

/// The files of a folder that end in `extension`, by name; none where there is no folder.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            return Err(Diagnostic { file: folder.to_owned(), line: 1, column: 1, message });
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension) && !is_hidden(path))
        .collect();
    paths.sort();
    Ok(paths)
}

/// What editors lay beside a file while it is open is none of the set.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn load(path: PathBuf, header: ParseHeader) -> Result<QueryFile, Vec<Diagnostic>> {
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(path, text, header),
        Err(error) => {
            Err(vec![Diagnostic { file: path, line: 1, column: 1, message: format!("cannot be read: {error}") }])
        }
    }
}

/// A query by its text; `path` says its name.
fn parse(path: PathBuf, text: String, header: ParseHeader) -> Result<QueryFile, Vec<Diagnostic>> {
    // Some editors put a byte order mark in front, which is no part of the text.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let fault = |line, column, message| Diagnostic { file: path.clone(), line, column, message };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    check_name(&name).map_err(|message| vec![fault(1, 1, message)])?;
    match header::allowed(&text).and_then(|allows| Ok((header(&text)?, allows))) {
        Ok((kind, allows)) => Ok(QueryFile { name, path, text, kind, allows }),
        Err(faults) => Err(faults.into_iter().map(|found| fault(found.line, found.column, found.value)).collect()),
    }
}
