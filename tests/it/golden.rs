//! What people read, kept as files: `make golden` rewrites them.

use crate::fixtures::{READINGS, TestJob, repository};

/// Wrong queries, each in a set of its own beside a right one.
const WRONG: [(&str, &str, &str); 44] = [
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
    (
        "the name of an alert of ours",
        "rules/unreached",
        "-- @severity: high\nSELECT patient_id, event_time FROM vitals",
    ),
    ("no SELECT", "tables/odd", "-- @key: patient_id\nDELETE FROM vitals"),
    (
        "a window over no time",
        "tables/odd",
        "-- @key: start\nSELECT tumble(heart_rate, INTERVAL '1 minute') AS start, count(*) AS n\nFROM vitals GROUP BY 1",
    ),
    (
        "a window over another time",
        "tables/odd",
        "-- @key: start\nSELECT tumble(_stamped_at, INTERVAL '1 minute') AS start, count(*) AS n\nFROM vitals GROUP BY 1",
    ),
    (
        "a size that is no multiple of the slide",
        "tables/odd",
        "-- @key: start\nSELECT hop(event_time, INTERVAL '7 seconds', INTERVAL '1 minute') AS start, count(*) AS n\nFROM vitals GROUP BY 1",
    ),
    (
        "a month",
        "tables/odd",
        "-- @key: start\nSELECT tumble(event_time, INTERVAL '1 month') AS start, count(*) AS n\nFROM vitals GROUP BY 1",
    ),
    (
        "a window outside GROUP BY",
        "tables/odd",
        "-- @key: start\nSELECT session(event_time, INTERVAL '1 minute') AS start\nFROM vitals",
    ),
    (
        "two windows",
        "tables/odd",
        "-- @key: start\nSELECT a.start FROM (SELECT tumble(event_time, INTERVAL '1 minute') AS start FROM vitals GROUP BY 1) AS a\nJOIN (SELECT tumble(event_time, INTERVAL '1 minute') AS start FROM vitals GROUP BY 1) AS b ON a.start = b.start",
    ),
    (
        "an aggregate over windows",
        "tables/odd",
        "-- @key: start\nSELECT max(n) AS start FROM (SELECT tumble(event_time, INTERVAL '1 minute') AS s, count(*) AS n FROM vitals GROUP BY 1)",
    ),
    (
        "LIMIT over windows",
        "tables/odd",
        "-- @key: start\nSELECT tumble(event_time, INTERVAL '1 minute') AS start, count(*) AS n FROM vitals GROUP BY 1 LIMIT 3",
    ),
    (
        "now() below a window",
        "tables/odd",
        "-- @key: start\nSELECT tumble(event_time, INTERVAL '1 minute') AS start, count(*) AS n\nFROM vitals WHERE event_time > now() GROUP BY 1",
    ),
    (
        "a window over history",
        "tables/odd",
        "-- @key: start\nSELECT tumble(event_time, INTERVAL '1 minute') AS start, count(*) AS n FROM vitals_history GROUP BY 1",
    ),
    (
        "a window over a table without windows",
        "tables/odd",
        "-- @key: start\nSELECT tumble(event_time, INTERVAL '1 minute') AS start, count(*) AS n FROM readings GROUP BY 1",
    ),
    (
        "an aggregate over a table without windows",
        "tables/odd",
        "-- @key: start\nSELECT patient_id, avg(heart_rate) AS start FROM readings GROUP BY 1",
    ),
    (
        "an order of arrival",
        "tables/odd",
        "-- @key: start\nSELECT tumble(event_time, INTERVAL '1 minute') AS start, first_value(heart_rate) AS n FROM vitals GROUP BY 1",
    ),
    (
        "a stream joined with a stream",
        "tables/odd",
        "-- @key: start\nSELECT tumble(v.event_time, INTERVAL '1 minute') AS start, count(*) AS n\nFROM vitals AS v JOIN readings AS r ON r.patient_id = v.patient_id GROUP BY 1",
    ),
    (
        "a key without the window",
        "tables/odd",
        "-- @key: patient_id\nSELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS start FROM vitals GROUP BY 1, 2",
    ),
    ("@emit without a window", "tables/odd", "-- @key: patient_id\n-- @emit: change\nSELECT patient_id FROM vitals"),
    (
        "@emit: change of sessions",
        "tables/odd",
        "-- @key: start\n-- @emit: change\nSELECT session(event_time, INTERVAL '1 minute') AS start, count(*) AS n FROM vitals GROUP BY 1",
    ),
    (
        "a rule with a window",
        "rules/odd",
        "-- @severity: low\nSELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS start FROM vitals GROUP BY 1, 2",
    ),
    (
        "two files of one name",
        "rules/readings",
        "-- @severity: low\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "a severity that is none",
        "rules/odd",
        "-- @severity: hihg\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "@for longer than history",
        "rules/odd",
        "-- @severity: low\n-- @for: 2h\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "a technical rule that latches",
        "rules/odd",
        "-- @severity: technical\n-- @latch: yes\nSELECT patient_id, event_time FROM vitals WHERE heart_rate = 0",
    ),
    (
        "a rule that suppresses what is not there",
        "rules/odd",
        "-- @severity: technical\n-- @suppresses: tachicardia\nSELECT patient_id, event_time FROM vitals WHERE heart_rate = 0",
    ),
    (
        "an alert of a patient that suppresses another",
        "rules/odd",
        "-- @severity: high\n-- @suppresses: odd\nSELECT patient_id, event_time FROM vitals WHERE heart_rate = 0",
    ),
    (
        "@clear_when with a name that is none",
        "rules/odd",
        "-- @severity: low\n-- @clear_when: hart_rate < 110\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "@clear_when of a rule with groups",
        "rules/odd",
        "-- @severity: low\n-- @clear_when: heart_rate < 110\nSELECT patient_id FROM vitals WHERE heart_rate > 120 GROUP BY patient_id",
    ),
    (
        "@clear_when that is no condition",
        "rules/odd",
        "-- @severity: low\n-- @clear_when: heart_rate <\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "a peak of a column that is none",
        "rules/odd",
        "-- @severity: low\n-- @peak: max(hart_rate)\nSELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120",
    ),
    (
        "a peak that is none",
        "rules/odd",
        "-- @severity: low\n-- @peak: heart_rate\nSELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120",
    ),
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
    let help = crate::fixtures::wardwatch().arg("--help").output().unwrap();
    check("help.txt", &String::from_utf8(help.stdout).unwrap());
}

