//! The promise: whatever is killed and whenever, the tables equal those of a run that was never killed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql::prelude::Queryable;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

use crate::fixtures::{
    Database, PER_BATCH, READINGS, TACHYCARDIA, TestJob, Topic, kafka, mysql_url, sample, seed, told, wait_until,
};
use crate::proxy::{self, Verdict};
use crate::services::OwnService;

const PARTITIONS: i32 = 3;
const KILLS: usize = 50;
const RESTARTS: usize = 5;

/// Ten seconds of event time, whatever batches they came in and wherever the job was killed.
const WINDOWS: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '10 seconds') AS window_start, count(*) AS records,
    sum(heart_rate) AS heart_rate_sum, min(spo2) AS spo2_min, count(DISTINCT heart_rate) AS heart_rates
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '10 seconds')
";

#[test]
fn tables_equal_an_oracle_after_fifty_kills_and_five_restarts_of_the_database() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let own = OwnService::start("mysql");
    let topic = Topic::create(PARTITIONS);
    let database = Database::create(own.as_ref().map_or(&mysql_url(), |own| &own.address));
    let job = TestJob::new(&topic.name, &database.url)
        .more("snapshot_every = 4\n[trigger]\nevery = \"100ms\"\n[[notify]]\nkind = \"log\"")
        .query("tables/windows_10s", WINDOWS)
        .query("tables/readings", READINGS)
        .query("tables/per_batch", PER_BATCH)
        .query("rules/tachycardia", TACHYCARDIA);
    let mut simulator = job
        .command("simulate")
        .args(["--patients", "12", "--rate", "300", "--interval", "1s", "--start", "2026-01-01T00:00:00Z"])
        .args(["--scenarios", "sepsis,bleeding,duplicates,lead-off,device-offline,hypoxia"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    let restarts: BTreeSet<usize> = rand::seq::index::sample(&mut random, KILLS, RESTARTS).into_iter().collect();
    for kill in 0..KILLS {
        let mut running = job.start();
        put_odd_records(&topic, kill);
        let life = Duration::from_millis(random.random_range(100..1_500));
        std::thread::sleep(life);
        if let (Some(own), true) = (&own, restarts.contains(&kill)) {
            own.kill();
            std::thread::sleep(Duration::from_millis(random.random_range(0..500)));
            own.start_again();
            std::thread::sleep(life);
        }
        assert_eq!(running.child.try_wait().unwrap(), None, "it runs until it is killed:\n{}", running.log());
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }
    assert!(Command::new("kill").arg(simulator.id().to_string()).status().unwrap().success());
    simulator.wait().unwrap();
    topic.flush();
    let closing = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(closing.status.success(), "{}", told(&closing));

    let oracle = Oracle::read(&topic.name);
    assert!(oracle.records.len() > 1_000, "there was something to lose: {} records", oracle.records.len());
    oracle.check(&database);
}

/// A job that was killed leaves nothing behind but its store, so a kill before each command to the store is a kill at
/// every step: of the start, of the commit with its snapshot, and of the end.
#[test]
fn tables_equal_an_oracle_after_a_kill_before_each_command_to_the_store() {
    fate_at_each_command(
        |_, _| {},
        |process| {
            // Its last command is a goodbye, after which it may be gone by itself before it is killed.
            let _ = Command::new("kill").args(["-9", &process.to_string()]).stderr(Stdio::null()).status().unwrap();
            Verdict::CutBefore
        },
    );
}

/// The server does what it is told, but the job never hears of it.
#[test]
fn tables_equal_an_oracle_after_a_lost_reply_to_each_command_to_the_store() {
    fate_at_each_command(|_, _| {}, |_| Verdict::CutAfter);
}

/// The same while tables refuse their rows now and then: what waits for them is part of the store that a kill leaves behind.
#[test]
fn tables_equal_an_oracle_after_a_kill_before_each_command_while_tables_refuse_their_rows() {
    const REFUSING: [&str; 3] = ["readings", "windows_10s", "per_batch"];
    let disturb = |database: &Database, step: usize| {
        let made = "SELECT COUNT(*) FROM information_schema.tables \
                    WHERE table_schema = DATABASE() AND table_name IN ('readings', 'windows_10s', 'per_batch')";
        let are_made = database.rows(made) == [REFUSING.len().to_string()];
        if !are_made || !step.is_multiple_of(5) {
            return; // the first steps do not get as far as to make the tables
        }
        for (number, table) in REFUSING.iter().enumerate() {
            let trigger = format!("refuse_{table}");
            database.connect().query_drop(format!("DROP TRIGGER IF EXISTS {trigger}")).unwrap();
            if (step / 5 + number).is_multiple_of(3) {
                let sql = format!(
                    "CREATE TRIGGER {trigger} BEFORE INSERT ON {table} FOR EACH ROW \
                     SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 9001, MESSAGE_TEXT = 'who knows'"
                );
                database.connect().query_drop(sql).unwrap();
            }
        }
    };
    fate_at_each_command(disturb, |process| {
        let _ = Command::new("kill").args(["-9", &process.to_string()]).stderr(Stdio::null()).status().unwrap();
        Verdict::CutBefore
    });
}

/// Runs the job again and again, each time after a step of `disturb` and with the `fate` of its process at one command later than the time before,
/// until it has ended before that.
fn fate_at_each_command(disturb: fn(&Database, usize), fate: fn(u32) -> Verdict) {
    #[derive(Default)]
    struct Fate {
        process: u32,
        left: usize,
    }
    let (topic, database) = (Topic::create(PARTITIONS), Database::create(&mysql_url()));
    let next = Arc::new(Mutex::new(Fate::default()));
    let fated = Arc::clone(&next);
    let behind_proxy = proxy::before(&database.url, move |_| {
        let mut fated = fated.lock().unwrap();
        fated.left = fated.left.wrapping_sub(1);
        if fated.left == 0 { fate(fated.process) } else { Verdict::Pass }
    });
    let job = |store: &str| {
        TestJob::new(&topic.name, store)
            .more("snapshot_every = 2\n[[notify]]\nkind = \"log\"")
            .query("tables/windows_10s", WINDOWS)
            .query("tables/readings", READINGS)
            .query("tables/per_batch", PER_BATCH)
            .query("rules/tachycardia", TACHYCARDIA)
    };
    let fated_job = job(&behind_proxy);
    let mut put = 1;
    for steps in 1.. {
        put_a_while(&topic, steps);
        put = steps + 1;
        disturb(&database, steps);
        let mut running = next.lock().unwrap();
        let log = std::fs::File::create(fated_job.folder.path().join("log")).unwrap();
        let mut child = fated_job.command("run").arg("--once").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        *running = Fate { process: child.id(), left: steps };
        drop(running);
        let ended = child.wait().unwrap();
        let log = std::fs::read_to_string(fated_job.folder.path().join("log")).unwrap();
        assert!(ended.success() || ended.code().is_none(), "at command {steps}: {ended}\n{log}");
        if next.lock().unwrap().left.wrapping_sub(1) < usize::MAX / 2 {
            println!("{steps} commands");
            assert!(steps > 50, "a start and a commit have more commands than {steps}");
            break;
        }
    }
    // A fast heart in batches that are committed one by one: at least one episode fires and does not end in the same batch. No time
    // is left out, for a device that is silent, or whose clock leaps, is an alert of its own.
    let fast = put.next_multiple_of(8);
    for number in put..fast + 4 {
        put_a_while(&topic, number);
        job(&database.url).run_once();
    }
    for table in ["readings", "windows_10s", "per_batch"] {
        database.connect().query_drop(format!("DROP TRIGGER IF EXISTS refuse_{table}")).unwrap();
    }
    let closing = job(&database.url).command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(closing.status.success(), "{}", told(&closing));
    Oracle::read(&topic.name).check(&database);
}

/// Two seconds of three patients, one of them fast now and then, and rows that are late.
fn put_a_while(topic: &Topic, number: usize) {
    let second = 2 * number as u32;
    for (partition, patient) in ["P1", "P2", "P3"].into_iter().enumerate() {
        let is_fast = patient == "P1" && (number / 4).is_multiple_of(2);
        let is_late = patient == "P2" && number.is_multiple_of(7);
        for at in [second, second + 1].into_iter().chain(is_late.then_some(second.saturating_sub(40))) {
            let rate = if is_fast { 130.0 } else { 70.0 + f64::from(at % 5) };
            topic.put(partition as i32, None, sample(patient, at, rate).as_bytes());
        }
    }
    put_odd_records(topic, number);
    topic.flush();
}

/// Records that become rejects and artefacts.
fn put_odd_records(topic: &Topic, number: usize) {
    let partition = number as i32 % PARTITIONS;
    topic.put(partition, None, b"no JSON");
    topic.put(partition, None, sample("X1", number as u32, 900.0).as_bytes());
}

#[test]
fn a_second_job_is_fenced_and_the_first_goes_on() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut first = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    let count = || database.rows("SELECT COUNT(*) FROM readings");
    wait_until("the first job works", || count_is(&database, 1));
    let mut second = job.start();
    assert_eq!(second.wait(), Some(1));
    assert!(second.log().contains("fenced: another process"), "{}", second.log());
    let [holder, since] =
        ["SELECT holder FROM leases", "SELECT DATE_FORMAT(since_at, '%Y-%m-%dT%H:%i:%sZ') FROM leases"]
            .map(|sql| database.rows(sql).pop().unwrap());
    assert!(holder.contains(&format!(":{}:", first.child.id())), "{holder}");
    assert!(second.log().contains(&format!("{holder}, writes for this job since {since}")), "{}", second.log());
    topic.put_samples("P1", &[(1, 80.0)]);
    wait_until("the first job goes on", || count() == ["2"]);
    first.signal("TERM");
    assert_eq!(first.wait(), Some(0), "{}", first.log());
}

