//! What the errors of MySQL, MariaDB and what stands before them mean: whether the row, the table or the server is at fault.
//!
//! Only what is provable counts. A code that is not named here, and whose SQLSTATE does not speak for itself, is unknown:
//! proxies and plug-ins have codes of their own, and a row must not be given up for one of them.

use std::error::Error;
use std::io::ErrorKind;

use mysql::DriverError;

use super::database::{Failure, FailureKind};

/// Whether the connection is of no more use.
pub(super) fn is_of_shutdown(error: &mysql::Error) -> bool {
    // 1053: shutdown in progress, 1152 and 1184: aborted, 1927: killed (MariaDB), 3169: killed, 4031: idle for too long
    matches!(error, mysql::Error::MySqlError(error) if matches!(error.code, 1053 | 1152 | 1184 | 1927 | 3169 | 4031))
}

/// What an error of the client says; a time-out, and a connection that is gone, in words.
fn words(error: &mysql::Error) -> String {
    let broken = match error {
        mysql::Error::IoError(error) => Some(error),
        mysql::Error::CodecError(error) => error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()),
        _ => None,
    };
    let Some(broken) = broken else { return error.to_string() };
    match broken.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the server gave no answer in time".to_owned(),
        _ => format!("the connection to the server is broken: {broken}"),
    }
}

/// Whether a right is missing that somebody may grant.
pub(super) fn is_of_rights(error: &mysql::Error) -> bool {
    matches!(error, mysql::Error::MySqlError(error) if matches!(error.code, 1044 | 1045 | 1142 | 1143 | 1227 | 1370))
}

/// What an error of the client or of the server means.
pub(super) fn failure(error: &mysql::Error) -> Failure {
    let mysql::Error::MySqlError(server) = error else {
        let kind = match error {
            mysql::Error::DriverError(
                DriverError::UnknownAuthPlugin(_)
                | DriverError::OldMysqlPasswordDisabled
                | DriverError::CleartextPluginDisabled
                | DriverError::TlsNotSupported,
            ) => FailureKind::Access,
            mysql::Error::TlsError(_) | mysql::Error::UrlError(_) => FailureKind::Access,
            // The client has given up its connection with it, and the transaction too.
            mysql::Error::DriverError(DriverError::PacketTooLarge | DriverError::MismatchedStmtParams(..)) => {
                FailureKind::Unknown
            }
            _ => FailureKind::Passing,
        };
        return Failure { kind, message: words(error) };
    };
    let kind = kind(server.code, &server.state, &server.message);
    Failure { kind, message: format!("{} (error {})", server.message, server.code) }
}

