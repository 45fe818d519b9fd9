//! Who may see the page, who is logged in, which programs may ask, and what each of them saw and did.
//!
//! Secrets come here as hashes only. Nothing here is part of a batch.

use chrono::{DateTime, Utc};

use wardwatch_model::terms::Role;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, insert_system};
use super::quote::quoted;
use super::row::Row;
use super::system::{API_TOKENS, AUDIT, SESSIONS, USERS};

/// Somebody who may see the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name that one logs in with.
    pub name: String,
    /// The hash of the password, in the PHC string format.
    pub password: String,
    /// What the user may do.
    pub role: Role,
    /// When that or the password was set.
    pub changed_at: DateTime<Utc>,
}

/// A log-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The hash of what the browser holds.
    pub id: String,
    /// Who logged in.
    pub user: String,
    /// When.
    pub begun_at: DateTime<Utc>,
    /// Until when it holds.
    pub until: DateTime<Utc>,
}

/// What a program shows in place of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its hash.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// Until when it holds; without it, until it is removed.
    pub until: Option<DateTime<Utc>>,
}

/// Something that somebody saw or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// What tells it from others of the same time.
    pub id: String,
    /// Who: a user's or a token's name; as it was typed where it is none.
    pub who: String,
    /// By which role; empty where nobody was logged in.
    pub role: String,
    /// From where.
    pub address: String,
    /// What: `see`, `acknowledge`, `log in`, …
    pub action: String,
    /// Of whom or what.
    pub subject: String,
    /// What else is to be known.
    pub detail: String,
}

/// What the store tells of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// There are some.
    Users,
    /// There are none, and there never were.
    Nobody,
    /// There are none any more, though the last one is never removed: somebody was added, or has logged in.
    Gone,
    /// There is no table of them, so nobody knows.
    NoTable,
}

/// What the audit says of those who were added.
pub const ADD_USER: &str = "add user";

/// What the audit says of those who have logged in.
pub const LOG_IN: &str = "log in";

