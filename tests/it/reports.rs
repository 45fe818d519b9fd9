//! Reports as their readers get them: of the shipped job's tables, of odd patients, when they are due.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::browser;
use crate::fixtures::{Database, TestJob, Topic, kafka, mysql_url, repository, told, wardwatch};

/// The shipped job in a folder of its own, so that its reports lie there.
struct Shipped {
    folder: tempfile::TempDir,
    topic: Topic,
    url: String,
}

impl Shipped {
    fn new(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(repository().join("jobs/patient_vitals.toml")).unwrap();
        let absolute = |path: &str| repository().join(path).display().to_string();
        let text = text
            .replace("\"../sql/vitals\"", &format!("{:?}", absolute("sql/vitals")))
            .replace("\"../reports\"", &format!("{:?}", absolute("reports")))
            .replace("\"../reports/out\"", "\"out\"");
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        Self { folder, topic: Topic::create(2), url }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = wardwatch();
        command.arg(arguments[0]).arg("job.toml").args(&arguments[1..]).current_dir(self.folder.path());
        command.env("KAFKA_BROKERS", kafka()).env("KAFKA_TOPIC", &self.topic.name).env("MYSQL_URL", &self.url);
        command.output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }
}

/// The files of a folder that end so, by name.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|_| panic!("{} is not there", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_str().unwrap().ends_with(end));
    files.sort();
    files
}

