//! The functions of time that a query may call: one frozen `now` for the whole batch, and one `event_now`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The times of the batch that is running.
#[derive(Debug, Clone, Default)]
pub(super) struct FrozenTimes {
    now: FrozenTime,
    event_now: FrozenTime,
    partitions: PartitionTimes,
}

/// The devices' time by partition, in microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct PartitionTimes(Arc<RwLock<BTreeMap<i32, i64>>>);

impl PartitionTimes {
    pub(super) fn set(&self, times: impl Iterator<Item = (i32, i64)>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = times.collect();
    }

    /// `partition_now(partition)`, which only our own plans may call.
    pub(super) fn function(&self) -> ScalarUDF {
        ScalarUDF::from(PartitionNow {
            times: self.clone(),
            signature: Signature::exact(vec![DataType::Int32], Volatility::Volatile),
        })
    }
}

#[derive(Debug)]
struct PartitionNow {
    times: PartitionTimes,
    signature: Signature,
}

impl PartialEq for PartitionNow {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.times.0, &other.times.0)
    }
}

impl Eq for PartitionNow {}

impl std::hash::Hash for PartitionNow {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for PartitionNow {
    fn name(&self) -> &str {
        "partition_now"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = self.times.0.read().unwrap_or_else(PoisonError::into_inner);
        let partitions = arguments.args[0].to_array(arguments.number_rows)?;
        let partitions = partitions.as_primitive::<Int32Type>();
        let now: TimestampMicrosecondArray =
            partitions.iter().map(|partition| times.get(&partition?).copied()).collect();
        Ok(ColumnarValue::Array(Arc::new(now.with_timezone("UTC"))))
    }
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A time in microseconds that stands still while a batch is run.
type FrozenTime = Arc<AtomicI64>;

impl FrozenTimes {
    pub(super) fn set(&self, now: DateTime<Utc>, event_now: DateTime<Utc>) {
        self.now.store(now.timestamp_micros(), Ordering::Relaxed);
        self.event_now.store(event_now.timestamp_micros(), Ordering::Relaxed);
    }

    /// The devices' time where `partition` is read, which may be behind others.
    pub(super) fn partitions(&self) -> &PartitionTimes {
        &self.partitions
    }

    /// `now()`, `current_timestamp`; `current_date`, `today()`; `event_now()`.
    pub(super) fn functions(&self) -> [ScalarUDF; 3] {
        [
            ScalarUDF::from(FrozenFunction::new("now", &["current_timestamp"], instant(), &self.now)),
            ScalarUDF::from(FrozenFunction::new("current_date", &["today"], DataType::Date32, &self.now)),
            ScalarUDF::from(FrozenFunction::new("event_now", &[], instant(), &self.event_now)),
        ]
    }
}

#[derive(Debug)]
struct FrozenFunction {
    name: &'static str,
    aliases: Vec<String>,
    returns: DataType,
    signature: Signature,
    time: FrozenTime,
}

impl FrozenFunction {
    fn new(name: &'static str, aliases: &[&str], returns: DataType, time: &FrozenTime) -> Self {
        // Volatile, or the planner would put the time of planning in its place.
        let signature = Signature::nullary(Volatility::Volatile);
        let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        Self { name, aliases, returns, signature, time: Arc::clone(time) }
    }
}

// Two functions of one name read the same clock.
impl PartialEq for FrozenFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.time, &other.time)
    }
}

impl Eq for FrozenFunction {}

impl std::hash::Hash for FrozenFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for FrozenFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let micros = self.time.load(Ordering::Relaxed);
        let instant = ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
        Ok(ColumnarValue::Scalar(instant.cast_to(&self.returns)?))
    }
}
/// Whether a function tells a time that differs from batch to batch.
pub(super) fn is_clock(function: &str) -> bool {
    matches!(function, "now" | "event_now" | "current_date" | "partition_now")
}

/// Whether such a function is called anywhere in `plan`.
pub(super) fn reads_clock(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(call) = part {
                    found |= is_clock(call.name());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}
