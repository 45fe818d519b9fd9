//! Who writes for a job: a row that its holder renews, and locks of the server by which others see whether the holder is still
//! connected.
//!
//! Only what the database does stands here; who may take over when is decided in `job/lease.rs`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Value;
use super::connection::Store;
use super::database::Dialect;
use super::error::StoreError;
use super::quote::quoted;
use super::row::Row;
use super::system::{self, LEASES, OFFSETS};

/// Who holds a job's lease, as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The process: its host, its number there, and a number of its own.
    pub holder: String,
    /// Since when it holds the lease.
    pub since: DateTime<Utc>,
    /// When it renewed it last. All times are the database's.
    pub renewed: DateTime<Utc>,
    /// How often it has renewed it: a lease is taken over only as it was seen.
    pub renewals: i64,
    /// Whether the time for which it was renewed last is over, by the database's clock.
    pub is_expired: bool,
}

impl Store {
    /// Whether leases are renewed and expire.
    ///
    /// A SQLite file is locked by the operating system, which lets go of it when the process ends and not before: a lease of its
    /// own could not be taken over from a process that stands still, so there is none.
    #[must_use]
    pub fn leases_expire(&self) -> bool {
        self.database.dialect() != Dialect::Sqlite
    }

    /// Makes the table of leases where there is none: the lease comes before everything else that a job does to its store.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    pub fn make_leases(&mut self) -> Result<(), StoreError> {
        self.fit(system::table(LEASES))
    }

    /// Who holds the job's lease; `None` where nobody does.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn lease(&mut self) -> Result<Option<LeaseRow>, StoreError> {
        let sql = format!(
            "SELECT `holder`, `since_at`, `renewed_at`, `renewals`, `expires_at` <= {} FROM {} WHERE `job`=?",
            self.in_seconds(0),
            quoted(LEASES)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        rows.first()
            .map(|row| {
                let mut row = Row::new(LEASES, row);
                Ok(LeaseRow {
                    holder: row.text()?,
                    since: row.time()?,
                    renewed: row.time()?,
                    renewals: row.int()?,
                    is_expired: row.bool()?,
                })
            })
            .transpose()
    }

    /// The server's numbers of the connections by which `holder` is connected: the one that writes, which is whoever's has the
    /// job's lock, and the one that renews the lease.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn connections_of(&mut self, holder: &str) -> Result<Vec<u64>, StoreError> {
        let writing = self.database.locked_by(&self.writers_lock())?;
        let renewing = self.database.locked_by(&self.renewing_lock(holder))?;
        Ok(writing.into_iter().chain(renewing).collect())
    }

    /// Ends connections of a holder that stands still: what it has begun is rolled back, and its locks are free.
    ///
    /// # Errors
    /// The database does not answer, or this account may not end those of another.
    pub fn end_connections(&mut self, connections: &[u64]) -> Result<(), StoreError> {
        connections.iter().try_for_each(|connection| Ok(self.database.end_connection(*connection)?))
    }

    /// Takes the lease for `holder`, for so long: one that nobody has, or the one that was `seen` if it is as it was then.
    ///
    /// Returns whether it is taken. Errors: the database does not answer; it may have been taken all the same.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn take_lease(&mut self, holder: &str, length: Duration, seen: Option<&LeaseRow>) -> Result<bool, StoreError> {
        let (now, then) = (self.in_seconds(0), self.in_seconds(length.as_secs()));
        let job = Value::text(&self.job);
        let Some(seen) = seen else {
            let columns = "`job`, `holder`, `since_at`, `renewed_at`, `expires_at`, `renewals`";
            let ignore = if self.leases_expire() { "INSERT IGNORE" } else { "INSERT OR REPLACE" };
            let sql = format!("{ignore} INTO {} ({columns}) VALUES (?, ?, {now}, {now}, {then}, 0)", quoted(LEASES));
            return Ok(self.database.execute(&sql, &[job, Value::text(holder)])? > 0);
        };
        let sql = format!(
            "UPDATE {} SET `holder`=?, `since_at`={now}, `renewed_at`={now}, `expires_at`={then}, `renewals`=0 \
             WHERE `job`=? AND `holder`=? AND `renewals`=?",
            quoted(LEASES)
        );
        let values = [Value::text(holder), job, Value::text(&seen.holder), Value::Int(seen.renewals)];
        Ok(self.database.execute(&sql, &values)? > 0)
    }

    /// Renews the lease of `holder` for so long. Returns whether it still was the holder's.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn renew_lease(&mut self, holder: &str, length: Duration) -> Result<bool, StoreError> {
        let sql = format!(
            "UPDATE {} SET `renewals`=`renewals`+1, `renewed_at`={}, `expires_at`={} WHERE `job`=? AND `holder`=?",
            quoted(LEASES),
            self.in_seconds(0),
            self.in_seconds(length.as_secs())
        );
        Ok(self.database.execute(&sql, &[Value::text(&self.job), Value::text(holder)])? > 0)
    }

    /// Gives the lease of `holder` back.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn release_lease(&mut self, holder: &str) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `holder`=?", quoted(LEASES));
        self.database.execute(&sql, &[Value::text(&self.job), Value::text(holder)])?;
        Ok(())
    }

    /// Shows by a lock that the holder's renewing connection, which is this one, is there.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn show_renewing(&mut self, holder: &str) -> Result<(), StoreError> {
        let name = self.renewing_lock(holder);
        self.database.lock(&name)
    }

    /// Becomes the one writer of the job, for as long as this connection lives: takes the job's lock.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where another connection has it.
    pub fn become_writer(&mut self, holder: &str) -> Result<(), StoreError> {
        let name = self.writers_lock();
        self.database.lock(&name)?;
        holder.clone_into(&mut self.writer);
        Ok(())
    }

    /// Fences all who wrote before: whatever they have not committed by now, they cannot commit any more.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn fence_others(&mut self) -> Result<(), StoreError> {
        let sql = format!("UPDATE {} SET `writer`=? WHERE `job`=?", quoted(OFFSETS));
        self.database.execute(&sql, &[Value::text(&self.writer), Value::text(&self.job)])?;
        Ok(())
    }

    /// Within a transaction that moves no offset: holds the fence until its end.
    pub(super) fn hold_fence(&mut self) -> Result<(), StoreError> {
        let locking = if self.leases_expire() { " LOCK IN SHARE MODE" } else { "" };
        let sql = format!("SELECT `writer` FROM {} WHERE `job`=?{locking}", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let is_ours = |row: &Vec<Value>| row.first().and_then(Value::as_text) == Some(self.writer.as_str());
        if rows.iter().all(is_ours) {
            return Ok(());
        }
        Err(StoreError::Fenced("another process writes for this job now; it goes on, this one stops".to_owned()))
    }

    fn writers_lock(&self) -> String {
        format!("wardwatch.{}", self.job)
    }

    fn renewing_lock(&self, holder: &str) -> String {
        format!("wardwatch.{}.{holder}", self.job)
    }

    /// The database's time, so many seconds from now.
    fn in_seconds(&self, seconds: u64) -> String {
        match self.database.dialect() {
            // The form in which times are kept, so that texts compare as times do.
            Dialect::Sqlite => format!("strftime('%Y-%m-%d %H:%M:%f000', 'now', '+{seconds} seconds')"),
            _ => format!("(UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND)"),
        }
    }
}
