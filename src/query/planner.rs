//! From a set of files to queries that can run, or to every fault in them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::sqlparser::ast::Statement as SqlStatement;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;

use crate::diagnostic::{Diagnostic, Diagnostics, Warning, unknown};

use super::condition::{Lineage, with_condition};
use super::engine::{Engine, Planned, Slots, Source};
use super::execute::{Limits, Runner, session_config};
use super::fault::{diagnose, tidy};
use super::file::{QueryFile, QueryKind};
use super::functions::FrozenTimes;
use super::given::{OPEN_ALERTS, artefacts_name, artefacts_schema, history_name, latest_name, open_alerts_schema};
use super::header::Emit;
use super::refuse::{refused_function, tables_read};
use super::seed::Seed;
use super::slot::Slot;
use super::smell::{Tables, smells};
use super::window::{self, Inputs, Windowed};

/// A planned query and where others find its rows.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) planned: Planned,
    pub(super) body: Body,
    /// A rule's rows under `@clear_when`.
    pub(super) clear: Option<Arc<dyn ExecutionPlan>>,
    /// Its closed windows, where a windowed query reads them.
    pub(super) closed: Option<Slot>,
    /// Its rows, or its windows as they stand, where a query without windows reads them.
    pub(super) current: Option<Slot>,
}

/// What is run.
#[derive(Debug)]
pub(super) enum Body {
    /// On each batch alone.
    Plain(Arc<dyn ExecutionPlan>),
    /// Over windows.
    Windowed(Box<Windowed>),
}

/// Functions that tell the time of the batch.
const CLOCKS: [&str; 4] = ["now", "event_now", "current_date", "partition_now"];

/// A query whose syntax was read.
struct Parsed {
    file: QueryFile,
    statement: Statement,
    /// The tables that it names, with the place of the first mention.
    names: Vec<(String, usize, usize)>,
}

/// A query's plan with what follows from it.
struct Shaped {
    body: Body,
    schema: SchemaRef,
    by_batch: bool,
}

/// What a name in FROM stands for, and what follows for a query that reads it.
#[derive(Debug, Clone)]
struct Known {
    input: window::Input,
    per_row: bool,
    /// Whether it has rows only together with rows of the batch, or whatever the batch.
    needs_rows: bool,
    /// Whether it holds rows of batches before this one.
    looks_back: bool,
    time_column: Option<String>,
}

impl Known {
    /// What is known at a time.
    fn of_moment(input: window::Input) -> Self {
        Self { input, per_row: false, needs_rows: false, looks_back: false, time_column: None }
    }
}

/// The table with the last values of each patient, kept up as a windowed query without an end.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) name: String,
    pub(super) windowed: Windowed,
    pub(super) slot: Slot,
}

