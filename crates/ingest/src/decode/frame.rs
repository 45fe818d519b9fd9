//! Rows of one source as rows of the frame, which has the columns of all sources.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;

use wardwatch_config::{Columns, SourceSpec, marker};

use super::decoded::Decoded;
use super::schema::frame_schema;

/// What the frame has in one of its columns for rows of one source.
#[derive(Debug, Clone, Copy)]
enum Filled {
    /// The source's own column.
    Own(usize),
    /// That the row is of this source.
    IsOf,
    /// Nothing: the column is another source's.
    Empty,
}

/// Puts rows of each source under the columns of all.
#[derive(Debug)]
pub(super) struct Frame {
    schema: SchemaRef,
    sources: Vec<Own>,
}

/// The rows of one source, and what they are in the frame.
#[derive(Debug)]
struct Own {
    schema: SchemaRef,
    filled: Vec<Filled>,
    /// What stands before its columns' names in the frame.
    prefix: String,
}

impl Frame {
    pub(super) fn of(spec: &SourceSpec) -> Self {
        let schema = frame_schema(&spec.frame);
        let own = |table: &str, columns: &Columns, prefix: String| {
            let own = frame_schema(columns);
            let marker = marker(table);
            // Patient, time and where a row was read are called alike; a column of the same name is another one.
            let is_shared = |name: &str| {
                prefix.is_empty()
                    || name.starts_with('_')
                    || name == columns.key().name
                    || name == columns.event_time().name
            };
            let filled = schema.fields().iter().map(|field| {
                let name = field.name().as_str();
                let of_own = if is_shared(name) { Some(name) } else { name.strip_prefix(prefix.as_str()) };
                match of_own.and_then(|name| own.index_of(name).ok()) {
                    Some(place) => Filled::Own(place),
                    None if name == marker => Filled::IsOf,
                    None => Filled::Empty,
                }
            });
            let filled = filled.collect();
            Own { filled, schema: own, prefix }
        };
        let others = spec.others.iter().map(|other| match &other.columns {
            Some(columns) => own(&other.table, columns, other.column("")),
            // It has no rows.
            None => Own { schema: Arc::clone(&schema), filled: Vec::new(), prefix: String::new() },
        });
        let first = own(&spec.table, &spec.columns, String::new());
        let sources = std::iter::once(first).chain(others).collect();
        Self { schema, sources }
    }

    /// The schema of all sources' rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many sources there are.
    pub(super) fn count(&self) -> usize {
        self.sources.len()
    }

    /// The schema of one source's.
    pub(super) fn schema_of(&self, source: usize) -> &SchemaRef {
        &self.sources[source].schema
    }

    /// Rows of the first source under the columns of all.
    pub(super) fn of_first(&self, rows: &RecordBatch) -> RecordBatch {
        self.widen(&self.sources[0], rows)
    }

    /// The same under the columns of all sources.
    pub(super) fn widened(&self, source: usize, mut decoded: Decoded) -> Decoded {
        let own = &self.sources[source];
        decoded.rows = self.widen(own, &decoded.rows);
        for artefact in &mut decoded.artefacts {
            artefact.column.insert_str(0, &own.prefix);
        }
        decoded
    }

    fn widen(&self, own: &Own, rows: &RecordBatch) -> RecordBatch {
        let count = rows.num_rows();
        let columns = self.schema.fields().iter().zip(&own.filled).map(|(field, filled)| match filled {
            Filled::Own(place) => Arc::clone(rows.column(*place)),
            Filled::IsOf => Arc::new(BooleanArray::from(vec![true; count])) as ArrayRef,
            Filled::Empty => new_null_array(field.data_type(), count),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let columns: Vec<ArrayRef> = columns.collect();
        if columns.is_empty() {
            return RecordBatch::new_empty(Arc::clone(&self.schema));
        }
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .unwrap_or_else(|error| panic!("the frame has the columns of each source: {error}"))
    }
}
