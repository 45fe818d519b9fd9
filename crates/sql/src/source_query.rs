//! `source.sql`: one SELECT that makes a batch's rows of those that were decoded, where a declaration cannot say what they are.
//!
//! Each row that it gives is of one row that was decoded, so what becomes of a record depends on the record alone. It does not know
//! how records are decoded, nor what is done with its rows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, unknown};

use super::execute::{Limits, QueryFailure, Runner};
use super::fault::diagnose;
use super::file::{QueryFile, QueryKind};
use super::functions::{FrozenTimes, reads_clock};
use super::sampled::{carry, numbered, numbered_schema, split, without_numbers};
use super::session::context;
use super::slot::Slot;
use super::syntax::Parsed;

/// The file, in the set's folder.
pub const SOURCE_FILE: &str = "source.sql";

/// The table that it reads: the rows as they were decoded.
pub const DECODED: &str = "decoded";

/// The query of `source.sql`, ready to run.
#[derive(Debug)]
pub struct SourceQuery {
    slot: Slot,
    plan: Arc<dyn ExecutionPlan>,
    runner: Runner,
    /// Where in its result each declared column is; `None` of what it does not give.
    places: Vec<Option<usize>>,
    /// Names and types of the declared columns.
    columns: Vec<(String, DataType)>,
    multiplies: bool,
}

/// What rows became.
#[derive(Debug, Clone)]
pub struct Made {
    /// The declared columns of its rows, in the order in which they are declared.
    pub columns: Vec<ArrayRef>,
    /// Of which row each is.
    pub of: Vec<usize>,
    /// The rows of which nothing can be computed, with the reasons.
    pub failed: Vec<(usize, String)>,
}

