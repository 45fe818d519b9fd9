//! Cuts a logical plan at its windowed aggregate: what runs over the batch, and what runs over finished groups.
//!
//! Everything below the aggregate must give the same rows however records were batched, and everything above it the
//! same whichever windows close together; what cannot is refused here, with the reason, before anything runs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::logical_plan::builder::LogicalPlanBuilder;
use datafusion::logical_expr::{Aggregate, Expr, Join, JoinType, LogicalPlan, TableSource, col};

use super::call::{Window, call_within, pane_call, window_of};

/// What a name in FROM stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::query) enum Input {
    /// The micro-batch.
    Source,
    /// A table query with windows of this length and slide; sessions have neither.
    Windowed(Window),
    /// A table query without windows.
    Table,
    /// A view of the batch.
    View,
    /// The rows of the last while.
    History,
    /// The last values of each patient.
    Latest,
    /// The alerts that stand, and the batch's values that cannot be true.
    Moment,
    /// Rows that change only when they are read anew.
    Reference,
}

/// What the names of tables stand for, and which column of a stream is its time.
pub(in crate::query) trait Inputs {
    /// What `table` stands for.
    fn input(&self, table: &str) -> Option<Input>;
    /// The column of a stream that windows may be over.
    fn time_column(&self, table: &str) -> Option<String>;
}

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
        let mut is_pure = tables(&self.whole)?.len() == 1;
        self.whole.apply_with_subqueries(|node| {
            node.apply_expressions(|expression| {
                expression.apply(|part| {
                    if let Expr::ScalarFunction(call) = part {
                        is_pure &= !matches!(call.func.name(), "now" | "current_date" | "event_now" | "partition_now");
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(is_pure)
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

fn refused<T>(reason: &str) -> Result<T> {
    Err(DataFusionError::Plan(reason.to_owned()))
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

/// A plan without a windowed aggregate may round times with `tumble`, but nothing else.
fn refuse_stray_calls(plan: &LogicalPlan) -> Result<()> {
    let mut aggregates = false;
    let mut call = None;
    plan.apply_with_subqueries(|node| {
        aggregates |= matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_));
        node.apply_expressions(|expression| {
            call = call.or(call_within(expression));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match call {
        Some(name) if name != "tumble" || aggregates => {
            refused(&format!("{name}(): a window is a key of its own in GROUP BY; write GROUP BY …, {name}(…)"))
        }
        _ => Ok(()),
    }
}

fn refuse_grouping_sets(aggregate: &Aggregate) -> Result<()> {
    if aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return refused("GROUPING SETS, ROLLUP and CUBE cannot be kept window by window; write a query for each");
    }
    Ok(())
}

/// Aggregates whose result is a matter of which row came first must say by what.
fn refuse_order_of_arrival(aggregate: &Aggregate) -> Result<()> {
    const ORDERED: [&str; 6] = ["any_value", "first_value", "last_value", "nth_value", "array_agg", "string_agg"];
    for expression in &aggregate.aggr_expr {
        expression.apply(|part| match part {
            Expr::AggregateFunction(call) if ORDERED.contains(&call.func.name()) && call.params.order_by.is_empty() => {
                refused(&format!(
                    "{}(): say in which order, or the result depends on how records were batched; write \
                     {}(… ORDER BY event_time, _offset)",
                    call.func.name(),
                    call.func.name()
                ))
            }
            _ => Ok(TreeNodeRecursion::Continue),
        })?;
    }
    Ok(())
}

/// Above the aggregate each group is looked at by itself: which windows close together is chance.
fn refuse_above(plan: &LogicalPlan, aggregate: &Aggregate) -> Result<()> {
    let reason = match plan {
        LogicalPlan::Aggregate(found) if found == aggregate => return Ok(()),
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => {
            "an aggregate over windows; put the windows into a table query and aggregate that"
        }
        LogicalPlan::Window(_) => "a function OVER windows; put the windows into a table query and read that",
        LogicalPlan::Limit(_) => "LIMIT over windows, since it is chance which windows close together",
        LogicalPlan::Union(_) => "UNION of windows; write a table query for each",
        LogicalPlan::Join(join) => {
            let holds = |side: &LogicalPlan| {
                side.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(found) if found == aggregate)))
            };
            let is_left = holds(&join.left)?;
            keeps_stream(join, is_left)?;
            return refuse_above(if is_left { &join.left } else { &join.right }, aggregate);
        }
        other => return other.inputs().into_iter().try_for_each(|input| refuse_above(input, aggregate)),
    };
    refused(&format!("cannot be computed batch by batch: {reason}"))
}

/// A join with reference rows may add to a stream's rows or drop some; it may not invent rows that no record made.
fn keeps_stream(join: &Join, stream_is_left: bool) -> Result<()> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    let keeps = match join.join_type {
        Inner => true,
        Left | LeftSemi | LeftAnti => stream_is_left,
        Right | RightSemi | RightAnti => !stream_is_left,
        _ => false,
    };
    if keeps {
        return Ok(());
    }
    refused(&format!(
        "cannot be computed batch by batch: a {} JOIN keeps rows of the reference table that no record of this batch \
         meets; let the stream's side be the one that is kept",
        join.join_type.to_string().to_uppercase()
    ))
}

/// Walks down to the stream and returns its table.
fn check_below(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<String> {
    let cannot = |reason: &str| refused(&format!("cannot be computed batch by batch: {reason}"));
    refuse_now(plan)?;
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = scan.table_name.table();
            match inputs.input(table) {
                Some(Input::Source) => Ok(table.to_owned()),
                Some(Input::Windowed(Window::Session { .. })) => cannot(&format!(
                    "\"{table}\" has sessions, which have no length; a window over them would not know when to close"
                )),
                Some(Input::Windowed(_)) => Ok(table.to_owned()),
                Some(Input::Table) => cannot(&format!(
                    "it aggregates \"{table}\", which has no windows: only the rows of this batch are seen of it; read \
                     the source instead"
                )),
                Some(Input::View) => {
                    cannot(&format!("\"{table}\" is a view of one batch; put what it does into the windowed query"))
                }
                Some(Input::History | Input::Latest) => cannot(&format!(
                    "\"{table}\" shows the same rows again with every batch, so they would be counted again; read the \
                     source instead"
                )),
                Some(Input::Moment) => refused(&of_the_moment(table)),
                Some(Input::Reference) | None => {
                    cannot(&format!("\"{table}\" has no event time; a window is over the source or a windowed table"))
                }
            }
        }
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            check_below(plan.inputs()[0], inputs)
        }
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => check_below(&sort.input, inputs),
        LogicalPlan::Join(join) => {
            let (left, right) = (has_stream(&join.left, inputs)?, has_stream(&join.right, inputs)?);
            if left && right {
                return cannot(
                    "a join of a stream with a stream sees only the rows of one batch; join with a reference table, \
                     or read vitals_history in a rule",
                );
            }
            keeps_stream(join, left)?;
            check_below(if left { &join.left } else { &join.right }, inputs)
        }
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => {
            cannot("an aggregate below the window sees one batch; put the window into the inner one")
        }
        LogicalPlan::Window(_) => cannot("a function OVER rows below the window sees one batch"),
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => cannot("LIMIT below the window sees one batch"),
        LogicalPlan::Union(_) => cannot("UNION below the window; write CASE or FILTER over one stream"),
        other => cannot(&format!("{} below the window", other.display())),
    }
}

fn refuse_now(plan: &LogicalPlan) -> Result<()> {
    plan.apply_expressions(|expression| {
        expression.apply(|part| match part {
            Expr::ScalarFunction(call) if matches!(call.func.name(), "now" | "current_date" | "event_now") => {
                refused(&format!(
                    "{}(): cannot be computed batch by batch: which rows a window has would depend on when they came; \
                     compare with event_time",
                    call.func.name()
                ))
            }
            _ => Ok(TreeNodeRecursion::Continue),
        })
    })?;
    Ok(())
}

fn is_stream(table: &str, inputs: &dyn Inputs) -> bool {
    !matches!(inputs.input(table), Some(Input::Reference) | None)
}

/// Whether rows of the batch come out of `plan`.
fn has_stream(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= is_stream(scan.table_name.table(), inputs);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn of_the_moment(table: &str) -> String {
    format!(
        "cannot be computed batch by batch: \"{table}\" is a matter of the moment, and would not be the same when the rows \
         are read again; join it with the finished windows"
    )
}

/// The tables that `plan` reads, in its expressions too.
fn tables(plan: &LogicalPlan) -> Result<Vec<String>> {
    let mut tables = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.push(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// A subquery in an expression may look something up in a reference table, but not in a stream. What is a matter of the moment
/// may be looked up for finished windows only.
fn check_streams_in_expressions(
    plan: &LogicalPlan,
    below: &LogicalPlan,
    stream: &str,
    inputs: &dyn Inputs,
) -> Result<()> {
    let is_of_moment = |table: &String| inputs.input(table) == Some(Input::Moment);
    if let Some(table) = tables(below)?.iter().find(|table| is_of_moment(table)) {
        return refused(&of_the_moment(table));
    }
    let tables = tables(plan)?;
    if tables.iter().filter(|table| is_stream(table, inputs) && !is_of_moment(table)).count() > 1 {
        return refused(&format!(
            "cannot be computed batch by batch: beside \"{stream}\" it reads another stream, of which it would see one \
             batch; only reference tables can be joined to a window"
        ));
    }
    Ok(())
}

/// The time of a window is the stream's own: the watermark tells nothing of any other.
fn check_time(input: &LogicalPlan, time: &Expr, stream: &str, inputs: &dyn Inputs) -> Result<()> {
    let expected = inputs.time_column(stream).unwrap_or_default();
    let traced = match time {
        Expr::Column(column) => trace(input, column),
        _ => None,
    };
    match traced {
        Some((table, column)) if table == stream && column == expected => Ok(()),
        _ => refused(&format!(
            "a window is over the event time of \"{stream}\", its column \"{expected}\", by which late rows are told; \
             found \"{time}\""
        )),
    }
}

/// The table and column from which `column` comes unchanged.
fn trace(plan: &LogicalPlan, column: &Column) -> Option<(String, String)> {
    match plan {
        LogicalPlan::TableScan(scan) => Some((scan.table_name.table().to_owned(), column.name.clone())),
        LogicalPlan::Projection(projection) => {
            let index = projection.schema.maybe_index_of_column(column)?;
            let mut expression = &projection.expr[index];
            while let Expr::Alias(alias) = expression {
                expression = &alias.expr;
            }
            match expression {
                Expr::Column(inner) => trace(&projection.input, inner),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let index = alias.schema.maybe_index_of_column(column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(index);
            trace(&alias.input, &Column::new(qualifier.cloned(), field.name()))
        }
        LogicalPlan::Join(join) => {
            let side =
                if join.left.schema().maybe_index_of_column(column).is_some() { &join.left } else { &join.right };
            trace(side, column)
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) => trace(plan.inputs()[0], column),
        _ => None,
    }
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
