//! Tables as SQL of reports reads them: their columns as Arrow, with the conditions that the database judges.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder,
    RecordBatch, RecordBatchOptions, StringViewBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimeUnit};

use wardwatch_model::stored::{Comparison, Condition, StoredError, StoredTables};
use wardwatch_model::terms::{is_private_table, private_table};

use super::Value;
use super::column::Kind;
use super::connection::Store;
use super::error::StoreError;
use super::quote::quoted;
use super::schema::TableSpec;

/// A store whose tables are read; one statement after the other.
#[derive(Debug)]
pub struct StoreTables(Mutex<Store>);

impl StoreTables {
    /// The tables of a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(Mutex::new(store))
    }

    /// What else is to be read of the store.
    ///
    /// # Errors
    /// What `read` says.
    pub fn with<T>(&self, read: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The quoted name of a table that somebody named: in the job file, in SQL, on the command line. Whatever reads such a table
/// writes its name by this, so that nothing leads to the private ones.
pub(super) fn public(table: &str) -> Result<String, StoreError> {
    match is_private_table(table) {
        true => Err(StoreError::Refused(private_table(table))),
        false => Ok(quoted(table)),
    }
}

impl StoredTables for StoreTables {
    fn names(&self) -> Result<Vec<String>, StoredError> {
        let names = self.with(|store| Ok(store.database.tables()?)).map_err(unread)?;
        Ok(names.into_iter().filter(|name| !is_private_table(name)).collect())
    }

    fn is_private(&self, table: &str) -> bool {
        is_private_table(table)
    }

    fn schema(&self, table: &str) -> Result<Option<SchemaRef>, StoredError> {
        // Only what is listed, and by the very name that is listed: no other way of writing a name leads further.
        if !self.names()?.iter().any(|name| name == table) {
            return Ok(None);
        }
        let columns = self.with(|store| Ok(store.database.columns(table)?)).map_err(unread)?;
        let fields = columns.iter().map(|column| field(&column.name, Kind::stored(&column.r#type)));
        Ok((!columns.is_empty()).then(|| Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
    }

    fn scan(&self, table: &str, columns: &[String], conditions: &[Condition]) -> Result<RecordBatch, StoredError> {
        let schema = self.schema(table)?.ok_or_else(|| at_fault(format!("table \"{table}\" is gone")))?;
        self.with(|store| store.scan(table, &schema, columns, conditions)).map_err(unread)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is a map_err target")]
fn unread(error: StoreError) -> StoredError {
    StoredError { reason: error.to_string(), is_transient: error.is_transient() }
}

fn at_fault(reason: String) -> StoredError {
    StoredError { reason, is_transient: false }
}

/// The tables that a store will have, for SQL that is checked without one: they have columns and no rows.
#[derive(Debug)]
pub struct TablesToBe(Vec<TableSpec>);

impl TablesToBe {
    /// Those of a job, and those that every store has, but for those that are not for SQL.
    #[must_use]
    pub fn new(tables: Vec<TableSpec>) -> Self {
        let all = tables.into_iter().chain(super::system::tables().iter().cloned());
        Self(all.filter(|table| !is_private_table(&table.name)).collect())
    }
}

impl StoredTables for TablesToBe {
    fn names(&self) -> Result<Vec<String>, StoredError> {
        Ok(self.0.iter().map(|table| table.name.clone()).collect())
    }

    fn is_private(&self, table: &str) -> bool {
        is_private_table(table)
    }

    fn schema(&self, table: &str) -> Result<Option<SchemaRef>, StoredError> {
        let table = self.0.iter().find(|known| known.name == table);
        Ok(table.map(|table| {
            let fields = table.columns().map(|(name, kind)| field(name, kind));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        }))
    }

    fn scan(&self, table: &str, _columns: &[String], _conditions: &[Condition]) -> Result<RecordBatch, StoredError> {
        Err(at_fault(format!("table \"{table}\" is only planned")))
    }
}

/// The column of a table as SQL sees it.
fn field(name: &str, kind: Kind) -> Field {
    Field::new(name, data_type(kind), true)
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Int => DataType::Int64,
        Kind::UInt => DataType::UInt64,
        Kind::Float => DataType::Float64,
        Kind::Text => DataType::Utf8View,
        Kind::Bytes => DataType::Binary,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Kind::Date => DataType::Date32,
        Kind::Bool => DataType::Boolean,
    }
}

impl Store {
    /// All rows of a table and what it is like; `None` where there is none of this name, or it is not for others.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn whole_table(&mut self, table: &str) -> Result<Option<(TableSpec, RecordBatch)>, StoreError> {
        let stored = self.database.columns(table)?;
        if stored.is_empty() || is_private_table(table) {
            return Ok(None);
        }
        let fields = stored.iter().map(|column| field(&column.name, Kind::stored(&column.r#type)));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let key: Vec<String> = stored.iter().filter(|column| column.in_key).map(|column| column.name.clone()).collect();
        let spec = TableSpec::new(table, &schema, &key).map_err(|error| StoreError::Refused(error.to_string()))?;
        let names: Vec<String> = stored.into_iter().map(|column| column.name).collect();
        Ok(Some((spec, self.scan(table, &schema, &names, &[])?)))
    }

    fn scan(
        &mut self,
        table: &str,
        schema: &SchemaRef,
        columns: &[String],
        conditions: &[Condition],
    ) -> Result<RecordBatch, StoreError> {
        let wanted = schema.fields().iter().filter(|field| columns.contains(field.name()));
        let wanted = Arc::new(Schema::new(wanted.cloned().collect::<Vec<_>>()));
        let names = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "1".to_owned() } else { names };
        let (conditions, values) = sql_of(conditions);
        let sql = format!("SELECT {names} FROM {}{conditions}", public(table)?);

        let fields = columns.iter().map(|name| wanted.field_with_name(name));
        let fields: Vec<Field> = fields.map(|field| field.cloned()).collect::<Result<_, _>>().map_err(broken)?;
        let mut builders: Vec<Builder> = fields.iter().map(|field| Builder::of(field.data_type())).collect();
        let mut rows = 0;
        self.database.for_each(&sql, &values, &mut |row| {
            rows += 1;
            builders.iter_mut().zip(row).for_each(|(builder, value)| builder.push(value));
        })?;
        let arrays = builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(broken)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is a map_err target")]
fn broken(error: arrow::error::ArrowError) -> StoreError {
    StoreError::Refused(error.to_string())
}

/// The WHERE of a statement and its values.
fn sql_of(conditions: &[Condition]) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let parts = conditions.iter().map(|Condition { column, comparison, values: given }| {
        values.extend((0..given.len()).map(|row| Value::of(given, row)));
        let sign = match comparison {
            Comparison::Equal => "=?",
            Comparison::Less => "<?",
            Comparison::LessOrEqual => "<=?",
            Comparison::Greater => ">?",
            Comparison::GreaterOrEqual => ">=?",
            Comparison::AnyOf => {
                let marks = vec!["?"; given.len()].join(",");
                return format!("{} IN ({marks})", quoted(column));
            }
        };
        format!("{}{sign}", quoted(column))
    });
    let parts: Vec<String> = parts.collect();
    let sql = if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) };
    (sql, values)
}

/// A column in the making.
enum Builder {
    Int(Int64Builder),
    UInt(UInt64Builder),
    Float(Float64Builder),
    Text(StringViewBuilder),
    Bytes(BinaryBuilder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Bool(BooleanBuilder),
}

impl Builder {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Int(Int64Builder::new()),
            DataType::UInt64 => Self::UInt(UInt64Builder::new()),
            DataType::Float64 => Self::Float(Float64Builder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Timestamp(..) => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            _ => Self::Text(StringViewBuilder::new()),
        }
    }

    /// A value that is not of the column's kind is NULL.
    fn push(&mut self, value: Value) {
        match self {
            Self::Int(builder) => builder.append_option(value.as_int()),
            Self::UInt(builder) => builder.append_option(match value {
                Value::UInt(value) => Some(value),
                other => other.as_int().and_then(|value| u64::try_from(value).ok()),
            }),
            Self::Float(builder) => builder.append_option(value.as_float()),
            Self::Text(builder) => builder.append_option(value.as_text()),
            Self::Bytes(builder) => builder.append_option(value.as_bytes()),
            Self::Time(builder) => builder.append_option(value.as_time().map(|time| time.timestamp_micros())),
            Self::Date(builder) => builder.append_option(value.as_date().map(Date32Type::from_naive_date)),
            Self::Bool(builder) => builder.append_option(value.as_int().map(|value| value != 0)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match self {
            Self::Int(builder) => builder,
            Self::UInt(builder) => builder,
            Self::Float(builder) => builder,
            Self::Text(builder) => builder,
            Self::Bytes(builder) => builder,
            Self::Time(builder) => builder,
            Self::Date(builder) => builder,
            Self::Bool(builder) => builder,
        };
        builder.finish()
    }
}
