//! Tables are made, and fitted to what is written into them.

use std::collections::BTreeSet;

use super::connection::Store;
use super::database::Dialect;
use super::error::StoreError;
use super::quote::quoted;
use super::schema::TableSpec;

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

pub(crate) fn incompatible(table: &TableSpec, reason: &str) -> StoreError {
    StoreError::Refused(format!("table \"{}\" does not fit: {reason}", table.name))
}