#[test]
fn golden_reference_and_schemas() {
    check_file(&repository().join("docs/reference.md"), &wardwatch::query::reference());
    for of in ["job", "tests"] {
        let printed = crate::fixtures::wardwatch().args(["schema", of]).output().unwrap();
        let file = repository().join("docs/schema").join(format!("{of}.json"));
        check_file(&file, &String::from_utf8(printed.stdout).unwrap());
    }
}

/// Queries that are no fault but careless, each in a set of its own beside a right one.
const CARELESS: [(&str, &str, &str); 14] = [
    (
        "a rule that is judged by which records come together",
        "rules/highest",
        "-- @severity: high\n-- @for: 10s\nSELECT patient_id, max(heart_rate) AS rate FROM vitals GROUP BY patient_id HAVING max(heart_rate) > 120",
    ),
    (
        "a rule that tells of one patient at a time",
        "rules/one",
        "-- @severity: high\n-- @for: 10s\nSELECT patient_id, event_time FROM vitals WHERE spo2 < 90 LIMIT 1",
    ),
    (
        "a rule on the newest row of whoever has it",
        "rules/newest",
        "-- @severity: high\n-- @for: 10s\nSELECT patient_id, event_time FROM (\n    SELECT *, row_number() OVER (ORDER BY event_time DESC) AS place FROM vitals\n) AS placed\nWHERE place = 1 AND spo2 < 90",
    ),
    (
        "a rule on a sample",
        "rules/some",
        "-- @severity: high\n-- @for: 10s\nSELECT patient_id, event_time\nFROM vitals TABLESAMPLE BERNOULLI (10)\nWHERE spo2 < 90",
    ),
    (
        "a look further back than the job remembers",
        "rules/odd",
        "-- @severity: low\nSELECT patient_id, event_time FROM vitals_history\nWHERE spo2 < 90 AND event_time > event_now() - INTERVAL '3 hours'",
    ),
    (
        "a rule without delay",
        "rules/odd",
        "-- @severity: low\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "the same, meant",
        "rules/odd",
        "-- @severity: low\n-- @allow: no-delay\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 120",
    ),
    (
        "a comparison with NULL",
        "rules/odd",
        "-- @severity: low\n-- @for: 10s\nSELECT patient_id, event_time\nFROM vitals\nWHERE heart_rate > 120 AND spo2 = NULL",
    ),
    (
        "NOT IN",
        "rules/odd",
        "-- @severity: low\n-- @for: 10s\nSELECT patient_id, event_time FROM vitals\nWHERE spo2 NOT IN (SELECT spo2 FROM readings)",
    ),
    (
        "rows without a value left out",
        "rules/odd",
        "-- @severity: low\n-- @for: 10s\nSELECT patient_id, event_time FROM vitals\nWHERE spo2 <> 100",
    ),
    (
        "an average of averages",
        "tables/odd",
        "-- @key: start\nSELECT tumble(window_start, INTERVAL '5 minutes') AS start, avg(rate) AS rate\nFROM minutes GROUP BY 1",
    ),
    (
        "a group for every record",
        "tables/odd",
        "-- @key: start, event_time\nSELECT tumble(event_time, INTERVAL '5 minutes') AS start, event_time, count(*) AS n\nFROM vitals GROUP BY tumble(event_time, INTERVAL '5 minutes'), event_time",
    ),
    (
        "a join on less than the key",
        "rules/odd",
        "-- @severity: low\n-- @for: 10s\nSELECT v.patient_id, v.event_time\nFROM vitals AS v JOIN lies AS l ON l.patient_id = v.patient_id\nWHERE v.spo2 < 90",
    ),
    ("a view that nobody reads", "views/odd", "SELECT patient_id FROM vitals"),
];

