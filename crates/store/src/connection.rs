//! A connection to the store of one job, on which everything else here is built.

use std::time::Duration;

use wardwatch_config::StoreUrl;

use super::database::Database;
use super::error::StoreError;
use super::row::OddRows;
use super::{mysql, sqlite};

/// A connection to the store of one job.
#[derive(Debug)]
pub struct Store {
    pub(crate) database: Box<dyn Database>,
    pub(crate) job: String,
    pub(crate) odd: OddRows,
    /// Who holds the job's lease by this connection; empty where this one does not write for the job.
    pub(crate) writer: String,
}

impl Store {
    /// Connects for the job called `job`.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn connect(url: &StoreUrl, job: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, job, mysql::REPLY_PATIENCE)
    }

    /// The same, with so much patience for each reply of a server.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn connect_with(url: &StoreUrl, job: &str, patience: Duration) -> Result<Self, StoreError> {
        let database: Box<dyn Database> = match url {
            StoreUrl::MySql(url) => Box::new(mysql::MySql::connect(url, patience)?),
            StoreUrl::Sqlite(path) => Box::new(sqlite::Sqlite::open(path)?),
        };
        Ok(Self { database, job: job.to_owned(), odd: OddRows::default(), writer: String::new() })
    }

    /// Which database it is and where, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        self.database.address()
    }
}
