//! The set of queries, planned once and run on every micro-batch in the order of what they read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::sqlparser::ast::Statement as SqlStatement;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::StreamExt;

use crate::clock::Stopwatch;
use crate::diagnostic::{Diagnostic, Diagnostics, unknown};

use super::fault::{diagnose, tidy};
use super::file::{QueryFile, QueryKind};
use super::functions::FrozenNow;
use super::keyed::in_key_order;
use super::refuse::{refused_function, tables_read};
use super::slot::Slot;

/// What one query may use on one batch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time.
    pub time: Duration,
    /// Bytes, its result included.
    pub memory: usize,
}

/// All queries of a set, ready to run.
#[derive(Debug)]
pub struct Engine {
    source: Slot,
    now: FrozenNow,
    queries: Vec<Query>,
    limits: Limits,
    runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
struct Query {
    planned: Planned,
    plan: Arc<dyn ExecutionPlan>,
    /// Where queries that read this one find its rows; only a table query has one.
    result: Option<Slot>,
}

/// A query that was planned.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its file.
    pub file: QueryFile,
    /// The schema of its rows.
    pub schema: SchemaRef,
    /// The table queries it reads.
    pub reads: Vec<String>,
}

/// What one query gave on one batch.
#[derive(Debug)]
pub struct Outcome {
    /// The query's name.
    pub query: String,
    /// Its rows; those of a table query are in the order of their key.
    pub rows: Result<RecordBatch, QueryFailure>,
}

/// Why a query gave no rows on one batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryFailure(pub String);

/// What the planner needs to know of the job: the source's table and the column that names the patient.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The name under which queries read the batch.
    pub table: &'a str,
    /// The schema of the batch.
    pub schema: SchemaRef,
    /// The column that a rule must return.
    pub key: &'a str,
    /// The column by which a rule tells samples apart, if it returns it.
    pub event_time: &'a str,
}

impl Engine {
    /// Plans every query of the set.
    ///
    /// # Errors
    /// Every fault of every file: SQL that is none, what is refused, unknown names, cycles, results that no table
    /// or rule can have.
    pub fn plan(files: Vec<QueryFile>, source: &Source<'_>, limits: Limits) -> Result<Self, Diagnostics> {
        let now = FrozenNow::default();
        let mut planner = Planner::new(source, &now);
        let mut parsed = Vec::new();
        for file in files {
            match planner.parse(file, source.table) {
                Ok(query) => parsed.push(query),
                Err(fault) => planner.faults.push(fault),
            }
        }
        planner.check_names(&parsed, source.table);
        let ordered = planner.in_order(parsed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime =
            runtime.unwrap_or_else(|error| panic!("a runtime on this thread needs nothing but a timer: {error}"));
        let queries: Vec<Query> =
            ordered.into_iter().filter_map(|query| planner.plan(query, source, &runtime)).collect();
        if planner.faults.is_empty() {
            Ok(Self { source: planner.source, now, queries, limits, runtime })
        } else {
            planner.faults.sort();
            Err(Diagnostics(planner.faults))
        }
    }

    /// The queries in the order in which they run.
    pub fn queries(&self) -> impl Iterator<Item = &Planned> {
        self.queries.iter().map(|query| &query.planned)
    }

    /// Runs every query on `rows` with `now` frozen, leaving out those that `skip` names.
    ///
    /// A query that fails leaves the others alone, but for those that read it.
    pub fn run(&self, rows: &RecordBatch, now: DateTime<Utc>, skip: &dyn Fn(&str) -> bool) -> Vec<Outcome> {
        self.now.set(now);
        self.source.fill(rows);
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(self.queries.len());
        for query in &self.queries {
            let name = &query.planned.file.name;
            if skip(name) {
                continue;
            }
            let missing = query
                .planned
                .reads
                .iter()
                .find(|read| !outcomes.iter().any(|outcome| outcome.query == **read && outcome.rows.is_ok()));
            let rows = match missing {
                Some(table) => {
                    Err(QueryFailure(format!("it reads table \"{table}\", which has no rows for this batch")))
                }
                None => self.run_one(query),
            };
            if let (Some(slot), Ok(rows)) = (&query.result, &rows) {
                slot.fill(rows);
            }
            outcomes.push(Outcome { query: name.clone(), rows });
        }
        self.source.clear();
        self.queries.iter().filter_map(|query| query.result.as_ref()).for_each(Slot::clear);
        outcomes
    }

    fn run_one(&self, query: &Query) -> Result<RecordBatch, QueryFailure> {
        let run = || self.runtime.block_on(execute(query, self.limits));
        let rows = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned()));
        let keyed = rows.and_then(|rows| match &query.planned.file.kind {
            QueryKind::Table(header) => in_key_order(rows, &header.key),
            QueryKind::Rule(_) => Ok(rows),
        });
        keyed.map_err(QueryFailure)
    }
}

