//! Rules that begin, or begin again, are judged on the values that stand: nobody waits for the next reading of a cuff.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, Running, TestJob, Topic, mysql_url};

/// The columns of a monitor, and of a cuff whose readings count for four hours.
const COLUMNS: &str = "patient_id = { type = \"text\" }
event_time = { type = \"time\" }
heart_rate = { type = \"float\", unit = \"/min\" }
systolic = { type = \"float\", valid_for = \"4h\" }
diastolic = { type = \"float\", valid_for = \"4h\" }
breaths = { type = \"int\", valid_for = \"1m\" }";

const LOW: &str = "-- @severity: high\n-- @for: 2s\n-- @message: {systolic:.0}
SELECT patient_id, event_time, systolic FROM vitals WHERE systolic < 90
";

/// Low by a column that no rule was judged by before.
const LOW_DIASTOLIC: &str = "-- @severity: high\n-- @for: 2s\n-- @message: {diastolic:.0}
SELECT patient_id, event_time, diastolic FROM vitals WHERE diastolic < 45
";

const INDEX: &str = "-- @severity: high\n-- @message: {index:.1}
SELECT patient_id, event_time, heart_rate / systolic AS index FROM vitals WHERE heart_rate / systolic > 1
";

const BELOW_LIMIT: &str = "-- @severity: high\n-- @message: {systolic:.0}
SELECT v.patient_id, v.event_time, v.systolic FROM vitals AS v
JOIN own_limits AS l ON l.patient_id = v.patient_id WHERE v.systolic < l.low
";

/// Fails on a batch with a record without breaths, whosever it is.
const FAILS: &str = "-- @severity: high\n-- @message: {systolic:.0}
SELECT patient_id, event_time, systolic FROM vitals
WHERE systolic < 90 AND coalesce(100 / breaths, 1) >= 0
";

fn job() -> (TestJob, Topic, Database) {
    let (topic, database) = (Topic::create(2), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .columns(COLUMNS)
        .source("lateness = \"0s\"")
        .more("reference_refresh = \"200ms\"\n[trigger]\nevery = \"100ms\"")
        .query("rules/fast", crate::fixtures::TACHYCARDIA)
        .query("rules/very_low", &LOW.replace("< 90", "< 50"));
    (job, topic, database)
}

/// A record of `values`, measured at a second of the first minute of the year.
fn put(topic: &Topic, partition: i32, patient: &str, second: u32, values: &str) {
    let record = format!("{{\"patient_id\":\"{patient}\",\"event_time\":\"2026-01-01T00:00:{second:02}Z\",{values}}}");
    topic.put(partition, None, record.as_bytes());
    topic.flush();
}

/// One whose pressure is low, with a monitor and without, and one who is well.
fn ward(topic: &Topic) {
    for (partition, patient, systolic) in [(0, "P1", 70), (1, "P2", 60), (0, "P3", 120)] {
        put(topic, partition, patient, 5, &format!("\"systolic\":{systolic},\"diastolic\":{}", systolic - 30));
    }
    for second in 6..9 {
        put(topic, 0, "P1", second, "\"heart_rate\":80");
        put(topic, 0, "P3", second, "\"heart_rate\":80");
    }
}

fn wait_for(running: &mut Running, database: &Database, records: usize) {
    running.wait_until("the records are there", || {
        database.so_far("SELECT SUM(records) FROM batches") == records.to_string()
    });
}

/// What fires of which patient, and since which second.
fn firing(database: &Database) -> Vec<String> {
    let alerts = "SELECT rule, patient_id, text, SECOND(started_at) FROM alerts WHERE state = 'firing' ORDER BY 1, 2";
    if database.rows("SHOW TABLES LIKE 'alerts'").is_empty() { Vec::new() } else { database.rows_of_rules(alerts) }
}

fn edited(job: TestJob) -> TestJob {
    job.query("rules/low", LOW).query("rules/low_diastolic", LOW_DIASTOLIC).query("rules/shock", INDEX)
}

const ALL: [&str; 5] =
    ["low|P1|70|5", "low|P2|60|5", "low_diastolic|P1|40|5", "low_diastolic|P2|30|5", "shock|P1|1.1|8"];

#[test]
fn a_rule_that_is_new_or_changed_by_an_edit_is_judged_on_what_stands() {
    let (job, topic, database) = job();
    let mut running = job.start();
    ward(&topic);
    wait_for(&mut running, &database, 9);
    let job = edited(job);
    running.wait_until("what was measured before the edit fires", || firing(&database) == ALL);
    let job = job.query("rules/low", &LOW.replace("< 90", "< 65"));
    running.wait_until("the edit is taken", || database.rows("SELECT 1 FROM edits WHERE outcome = 'taken'").len() == 2);
    put(&topic, 0, "P1", 20, "\"systolic\":110,\"diastolic\":80");
    put(&topic, 0, "P1", 21, "\"heart_rate\":80");
    put(&topic, 1, "P2", 20, "\"systolic\":110,\"diastolic\":80");
    running.wait_until("the next readings end all of them", || firing(&database).is_empty());
    assert_eq!(database.rows_of_rules("SELECT COUNT(*) FROM alerts"), ["5"]);
    drop(job);
}

/// The heart goes on beating while the edit is taken, and what is measured seldom counts beside it from then on.
#[test]
fn a_new_rule_of_several_vitals_goes_on_with_what_stands_of_one_beside_what_comes_of_the_other() {
    let (job, topic, database) = job();
    let mut running = job.start();
    put(&topic, 0, "P1", 5, "\"systolic\":70,\"diastolic\":40");
    wait_for(&mut running, &database, 1);
    let job = job.query("rules/shock", &INDEX.replace("-- @message", "-- @for: 2s\n-- @message"));
    let mut tenths = 60;
    running.wait_until("it has held", || {
        tenths += 1;
        let record = format!(
            "{{\"patient_id\":\"P1\",\"event_time\":\"2026-01-01T00:00:{:04.1}Z\",\"heart_rate\":80}}",
            f64::from(tenths) / 10.0
        );
        topic.put(0, None, record.as_bytes());
        topic.flush();
        let firing = "SELECT TIMESTAMPDIFF(SECOND, started_at, firing_at) FROM alerts WHERE rule = 'shock'";
        database.so_far(firing) == "2"
    });
    assert_eq!(database.rows_of_rules("SELECT COUNT(*) FROM alerts"), ["1"]);
    drop(job);
}

/// Several rules of the same two vitals, which one reading of a cuff has told; killed before they have held for long enough, too.
#[test]
fn new_rules_of_what_one_reading_told_together_fire_each_by_itself_and_after_a_kill() {
    let (job, topic, database) = job();
    let mut running = job.start();
    ward(&topic);
    wait_for(&mut running, &database, 9);
    let together = |hold: u32| {
        format!(
            "-- @severity: high\n-- @for: {hold}s\n-- @message: {{systolic:.0}}\n\
             SELECT patient_id, event_time, systolic FROM vitals WHERE systolic < 90 AND diastolic < 45\n"
        )
    };
    let job = job
        .query("rules/both_first", &together(2))
        .query("rules/both_second", &together(3))
        .query("rules/both_third", &together(8));
    let expected = |rules: &[&str]| -> Vec<String> {
        rules.iter().flat_map(|rule| [format!("{rule}|P1|70|5"), format!("{rule}|P2|60|5")]).collect()
    };
    running.wait_until("two have held", || firing(&database) == expected(&["both_first", "both_second"]));
    running.signal("KILL");
    running.wait();
    let mut running = job.start();
    running
        .wait_until("the third, too", || firing(&database) == expected(&["both_first", "both_second", "both_third"]));
    drop(job);
}

#[test]
fn a_rule_that_was_edited_while_the_job_did_not_run_is_judged_on_what_stands() {
    let (job, topic, database) = job();
    ward(&topic);
    job.run_once();
    let job = edited(job);
    job.run_once();
    std::thread::sleep(std::time::Duration::from_secs(3));
    job.run_once();
    assert_eq!(firing(&database), ALL);
    let events = database.rows("SELECT COUNT(*) FROM alert_events");
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*) FROM alert_events"), events, "and once");
}

#[test]
fn a_rule_that_is_away_for_a_moment_or_has_another_name_goes_on_to_tell_of_what_stands() {
    let (job, topic, database) = job();
    let job = job.query("rules/low", LOW);
    let file = job.file().with_file_name("sql").join("rules/low.sql");
    let mut running = job.start();
    ward(&topic);
    running.wait_until("it fires", || firing(&database) == ["low|P1|70|5", "low|P2|60|5"]);
    std::fs::remove_file(&file).unwrap();
    running.wait_until("the rule is gone, and its alerts", || firing(&database).is_empty());
    let job = job.query("rules/low", LOW);
    let open = "SELECT rule, patient_id, text FROM alerts WHERE state = 'firing' ORDER BY 1, 2";
    running.wait_until("they are back with it", || database.rows_of_rules(open) == ["low|P1|70", "low|P2|60"]);
    std::fs::remove_file(&file).unwrap();
    let job = job.query("rules/low_pressure", LOW);
    running.wait_until("they stand by the other name", || {
        database.rows_of_rules(open) == ["low_pressure|P1|70", "low_pressure|P2|60"]
    });
    drop(job);
}

#[test]
fn a_limit_that_is_set_counts_for_the_reading_that_stands() {
    let (job, topic, database) = job();
    let job = job
        .sql_file("seeds/own_limits.csv", "# @key: patient_id\npatient_id,low:float\nP1,50\nP3,50\n")
        .query("rules/below", BELOW_LIMIT);
    let mut running = job.start();
    ward(&topic);
    wait_for(&mut running, &database, 9);
    assert!(firing(&database).is_empty());
    database.connect().query_drop("UPDATE own_limits SET low = 80").unwrap();
    running.wait_until("it fires by the new limit", || firing(&database) == ["below|P1|70|5"]);
}

#[test]
fn a_limit_that_is_set_between_two_runs_or_begins_by_itself_counts_for_the_reading_that_stands() {
    let (job, topic, database) = job();
    let limits = "# @key: patient_id, since\npatient_id,since:time,low:float\nP1,2020-01-01T00:00:00Z,50\nP2,2026-01-01T00:00:30Z,80\n";
    let below = BELOW_LIMIT.replace("WHERE", "WHERE l.since <= event_now() AND");
    let job = job.sql_file("seeds/own_limits.csv", limits).query("rules/below", &below);
    ward(&topic);
    job.run_once();
    assert!(firing(&database).is_empty());
    database.connect().query_drop("UPDATE own_limits SET low = 80 WHERE patient_id = 'P1'").unwrap();
    job.run_once();
    assert_eq!(firing(&database), ["below|P1|70|5"], "nobody has said so to a job that ran");
    put(&topic, 0, "P3", 40, "\"heart_rate\":80");
    put(&topic, 1, "P3", 40, "\"heart_rate\":80");
    job.run_once();
    assert_eq!(firing(&database), ["below|P1|70|5", "below|P2|60|5"], "it has begun");
}

#[test]
fn a_doubtful_value_that_stands_is_judged_by_a_rule_that_begins() {
    let (job, topic, database) = job();
    let columns = COLUMNS.replace(
        "systolic = { type = \"float\",",
        "systolic = { type = \"float\", plausible = [40, 300], doubtful = [0, 40],",
    );
    let job = job.columns(&columns);
    put(&topic, 0, "P1", 5, "\"systolic\":15");
    put(&topic, 0, "P1", 6, "\"heart_rate\":80");
    job.run_once();
    let job = job.query("rules/low", &LOW.replace("systolic < 90", "coalesce(systolic, systolic_doubtful) < 90"));
    job.run_once();
    std::thread::sleep(std::time::Duration::from_secs(3));
    job.run_once();
    let alerts = "SELECT patient_id, state, SECOND(started_at) FROM alerts WHERE rule = 'low'";
    assert_eq!(database.rows(alerts), ["P1|firing|5"]);
}

#[test]
fn what_comes_while_a_rule_fails_is_judged_when_it_does_no_longer() {
    let (job, topic, database) = job();
    let job = job.query("rules/low", FAILS);
    let mut running = job.start();
    put(&topic, 0, "P1", 4, "\"heart_rate\":80,\"breaths\":14");
    wait_for(&mut running, &database, 1);
    // In one batch: the one for whom the query fails, and one whom it should tell of.
    let of = |patient: &str, values: &str| {
        format!("{{\"patient_id\":\"{patient}\",\"event_time\":\"2026-01-01T00:00:05Z\",{values}}}")
    };
    topic.put(0, None, of("P1", "\"systolic\":80,\"breaths\":0").as_bytes());
    topic.put(0, None, of("P2", "\"systolic\":60").as_bytes());
    topic.flush();
    running.wait_until("it fails", || !database.rows("SELECT 1 FROM query_failures").is_empty());
    put(&topic, 0, "P1", 9, "\"heart_rate\":80,\"breaths\":14");
    put(&topic, 0, "P1", 10, "\"heart_rate\":80,\"breaths\":14");
    running.wait_until("both are told of", || firing(&database) == ["low|P1|80|5", "low|P2|60|5"]);
}

#[test]
fn a_rule_that_fails_on_the_last_values_of_one_patient_is_judged_on_the_others_and_that_is_told() {
    let (job, topic, database) = job();
    put(&topic, 0, "P1", 5, "\"systolic\":80,\"breaths\":0");
    put(&topic, 1, "P2", 5, "\"systolic\":60");
    job.run_once();
    let job = job.query("rules/low", FAILS);
    job.run_once();
    assert_eq!(firing(&database), ["low|P2|60|5"]);
    let unjudged = "SELECT patient_id, rule, detail LIKE '%on the last values: %zero%' FROM coverage";
    assert_eq!(database.rows(unjudged), ["P1|low|1"]);
    let status = job.command("status").args(["--patience", "1m"]).output().unwrap();
    assert_eq!(status.status.code(), Some(4), "{}", crate::fixtures::told(&status));
}
