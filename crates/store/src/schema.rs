//! The tables of the store: what a query's result asks for, how a database writes it, what may change.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use super::database::{Dialect, StoredColumn};
use super::statement::quoted;
use super::{Store, StoreError};

/// The table that a query's rows go to.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name: the query's.
    pub name: String,
    /// The columns of its primary key.
    pub key: Vec<String>,
    columns: Vec<Column>,
    /// The columns of an index beside the key; empty where there is none.
    index: Vec<String>,
    /// Who writes rows of it.
    writers: Writers,
}

/// Who writes rows of a table, and so what stands where a value is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// The job alone: it leaves nothing out.
    Job,
    /// People: what they leave out of the key is the empty text, or the time now.
    People,
    /// People who ask for something: what they write has an id of its own, and is open.
    Requesters,
}

/// A result that no table can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "result column \"{column}\" has the type {found}, which no table can hold; CAST it to a number, text, time or date"
)]
pub struct TableSpecError {
    /// The column.
    pub column: String,
    found: String,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
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

impl TableSpec {
    /// The table for rows of `schema` with the primary key `key`.
    ///
    /// # Errors
    /// A column of a type that no table can hold, such as a list.
    pub fn new(name: &str, schema: &SchemaRef, key: &[String]) -> Result<Self, TableSpecError> {
        let schema = Arc::clone(schema);
        let columns = schema.fields().iter().map(|field| {
            let kind = Kind::of(field.data_type())
                .ok_or_else(|| TableSpecError { column: field.name().clone(), found: field.data_type().to_string() })?;
            Ok(Column { name: field.name().clone(), kind, in_key: key.contains(field.name()) })
        });
        Ok(Self {
            name: name.to_owned(),
            key: key.to_vec(),
            columns: columns.collect::<Result<_, _>>()?,
            index: Vec::new(),
            writers: Writers::Job,
        })
    }

    pub(super) fn system(name: &str, key: &[&str], columns: &[(&str, Kind)]) -> Self {
        let columns = columns.iter().map(|(column, kind)| Column {
            name: (*column).to_owned(),
            kind: *kind,
            in_key: key.contains(column),
        });
        Self {
            name: name.to_owned(),
            key: key.iter().map(|&name| name.to_owned()).collect(),
            columns: columns.collect(),
            index: Vec::new(),
            writers: Writers::Job,
        }
    }

    /// The same under another name.
    pub(super) fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The same as a table that people write rows of.
    #[must_use]
    pub fn for_people(mut self) -> Self {
        self.writers = Writers::People;
        self
    }

    /// The same as a table of requests, which the job answers: those that people write have an id of their own and are open.
    pub(super) fn for_requests(mut self) -> Self {
        self.writers = Writers::Requesters;
        self
    }

    /// The same with an index on these columns, which are in the key or no texts.
    pub(super) fn indexed_by(mut self, columns: &[&str]) -> Self {
        self.index = columns.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Its columns, in their order.
    pub fn columns(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.kind))
    }

    pub(super) fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    pub(super) fn create(&self, dialect: Dialect) -> Vec<String> {
        let definition = |column: &Column| column.definition(dialect) + column.default(self.writers, dialect);
        let columns: Vec<String> = self.columns.iter().map(definition).collect();
        let key: Vec<String> = self.key.iter().map(|name| quoted(name)).collect();
        let suffix = match dialect {
            Dialect::Sqlite => " WITHOUT ROWID",
            // Binary, without padding: "a" and "A" and "a " are three patients.
            Dialect::MySql => " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin",
            Dialect::MariaDb => " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin",
        };
        let (inside, beside) = match dialect {
            _ if self.index.is_empty() => (String::new(), None),
            Dialect::Sqlite => (String::new(), Some(self.create_index())),
            _ => (format!(", KEY {} ({})", quoted(&self.index_name()), self.indexed()), None),
        };
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}){inside}){suffix}",
            quoted(&self.name),
            columns.join(", "),
            key.join(", ")
        );
        std::iter::once(table).chain(beside).collect()
    }

    fn index_name(&self) -> String {
        format!("{}_index", self.name)
    }

    fn indexed(&self) -> String {
        self.index.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    fn create_index(&self) -> String {
        format!("CREATE INDEX {} ON {} ({})", quoted(&self.index_name()), quoted(&self.name), self.indexed())
    }

    /// What must be done to the table that is there so that it takes the rows: columns to add, or why it cannot be.
    fn changes(&self, stored: &[StoredColumn], dialect: Dialect) -> Result<Vec<String>, String> {
        let table = quoted(&self.name);
        let mut statements = Vec::new();
        for column in &self.columns {
            match stored.iter().find(|stored| stored.name == column.name) {
                None if column.in_key => {
                    return Err(format!(
                        "its primary key lacks the column \"{}\"; {}",
                        column.name,
                        self.rename_hint()
                    ));
                }
                None => statements.push(format!("ALTER TABLE {table} ADD COLUMN {}", column.definition(dialect))),
                Some(stored) if stored.in_key != column.in_key => {
                    return Err(format!(
                        "its primary key differs in the column \"{}\"; {}",
                        column.name,
                        self.rename_hint()
                    ));
                }
                Some(stored) if !column.kind.fits(&stored.r#type) => {
                    return Err(format!(
                        "column \"{}\" is {}, but the query gives {}; to change it: {}",
                        column.name,
                        stored.r#type,
                        column.r#type(dialect),
                        match dialect {
                            Dialect::Sqlite => self.rename_hint(),
                            _ => format!("ALTER TABLE {table} MODIFY COLUMN {}", column.definition(dialect)),
                        }
                    ));
                }
                Some(_) => {}
            }
        }
        let extra_key = stored.iter().find(|stored| stored.in_key && !self.key.contains(&stored.name));
        match extra_key {
            Some(extra) => Err(format!("its primary key has \"{}\" too; {}", extra.name, self.rename_hint())),
            None => Ok(statements),
        }
    }

    fn rename_hint(&self) -> String {
        format!(
            "to start it anew: ALTER TABLE {} RENAME TO {}",
            quoted(&self.name),
            quoted(&format!("{}_old", self.name))
        )
    }
}

