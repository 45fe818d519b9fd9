//! A store of the version before goes on with today's program: its episodes, limits, silences and windows.
//!
//! `tests/before` has what the version before has left: a dump of its store in MySQL and in SQLite, and the records that Kafka held
//! then. They were made by that version itself, by [`the_stores_of_before_are_made_again`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mysql::prelude::Queryable;

use crate::fixtures::{
    Database, READINGS, TACHYCARDIA, TestJob, Topic, mysql_url, repository, rows, sqlite_rows, told,
};

/// The name of the topic in the dumps; each test has one of its own.
const TOPIC: &str = "topic_of_before";

/// The version before has read what comes before this second.
const BEFORE: u32 = 180;

/// And today's reads on up to this one.
const END: u32 = 400;

/// Samples are so many seconds apart.
const EVERY: usize = 5;

const HYPOXIA: &str = "-- @severity: high\n-- @for: 10s\n-- @clear_after: 15s\n-- @message: SpO₂ {spo2:.0} < 90
SELECT patient_id, event_time, spo2 FROM vitals WHERE spo2 < 90
";

const LIMITED: &str =
    "-- @severity: medium\n-- @for: 10s\n-- @clear_after: 15s\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, t.high
FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate'
WHERE v.heart_rate > t.high
";

const NO_DATA: &str = "-- @severity: technical\n-- @suppresses: *\n-- @message: no data for {age_seconds:.0} s
SELECT patient_id, age_seconds FROM vitals_latest WHERE age_seconds > 30
";

/// Windows of every kind, each with what stands in it.
const WINDOWS: [(&str, &str); 4] = [
    (
        "minute",
        "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records,
    sum(heart_rate) AS heart_rate_sum, approx_percentile_cont(heart_rate, 0.5) AS heart_rate_median
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
",
    ),
    (
        "sliding",
        "-- @key: patient_id, window_start
SELECT patient_id, hop(event_time, INTERVAL '1 minute', INTERVAL '4 minutes') AS window_start, count(*) AS records,
    max(heart_rate) AS heart_rate_max
FROM vitals GROUP BY patient_id, hop(event_time, INTERVAL '1 minute', INTERVAL '4 minutes')
",
    ),
    (
        "present",
        "-- @key: patient_id, window_start
SELECT patient_id, session(event_time, INTERVAL '20 seconds') AS window_start, count(*) AS records,
    min(spo2) AS spo2_min
FROM vitals GROUP BY patient_id, session(event_time, INTERVAL '20 seconds')
",
    ),
    ("status", "-- @key: patient_id\nSELECT patient_id, heart_rate, spo2 FROM vitals_latest\n"),
];

/// The patients, each with their heart rate and saturation at a second; `None` while nothing is sent.
fn vitals(patient: u32, second: u32) -> Option<(f64, f64)> {
    let high_in = |from: u32, until: u32| if (from..until).contains(&second) { 130.0 } else { 80.0 };
    let low_in = |from: u32, until: u32| if (from..until).contains(&second) { 85.0 } else { 97.0 };
    match patient {
        // Fires, is acknowledged, and clears long after the upgrade.
        1 => Some((high_in(100, 300), 97.0)),
        // Is pending, and fires five seconds after the upgrade.
        2 => Some((high_in(175, 205), 97.0)),
        // Has fired and is over.
        3 => Some((high_in(60, 90), 97.0)),
        // Is true no more, but not for long enough.
        4 => Some((high_in(100, 170), 97.0)),
        // Is gone, and stays until somebody acknowledges it.
        5 => Some((80.0, low_in(60, 90))),
        // Has a limit of 150, and breaks it in the end.
        6 => Some((
            if second < 120 {
                80.0
            } else if second < 250 {
                140.0
            } else {
                155.0
            },
            97.0,
        )),
        // Fires and is silenced, and so is what fires later.
        7 => Some((high_in(100, 200), low_in(300, END))),
        // Fires, before and after.
        8 => Some((80.0, low_in(120, END))),
        // Is silent for two minutes, and comes again.
        9 => (!(60..200).contains(&second)).then_some((80.0, 97.0)),
        // Is pending, and nothing more comes: what was measured last goes on to count for half a minute.
        11 => (second <= 175).then_some((80.0, low_in(175, END))),
        // Is pending, and does not hold.
        _ => Some((high_in(175, 180), 97.0)),
    }
}

