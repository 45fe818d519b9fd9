//! Reference tables: seeded once, changed in the store, resolved per patient over ward over default.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, TestJob, Topic, mysql_url, repository, told, wait_until};

const RULE: &str = "-- @severity: high\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, t.high
FROM vitals AS v JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate'
WHERE v.heart_rate > t.high
";

const WARDS: &str = "-- @key: ward, window_start
SELECT p.ward, tumble(v.event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
FROM vitals AS v JOIN patients AS p ON p.patient_id = v.patient_id
GROUP BY p.ward, tumble(v.event_time, INTERVAL '1 minute')
";

fn shipped(name: &str) -> String {
    std::fs::read_to_string(repository().join("sql/vitals").join(name)).unwrap()
}

#[test]
fn a_limit_changed_in_the_store_holds_from_the_batch_after_the_refresh_on() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .more("reference_refresh = \"100ms\"")
        .sql_file("seeds/limits.csv", &shipped("seeds/limits.csv"))
        .sql_file(
            "seeds/patients.csv",
            "# @key: patient_id\npatient_id,ward,age_band,spo2_scale:int\nP2,icu,,\nP4,paediatrics,child,\n",
        )
        .sql_file("views/limits_now.sql", &shipped("views/limits_now.sql"))
        .sql_file("views/thresholds.sql", &shipped("views/thresholds.sql"))
        .query("rules/fast", RULE)
        .query("tables/wards", WARDS);
    topic.put_samples("P1", &[(0, 115.0), (1, 125.0)]);
    topic.put_samples("P2", &[(1, 125.0)]);
    topic.put_samples("P3", &[(1, 119.0)]);
    topic.put_samples("P4", &[(1, 150.0)]);
    let mut running = job.start();
    let texts = || {
        let made = database.rows("SHOW TABLES LIKE 'alerts'");
        let sql = "SELECT patient_id, text FROM alerts ORDER BY started_at, patient_id";
        if made.is_empty() { Vec::new() } else { database.rows(sql) }
    };
    running.wait_until("the default limit holds", || texts() == ["P1|HR 125 > 120", "P2|HR 125 > 120"]);

    let mut store = database.connect();
    store
        .query_drop(
            "INSERT INTO limits (ward, vital, high, valid_from) VALUES ('icu', 'heart_rate', 110, '2025-12-31')",
        )
        .unwrap();
    store
        .query_drop(
            "INSERT INTO limits (patient_id, vital, low, high, valid_from) VALUES ('P3', 'heart_rate', 40, 90, '2025-12-31')",
        )
        .unwrap();
    // One that begins later, and one that is over: they do not hold.
    store.query_drop("INSERT INTO limits (vital, high) VALUES ('heart_rate', 60)").unwrap();
    store
        .query_drop(
            "INSERT INTO limits (patient_id, vital, high, valid_from, valid_until)
             VALUES ('P1', 'heart_rate', 60, '2025-12-30', '2025-12-31')",
        )
        .unwrap();
    wait_until("the change is taken over and told", || running.log().matches("reference table changed").count() >= 1);
    wait_until("by the next batch", || running.log().contains("rows=16"));
    topic.put_samples("P2", &[(2, 80.0), (3, 112.0)]);
    topic.put_samples("P3", &[(4, 95.0)]);
    topic.put_samples("P1", &[(5, 80.0), (6, 112.0)]);
    running.wait_until("the ward's and the patient's own limit hold", || {
        let texts = texts();
        texts.contains(&"P2|HR 112 > 110".to_owned()) && texts.contains(&"P3|HR 95 > 90".to_owned())
    });
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert!(!texts().iter().any(|text| text.starts_with("P1|HR 112")), "{:?}", texts());

    let closing = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(closing.status.success(), "{}", told(&closing));
    assert_eq!(database.rows("SELECT ward, records FROM wards ORDER BY ward"), ["icu|3", "paediatrics|1"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM limits"), ["16"], "a restart does not seed again");
    let changes =
        database.rows("SELECT after_row FROM reference_changes WHERE table_name = 'limits' AND before_row = ''");
    assert_eq!(changes.len(), 4, "each change is an event");
    assert!(changes.iter().any(|change| change.contains("\"ward\":\"icu\"")), "{changes:?}");
}

#[test]
fn faults_of_seeds_and_views_are_told_with_their_place() {
    let job = TestJob::new("topic", "sqlite://x.db")
        .query("tables/readings", crate::fixtures::READINGS)
        .sql_file("seeds/limits.csv", "# @key: patient_id\npatient_id,high:flaot\n");
    let output = job.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("limits.csv:2:1: column \"high\": unknown type \"flaot\"; did you mean \"float\"?"));

    let job = job
        .sql_file("seeds/limits.csv", "# @key: patient_id\npatient_id,high:float\n")
        .sql_file("views/thresholds.sql", "-- @key: patient_id\nSELECT patient_id, hgih FROM limits");
    let output = job.command("check").output().unwrap();
    assert!(told(&output).contains("a view has no header keys"), "{}", told(&output));
    let job = job.sql_file("views/thresholds.sql", "SELECT patient_id, hgih FROM limits");
    let output = job.command("check").output().unwrap();
    assert!(
        told(&output).contains("thresholds.sql:1:20: unknown column \"hgih\"; did you mean \"high\"?"),
        "{}",
        told(&output)
    );
}

#[test]
fn a_limit_that_cannot_be_read_counts_for_nothing_and_is_told_and_the_others_hold() {
    let topic = Topic::create(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let job = TestJob::new(&topic.name, &format!("sqlite://{}", file.display()))
        .more("reference_refresh = \"100ms\"")
        .sql_file("seeds/limits.csv", "# @key: patient_id\npatient_id,high:float\nP1,100\nP2,100\n")
        .query("tables/readings", crate::fixtures::READINGS)
        .query(
            "rules/fast",
            "-- @severity: high\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, l.high
FROM vitals AS v JOIN limits AS l ON l.patient_id = v.patient_id WHERE v.heart_rate > l.high",
        );
    topic.put_samples("P1", &[(0, 80.0)]);
    let mut running = job.start();
    let store = rusqlite::Connection::open(&file).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let found = |sql: &str| -> String {
        let rows = store.prepare(sql).and_then(|mut found| {
            found.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<String>, _>>()
        });
        rows.unwrap_or_default().join("; ")
    };
    running.wait_until("a batch", || found("SELECT patient_id FROM readings") == "P1");
    store.execute("UPDATE limits SET high = 'much' WHERE patient_id = 'P1'", []).unwrap();
    let error = "SELECT error FROM edits ORDER BY edited_at DESC LIMIT 1";
    let expected =
        "table \"limits\": column \"high\" holds \"much\", which is not its type, in the row with patient_id = \"P1\"";
    running.wait_until("it is told", || found(error).contains(expected));
    assert!(told(&job.command("status").output().unwrap()).contains(expected));
    topic.put_samples("P1", &[(1, 130.0)]);
    topic.put_samples("P2", &[(1, 130.0)]);
    running.wait_until("the others hold", || found("SELECT patient_id FROM alerts") == "P2");
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());

    // A start goes on with what can be read, and tells too.
    topic.put_samples("P2", &[(2, 131.0)]);
    let start = job.command("run").arg("--once").output().unwrap();
    assert!(start.status.success() && told(&start).contains("cannot be read"), "{}", told(&start));
    assert!(found(error).contains(expected));
    store.execute("UPDATE limits SET high = 90 WHERE patient_id = 'P1'", []).unwrap();
    let mut running = job.start();
    topic.put_samples("P1", &[(3, 95.0)]);
    running.wait_until("a mended row counts again", || {
        found("SELECT text FROM alerts WHERE patient_id = 'P1'") == "HR 95 > 90"
    });
}

#[test]
fn a_reference_table_that_cannot_be_read_again_is_an_alert_and_a_finding_and_its_rows_of_before_count() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job
        .more("reference_refresh = \"100ms\"")
        .sql_file("seeds/limits.csv", "# @key: patient_id\npatient_id,high:float\nP1,100\n")
        .query(
            "rules/tachycardia",
            "-- @severity: high\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, l.high
FROM vitals AS v JOIN limits AS l ON l.patient_id = v.patient_id WHERE v.heart_rate > l.high",
        );
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("it reads", || database.so_far("SELECT COUNT(*) FROM readings") == "1");
    let execute = |sql: &str| mysql::prelude::Queryable::query_drop(&mut database.connect(), sql).unwrap();
    execute("RENAME TABLE limits TO elsewhere");
    let alert = "SELECT state, patient_id FROM alerts WHERE rule='reference_unread'";
    running.wait_until("it is an alert of the ward", || database.so_far(alert) == "firing|");
    let status = job.command("status").output().unwrap();
    assert_eq!(status.status.code(), Some(4));
    let said = told(&status);
    assert!(
        said.contains("reference_unread · reference tables cannot be read, so limits and the like count as they were"),
        "{said}"
    );
    assert!(said.contains("limits"), "which table: {said}");
    topic.put_samples("P1", &[(1, 130.0)]);
    running.wait_until("the limit of before holds", || {
        database.so_far("SELECT text FROM alerts WHERE rule='tachycardia'") == "HR 130 > 100"
    });
    execute("RENAME TABLE elsewhere TO limits");
    running.wait_until("it is over", || database.so_far(alert) == "ended|");
}

