//! The functions of time that a query may call: one frozen `now` for the whole batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The `now` of the batch that is running.
#[derive(Debug, Clone, Default)]
pub(super) struct FrozenNow(Arc<AtomicI64>);

impl FrozenNow {
    pub(super) fn set(&self, now: DateTime<Utc>) {
        self.0.store(now.timestamp_micros(), Ordering::Relaxed);
    }

    /// `now()`, `current_timestamp`; `current_date`, `today()`.
    pub(super) fn functions(&self) -> [ScalarUDF; 2] {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        [
            ScalarUDF::from(FrozenFunction::new("now", "current_timestamp", instant, self)),
            ScalarUDF::from(FrozenFunction::new("current_date", "today", DataType::Date32, self)),
        ]
    }
}

#[derive(Debug)]
struct FrozenFunction {
    name: &'static str,
    aliases: Vec<String>,
    returns: DataType,
    signature: Signature,
    now: FrozenNow,
}

impl FrozenFunction {
    fn new(name: &'static str, alias: &str, returns: DataType, now: &FrozenNow) -> Self {
        // Volatile, or the planner would put the time of planning in its place.
        let signature = Signature::nullary(Volatility::Volatile);
        Self { name, aliases: vec![alias.to_owned()], returns, signature, now: now.clone() }
    }
}

// Two functions of one name read the same clock.
impl PartialEq for FrozenFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.now.0, &other.now.0)
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
        let micros = self.now.0.load(Ordering::Relaxed);
        let instant = ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
        Ok(ColumnarValue::Scalar(instant.cast_to(&self.returns)?))
    }
}
