//! What every test stands on: a topic and a database of its own, a job in a temporary folder, the real binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mysql::prelude::Queryable;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tempfile::TempDir;

/// The columns that most tests use.
pub const COLUMNS: &str = r#"
patient_id = { type = "text", from = ["patient_id", "id"] }
event_time = { type = "time", from = ["event_time", "timestamp"] }
heart_rate = { type = "float", from = ["heart_rate", "hr"], plausible = [0, 300], limits = [50, 120] }
spo2 = { type = "float", plausible = [50, 100] }
"#;

pub const READINGS: &str = "-- @key: patient_id, event_time, source_partition, source_offset
SELECT patient_id, event_time, _partition AS source_partition, _offset AS source_offset, heart_rate, spo2 FROM vitals
";

pub const TACHYCARDIA: &str =
    "-- @severity: high\n-- @latch: no\n-- @for: 3s\n-- @clear_after: 3s\n-- @message: HR {heart_rate:.0} > 120
SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120
";

/// A table that depends on how records were batched, by the batch's frozen time.
pub const PER_BATCH: &str = "-- @key: batch_at, patient_id
SELECT now() AS batch_at, patient_id, count(*) AS records, sum(heart_rate) AS heart_rate_sum, max(_offset) AS last_offset
FROM vitals GROUP BY patient_id
";

pub fn kafka() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS is set by `make test`")
}

pub fn mysql_url() -> String {
    std::env::var("MYSQL_URL").expect("MYSQL_URL is set by `make test`")
}

pub fn mariadb_url() -> Option<String> {
    std::env::var("MARIADB_URL").ok()
}

/// The servers that jobs can have as their store.
pub fn servers() -> Vec<String> {
    std::iter::once(mysql_url()).chain(mariadb_url()).collect()
}