/// What an error of the server means, by its code, its SQLSTATE and, of engines, its words.
fn kind(code: u16, state: &str, message: &str) -> FailureKind {
    match code {
        // access denied (of several kinds), unknown database
        1044 | 1045 | 1049 | 1227 | 1251 | 1698 => FailureKind::Access,
        // The engine's own code stands in the message: 126, 127, 132, 134, 144 and 145 are of a crashed table.
        1030 if [126, 127, 132, 134, 144, 145]
            .iter()
            .any(|code| message.starts_with(&format!("Got error {code} "))) =>
        {
            FailureKind::Table
        }
        // disk full, out of memory, engine error, too many connections, shutting down, aborted, the node of a Galera
        // cluster is not ready (1047), table full, connection trouble, error at commit, deadlock, too many connections of the user, limits of the user, read-only server or transaction, interrupted, group replication
        // (3098 is of the table), killed, idle for too long
        3
        | 1021
        | 1026
        | 1030
        | 1037..=1041
        | 1047
        | 1053
        | 1114
        | 1152
        | 1158..=1161
        | 1180
        | 1184
        | 1203
        | 1206
        | 1213
        | 1226
        | 1290
        | 1317
        | 1792
        | 1836
        | 1927
        | 3024
        | 3100
        | 3101
        | 3169
        | 3989
        | 4031 => FailureKind::Passing,
        // lock timeout, and a lock that is not waited for
        1205 | 3572 => FailureKind::Locked,
        // no such table, no such column, wrong number of columns, not granted on the table or a column, damaged or crashed,
        // read-only, an engine that cannot, no insertable table or view, a view or trigger that is broken, a definer or a
        // function that is gone, a column without a default, a generated column (of MySQL and MariaDB), a tablespace that is
        // missing or discarded, a table that group replication does not take
        1031
        | 1034..=1036
        | 1054
        | 1136
        | 1142
        | 1143
        | 1146
        | 1194
        | 1195
        | 1286
        | 1288
        | 1305
        | 1347
        | 1356
        | 1364
        | 1370
        | 1449
        | 1471
        | 1812
        | 1814
        | 1906
        | 1932
        | 3098
        | 3105 => FailureKind::Table,
        // truncated, wrong text or value, too large for a page or the undo log, no partition for it, check constraints of
        // MySQL and MariaDB; the other codes of rows have an SQLSTATE that says so
        1265 | 1300 | 1366 | 1367 | 1411 | 1526 | 1713 | 1748 | 3819 | 4025 => FailureKind::Row,
        // What a trigger raises in its owner's own words.
        1644 => FailureKind::Raised,
        _ => match state.get(..2) {
            // data exceptions, and constraints of keys and of NOT NULL
            Some("22" | "23") => FailureKind::Row,
            // connection exceptions, transactions rolled back
            Some("08" | "40") => FailureKind::Passing,
            _ => FailureKind::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::error::StoreError;

    use wardwatch_model::health::Complaint;

    use super::*;

    #[test]
    fn what_a_server_says_of_itself_is_told_without_its_words() {
        let of = |code: u16, state: &str, message: &str| {
            let error = mysql::MySqlError { state: state.to_owned(), message: message.to_owned(), code };
            StoreError::from(failure(&mysql::Error::MySqlError(error))).complaint()
        };
        let option =
            "The MySQL server is running with the --super-read-only option so it cannot execute this statement";
        assert_eq!(of(1290, "HY000", option), Complaint::ReadOnly);
        assert_eq!(of(1021, "HY000", "Disk full (/tmp/#sql); waiting for someone to free some space"), Complaint::Full);
        assert_eq!(of(1205, "HY000", "Lock wait timeout exceeded; try restarting transaction"), Complaint::Locked);
        assert_eq!(of(1146, "42S02", "Table 'ward.alerts' doesn't exist"), Complaint::Refuses);
        assert_eq!(of(1040, "08004", "Too many connections"), Complaint::Silent);
    }

    #[test]
    fn a_server_that_gives_no_answer_is_told_in_words() {
        let error = |kind: ErrorKind| failure(&mysql::Error::IoError(kind.into()));
        assert_eq!(error(ErrorKind::WouldBlock).message, "the server gave no answer in time");
        let broken = error(ErrorKind::ConnectionReset);
        assert!(broken.message.starts_with("the connection to the server is broken: "), "{broken:?}");
        assert_eq!(broken.kind, FailureKind::Passing);
    }

    #[test]
    fn only_what_is_provable_is_the_rows_or_the_tables_fault() {
        let check = |code: u16, state: &str, message: &str, expected: FailureKind| {
            assert_eq!(kind(code, state, message), expected, "{code} {state} {message}");
        };
        check(1406, "22001", "Data too long for column 'patient_id' at row 1", FailureKind::Row);
        check(1048, "23000", "Column 'patient_id' cannot be null", FailureKind::Row);
        check(1264, "22003", "Out of range value for column 'n' at row 1", FailureKind::Row);
        check(1366, "HY000", "Incorrect string value: '\\xF0' for column 'note' at row 1", FailureKind::Row);
        check(3819, "HY000", "Check constraint 'rates' is violated.", FailureKind::Row);
        check(1452, "23000", "Cannot add or update a child row", FailureKind::Row);
        check(1062, "23000", "Duplicate entry", FailureKind::Row);
        check(1146, "42S02", "Table 'vitals.readings' doesn't exist", FailureKind::Table);
        check(1142, "42000", "INSERT command denied to user", FailureKind::Table);
        check(1194, "HY000", "Table 'readings' is marked as crashed and should be repaired", FailureKind::Table);
        check(1030, "HY000", "Got error 144 \"Table is crashed\" from storage engine", FailureKind::Table);
        check(1030, "HY000", "Got error 28 - 'No space left on device' from storage engine", FailureKind::Passing);
        check(1213, "40001", "Deadlock found when trying to get lock", FailureKind::Passing);
        check(1047, "08S01", "WSREP has not yet prepared node for application use", FailureKind::Passing);
        check(3101, "40000", "Plugin instructed the server to rollback the current transaction.", FailureKind::Passing);
        check(1644, "45000", "no pressure without a cuff", FailureKind::Raised);
        for (code, state) in [(1461, "42000"), (1105, "HY000"), (9001, "HY000"), (9006, "Y0000")] {
            check(code, state, "who knows", FailureKind::Unknown);
        }
    }
}
