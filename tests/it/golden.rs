//! What people read, kept as files: `make golden` rewrites them.

use crate::bed::{READINGS, TestJob, repository};

/// Wrong queries, each in a set of its own beside a right one.
const WRONG: [(&str, &str, &str); 14] = [
    ("syntax", "tables/odd", "-- @key: patient_id\nSELECT patient_id\nFROM vitals WHERE (heart_rate > 3"),
    ("unknown column", "tables/odd", "-- @key: patient_id\nSELECT patient_id, hart_rate\nFROM vitals"),
    (
        "unknown column of a join",
        "rules/odd",
        "-- @severity: low\nSELECT v.patient_id, r.spo\nFROM vitals AS v JOIN readings AS r ON r.patient_id = v.patient_id",
    ),
    ("unknown table", "tables/odd", "-- @key: patient_id\nSELECT patient_id FROM vital"),
    (
        "unknown function",
        "tables/odd",
        "-- @key: patient_id\nSELECT patient_id, averge(heart_rate) AS x FROM vitals GROUP BY patient_id",
    ),
    ("missing key", "tables/odd", "SELECT patient_id FROM vitals"),
    ("key not in the result", "tables/odd", "-- @key: patient\nSELECT patient_id FROM vitals"),
    ("misspelt header", "rules/odd", "-- @severty: high\nSELECT patient_id FROM vitals"),
    (
        "unnamed column",
        "tables/odd",
        "-- @key: patient_id\nSELECT patient_id, avg(heart_rate) FROM vitals GROUP BY patient_id",
    ),
    (
        "a list",
        "tables/odd",
        "-- @key: patient_id\nSELECT patient_id, array_agg(heart_rate) AS rates FROM vitals GROUP BY patient_id",
    ),
    ("a rule without patient", "rules/odd", "-- @severity: high\nSELECT event_time FROM vitals"),
    (
        "a wrong placeholder",
        "rules/odd",
        "-- @severity: high\n-- @message: HR {hart_rate:.0}\nSELECT patient_id, heart_rate FROM vitals",
    ),
    ("a system table's name", "tables/alerts", "-- @key: patient_id\nSELECT patient_id FROM vitals"),
    ("no SELECT", "tables/odd", "-- @key: patient_id\nDELETE FROM vitals"),
];

#[test]
fn golden_diagnostics_of_wrong_queries() {
    let mut shown = String::new();
    for (what, name, text) in WRONG {
        let job = TestJob::new("topic", "sqlite://x.db").query("tables/readings", READINGS).query(name, text);
        let output = job.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}");
        let told = String::from_utf8(output.stderr).unwrap();
        let folder = format!("{}/", job.folder.path().display());
        shown.push_str(&format!("# {what}\n{}\n", told.replace(&folder, "")));
    }
    check("diagnostics.txt", &shown);
}

#[test]
fn golden_diagnostics_tell_a_cycle_and_all_faults_at_once() {
    let job = TestJob::new("topic", "sqlite://x.db")
        .query("tables/a", "-- @key: patient_id\nSELECT patient_id FROM b")
        .query("tables/b", "-- @key: patient_id\nSELECT patient_id FROM a")
        .query("rules/c", "-- @severity: loud\nSELECT 1")
        .query("tables/vitals", "-- @key: patient_id\nSELECT patient_id FROM vitals");
    let header = String::from_utf8(job.command("check").output().unwrap().stderr).unwrap();
    assert!(header.contains("unknown severity \"loud\""), "{header}");
    let job = job.query("rules/c", "-- @severity: low\nSELECT patient_id, x FROM vitals");
    let told = String::from_utf8(job.command("check").output().unwrap().stderr).unwrap();
    for expected in ["these queries read each other in a circle: a, b", "is the name of the source"] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn golden_help() {
    let help = crate::bed::wardwatch().arg("--help").output().unwrap();
    check("help.txt", &String::from_utf8(help.stdout).unwrap());
}

fn check(name: &str, shown: &str) {
    let file = repository().join("tests/golden").join(name);
    if std::env::var("WARDWATCH_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&file, shown).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(golden == shown, "{} differs; `make golden` rewrites it. Now:\n{shown}", file.display());
}
