//! A job file and its set of queries, checked as one: what `check` looks at and `run` runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::RecordBatch;

use crate::alert::{Judged, Message, Rule, SampleColumns};
use crate::config::{self, Job};
use crate::decode::frame_schema;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::frame::schema_with;
use crate::query::{Engine, Limits, Planned, QueryKind, Seed, Source, load_seeds, load_set};
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
    /// The reference tables that its queries may read.
    pub references: Vec<Reference>,
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

    /// The tables that queries fill and those that they look things up in.
    #[must_use]
    pub fn all_tables(&self) -> Vec<TableSpec> {
        self.tables.iter().chain(self.references.iter().map(|reference| &reference.spec)).cloned().collect()
    }

    /// The queries that keep something from batch to batch.
    #[must_use]
    pub fn kept_names(&self) -> Vec<String> {
        self.engine.kept().map(|kept| kept.name.to_owned()).collect()
    }

    /// The queries that differ from those of `other`, or are in one of the two only, with their files.
    #[must_use]
    pub fn files_unlike(&self, other: &Self) -> Vec<(String, String)> {
        let of = |plan: &Self| -> BTreeMap<String, (String, String)> {
            let dir = &plan.job.sql.dir;
            let file =
                |query: &Planned| query.file.path.strip_prefix(dir).unwrap_or(&query.file.path).display().to_string();
            plan.engine
                .queries()
                .map(|query| (query.file.name.clone(), (query.file.text.clone(), file(query))))
                .collect()
        };
        let (new, old) = (of(self), of(other));
        let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
        let differs = names.into_iter().filter(|name| new.get(*name) != old.get(*name));
        differs.filter_map(|name| Some((name.clone(), new.get(name).or(old.get(name))?.1.clone()))).collect()
    }

    /// The same for a job that is already read.
    ///
    /// # Errors
    /// Every fault of the queries.
    pub fn of(job: Job) -> Result<Self, Diagnostics> {
        let columns = &job.source.columns;
        let source = Source {
            table: &job.source.table,
            schema: schema_with(&frame_schema(columns), &job.features),
            key: &columns.key().name,
            event_time: &columns.event_time().name,
        };
        let limits = Limits { time: job.sql.time_limit, memory: job.sql.memory_limit, groups: job.sql.max_groups };
        let (files, seeds) = (load_set(&job.sql.dir)?, load_seeds(&job.sql.dir)?);
        let engine = Engine::plan(files, &seeds, &source, limits)?;
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
                QueryKind::View => {}
            }
        }
        let mut references = Vec::new();
        for seed in seeds {
            match reference(&seed) {
                Ok(spec) => references.push(Reference { spec, rows: seed.rows }),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            faults.sort();
            return Err(Diagnostics(faults));
        }
        let samples = SampleColumns { key: columns.key().name.clone(), event_time: columns.event_time().name.clone() };
        Ok(Self { engine, tables, references, rules, samples, job })
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

/// A table of the store whose rows queries look things up in.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The table.
    pub spec: TableSpec,
    /// The rows that it starts with where the store has none.
    pub rows: RecordBatch,
}

fn reference(seed: &Seed) -> Result<TableSpec, Diagnostic> {
    let at_start = |message: String| Diagnostic { file: seed.file.clone(), line: 1, column: 1, message };
    if SYSTEM_TABLES.contains(&seed.name.as_str()) {
        return Err(at_start(format!("\"{}\" is one of wardwatch's own tables; a seed needs another name", seed.name)));
    }
    TableSpec::new(&seed.name, &seed.schema(), &seed.key).map_err(|error| at_start(error.to_string()))
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
    let judged = if query.per_row { Judged::BySample } else { Judged::ByBatch };
    Ok(Rule { name: query.file.name.clone(), header: header.clone(), message, judged })
}
