//! The DataFusion session in which queries are planned.

use std::sync::Arc;

use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionContext;

use super::aggregates::aggregates;
use super::execute::session_config;
use super::functions::FrozenTimes;
use super::window;
use super::yielding::Yielding;

/// A session in which queries are planned: our functions, and no rewriting that would hide a window's aggregate.
pub(super) fn context(times: &FrozenTimes) -> SessionContext {
    // Two aggregates in place of a DISTINCT one cannot be kept up, and a key that is constant is a key.
    const UNWANTED: [&str; 2] = ["single_distinct_aggregation_to_group_by", "eliminate_group_by_constant"];
    let plain = SessionStateBuilder::new().with_config(session_config()).with_default_features().build();
    let rules = plain.optimizers().iter().filter(|rule| !UNWANTED.contains(&rule.name())).cloned().collect();
    let state: SessionState = SessionStateBuilder::new_from_existing(plain)
        .with_optimizer_rules(rules)
        .with_physical_optimizer_rule(Arc::new(Yielding))
        .build();
    let context = SessionContext::new_with_state(state);
    for name in ["random", "uuid", "current_time", "version"] {
        context.deregister_udf(name);
    }
    let functions = times.functions().into_iter().chain(window::functions()).chain([times.partitions().function()]);
    functions.for_each(|function| context.register_udf(function));
    aggregates().into_iter().for_each(|aggregate| context.register_udaf(aggregate));
    context
}