impl SourceQuery {
    /// Reads the file in the folder of a set; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(dir: &Path) -> Result<Option<QueryFile>, Diagnostics> {
        let path = dir.join(SOURCE_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let message = format!("cannot be read: {error}");
            Diagnostics(vec![Diagnostic { file: path.clone(), line: 1, column: 1, message }])
        })?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(Some(QueryFile { name: "source".to_owned(), path, text, kind: QueryKind::View, allows: Vec::new() }))
    }

    /// Checks the query and makes it ready. `schema` is that of decoded rows; every row needs the columns in `needed`.
    ///
    /// # Errors
    /// Every fault: SQL that is none, another table, rows that are not each of one row, columns that the job does not declare.
    pub fn plan(file: QueryFile, schema: &SchemaRef, needed: &[&str], limits: Limits) -> Result<Self, Diagnostics> {
        let one = |fault: Diagnostic| Diagnostics(vec![fault]);
        let mut context = context(&FrozenTimes::default());
        let slot = Slot::new(numbered_schema(schema));
        let table = slot.table().and_then(|table| context.register_table(DECODED, table));
        table
            .and_then(|_| datafusion_functions_json::register_all(&mut context))
            .map_err(|error| one(diagnose(&file, &error)))?;
        let runner = Runner::new(limits);
        let Parsed { file, statement, names, .. } = Parsed::read(file, &context.state()).map_err(one)?;
        if let Some((name, line, column)) = names.iter().find(|(name, ..)| name != DECODED) {
            let message = format!(
                "{}; source.sql reads the rows as they were decoded",
                unknown("table", name, [DECODED].into_iter())
            );
            return Err(one(file.diagnostic(*line, *column, message)));
        }
        let planned = runner.block_on(async {
            let logical = context.state().statement_to_plan(statement).await?;
            Ok((carry(&logical)?, logical))
        });
        let (carried, logical) = planned.map_err(|error| one(diagnose(&file, &error)))?;
        let shape = shape(&logical).map_err(|error| one(diagnose(&file, &error)))?;
        let fault = |message: &str| one(file.diagnostic(1, 1, message.to_owned()));
        if shape.looks_around {
            return Err(fault(
                "source.sql makes rows of one record each: OVER looks at others, so it belongs into a table or a rule",
            ));
        }
        if shape.reads_clock {
            return Err(fault("source.sql may not read the clock: records that are read again would become others"));
        }
        let Some(carried) = carried else {
            return Err(fault(
                "source.sql makes rows of one record each: it may choose, compute, filter and UNNEST, but not group, join, sort out \
                 doubles (DISTINCT), limit or put SELECTs together (UNION); this belongs into a table or a rule",
            ));
        };
        let result = without_numbers(carried.schema().inner());
        let places = places(&file, &result, schema, needed)?;
        let physical = runner.block_on(async { create(&context, &carried).await });
        let plan = physical.map_err(|error| one(diagnose(&file, &error)))?;
        let columns = schema.fields().iter().take(places.len());
        let columns = columns.map(|field| (field.name().clone(), field.data_type().clone())).collect();
        Ok(Self { slot, plan, runner, places, columns, multiplies: shape.multiplies })
    }

    /// Whether a row may become several.
    #[must_use]
    pub fn multiplies(&self) -> bool {
        self.multiplies
    }

    /// What `rows` become. Where the query cannot be computed for all of them, those are looked for that it cannot be computed for.
    pub fn run(&self, rows: &RecordBatch) -> Made {
        let mut made = Vec::new();
        let mut failed = Vec::new();
        self.run_part(rows, 0, &mut made, &mut failed);
        let of = made.iter().flat_map(|(_, of): &(RecordBatch, Vec<usize>)| of.iter().copied()).collect();
        let parts: Vec<&RecordBatch> = made.iter().map(|(rows, _)| rows).collect();
        let columns = match parts.first() {
            None => self.columns.iter().map(|(_, kind)| new_null_array(kind, 0)).collect(),
            Some(first) => concat_batches(&first.schema(), parts.iter().copied())
                .unwrap_or_else(|error| panic!("parts of one query have one schema: {error}"))
                .columns()
                .to_vec(),
        };
        self.slot.clear();
        Made { columns, of, failed }
    }

    fn run_part(
        &self,
        rows: &RecordBatch,
        from: usize,
        made: &mut Vec<(RecordBatch, Vec<usize>)>,
        failed: &mut Vec<(usize, String)>,
    ) {
        if rows.num_rows() == 0 {
            return;
        }
        match self.attempt(rows) {
            Ok((found, of)) => made.push((found, of.into_iter().map(|row| from + row).collect())),
            Err(QueryFailure(reason)) if rows.num_rows() == 1 => failed.push((from, reason)),
            Err(_) => {
                let half = rows.num_rows() / 2;
                self.run_part(&rows.slice(0, half), from, made, failed);
                self.run_part(&rows.slice(half, rows.num_rows() - half), from + half, made, failed);
            }
        }
    }

    fn attempt(&self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<usize>), QueryFailure> {
        self.slot.fill(&numbered(rows));
        let (found, numbers) = split(&self.runner.run(&self.plan)?);
        let numbers = numbers.ok_or_else(|| QueryFailure("its rows are of no record".to_owned()))?;
        let of: Vec<usize> = numbers.values().iter().map(|row| usize::try_from(*row).unwrap_or(0)).collect();
        // In the order of the rows that they are of, whatever the plan makes of it.
        let mut order: Vec<u64> = (0..of.len() as u64).collect();
        order.sort_by_key(|row| of[*row as usize]);
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let taken = UInt64Array::from(order.clone());
        let column = |(place, (name, kind)): (&Option<usize>, &(String, DataType))| {
            let Some(place) = place else { return Ok(new_null_array(kind, of.len())) };
            let cast = cast_with_options(found.column(*place), kind, &options)
                .and_then(|column| arrow::compute::take(&column, &taken, None));
            cast.map_err(|error| QueryFailure(format!("column \"{name}\": {error}")))
        };
        let columns = self.places.iter().zip(&self.columns).map(column).collect::<Result<Vec<ArrayRef>, _>>()?;
        let named = self.columns.iter().zip(columns).map(|((name, _), column)| (name.as_str(), column, true));
        let rows = RecordBatch::try_from_iter_with_nullable(named).map_err(|error| QueryFailure(error.to_string()))?;
        Ok((rows, order.iter().map(|row| of[*row as usize]).collect()))
    }
}

