//! Runs one physical plan within a query's limits of time and memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;

use wardwatch_model::clock::Stopwatch;
use wardwatch_model::stored::StoredError;

use super::fault::tidy;

/// What one query may use on one batch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time.
    pub time: Duration,
    /// Bytes, its result included.
    pub memory: usize,
    /// The most groups that a windowed query may keep.
    pub groups: usize,
}

/// Why a query gave no rows on one batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryFailure(pub String);

/// Runs plans one after the other on the calling thread.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) limits: Limits,
    runtime: tokio::runtime::Runtime,
}

impl Runner {
    pub(super) fn new(limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime =
            runtime.unwrap_or_else(|error| panic!("a runtime on this thread needs nothing but a timer: {error}"));
        Self { limits, runtime }
    }

    /// Waits for what DataFusion only does asynchronously.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// All rows of `plan`, as one batch.
    ///
    /// Errors: a limit that was passed, a value that cannot be computed, a panic.
    pub(super) fn run(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<RecordBatch, QueryFailure> {
        self.run_stored(plan).map_err(|error| QueryFailure(error.reason))
    }

    /// The same for a plan that reads stored tables: tells whether these could not be read.
    pub(super) fn run_stored(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<RecordBatch, StoredError> {
        let run = || self.runtime.block_on(execute(plan, self.limits));
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(at_fault("it panicked".to_owned())))
    }
}

fn at_fault(reason: String) -> StoredError {
    StoredError { reason, is_transient: false }
}

/// One partition: a second core is better spent on fetching and decoding than on splitting small batches.
pub(super) fn session_config() -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.collect_spans", true)
}

async fn execute(plan: &Arc<dyn ExecutionPlan>, limits: Limits) -> Result<RecordBatch, StoredError> {
    let running = Stopwatch::start();
    let too_long = || at_fault(format!("it took longer than its time limit of {} ms", limits.time.as_millis()));
    let too_much = || at_fault(format!("it needs more than its memory limit of {} MiB", limits.memory >> 20));
    let collecting = collect(plan, limits, &running);
    match tokio::time::timeout(limits.time, collecting).await {
        Ok(Ok(rows)) if running.elapsed() <= limits.time => Ok(rows),
        Ok(Ok(_)) | Err(_) => Err(too_long()),
        Ok(Err(DataFusionError::ResourcesExhausted(_))) => Err(too_much()),
        Ok(Err(error)) => match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Err(too_much()),
            DataFusionError::External(error) if let Some(error) = error.downcast_ref::<StoredError>() => {
                Err(error.clone())
            }
            root => Err(at_fault(tidy(&root.strip_backtrace()))),
        },
    }
}

async fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    limits: Limits,
    running: &Stopwatch,
) -> Result<RecordBatch, DataFusionError> {
    let environment = environment(limits.memory)?;
    let reserved = MemoryConsumer::new("result").register(&environment.memory_pool);
    let context = TaskContext::default().with_session_config(session_config()).with_runtime(environment);
    let plan = reset_plan_states(Arc::clone(plan))?;
    let schema = plan.schema();
    let mut stream = execute_stream(plan, Arc::new(context))?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        reserved.try_grow(batch.get_array_memory_size())?;
        batches.push(batch);
        if running.elapsed() > limits.time {
            break; // told by the caller, who looks at the time too
        }
    }
    Ok(concat_batches(&schema, &batches)?)
}

/// Memory up to the limit, and no disk to spill to.
fn environment(memory: usize) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
}
