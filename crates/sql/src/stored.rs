//! SQL over tables that stand in a store, for reports: the dialect of queries, with parameters that are bound and never
//! pasted. A scan hands on the conditions that a database can judge and the columns that are wanted; the rest is
//! DataFusion's.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, ParamValues, Result as DataFusionResult, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::SessionContext;

use wardwatch_model::diagnostic::{Diagnostic, unknown};
use wardwatch_model::stored::{Comparison, Condition, StoredError, StoredTables};
use wardwatch_model::terms::private_table;

use super::execute::{Limits, QueryFailure, Runner};
use super::fault::diagnose;
use super::file::{QueryFile, QueryKind};
use super::functions::FrozenTimes;
use super::session::context;
use super::syntax::Parsed;

/// A SELECT as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSql {
    /// The file.
    pub file: PathBuf,
    /// The line of the file on which it begins, counted from 1.
    pub line: usize,
    /// The SELECT.
    pub text: String,
}

/// The values of `$name` in a SELECT: arrays of one row.
pub type Parameters = BTreeMap<String, ArrayRef>;

/// Rows that a SELECT may read beside stored tables, by the names under which it does.
pub type Given = BTreeMap<String, RecordBatch>;

/// Why a SELECT gave no rows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoredFailure {
    /// It is wrong as it is written.
    #[error("{0}")]
    Fault(Diagnostic),
    /// It is right, but did not run to its end.
    #[error("{}:{}: {failure}", .file.display(), .line)]
    Failed {
        /// The file.
        file: PathBuf,
        /// Where the SELECT begins.
        line: usize,
        /// What went wrong.
        failure: QueryFailure,
        /// Whether it may run when it is tried again: the tables could not be read.
        is_transient: bool,
    },
}

impl StoredFailure {
    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { is_transient: true, .. })
    }
}

/// Reads stored tables by SQL.
pub struct StoredReader {
    tables: Arc<dyn StoredTables>,
    times: FrozenTimes,
    context: SessionContext,
    runner: Runner,
}

impl StoredReader {
    /// A reader of these tables; `limits` hold for each SELECT.
    #[must_use]
    pub fn new(tables: Arc<dyn StoredTables>, limits: Limits) -> Self {
        let times = FrozenTimes::default();
        Self { tables, context: context(&times), times, runner: Runner::new(limits) }
    }

    /// Sets what `now()` and `event_now()` are.
    pub fn set_now(&self, now: DateTime<Utc>) {
        self.times.set(now, now);
    }

    /// The columns that a SELECT gives. Of the parameters only the types count.
    ///
    /// # Errors
    /// A fault of the SELECT, with its place in the file.
    pub fn schema(&self, sql: &StoredSql, parameters: &Parameters, given: &Given) -> Result<SchemaRef, StoredFailure> {
        Ok(self.plan(sql, parameters, given)?.schema())
    }

    /// The rows of a SELECT.
    ///
    /// # Errors
    /// A fault of the SELECT, a limit, tables that cannot be read.
    pub fn read(&self, sql: &StoredSql, parameters: &Parameters, given: &Given) -> Result<RecordBatch, StoredFailure> {
        let plan = self.plan(sql, parameters, given)?;
        self.runner.run_stored(&plan).map_err(|failure| failed(sql, failure))
    }

    fn plan(
        &self,
        sql: &StoredSql,
        parameters: &Parameters,
        given: &Given,
    ) -> Result<Arc<dyn ExecutionPlan>, StoredFailure> {
        let context = &self.context;
        let parsed = Parsed::read(padded(sql), &context.state()).map_err(StoredFailure::Fault)?;
        for (name, line, column) in &parsed.names {
            let table = self.table(name, given).map_err(|error| failed(sql, error))?;
            let Some(table) = table else {
                let names = self.tables.names().map_err(|error| failed(sql, error))?;
                let names = given.keys().chain(&names).map(String::as_str);
                let message = match self.tables.is_private(name) {
                    true => private(name, names),
                    false => unknown("table", name, names),
                };
                return Err(StoredFailure::Fault(parsed.file.diagnostic(*line, *column, message)));
            };
            // It may have got other columns since it was read last.
            context
                .deregister_table(name.as_str())
                .and_then(|_| context.register_table(name.as_str(), table))
                .map_err(|error| StoredFailure::Fault(diagnose(&parsed.file, &error)))?;
        }
        let Parsed { file, statement, .. } = parsed;
        let fault = |error: DataFusionError| StoredFailure::Fault(at_least(diagnose(&file, &error), sql.line));
        let state = context.state();
        self.runner.block_on(async {
            let plan = state.statement_to_plan(statement).await.map_err(fault)?;
            let plan = bound(plan, &file, parameters)?;
            state.create_physical_plan(&plan).await.map_err(fault)
        })
    }
}