const PATIENTS: u32 = 11;

/// A record as Kafka holds it.
struct Record {
    partition: i32,
    stamp: i64,
    payload: String,
}

fn at(second: u32) -> chrono::DateTime<chrono::Utc> {
    let start = chrono::DateTime::parse_from_rfc3339("2026-01-01T06:00:00Z").unwrap().to_utc();
    start + chrono::TimeDelta::seconds(second.into())
}

/// What the patients send from one second up to another.
fn sent(from: u32, until: u32) -> Vec<Record> {
    let mut all = Vec::new();
    for second in (from..until).step_by(EVERY) {
        for patient in 1..=PATIENTS {
            let Some((heart_rate, spo2)) = vitals(patient, second) else { continue };
            let time = at(second).format("%Y-%m-%dT%H:%M:%SZ");
            let payload = format!(
                r#"{{"patient_id":"P{patient}","event_time":"{time}","heart_rate":{heart_rate},"spo2":{spo2}}}"#
            );
            let partition = i32::try_from(patient % 2).unwrap();
            all.push(Record { partition, stamp: at(second).timestamp_millis() + 200, payload });
        }
    }
    all
}

fn put(topic: &Topic, records: &[Record]) {
    for Record { partition, stamp, payload } in records {
        topic.put(*partition, Some(*stamp), payload.as_bytes());
    }
    topic.flush();
}

fn job(topic: &str, store: &str) -> TestJob {
    let job = TestJob::new(topic, store)
        .source("lateness = \"10s\"\ndedupe = [\"patient_id\"]")
        .more("snapshot_every = 8\n[trigger]\nmax_rows = 45\n[[notify]]\nkind = \"log\"")
        .query("tables/readings", READINGS)
        .query("rules/tachycardia", &TACHYCARDIA.replace("3s", "10s").replace("clear_after: 10s", "clear_after: 15s"))
        .query("rules/hypoxia", HYPOXIA)
        .query("rules/limited", LIMITED)
        .query("rules/no_data", NO_DATA);
    let job = WINDOWS.iter().fold(job, |job, (name, sql)| job.query(&format!("tables/{name}"), sql));
    let of_before = ["views/limits_now.sql", "views/thresholds.sql", "seeds/limits.csv", "seeds/patients.csv"];
    of_before
        .iter()
        .fold(job, |job, file| job.sql_file(file, &std::fs::read_to_string(fixture("sql").join(file)).unwrap()))
}

fn fixture(name: &str) -> PathBuf {
    repository().join("tests/before").join(name)
}

/// A store in either database.
enum Held {
    MySql(Database),
    Sqlite(PathBuf),
}

impl Held {
    fn rows(&self, sql: &str) -> Vec<String> {
        match self {
            Self::MySql(database) => database.rows(sql),
            Self::Sqlite(path) => {
                // Both write times alike but for this.
                sqlite_rows(path, &sql.replace("CAST(", "(").replace(" AS CHAR)", ")"))
            }
        }
    }

    fn execute(&self, sql: &str) {
        match self {
            Self::MySql(database) => database.connect().query_drop(sql).unwrap(),
            Self::Sqlite(path) => rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
        }
    }
}