/// Every row of a query on an SQLite file, as `rows` has them.
pub fn sqlite_rows(path: &Path, sql: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let width = statement.column_count();
    let text = |value: rusqlite::types::Value| match value {
        rusqlite::types::Value::Null => "NULL".to_owned(),
        rusqlite::types::Value::Integer(value) => value.to_string(),
        rusqlite::types::Value::Real(value) => value.to_string(),
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Blob(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let rows = statement
        .query_map([], |row| Ok((0..width).map(|column| text(row.get(column).unwrap())).collect::<Vec<_>>().join("|")));
    rows.unwrap().map(Result::unwrap).collect()
}

/// A name that no other test has.
pub fn unique(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A database of its own on the server of `url`.
#[derive(Debug, Clone)]
pub struct Database {
    pub url: String,
}

impl Database {
    pub fn create(server: &str) -> Self {
        let name = unique("test");
        let mut connection = mysql::Conn::new(mysql::Opts::from_url(server).unwrap()).unwrap();
        connection.query_drop(format!("CREATE DATABASE `{name}`")).unwrap();
        let (server, _) = server.rsplit_once('/').unwrap();
        Self { url: format!("{server}/{name}") }
    }

    pub fn connect(&self) -> mysql::Conn {
        mysql::Conn::new(mysql::Opts::from_url(&self.url).unwrap()).unwrap()
    }

    /// Every row of a query, each value as text, columns joined with "|".
    pub fn rows(&self, sql: &str) -> Vec<String> {
        rows(&mut self.connect(), sql)
    }

    /// The same of a query on `alerts`, without the job's own: those of clocks and coverage are a matter of when what came.
    pub fn rows_of_rules(&self, sql: &str) -> Vec<String> {
        let own = wardwatch::alert::SYSTEM_RULES.map(|(rule, _)| format!("'{rule}'")).join(", ");
        self.rows(
            &sql.replace("FROM alerts", &format!("FROM (SELECT * FROM alerts WHERE rule NOT IN ({own})) AS alerts")),
        )
    }
}

impl Database {
    /// The only row of a query, or its last; empty while there is none, or its table is not there yet.
    pub fn so_far(&self, sql: &str) -> String {
        let mut connection = self.connect();
        match connection.query::<mysql::Row, _>(sql) {
            Err(mysql::Error::MySqlError(error)) if error.code == 1146 => String::new(),
            _ => rows(&mut connection, sql).pop().unwrap_or_default(),
        }
    }
}

pub fn rows(connection: &mut mysql::Conn, sql: &str) -> Vec<String> {
    let rows: Vec<mysql::Row> = connection.query(sql).unwrap();
    let text = |value: mysql::Value| match value {
        mysql::Value::NULL => "NULL".to_owned(),
        mysql::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(true),
    };
    rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

/// A topic of its own on the real broker.
pub struct Topic {
    pub name: String,
    producer: BaseProducer,
}

impl Topic {
    pub fn create(partitions: i32) -> Self {
        Self::create_at(&kafka(), partitions)
    }

    pub fn create_at(brokers: &str, partitions: i32) -> Self {
        Self::make(brokers, unique("topic"), partitions)
    }

    /// One that three brokers have.
    pub fn create_replicated(brokers: &str, partitions: i32) -> Self {
        Self::make_as(brokers, unique("topic"), partitions, 3)
    }

    /// One of this name.
    pub fn create_named(name: &str, partitions: i32) -> Self {
        Self::make(&kafka(), name.to_owned(), partitions)
    }

    fn make(brokers: &str, name: String, partitions: i32) -> Self {
        Self::make_as(brokers, name, partitions, 1)
    }

    fn make_as(brokers: &str, name: String, partitions: i32, replicas: i32) -> Self {
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(replicas));
        let results = block_on(admin(brokers).create_topics([&new], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        Self { name, producer: producer(brokers) }
    }

    /// Puts a record by a transaction, behind which Kafka has one of its own that nobody sees.
    pub fn put_in_transaction(&self, payload: &[u8]) {
        let id = unique("transactions");
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", kafka()).set("transactional.id", &id).create().unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<[u8], [u8]>::to(&self.name).partition(0).key(b"key").payload(payload)).unwrap();
        producer.commit_transaction(Duration::from_secs(30)).unwrap();
    }

    /// One that is there already.
    pub fn named(name: &str) -> Self {
        Self::existing(&kafka(), name)
    }

    /// The same at these brokers.
    pub fn existing(brokers: &str, name: &str) -> Self {
        Self { name: name.to_owned(), producer: producer(brokers) }
    }

    /// Has the broker delete it.
    pub fn delete(&self) {
        block_on(admin(&kafka()).delete_topics(&[&self.name], &AdminOptions::new())).unwrap();
    }

    /// Has the broker delete it and make it again, empty.
    pub fn make_anew(&self, partitions: i32) {
        let admin = admin(&kafka());
        block_on(admin.delete_topics(&[&self.name], &AdminOptions::new())).unwrap();
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        wait_until("the topic can be made again", || {
            let made = block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
            made.into_iter().all(|result| result.is_ok())
        });
    }

    /// A producer that was there before would learn of new partitions only after minutes.
    pub fn with_partitions(self, count: usize) -> Self {
        let new = NewPartitions::new(&self.name, count);
        block_on(admin(&kafka()).create_partitions([&new], &AdminOptions::new())).unwrap();
        Self { producer: producer(&kafka()), ..self }
    }

    /// Puts a record into a partition; the stamp is milliseconds since 1970, now by default.
    pub fn put(&self, partition: i32, stamp: Option<i64>, payload: &[u8]) {
        self.put_as(partition, stamp, b"key", &[], payload);
    }

    /// Puts a record without a value.
    pub fn put_null(&self, partition: i32) {
        self.producer.send(BaseRecord::<[u8], [u8]>::to(&self.name).partition(partition).key(b"key")).unwrap();
    }

    /// The same with this key and these headers.
    pub fn put_as(&self, partition: i32, stamp: Option<i64>, key: &[u8], headers: &[(&str, &[u8])], payload: &[u8]) {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.name).partition(partition).key(key).payload(payload);
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(rdkafka::message::Header { key, value: Some(*value) })
        });
        record = record.headers(headers);
        if let Some(stamp) = stamp {
            record = record.timestamp(stamp);
        }
        while let Err((_, back)) = self.producer.send(record) {
            self.producer.poll(Duration::from_millis(10));
            record = back;
        }
    }

    /// Has the broker delete what is before `offset`.
    pub fn delete_before(&self, partition: i32, offset: i64) {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, rdkafka::Offset::Offset(offset)).unwrap();
        block_on(admin(&kafka()).delete_records(&list, &AdminOptions::new())).unwrap();
    }

    /// Waits for a second at most until what was put is there.
    pub fn flush_if_possible(&self) {
        let _ = self.producer.flush(Duration::from_secs(1));
    }

    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// Puts samples of one patient at seconds of 2026-01-01 and waits until they are there.
    pub fn put_samples(&self, patient: &str, samples: &[(u32, f64)]) {
        for (second, heart_rate) in samples {
            self.put(0, None, sample(patient, *second, *heart_rate).as_bytes());
        }
        self.flush();
    }
}

/// A record of a second of 2026.
pub fn sample(patient: &str, second: u32, heart_rate: f64) -> String {
    let at = chrono::DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
    let at = (at + chrono::TimeDelta::seconds(second.into())).format("%Y-%m-%dT%H:%M:%SZ");
    format!(r#"{{"patient_id":"{patient}","event_time":"{at}","heart_rate":{heart_rate}}}"#)
}

fn producer(brokers: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", "10000000")
        .set("linger.ms", "5")
        .create()
        .unwrap()
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A job in a temporary folder: one file and a set of queries.
pub struct TestJob {
    pub folder: TempDir,
    pub topic: String,
    pub store: String,
    source: String,
    columns: String,
    more: String,
}

impl TestJob {
    pub fn new(topic: &str, store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sql/tables")).unwrap();
        std::fs::create_dir_all(folder.path().join("sql/rules")).unwrap();
        let job = Self {
            folder,
            topic: topic.to_owned(),
            store: store.to_owned(),
            source: String::new(),
            columns: COLUMNS.to_owned(),
            more: String::new(),
        };
        job.write();
        job
    }

    /// A job on a new topic with one partition and a new database, with `readings` and `tachycardia`.
    pub fn on_mysql() -> (Self, Topic, Database) {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let job = Self::new(&topic.name, &database.url)
            .query("tables/readings", READINGS)
            .query("rules/tachycardia", TACHYCARDIA);
        (job, topic, database)
    }

    /// Adds lines to `[source]`.
    pub fn source(mut self, lines: &str) -> Self {
        writeln!(self.source, "{lines}").unwrap();
        self.write();
        self
    }

    /// Has these columns and no others.
    pub fn columns(mut self, lines: &str) -> Self {
        self.columns = lines.to_owned();
        self.write();
        self
    }

    /// Adds tables to the file.
    pub fn more(mut self, lines: &str) -> Self {
        writeln!(self.more, "{lines}").unwrap();
        self.write();
        self
    }

    pub fn query(self, name: &str, text: &str) -> Self {
        self.sql_file(&format!("{name}.sql"), text)
    }

    /// Writes a file of the set.
    pub fn sql_file(self, name: &str, text: &str) -> Self {
        let file = self.folder.path().join("sql").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        self
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("job.toml")
    }

    fn write(&self) {
        let brokers =
            if self.source.contains("brokers") { String::new() } else { format!("brokers = \"{}\"", kafka()) };
        let topic =
            if self.source.contains("topics = ") { String::new() } else { format!("topic = \"{}\"", self.topic) };
        let text = format!(
            "name = \"test\"\n[source]\n{brokers}\n{topic}\nkey = \"patient_id\"\nevent_time = \"event_time\"\n{}\n\
             [source.columns]\n{}\n[store]\nurl = \"{}\"\n[sql]\ndir = \"sql\"\n{}",
            self.source, self.columns, self.store, self.more
        );
        std::fs::write(self.file(), text).unwrap();
    }

    pub fn command(&self, command: &str) -> Command {
        let mut wardwatch = wardwatch();
        wardwatch.arg(command).arg(self.file()).current_dir(self.folder.path());
        wardwatch
    }

    /// `wardwatch run --once`, which must succeed.
    pub fn run_once(&self) -> String {
        let output = self.command("run").arg("--once").output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `wardwatch run` in the background, ended when it is dropped.
    pub fn start(&self) -> Running {
        self.start_with(&[])
    }

    /// The same with more arguments.
    pub fn start_as(&self, arguments: &[&str]) -> Running {
        let log = self.folder.path().join(unique("run") + ".log");
        Running::spawn(self.command("run").args(arguments), log)
    }

    /// The same with these variables in its environment.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> Running {
        let log = self.folder.path().join(unique("run") + ".log");
        let mut command = self.command("run");
        Running::spawn(command.envs(variables.iter().copied()), log)
    }
}

pub fn wardwatch() -> Command {
    // Worktrees that share a target directory build over each other's program; one may name its own.
    let program = std::env::var("WARDWATCH_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wardwatch").to_owned());
    let mut command = Command::new(program);
    command.env_remove("WARDWATCH_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// What a command printed, for a failed assertion.
pub fn told(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A job that runs in the background.
pub struct Running {
    pub child: Child,
    log: PathBuf,
}

impl Running {
    pub fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let child = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn log_file(&self) -> PathBuf {
        self.log.clone()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until something is so while the job runs; tells its log otherwise.
    pub fn wait_until(&mut self, what: &str, is_so: impl FnMut() -> bool) {
        if !becomes_so(is_so) {
            panic!(
                "not within two minutes: {what}; the job's end: {:?}, its log:\n{}",
                self.child.try_wait(),
                self.log()
            );
        }
    }

    /// Waits for the end and returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        wait_until("the job ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so, and fails if it never is.
pub fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(becomes_so(is_so), "not within two minutes: {what}");
}

fn becomes_so(mut is_so: impl FnMut() -> bool) -> bool {
    (0..2_400).any(|_| {
        let so = is_so();
        if !so {
            std::thread::sleep(Duration::from_millis(50));
        }
        so
    })
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A seed for a fault test: `WARDWATCH_SEED` repeats a run.
pub fn seed() -> u64 {
    let seed = std::env::var("WARDWATCH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos() as u64 % 1_000_000_007)
    });
    println!("WARDWATCH_SEED={seed}");
    seed
}