async fn create(context: &SessionContext, plan: &LogicalPlan) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    context.state().create_physical_plan(plan).await
}

/// Where each declared column is in the result.
fn places(
    file: &QueryFile,
    result: &SchemaRef,
    schema: &SchemaRef,
    needed: &[&str],
) -> Result<Vec<Option<usize>>, Diagnostics> {
    // Behind the declared columns stand those that say where a row was read, and doubtful values, which are told anew.
    let is_declared = |name: &str| !name.starts_with('_') && !name.ends_with("_doubtful");
    let declared: Vec<_> = schema.fields().iter().take_while(|field| is_declared(field.name())).collect();
    let names: BTreeSet<&str> = declared.iter().map(|field| field.name().as_str()).collect();
    let mut faults = Vec::new();
    let mut fault = |message: String| faults.push(file.diagnostic(1, 1, message));
    for field in result.fields() {
        if !names.contains(field.name().as_str()) && !field.name().starts_with('_') {
            fault(format!(
                "{}; declare it in [source.columns]",
                unknown("column of the job", field.name(), names.iter().copied())
            ));
        }
    }
    for needed in needed.iter().filter(|needed| result.index_of(needed).is_err()) {
        fault(format!("it gives no column \"{needed}\", which every row needs"));
    }
    let mut places = Vec::new();
    for field in declared {
        let place = result.index_of(field.name()).ok();
        if let Some(found) = place.map(|place| result.field(place))
            && !can_cast_types(found.data_type(), field.data_type())
        {
            let (is, wanted) = (found.data_type(), field.data_type());
            fault(format!("column \"{}\" is {is} here and {wanted} in [source.columns]; CAST it", field.name()));
        }
        places.push(place);
    }
    if faults.is_empty() { Ok(places) } else { Err(Diagnostics(faults)) }
}

/// What a plan does.
struct Shape {
    multiplies: bool,
    looks_around: bool,
    reads_clock: bool,
}

