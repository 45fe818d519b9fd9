//! State rows as bytes: Arrow's IPC stream format, compressed with zstd.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

pub(super) fn to_bytes(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), rows.schema_ref(), options)?;
    writer.write(rows)?;
    writer.finish()?;
    writer.into_inner()
}

/// The rows, if the bytes hold rows of `schema`.
pub(super) fn from_bytes(bytes: &[u8], schema: &SchemaRef) -> Option<RecordBatch> {
    let reader = StreamReader::try_new(bytes, None).ok()?;
    let fields = |schema: &SchemaRef| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    if fields(&reader.schema()) != fields(schema) {
        return None;
    }
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().ok()?;
    let rows = concat_batches(batches.first()?.schema_ref(), &batches).ok()?;
    RecordBatch::try_new(SchemaRef::clone(schema), rows.columns().to_vec()).ok()
}