async fn execute(query: &Query, limits: Limits) -> Result<RecordBatch, String> {
    let running = Stopwatch::start();
    let too_long = || format!("it took longer than its time limit of {} ms", limits.time.as_millis());
    let collecting = collect(query, limits, &running);
    match tokio::time::timeout(limits.time, collecting).await {
        Ok(Ok(rows)) if running.elapsed() <= limits.time => Ok(rows),
        Ok(Ok(_)) | Err(_) => Err(too_long()),
        Ok(Err(DataFusionError::ResourcesExhausted(_))) => {
            Err(format!("it needs more than its memory limit of {} MiB", limits.memory >> 20))
        }
        Ok(Err(error)) => match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => {
                Err(format!("it needs more than its memory limit of {} MiB", limits.memory >> 20))
            }
            root => Err(tidy(&root.strip_backtrace())),
        },
    }
}

async fn collect(query: &Query, limits: Limits, running: &Stopwatch) -> Result<RecordBatch, DataFusionError> {
    let environment = environment(limits.memory)?;
    let reserved = MemoryConsumer::new("result").register(&environment.memory_pool);
    let context = TaskContext::default().with_session_config(session_config()).with_runtime(environment);
    let plan = reset_plan_states(Arc::clone(&query.plan))?;
    let mut stream = execute_stream(plan, Arc::new(context))?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        reserved.try_grow(batch.get_array_memory_size())?;
        batches.push(batch);
        if running.elapsed() > limits.time {
            break; // told by the caller, who looks at the time too
        }
    }
    Ok(concat_batches(&query.planned.schema, &batches)?)
}

/// Memory up to the limit, and no disk to spill to.
fn environment(memory: usize) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
}

/// One partition: a second core is better spent on fetching and decoding than on splitting small batches.
fn session_config() -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.collect_spans", true)
}

/// A query whose syntax was read.
struct Parsed {
    file: QueryFile,
    statement: Statement,
    reads: Vec<String>,
}

/// Plans queries one after the other and collects faults.
struct Planner {
    context: SessionContext,
    source: Slot,
    faults: Vec<Diagnostic>,
}

impl Planner {
    fn new(source: &Source<'_>, now: &FrozenNow) -> Self {
        let context = SessionContext::new_with_config(session_config());
        for name in ["random", "uuid", "current_time", "version"] {
            context.deregister_udf(name);
        }
        now.functions().into_iter().for_each(|function| context.register_udf(function));
        let slot = Slot::new(Arc::clone(&source.schema));
        let mut planner = Self { context, source: slot.clone(), faults: Vec::new() };
        planner.register(source.table, &slot, Path::new(""));
        planner
    }

    fn register(&mut self, name: &str, slot: &Slot, file: &Path) {
        let registered = slot.table().and_then(|table| self.context.register_table(name, table));
        if let Err(error) = registered {
            let message = tidy(&error.strip_backtrace());
            self.faults.push(Diagnostic { file: file.to_owned(), line: 1, column: 1, message });
        }
    }

    /// One SELECT without anything that is refused.
    fn parse(&self, file: QueryFile, source: &str) -> Result<Parsed, Diagnostic> {
        if file.name == source {
            let message = format!("\"{source}\" is the name of the source; a query needs another");
            return Err(file.diagnostic(1, 1, message));
        }
        let dialect = self.context.state().config().options().sql_parser.dialect;
        let statement =
            self.context.state().sql_to_statement(&file.text, &dialect).map_err(|error| diagnose(&file, &error))?;
        let sql = match &statement {
            Statement::Statement(sql) if matches!(**sql, SqlStatement::Query(_)) => sql,
            _ => return Err(file.diagnostic(1, 1, "only SELECT is accepted; a query changes nothing".to_owned())),
        };
        if let Some((span, message)) = refused_function(sql) {
            return Err(file.diagnostic(span.start.line as usize, span.start.column as usize, message));
        }
        let reads = tables_read(sql).into_iter().map(|(name, _)| name).filter(|name| name != source).collect();
        Ok(Parsed { file, statement, reads })
    }

