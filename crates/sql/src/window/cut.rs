//! Cuts a logical plan at its windowed aggregate: what runs over the batch, and what runs over finished groups.
//!
//! Whether it may be cut, [`mod@super::incremental`] decides.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::logical_plan::builder::LogicalPlanBuilder;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, TableSource, col};

use super::super::functions::reads_clock;
use super::call::{Window, pane_call, window_of};
use super::incremental::{
    check_below, check_streams_in_expressions, check_time, has_stream, refuse_above, refuse_grouping_sets,
    refuse_order_of_arrival, refuse_stray_calls, refused, tables, trace,
};
use super::inputs::{Input, Inputs};

/// The column that a state row has besides the query's own group keys, so that states are kept by partition.
const PARTITION: &str = "_partition";

/// The name of the state's partition key.
const PARTITION_KEY: &str = "__partition";

/// A plan in two parts.
#[derive(Debug)]
pub(super) struct Cut {
    /// The aggregate over the batch, its window call replaced by the call that gives the pane. Where
    /// `has_partition`, the partition is its last group key.
    pub(super) aggregate: LogicalPlan,
    /// How many group keys the query has itself.
    pub(super) keys: usize,
    /// Which of them is the window; [`Window::Whole`] has none.
    pub(super) window_key: Option<usize>,
    /// The window.
    pub(super) window: Window,
    /// Whether the partition is a group key.
    pub(super) has_partition: bool,
    /// The stream below.
    pub(super) stream: String,
    /// The aggregate node as the query wrote it.
    original: Aggregate,
    /// The whole plan as the query wrote it.
    whole: LogicalPlan,
}