impl Column {
    fn definition(&self, dialect: Dialect) -> String {
        let null = if self.in_key { " NOT NULL" } else { "" };
        format!("{} {}{null}", quoted(&self.name), self.r#type(dialect))
    }

    /// What stands in a column where a person gives no value.
    fn default(&self, writers: Writers, dialect: Dialect) -> &'static str {
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

    fn r#type(&self, dialect: Dialect) -> &'static str {
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
    fn fits(self, stored: &str) -> bool {
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

impl Store {
    /// Creates what tables are missing, adds what columns are missing, and refuses what does not fit.
    ///
    /// Must not run inside a transaction: MySQL commits at each DDL statement.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the statement that would fix an incompatible table; [`StoreError::Blocked`] where others have
    /// one in use that must be changed: it is not waited for.
    pub fn migrate(&mut self, tables: &[TableSpec]) -> Result<(), StoreError> {
        for table in super::system::tables().iter().chain(tables) {
            self.fit(table)?;
        }
        Ok(())
    }

    /// Creates the table where it is missing, adds what columns and index are missing, or refuses it.
    pub(super) fn fit(&mut self, table: &TableSpec) -> Result<(), StoreError> {
        let dialect = self.database.dialect();
        let stored = self.database.columns(&table.name)?;
        if stored.is_empty() {
            return self.create(table);
        }
        for statement in table.changes(&stored, dialect).map_err(|reason| incompatible(table, &reason))? {
            self.database.define(&table.name, &statement)?;
            tracing::info!(table = table.name, statement, "table changed");
        }
        if let Some(said) = self.overwriting(table)? {
            tracing::warn!("{said}");
        }
        if !table.index.is_empty() && !self.database.has_index(&table.name, &table.index_name())? {
            self.database.define(&table.name, &table.create_index())?;
            tracing::info!(table = table.name, "index added");
        }
        Ok(())
    }

    pub(super) fn create(&mut self, table: &TableSpec) -> Result<(), StoreError> {
        for statement in table.create(self.database.dialect()) {
            self.database.define(&table.name, &statement)?;
        }
        Ok(())
    }

    /// The names of those tables that the store does not have.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn absent(&mut self, tables: &[TableSpec]) -> Result<BTreeSet<String>, StoreError> {
        let mut absent = BTreeSet::new();
        for table in tables {
            if self.database.columns(&table.name)?.is_empty() {
                absent.insert(table.name.clone());
            }
        }
        Ok(absent)
    }

    /// What stands in the way of [`Store::migrate`], table by table; changes nothing.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn incompatibilities(&mut self, tables: &[TableSpec]) -> Result<Vec<String>, StoreError> {
        let dialect = self.database.dialect();
        let mut found = Vec::new();
        for table in super::system::tables().iter().chain(tables) {
            let stored = self.database.columns(&table.name)?;
            if stored.is_empty() {
                continue;
            }
            if let Err(reason) = table.changes(&stored, dialect) {
                found.push(incompatible(table, &reason).to_string());
            }
            found.extend(self.overwriting(table)?);
        }
        Ok(found)
    }

    /// What a unique index that somebody has added does to rows: one that agrees with another in its columns takes its place,
    /// though their keys differ. `None` where there is none, or its columns include the key.
    fn overwriting(&mut self, table: &TableSpec) -> Result<Option<String>, StoreError> {
        let indexes = self.database.unique_indexes(&table.name)?;
        let added = indexes.iter().find(|(_, columns)| !table.key.iter().all(|name| columns.contains(name)));
        Ok(added.map(|(index, columns)| {
            let name = &table.name;
            let drop = match self.database.dialect() {
                Dialect::Sqlite => format!("DROP INDEX {}", quoted(index)),
                _ => format!("ALTER TABLE {} DROP INDEX {}", quoted(name), quoted(index)),
            };
            format!(
                "table \"{name}\" has a unique index \"{index}\" ({}) beside its key ({}): rows that agree in it replace each \
                 other; {drop}",
                columns.join(", "),
                table.key.join(", ")
            )
        }))
    }
}

fn incompatible(table: &TableSpec, reason: &str) -> StoreError {
    StoreError::Refused(format!("table \"{}\" does not fit: {reason}", table.name))
}