fn shipped_reports_of(url: String, count: impl Fn(&str) -> usize) {
    let shipped = Shipped::new(url);
    let scenarios = "sepsis,hypoxia,lead-off";
    shipped.run(&["simulate", "--patients", "5", "--records", "1500", "--rate", "max", "--scenarios", scenarios]);
    shipped.run(&["run", "--once", "--close-windows"]);
    let told = shipped.run(&["report", "patient_trend", "ward_overview", "alert_quality", "job_health"]);
    assert!(told.contains("patient_trend: 5 pages, 0 failed"), "{told}");

    let folder = shipped.out().join("patient_trend/P0001");
    let pages = files(&folder, ".html");
    assert_eq!(pages.len(), 1);
    let page = std::fs::read_to_string(&pages[0]).unwrap();
    assert!(page.contains("<svg") && page.contains("Patient P0001"), "the picture is inside");
    assert!(page.len() < 200_000, "{} bytes", page.len());
    assert!(!page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org/").count());
    assert!(std::fs::read(pages[0].with_extension("png")).unwrap().starts_with(b"\x89PNG"));
    let markdown = std::fs::read_to_string(pages[0].with_extension("md")).unwrap();
    assert!(markdown.starts_with("# Patient P0001\n") && markdown.contains("| Heart rate, /min |"), "{markdown}");
    let rows = std::fs::read_to_string(&files(&folder, "-readings.csv")[0]).unwrap();
    assert_eq!(rows.lines().count() - 1, count("SELECT COUNT(*) FROM readings WHERE patient_id = 'P0001'"));
    let alerts = std::fs::read_to_string(&files(&folder, "-alerts.csv")[0]).unwrap();
    assert_eq!(
        alerts.lines().count() - 1,
        count("SELECT COUNT(*) FROM alerts WHERE patient_id = 'P0001' AND firing_at IS NOT NULL")
    );

    let index = std::fs::read_to_string(shipped.out().join("index.html")).unwrap();
    assert_eq!(index.matches("<tr><td>").count(), 5 + 3, "{index}");
    let link = format!("patient_trend/P0001/{}", pages[0].file_name().unwrap().to_str().unwrap());
    assert!(index.contains(&link), "{index}");

    if browser::is_there() {
        let opened = browser::open(&pages[0]);
        assert_eq!(opened.console, [""; 0], "the console is silent");
        assert_eq!(opened.sheets, 1, "a patient's report is one sheet");
        assert_eq!(browser::open(&shipped.out().join("index.html")).console, [""; 0]);
    }

    let wrong = shipped.command(&["report", "patient_trends"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(crate::fixtures::told(&wrong).contains("did you mean \"patient_trend\"?"));
    let nobody = shipped.command(&["report", "patient_trend", "--patient", "P001"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        crate::fixtures::told(&nobody).contains("has no \"P001\"; did you mean \"P0001\"?"),
        "{}",
        crate::fixtures::told(&nobody)
    );
}

#[test]
fn the_shipped_reports_are_made_of_what_the_shipped_job_stored_in_mysql() {
    let database = Database::create(&mysql_url());
    let count = |sql: &str| database.rows(sql)[0].parse().unwrap();
    shipped_reports_of(database.url.clone(), count);
}

#[test]
fn the_shipped_reports_are_made_of_what_the_shipped_job_stored_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ward.db");
    let count = |sql: &str| {
        let store = rusqlite::Connection::open(&file).unwrap();
        store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
    };
    shipped_reports_of(format!("sqlite://{}", file.display()), count);
}

const SPEC: &str = r#"
title = "Heart of {patient_id}"
for_each = "SELECT DISTINCT patient_id FROM readings ORDER BY patient_id"
from = "2026-01-01T00:00:00Z"
until = "2026-01-01T01:00:00Z"
schedule = "every 1h"

[[chart]]
kind = "line"
title = "Heart rate"
unit = "/min"
sql = '''
SELECT event_time, heart_rate
FROM readings
WHERE patient_id = $patient_id AND event_time >= $from
'''
time = "event_time"
values = ["heart_rate"]
"#;

/// A job with readings and one spec.
fn reporting(spec: &str) -> (TestJob, Topic, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.more("[reports]\ndir = \"out\"\nspecs = \"reports\"");
    std::fs::create_dir(job.folder.path().join("reports")).unwrap();
    std::fs::write(job.folder.path().join("reports/heart.toml"), spec).unwrap();
    (job, topic, database)
}

#[test]
fn a_patient_whose_id_is_code_is_only_a_patient() {
    const ODD: &str = "<img src=x onerror=alert(1)>'; DROP TABLE readings; --";
    let (job, topic, database) = reporting(SPEC);
    topic.put_samples("P1", &[(0, 80.0), (1, 81.0)]);
    topic.put_samples(ODD, &[(0, 90.0), (1, 91.0), (2, 92.0)]);
    job.run_once();
    let output = job.command("report").arg("heart").output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["5"]);
    let folders = files(&job.folder.path().join("out/heart"), "");
    assert_eq!(folders.len(), 2);
    let odd = folders.iter().find(|folder| !folder.ends_with("P1")).unwrap();
    let page = std::fs::read_to_string(&files(odd, ".html")[0]).unwrap();
    assert!(page.contains("&lt;img src=x") && !page.contains("<img src=x"), "{page:.1500}");
    assert_eq!(std::fs::read_to_string(&files(odd, ".csv")[0]).unwrap().lines().count(), 1 + 3);
}

#[test]
fn pages_lead_to_those_before_and_after_and_old_ones_go() {
    let spec = SPEC.replace("from = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-01T01:00:00Z\"", "range = \"1h\"");
    let (job, topic, _database) = reporting(&spec);
    topic.put_samples("P1", &[(0, 80.0), (1, 81.0)]);
    job.run_once();
    let report = |until: &str| {
        let output = job.command("report").args(["heart", "--until", until]).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    };
    report("2026-01-01T00:30:00Z");
    report("2026-01-01T01:00:00Z");
    let folder = job.folder.path().join("out/heart/P1");
    let pages = files(&folder, ".html");
    let text = |page: &Path| std::fs::read_to_string(page).unwrap();
    assert!(text(&pages[0]).contains("href=\"2026-01-01T010000Z.html\" rel=\"next\""));
    assert!(text(&pages[1]).contains("href=\"2026-01-01T003000Z.html\" rel=\"prev\""));
    // They are of months ago.
    let spec = spec.replace("schedule =", "keep = \"1d\"\nschedule =");
    std::fs::write(job.folder.path().join("reports/heart.toml"), spec).unwrap();
    report("2099-01-01T00:00:00Z");
    assert_eq!(files(&folder, ".html").len(), 1);
    assert!(files(&folder, ".csv").len() == 1 && files(&folder, ".part").is_empty());
}

/// Has the job have begun so long ago.
fn begun(database: &Database, hours: u32) {
    let back = format!("UPDATE batches SET now_at = now_at - INTERVAL {hours} HOUR");
    mysql::prelude::Queryable::query_drop(&mut database.connect(), back).unwrap();
}

#[test]
fn a_report_is_made_once_for_each_time_at_which_it_was_due_since_the_job_began() {
    let (job, topic, database) = reporting(SPEC);
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    let report = || {
        let output = job.command("report").output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    begun(&database, 3);
    assert!(report().contains("heart: 1 pages, 0 failed"));
    let runs = || database.rows("SELECT COUNT(*), SUM(pages), SUM(failed) FROM report_runs").remove(0);
    let made = runs();
    // The hour may turn in between.
    assert!(made == "3|3|0" || made == "4|4|0", "{made}");
    let told = report();
    assert!(told.contains("no report is due") || runs() == "4|4|0", "{told}");
}

#[test]
fn a_report_that_is_stopped_is_still_due() {
    let (job, topic, database) = reporting(SPEC);
    for patient in ["P1", "P2", "P3", "P4"] {
        topic.put_samples(patient, &[(0, 80.0)]);
    }
    job.run_once();
    begun(&database, 2);
    let config = wardwatch::config::load(&job.file()).unwrap();
    let specs = wardwatch::report::load(&job.folder.path().join("reports"), &config.notify).good;
    let after_two = |done, _| if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let made = wardwatch::report::write_due(&config, &specs, &|| false, &after_two).unwrap();
    assert!(made.is_empty());
    assert_eq!(std::fs::read_dir(job.folder.path().join("out/heart")).unwrap().count(), 2);
    assert_eq!(database.so_far("SELECT COUNT(*) FROM report_runs"), "0");
    let rest = wardwatch::report::write_due(&config, &specs, &|| false, &|_, _| ControlFlow::Continue(())).unwrap();
    assert!(rest.iter().all(|(_, written)| written.pages.len() == 4) && rest.len() >= 2, "{rest:?}");
}

#[test]
fn a_running_job_makes_reports_beside_its_batches_and_a_failing_one_delays_none() {
    let (job, topic, database) = reporting(&SPEC.replace("every 1h", "every 10s"));
    let broken = SPEC.replace("every 1h", "every 10s").replace("FROM readings\n", "FROM gone\n");
    std::fs::write(job.folder.path().join("reports/broken.toml"), broken).unwrap();
    std::fs::write(job.folder.path().join("reports/no_toml.toml"), "title = ").unwrap();
    topic.put_samples("P1", &[(0, 80.0)]);
    let mut running = job.start();
    running.wait_until("both reports are made or found impossible", || {
        database.so_far("SELECT COUNT(DISTINCT report) FROM report_runs") == "2"
    });
    let batches = || database.so_far("SELECT COUNT(*) FROM batches").parse::<u64>().unwrap_or(0);
    let before = batches();
    topic.put_samples("P1", &[(1, 81.0)]);
    running.wait_until("batches go on", || batches() > before);
    let error = database.so_far("SELECT error FROM report_runs WHERE report = 'broken'");
    assert!(error.contains("unknown table \"gone\""), "{error}");
    assert_eq!(database.so_far("SELECT MIN(pages), MAX(failed) FROM report_runs WHERE report = 'heart'"), "1|0");
}

#[test]
fn check_finds_what_is_wrong_with_a_spec() {
    let check = |change: &str, to: &str, wanted: &str| {
        let spec = SPEC.replacen(change, to, 1);
        assert_ne!(spec, SPEC, "{change} is not there");
        let (job, _topic, _database) = reporting(&spec);
        let output = job.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains(wanted), "{wanted} in\n{}", told(&output));
    };
    check(
        "title = \"Heart of",
        "titel = \"Heart of",
        "reports/heart.toml:2:1: unknown key \"titel\"; did you mean \"title\"?",
    );
    check(
        "FROM readings\nWHERE",
        "FROM reading\nWHERE",
        "reports/heart.toml:14:6: unknown table \"reading\"; did you mean \"readings\"?",
    );
    check(
        "heart_rate\nFROM",
        "hart_rate\nFROM",
        "reports/heart.toml:13:20: unknown column \"hart_rate\"; did you mean \"heart_rate\"?",
    );
    check("$patient_id", "$patient", "reports/heart.toml:15:20: unknown parameter \"$patient\"");
    check("values = [\"heart_rate\"]", "values = [\"pulse\"]", "chart \"Heart rate\": unknown column \"pulse\"");
    check("values = [\"heart_rate\"]", "values = [\"event_time\"]", "column \"event_time\" must be a number");
    check("SELECT event_time, heart_rate", "DELETE", "reports/heart.toml:");
    check("kind = \"line\"", "kind = \"pie\"", "unknown kind \"pie\"");
}

#[test]
fn no_report_reads_who_may_see_the_page_however_the_tables_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = format!("sqlite://{}", folder.path().join("private.db").display());
    for url in [Database::create(&mysql_url()).url, embedded] {
        let topic = Topic::create(1);
        let job = TestJob::new(&topic.name, &url)
            .query("tables/readings", crate::fixtures::READINGS)
            .more("[reports]\ndir = \"out\"\nspecs = \"reports\"");
        topic.put_samples("P1", &[(0, 80.0)]);
        job.run_once();
        let mut add = wardwatch();
        let added = add.args(["users", "add"]).arg(job.file()).args(["nora", "--role", "nurse"]);
        let mut child = added.stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"correct horse battery\n").unwrap();
        assert!(child.wait().unwrap().success());
        let reports = job.folder.path().join("reports");
        std::fs::create_dir(&reports).unwrap();
        let try_sql = |sql: &str| {
            let spec = format!(
                "title = \"Leak\"\nrange = \"1h\"\n[[chart]]\nkind = \"table\"\ntitle = \"x\"\nsql = '''{sql}'''\n"
            );
            std::fs::write(reports.join("leak.toml"), spec).unwrap();
            let checked = job.command("check").output().unwrap();
            let made = job.command("report").arg("leak").output().unwrap();
            let said = [told(&checked), told(&made)];
            let out = job.folder.path().join("out/leak");
            let pages = if out.exists() { files(&out, "") } else { Vec::new() };
            let leaked =
                pages.iter().any(|page| String::from_utf8_lossy(&std::fs::read(page).unwrap()).contains("argon2id"));
            assert!(!leaked, "{url}: {sql}: {said:?}");
            let _ = std::fs::remove_dir_all(out);
            said
        };
        for table in ["users", "sessions", "api_tokens", "audit", "USERS", "\"users\"", "\"Users\"", "\"USERS\""] {
            for said in try_sql(&format!("SELECT * FROM {table}")) {
                assert!(said.contains("is not for SQL: it tells who may see the page"), "{table}: {said}");
                assert!(said.contains("there are:") && said.contains("readings") && said.contains("alerts"), "{said}");
            }
        }
        for sql in [
            "SELECT r.patient_id, u.password FROM readings AS r CROSS JOIN users AS u",
            "WITH leak AS (SELECT * FROM \"Users\") SELECT * FROM leak",
            "WITH users AS (SELECT * FROM users) SELECT * FROM users",
            "SELECT (SELECT max(password) FROM users) AS x FROM readings",
            "SELECT patient_id FROM readings UNION ALL SELECT password FROM users",
            "SELECT * FROM \"main.users\"",
            "SELECT * FROM main.users",
            "SELECT * FROM \"users \"",
            "SELECT * FROM \"api_to\u{212a}ens\"",
            "SELECT * FROM information_schema.tables",
        ] {
            for said in try_sql(sql) {
                assert!(!said.contains("exit status: 0") || said.contains("failed"), "{sql}: {said}");
            }
        }
        // Nor is one of them the table of readings that reports, pages and back-tests read.
        let right = std::fs::read_to_string(job.file()).unwrap();
        let wrong = right.replacen("[reports]\n", "[reports]\ntable = \"users\"\n", 1);
        let line = 1 + wrong.lines().position(|line| line == "table = \"users\"").unwrap();
        std::fs::write(job.file(), wrong).unwrap();
        for arguments in [["check", ""], ["backtest", "leak.sql"], ["report", "leak"], ["serve", ""]] {
            let mut command = wardwatch();
            command.arg(arguments[0]).arg(job.folder.path().join("job.toml")).current_dir(job.folder.path());
            let said = told(&command.args(Some(arguments[1]).filter(|more| !more.is_empty())).output().unwrap());
            let place = format!("job.toml:{line}:9: table \"users\" is not for SQL");
            assert!(said.contains(&place) && !said.contains("argon2id"), "{arguments:?}: {said}");
        }
        std::fs::write(job.file(), right).unwrap();
        let [checked, made] = try_sql("SELECT patient_id FROM readings");
        assert!(checked.contains("exit status: 0") && made.contains("exit status: 0"), "{checked}\n{made}");
    }
}