#[test]
fn limits_that_were_gone_at_a_start_are_told_of_until_somebody_has_seen_it() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .more("reference_refresh = \"100ms\"")
        .sql_file("seeds/limits.csv", &shipped("seeds/limits.csv"))
        .sql_file("seeds/patients.csv", "# @key: patient_id\npatient_id,ward,age_band,spo2_scale:int\n")
        .sql_file("views/limits_now.sql", &shipped("views/limits_now.sql"))
        .sql_file("views/thresholds.sql", &shipped("views/thresholds.sql"))
        .query("rules/fast", RULE);
    let mut running = job.start();
    running.wait_until("it runs", || database.so_far("SELECT COUNT(*) > 0 FROM batches") == "1");
    let set = "INSERT INTO limits (patient_id, vital, high, valid_from) VALUES ('P1', 'heart_rate', 100, '2025-12-31')";
    database.connect().query_drop(set).unwrap();
    running.wait_until("the limit is seen", || database.so_far("SELECT COUNT(*) FROM reference_changes") == "1");
    running.signal("TERM");
    running.wait();
    let alert = "SELECT id FROM alerts WHERE rule = 'reference_lost' AND is_open = 1";
    job.run_once();
    assert_eq!(database.rows(alert), [""; 0], "it is there");

    database.connect().query_drop("RENAME TABLE limits TO limits_of_yesterday").unwrap();
    job.run_once();
    let text = database.rows("SELECT text FROM alerts WHERE rule = 'reference_lost' AND is_open = 1");
    assert!(text[0].contains("\"limits\", in which people had made 1 changes"), "{text:?}");
    // It does not pass by itself, though the table is there now.
    job.run_once();
    let status = job.command("status").output().unwrap();
    assert!(status.status.code() == Some(4) && told(&status).contains("reference_lost · "), "{}", told(&status));
    let id = database.rows(alert).remove(0);
    let mut acknowledge = crate::fixtures::wardwatch();
    acknowledge.args(["alerts", "ack"]).arg(job.file()).args([&id, "--by", "nora"]).current_dir(job.folder.path());
    assert!(acknowledge.status().unwrap().success());
    job.run_once();
    job.run_once();
    assert_eq!(database.rows(alert), [""; 0]);
}