fn shape(plan: &LogicalPlan) -> datafusion::error::Result<Shape> {
    let mut shape = Shape { multiplies: false, looks_around: false, reads_clock: reads_clock(plan)? };
    plan.apply_with_subqueries(|node| {
        shape.multiplies |= matches!(node, LogicalPlan::Unnest(_));
        shape.looks_around |= matches!(node, LogicalPlan::Window(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{AsArray, Float64Array, StringViewArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Float64Type, Schema, TimeUnit};

    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_secs(10), memory: 64 << 20, groups: 1_000 };

    fn schema() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("patient_id", DataType::Utf8View, false),
            Field::new("event_time", time, false),
            Field::new("systolic", DataType::Float64, true),
            Field::new("diastolic", DataType::Float64, true),
            Field::new("note", DataType::Utf8View, true),
            Field::new("_offset", DataType::Int64, false),
        ]))
    }

    fn rows(notes: &[Option<&str>]) -> RecordBatch {
        let count = notes.len();
        let times = TimestampMicrosecondArray::from_iter_values((0..count as i64).map(|second| second * 1_000_000));
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n("P1", count))),
                Arc::new(times.with_timezone("UTC")),
                Arc::new(Float64Array::from(vec![None; count])),
                Arc::new(Float64Array::from(vec![None; count])),
                Arc::new(notes.iter().copied().collect::<StringViewArray>()),
                Arc::new(arrow::array::Int64Array::from_iter_values(0..count as i64)),
            ],
        )
        .expect("rows")
    }

    fn query(sql: &str) -> Result<SourceQuery, Diagnostics> {
        let file = QueryFile {
            name: "source".to_owned(),
            path: "sql/source.sql".into(),
            text: sql.to_owned(),
            kind: QueryKind::View,
            allows: Vec::new(),
        };
        SourceQuery::plan(file, &schema(), &["patient_id", "event_time"], LIMITS)
    }

    fn systolic(made: &Made) -> Vec<Option<f64>> {
        made.columns[2].as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn values_are_taken_out_of_texts_and_one_that_cannot_be_costs_itself() {
        let query = query(
            "SELECT patient_id, event_time, CAST(regexp_match(note, '(\\d+)/(\\w+)')[1] AS DOUBLE) AS systolic, \
             CAST(regexp_match(note, '(\\d+)/(\\w+)')[2] AS DOUBLE) AS diastolic FROM decoded WHERE note <> 'ping'",
        )
        .expect("a query");
        let made = query.run(&rows(&[Some("118/76"), Some("ping"), Some("120/x"), None, Some("130/80")]));
        assert_eq!((made.of.as_slice(), systolic(&made)), (&[0, 4][..], vec![Some(118.0), Some(130.0)]));
        assert_eq!(made.failed.len(), 1, "{:?}", made.failed);
        assert!(made.failed[0].0 == 2 && made.failed[0].1.contains("\"x\""), "{:?}", made.failed);
        assert!(!query.multiplies());
    }

    #[test]
    fn a_list_becomes_rows_each_of_its_record() {
        let query = query(
            "SELECT patient_id, event_time, CAST(unnest(string_to_array(note, ',')) AS DOUBLE) AS systolic FROM decoded",
        )
        .expect("a query");
        let made = query.run(&rows(&[Some("1,2"), Some("3"), Some("4,5")]));
        assert_eq!(made.of, [0, 0, 1, 2, 2]);
        assert_eq!(systolic(&made), [1.0, 2.0, 3.0, 4.0, 5.0].map(Some));
        assert!(query.multiplies());
        let json =
            self::query("SELECT patient_id, event_time, json_get_float(note, 'bp', 's') AS systolic FROM decoded");
        let made = json.expect("a query").run(&rows(&[Some(r#"{"bp": {"s": 118.5}}"#)]));
        assert_eq!(systolic(&made), [Some(118.5)]);
    }

    #[test]
    fn what_is_not_of_one_record_is_refused() {
        let told = |sql: &str| query(sql).map(|_| ()).expect_err("it is refused").to_string();
        for sql in [
            "SELECT patient_id, max(event_time) AS event_time FROM decoded GROUP BY patient_id",
            "SELECT DISTINCT patient_id, event_time FROM decoded",
            "SELECT patient_id, event_time FROM decoded LIMIT 1",
            "SELECT a.patient_id, a.event_time FROM decoded a JOIN decoded b ON a.patient_id = b.patient_id",
        ] {
            assert!(told(sql).contains("makes rows of one record each"), "{sql}: {}", told(sql));
        }
        let over = "SELECT patient_id, event_time, avg(systolic) OVER (ORDER BY event_time) AS systolic FROM decoded";
        assert!(told(over).contains("OVER looks at others"), "{}", told(over));
        assert!(told("SELECT patient_id, now() AS event_time FROM decoded").contains("may not read the clock"));
        assert!(
            told("SELECT patient_id, event_time FROM vitals").contains("did you mean")
                || told("SELECT patient_id, event_time FROM vitals").contains("known are decoded")
        );
        assert!(told("SELECT patient_id FROM decoded").contains("it gives no column \"event_time\""));
        let unknown = told("SELECT patient_id, event_time, 1 AS sistolic FROM decoded");
        assert!(unknown.contains("did you mean \"systolic\"") && unknown.contains("declare it"), "{unknown}");
        let kind = told("SELECT patient_id, event_time, make_array(1) AS systolic FROM decoded");
        assert!(kind.contains("CAST it"), "{kind}");
    }
}
