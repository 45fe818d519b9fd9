//! From a set of files to queries that can run, or to every fault in them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;

use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, Warning};
use wardwatch_model::terms::Severity;

use super::batching::{is_by_batch, is_row_by_row, refuse_partial_aggregates};
use super::condition::{Lineage, with_condition};
use super::engine::Engine;
use super::execute::{Limits, Runner};
use super::fault::{diagnose, tidy};
use super::file::{QueryFile, QueryKind};
use super::functions::FrozenTimes;
use super::given::{ENCOUNTERS_NOW, OPEN_ALERTS, encounters_now_schema, history_name, latest_name, open_alerts_schema};
use super::latest::{Latest, LatestColumns, latest_sql, shown_schema};
use super::lint::{Tables, lint, unread_views};
use super::names::{Known, Names};
use super::query::{Body, Planned, Query, Slots, StreamSlots};
use super::refuse::refused_function;
use super::result::{check_result, check_window};
use super::sampled::{carry, numbered_schema};
use super::seed::Seed;
use super::slot::Slot;
use super::source::Source;
use super::syntax::{Parsed, check_names, in_order};
use super::window;
use super::window::windowed::Windowed;

/// A query's plan with what follows from it.
struct Shaped {
    body: Body,
    schema: SchemaRef,
    by_batch: bool,
    row_by_row: bool,
}

/// A view whose rows come each from one of the source, as a rule's plan takes it in.
#[derive(Debug)]
struct RowView {
    name: String,
    statement: Statement,
    reads: Vec<String>,
    /// Its rows, which are computed once for all that read them.
    slot: Slot,
}

