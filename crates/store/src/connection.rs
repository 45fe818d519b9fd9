//! A connection to the store of one job, on which everything else here is built.

use std::time::Duration;

use wardwatch_config::StoreUrl;
use wardwatch_model::terms::BatchId;

use super::database::Database;
use super::error::StoreError;
#[cfg(feature = "mysql")]
use super::mysql::MySql;
use super::outcome::CommitOutcome;
use super::row::OddRows;
#[cfg(feature = "sqlite")]
use super::sqlite::Sqlite;

/// Longer than InnoDB waits for a lock (50 s), so that only a dead connection runs into it.
const REPLY_PATIENCE: Duration = Duration::from_secs(90);

/// A connection to the store of one job.
#[derive(Debug)]
pub struct Store {
    pub(crate) database: Box<dyn Database>,
    pub(crate) job: String,
    pub(crate) odd: OddRows,
    /// Who holds the job's lease by this connection; empty where this one does not write for the job.
    pub(crate) writer: String,
    /// The batch whose COMMIT had no reply, and what comes of it if it took place.
    pub(crate) in_doubt: Option<(BatchId, CommitOutcome)>,
}

impl Store {
    /// Connects for the job called `job`.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn connect(url: &StoreUrl, job: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, job, REPLY_PATIENCE)
    }

    /// The same, with so much patience for each reply of a server.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn connect_with(url: &StoreUrl, job: &str, patience: Duration) -> Result<Self, StoreError> {
        let database: Box<dyn Database> = match url {
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => Box::new(MySql::connect(url, patience)?),
            #[cfg(not(feature = "mysql"))]
            StoreUrl::MySql(_) => return Err(not_built("MySQL", "mysql")),
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(path) => Box::new(Sqlite::open(path)?),
            #[cfg(not(feature = "sqlite"))]
            StoreUrl::Sqlite(_) => return Err(not_built("SQLite", "sqlite")),
        };
        let (job, odd, writer) = (job.to_owned(), OddRows::default(), String::new());
        Ok(Self { database, job, odd, writer, in_doubt: None })
    }

    /// Which database it is and where, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        self.database.address()
    }
}

/// That a program was built without a database.
#[cfg(not(all(feature = "mysql", feature = "sqlite")))]
fn not_built(database: &str, feature: &str) -> StoreError {
    StoreError::Refused(format!("this program was built without {database}: feature \"{feature}\""))
}
