//! A job that is put together in code.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use wardwatch_config::{GivenQuery, QueryFolder};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics};
use wardwatch_pipeline::Plan;

use super::error::SessionError;
use super::session::Session;

/// Where a job without a folder of queries is said to have it.
const NO_FOLDER: &str = "(given)";

/// A job that is put together in code, for [`Session`].
///
/// What it does not say is as in a job file that does not say it, and [`more`](Self::more) takes whatever a job file may say. As there,
/// `${NAME}` in a text comes from the environment. Records are JSON objects; a column `patient_id` says who it is about and a column
/// `event_time` when it was measured, unless [`key`](Self::key) and [`event_time`](Self::event_time) name others.
#[derive(Debug, Clone)]
pub struct Builder {
    name: String,
    kafka: Option<(String, String)>,
    store: Option<String>,
    key: String,
    event_time: String,
    columns: Vec<Column>,
    sql_dir: Option<PathBuf>,
    given: Vec<GivenQuery>,
    trigger: Option<Duration>,
    more: String,
}

/// A column of records, and of the table `vitals` that queries read.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    said: Table,
}

impl Column {
    /// A number with a fraction: a vital.
    #[must_use]
    pub fn float(name: &str) -> Self {
        Self::of(name, "float")
    }

    /// A whole number.
    #[must_use]
    pub fn int(name: &str) -> Self {
        Self::of(name, "int")
    }

    /// A text; numbers are taken as their digits.
    #[must_use]
    pub fn text(name: &str) -> Self {
        Self::of(name, "text")
    }

    /// True or false.
    #[must_use]
    pub fn bool(name: &str) -> Self {
        Self::of(name, "bool")
    }

    /// A time.
    #[must_use]
    pub fn time(name: &str) -> Self {
        Self::of(name, "time")
    }

    fn of(name: &str, r#type: &str) -> Self {
        Self { name: name.to_owned(), said: Table::new() }.with("type", r#type)
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.said.insert(key.to_owned(), value.into());
        self
    }

    /// Where in a record it stands; the first that is not null counts. `vitals.hr` is the field `hr` of the object `vitals`.
    #[must_use]
    pub fn from(self, paths: &[&str]) -> Self {
        self.with("from", paths.iter().map(|path| Value::from(*path)).collect::<Vec<_>>())
    }

    /// The unit, for people.
    #[must_use]
    pub fn unit(self, unit: &str) -> Self {
        self.with("unit", unit)
    }

    /// What people call it.
    #[must_use]
    pub fn label(self, label: &str) -> Self {
        self.with("label", label)
    }

    /// A record without it is a reject.
    #[must_use]
    pub fn required(self) -> Self {
        self.with("required", true)
    }

    /// Values outside are NULL, and kept as artefacts.
    #[must_use]
    pub fn plausible(self, range: RangeInclusive<f64>) -> Self {
        self.with("plausible", vec![*range.start(), *range.end()])
    }

    /// How long a value counts for alerts while no newer one comes.
    #[must_use]
    pub fn valid_for(self, length: Duration) -> Self {
        self.with("valid_for", milliseconds(length))
    }
}

impl Session<'_> {
    /// A job that is put together in code.
    #[must_use]
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }
}

fn milliseconds(length: Duration) -> String {
    format!("{}ms", length.as_millis())
}

