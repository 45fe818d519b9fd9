//! A job file and its set of queries, checked as one: what `check` looks at and `run` runs.

use std::path::Path;

use crate::alert::{Message, Rule, SampleColumns};
use crate::config::{self, Job};
use crate::decode::frame_schema;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::query::{Engine, Limits, Planned, QueryKind, Source, load_set};
use crate::store::{SYSTEM_TABLES, TableSpec};

/// A job that can run.
#[derive(Debug)]
pub struct Plan {
    /// The job.
    pub job: Job,
    /// Its queries.
    pub engine: Engine,
    /// The tables that its table queries fill.
    pub tables: Vec<TableSpec>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Which columns tell samples apart.
    pub samples: SampleColumns,
}

impl Plan {
    /// Reads and checks everything that a job is made of. Needs no Kafka and no store.
    ///
    /// # Errors
    /// Every fault of the job file or, where that is right, of the queries.
    pub fn load(job_file: &Path) -> Result<Self, Diagnostics> {
        Self::of(config::load(job_file)?)
    }

    /// The same for a job that is already read.
    ///
    /// # Errors
    /// Every fault of the queries.
    pub fn of(job: Job) -> Result<Self, Diagnostics> {
        let columns = &job.source.columns;
        let source = Source {
            table: &job.source.table,
            schema: frame_schema(columns),
            key: &columns.key().name,
            event_time: &columns.event_time().name,
        };
        let limits = Limits { time: job.sql.time_limit, memory: job.sql.memory_limit };
        let engine = Engine::plan(load_set(&job.sql.dir)?, &source, limits)?;
        let mut faults = Vec::new();
        let mut tables = Vec::new();
        let mut rules = Vec::new();
        for query in engine.queries() {
            match &query.file.kind {
                QueryKind::Table(header) => match table(query, &header.key) {
                    Ok(spec) => tables.push(spec),
                    Err(fault) => faults.push(fault),
                },
                QueryKind::Rule(_) => match rule(query) {
                    Ok(rule) => rules.push(rule),
                    Err(fault) => faults.push(fault),
                },
            }
        }
        if !faults.is_empty() {
            faults.sort();
            return Err(Diagnostics(faults));
        }
        let samples = SampleColumns { key: columns.key().name.clone(), event_time: columns.event_time().name.clone() };
        Ok(Self { engine, tables, rules, samples, job })
    }
}

fn table(query: &Planned, key: &[String]) -> Result<TableSpec, Diagnostic> {
    let file = &query.file;
    if SYSTEM_TABLES.contains(&file.name.as_str()) {
        let message = format!("\"{}\" is one of wardwatch's own tables; a query needs another name", file.name);
        return Err(file.diagnostic(1, 1, message));
    }
    TableSpec::new(&file.name, &query.schema, key).map_err(|error| file.diagnostic(1, 1, error.to_string()))
}

fn rule(query: &Planned) -> Result<Rule, Diagnostic> {
    let QueryKind::Rule(header) = &query.file.kind else { panic!("only rules are asked for their alerts") };
    let message = match &header.message {
        None => None,
        Some(text) => Some(
            Message::parse(&text.value, &query.schema)
                .map_err(|fault| query.file.diagnostic(text.line, text.column + fault.at, fault.message))?,
        ),
    };
    Ok(Rule { name: query.file.name.clone(), header: header.clone(), message })
}
