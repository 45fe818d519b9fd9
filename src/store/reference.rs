//! Reference tables: seeded once, read again and again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef};

use super::statement::{OnDuplicate, insert, quoted};
use super::{Store, StoreError, TableSpec, Value};

impl Store {
    /// Creates the table with these rows if the store has none of its name; else adds what columns are missing.
    ///
    /// # Errors
    /// The database does not answer, or has an incompatible table.
    pub fn seed(&mut self, spec: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
        let is_new = self.database.columns(&spec.name)?.is_empty();
        self.migrate(std::slice::from_ref(spec))?;
        if is_new {
            let mut values =
                (0..rows.num_rows()).map(|row| rows.columns().iter().map(|column| Value::of(column, row)).collect());
            let replace = OnDuplicate::Replace(&spec.key);
            insert(self.database.as_mut(), &spec.name, &spec.column_names(), replace, &mut values)?;
        }
        Ok(())
    }

    /// All rows of a reference table, in the order of its key.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub fn reference_rows(&mut self, spec: &TableSpec, schema: &SchemaRef) -> Result<RecordBatch, StoreError> {
        let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT {} FROM {} ORDER BY {}", list(&spec.column_names()), quoted(&spec.name), list(&spec.key));
        let rows = self.database.query(&sql, &[])?;
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            let values = rows.iter().map(|row| row.get(index).unwrap_or(&Value::Null));
            column(field.data_type(), values)
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect())
            .map_err(|error| StoreError::Refused(format!("table \"{}\": {error}", spec.name)))
    }
}

fn column<'a>(data_type: &DataType, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
    match data_type {
        DataType::Float64 => Arc::new(values.map(Value::as_float).collect::<Float64Array>()),
        DataType::Int64 => Arc::new(values.map(Value::as_int).collect::<Int64Array>()),
        DataType::Boolean => Arc::new(values.map(|value| value.as_int().map(|int| int != 0)).collect::<BooleanArray>()),
        DataType::Timestamp(_, _) => {
            let micros = values.map(|value| value.as_time().map(|time| time.timestamp_micros()));
            Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        _ => Arc::new(values.map(Value::as_text).collect::<StringViewArray>()),
    }
}