impl Builder {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kafka: None,
            store: None,
            key: "patient_id".to_owned(),
            event_time: "event_time".to_owned(),
            columns: Vec::new(),
            sql_dir: None,
            given: Vec::new(),
            trigger: None,
            more: String::new(),
        }
    }

    /// The brokers, as `host:port,host:port`, and the topic.
    #[must_use]
    pub fn kafka(mut self, brokers: &str, topic: &str) -> Self {
        self.kafka = Some((brokers.to_owned(), topic.to_owned()));
        self
    }

    /// The store: `mysql://user:password@host:port/database` or `sqlite://file.db`.
    #[must_use]
    pub fn store(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// The column that says who a record is about; one of text that is required.
    #[must_use]
    pub fn key(mut self, column: &str) -> Self {
        column.clone_into(&mut self.key);
        self
    }

    /// The column that says when it was measured; a time that is required.
    #[must_use]
    pub fn event_time(mut self, column: &str) -> Self {
        column.clone_into(&mut self.event_time);
        self
    }

    /// A column of records. The two that every job has need be given only where they say more than their name.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// A folder of queries: `tables/*.sql`, `rules/*.sql`, `views/*.sql`, `seeds/*.csv`. While the session runs, edits of it are
    /// taken over.
    #[must_use]
    pub fn sql_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.sql_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// A query whose rows go to the table `name` of the store; the text is that of a file: a header with its `@key`, and one SELECT.
    #[must_use]
    pub fn table(self, name: &str, sql: &str) -> Self {
        self.query(QueryFolder::Tables, name, sql)
    }

    /// A rule: its rows are conditions that are true. The header has its `@severity`.
    #[must_use]
    pub fn rule(self, name: &str, sql: &str) -> Self {
        self.query(QueryFolder::Rules, name, sql)
    }

    /// A query that others read.
    #[must_use]
    pub fn view(self, name: &str, sql: &str) -> Self {
        self.query(QueryFolder::Views, name, sql)
    }

    fn query(mut self, folder: QueryFolder, name: &str, sql: &str) -> Self {
        self.given.push(GivenQuery { folder, name: name.to_owned(), text: sql.to_owned() });
        self
    }

    /// When a micro-batch closes; once a second where nobody says so.
    #[must_use]
    pub fn trigger(mut self, every: Duration) -> Self {
        self.trigger = Some(every);
        self
    }

    /// Whatever else a job file may say, in its language: `[features]`, `[alerts]`, `[[notify]]` …
    #[must_use]
    pub fn more(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self.more.push('\n');
        self
    }

    /// Reads and checks it; no service is asked.
    ///
    /// # Errors
    /// Every fault of the job or, where that is right, of the queries, whose places are in `(given)/rules/NAME.sql`.
    pub fn build(self) -> Result<Session<'static>, SessionError> {
        let file = PathBuf::from(format!("({})", self.name));
        let text = self.text(&file)?;
        let mut job = wardwatch_config::parse(&file, &text, &|name| std::env::var(name).ok())?;
        if self.sql_dir.is_none() {
            job.sql.dir = NO_FOLDER.into();
        }
        job.sql.given = self.given;
        let missing = match (&self.kafka, &self.store) {
            (None, _) => Some(("Kafka", "name brokers and topic with Builder::kafka, or try it offline")),
            (_, None) => Some(("store", "name one with Builder::store, or try it offline")),
            _ => None,
        };
        let missing = missing.map(|(what, remedy)| SessionError::Missing { what, remedy });
        Ok(Session::without(missing, Plan::of(job)?))
    }

    /// The job file that it stands for.
    fn text(&self, file: &Path) -> Result<String, Diagnostics> {
        let wrong =
            |message: String| Diagnostics(vec![Diagnostic { file: file.to_owned(), line: 1, column: 1, message }]);
        let mut job: Table = self.more.parse().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        let (brokers, topic) = match &self.kafka {
            Some((brokers, topic)) => (brokers.as_str(), topic.as_str()),
            None => ("127.0.0.1:9092", "none"),
        };
        let store = self.store.as_deref().unwrap_or("sqlite://none.db");
        let dir = self.sql_dir.as_deref().unwrap_or(Path::new("."));
        let mut say =
            |section: &str, key: &str, value: Value| match job.entry(section).or_insert_with(|| Table::new().into()) {
                Value::Table(table) => {
                    table.insert(key.to_owned(), value);
                    Ok(())
                }
                _ => Err(wrong(format!("\"{section}\" is not a section"))),
            };
        say("source", "brokers", brokers.into())?;
        say("source", "topic", topic.into())?;
        say("source", "key", self.key.as_str().into())?;
        say("source", "event_time", self.event_time.as_str().into())?;
        say("source", "columns", self.columns().into())?;
        say("store", "url", store.into())?;
        say("sql", "dir", dir.to_string_lossy().as_ref().into())?;
        if let Some(every) = self.trigger {
            say("trigger", "every", milliseconds(every).into())?;
        }
        job.insert("name".to_owned(), self.name.as_str().into());
        Ok(job.to_string())
    }

    fn columns(&self) -> Table {
        let own = [Column::text(&self.key), Column::time(&self.event_time)];
        let all = own.iter().chain(&self.columns);
        all.map(|column| (column.name.clone(), column.said.clone().into())).collect()
    }
}
