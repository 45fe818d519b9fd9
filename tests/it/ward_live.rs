//! The wards of `ward_disorder.rs` as a job lives them: a real broker and a real database, kills, edits, partitions that are
//! added, a standby that takes over, and a store that fails. The oracle judges the alerts; no row and no
//! window may be lost.
//!
//! A ward of twelve minutes goes by in ninety seconds: its records bear the stamps of its own time, and the oracle is told of
//! batches in that time, too. Somebody who is well in each partition has time pass there. `WARDWATCH_LIVE_SEED` is the first
//! seed and `WARDWATCH_LIVE_SEEDS` how many there are; a few go by beside each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use mysql::prelude::Queryable;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::fixtures::{Database, Running, TestJob, Topic, mysql_url, wait_until};
use crate::services::OwnService;
use crate::ward_disorder::{DISORDER, Sent, Ward, faults};

/// The ward's time goes by so many times as fast.
const SPEED: i64 = 8;

/// So long after it is known something must be told, in the ward's time: a start, or the look for new partitions, may come
/// between.
const DELAY: i64 = 5_000 * SPEED;

/// So many wards go by at once.
const AT_ONCE: usize = 3;

/// Some rows cannot be written: their key is longer than one may be, or there is none.
const ROWS: &str = "-- @key: number, place, bed
SELECT _partition AS number, _offset AS place, patient_id, event_time, heart_rate, spo2,
    CASE _offset % 50 WHEN 7 THEN repeat('long', 50) WHEN 9 THEN NULL ELSE 'B1' END AS bed
FROM vitals
";

const PER_MINUTE: &str = "-- @key: patient_id, minute, bed
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS minute,
    CASE _offset % 50 WHEN 7 THEN repeat('long', 50) WHEN 9 THEN NULL ELSE 'B1' END AS bed,
    count(*) AS records, count(heart_rate) AS rates, sum(spo2) AS spo2_sum
FROM vitals GROUP BY 1, 2, 3
";

/// What is done to a job and to its store. A ward has each once before one comes again.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Kill,
    /// The job stands still until a standby has taken over.
    Takeover,
    Edit,
    /// A table of a query is not there for a while.
    Rename,
    /// A table of a query answers with an error that nobody knows.
    Refuse,
    /// A table of the program's own does.
    RefuseOwn,
    Connections,
    Lock,
    /// The server takes nothing.
    ReadOnly,
    /// The server does not answer.
    Stop,
}

const DISTURBANCES: [Disturbance; 10] = [
    Disturbance::Kill,
    Disturbance::Takeover,
    Disturbance::Edit,
    Disturbance::Rename,
    Disturbance::Refuse,
    Disturbance::RefuseOwn,
    Disturbance::Connections,
    Disturbance::Lock,
    Disturbance::ReadOnly,
    Disturbance::Stop,
];

#[test]
fn no_alarm_is_lost_or_doubled_while_jobs_are_killed_and_their_store_fails() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first = number("WARDWATCH_LIVE_SEED", 1);
    let seeds: Vec<u64> = (first..first + number("WARDWATCH_LIVE_SEEDS", AT_ONCE as u64)).collect();
    let server = OwnService::start("mysql").map(Arc::new);
    let mut found = String::new();
    for seeds in seeds.chunks(AT_ONCE) {
        let live = |seed: &u64| {
            let (seed, server) = (*seed, server.clone());
            std::thread::spawn(move || LiveWard::start(seed, server).live())
        };
        let wards: Vec<_> = seeds.iter().map(live).collect();
        for ward in wards {
            let (case, mut found_in_tables, disturbances) = ward.join().unwrap();
            if let Ok(folder) = std::env::var("WARDWATCH_CASES") {
                std::fs::write(format!("{folder}/live{}.json", case["seed"]), format!("{case}\n")).unwrap();
            }
            found_in_tables.insert_str(0, &faults(&[case]));
            if !found_in_tables.is_empty() {
                writeln!(found, "{found_in_tables}after {}", disturbances.join(", ")).unwrap();
            }
        }
    }
    assert!(found.is_empty(), "of seeds {seeds:?} (WARDWATCH_LIVE_SEED, WARDWATCH_LIVE_SEEDS):\n{found}");
}