fn count_is(database: &Database, count: usize) -> bool {
    let found = database.rows(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'readings'",
    );
    found == ["1"] && database.rows("SELECT COUNT(*) FROM readings") == [count.to_string()]
}

/// What the tables must hold, computed from the topic without any code of wardwatch's.
struct Oracle {
    records: BTreeMap<(i32, i64), Vec<u8>>,
}

struct Row {
    patient: String,
    event_time: String,
    heart_rate: Option<f64>,
    spo2: Option<f64>,
}

impl Oracle {
    fn read(topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka())
            .set("group.id", "oracle")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut records, mut ended) = (BTreeMap::new(), 0);
        while ended < PARTITIONS {
            match consumer.poll(Duration::from_secs(30)).expect("records or ends") {
                Ok(message) => {
                    let payload = message.payload().unwrap_or_default().to_vec();
                    records.insert((message.partition(), message.offset()), payload);
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        Self { records }
    }

    /// The record as a row; `None` where it is a reject.
    fn row(payload: &[u8]) -> Option<Row> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        let within = |name: &str, low: f64, high: f64| value[name].as_f64().filter(|v| (low..=high).contains(v));
        Some(Row {
            patient: value["patient_id"].as_str()?.to_owned(),
            event_time: value["event_time"].as_str()?.replace('T', " ").replace('Z', ".000000"),
            heart_rate: within("heart_rate", 0.0, 300.0),
            spo2: within("spo2", 50.0, 100.0),
        })
    }

    fn check(&self, database: &Database) {
        let number = |value: Option<f64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let mut readings = Vec::new();
        let mut rejects = Vec::new();
        let mut artefacts = Vec::new();
        for ((partition, offset), payload) in &self.records {
            let Some(row) = Self::row(payload) else {
                rejects.push(format!("{partition}|{offset}|{}", String::from_utf8_lossy(payload)));
                continue;
            };
            readings.push(format!(
                "{}|{}|{partition}|{offset}|{}|{}",
                row.patient,
                row.event_time,
                number(row.heart_rate),
                number(row.spo2)
            ));
            if row.heart_rate.is_none() && payload.windows(12).any(|window| window == b"\"heart_rate\"") {
                artefacts.push(format!("{partition}|{offset}|heart_rate|900"));
            }
        }
        assert_rows(
            "readings",
            database.rows("SELECT patient_id, CAST(event_time AS CHAR), source_partition, source_offset, heart_rate, spo2 FROM readings ORDER BY source_partition, source_offset"),
            readings,
        );
        assert_rows("rejects", database.rows("SELECT `partition`, `offset`, raw FROM rejects ORDER BY 1, 2"), rejects);
        assert_rows(
            "artefacts",
            database.rows("SELECT `partition`, `offset`, column_name, value FROM artefacts ORDER BY 1, 2"),
            artefacts,
        );
        for table in ["query_failures", "bad_rows", "pending_rows", "incomplete_tables"] {
            assert_eq!(database.rows(&format!("SELECT COUNT(*) FROM {table}")), ["0"], "{table}");
        }
        self.check_log(database);
        self.check_batches(database);
        self.check_windows(database);
        assert_rows(
            "alerts",
            database.rows_of_rules("SELECT patient_id, state, CAST(started_at AS CHAR), COALESCE(CAST(firing_at AS CHAR), '-'), COALESCE(CAST(ended_at AS CHAR), '-'), samples, text FROM alerts ORDER BY patient_id, started_at"),
            self.episodes(),
        );
        self.check_events(database);
    }

    /// Every event of an episode stands once, and nobody is told twice that it fires, or before, that it is over.
    fn check_events(&self, database: &Database) {
        let holes = "SELECT id FROM alerts LEFT JOIN (SELECT episode, COUNT(*) AS counted, MAX(number) AS last FROM alert_events
             GROUP BY episode) AS e ON e.episode = id WHERE NOT (counted <=> events AND last <=> events)";
        assert_eq!(database.rows(holes), [""; 0], "events that are lost or doubled");
        let fired = "SELECT id FROM alerts WHERE (firing_at IS NOT NULL) <>
             (SELECT COUNT(*) FROM alert_events WHERE episode = id AND kind = 'firing')";
        assert_eq!(database.rows(fired), [""; 0], "an episode fires once");
        let doubled = "SELECT episode FROM notifications GROUP BY episode, kind HAVING COUNT(*) > 1";
        assert_eq!(database.rows(doubled), [""; 0], "people who are told twice");
        let resolved = "SELECT episode FROM notifications AS ending WHERE kind = 'resolved' AND NOT EXISTS
             (SELECT 1 FROM notifications AS n WHERE n.episode = ending.episode AND n.kind = 'firing' AND n.number < ending.number)";
        assert_eq!(database.rows(resolved), [""; 0], "an end without a beginning");
        assert_ne!(database.rows("SELECT COUNT(*) FROM notifications"), ["0"]);
    }

    /// The batch log covers each partition from its first record to its last, without hole or overlap.
    fn check_log(&self, database: &Database) {
        for partition in 0..PARTITIONS {
            let sql = format!(
                "SELECT start_offset, end_offset FROM batch_ranges WHERE `partition`={partition} ORDER BY batch"
            );
            let mut next = 0;
            for range in database.rows(&sql) {
                let (start, end) = range.split_once('|').unwrap();
                assert_eq!(start.parse::<i64>().unwrap(), next, "partition {partition}");
                next = end.parse().unwrap();
            }
            let count = self.records.range((partition, 0)..(partition + 1, 0)).count();
            assert_eq!(next, count as i64, "partition {partition} was read to its end");
            let stored = database.rows(&format!("SELECT next_offset FROM offsets WHERE `partition`={partition}"));
            assert_eq!(stored, [count.to_string()]);
        }
        let total = database.rows("SELECT SUM(records), MAX(batch) - COUNT(*) FROM batches");
        assert_eq!(total, [format!("{}|0", self.records.len())], "records in all; batch numbers without holes");
    }

    /// A table that depends on the batches, by the ranges and the frozen time of the log.
    fn check_batches(&self, database: &Database) {
        let log = database.rows("SELECT CAST(b.now_at AS CHAR), r.`partition`, r.start_offset, r.end_offset FROM batches b JOIN batch_ranges r ON r.job = b.job AND r.batch = b.batch");
        let mut expected: BTreeMap<(String, String), (u64, Option<f64>, i64)> = BTreeMap::new();
        for entry in log {
            let parts: Vec<&str> = entry.split('|').collect();
            let number = |index: usize| parts[index].parse::<i64>().unwrap();
            let partition = number(1) as i32;
            for ((_, offset), payload) in self.records.range((partition, number(2))..(partition, number(3))) {
                let Some(row) = Self::row(payload) else { continue };
                let entry = expected.entry((parts[0].to_owned(), row.patient)).or_insert((0, None, -1));
                let sum = row.heart_rate.map(|rate| entry.1.unwrap_or(0.0) + rate).or(entry.1);
                *entry = (entry.0 + 1, sum, entry.2.max(*offset));
            }
        }
        let expected = expected.into_iter().map(|((at, patient), (count, sum, last))| {
            format!("{at}|{patient}|{count}|{}|{last}", sum.map_or("NULL".to_owned(), |sum| sum.to_string()))
        });
        assert_rows(
            "per_batch",
            database.rows("SELECT CAST(batch_at AS CHAR), patient_id, records, heart_rate_sum, last_offset FROM per_batch ORDER BY batch_at, patient_id"),
            expected.collect(),
        );
    }

    /// Windows of the rows that were on time by the running maximum of their partition, less ten seconds; the others are
    /// late rows.
    fn check_windows(&self, database: &Database) {
        let second = |time: &str| {
            let time = chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f").unwrap();
            time.and_utc().timestamp()
        };
        let mut newest: BTreeMap<i32, i64> = BTreeMap::new();
        let mut late = Vec::new();
        let mut windows: BTreeMap<(String, i64), Vec<Row>> = BTreeMap::new();
        for ((partition, offset), payload) in &self.records {
            let Some(row) = Self::row(payload) else { continue };
            let at = second(&row.event_time);
            let newest = newest.entry(*partition).or_insert(at);
            if at < *newest - 10 {
                late.push(format!("{partition}|{offset}|{}|{}", row.patient, *newest - 10 - at));
            } else {
                *newest = (*newest).max(at);
                windows.entry((row.patient.clone(), at.div_euclid(10) * 10)).or_default().push(row);
            }
        }
        let found = database.rows("SELECT `partition`, `offset`, patient_id, late_by_seconds FROM late_rows");
        assert_rows("late_rows", found, late);
        let expected = windows.into_iter().map(|((patient, start), rows)| {
            let rates: Vec<f64> = rows.iter().filter_map(|row| row.heart_rate).collect();
            let different: BTreeSet<u64> = rates.iter().map(|rate| rate.to_bits()).collect();
            let sum = if rates.is_empty() { "NULL".to_owned() } else { format!("{:.3}", rates.iter().sum::<f64>()) };
            let low = rows.iter().filter_map(|row| row.spo2).min_by(f64::total_cmp);
            let low = low.map_or("NULL".to_owned(), |low| low.to_string());
            let start = chrono::DateTime::from_timestamp(start, 0).unwrap().format("%Y-%m-%d %H:%M:%S.000000");
            format!("{patient}|{start}|{}|{sum}|{low}|{}", rows.len(), different.len())
        });
        let found = database.rows(
            "SELECT patient_id, CAST(window_start AS CHAR), records, CAST(heart_rate_sum AS DECIMAL(20, 3)), spo2_min, heart_rates FROM windows_10s",
        );
        assert_rows("windows_10s", found, expected.collect());
    }

    /// Episodes of heart rates above 120 that hold for 3 s and are gone for 3 s, patient by patient in order.
    fn episodes(&self) -> Vec<String> {
        let mut samples: BTreeMap<String, Vec<(i64, String, Option<f64>)>> = BTreeMap::new();
        for payload in self.records.values() {
            if let Some(row) = Self::row(payload) {
                let second = chrono::NaiveDateTime::parse_from_str(&row.event_time, "%Y-%m-%d %H:%M:%S%.f").unwrap();
                samples.entry(row.patient).or_default().push((
                    second.and_utc().timestamp(),
                    row.event_time,
                    row.heart_rate,
                ));
            }
        }
        let mut episodes = Vec::new();
        for (patient, mut samples) in samples {
            samples.sort_by_key(|(second, ..)| *second);
            // started, fired, count, text, gone since
            let mut open: Option<(i64, String, String, u64, String, Option<i64>)> = None;
            for (second, at, rate) in samples {
                let is_true = rate.is_some_and(|rate| rate > 120.0);
                let text = || format!("HR {} > 120", rate.unwrap_or_default());
                open = match open {
                    None if is_true => Some((second, at, "-".to_owned(), 1, text(), None)),
                    None => None,
                    Some((start, started, mut fired, count, mut shown, _)) if is_true => {
                        if fired == "-" && second - start >= 3 {
                            (fired, shown) = (at, text());
                        }
                        Some((start, started, fired, count + 1, shown, None))
                    }
                    Some((_, _, fired, ..)) if fired == "-" => None,
                    Some((start, started, fired, count, shown, gone)) => {
                        let since = gone.unwrap_or(second);
                        if second - since >= 3 {
                            episodes.push(format!("{patient}|ended|{started}|{fired}|{at}|{count}|{shown}"));
                            None
                        } else {
                            Some((start, started, fired, count, shown, Some(since)))
                        }
                    }
                };
            }
            if let Some((_, started, fired, count, shown, gone)) = open {
                let state = match (fired.as_str(), gone) {
                    ("-", _) => "pending",
                    (_, None) => "firing",
                    (_, Some(_)) => "recovering",
                };
                episodes.push(format!("{patient}|{state}|{started}|{fired}|-|{count}|{shown}"));
            }
        }
        episodes
    }
}

fn assert_rows(table: &str, mut found: Vec<String>, mut expected: Vec<String>) {
    assert!(!expected.is_empty(), "the oracle expects rows of {table}");
    found.sort();
    expected.sort();
    if let Some(index) = (0..found.len().max(expected.len())).find(|&index| found.get(index) != expected.get(index)) {
        panic!(
            "{table}: {} rows, {} expected; the first that differs: {:?}, expected {:?}",
            found.len(),
            expected.len(),
            found.get(index),
            expected.get(index)
        );
    }
}