    /// Every table that a query reads is the source or a table query.
    fn check_names(&mut self, parsed: &[Parsed], source: &str) {
        let tables: Vec<&str> = parsed
            .iter()
            .filter(|query| matches!(query.file.kind, QueryKind::Table(_)))
            .map(|query| query.file.name.as_str())
            .chain([source])
            .collect();
        for query in parsed {
            let Statement::Statement(sql) = &query.statement else { continue };
            for (name, span) in tables_read(sql).iter().filter(|(name, _)| !tables.contains(&name.as_str())) {
                let message = unknown("table", name, tables.iter().copied());
                let fault = query.file.diagnostic(span.start.line as usize, span.start.column as usize, message);
                self.faults.push(fault);
            }
        }
    }

    /// The queries, each behind those that it reads. Queries that read each other are a fault.
    fn in_order(&mut self, mut waiting: Vec<Parsed>) -> Vec<Parsed> {
        let mut ordered: Vec<Parsed> = Vec::new();
        while !waiting.is_empty() {
            let waits_for =
                |query: &Parsed| query.reads.iter().any(|read| waiting.iter().any(|other| other.file.name == *read));
            let blocked: Vec<bool> = waiting.iter().map(waits_for).collect();
            if blocked.iter().all(|blocked| *blocked) {
                let names: Vec<&str> = waiting.iter().map(|query| query.file.name.as_str()).collect();
                let message = format!("these queries read each other in a circle: {}", names.join(", "));
                self.faults.push(waiting[0].file.diagnostic(1, 1, message));
                return Vec::new();
            }
            let mut is_blocked = blocked.into_iter();
            let (later, now) = waiting.into_iter().partition(|_| is_blocked.next().unwrap_or(false));
            waiting = later;
            ordered.extend::<Vec<Parsed>>(now);
        }
        ordered
    }

    fn plan(&mut self, query: Parsed, source: &Source<'_>, runtime: &tokio::runtime::Runtime) -> Option<Query> {
        // A fault of a table that it reads would only be told again.
        if query.reads.iter().any(|read| !self.context.table_exist(read.as_str()).unwrap_or(false)) {
            return None;
        }
        let Parsed { file, statement, reads } = query;
        let planned = runtime.block_on(async {
            let logical = self.context.state().statement_to_plan(statement).await?;
            self.context.state().create_physical_plan(&logical).await
        });
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) => {
                self.faults.push(diagnose(&file, &error));
                return None;
            }
        };
        let schema = plan.schema();
        let faults = check_result(&file, &schema, source);
        if !faults.is_empty() {
            self.faults.extend(faults);
            return None;
        }
        let result = matches!(file.kind, QueryKind::Table(_)).then(|| Slot::new(Arc::clone(&schema)));
        if let Some(slot) = &result {
            self.register(&file.name, slot, &file.path);
        }
        Some(Query { planned: Planned { file, schema, reads }, plan, result })
    }
}

/// What is wrong with the columns of a result.
fn check_result(file: &QueryFile, schema: &SchemaRef, source: &Source<'_>) -> Vec<Diagnostic> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    match &file.kind {
        QueryKind::Table(header) => {
            let unnamed = names().filter(|name| !is_plain(name)).map(|name| {
                let message =
                    format!("result column \"{name}\" needs a name of its own: write \"AS <name>\" in lower case");
                file.diagnostic(1, 1, message)
            });
            let (line, column) = file.header_place("key");
            let no_key = header
                .key
                .iter()
                .filter(|key| schema.index_of(key).is_err())
                .map(|key| file.diagnostic(line, column, format!("@key: {}", unknown("column", key, names()))));
            unnamed.chain(no_key).collect()
        }
        QueryKind::Rule(_) => {
            let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::Utf8);
            let key = match schema.field_with_name(source.key) {
                Ok(field) if is_text(field.data_type()) => None,
                Ok(_) => Some(format!("column \"{}\" must be the patient's, a text", source.key)),
                Err(_) => {
                    Some(format!("a rule must return the column \"{}\", so that its alert has a patient", source.key))
                }
            };
            let time = schema.field_with_name(source.event_time).ok().and_then(|field| {
                let same = source.schema.field_with_name(source.event_time).ok()?.data_type() == field.data_type();
                (!same).then(|| format!("column \"{}\" must be the sample's, unchanged", source.event_time))
            });
            key.into_iter().chain(time).map(|message| file.diagnostic(1, 1, message)).collect()
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