/// The store of the version before in a database of its own, its records in a topic of its own, and its job.
fn before(of: fn(&Path) -> (Held, String)) -> (TestJob, Topic, Held) {
    let topic = Topic::create(2);
    let records = std::fs::read_to_string(fixture("records.jsonl")).unwrap();
    let records = records.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        Record {
            partition: i32::try_from(record["partition"].as_i64().unwrap()).unwrap(),
            stamp: record["stamp"].as_i64().unwrap(),
            payload: record["payload"].as_str().unwrap().to_owned(),
        }
    });
    put(&topic, &records.collect::<Vec<_>>());
    let mut job = job(&topic.name, "sqlite://test.db");
    let (held, url) = of(job.folder.path());
    job.store = url;
    let job = job.more("");
    let dump = |name: &str| std::fs::read_to_string(fixture(name)).unwrap().replace(TOPIC, &topic.name);
    match &held {
        Held::MySql(database) => {
            let mut connection = database.connect();
            for statement in dump("mysql.sql").split(";\n").filter(|statement| !statement.trim().is_empty()) {
                connection.query_drop(statement).unwrap();
            }
        }
        Held::Sqlite(_) => held.execute(&dump("sqlite.sql")),
    }
    // It was stopped just now: of a stop of months, everybody would have left by the first batch.
    let now = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).format("%Y-%m-%d %H:%M:%S%.6f");
    held.execute(&format!("UPDATE offsets SET active_at = '{now}'"));
    (job, topic, held)
}

fn in_mysql(_: &Path) -> (Held, String) {
    let database = Database::create(&mysql_url());
    let url = database.url.clone();
    (Held::MySql(database), url)
}

fn in_sqlite(folder: &Path) -> (Held, String) {
    (Held::Sqlite(folder.join("test.db")), "sqlite://test.db".to_owned())
}

const EPISODES: &str = "SELECT patient_id, rule, state, CAST(started_at AS CHAR), CAST(firing_at AS CHAR), \
    CAST(ended_at AS CHAR), end_reason, acknowledged_by FROM alerts WHERE rule <> 'no_data' AND severity <> 'technical' \
    ORDER BY patient_id, rule, started_at";

/// The episodes of one patient, each as `rule state started fired ended by whom`, with times as seconds of the test.
fn episodes(held: &Held, patient: &str, rule: &str) -> Vec<String> {
    let second = |time: &str| match chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f") {
        Ok(time) => (time.and_utc() - at(0)).num_seconds().to_string(),
        Err(_) => "–".to_owned(),
    };
    let of = |row: String| {
        let values: Vec<&str> = row.split('|').collect();
        (values[0] == patient && values[1] == rule).then(|| {
            let times: Vec<String> = values[3..6].iter().map(|time| second(time)).collect();
            format!("{} {} {}", values[2], times.join(" "), values[6..].join(" ")).trim_end().to_owned()
        })
    };
    held.rows(EPISODES).into_iter().filter_map(of).collect()
}