impl Debug for StoredReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredReader").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl StoredReader {
    fn table(&self, name: &str, given: &Given) -> Result<Option<Arc<dyn TableProvider>>, StoredError> {
        if let Some(rows) = given.get(name) {
            let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]);
            let broken = |error: DataFusionError| StoredError { reason: error.to_string(), is_transient: false };
            return table.map(|table| Some(Arc::new(table) as _)).map_err(broken);
        }
        let schema = self.tables.schema(name)?;
        Ok(schema.map(|schema| {
            let table = StoredTable { name: name.to_owned(), schema, tables: Arc::clone(&self.tables) };
            Arc::new(table) as _
        }))
    }
}

/// Why a table is not read, and what there is.
fn private<'a>(table: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    format!("{}; there are: {}", private_table(table), names.join(", "))
}

/// As a file in which it stands on its line, so that places in it are places in the file.
fn padded(sql: &StoredSql) -> QueryFile {
    let text = "\n".repeat(sql.line.saturating_sub(1)) + &sql.text;
    QueryFile { name: String::new(), path: sql.file.clone(), text, kind: QueryKind::View, allows: Vec::new() }
}

#[allow(clippy::needless_pass_by_value, reason = "it is a map_err target")]
fn failed(sql: &StoredSql, error: StoredError) -> StoredFailure {
    let StoredError { reason, is_transient } = error;
    StoredFailure::Failed { file: sql.file.clone(), line: sql.line, failure: QueryFailure(reason), is_transient }
}

/// A fault whose place is not known is at the SELECT's beginning, not at the file's.
fn at_least(fault: Diagnostic, line: usize) -> Diagnostic {
    Diagnostic { line: fault.line.max(line), ..fault }
}

fn bound(plan: LogicalPlan, file: &QueryFile, parameters: &Parameters) -> Result<LogicalPlan, StoredFailure> {
    let fault = |error: DataFusionError| StoredFailure::Fault(diagnose(file, &error));
    for name in plan.get_parameter_names().map_err(fault)? {
        if !parameters.contains_key(name.trim_start_matches('$')) {
            let message = unknown("parameter", &name, parameters.keys().map(String::as_str));
            let (line, column) = place_of(&file.text, &name);
            return Err(StoredFailure::Fault(file.diagnostic(line, column, message)));
        }
    }
    let values = parameters.iter().map(|(name, value)| {
        let value = ScalarValue::try_from_array(value, 0)?;
        Ok((name.clone(), value.into()))
    });
    let values = values.collect::<DataFusionResult<_>>().map_err(fault)?;
    plan.with_param_values(ParamValues::Map(values)).map_err(fault)
}

fn place_of(text: &str, word: &str) -> (usize, usize) {
    text.find(word).map_or((1, 1), |offset| wardwatch_model::diagnostic::place(text, offset))
}

/// One stored table as plans read it.
#[derive(Debug)]
struct StoredTable {
    name: String,
    schema: SchemaRef,
    tables: Arc<dyn StoredTables>,
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // A database may compare texts otherwise than DataFusion, so what it lets through is looked at again.
        let judged = |filter: &&Expr| match conditions(filter, &self.schema) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(judged).collect())
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let conditions = filters.iter().filter_map(|filter| conditions(filter, &self.schema)).flatten().collect();
        let scan = Scan { table: self.name.clone(), schema, conditions, tables: Arc::clone(&self.tables) };
        let schema = Arc::clone(&scan.schema);
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, [], false, None)?))
    }
}

