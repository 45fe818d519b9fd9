//! The physical parts of a cut plan: what runs over a batch, what merges state rows, what finishes groups.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::super::execute::{QueryFailure, Runner};
use super::super::slot::Slot;
use super::call::Window;
use super::rows::{Layout, SESSION, with_session_field};

/// The batch that changed a group last; the last column of every state row.
const TOUCHED: &str = "__touched";
/// The last event time of a session; the column before.
const LAST: &str = "__last";

/// A plan and the slot that it reads.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) slot: Slot,
    pub(super) plan: Arc<dyn ExecutionPlan>,
}

impl Fed {
    pub(super) fn run(&self, runner: &Runner, batches: &[RecordBatch]) -> Result<RecordBatch, QueryFailure> {
        self.slot.fill_all(batches);
        let rows = runner.run(&self.plan);
        self.slot.clear();
        rows
    }
}

/// From the batch's rows to state rows.
#[derive(Debug)]
pub(super) enum Partial {
    /// The pane is a function of the row.
    Panes(Arc<dyn ExecutionPlan>),
    /// Which session a row is in, only the batch's rows together tell.
    Sessions { rows: Arc<dyn ExecutionPlan>, keys: Vec<Arc<dyn PhysicalExpr>>, gap: i64, aggregate: Fed },
}

/// The physical parts of a cut plan.
pub(super) struct Parts {
    pub(super) partial: Partial,
    pub(super) reduce: Fed,
    pub(super) finish: Fed,
}

impl Parts {
    pub(super) fn of(aggregate: &AggregateExec, window: Window, layout: Layout) -> Result<Self> {
        let groups = aggregate.group_expr().expr().to_vec();
        let mut aggregates = aggregate.aggr_expr().to_vec();
        let mut filters = aggregate.filter_expr().to_vec();
        let input = Arc::clone(aggregate.input());
        let input_schema = input.schema();

        let partial = match (window, layout.window_key) {
            (Window::Session { gap }, Some(key)) => {
                aggregates.push(Arc::new(maximum(LAST, &groups[key].0, &input_schema)?));
                filters.push(None);
                let slot = Slot::new(with_session_field(&input_schema));
                let session: Arc<dyn PhysicalExpr> = Arc::new(Column::new(SESSION, input_schema.fields().len()));
                let mut by_session = groups.clone();
                by_session[key].0 = session;
                let plan = AggregateExec::try_new(
                    AggregateMode::Partial,
                    PhysicalGroupBy::new_single(by_session),
                    aggregates,
                    filters,
                    slot.scan()?,
                    Arc::clone(slot.schema()),
                )?;
                aggregates = plan.aggr_expr().to_vec();
                Partial::Sessions {
                    rows: input,
                    keys: groups.iter().map(|(key, _)| Arc::clone(key)).collect(),
                    gap,
                    aggregate: Fed { slot, plan: Arc::new(plan) },
                }
            }
            _ => {
                let plan = AggregateExec::try_new(
                    AggregateMode::Partial,
                    PhysicalGroupBy::new_single(groups.clone()),
                    aggregates,
                    filters,
                    input,
                    Arc::clone(&input_schema),
                )?;
                aggregates = plan.aggr_expr().to_vec();
                Partial::Panes(Arc::new(plan))
            }
        };

        let touched_only = Arc::new(Schema::new(vec![Field::new(TOUCHED, DataType::Int64, false)]));
        let touched: Arc<dyn PhysicalExpr> = Arc::new(Column::new(TOUCHED, 0));
        aggregates.push(Arc::new(maximum(TOUCHED, &touched, &touched_only)?));

        let group_fields = aggregate.group_expr().group_schema(&input_schema)?;
        let mut keys: Vec<Field> = group_fields.fields().iter().map(|field| field.as_ref().clone()).collect();
        if !layout.has_partition {
            keys.push(Field::new("__partition", DataType::Int32, false));
        }
        let keys: Vec<Field> = keys.into_iter().map(|field| field.with_nullable(true)).collect();
        let reduce = merging(AggregateMode::PartialReduce, &keys, &aggregates)?;
        let finish = merging(AggregateMode::Final, &keys[..layout.keys], &aggregates)?;
        Ok(Self { partial, reduce, finish })
    }
}

fn maximum(name: &str, of: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Result<AggregateFunctionExpr> {
    AggregateExprBuilder::new(max_udaf(), vec![Arc::clone(of)]).schema(Arc::clone(schema)).alias(name).build()
}

/// A plan that merges state rows with the keys `keys`.
fn merging(mode: AggregateMode, keys: &[Field], aggregates: &[Arc<AggregateFunctionExpr>]) -> Result<Fed> {
    let mut fields = keys.to_vec();
    for aggregate in aggregates {
        fields.extend(aggregate.state_fields()?.iter().map(|field| field.as_ref().clone().with_nullable(true)));
    }
    let slot = Slot::new(Arc::new(Schema::new(fields)));
    let columns = keys.iter().enumerate().map(|(index, key)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(key.name(), index));
        (column, key.name().clone())
    });
    let plan = AggregateExec::try_new(
        mode,
        PhysicalGroupBy::new_single(columns.collect()),
        aggregates.to_vec(),
        vec![None; aggregates.len()],
        slot.scan()?,
        Arc::clone(slot.schema()),
    )?;
    Ok(Fed { slot, plan: Arc::new(plan) })
}