/// A ward, and the job that watches it.
struct LiveWard {
    ward: Ward,
    job: TestJob,
    database: Database,
    /// What can be stopped, where it is the test's own.
    server: Option<Arc<OwnService>>,
    running: Running,
    random: ChaCha8Rng,
    began: Instant,
    /// What is done to it next, from the end.
    next: Vec<Disturbance>,
    /// What was done to it, and when.
    disturbances: Vec<String>,
    edits: usize,
}

impl LiveWard {
    fn start(seed: u64, server: Option<Arc<OwnService>>) -> Self {
        let url = server.as_ref().map_or_else(mysql_url, |server| server.address.clone());
        let database = Database::create(&url);
        let ward = Ward::live(seed, chrono::Utc::now().timestamp_millis() - 2 * 3_600_000);
        let topic = Topic::create(ward.partitions);
        let job = job_of(&ward, &topic.name, &database.url);
        let running = job.start();
        wait_until("the job runs", || running.log().contains("running"));
        let (random, began) = (ChaCha8Rng::seed_from_u64(seed), Instant::now());
        Self {
            ward,
            job,
            database,
            server,
            running,
            random,
            began,
            next: Vec::new(),
            disturbances: Vec::new(),
            edits: 0,
        }
    }

    /// Lets the ward go by. Returns what the oracle is to judge, what is wrong with tables, and what was done.
    fn live(mut self) -> (Value, String, Vec<String>) {
        let began_at = chrono::Utc::now().timestamp_millis();
        self.began = Instant::now();
        let records = std::mem::take(&mut self.ward.records);
        std::thread::scope(|scope| {
            let (start, began) = (self.ward.start, self.began);
            let (topic, partitions, records) = (Topic::named(&self.job.topic), self.ward.partitions, &records);
            let sending = scope.spawn(move || send(records, topic, partitions, |stamp| wall(start, began, stamp)));
            while !sending.is_finished() {
                std::thread::sleep(Duration::from_millis(self.random.random_range(1_000..5_000)));
                if self.ward_time() < DISORDER {
                    self.disturb();
                }
            }
            sending.join().unwrap();
        });
        let mut places: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (place, record) in records.iter().enumerate() {
            places.entry(record.partition).or_default().push(place);
        }
        let ends: Vec<String> = places.iter().map(|(partition, of)| format!("{partition}|{}", of.len())).collect();
        let database = &self.database;
        self.running.wait_until("all is read", || {
            database.rows("SELECT `partition`, MAX(end_offset) FROM batch_ranges GROUP BY 1 ORDER BY 1") == ends
        });
        self.running.signal("TERM");
        assert_eq!(self.running.wait(), Some(0), "{}", self.running.log());
        (self.case(&records, &places, began_at), self.faults_of_tables(&places), self.disturbances)
    }

    /// What the tables of queries lack of the ward, or have too much: each record that can be written is a row, and windows
    /// that are over are what the database counts in those rows, but for the late ones.
    fn faults_of_tables(&self, places: &BTreeMap<i32, Vec<usize>>) -> String {
        let is_writable = |place: &usize| ![7, 9].contains(&(place % 50));
        let due = places
            .iter()
            .flat_map(|(number, of)| (0..of.len()).filter(is_writable).map(move |place| format!("{number}|{place}")));
        let rows = self.database.rows("SELECT number, place FROM readings");
        let windows = self.database.rows("SELECT patient_id, minute, records, rates, spo2_sum FROM per_minute");
        let counted = self.database.rows(
            "SELECT readings.patient_id, CAST(DATE_FORMAT(readings.event_time, '%Y-%m-%d %H:%i:00') AS DATETIME(6)) AS minute, COUNT(*),
                COUNT(heart_rate), SUM(spo2)
             FROM readings LEFT JOIN late_rows ON `partition` = number AND `offset` = place
             WHERE `offset` IS NULL GROUP BY 1, 2
             HAVING minute + INTERVAL 1 MINUTE <= (SELECT MAX(watermark) FROM batches)",
        );
        self.difference("readings", &rows, &due.collect::<Vec<_>>())
            + &self.difference("per_minute", &windows, &counted)
    }

