//! The tables of the store: what a query's result asks for, how a database writes it, what may change.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::column::{Column, Kind, Writers};
use super::database::{Dialect, StoredColumn};
use super::quote::quoted;

/// The table that a query's rows go to.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name: the query's.
    pub name: String,
    /// The columns of its primary key.
    pub key: Vec<String>,
    columns: Vec<Column>,
    /// The columns of an index beside the key; empty where there is none.
    pub(crate) index: Vec<String>,
    /// Who writes rows of it.
    writers: Writers,
    /// A column of the key, a number, that tables of an earlier version lack; 0 stands for what was there before.
    added_to_key: Option<&'static str>,
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
            added_to_key: None,
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
            added_to_key: None,
        }
    }

    /// The same with a column of the key, a number, that tables of an earlier version lack.
    pub(super) fn with_added_to_key(mut self, column: &'static str) -> Self {
        self.added_to_key = Some(column);
        self
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
        let columns: Vec<String> = self.columns.iter().map(|column| self.definition(column, dialect)).collect();
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

    fn definition(&self, column: &Column, dialect: Dialect) -> String {
        let default = match self.added_to_key == Some(&column.name) {
            true => " DEFAULT 0",
            false => column.default(self.writers, dialect),
        };
        column.definition(dialect) + default
    }

    pub(crate) fn index_name(&self) -> String {
        format!("{}_index", self.name)
    }

    fn indexed(&self) -> String {
        self.index.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn create_index(&self) -> String {
        format!("CREATE INDEX {} ON {} ({})", quoted(&self.index_name()), quoted(&self.name), self.indexed())
    }

    /// What must be done to the table that is there so that it takes the rows: columns to add, or why it cannot be.
    pub(crate) fn changes(&self, stored: &[StoredColumn], dialect: Dialect) -> Result<Vec<String>, String> {
        let table = quoted(&self.name);
        let lacks = |column: &Column| !stored.iter().any(|stored| stored.name == column.name);
        // Where a table is made again, it has all columns.
        let is_made_again = dialect == Dialect::Sqlite
            && self.columns.iter().any(|column| self.added_to_key == Some(&column.name) && lacks(column));
        let mut statements = Vec::new();
        for column in &self.columns {
            match stored.iter().find(|stored| stored.name == column.name) {
                None if self.added_to_key == Some(&column.name) => {
                    statements.extend(self.grow_key(column, stored, dialect))
                }
                None if column.in_key => {
                    return Err(format!(
                        "its primary key lacks the column \"{}\"; {}",
                        column.name,
                        self.rename_hint()
                    ));
                }
                None if is_made_again => {}
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

    /// What adds `column` to the key of a table that is there.
    fn grow_key(&self, column: &Column, stored: &[StoredColumn], dialect: Dialect) -> Vec<String> {
        let (table, definition) = (quoted(&self.name), self.definition(column, dialect));
        let list =
            |names: &mut dyn Iterator<Item = &String>| names.map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let key = list(&mut self.key.iter());
        if dialect != Dialect::Sqlite {
            return vec![format!(
                "ALTER TABLE {table} ADD COLUMN {definition}, DROP PRIMARY KEY, ADD PRIMARY KEY ({key})"
            )];
        }
        // SQLite cannot change a key, but it can make a table and copy all rows in one transaction.
        let made = Self { index: Vec::new(), ..self.clone().called(&format!("{}_upgraded", self.name)) };
        let copied = list(&mut stored.iter().map(|stored| &stored.name));
        let is_new = |stored: &&StoredColumn| !self.columns.iter().any(|column| column.name == stored.name);
        let others = stored.iter().filter(is_new);
        let made_name = quoted(&made.name);
        let others = others
            .map(|stored| format!("ALTER TABLE {made_name} ADD COLUMN {} {}", quoted(&stored.name), stored.r#type));
        let steps = [format!("DROP TABLE IF EXISTS {made_name}")].into_iter().chain(made.create(dialect)).chain(others);
        let steps = steps.chain([
            format!("INSERT INTO {made_name} ({copied}) SELECT {copied} FROM {table}"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {made_name} RENAME TO {table}"),
        ]);
        vec![format!("BEGIN IMMEDIATE; {}; COMMIT", steps.collect::<Vec<_>>().join("; "))]
    }

    fn rename_hint(&self) -> String {
        format!(
            "to start it anew: ALTER TABLE {} RENAME TO {}",
            quoted(&self.name),
            quoted(&format!("{}_old", self.name))
        )
    }
}