/// Plans queries one after the other and collects faults.
pub(super) struct Planner<'a> {
    source: &'a Source<'a>,
    names: Names<'a>,
    row_views: Vec<RowView>,
    lineage: Lineage,
    slots: Slots,
    times: FrozenTimes,
    runner: Runner,
    faults: Vec<Diagnostic>,
    /// What is known of tables for lints.
    tables: Tables,
    warnings: Vec<Warning>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(source: &'a Source<'a>, seeds: &[Seed], limits: Limits) -> Self {
        let times = FrozenTimes::default();
        let slots = Slots {
            streams: (0..source.tables().len()).map(|number| StreamSlots::of(source, number)).collect(),
            open_alerts: Slot::new(open_alerts_schema(source.key)),
            encounters_now: Slot::new(encounters_now_schema(source.key)),
            references: BTreeMap::new(),
        };
        let mut planner = Self {
            source,
            names: Names::of(source.tables(), &times),
            row_views: Vec::new(),
            lineage: Lineage::default(),
            slots: slots.clone(),
            times,
            runner: Runner::new(limits),
            faults: Vec::new(),
            tables: Tables::default(),
            warnings: Vec::new(),
        };
        for (number, stream) in slots.streams.iter().enumerate() {
            planner.stream(number, stream);
        }
        let alerts = Known::of_moment(window::Input::Moment);
        planner.register(OPEN_ALERTS, Path::new(""), &slots.open_alerts, &slots.open_alerts, alerts);
        let here = Known { needs_rows: true, changes: true, ..Known::of_moment(window::Input::Moment) };
        planner.register(ENCOUNTERS_NOW, Path::new(""), &slots.encounters_now, &slots.encounters_now, here);
        for seed in seeds {
            planner.reference(seed);
        }
        planner
    }

    /// The tables that a source gives.
    fn stream(&mut self, number: usize, stream: &StreamSlots) {
        let table = self.names.tables()[number];
        let given = self.names.give(number, stream, self.source.event_time);
        self.note(Path::new(""), given);
        let own = &stream.own;
        let columns = own.schema().fields().iter().map(|field| field.name());
        let vitals: Vec<(String, String)> = columns
            .filter(|name| !name.starts_with('_') && *name != self.source.key && *name != self.source.event_time)
            .map(|name| (name.clone(), own.in_batch(name)))
            .collect();
        for table in [table, &history_name(table), &latest_name(table)] {
            self.lineage.given(table, &vitals, &self.source.doubtful);
        }
    }

    /// A table whose rows change only when they are read anew.
    fn reference(&mut self, seed: &Seed) {
        if self.names.is_known(&seed.name) {
            let message = format!("\"{}\" is the name of a table that is given; a seed needs another", seed.name);
            self.faults.push(Diagnostic { file: seed.file.clone(), line: 1, column: 1, message });
            return;
        }
        let slot = Slot::new(seed.schema());
        slot.fill(&seed.rows);
        let known = Known { needs_rows: true, changes: true, ..Known::of_moment(window::Input::Reference) };
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
        self.faults.extend(check_names(&parsed, self.names.all()));
        let is_read = |table: &str| parsed.iter().any(|query| query.names(table));
        let tables = self.names.tables();
        let reads_history = tables.iter().any(|table| is_read(&history_name(table)));
        let reads_alerts = is_read(OPEN_ALERTS);
        let reads_encounters = is_read(ENCOUNTERS_NOW);
        // A rule that begins is judged on them.
        let has_rule = parsed.iter().any(|query| matches!(query.file.kind, QueryKind::Rule(_)));
        let is_wanted = |table: &str| has_rule || is_read(&latest_name(table)) || (tables.len() > 1 && is_read(table));
        let wanted: Vec<usize> = (0..tables.len()).filter(|number| is_wanted(tables[*number])).collect();
        let latest = wanted.into_iter().filter_map(|number| self.latest(number)).collect();
        let mut queries: Vec<Query> = Vec::new();
        match in_order(parsed) {
            Ok(ordered) => {
                for query in ordered {
                    queries.extend(self.plan(query));
                }
            }
            Err(fault) => self.faults.push(fault),
        }
        if !self.faults.is_empty() {
            self.faults.sort();
            return Err(Diagnostics(self.faults));
        }
        let mut warnings = self.warnings;
        warnings.extend(unread_views(queries.iter().map(|query| &query.planned)));
        warnings.sort();
        forget_unread(&mut queries);
        let Self { slots, times, runner, .. } = self;
        Ok(Engine { slots, times, queries, latest, reads_history, reads_alerts, reads_encounters, warnings, runner })
    }

    /// Keeps the last values of each patient of a source.
    fn latest(&mut self, number: usize) -> Option<Latest> {
        let table = self.names.tables()[number];
        let own = self.slots.streams[number].own.clone();
        let name = latest_name(table);
        self.names.turn_to(number);
        let planned = self.runner.block_on(async {
            let state = self.names.context().plain.state();
            let logical = state.create_logical_plan(&latest_sql(self.source, table, &own)).await?;
            Windowed::whole(&logical, table, &self.names, &state).await
        });
        match planned {
            Ok((windowed, schema)) => {
                let slot = Slot::new(shown_schema(&schema, self.source, &own));
                let given = self.names.give_latest(number, &slot);
                self.note(Path::new(""), given);
                let columns = LatestColumns::of(self.source, number, &own);
                Some(Latest { name, source: number, windowed, slot, columns })
            }
            Err(error) => {
                let message = format!("\"{name}\" cannot be kept: {}", tidy(&error.strip_backtrace()));
                self.faults.push(Diagnostic { file: Path::new("").to_owned(), line: 1, column: 1, message });
                None
            }
        }
    }

    fn register(&mut self, name: &str, file: &Path, plain: &Slot, windowed: &Slot, known: Known) {
        let registered = self.names.register(name, plain, windowed, known);
        self.note(file, registered);
    }

    fn note(&mut self, file: &Path, registered: datafusion::error::Result<()>) {
        if let Err(error) = registered {
            let message = tidy(&error.strip_backtrace());
            self.faults.push(Diagnostic { file: file.to_owned(), line: 1, column: 1, message });
        }
    }

    fn parse(&self, file: QueryFile) -> Result<Parsed, Diagnostic> {
        if self.names.is_known(&file.name) {
            let is_source = self.names.source_called(&file.name).is_some();
            let what = if is_source { "the source" } else { "a table that is given" };
            let message = format!("\"{}\" is the name of {what}; a query needs another", file.name);
            return Err(file.diagnostic(1, 1, message));
        }
        Parsed::read(file, &self.names.context().plain.state())
    }

    fn plan(&mut self, query: Parsed) -> Option<Query> {
        let Parsed { file, statement, names, leading } = query;
        match self.names.source_of(&file, &names, &leading) {
            Ok(source) => self.names.turn_to(source),
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        }
        // A fault of a table that it reads would only be told again.
        let read: Vec<Known> = names.iter().map(|(name, ..)| self.names.known(name)).collect::<Option<_>>()?;
        let Shaped { body, schema, by_batch, row_by_row } = match self.body(&file, statement.clone(), &names) {
            Ok(planned) => planned,
            Err(error) => {
                self.faults.push(diagnose(&file, &error));
                return None;
            }
        };
        let reads: Vec<String> = names.iter().map(|(name, ..)| name.clone()).collect();
        let beside: Vec<String> = reads.iter().filter(|name| self.names.is_beside(name)).cloned().collect();
        let own: Vec<String> = reads.iter().filter(|name| !self.names.is_of_other(name)).cloned().collect();
        let vitals = self.trace(&file, &statement, &own);
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
        let per_row = windowed.is_none() && read.iter().any(|known| known.per_row);
        let needs_rows = per_row && read.iter().all(|known| known.needs_rows);
        let by_sample = per_row && !looks_back;
        let looks_up = windowed.is_none()
            && read.iter().any(|known| known.changes)
            && match &file.kind {
                QueryKind::Rule(_) => by_sample,
                QueryKind::View => true,
                QueryKind::Table(_) => row_by_row && by_sample,
            };
        let judged = match &file.kind {
            QueryKind::Rule(header) if by_sample => {
                let is_composed = header.severity != Severity::Technical && self.distinct(&vitals) > 1;
                let stream = &self.slots.streams[self.names.source()];
                Some(if is_composed { Slot::new(numbered_schema(stream.own.schema())) } else { stream.judged.clone() })
            }
            _ => None,
        };
        let clear = match self.clear(&file, &statement, judged.as_ref().map(|slot| (slot, reads.as_slice()))) {
            Ok(clear) => clear,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let judged_plan = match judged.as_ref().map(|slot| self.judged_plan(&statement, slot, &reads)).transpose() {
            Ok(plan) => plan.flatten(),
            Err(error) => {
                self.faults.push(diagnose(&file, &error));
                return None;
            }
        };
        let judged =
            judged.filter(|slot| judged_plan.is_some() && !slot.is(&self.slots.streams[self.names.source()].judged));
        if let Statement::Statement(sql) = &statement {
            self.warnings.extend(lint(&file, sql, &reads, windowed.is_some(), by_sample, &self.tables));
            self.tables.made(&file.name, sql);
            if let QueryKind::Table(header) = &file.kind {
                self.tables.keys.insert(file.name.clone(), header.key.clone());
            }
        }
        let is_allowed = file.allows.iter().any(|allowed| allowed == "by-batch");
        let reads_source = reads.iter().any(|name| name == self.names.table());
        let is_grouped = by_batch && reads_source && schema.index_of(self.source.event_time).is_err();
        if matches!(file.kind, QueryKind::Rule(_)) && by_sample && is_grouped && !is_allowed {
            let message = format!(
                "its rows depend on which records come in one batch; return \"{}\", or read a table with a window",
                self.source.event_time
            );
            let (line, column) = file.header_place("severity");
            self.warnings.push(Warning { diagnostic: file.diagnostic(line, column, message), name: "by-batch" });
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
            let stream = per_row.then_some(self.names.source());
            let (origin, changes) = (Some(self.names.source()), looks_up);
            let known = Known { input, stream, origin, per_row, needs_rows, looks_back, changes, time_column };
            self.register(&file.name, &file.path, current, closed.as_ref().unwrap_or(current), known);
        }
        if let Some(slot) = slot.as_ref().filter(|_| file.kind == QueryKind::View && by_sample) {
            self.row_views.push(RowView { name: file.name.clone(), statement, reads, slot: slot.clone() });
        }
        let (given, reads) = names.into_iter().map(|(name, ..)| name).partition(|name| self.is_given(name));
        let planned = Planned {
            schema,
            source: self.names.source(),
            beside,
            reads,
            given,
            per_row,
            needs_rows,
            looks_back,
            by_batch,
            composed: judged.is_some(),
            windowed: closed.is_some(),
            vitals,
            file,
        };
        let body = judged_plan.map_or(body, Body::Plain);
        Some(Query { planned, body, clear, judged, looks_up, closed, current: slot })
    }

    /// A rule as it is run at each sample of the rows in `slot`; `None` where its rows are not each of one sample.
    fn judged_plan(
        &self,
        statement: &Statement,
        slot: &Slot,
        reads: &[String],
    ) -> datafusion::error::Result<Option<Arc<dyn ExecutionPlan>>> {
        let judged = &self.names.context().judged;
        let register = |name: &str, table: Arc<dyn TableProvider>| {
            judged.deregister_table(name)?;
            judged.register_table(name, table)
        };
        register(self.names.table(), slot.table()?)?;
        self.runner.block_on(async {
            // What a view shows is of the same rows. Beside the source, it is looked up in.
            let is_beside = reads.iter().any(|name| name == self.names.table());
            for view in self.views_of(reads) {
                if is_beside {
                    register(&view.name, view.slot.table()?)?;
                    continue;
                }
                let plan = judged.state().statement_to_plan(view.statement.clone()).await?;
                register(&view.name, Arc::new(ViewTable::new(plan, None)))?;
            }
            let state = judged.state();
            match carry(&state.statement_to_plan(statement.clone()).await?)? {
                Some(carried) => state.create_physical_plan(&carried).await.map(Some),
                None => Ok(None),
            }
        })
    }

    /// The views of rows among `reads`, and those that they read, before those that read them.
    fn views_of(&self, reads: &[String]) -> Vec<&RowView> {
        let mut wanted: BTreeSet<&String> = reads.iter().collect();
        let mut found: Vec<&RowView> = Vec::new();
        for view in self.row_views.iter().rev() {
            if wanted.contains(&view.name) {
                wanted.extend(&view.reads);
                found.push(view);
            }
        }
        found.reverse();
        found
    }

    /// How many vitals `columns` are of: doubtful values are of the same one.
    fn distinct(&self, columns: &[String]) -> usize {
        let is_twin = |name: &&String| {
            self.source.doubtful.iter().any(|(twin, column)| twin == *name && columns.contains(column))
        };
        columns.iter().filter(|name| !is_twin(name)).count()
    }

    /// The rule again, with `@clear_when` for its condition.
    fn clear(
        &self,
        file: &QueryFile,
        rule: &Statement,
        judged: Option<(&Slot, &[String])>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>, Diagnostic> {
        let QueryKind::Rule(header) = &file.kind else { return Ok(None) };
        let Some(condition) = &header.clear_when else { return Ok(None) };
        let fault =
            |message: String| file.diagnostic(condition.line, condition.column, format!("@clear_when: {message}"));
        let wrong = |error: DataFusionError| fault(diagnose(file, &error).message);
        let state = self.names.context().plain.state();
        let dialect = state.config().options().sql_parser.dialect;
        let text = format!("SELECT 1 WHERE {}", condition.value);
        let parsed = state.sql_to_statement(&text, &dialect).map_err(wrong)?;
        let (Statement::Statement(rule), Statement::Statement(parsed)) = (rule, &parsed) else { return Ok(None) };
        if let Some((_, message)) = refused_function(parsed) {
            return Err(fault(message));
        }
        let statement = Statement::Statement(Box::new(with_condition(rule, parsed).map_err(fault)?));
        if let Some((slot, reads)) = judged
            && let Some(plan) = self.judged_plan(&statement, slot, reads).map_err(wrong)?
        {
            return Ok(Some(plan));
        }
        let plan = self.runner.block_on(async {
            let logical = state.statement_to_plan(statement).await?;
            state.create_physical_plan(&logical).await
        });
        plan.map(Some).map_err(wrong)
    }

    /// Takes note of what a query's columns are made of; of a rule, returns what decides its condition.
    fn trace(&mut self, file: &QueryFile, statement: &Statement, reads: &[String]) -> Vec<String> {
        let Statement::Statement(sql) = statement else { return Vec::new() };
        match file.kind {
            QueryKind::Rule(_) => self.lineage.deciding(sql, reads),
            QueryKind::Table(_) | QueryKind::View => {
                self.lineage.made(&file.name, sql, reads);
                Vec::new()
            }
        }
    }

    fn body(
        &self,
        file: &QueryFile,
        statement: Statement,
        names: &[(String, usize, usize)],
    ) -> datafusion::error::Result<Shaped> {
        self.runner.block_on(async {
            let state = self.names.context().windowed.state();
            let logical = state.statement_to_plan(statement.clone()).await?;
            refuse_unnamed_tables(&logical, names)?;
            if let Some((windowed, schema)) = Windowed::plan(&logical, &self.names, &state).await? {
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
                let body = Body::Windowed(Box::new(windowed));
                return Ok(Shaped { body, schema, by_batch: false, row_by_row: false });
            }
            let state = self.names.context().plain.state();
            let logical = state.statement_to_plan(statement).await?;
            refuse_partial_aggregates(&logical, self.names.table(), &self.names)?;
            let plan = state.create_physical_plan(&logical).await?;
            let schema = plan.schema();
            let (by_batch, row_by_row) = (is_by_batch(&logical, &self.names)?, is_row_by_row(&logical, &self.names)?);
            Ok(Shaped { by_batch, row_by_row, body: Body::Plain(plan), schema })
        })
    }
}

impl Engine {
    /// Plans every query of the set.
    ///
    /// # Errors
    /// Every fault of every file: SQL that is none, what is refused, unknown names, cycles, results that no table
    /// or rule can have.
    pub fn plan(
        files: Vec<QueryFile>,
        seeds: &[Seed],
        source: &Source<'_>,
        limits: Limits,
    ) -> Result<Self, Diagnostics> {
        Planner::new(source, seeds, limits).plan_set(files)
    }
}

impl Planner<'_> {
    /// Whether no query makes a table.
    fn is_given(&self, name: &str) -> bool {
        self.names.is_given(name) || self.slots.references.contains_key(name)
    }
}

/// What follows for a query follows from the tables that its text names, so its plan must read those and no others.
fn refuse_unnamed_tables(plan: &LogicalPlan, names: &[(String, usize, usize)]) -> datafusion::error::Result<()> {
    let mut unnamed = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let table = scan.table_name.table();
            unnamed = (!names.iter().any(|(name, ..)| name == table)).then(|| table.to_owned()).or(unnamed.take());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match unnamed {
        None => Ok(()),
        Some(table) => Err(DataFusionError::Plan(format!(
            "it reads \"{table}\", which a name in a WITH hides; give what the WITH makes another name"
        ))),
    }
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