#[test]
fn golden_warnings() {
    let minutes = "-- @key: patient_id, window_start\nSELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, avg(heart_rate) AS rate\nFROM vitals GROUP BY 1, 2";
    let wards = "-- @key: patient_id\nSELECT patient_id, max(since) AS since FROM lies GROUP BY patient_id";
    let mut shown = String::new();
    for (what, name, text) in CARELESS {
        let job = TestJob::new("topic", "sqlite://x.db")
            .query("tables/readings", READINGS)
            .query("tables/minutes", minutes)
            .sql_file("seeds/lies.csv", "# @key: patient_id, since\npatient_id,since:time,ward\n")
            .query("tables/wards", wards)
            .query(name, text);
        let output = job.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).unwrap();
        let folder = format!("{}/", job.folder.path().display());
        shown.push_str(&format!("# {what}\n{}\n", told.replace(&folder, "")));
        let denied = job.command("check").arg("--deny-warnings").output().unwrap();
        assert_eq!(denied.status.success(), !told.contains("warning:"), "{what}");
    }
    check("warnings.txt", &shown);
}

/// Files of tests that are wrong; those that do not begin with a test are a batch of one.
const WRONG_TESTS: [(&str, &str); 12] = [
    ("no name", "[[test]]\nname = 1\n[[test.batch]]\nexpect.alerts = \"\""),
    (
        "a column that the job does not have",
        "given = '''\n| patient_id | hart_rate |\n| P1 | 1 |\n'''\nexpect.alerts = \"\"",
    ),
    ("a row with a cell too few", "given = '''\n| patient_id | heart_rate |\n| P1 |\n'''\nexpect.alerts = \"\""),
    ("a row without an end", "given = '''\n| patient_id | heart_rate |\n| P1 | 1\n'''\nexpect.alerts = \"\""),
    ("a table that is not there", "now = 2026-01-01T00:00:00Z\nexpect.reading = \"\""),
    ("a rule for a table", "now = 2026-01-01T00:00:00Z\nexpect.fast = \"\""),
    (
        "a column that the table does not have",
        "now = 2026-01-01T00:00:00Z\nexpect.alerts = '''\n| patient |\n| P1 |\n'''",
    ),
    (
        "columns that the expectation lacks",
        "now = 2026-01-01T00:00:00Z\nexpect.readings = '''\n| patient_id | spo2 |\n| P1 | 97 |\n'''",
    ),
    ("a cell of another type", "now = 2026-01-01T00:00:00Z\nexpect.alerts = '''\n| samples |\n| some |\n'''"),
    (
        "a time that goes backwards",
        "now = 2026-01-01T00:00:10Z\nexpect.alerts = \"\"\n[[test.batch]]\nnow = 2026-01-01T00:00:09Z\nexpect.alerts = \"\"",
    ),
    ("no time at all", "given = \"\"\nexpect.alerts = \"\""),
    ("a key that is none", "now = 2026-01-01T00:00:00Z\nexpects.alerts = \"\""),
];

