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
use datafusion::prelude::SessionContext;
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
use super::given::{
    ENCOUNTERS_NOW, OPEN_ALERTS, artefacts_name, encounters_now_schema, history_name, latest_name, open_alerts_schema,
};
use super::latest::{Latest, LatestColumns, latest_sql, shown_schema};
use super::lint::{Tables, lint, unread_views};
use super::query::{Body, Planned, Query, Slots, StreamSlots};
use super::refuse::refused_function;
use super::result::{check_result, check_window};
use super::sampled::{carry, numbered_schema};
use super::seed::Seed;
use super::session::context;
use super::slot::Slot;
use super::source::Source;
use super::syntax::{Parsed, check_names, in_order};
use super::window::windowed::Windowed;
use super::window::{self, Inputs};

/// A query's plan with what follows from it.
struct Shaped {
    body: Body,
    schema: SchemaRef,
    by_batch: bool,
    row_by_row: bool,
}

/// What a name in FROM stands for, and what follows for a query that reads it.
#[derive(Debug, Clone)]
struct Known {
    input: window::Input,
    /// Of which source's batch its rows are, by its place, if they are of one's.
    stream: Option<usize>,
    /// Of which source what it holds was made, whether of its batch or not.
    origin: Option<usize>,
    per_row: bool,
    /// Whether it has rows only together with rows of the batch, or whatever the batch.
    needs_rows: bool,
    /// Whether it holds rows of batches before this one.
    looks_back: bool,
    /// Whether what it holds may change between samples of a batch: who is here, and reference tables.
    changes: bool,
    time_column: Option<String>,
}

impl Known {
    /// What is known at a time.
    fn of_moment(input: window::Input) -> Self {
        let (per_row, needs_rows, looks_back, changes) = (false, false, false, false);
        Self { input, stream: None, origin: None, per_row, needs_rows, looks_back, changes, time_column: None }
    }
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

/// What the names of tables mean to queries of one source: its own table is the batch's rows, those of the others are last values.
struct Contexts {
    /// For queries without windows: they see every row, and windows as they stand.
    plain: SessionContext,
    /// For windowed queries: they see what was on time, and closed windows.
    windowed: SessionContext,
    /// For rules that are judged sample by sample: they see every row by its number.
    judged: SessionContext,
}

impl Contexts {
    fn new(times: &FrozenTimes) -> Self {
        Self { plain: context(times), windowed: context(times), judged: context(times) }
    }

