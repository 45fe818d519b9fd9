//! Columns of tables, as each database knows them.

use arrow::datatypes::{DataType, TimeUnit};

use super::database::Dialect;
use super::quote::quoted;

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) in_key: bool,
}

/// The kinds of columns that every database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Int,
    /// A whole number that may be above `i64::MAX`.
    UInt,
    /// A double.
    Float,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
    /// A time, to the microsecond, UTC.
    Time,
    /// A day.
    Date,
    /// A truth value, kept as 0 or 1.
    Bool,
}

impl Column {
    pub(crate) fn definition(&self, dialect: Dialect) -> String {
        let null = if self.in_key { " NOT NULL" } else { "" };
        format!("{} {}{null}", quoted(&self.name), self.r#type(dialect))
    }

    /// What stands in a column where a person gives no value.
    pub(crate) fn default(&self, writers: Writers, dialect: Dialect) -> &'static str {
        match (writers, self.kind, dialect) {
            (Writers::People, Kind::Text, _) if self.in_key => " DEFAULT ''",
            (Writers::People, Kind::Time, Dialect::Sqlite) if self.in_key => {
                " DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))"
            }
            (Writers::People, Kind::Time, _) if self.in_key => " DEFAULT (UTC_TIMESTAMP(6))",
            (Writers::Requesters, Kind::Text, Dialect::Sqlite) if self.name == "id" => {
                " DEFAULT (lower(hex(randomblob(16))))"
            }
            (Writers::Requesters, Kind::Text, _) if self.name == "id" => " DEFAULT (uuid())",
            (Writers::Requesters, Kind::Bool, _) if self.name == "is_open" => " DEFAULT 1",
            _ => "",
        }
    }

    pub(crate) fn r#type(&self, dialect: Dialect) -> &'static str {
        match (self.kind, dialect) {
            (Kind::Int, Dialect::Sqlite) => "INTEGER",
            (Kind::Int, _) => "BIGINT",
            (Kind::UInt, Dialect::Sqlite) => "INTEGER",
            (Kind::UInt, _) => "BIGINT UNSIGNED",
            (Kind::Bool, Dialect::Sqlite) => "BOOLEAN",
            (Kind::Bool, _) => "TINYINT(1)",
            (Kind::Float, _) => "DOUBLE",
            (Kind::Text, Dialect::Sqlite) => "TEXT",
            // A key of several columns must fit InnoDB's 3,072 bytes.
            (Kind::Text, _) if self.in_key => "VARCHAR(128)",
            (Kind::Text, _) => "MEDIUMTEXT",
            (Kind::Bytes, Dialect::Sqlite) => "BLOB",
            (Kind::Bytes, _) => "LONGBLOB",
            // SQLite keeps both as text, whatever they are called; the name tells what the text is.
            (Kind::Time, Dialect::Sqlite) => "DATETIME",
            (Kind::Time, _) => "DATETIME(6)",
            (Kind::Date, _) => "DATE",
        }
    }
}

impl Kind {
    /// The kind of column that takes values of an Arrow type, if one does.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Int,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Self::Int,
            DataType::UInt64 => Self::UInt,
            DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Time,
            DataType::Date32 => Self::Date,
            _ => return None,
        })
    }

    /// The kind of a column by the type that the database says it has.
    pub(super) fn stored(stored: &str) -> Self {
        let stored = stored.to_ascii_lowercase();
        let starts = |names: &[&str]| names.iter().any(|name| stored.starts_with(name));
        if starts(&["tinyint(1)", "bool"]) {
            Self::Bool
        } else if starts(&["bigint unsigned", "bigint(20) unsigned"]) {
            Self::UInt
        } else if starts(&["bigint", "int", "smallint", "mediumint", "tinyint"]) {
            Self::Int
        } else if starts(&["double", "float", "real", "decimal"]) {
            Self::Float
        } else if starts(&["datetime", "timestamp"]) {
            Self::Time
        } else if starts(&["date"]) {
            Self::Date
        } else if stored.contains("blob") || stored.contains("binary") {
            Self::Bytes
        } else {
            Self::Text
        }
    }

    /// Whether a column of the type that the database has takes all values of this kind.
    ///
    /// A wider type that somebody chose (a longer VARCHAR, a DECIMAL for a double) is left as it is.
    pub(crate) fn fits(self, stored: &str) -> bool {
        let stored = stored.to_ascii_lowercase();
        let starts = |names: &[&str]| names.iter().any(|name| stored.starts_with(name));
        match self {
            Self::Int | Self::UInt => starts(&["bigint", "int", "decimal", "double"]),
            Self::Bool => starts(&["tinyint", "bool", "int", "bigint", "smallint"]),
            Self::Float => starts(&["double", "float", "real", "decimal"]),
            Self::Text => starts(&["varchar", "text", "mediumtext", "longtext", "char", "tinytext", "enum"]),
            Self::Bytes => starts(&["longblob", "mediumblob", "blob", "varbinary"]),
            Self::Time => starts(&["datetime", "timestamp", "text"]),
            Self::Date => starts(&["date", "text"]),
        }
    }
}

/// Who writes rows of a table, and so what stands where a value is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// The job alone: it leaves nothing out.
    Job,
    /// People: what they leave out of the key is the empty text, or the time now.
    People,
    /// People who ask for something: what they write has an id of its own, and is open.
    Requesters,
}
