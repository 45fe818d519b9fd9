//! `demo`, as a newcomer runs it.

use crate::fixtures::{told, wardwatch};

#[test]
fn the_demo_ends_by_itself_and_leaves_a_database_and_charts() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // The second one starts anew in the same folder.
        let output = wardwatch()
            .args(["demo", "--seconds", "6", "--port", "0", "--patients", "6", "--dir"])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains("ward     http://127.0.0.1:"), "{told}");
        assert!(told.contains("high"), "an alert within seconds: {told}");
    }
    let databases: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".db"))
        .collect();
    assert_eq!(databases, ["wardwatch.db"]);
    let store = rusqlite::Connection::open(folder.path().join("wardwatch.db")).unwrap();
    let count = |sql: &str| -> i64 { store.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert!(count("SELECT COUNT(*) FROM readings") > 1_000);
    assert!(count("SELECT COUNT(*) FROM alerts WHERE firing_at IS NOT NULL") > 0);
    assert!(std::fs::read(folder.path().join("reports/P0001.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output =
        wardwatch().args(["demo", "--seconds", "1", "--port", &port, "--dir"]).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("choose another with --port"), "{}", told(&output));
}
