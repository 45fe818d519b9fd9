//! Which stream, and which lane of it.

use std::sync::Arc;

use wardwatch_model::terms::Partition;

/// One stream, and a lane of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The partition.
    pub partition: Partition,
    /// The device; empty where the job names no device.
    pub device: Arc<str>,
    /// The lane, counted anew for each set of columns.
    pub lane: u32,
}

impl StreamId {
    /// Whether both are of one device, in whatever lanes.
    #[must_use]
    pub fn is_of_device(&self, other: &Self) -> bool {
        self.partition == other.partition && self.device == other.device
    }
}

/// The stream of rules that are judged once per batch.
pub(crate) static MOMENT: std::sync::LazyLock<StreamId> = std::sync::LazyLock::new(|| StreamId {
    partition: wardwatch_model::terms::Partition(-1),
    device: "".into(),
    lane: 0,
});