    fn register(&self, name: &str, plain: &Slot, windowed: &Slot) -> datafusion::error::Result<()> {
        for (context, slot) in [(&self.plain, plain), (&self.windowed, windowed), (&self.judged, plain)] {
            context.register_table(name, slot.table()?)?;
        }
        Ok(())
    }
}

/// Plans queries one after the other and collects faults.
pub(super) struct Planner<'a> {
    source: &'a Source<'a>,
    /// The tables of all sources, in their order.
    tables_of_sources: Vec<&'a str>,
    /// For the queries of each source.
    contexts: Vec<Contexts>,
    /// The place of the source of the query that is being planned.
    current: usize,
    row_views: Vec<RowView>,
    known: BTreeMap<String, Known>,
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
        let tables_of_sources = source.tables();
        let slots = Slots {
            streams: (0..tables_of_sources.len()).map(|number| StreamSlots::of(source, number)).collect(),
            open_alerts: Slot::new(open_alerts_schema(source.key)),
            encounters_now: Slot::new(encounters_now_schema(source.key)),
            references: BTreeMap::new(),
        };
        let mut planner = Self {
            source,
            contexts: tables_of_sources.iter().map(|_| Contexts::new(&times)).collect(),
            tables_of_sources: tables_of_sources.clone(),
            current: 0,
            row_views: Vec::new(),
            known: BTreeMap::new(),
            lineage: Lineage::default(),
            slots: slots.clone(),
            times,
            runner: Runner::new(limits),
            faults: Vec::new(),
            tables: Tables::default(),
            warnings: Vec::new(),
        };
        for (number, (table, stream)) in tables_of_sources.into_iter().zip(&slots.streams).enumerate() {
            planner.stream(number, table, stream);
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
    fn stream(&mut self, number: usize, table: &str, stream: &StreamSlots) {
        let known = |input| Known {
            input,
            stream: Some(number),
            origin: Some(number),
            per_row: true,
            needs_rows: true,
            looks_back: input == window::Input::History,
            changes: false,
            time_column: Some(self.source.event_time.to_owned()),
        };
        let (of_batch, of_history) = (known(window::Input::Source), known(window::Input::History));
        let artefacts = Known { time_column: None, ..known(window::Input::Moment) };
        let registered = self.contexts[number].register(table, &stream.all, &stream.on_time);
        self.note(Path::new(""), registered);
        self.known.insert(table.to_owned(), of_batch);
        let history = history_name(table);
        self.register(&history, Path::new(""), &stream.history, &stream.history, of_history);
        self.register(&artefacts_name(table), Path::new(""), &stream.artefacts, &stream.artefacts, artefacts);
        self.known.insert(latest_name(table), Known::of_moment(window::Input::Latest));
        let own = &stream.own;
        let columns = own.schema().fields().iter().map(|field| field.name());
        let vitals: Vec<(String, String)> = columns
            .filter(|name| !name.starts_with('_') && *name != self.source.key && *name != self.source.event_time)
            .map(|name| (name.clone(), own.in_batch(name)))
            .collect();
        for table in [table, history.as_str(), &latest_name(table)] {
            self.lineage.given(table, &vitals, &self.source.doubtful);
        }
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
        self.faults.extend(check_names(&parsed, self.known.keys().map(String::as_str)));
        let is_read = |table: &str| parsed.iter().any(|query| query.names(table));
        let reads_history = self.tables_of_sources.iter().any(|table| is_read(&history_name(table)));
        let reads_alerts = is_read(OPEN_ALERTS);
        let reads_encounters = is_read(ENCOUNTERS_NOW);
        // A rule that begins is judged on them.
        let has_rule = parsed.iter().any(|query| matches!(query.file.kind, QueryKind::Rule(_)));
        let are_several = self.tables_of_sources.len() > 1;
        let wanted: Vec<usize> = (0..self.tables_of_sources.len())
            .filter(|number| {
                let table = self.tables_of_sources[*number];
                has_rule || is_read(&latest_name(table)) || (are_several && is_read(table))
            })
            .collect();
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

    /// Keeps the last values of each patient of a source. Queries of the others see them under the source's own name, too.
    fn latest(&mut self, number: usize) -> Option<Latest> {
        let table = self.tables_of_sources[number];
        let own = self.slots.streams[number].own.clone();
        let name = latest_name(table);
        self.current = number;
        let planned = self.runner.block_on(async {
            let state = self.context().plain.state();
            let logical = state.create_logical_plan(&latest_sql(self.source, table, &own)).await?;
            Windowed::whole(&logical, table, self, &state).await
        });
        match planned {
            Ok((windowed, schema)) => {
                let slot = Slot::new(shown_schema(&schema, self.source, &own));
                self.register(&name, Path::new(""), &slot, &slot, Known::of_moment(window::Input::Latest));
                let others = self.contexts.iter().enumerate().filter(|(other, _)| *other != number);
                let mut others = others.map(|(_, others)| others);
                let registered = others.try_for_each(|others| others.register(table, &slot, &slot));
                self.note(Path::new(""), registered);
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
        let registered = self.contexts.iter().try_for_each(|context| context.register(name, plain, windowed));
        self.note(file, registered);
        self.known.insert(name.to_owned(), known);
    }

    fn note(&mut self, file: &Path, registered: datafusion::error::Result<()>) {
        if let Err(error) = registered {
            let message = tidy(&error.strip_backtrace());
            self.faults.push(Diagnostic { file: file.to_owned(), line: 1, column: 1, message });
        }
    }

    /// What names mean to the query that is being planned.
    fn context(&self) -> &Contexts {
        &self.contexts[self.current]
    }

    /// What a name stands for in the query that is being planned: the other sources' tables are last values.
    fn known(&self, name: &str) -> Option<Known> {
        let known = self.known.get(name)?;
        let is_other = known.stream.is_some_and(|stream| stream != self.current) && self.source_called(name).is_some();
        Some(if is_other { Known::of_moment(window::Input::Latest) } else { known.clone() })
    }

    /// The place of the source with this table.
    fn source_called(&self, table: &str) -> Option<usize> {
        self.tables_of_sources.iter().position(|known| *known == table)
    }

    /// Of which source the rows of a query are that names these tables: of the one whose rows it has through others, else of the one
    /// that it names first.
    ///
    /// Errors: of two, with the names through which, and the place of the second.
    fn source_of(&self, file: &QueryFile, names: &[(String, usize, usize)]) -> Result<usize, Diagnostic> {
        let mut through: Option<(usize, &str)> = None;
        for (name, line, column) in names.iter().filter(|(name, ..)| self.source_called(name).is_none()) {
            let Some(stream) = self.known.get(name).and_then(|known| known.stream) else { continue };
            match through {
                Some((first, other)) if first != stream => {
                    return Err(file.diagnostic(*line, *column, self.of_two_sources((other, first), (name, stream))));
                }
                _ => through = Some((stream, name)),
            }
        }
        let first = || names.iter().find_map(|(name, ..)| self.source_called(name));
        let latest = || names.iter().find_map(|(name, ..)| self.source_called(name.strip_suffix("_latest")?));
        let origin = || names.iter().find_map(|(name, ..)| self.known.get(name)?.origin);
        Ok(through.map(|(stream, _)| stream).or_else(first).or_else(latest).or_else(origin).unwrap_or(0))
    }

    fn of_two_sources(&self, (one, first): (&str, usize), (other, second): (&str, usize)) -> String {
        let (first, second) = (self.tables_of_sources[first], self.tables_of_sources[second]);
        format!(
            "\"{one}\" has rows of the source \"{first}\" and \"{other}\" rows of \"{second}\", which do not come together; a query \
             has rows of one source and sees the others' last values: read \"{second}\" itself"
        )
    }

    fn parse(&self, file: QueryFile) -> Result<Parsed, Diagnostic> {
        if self.known.contains_key(&file.name) {
            let is_source = self.source_called(&file.name).is_some();
            let what = if is_source { "the source" } else { "a table that is given" };
            let message = format!("\"{}\" is the name of {what}; a query needs another", file.name);
            return Err(file.diagnostic(1, 1, message));
        }
        Parsed::read(file, &self.context().plain.state())
    }

    fn plan(&mut self, query: Parsed) -> Option<Query> {
        let Parsed { file, statement, names } = query;
        self.current = match self.source_of(&file, &names) {
            Ok(source) => source,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        // A fault of a table that it reads would only be told again.
        let read: Vec<Known> = names.iter().map(|(name, ..)| self.known(name)).collect::<Option<_>>()?;
        let Shaped { body, schema, by_batch, row_by_row } = match self.body(&file, statement.clone(), &names) {
            Ok(planned) => planned,
            Err(error) => {
                self.faults.push(diagnose(&file, &error));
                return None;
            }
        };
        let reads: Vec<String> = names.iter().map(|(name, ..)| name.clone()).collect();
        let is_beside = |name: &String| self.source_called(name).is_some_and(|source| source != self.current);
        let beside: Vec<String> = reads.iter().filter(|name| is_beside(name)).cloned().collect();
        let own: Vec<String> = reads.iter().filter(|name| !self.is_of_other(name)).cloned().collect();
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
                let stream = &self.slots.streams[self.current];
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
        let judged = judged.filter(|slot| judged_plan.is_some() && !slot.is(&self.slots.streams[self.current].judged));
        if let Statement::Statement(sql) = &statement {
            self.warnings.extend(lint(&file, sql, &reads, windowed.is_some(), by_sample, &self.tables));
            self.tables.made(&file.name, sql);
            if let QueryKind::Table(header) = &file.kind {
                self.tables.keys.insert(file.name.clone(), header.key.clone());
            }
        }
        let is_allowed = file.allows.iter().any(|allowed| allowed == "by-batch");
        let reads_source = reads.iter().any(|name| name == self.table());
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
            let stream = per_row.then_some(self.current);
            let (origin, changes) = (Some(self.current), looks_up);
            let known = Known { input, stream, origin, per_row, needs_rows, looks_back, changes, time_column };
            self.register(&file.name, &file.path, current, closed.as_ref().unwrap_or(current), known);
        }
        if let Some(slot) = slot.as_ref().filter(|_| file.kind == QueryKind::View && by_sample) {
            self.row_views.push(RowView { name: file.name.clone(), statement, reads, slot: slot.clone() });
        }
        let (given, reads) = names.into_iter().map(|(name, ..)| name).partition(|name| self.is_given(name));
        let planned = Planned {
            schema,
            source: self.current,
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
        let judged = &self.context().judged;
        let register = |name: &str, table: Arc<dyn TableProvider>| {
            judged.deregister_table(name)?;
            judged.register_table(name, table)
        };
        register(self.table(), slot.table()?)?;
        self.runner.block_on(async {
            // What a view shows is of the same rows. Beside the source, it is looked up in.
            let is_beside = reads.iter().any(|name| name == self.table());
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
        let state = self.context().plain.state();
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
            let state = self.context().windowed.state();
            let logical = state.statement_to_plan(statement.clone()).await?;
            refuse_unnamed_tables(&logical, names)?;
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
                let body = Body::Windowed(Box::new(windowed));
                return Ok(Shaped { body, schema, by_batch: false, row_by_row: false });
            }
            let state = self.context().plain.state();
            let logical = state.statement_to_plan(statement).await?;
            refuse_partial_aggregates(&logical, self.table(), self)?;
            let plan = state.create_physical_plan(&logical).await?;
            let schema = plan.schema();
            let (by_batch, row_by_row) = (is_by_batch(&logical, self)?, is_row_by_row(&logical, self)?);
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

impl Inputs for Planner<'_> {
    fn input(&self, table: &str) -> Option<window::Input> {
        self.known(table).map(|known| known.input)
    }

    fn time_column(&self, table: &str) -> Option<String> {
        self.known(table)?.time_column
    }
}

impl<'a> Planner<'a> {
    /// Whether the job gives a table; the others are made by queries.
    fn is_given(&self, name: &str) -> bool {
        let is_of = |source: &&str| {
            name == *source
                || name == history_name(source)
                || name == latest_name(source)
                || name == artefacts_name(source)
        };
        self.tables_of_sources.iter().any(is_of)
            || name == OPEN_ALERTS
            || name == ENCOUNTERS_NOW
            || self.slots.references.contains_key(name)
    }

    /// The table of the source whose query is being planned.
    fn table(&self) -> &'a str {
        self.tables_of_sources[self.current]
    }

    /// Whether a table is of last values of another source than that of the query that is being planned.
    fn is_of_other(&self, name: &str) -> bool {
        let mut others = self.tables_of_sources.iter().filter(|table| **table != self.table());
        others.any(|table| name == *table || name == latest_name(table))
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
