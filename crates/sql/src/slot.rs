//! A table whose rows are changed between runs of a plan, so that plans are made once.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

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

    /// Whether both are the same slot.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    /// The schema of its rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Replaces the rows.
    pub(super) fn fill(&self, rows: &RecordBatch) {
        self.fill_all(std::slice::from_ref(rows));
    }

    /// Replaces the rows by those of several batches.
    pub(super) fn fill_all(&self, batches: &[RecordBatch]) {
        let slices = batches.iter().flat_map(|rows| {
            let starts = (0..rows.num_rows()).step_by(SLICE);
            starts.map(|start| rows.slice(start, SLICE.min(rows.num_rows() - start)))
        });
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = slices.collect();
    }

    /// The rows.
    pub(super) fn rows(&self) -> Vec<RecordBatch> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes all rows.
    pub(super) fn clear(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The table that plans read.
    pub(super) fn table(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(self.clone())])?))
    }

    /// The leaf of a plan that is put together by hand.
    pub(super) fn scan(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let scan =
            StreamingTableExec::try_new(Arc::clone(&self.schema), vec![Arc::new(self.clone())], None, [], false, None)?;
        Ok(Arc::new(scan))
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = MemoryStream::try_new(self.rows(), Arc::clone(&self.schema), None)
            .unwrap_or_else(|error| panic!("a stream without projection always fits: {error}"));
        Box::pin(stream)
    }
}