#[test]
fn a_store_of_the_version_before_is_upgraded_in_place_and_its_episodes_limits_and_windows_go_on() {
    for of in [in_mysql, in_sqlite] {
        let (job, topic, held) = before(of);
        let were = held.rows(EPISODES);
        let stored = ["SELECT COUNT(*) FROM readings", "SELECT COUNT(*), SUM(records) FROM minute"];
        let counted = stored.map(|sql| held.rows(sql));
        assert_eq!(episodes(&held, "P2", "tachycardia"), ["pending 175 – –"], "{were:#?}");

        // Whoever looks before it has started is told what to do, not what a database says.
        for command in [vec!["status"], vec!["alerts", "list"]] {
            let mut wardwatch = crate::fixtures::wardwatch();
            let looked = wardwatch.args(command).arg(job.file()).current_dir(job.folder.path()).output().unwrap();
            assert_eq!(looked.status.code(), Some(1), "{}", told(&looked));
            assert!(
                told(&looked).contains("the store is of an earlier version: it has no column"),
                "{}",
                told(&looked)
            );
        }

        // A start with nothing to read has the columns added, and changes nothing but that it answers a request.
        job.run_once();
        let answered = |row: &String| match row.strip_suffix('|') {
            Some(open) if row.starts_with("P8|hypoxia") => format!("{open}|doctor"),
            _ => row.clone(),
        };
        assert_eq!(held.rows(EPISODES), were.iter().map(answered).collect::<Vec<_>>());
        assert_eq!(stored.map(|sql| held.rows(sql)), counted);
        let ids = held.rows("SELECT DISTINCT topic_id FROM offsets");
        assert!(
            ids.len() == 1 && !ids[0].is_empty() && ids[0] != "NULL",
            "the topic's id is kept from now on: {ids:?}"
        );

        put(&topic, &sent(BEFORE, END));
        let log = run(&job);
        for (patient, rule, expected) in [
            ("P1", "tachycardia", &["ended 100 110 315 cleared nurse"] as &[&str]),
            ("P1", "limited", &["ended 100 110 315 cleared"]),
            ("P2", "tachycardia", &["ended 175 185 220 cleared"]),
            ("P2", "limited", &["ended 175 185 220 cleared"]),
            ("P3", "tachycardia", &["ended 60 70 105 cleared"]),
            ("P4", "tachycardia", &["ended 100 110 185 cleared"]),
            ("P5", "hypoxia", &["latched 60 70 –"]),
            ("P6", "tachycardia", &["firing 120 130 –"]),
            ("P6", "limited", &["firing 250 260 –"]),
            ("P7", "tachycardia", &["ended 100 110 215 cleared"]),
            ("P7", "hypoxia", &["firing 300 310 –"]),
            ("P8", "hypoxia", &["firing 120 130 –  doctor"]),
            ("P10", "tachycardia", &[]),
            ("P11", "hypoxia", &["firing 175 185 –"]),
        ] {
            assert_eq!(episodes(&held, patient, rule), expected, "{patient} {rule}\n{log}");
        }
        let no_data = "SELECT patient_id, state FROM alerts WHERE rule = 'no_data' ORDER BY patient_id";
        assert_eq!(held.rows(no_data), ["P11|firing", "P9|ended"]);
        // Nobody hears of anything twice, and of what is silenced not at all.
        let doubled = "SELECT episode, kind, COUNT(*) FROM alert_events WHERE kind = 'firing' GROUP BY episode, kind HAVING COUNT(*) > 1";
        assert_eq!(held.rows(doubled), [""; 0]);
        let doubled = "SELECT episode, kind, COUNT(*) FROM notifications GROUP BY episode, kind HAVING COUNT(*) > 1";
        assert_eq!(held.rows(doubled), [""; 0]);
        let told = |patient: &str| {
            let sql = "SELECT COUNT(*) FROM notifications JOIN alerts ON alerts.id = notifications.episode \
                WHERE alerts.rule = 'hypoxia' AND alerts.patient_id = ";
            held.rows(&format!("{sql}'{patient}'"))
        };
        assert_eq!([told("P7"), told("P8")], [["0"], ["1"]]);

        // What is latched waits for somebody still, and today's command line takes it on.
        let id = held.rows("SELECT id FROM alerts WHERE patient_id = 'P5' AND rule = 'hypoxia'").remove(0);
        ask(&job, "alerts", "ack", &[&id, "--wait", "0s"]);
        put(&topic, &sent(END, END + 5));
        run(&job);
        assert_eq!(episodes(&held, "P5", "hypoxia"), ["ended 60 70 400 acknowledged nurse"]);
        assert_eq!(held.rows("SELECT COUNT(*) FROM rejects UNION ALL SELECT COUNT(*) FROM late_rows"), ["1", "1"]);
        windows_are_those_of_an_undisturbed_run(&topic, &held);
    }
}