    fn difference(&self, table: &str, rows: &[String], due: &[String]) -> String {
        assert!(due.len() > 20, "{due:?}");
        let count = |rows: &[String]| {
            let mut counts = BTreeMap::<String, i32>::new();
            rows.iter().for_each(|row| *counts.entry(row.clone()).or_default() += 1);
            counts
        };
        let (had, due) = (count(rows), count(due));
        let lacking = due.keys().filter(|row| !had.contains_key(*row)).map(|row| format!("lacks {row}"));
        let more = had.iter().filter(|(row, count)| due.get(*row) != Some(count)).map(|(row, _)| format!("has {row}"));
        let wrong: Vec<String> = lacking.chain(more).collect();
        let some = wrong[..wrong.len().min(6)].join(", ");
        if wrong.is_empty() {
            some
        } else {
            format!("seed {}: {table}: {} rows, {some}\n", self.ward.seed, wrong.len())
        }
    }

    /// The ward's time since it began.
    fn ward_time(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap() * SPEED
    }

    /// Does something to the job or to its store, and lets go of it again.
    fn disturb(&mut self) {
        let pause = Duration::from_millis(self.random.random_range(500..4_000));
        let kind = self.next.pop().unwrap_or_else(|| {
            self.next = DISTURBANCES.to_vec();
            self.next.shuffle(&mut self.random);
            self.next.pop().unwrap()
        });
        self.disturbances.push(format!("{kind:?} at {} s", self.ward_time() / 1_000));
        let table = *["readings", "per_minute"].choose(&mut self.random).unwrap();
        match kind {
            Disturbance::Kill => {
                self.running.signal("KILL");
                self.running.wait();
                self.running = self.job.start();
            }
            Disturbance::Takeover => {
                let mut second = self.job.start_as(&["--standby"]);
                let log = second.log_file();
                let told = |what| std::fs::read_to_string(&log).unwrap().contains(what);
                second.wait_until("the second one stands by", || told("standing by"));
                self.running.signal("STOP");
                second.wait_until("it takes over", || told("running"));
                self.running.signal("CONT");
                assert_eq!(self.running.wait(), Some(1), "{}", self.running.log());
                self.running = second;
            }
            Disturbance::Edit => {
                self.edits += 1;
                let (file, text) = self.ward.edited(self.edits);
                std::fs::write(self.job.folder.path().join("sql").join(file), text).unwrap();
            }
            Disturbance::Rename => {
                let away = format!("{table}_away");
                self.execute(
                    &format!("RENAME TABLE {table} TO {away}"),
                    pause,
                    &format!("RENAME TABLE {away} TO {table}"),
                );
            }
            Disturbance::Refuse => self.refuse(table, pause),
            Disturbance::RefuseOwn => self.refuse("batch_ranges", pause),
            Disturbance::Connections => {
                let name = self.database.url.rsplit('/').next().unwrap();
                let ids = format!(
                    "SELECT processlist_id FROM performance_schema.threads \
                     WHERE processlist_db = '{name}' AND processlist_id <> CONNECTION_ID()"
                );
                for id in self.database.rows(&ids) {
                    let _ = self.database.connect().query_drop(format!("KILL CONNECTION {id}"));
                }
            }
            Disturbance::Lock => {
                let table = *[table, "alerts", "batches"].choose(&mut self.random).unwrap();
                self.execute(&format!("LOCK TABLES {table} WRITE"), pause, "UNLOCK TABLES");
            }
            Disturbance::ReadOnly => {
                if self.server.is_some() {
                    self.execute("SET GLOBAL super_read_only = 1", pause, "SET GLOBAL read_only = 0");
                }
            }
            Disturbance::Stop => {
                if let Some(server) = &self.server {
                    server.signal("STOP");
                    std::thread::sleep(pause);
                    server.signal("CONT");
                }
            }
        }
    }