/// Plans queries one after the other and collects faults.
pub(super) struct Planner<'a> {
    source: &'a Source<'a>,
    /// For queries without windows: they see every row, and windows as they stand.
    plain: SessionContext,
    /// For windowed queries: they see what was on time, and closed windows.
    windowed: SessionContext,
    known: BTreeMap<String, Known>,
    lineage: Lineage,
    slots: Slots,
    times: FrozenTimes,
    runner: Runner,
    faults: Vec<Diagnostic>,
    /// What is known of tables for telling what smells.
    tables: Tables,
    warnings: Vec<Warning>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(source: &'a Source<'a>, seeds: &[Seed], limits: Limits) -> Self {
        let times = FrozenTimes::default();
        let slot = || Slot::new(Arc::clone(&source.schema));
        let slots = Slots {
            all: slot(),
            on_time: slot(),
            history: slot(),
            open_alerts: Slot::new(open_alerts_schema(source.key)),
            artefacts: Slot::new(artefacts_schema(source.key, source.event_time)),
            references: BTreeMap::new(),
        };
        let mut planner = Self {
            source,
            plain: context(&times),
            windowed: context(&times),
            known: BTreeMap::new(),
            lineage: Lineage::default(),
            slots: slots.clone(),
            times,
            runner: Runner::new(limits),
            faults: Vec::new(),
            tables: Tables::default(),
            warnings: Vec::new(),
        };
        let stream = |input| Known {
            input,
            per_row: true,
            needs_rows: true,
            looks_back: input == window::Input::History,
            time_column: Some(source.event_time.to_owned()),
        };
        planner.register(source.table, Path::new(""), &slots.all, &slots.on_time, stream(window::Input::Source));
        let history = history_name(source.table);
        planner.register(&history, Path::new(""), &slots.history, &slots.history, stream(window::Input::History));
        let artefacts = Known { time_column: None, ..stream(window::Input::Moment) };
        planner.register(&artefacts_name(source.table), Path::new(""), &slots.artefacts, &slots.artefacts, artefacts);
        let alerts = Known::of_moment(window::Input::Moment);
        planner.register(OPEN_ALERTS, Path::new(""), &slots.open_alerts, &slots.open_alerts, alerts);
        planner.known.insert(latest_name(source.table), Known::of_moment(window::Input::Latest));
        let columns = source.schema.fields().iter().map(|field| field.name().as_str());
        let vitals: Vec<&str> = columns
            .filter(|name| !name.starts_with('_') && *name != source.key && *name != source.event_time)
            .collect();
        for table in [source.table, history.as_str(), &latest_name(source.table)] {
            planner.lineage.given(table, &vitals);
        }
        for seed in seeds {
            planner.reference(seed);
        }
        planner
    }

    /// A table whose rows change only when they are read anew.
    fn reference(&mut self, seed: &Seed) {
        if self.known.contains_key(&seed.name) {
            let message = format!("\"{}\" is the name of a table that is given; a seed needs another", seed.name);
            self.faults.push(Diagnostic { file: seed.file.clone(), line: 1, column: 1, message });
            return;
        }
        let slot = Slot::new(seed.schema());
        slot.fill(&seed.rows);
        let known = Known { needs_rows: true, ..Known::of_moment(window::Input::Reference) };
        self.register(&seed.name, &seed.file, &slot, &slot, known);
        self.slots.references.insert(seed.name.clone(), slot);
        self.tables.keys.insert(seed.name.clone(), seed.key.clone());
    }

    /// Plans the whole set.
    pub(super) fn plan_set(mut self, files: Vec<QueryFile>) -> Result<Engine, Diagnostics> {
        let mut parsed = Vec::new();
        for file in files {
            match self.parse(file) {
                Ok(query) => parsed.push(query),
                Err(fault) => self.faults.push(fault),
            }
        }
        self.check_names(&parsed);
        let is_read = |name: &str| parsed.iter().any(|query| query.names.iter().any(|(read, ..)| read == name));
        let reads_history = is_read(&history_name(self.source.table));
        let reads_alerts = is_read(OPEN_ALERTS);
        let latest = if is_read(&latest_name(self.source.table)) { self.latest() } else { None };
        let mut queries: Vec<Query> = Vec::new();
        for query in self.in_order(parsed) {
            queries.extend(self.plan(query));
        }
        if !self.faults.is_empty() {
            self.faults.sort();
            return Err(Diagnostics(self.faults));
        }
        let mut warnings = self.warnings;
        warnings.extend(unread_views(&queries));
        warnings.sort();
        forget_unread(&mut queries);
        let Self { slots, times, runner, .. } = self;
        Ok(Engine { slots, times, queries, latest, reads_history, reads_alerts, warnings, runner })
    }

    /// Keeps the last values of each patient.
    fn latest(&mut self) -> Option<Latest> {
        let name = latest_name(self.source.table);
        let planned = self.runner.block_on(async {
            let state = self.plain.state();
            let logical = state.create_logical_plan(&latest_sql(self.source)).await?;
            Windowed::whole(&logical, self.source.table, self, &state).await
        });
        match planned {
            Ok((windowed, schema)) => {
                let slot = Slot::new(schema);
                self.register(&name, Path::new(""), &slot, &slot, Known::of_moment(window::Input::Latest));
                Some(Latest { name, windowed, slot })
            }
            Err(error) => {
                let message = format!("\"{name}\" cannot be kept: {}", tidy(&error.strip_backtrace()));
                self.faults.push(Diagnostic { file: Path::new("").to_owned(), line: 1, column: 1, message });
                None
            }
        }
    }

    fn register(&mut self, name: &str, file: &Path, plain: &Slot, windowed: &Slot, known: Known) {
        for (context, slot) in [(&self.plain, plain), (&self.windowed, windowed)] {
            let registered = slot.table().and_then(|table| context.register_table(name, table));
            if let Err(error) = registered {
                let message = tidy(&error.strip_backtrace());
                self.faults.push(Diagnostic { file: file.to_owned(), line: 1, column: 1, message });
            }
        }
        self.known.insert(name.to_owned(), known);
    }

    /// One SELECT without anything that is refused.
    fn parse(&self, file: QueryFile) -> Result<Parsed, Diagnostic> {
        if self.known.contains_key(&file.name) {
            let what = if file.name == self.source.table { "the source" } else { "a table that is given" };
            let message = format!("\"{}\" is the name of {what}; a query needs another", file.name);
            return Err(file.diagnostic(1, 1, message));
        }
        let state = self.plain.state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(&file.text, &dialect).map_err(|error| diagnose(&file, &error))?;
        let sql = match &statement {
            Statement::Statement(sql) if matches!(**sql, SqlStatement::Query(_)) => sql,
            _ => return Err(file.diagnostic(1, 1, "only SELECT is accepted; a query changes nothing".to_owned())),
        };
        if let Some((span, message)) = refused_function(sql) {
            return Err(file.diagnostic(span.start.line as usize, span.start.column as usize, message));
        }
        let names = tables_read(sql).into_iter();
        let names = names.map(|(name, span)| (name, span.start.line as usize, span.start.column as usize));
        Ok(Parsed { names: names.collect(), file, statement })
    }

    /// Every table that a query reads is known or a table query.
    fn check_names(&mut self, parsed: &[Parsed]) {
        let tables: BTreeSet<&str> = parsed
            .iter()
            .filter(|query| !matches!(query.file.kind, QueryKind::Rule(_)))
            .map(|query| query.file.name.as_str())
            .chain(self.known.keys().map(String::as_str))
            .collect();
        for query in parsed {
            for (name, line, column) in query.names.iter().filter(|(name, ..)| !tables.contains(name.as_str())) {
                let message = unknown("table", name, tables.iter().copied());
                self.faults.push(query.file.diagnostic(*line, *column, message));
            }
        }
    }

    /// The queries, each behind those that it reads. Queries that read each other are a fault.
    fn in_order(&mut self, mut waiting: Vec<Parsed>) -> Vec<Parsed> {
        let mut ordered: Vec<Parsed> = Vec::new();
        while !waiting.is_empty() {
            let waits_for = |query: &Parsed| {
                query.names.iter().any(|(read, ..)| waiting.iter().any(|other| other.file.name == *read))
            };
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

    fn plan(&mut self, query: Parsed) -> Option<Query> {
        // A fault of a table that it reads would only be told again.
        let read: Vec<Known> =
            query.names.iter().map(|(name, ..)| self.known.get(name).cloned()).collect::<Option<_>>()?;
        let Parsed { file, statement, names } = query;
        let Shaped { body, schema, by_batch } = match self.body(&file, statement.clone()) {
            Ok(planned) => planned,
            Err(error) => {
                self.faults.push(diagnose(&file, &error));
                return None;
            }
        };
        let clear = match self.clear(&file, &statement) {
            Ok(clear) => clear,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let vitals = self.trace(&file, &statement, &names);
        let mut faults = check_result(&file, &schema, self.source);
        faults.extend(check_window(&file, &body));
        if !faults.is_empty() {
            self.faults.extend(faults);
            return None;
        }
        let windowed = match &body {
            Body::Windowed(windowed) => Some(windowed),
            Body::Plain(_) => None,
        };
        let looks_back = read.iter().any(|known| known.looks_back);
        let reads: Vec<String> = names.iter().map(|(name, ..)| name.clone()).collect();
        let per_row = windowed.is_none() && read.iter().any(|known| known.per_row);
        let needs_rows = per_row && read.iter().all(|known| known.needs_rows);
        if let Statement::Statement(sql) = &statement {
            let by_sample = per_row && !looks_back;
            self.warnings.extend(smells(&file, sql, &reads, windowed.is_some(), by_sample, &self.tables));
            self.tables.made(&file.name, sql);
            if let QueryKind::Table(header) = &file.kind {
                self.tables.keys.insert(file.name.clone(), header.key.clone());
            }
        }
        let slot = (!matches!(file.kind, QueryKind::Rule(_))).then(|| Slot::new(Arc::clone(&schema)));
        let closed = windowed.map(|_| Slot::new(Arc::clone(&schema)));
        if let Some(current) = &slot {
            let only = |inputs: &[window::Input]| read.iter().all(|known| inputs.contains(&known.input));
            let input = match (windowed, &file.kind) {
                (Some(windowed), _) => window::Input::Windowed(windowed.window),
                // Of reference rows alone, a view is one of them.
                (None, QueryKind::View) if only(&[window::Input::Reference]) => window::Input::Reference,
                (None, QueryKind::View) if only(&[window::Input::Reference, window::Input::Moment]) => {
                    window::Input::Moment
                }
                (None, QueryKind::View) => window::Input::View,
                (None, _) => window::Input::Table,
            };
            let time_column = windowed.and_then(|query| query.time_column.clone());
            let needs_rows = needs_rows || input == window::Input::Reference;
            let known = Known { input, per_row, needs_rows, looks_back, time_column };
            self.register(&file.name, &file.path, current, closed.as_ref().unwrap_or(current), known);
        }
        let (given, reads) = names.into_iter().map(|(name, ..)| name).partition(|name| self.is_given(name));
        let planned = Planned {
            schema,
            reads,
            given,
            per_row,
            needs_rows,
            looks_back,
            by_batch,
            windowed: closed.is_some(),
            vitals,
            file,
        };
        Some(Query { planned, body, clear, closed, current: slot })
    }

    /// The rule again, with `@clear_when` for its condition.
    fn clear(&self, file: &QueryFile, rule: &Statement) -> Result<Option<Arc<dyn ExecutionPlan>>, Diagnostic> {
        let QueryKind::Rule(header) = &file.kind else { return Ok(None) };
        let Some(condition) = &header.clear_when else { return Ok(None) };
        let fault =
            |message: String| file.diagnostic(condition.line, condition.column, format!("@clear_when: {message}"));
        let wrong = |error: DataFusionError| fault(diagnose(file, &error).message);
        let state = self.plain.state();
        let dialect = state.config().options().sql_parser.dialect;
        let text = format!("SELECT 1 WHERE {}", condition.value);
        let parsed = state.sql_to_statement(&text, &dialect).map_err(wrong)?;
        let (Statement::Statement(rule), Statement::Statement(parsed)) = (rule, &parsed) else { return Ok(None) };
        if let Some((_, message)) = refused_function(parsed) {
            return Err(fault(message));
        }
        let statement = with_condition(rule, parsed).map_err(fault)?;
        let plan = self.runner.block_on(async {
            let logical = state.statement_to_plan(Statement::Statement(Box::new(statement))).await?;
            state.create_physical_plan(&logical).await
        });
        plan.map(Some).map_err(wrong)
    }

    /// Takes note of what a query's columns are made of; of a rule, returns what decides its condition.
    fn trace(&mut self, file: &QueryFile, statement: &Statement, names: &[(String, usize, usize)]) -> Vec<String> {
        let Statement::Statement(sql) = statement else { return Vec::new() };
        let reads: Vec<String> = names.iter().map(|(name, ..)| name.clone()).collect();
        match file.kind {
            QueryKind::Rule(_) => self.lineage.deciding(sql, &reads),
            QueryKind::Table(_) | QueryKind::View => {
                self.lineage.made(&file.name, sql, &reads);
                Vec::new()
            }
        }
    }

    fn body(&self, file: &QueryFile, statement: Statement) -> datafusion::error::Result<Shaped> {
        self.runner.block_on(async {
            let state = self.windowed.state();
            let logical = state.statement_to_plan(statement.clone()).await?;
            if let Some((windowed, schema)) = Windowed::plan(&logical, self, &state).await? {
                let kind = match file.kind {
                    QueryKind::Table(_) => None,
                    QueryKind::Rule(_) => Some("rule"),
                    QueryKind::View => Some("view"),
                };
                if let Some(kind) = kind {
                    return Err(datafusion::error::DataFusionError::Plan(format!(
                        "a {kind} has no window of its own; put the window into a table query and read that"
                    )));
                }
                return Ok(Shaped { body: Body::Windowed(Box::new(windowed)), schema, by_batch: false });
            }
            let state = self.plain.state();
            let logical = state.statement_to_plan(statement).await?;
            self.refuse_partial_aggregates(&logical)?;
            let plan = state.create_physical_plan(&logical).await?;
            let schema = plan.schema();
            Ok(Shaped { by_batch: self.is_by_batch(&logical)?, body: Body::Plain(plan), schema })
        })
    }

    /// Whether the rows of a query without windows are a matter of which records came together: it aggregates or compares them, or
    /// reads a clock, or what is known at a time.
    fn is_by_batch(&self, plan: &LogicalPlan) -> datafusion::error::Result<bool> {
        use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
        let mut found = false;
        plan.apply_with_subqueries(|node| {
            found |= match node {
                LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Distinct(_)
                | LogicalPlan::Limit(_) => true,
                LogicalPlan::TableScan(scan) => matches!(
                    self.input(scan.table_name.table()),
                    Some(
                        window::Input::History
                            | window::Input::Latest
                            | window::Input::Moment
                            | window::Input::Windowed(_)
                    )
                ),
                _ => false,
            };
            node.apply_expressions(|expression| {
                expression.apply(|part| {
                    if let Expr::ScalarFunction(call) = part {
                        found |= CLOCKS.contains(&call.name());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// An aggregate over a table query without windows would be of this batch's rows, though it reads as if of all.
    fn refuse_partial_aggregates(&self, plan: &LogicalPlan) -> datafusion::error::Result<()> {
        use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
        let mut found = None;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Aggregate(aggregate) = node {
                aggregate.input.apply(|below| {
                    if let LogicalPlan::TableScan(scan) = below
                        && self.input(scan.table_name.table()) == Some(window::Input::Table)
                    {
                        found = Some(scan.table_name.table().to_owned());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match found {
            None => Ok(()),
            Some(table) => Err(datafusion::error::DataFusionError::Plan(format!(
                "it aggregates \"{table}\", which has no windows: only the rows of this batch are seen of it; aggregate \
                 \"{}\", or give \"{table}\" a window",
                self.source.table
            ))),
        }
    }
}

impl Inputs for Planner<'_> {
    fn input(&self, table: &str) -> Option<window::Input> {
        self.known.get(table).map(|known| known.input)
    }

    fn time_column(&self, table: &str) -> Option<String> {
        self.known.get(table)?.time_column.clone()
    }
}

impl Planner<'_> {
    /// Whether the job gives a table; the others are made by queries.
    fn is_given(&self, name: &str) -> bool {
        let source = self.source.table;
        name == source
            || name == history_name(source)
            || name == latest_name(source)
            || name == artefacts_name(source)
            || name == OPEN_ALERTS
            || self.slots.references.contains_key(name)
    }
}

/// For each patient: the newest event time and its age, and of every other column the last value that was not NULL and
/// the age of that, in seconds of the devices' time.
fn latest_sql(source: &Source<'_>) -> String {
    let (table, key, time) = (source.table, source.key, source.event_time);
    let age = |of: &str| format!("date_part('epoch', partition_now(max(_partition))) - date_part('epoch', {of})");
    let columns = source.schema.fields().iter().map(|field| (field.name().as_str(), field.data_type()));
    let columns = columns.filter(|(name, _)| !name.starts_with('_') && *name != key && *name != time);
    let columns = columns.map(|(name, data_type)| {
        let last = |value: &str| {
            format!("last_value({value} ORDER BY \"{time}\", _offset) FILTER (WHERE \"{name}\" IS NOT NULL)")
        };
        // DataFusion keeps the last of truth values group by group, that of numbers for all groups together.
        let last = match data_type {
            DataType::Boolean => format!("CAST({} AS BOOLEAN)", last(&format!("CAST(\"{name}\" AS INT)"))),
            _ => last(&format!("\"{name}\"")),
        };
        let age = age(&format!("max(\"{time}\") FILTER (WHERE \"{name}\" IS NOT NULL)"));
        format!(", {last} AS \"{name}\", {age} AS \"{name}_age_seconds\"")
    });
    let newest = format!("max(\"{time}\")");
    format!(
        "SELECT \"{key}\", {newest} AS \"{time}\", {} AS age_seconds{} FROM \"{table}\" GROUP BY \"{key}\"",
        age(&newest),
        columns.collect::<String>()
    )
}

/// Views are there to be read.
fn unread_views(queries: &[Query]) -> Vec<Warning> {
    let is_read = |name: &String| queries.iter().any(|query| query.planned.reads.contains(name));
    let views = queries.iter().map(|query| &query.planned.file).filter(|file| file.kind == QueryKind::View);
    let unread = views.filter(|file| !is_read(&file.name) && !file.allows.iter().any(|allowed| allowed == "unread"));
    let warning = |file: &QueryFile| {
        let message = format!("no query reads the view \"{}\"", file.name);
        Warning { diagnostic: file.diagnostic(1, 1, message), name: "unread" }
    };
    unread.map(warning).collect()
}

/// Windows that nobody reads need not be shown to anybody.
fn forget_unread(queries: &mut [Query]) {
    let readers = |windowed: bool| -> BTreeSet<String> {
        let of_kind = queries.iter().filter(|query| query.planned.windowed == windowed);
        of_kind.flat_map(|query| query.planned.reads.iter().cloned()).collect()
    };
    let (by_windowed, by_plain) = (readers(true), readers(false));
    for query in queries {
        let name = &query.planned.file.name;
        query.closed = query.closed.take().filter(|_| by_windowed.contains(name));
        query.current = query.current.take().filter(|_| by_plain.contains(name));
    }
}

/// A session in which queries are planned: our functions, and no rewriting that would hide a window's aggregate.
pub(super) fn context(times: &FrozenTimes) -> SessionContext {
    // Two aggregates in place of a DISTINCT one cannot be kept up, and a key that is constant is a key.
    const UNWANTED: [&str; 2] = ["single_distinct_aggregation_to_group_by", "eliminate_group_by_constant"];
    let plain = SessionStateBuilder::new().with_config(session_config()).with_default_features().build();
    let rules = plain.optimizers().iter().filter(|rule| !UNWANTED.contains(&rule.name())).cloned().collect();
    let state: SessionState = SessionStateBuilder::new_from_existing(plain).with_optimizer_rules(rules).build();
    let context = SessionContext::new_with_state(state);
    for name in ["random", "uuid", "current_time", "version"] {
        context.deregister_udf(name);
    }
    let functions = times.functions().into_iter().chain(window::functions()).chain([times.partitions().function()]);
    functions.for_each(|function| context.register_udf(function));
    context
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
        QueryKind::View => Vec::new(),
    }
}

/// What is wrong with a header beside a window, or without one.
fn check_window(file: &QueryFile, body: &Body) -> Vec<Diagnostic> {
    let QueryKind::Table(header) = &file.kind else { return Vec::new() };
    let at = |name: &str, message: String| {
        let (line, column) = file.header_place(name);
        file.diagnostic(line, column, message)
    };
    match body {
        Body::Plain(_) => ["emit", "start"]
            .into_iter()
            .filter(|name| file.header_place(name) != (1, 1))
            .map(|name| at(name, format!("@{name} is for a query with a window; this one has none")))
            .collect(),
        Body::Windowed(windowed) if windowed.has_moving_start() && header.emit == Emit::Change => {
            vec![at(
                "emit",
                "a session's start may move until it closes, so it has no row to change; leave @emit out".to_owned(),
            )]
        }
        Body::Windowed(windowed) => match &windowed.time_column {
            Some(start) if header.key.contains(start) => Vec::new(),
            Some(start) => {
                vec![at("key", format!("@key must name \"{start}\", or a window would overwrite the one before"))]
            }
            None => vec![file.diagnostic(
                1,
                1,
                "the result must have the window's start as a column of its own, and @key must name it".to_owned(),
            )],
        },
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
