//! What can be kept up batch by batch. Everything below a window's aggregate must give the same rows however records were
//! batched, and everything above it the same whichever windows close together; what cannot is refused here, with the reason,
//! before anything runs.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::{Aggregate, Expr, Join, JoinType, LogicalPlan};

use super::super::functions::is_clock;
use super::call::{Window, call_within};
use super::inputs::{Input, Inputs};

pub(super) fn refused<T>(reason: &str) -> Result<T> {
    Err(DataFusionError::Plan(reason.to_owned()))
}

/// A plan without a windowed aggregate may round times with `tumble`, but nothing else.
pub(super) fn refuse_stray_calls(plan: &LogicalPlan) -> Result<()> {
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

pub(super) fn refuse_grouping_sets(aggregate: &Aggregate) -> Result<()> {
    if aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return refused("GROUPING SETS, ROLLUP and CUBE cannot be kept window by window; write a query for each");
    }
    Ok(())
}

/// Aggregates whose result is a matter of which row came first must say by what.
pub(super) fn refuse_order_of_arrival(aggregate: &Aggregate) -> Result<()> {
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
pub(super) fn refuse_above(plan: &LogicalPlan, aggregate: &Aggregate) -> Result<()> {
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
pub(super) fn check_below(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<String> {
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
            Expr::ScalarFunction(call) if is_clock(call.func.name()) => refused(&format!(
                "{}(): cannot be computed batch by batch: which rows a window has would depend on when they came; \
                     compare with event_time",
                call.func.name()
            )),
            _ => Ok(TreeNodeRecursion::Continue),
        })
    })?;
    Ok(())
}

fn is_stream(table: &str, inputs: &dyn Inputs) -> bool {
    !matches!(inputs.input(table), Some(Input::Reference) | None)
}

/// Whether rows of the batch come out of `plan`.
pub(super) fn has_stream(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<bool> {
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
pub(super) fn tables(plan: &LogicalPlan) -> Result<Vec<String>> {
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
pub(super) fn check_streams_in_expressions(
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
pub(super) fn check_time(input: &LogicalPlan, time: &Expr, stream: &str, inputs: &dyn Inputs) -> Result<()> {
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
pub(super) fn trace(plan: &LogicalPlan, column: &Column) -> Option<(String, String)> {
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
