//! In which way a database does not do what it must, by what it says.

use wardwatch_model::health::Complaint;

/// In which way a server is not available, by the code that `mysql_errors` puts behind its words; `None` where it says nothing of it.
pub(crate) fn of_mysql(said: &str) -> Option<Complaint> {
    let (_, code) = said.rsplit_once("(error ")?;
    match code.strip_suffix(')')?.parse::<u16>().ok()? {
        // read-only server, transaction, tablespace; a server in super-read-only
        1290 | 1792 | 1836 | 3989 => Some(Complaint::ReadOnly),
        // disk full at write, at extend, table full
        3 | 1021 | 1026 | 1114 => Some(Complaint::Full),
        // lock timeout, deadlock, a global read lock of others, not waited for
        1205 | 1213 | 1223 | 3572 => Some(Complaint::Locked),
        _ => None,
    }
}

/// What `sqlite` says of a file that others keep locked.
pub(crate) const LOCKED: &str = "another process has been writing to the file";

/// In which way a file is not available, by SQLite's words for its codes; `None` where they say nothing of it.
pub(crate) fn of_sqlite(said: &str) -> Option<Complaint> {
    let words = [
        (LOCKED, Complaint::Locked),
        ("database is locked", Complaint::Locked),
        ("database table is locked", Complaint::Locked),
        ("attempt to write a readonly database", Complaint::ReadOnly),
        ("database or disk is full", Complaint::Full),
    ];
    words.into_iter().find(|(words, _)| said.contains(words)).map(|(_, complaint)| complaint)
}