    /// Has a table answer with an error as proxies have them, by a code of their own.
    fn refuse(&self, table: &str, pause: Duration) {
        let error = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 9001, MESSAGE_TEXT = 'no backend'";
        let create = format!("CREATE TRIGGER refuses BEFORE INSERT ON {table} FOR EACH ROW {error}");
        self.execute(&create, pause, "DROP TRIGGER refuses");
    }

    /// Executes a statement, and after a pause the one that takes it back, for which other wards may be in the way.
    fn execute(&self, statement: &str, pause: Duration, back: &str) {
        let mut connection = self.database.connect();
        let mut done = |statement: &str| wait_until(statement, || connection.query_drop(statement).is_ok());
        done(statement);
        std::thread::sleep(pause);
        done(back);
    }

    /// What the store has of the ward, as the oracle reads it.
    fn case(&self, records: &[Sent], places: &BTreeMap<i32, Vec<usize>>, began_at: i64) -> Value {
        let of_ward = |now: &str| self.ward.start + (millis(now) - began_at) * SPEED;
        let logged = self.database.rows("SELECT batch, CAST(now_at AS CHAR) FROM batches ORDER BY batch");
        let logged = logged.iter().map(|row| row.split_once('|').unwrap());
        let (ids, nows): (Vec<&str>, Vec<i64>) = logged.map(|(batch, now)| (batch, of_ward(now))).unzip();
        let index: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let mut batches = vec![0; records.len()];
        for range in self.database.rows("SELECT batch, `partition`, start_offset, end_offset FROM batch_ranges") {
            let [batch, partition, start, end] = range.split('|').collect::<Vec<_>>().try_into().unwrap();
            let of_partition = &places[&partition.parse().unwrap()];
            for place in &of_partition[start.parse().unwrap()..end.parse().unwrap()] {
                batches[*place] = index[batch];
            }
        }
        let records: Vec<Value> = records.iter().zip(batches).map(|(record, batch)| record.told(batch)).collect();
        let events = "SELECT batch, rule, patient_id, episode, kind, CAST(at AS CHAR) FROM alert_events
            WHERE batch IS NOT NULL ORDER BY batch, episode, number";
        let told = self.database.rows(events);
        let told = told.iter().map(|row| {
            let [batch, rule, patient, id, kind, at] = row.split('|').collect::<Vec<_>>().try_into().unwrap();
            json!({"batch": index[batch], "rule": rule, "patient": patient, "id": id, "kind": kind, "at": millis(at)})
        });
        self.ward.case(DELAY, &records, &nows, &told.collect::<Vec<_>>())
    }
}

fn job_of(ward: &Ward, topic: &str, store: &str) -> TestJob {
    ward.job(topic, store)
        .source("start = \"earliest\"")
        .more("snapshot_every = 10\n[trigger]\nevery = \"250ms\"")
        .query("tables/readings", ROWS)
        .query("tables/per_minute", PER_MINUTE)
}

/// Puts each record into the topic when it is due, and adds a partition when the first one goes there.
fn send(records: &[Sent], mut topic: Topic, mut partitions: i32, due_in: impl Fn(i64) -> Duration) {
    for record in records {
        let due_in = due_in(record.stamp);
        if !due_in.is_zero() {
            topic.flush();
            std::thread::sleep(due_in);
        }
        if record.partition == partitions {
            partitions += 1;
            topic = topic.with_partitions(usize::try_from(partitions).unwrap());
        }
        topic.put(record.partition, Some(record.stamp), record.bytes.as_bytes());
    }
    topic.flush();
}

/// In how much real time a stamp is due.
fn wall(start: i64, began: Instant, stamp: i64) -> Duration {
    let due = Duration::from_millis(u64::try_from((stamp - start) / SPEED).unwrap_or(0));
    due.saturating_sub(began.elapsed())
}

/// A time as the database tells it, in milliseconds since 1970.
fn millis(text: &str) -> i64 {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc().timestamp_millis()
}