/// Holds windows against those of a job that read all records in one go, and readings against the records.
fn windows_are_those_of_an_undisturbed_run(topic: &Topic, held: &Held) {
    let undisturbed = job(&topic.name, "sqlite://undisturbed.db");
    run(&undisturbed);
    let undisturbed_store = Held::Sqlite(undisturbed.folder.path().join("undisturbed.db"));
    for (table, _) in WINDOWS {
        let columns = match table {
            "minute" => "CAST(window_start AS CHAR), records, heart_rate_sum, heart_rate_median",
            "sliding" => "CAST(window_start AS CHAR), records, heart_rate_max",
            "present" => "CAST(window_start AS CHAR), records, spo2_min",
            _ => "heart_rate, spo2",
        };
        let sql = format!("SELECT patient_id, {columns} FROM {table} ORDER BY 1, 2");
        let expected = undisturbed_store.rows(&sql);
        assert!(expected.len() >= 9, "{expected:?}");
        assert_eq!(held.rows(&sql), expected, "{table}");
    }
    let per_patient =
        "SELECT patient_id, COUNT(*), COUNT(DISTINCT event_time) FROM readings GROUP BY patient_id ORDER BY 1";
    assert_eq!(held.rows(per_patient), undisturbed_store.rows(per_patient));
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for record in sent(0, END + 5) {
        let record: serde_json::Value = serde_json::from_str(&record.payload).unwrap();
        *expected.entry(record["patient_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    *expected.entry("P3".to_owned()).or_default() += 1; // the row that came too late for its windows
    for (patient, count) in expected {
        let sql = format!("SELECT COUNT(*) FROM readings WHERE patient_id = '{patient}' AND heart_rate IS NOT NULL");
        assert_eq!(held.rows(&sql), [count.to_string()], "{patient}");
    }
}

/// `run --once --close-windows`; returns what it logged.
fn run(job: &TestJob) -> String {
    let output = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    told(&output)
}

/// Runs a command of the job that asks for something; the job itself is not running, so nobody answers.
fn ask(job: &TestJob, command: &str, verb: &str, arguments: &[&str]) {
    let mut wardwatch = crate::fixtures::wardwatch();
    wardwatch.args([command, verb]).arg(job.file()).args(arguments).current_dir(job.folder.path());
    drop(wardwatch.env("USER", "nurse").output().unwrap());
}

#[test]
#[ignore = "makes tests/before again, with the program of the version before, which WARDWATCH_PROGRAM names"]
fn the_stores_of_before_are_made_again() {
    let topic = Topic::create(2);
    let mut records = sent(0, 120);
    put(&topic, &records);
    let database = Database::create(&mysql_url());
    let embedded = job(&topic.name, "sqlite://test.db");
    let path = embedded.folder.path().join("test.db");
    let stores = [(job(&topic.name, &database.url), Held::MySql(database)), (embedded, Held::Sqlite(path))];
    for (job, _) in &stores {
        job.run_once();
        let limit = ["--patient", "P6", "--vital", "heart_rate", "--high", "150", "--reason", "athlete"];
        ask(job, "limits", "set", &[&limit as &[_], &["--from", "2026-01-01T05:00:00Z"]].concat());
    }
    let mut next = sent(120, 150);
    next.push(Record { partition: 0, stamp: at(149).timestamp_millis(), payload: "no JSON".to_owned() });
    next.push(Record {
        partition: 0,
        stamp: at(149).timestamp_millis(),
        payload: r#"{"patient_id":"P2","event_time":"2026-01-01T06:02:29Z","heart_rate":500}"#.to_owned(),
    });
    put(&topic, &next);
    records.extend(next);
    let id = |held: &Held, patient: &str, rule: &str| {
        held.rows(&format!("SELECT id FROM alerts WHERE patient_id = '{patient}' AND rule = '{rule}'")).remove(0)
    };
    for (job, held) in &stores {
        job.run_once();
        ask(job, "alerts", "ack", &[&id(held, "P1", "tachycardia"), "--note", "seen", "--wait", "0s"]);
        let silence = ["--patient", "P7", "--until", "2036-01-01T00:00:00Z", "--reason", "known", "--wait", "0s"];
        ask(job, "alerts", "silence", &silence);
    }
    // A row that comes too late for its windows, and the last half minute.
    let mut next = sent(150, BEFORE);
    next.push(Record {
        partition: 1,
        stamp: at(BEFORE).timestamp_millis(),
        payload: r#"{"patient_id":"P3","event_time":"2026-01-01T06:00:21Z","heart_rate":81,"spo2":97}"#.to_owned(),
    });
    put(&topic, &next);
    records.extend(next);
    for (job, held) in &stores {
        // It is killed, so what windows hold is partly in the snapshot and partly in Kafka.
        let mut running = job.start();
        let all = records.len().to_string();
        running.wait_until("all is read", || held.rows("SELECT SUM(next_offset) FROM offsets") == [all.as_str()]);
        running.signal("KILL");
        running.wait();
        ask(job, "alerts", "ack", &[&id(held, "P8", "hypoxia"), "--by", "doctor", "--wait", "0s"]);
    }
    write_fixture(&topic, &records, &stores);
}

/// Writes dumps and records. The day of the making becomes that of the records, so that no clock is behind the store's.
fn write_fixture(topic: &Topic, records: &[Record], stores: &[(TestJob, Held)]) {
    let today = chrono::Utc::now().format("%Y-%m-%d").to_string();
    let line = |Record { partition, stamp, payload }: &Record| {
        serde_json::json!({ "partition": partition, "stamp": stamp, "payload": payload }).to_string() + "\n"
    };
    std::fs::create_dir_all(fixture("")).unwrap();
    std::fs::write(fixture("records.jsonl"), records.iter().map(line).collect::<String>()).unwrap();
    for (_, held) in stores {
        let (name, dump) = match held {
            Held::MySql(database) => ("mysql.sql", mysql_dump(&mut database.connect())),
            Held::Sqlite(path) => ("sqlite.sql", sqlite_dump(path)),
        };
        std::fs::write(fixture(name), dump.replace(&topic.name, TOPIC).replace(&today, "2026-01-01")).unwrap();
    }
}

fn mysql_dump(connection: &mut mysql::Conn) -> String {
    let mut dump = String::new();
    for table in rows(connection, "SHOW TABLES") {
        let made = rows(connection, &format!("SHOW CREATE TABLE `{table}`")).remove(0);
        let (_, made) = made.split_once('|').unwrap();
        writeln!(dump, "{made};").unwrap();
        let rows: Vec<mysql::Row> = connection.query(format!("SELECT * FROM `{table}` ORDER BY 1, 2, 3")).unwrap();
        let row = |row: mysql::Row| {
            let values: Vec<String> = row.unwrap().iter().map(|value| value.as_sql(false)).collect();
            format!("({})", values.join(","))
        };
        let rows: Vec<String> = rows.into_iter().map(row).collect();
        if !rows.is_empty() {
            writeln!(dump, "INSERT INTO `{table}` VALUES\n{};", rows.join(",\n")).unwrap();
        }
    }
    dump
}

fn sqlite_dump(path: &Path) -> String {
    let mut dump = String::new();
    let made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name";
    sqlite_rows(path, made).iter().for_each(|made| writeln!(dump, "{made};").unwrap());
    for table in sqlite_rows(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
        let columns =
            sqlite_rows(path, &format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')"));
        let rows = sqlite_rows(path, &format!("SELECT {} FROM \"{table}\"", columns.join(" || ',' || ")));
        if !rows.is_empty() {
            let rows: Vec<String> = rows.iter().map(|row| format!("({row})")).collect();
            writeln!(dump, "INSERT INTO \"{table}\" VALUES\n{};", rows.join(",\n")).unwrap();
        }
    }
    dump
}
