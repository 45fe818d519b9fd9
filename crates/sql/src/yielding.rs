//! Operators that make many rows of few let go of the thread between batches, so that a query's time limit is looked at while they run.
//!
//! DataFusion has its sources do so. A join that goes through what it has in memory asks no source for a long time, and what sums up its
//! rows would never let go.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// What they are called.
const MULTIPLYING: [&str; 3] = ["Join", "Unnest", "RecursiveQuery"];

/// Wraps them.
#[derive(Debug)]
pub(super) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn name(&self) -> &str {
        "yielding"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let wrap = |node: Arc<dyn ExecutionPlan>| {
            let multiplies = MULTIPLYING.iter().any(|name| node.name().contains(name));
            Ok(match multiplies {
                true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(node),
            })
        };
        plan.transform_up(wrap).map(|wrapped| wrapped.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}