/// The plan cut at its window, `None` where it has none.
///
/// Errors: a window that cannot be computed batch by batch, with the reason.
pub(super) fn cut(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<Option<Cut>> {
    let Some((original, window_key)) = windowed_aggregate(plan)? else {
        refuse_stray_calls(plan)?;
        return Ok(None);
    };
    let (window, time) = match window_of(&original.group_expr[window_key]) {
        Some(found) => found?,
        None => return refused("a window that is none was found"),
    };
    let time = time.clone();
    refuse_grouping_sets(&original)?;
    refuse_order_of_arrival(&original)?;
    refuse_above(plan, &original)?;
    let stream = check_below(&original.input, inputs)?;
    check_streams_in_expressions(plan, &original.input, &stream, inputs)?;
    check_time(&original.input, &time, &stream, inputs)?;

    let mut groups = original.group_expr.clone();
    groups[window_key] = pane_call(window, &time).alias("__pane");
    Cut::at(plan, original, groups, Some(window_key), window, stream, inputs).map(Some)
}

/// The plan of an aggregate over all of time, cut at it; for a plan of our own making.
pub(super) fn cut_whole(plan: &LogicalPlan, stream: &str, inputs: &dyn Inputs) -> Result<Cut> {
    let mut found = None;
    plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            found = Some(aggregate.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let Some(original) = found else { return refused("a plan without an aggregate keeps nothing") };
    let groups = original.group_expr.clone();
    Cut::at(plan, original, groups, None, Window::Whole, stream.to_owned(), inputs)
}

impl Cut {
    /// `groups` are the keys of `original` as the state has them.
    fn at(
        plan: &LogicalPlan,
        original: Aggregate,
        mut groups: Vec<Expr>,
        window_key: Option<usize>,
        window: Window,
        stream: String,
        inputs: &dyn Inputs,
    ) -> Result<Self> {
        let (input, partition) = with_partition(&original.input, inputs)?;
        let has_partition = partition.is_some();
        groups.extend(partition.map(|column| Expr::Column(column).alias(PARTITION_KEY)));
        let aggregate = Aggregate::try_new(Arc::new(input), groups, original.aggr_expr.clone())?;
        Ok(Self {
            keys: original.group_expr.len(),
            aggregate: LogicalPlan::Aggregate(aggregate),
            window_key,
            window,
            has_partition,
            stream,
            original,
            whole: plan.clone(),
        })
    }

    /// Whether the rows of windows follow from what is kept alone: no other table and no clock is read.
    pub(super) fn is_pure(&self) -> Result<bool> {
        Ok(tables(&self.whole)?.len() == 1 && !reads_clock(&self.whole)?)
    }

    /// The schema of finished groups: keys, then results, under names of ours.
    pub(super) fn groups_schema(&self) -> SchemaRef {
        let fields = self.original.schema.fields().iter().enumerate();
        let field = |(index, field): (usize, &Arc<Field>)| Field::new(format!("c{index}"), type_of(field), true);
        Arc::new(Schema::new(fields.map(field).collect::<Vec<_>>()))
    }

    /// The part above the aggregate, reading finished groups of [`Cut::groups_schema`] from `groups`.
    pub(super) fn above(&self, groups: Arc<dyn TableSource>) -> Result<LogicalPlan> {
        let names = self.original.schema.iter().enumerate().map(|(index, (qualifier, field))| {
            col(Column::new(Some("__groups"), format!("c{index}"))).alias_qualified(qualifier.cloned(), field.name())
        });
        let names: Vec<Expr> = names.collect();
        let replaced = LogicalPlanBuilder::scan("__groups", groups, None)?.project(names)?.build()?;
        let above = self.whole.clone().transform_up(|node| match &node {
            LogicalPlan::Aggregate(aggregate) if *aggregate == self.original => Ok(Transformed::yes(replaced.clone())),
            _ => Ok(Transformed::no(node)),
        })?;
        Ok(above.data)
    }

    /// The column of `above` that is the window's start, if the query gives it.
    pub(super) fn time_column(&self, above: &LogicalPlan) -> Option<String> {
        let start = format!("c{}", self.window_key?);
        above.schema().iter().find_map(|(qualifier, field)| {
            let (table, column) = trace(above, &Column::new(qualifier.cloned(), field.name()))?;
            (table == "__groups" && column == start).then(|| field.name().clone())
        })
    }
}

fn type_of(field: &Field) -> DataType {
    field.data_type().clone()
}

/// The one aggregate with a window among its group keys, and which key that is.
fn windowed_aggregate(plan: &LogicalPlan) -> Result<Option<(Aggregate, usize)>> {
    let mut found: Vec<(Aggregate, usize)> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            let windows = aggregate.group_expr.iter().enumerate().filter(|(_, key)| window_of(key).is_some());
            found.extend(windows.map(|(index, _)| (aggregate.clone(), index)));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if found.len() > 1 {
        return refused("a query has one window; put the other into a table query of its own and read that");
    }
    Ok(found.pop())
}

/// The plan with the partition of each row among its columns; without one where the stream has none.
fn with_partition(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<(LogicalPlan, Option<Column>)> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let is_source = inputs.input(scan.table_name.table()) == Some(Input::Source);
            let column = is_source.then(|| Column::new(Some(scan.table_name.clone()), PARTITION));
            Ok((plan.clone(), column))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (input, column) = with_partition(&alias.input, inputs)?;
            let renamed = column.map(|column| Column::new(Some(alias.alias.clone()), column.name));
            let plan = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?;
            Ok((plan, renamed))
        }
        LogicalPlan::Projection(projection) => {
            let (input, column) = with_partition(&projection.input, inputs)?;
            let Some(column) = column else { return Ok((plan.clone(), None)) };
            let mut expressions = projection.expr.clone();
            let wanted = Expr::Column(column.clone());
            if !expressions.contains(&wanted) {
                expressions.push(wanted);
            }
            Ok((LogicalPlanBuilder::from(input).project(expressions)?.build()?, Some(column)))
        }
        LogicalPlan::Join(join) => {
            let stream_is_left = has_stream(&join.left, inputs)?;
            let (stream, column) = with_partition(if stream_is_left { &join.left } else { &join.right }, inputs)?;
            let sides = if stream_is_left {
                vec![stream, join.right.as_ref().clone()]
            } else {
                vec![join.left.as_ref().clone(), stream]
            };
            Ok((plan.with_new_exprs(plan.expressions(), sides)?, column))
        }
        _ => {
            let (input, column) = with_partition(plan.inputs()[0], inputs)?;
            Ok((plan.with_new_exprs(plan.expressions(), vec![input])?, column))
        }
    }
}
