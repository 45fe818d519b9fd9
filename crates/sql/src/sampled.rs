//! Of which sample each row of a rule is. Rules that are judged sample by sample read the source with a hidden column that
//! numbers its rows, and it is carried through the rule's plan beside what the rule returns. So two records of one patient
//! and time, as two devices send them, are two samples, and a rule need not return the time to be judged at it.
//!
//! Where a row is of no single row of the source, as in a group or a set of distinct rows, there is nothing to carry.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::error::Result;
use datafusion::logical_expr::logical_plan::builder::unnest_with_options;
use datafusion::logical_expr::logical_plan::{Projection, SubqueryAlias};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The hidden column: which row of the frame that the rule was run on.
const SAMPLE: &str = "_sample";

/// The schema of the source with the hidden column.
pub(super) fn numbered_schema(schema: &SchemaRef) -> SchemaRef {
    let number = Arc::new(Field::new(SAMPLE, DataType::Int64, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([number]).collect::<Vec<_>>()))
}

/// The rows with the hidden column: each one's place.
pub(super) fn numbered(rows: &RecordBatch) -> RecordBatch {
    let count = i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
    let numbers = Arc::new(Int64Array::from_iter_values(0..count));
    let columns = rows.columns().iter().cloned().chain([numbers as _]).collect();
    RecordBatch::try_new(numbered_schema(rows.schema_ref()), columns)
        .unwrap_or_else(|error| panic!("each row has a number: {error}"))
}

/// Whether this is the hidden column.
pub(super) fn is_number(field: &Field) -> bool {
    field.name() == SAMPLE
}

/// `schema` as people see it.
pub(super) fn without_numbers(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().filter(|field| field.name() != SAMPLE).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// A rule's rows as people see them, and of which samples they are, where that was carried.
pub(super) fn split(rows: &RecordBatch) -> (RecordBatch, Option<Int64Array>) {
    let Ok(place) = rows.schema_ref().index_of(SAMPLE) else { return (rows.clone(), None) };
    let numbers = rows.column(place).as_primitive::<Int64Type>().clone();
    let mut columns = rows.columns().to_vec();
    columns.remove(place);
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(without_numbers(rows.schema_ref()), columns, &options)
        .unwrap_or_else(|error| panic!("the columns that are left are as they were: {error}"));
    (rows, Some(numbers))
}

/// The plan with the hidden column among its results; `None` where its rows are not each of one row of the source.
pub(super) fn carry(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let carried = match plan {
        LogicalPlan::TableScan(_) => hidden(plan).map(|_| plan.clone()),
        LogicalPlan::Projection(projection) => match carry(&projection.input)? {
            Some(input) => {
                let mut shown = projection.expr.clone();
                if hidden(plan).is_none() {
                    shown.extend(hidden(&input).map(Expr::Column));
                }
                Some(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(input))?))
            }
            None => None,
        },
        LogicalPlan::SubqueryAlias(alias) => match carry(&alias.input)? {
            Some(input) => {
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Some(LogicalPlan::SubqueryAlias(alias))
            }
            None => None,
        },
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Window(_) => match plan.inputs().as_slice() {
            [input] => match carry(input)? {
                Some(input) => Some(plan.with_new_exprs(plan.expressions(), vec![input])?),
                None => None,
            },
            _ => None,
        },
        // Each of a list's items is of the row that has the list.
        LogicalPlan::Unnest(unnest) => match carry(&unnest.input)? {
            Some(input) => Some(unnest_with_options(input, unnest.exec_columns.clone(), unnest.options.clone())?),
            None => None,
        },
        // A row of two samples is of neither alone.
        LogicalPlan::Join(join) => {
            let (left, right) = (carry(&join.left)?, carry(&join.right)?);
            let inputs = match (left, right) {
                (Some(left), None) => vec![left, join.right.as_ref().clone()],
                (None, Some(right)) => vec![join.left.as_ref().clone(), right],
                _ => return Ok(None),
            };
            Some(plan.with_new_exprs(plan.expressions(), inputs)?)
        }
        _ => None,
    };
    Ok(carried.filter(|plan| hidden(plan).is_some()))
}

/// The hidden column as `plan` gives it.
fn hidden(plan: &LogicalPlan) -> Option<Column> {
    let mut found = plan.schema().iter().filter(|(_, field)| field.name() == SAMPLE);
    let (qualifier, field) = found.next()?;
    found.next().is_none().then(|| Column::new(qualifier.cloned(), field.name()))
}
