//! A table whose rows are changed between runs of a plan, so that plans are made once.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;

/// Rows are handed to a plan in slices of this many, so that its time limit is looked at often enough.
const SLICE: usize = 16_384;

/// The current rows of one input.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    schema: SchemaRef,
    rows: Arc<Mutex<Vec<RecordBatch>>>,
}

impl Slot {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, rows: Arc::default() }
    }

    /// Replaces the rows.
    pub(super) fn fill(&self, rows: &RecordBatch) {
        let starts = (0..rows.num_rows()).step_by(SLICE);
        let slices = starts.map(|start| rows.slice(start, SLICE.min(rows.num_rows() - start))).collect();
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = slices;
    }

    /// Removes all rows.
    pub(super) fn clear(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The table that plans read.
    pub(super) fn table(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(self.clone())])?))
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = MemoryStream::try_new(rows, Arc::clone(&self.schema), None)
            .unwrap_or_else(|error| panic!("a stream without projection always fits: {error}"));
        Box::pin(stream)
    }
}