/// Rows that are read when a plan runs.
#[derive(Debug, Clone)]
struct Scan {
    table: String,
    schema: SchemaRef,
    conditions: Vec<Condition>,
    tables: Arc<dyn StoredTables>,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let scan = self.clone();
        let rows = futures::stream::once(async move {
            let columns: Vec<String> = scan.schema.fields().iter().map(|field| field.name().clone()).collect();
            let rows = scan.tables.scan(&scan.table, &columns, &scan.conditions);
            rows.map_err(|error| DataFusionError::External(Box::new(error)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

/// What a filter asks of columns, where a database can judge it.
fn conditions(filter: &Expr, schema: &SchemaRef) -> Option<Vec<Condition>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut both = conditions(left, schema)?;
            both.extend(conditions(right, schema)?);
            Some(both)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => {
                Some(vec![condition(&column.name, comparison(*op)?, &[value], schema)?])
            }
            (Expr::Literal(value, _), Expr::Column(column)) => {
                Some(vec![condition(&column.name, comparison(op.swap()?)?, &[value], schema)?])
            }
            _ => None,
        },
        Expr::Between(between) if !between.negated => {
            let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                (between.expr.as_ref(), between.low.as_ref(), between.high.as_ref())
            else {
                return None;
            };
            Some(vec![
                condition(&column.name, Comparison::GreaterOrEqual, &[low], schema)?,
                condition(&column.name, Comparison::LessOrEqual, &[high], schema)?,
            ])
        }
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let values = list.list.iter().map(|value| match value {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            });
            let values: Vec<&ScalarValue> = values.collect::<Option<_>>()?;
            Some(vec![condition(&column.name, Comparison::AnyOf, &values, schema)?])
        }
        _ => None,
    }
}

fn condition(column: &str, comparison: Comparison, values: &[&ScalarValue], schema: &SchemaRef) -> Option<Condition> {
    let of = schema.field_with_name(column).ok()?.data_type();
    let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let fits = |value: &ScalarValue| value.data_type() == *of || (is_text(&value.data_type()) && is_text(of));
    if values.is_empty() || values.iter().any(|value| value.is_null() || !fits(value)) {
        return None;
    }
    let values = ScalarValue::iter_to_array(values.iter().map(|value| (*value).clone())).ok()?;
    Some(Condition { column: column.to_owned(), comparison, values })
}

fn comparison(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Eq => Comparison::Equal,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// Tables whose rows cannot be read.
    #[derive(Debug)]
    struct Unread(StoredError);

    impl StoredTables for Unread {
        fn names(&self) -> Result<Vec<String>, StoredError> {
            Ok(vec!["readings".to_owned()])
        }

        fn is_private(&self, _table: &str) -> bool {
            false
        }

        fn schema(&self, _table: &str) -> Result<Option<SchemaRef>, StoredError> {
            Ok(Some(Arc::new(Schema::new(vec![Field::new("spo2", DataType::Float64, true)]))))
        }

        fn scan(&self, _: &str, _: &[String], _: &[Condition]) -> Result<RecordBatch, StoredError> {
            Err(self.0.clone())
        }
    }

    #[test]
    fn a_store_that_goes_away_while_a_select_reads_is_no_fault_of_the_select() {
        let read = |error: StoredError, text: &str| {
            let limits = Limits { time: Duration::from_secs(30), memory: 1 << 26, groups: 1_000 };
            let reader = StoredReader::new(Arc::new(Unread(error)), limits);
            let sql = StoredSql { file: "reports/ward.toml".into(), line: 7, text: text.to_owned() };
            reader.read(&sql, &Parameters::new(), &Given::new()).expect_err("nothing can be read")
        };
        let away = StoredError { reason: "no answer".to_owned(), is_transient: true };
        let corrupt = StoredError { reason: "no number".to_owned(), is_transient: false };
        // Through operators that wrap what their inputs say, too.
        for text in ["SELECT spo2 FROM readings", "SELECT avg(spo2) AS a FROM readings WHERE spo2 > 80 ORDER BY a"] {
            let failure = read(away.clone(), text);
            assert!(failure.is_transient(), "{failure:?}");
            assert_eq!(failure.to_string(), "reports/ward.toml:7: no answer");
            let failure = read(corrupt.clone(), text);
            assert!(!failure.is_transient(), "{failure:?}");
        }
        assert!(!read(away, "SELECT nothing FROM readings").is_transient());
    }
}