impl Store {
    /// Whether there are users, or were: a table that is not there, or was emptied, is not a page that nobody guards.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn registered(&mut self) -> Result<Registered, StoreError> {
        if self.column_names(USERS)?.is_empty() || self.column_names(AUDIT)?.is_empty() {
            return Ok(Registered::NoTable);
        }
        // Rows that cannot be read count, too: they are of somebody.
        let any = |table: &str, more: &str| format!("SELECT 1 FROM {} WHERE `job`=?{more} LIMIT 1", quoted(table));
        let job = Value::text(&self.job);
        if !self.database.query(&any(USERS, ""), std::slice::from_ref(&job))?.is_empty() {
            return Ok(Registered::Users);
        }
        // A program may have a token where nobody is a user, but nobody else begins a session.
        let has_sessions = !self.database.query(&any(SESSIONS, ""), std::slice::from_ref(&job))?.is_empty();
        let were_added = any(AUDIT, " AND `action` IN (?, ?)");
        let in_audit = self.database.query(&were_added, &[job, Value::text(ADD_USER), Value::text(LOG_IN)])?;
        Ok(if has_sessions || !in_audit.is_empty() { Registered::Gone } else { Registered::Nobody })
    }

    /// Everybody who may see the page, by name.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn users(&mut self) -> Result<Vec<User>, StoreError> {
        let sql = format!(
            "SELECT `name`, `password`, `role`, `changed_at` FROM {} WHERE `job`=? ORDER BY `name`",
            quoted(USERS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        // One who cannot be read cannot log in; the others can.
        Ok(self.odd.leave_out(&rows, |row| {
            let mut row = Row::of(USERS, "`name`, `password`, `role`, `changed_at`", row);
            Ok(User {
                name: row.text()?,
                password: row.text()?,
                role: row.named(Role::from_name)?,
                changed_at: row.time()?,
            })
        }))
    }

    /// Writes a user down, in place of one of the same name.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn put_user(&mut self, user: &User) -> Result<(), StoreError> {
        let values = vec![
            Value::text(&self.job),
            Value::text(&user.name),
            Value::text(&user.password),
            Value::text(user.role.name()),
            Value::Time(user.changed_at),
        ];
        insert_system(self.database.as_mut(), USERS, Duplicates::Replaced, &mut std::iter::once(values))
    }

    /// Removes a user, unless there is no other: without users, the page is open to whoever sits at its machine. Returns
    /// whether the user is removed.
    ///
    /// One statement looks for others and removes, so two users who are removed at the same time are not both gone.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn remove_user(&mut self, name: &str) -> Result<bool, StoreError> {
        let users = quoted(USERS);
        // MySQL looks into a table that it deletes from only through a derived one.
        let sql = format!(
            "DELETE FROM {users} WHERE `job`=? AND `name`=? \
             AND EXISTS (SELECT 1 FROM (SELECT `name` FROM {users} WHERE `job`=? AND `name`<>?) AS others)"
        );
        let (job, name) = (Value::text(&self.job), Value::text(name));
        Ok(self.database.execute(&sql, &[job.clone(), name.clone(), job, name])? > 0)
    }

    /// Logs somebody in; forgets those whose time is over. A session that began before its user was changed is worth
    /// nothing, so `begun_at` is a time before the password was looked up.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn begin_session(&mut self, session: &Session) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `until_at`<?", quoted(SESSIONS));
        self.database.execute(&sql, &[Value::text(&self.job), Value::Time(session.begun_at)])?;
        let values = vec![
            Value::text(&self.job),
            Value::text(&session.id),
            Value::text(&session.user),
            Value::Time(session.begun_at),
            Value::Time(session.until),
        ];
        insert_system(self.database.as_mut(), SESSIONS, Duplicates::Refused, &mut std::iter::once(values))
    }

    /// Who is logged in by this, and may do what; nobody where the user has been removed or changed since.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn session_user(&mut self, id: &str, now: DateTime<Utc>) -> Result<Option<(String, Role)>, StoreError> {
        let sql = format!(
            "SELECT u.`name`, u.`role` FROM {} s JOIN {} u ON u.`job`=s.`job` AND u.`name`=s.`user_name` \
             WHERE s.`job`=? AND s.`id`=? AND s.`until_at`>? AND u.`changed_at`<=s.`begun_at`",
            quoted(SESSIONS),
            quoted(USERS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(id), Value::Time(now)])?;
        rows.first()
            .map(|row| {
                let mut row = Row::new(SESSIONS, row);
                Ok((row.text()?, row.named(Role::from_name)?))
            })
            .transpose()
    }

    /// Logs out.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn end_session(&mut self, id: &str) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `id`=?", quoted(SESSIONS));
        self.database.execute(&sql, &[Value::text(&self.job), Value::text(id)])?;
        Ok(())
    }

    /// The programs that may ask, by name.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn api_tokens(&mut self) -> Result<Vec<ApiToken>, StoreError> {
        let sql = format!(
            "SELECT `id`, `name`, `role`, `made_at`, `until_at` FROM {} WHERE `job`=? ORDER BY `name`",
            quoted(API_TOKENS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(self.odd.leave_out(&rows, |row| {
            let mut row = Row::of(API_TOKENS, "`id`, `name`, `role`, `made_at`, `until_at`", row);
            Ok(ApiToken {
                id: row.text()?,
                name: row.text()?,
                role: row.named(Role::from_name)?,
                made_at: row.time()?,
                until: row.optional_time(),
            })
        }))
    }

    /// Writes down that a program may ask.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn put_api_token(&mut self, token: &ApiToken) -> Result<(), StoreError> {
        let values = vec![
            Value::text(&self.job),
            Value::text(&token.id),
            Value::text(&token.name),
            Value::text(token.role.name()),
            Value::Time(token.made_at),
            Value::time(token.until),
        ];
        insert_system(self.database.as_mut(), API_TOKENS, Duplicates::Refused, &mut std::iter::once(values))
    }

    /// Removes the tokens of this name.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn remove_api_token(&mut self, name: &str) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `name`=?", quoted(API_TOKENS));
        self.database.execute(&sql, &[Value::text(&self.job), Value::text(name)])?;
        Ok(())
    }

    /// Writes down what somebody saw or did.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn note_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let values = vec![
            Value::text(&self.job),
            Value::Time(entry.at),
            Value::text(&entry.id),
            Value::text(&entry.who),
            Value::text(&entry.role),
            Value::text(&entry.address),
            Value::text(&entry.action),
            Value::text(&entry.subject),
            Value::text(&entry.detail),
        ];
        insert_system(self.database.as_mut(), AUDIT, Duplicates::Replaced, &mut std::iter::once(values))
    }

    /// What was seen and done since, the newest first, at most `most` of it.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn audit(&mut self, since: DateTime<Utc>, most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = format!(
            "SELECT `at`, `id`, `who`, `role`, `address`, `action`, `subject`, `detail` FROM {} WHERE `job`=? AND `at`>=? \
             ORDER BY `at` DESC, `id` LIMIT ?",
            quoted(AUDIT)
        );
        let values = [Value::text(&self.job), Value::Time(since), Value::count(most)];
        let rows = self.database.query(&sql, &values)?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(AUDIT, row);
                Ok(AuditEntry {
                    at: row.time()?,
                    id: row.text()?,
                    who: row.text()?,
                    role: row.text()?,
                    address: row.text()?,
                    action: row.text()?,
                    subject: row.text()?,
                    detail: row.text()?,
                })
            })
            .collect()
    }
}
