//! What of a query without windows depends on which records came in one batch.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;

use super::functions::reads_clock;
use super::window::{Input, Inputs};

/// Whether the rows of a query without windows are a matter of which records came together: it aggregates or compares
/// them, or reads a clock, or what is known at a time.
pub(super) fn is_by_batch(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<bool> {
    let mut found = reads_clock(plan)?;
    plan.apply_with_subqueries(|node| {
        found |= match node {
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Distinct(_) | LogicalPlan::Limit(_) => {
                true
            }
            LogicalPlan::TableScan(scan) => matches!(
                inputs.input(scan.table_name.table()),
                Some(Input::History | Input::Latest | Input::Moment | Input::Windowed(_))
            ),
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether each row of a query without windows is of one of the batch's, whichever others come with it, but for what is known at its
/// time: so it may be run on any part of the batch.
pub(super) fn is_row_by_row(plan: &LogicalPlan, inputs: &dyn Inputs) -> Result<bool> {
    let mut is_so = !reads_clock(plan)?;
    plan.apply_with_subqueries(|node| {
        is_so &= match node {
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Distinct(_) | LogicalPlan::Limit(_) => {
                false
            }
            LogicalPlan::TableScan(scan) => matches!(
                inputs.input(scan.table_name.table()),
                Some(Input::Source | Input::View | Input::Reference | Input::Moment)
            ),
            _ => true,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(is_so)
}

/// An aggregate over a table query without windows would be of this batch's rows, though it reads as if of all.
pub(super) fn refuse_partial_aggregates(plan: &LogicalPlan, source: &str, inputs: &dyn Inputs) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            aggregate.input.apply(|below| {
                if let LogicalPlan::TableScan(scan) = below
                    && inputs.input(scan.table_name.table()) == Some(Input::Table)
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
        Some(table) => Err(DataFusionError::Plan(format!(
            "it aggregates \"{table}\", which has no windows: only the rows of this batch are seen of it; aggregate \
             \"{source}\", or give \"{table}\" a window"
        ))),
    }
}