#[test]
fn golden_diagnostics_of_wrong_tests_and_seeds() {
    let mut shown = String::new();
    let mut tell = |what: &str, job: &TestJob, command: &str| {
        let output = job.command(command).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {}", String::from_utf8_lossy(&output.stdout));
        let told = String::from_utf8(output.stderr).unwrap();
        let folder = format!("{}/", job.folder.path().display());
        shown.push_str(&format!("# {what}\n{}\n", told.replace(&folder, "")));
    };
    let job = || {
        let job = TestJob::new("topic", "sqlite://x.db").query("tables/readings", READINGS);
        job.query("rules/fast", crate::fixtures::TACHYCARDIA)
    };
    let test = |query: &str| format!("[[test]]\nname = \"a\"\nquery = \"{query}\"\n\n[[test.batch]]\n");
    for (what, text) in WRONG_TESTS {
        let text = if text.starts_with("[[test]") { text.to_owned() } else { format!("{}{text}\n", test("fast")) };
        tell(what, &job().sql_file("tests/odd.toml", &text), "test");
    }
    let empty = "now = 2026-01-01T00:00:00Z\nexpect.alerts = \"\"\n";
    tell("a query that is not there", &job().sql_file("tests/odd.toml", &(test("fats") + empty)), "test");
    tell("alerts of a table query", &job().sql_file("tests/odd.toml", &(test("readings") + empty)), "test");

    let seed =
        |rows: &str| job().sql_file("seeds/lies.csv", &format!("# @key: patient_id\npatient_id,beds:int\n{rows}"));
    tell("a seed with a cell of another type", &seed("P1,many\n"), "check");
    tell("a seed with a doubled key", &seed("P1,1\nP2,2\nP1,3\n"), "check");
    tell("a seed with a type that is none", &job().sql_file("seeds/lies.csv", "# @key: a\na,b:itn\n"), "check");
    let given = "lies = '''\n| patient_id | beds |\n| P1 | 1 |\n| P1 | 2 |\n'''\n\n[[test.batch]]";
    let given = test("fast").replace("\n[[test.batch]]", given) + empty;
    tell("rows with a doubled key", &seed("").sql_file("tests/odd.toml", &given), "test");
    let given = given.replace("| P1 | 2 |", "| P2 | two |");
    tell("rows with a cell of another type", &seed("").sql_file("tests/odd.toml", &given), "test");
    check("wrong_tests.txt", &shown);
}

/// Compares with a file of `tests/golden`, or writes it.
pub fn check(name: &str, shown: &str) {
    check_file(&repository().join("tests/golden").join(name), shown);
}

fn check_file(file: &std::path::Path, shown: &str) {
    if std::env::var("WARDWATCH_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, shown).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    assert!(golden == shown, "{} differs; `make golden` rewrites it. Now:\n{shown}", file.display());
}
