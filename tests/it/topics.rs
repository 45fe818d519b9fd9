//! Jobs that read several topics: their records are one stream of rows, and what is kept is kept by topic and partition.

use std::collections::{BTreeMap, BTreeSet};

use mysql::prelude::Queryable;

use crate::field::{base64, case};
use crate::fixtures::{Database, READINGS, TACHYCARDIA, TestJob, Topic, kafka, mysql_url, sample, told, unique};

/// The case's four topics, and a job on all of them.
struct Split {
    topics: BTreeMap<&'static str, Topic>,
    records: Vec<(String, Vec<u8>)>,
    job: TestJob,
    database: Database,
}

/// Windows over all topics.
const MINUTES: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '10 seconds') AS window_start, count(*) AS records,
    count(DISTINCT _topic) AS topics, avg(heart_rate) AS heart_rate
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '10 seconds')
";

fn listed<'a>(topics: impl Iterator<Item = &'a Topic>) -> String {
    let names: Vec<String> = topics.map(|topic| format!("{:?}", topic.name)).collect();
    format!("topics = [{}]", names.join(", "))
}

impl Split {
    fn new() -> Self {
        let folder = case("06-one-topic-per-vital-and-per-urgency");
        let topics: BTreeMap<&str, Topic> =
            ["heart_data", "oxygen_data", "normal", "fire"].map(|name| (name, Topic::create(1))).into();
        let database = Database::create(&mysql_url());
        let sql = |file: &str| std::fs::read_to_string(folder.join("sql").join(file)).unwrap();
        let job = TestJob::new("", &database.url)
            .source(&listed(topics.values()))
            .query("tables/readings", &sql("tables/readings.sql"))
            .query("tables/minutes", MINUTES)
            .query("rules/tachycardia", &sql("rules/tachycardia.sql"));
        let record = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            (record["topic"].as_str().unwrap().to_owned(), base64(record["value_b64"].as_str().unwrap()))
        };
        let records = std::fs::read_to_string(folder.join("kafka.jsonl")).unwrap().lines().map(record).collect();
        Self { topics, records, job, database }
    }

    /// Puts those of the records whose number is one of these.
    fn put(&self, is_put: impl Fn(usize) -> bool) {
        for (_, (topic, payload)) in self.records.iter().enumerate().filter(|(number, _)| is_put(*number)) {
            self.topics[topic.as_str()].put(0, None, payload);
        }
        self.topics.values().for_each(Topic::flush);
    }

    /// Everything that was said of patients.
    fn tables(&self) -> Vec<Vec<String>> {
        [
            "SELECT patient_id, event_time, source_offset, heart_rate, spo2 FROM readings ORDER BY 1, 2, 4",
            "SELECT patient_id, window_start, records, topics, heart_rate FROM minutes ORDER BY 1, 2",
            "SELECT patient_id, kind, TIMESTAMPDIFF(SECOND, '2026-01-01 10:00:00', at) FROM alert_events \
             WHERE rule = 'tachycardia' ORDER BY at, kind",
            "SELECT topic, `partition`, next_offset FROM offsets ORDER BY 1",
        ]
        .map(|sql| self.database.rows(sql))
        .into()
    }
}

#[test]
fn values_of_one_patient_come_by_topics_for_each_vital_and_for_what_is_urgent() {
    let split = Split::new();
    split.put(|_| true);
    split.job.run_once();
    let [readings, minutes, events, offsets] = &split.tables()[..] else { panic!("four tables") };
    assert_eq!(readings.len(), split.records.len());
    assert_eq!(events, &["P2|pending|10", "P2|firing|20", "P2|recovering|29", "P2|latched|40"]);
    // Windows wait for all topics: of the four, heart_data and oxygen_data have come to 10:00:02.
    assert_eq!(minutes.len(), 0, "{minutes:?}");
    let next = ["fire", "heart_data", "normal", "oxygen_data"]
        .map(|name| (&split.topics[name].name, split.records.iter().filter(|(topic, _)| topic == name).count()));
    let next: BTreeSet<String> = next.map(|(topic, count)| format!("{topic}|0|{count}")).into();
    assert_eq!(offsets.iter().cloned().collect::<BTreeSet<_>>(), next);
    // What they wait for comes.
    for topic in ["heart_data", "oxygen_data", "fire", "normal"] {
        split.topics[topic].put(0, None, sample("P3", 36_200, 80.0).as_bytes());
        split.topics[topic].flush();
    }
    split.job.run_once();
    let minutes = &split.tables()[1];
    assert_eq!(minutes.len(), 7, "{minutes:?}");
    assert!(minutes.contains(&"P1|2026-01-01 10:00:00.000000|6|2|80".to_owned()), "{minutes:?}");
    assert!(minutes.contains(&"P2|2026-01-01 10:00:20.000000|10|2|115".to_owned()), "{minutes:?}");
}

#[test]
fn however_a_job_is_stopped_and_its_list_put_in_order_it_goes_on_in_each_topic() {
    let undisturbed = Split::new();
    undisturbed.put(|_| true);
    undisturbed.job.run_once();
    let split = Split::new();
    // Batches of what came together; between them the list is turned round.
    for (run, part) in (0..split.records.len()).collect::<Vec<_>>().chunks(9).enumerate() {
        split.put(|number| part.contains(&number));
        if run % 2 == 1 {
            let file = split.job.file();
            let text = std::fs::read_to_string(&file).unwrap();
            let turned = text.replace(&listed(split.topics.values()), &listed(split.topics.values().rev()));
            let back = text.replace(&listed(split.topics.values().rev()), &listed(split.topics.values()));
            std::fs::write(&file, if turned == text { back } else { turned }).unwrap();
        }
        split.job.run_once();
    }
    let without_offsets = |split: &Split| split.tables()[..3].to_vec();
    assert_eq!(without_offsets(&split), without_offsets(&undisturbed));
}

#[test]
fn topics_of_a_pattern_are_read_from_their_first_record_as_they_come() {
    let stem = unique("ward");
    let (first, other) = (Topic::create_named(&format!("{stem}.a"), 2), Topic::create_named(&format!("not.{stem}"), 1));
    let database = Database::create(&mysql_url());
    let readings = READINGS.replace("_offset AS", "_topic AS source_topic, _offset AS");
    let job = TestJob::new(&format!("^{stem}[.]"), &database.url)
        .source("start = \"latest\"")
        .query("tables/readings", &readings)
        .query("rules/tachycardia", TACHYCARDIA);
    let rows = || database.rows("SELECT source_topic, patient_id FROM readings ORDER BY 1, 2");
    first.put(0, None, sample("BEFORE", 0, 80.0).as_bytes());
    first.flush();
    let mut running = job.start();
    running.wait_until("it has begun", || running_has_begun(&database));
    first.put(1, None, sample("P1", 1, 80.0).as_bytes());
    other.put(0, None, sample("OTHER", 1, 80.0).as_bytes());
    first.flush();
    other.flush();
    running.wait_until("the first topic is read", || rows().len() == 1);

    let second = Topic::create_named(&format!("{stem}.b"), 1);
    second.put(0, None, sample("P2", 1, 80.0).as_bytes());
    second.put(0, None, b"no record");
    second.flush();
    running.wait_until("the new topic is read", || rows().len() == 2);
    assert_eq!(rows(), [format!("{stem}.a|P1"), format!("{stem}.b|P2")]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());

    // One that comes while the job is stopped, too.
    let third = Topic::create_named(&format!("{stem}.c"), 1);
    third.put(0, None, sample("P3", 1, 80.0).as_bytes());
    third.flush();
    second.put(0, None, sample("P2", 2, 80.0).as_bytes());
    second.flush();
    job.run_once();
    assert_eq!(rows()[2..], [format!("{stem}.b|P2"), format!("{stem}.c|P3")]);

    // Who looks sees the topic of each partition.
    let status = told(&job.command("status").output().unwrap());
    assert!(status.contains(&format!("partition {stem}.a/1 · next offset 1 · lag 0")), "{status}");
    assert!(status.contains(&format!("partition {stem}.b/0 · next offset 3 · lag 0")), "{status}");
    let rejects = |command: &str, place: &[&str]| {
        let mut rejects = crate::fixtures::wardwatch();
        told(&rejects.arg("rejects").arg(command).arg(job.file()).args(place).output().unwrap())
    };
    assert!(rejects("list", &[]).contains(&format!("{stem}.b/0:1")), "{}", rejects("list", &[]));
    let shown = rejects("show", &[&format!("{stem}.b/0:1")]);
    assert!(shown.contains(&format!("partition {stem}.b/0, offset 1")) && shown.contains("not JSON"), "{shown}");
    let unclear = rejects("show", &["0:1"]);
    assert!(unclear.contains(&format!("with the topic where there are several: {stem}.a/0")), "{unclear}");
    let kept = database.rows("SELECT topic, `partition`, `offset` FROM rejects");
    assert_eq!(kept, [format!("{stem}.b|0|1")]);
}

fn running_has_begun(database: &Database) -> bool {
    database.rows("SHOW TABLES LIKE 'batches'").len() == 1 && database.rows("SELECT COUNT(*) FROM batches") != ["0"]
}

#[test]
fn topics_end_where_transactions_end_and_one_that_is_made_anew_is_named() {
    let topics = [Topic::create(1), Topic::create(1)];
    let database = Database::create(&mysql_url());
    let job = TestJob::new("", &database.url).source(&listed(topics.iter())).query("tables/readings", READINGS);
    topics.iter().for_each(|topic| topic.put_in_transaction(sample("P1", 1, 80.0).as_bytes()));
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["2"]);
    // Behind each stands what Kafka keeps of the transaction.
    assert_eq!(database.rows("SELECT next_offset FROM offsets"), ["1", "1"]);
    job.run_once();

    topics[1].make_anew(1);
    let refused = told(&job.command("run").arg("--once").output().unwrap());
    assert!(refused.contains(&format!("topic \"{}\" was deleted and made anew", topics[1].name)), "{refused}");
    topics[0].put_samples("P2", &[(2, 80.0)]);
    topics[1].put_samples("P3", &[(2, 80.0)]);
    let run = job.command("run").args(["--once", "--new-topic"]).output().unwrap();
    assert!(run.status.success(), "{}", told(&run));
    assert_eq!(database.rows("SELECT patient_id FROM readings ORDER BY 1"), ["P1", "P1", "P2", "P3"]);
}

#[test]
fn records_of_each_topic_are_written_in_a_form_of_their_own() {
    let topics = [Topic::create(1), Topic::create(1)];
    let database = Database::create(&mysql_url());
    let job = TestJob::new("", &database.url).source(&listed(topics.iter())).query("tables/readings", READINGS).more(
        &format!(
            "[[source.form]]\nname = \"monitor\"\nwhen = {{ field = \"@topic\", is = {:?} }}\nformat = \"csv\"\n\
         csv = {{ header = [\"patient_id\", \"event_time\", \"heart_rate\"] }}\n[[source.form]]\nname = \"others\"\n",
            topics[0].name
        ),
    );
    topics[0].put(0, None, b"P1,2026-01-01T00:00:01Z,71");
    topics[1].put(0, None, sample("P2", 1, 72.0).as_bytes());
    topics.iter().for_each(Topic::flush);
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM readings ORDER BY 1"), ["P1|71", "P2|72"]);
    let sampled = told(&job.command("sample").output().unwrap());
    assert!(sampled.contains(&format!("partition {}/0, offset 0, form \"monitor\"", topics[0].name)), "{sampled}");
}

#[test]
fn topics_that_are_not_there_are_told() {
    let topic = Topic::create(1);
    let database = Database::create(&mysql_url());
    let near = format!("{}x", topic.name);
    let refused = |source: &str| {
        let job = TestJob::new("", &database.url).source(source).query("tables/readings", READINGS);
        let run = job.command("run").arg("--once").output().unwrap();
        assert!(!run.status.success(), "{source}: {}", told(&run));
        told(&run)
    };
    let told = refused(&format!("topics = [{:?}, {near:?}]", topic.name));
    let expected = format!("topic \"{near}\" does not exist at \"{}\"; did you mean \"{}\"?", kafka(), topic.name);
    assert!(told.contains(&expected), "{told}");
    let nowhere = unique("nowhere");
    let told = refused(&format!("topics = [\"^{nowhere}\"]"));
    assert!(told.contains(&format!("no topic at \"{}\" meets \"^{nowhere}\"", kafka())), "{told}");
}

#[test]
fn a_topic_of_a_pattern_that_is_gone_costs_itself() {
    let stem = unique("bed");
    let topics = ["a", "b"].map(|name| Topic::create_named(&format!("{stem}.{name}"), 1));
    let database = Database::create(&mysql_url());
    let job = TestJob::new(&format!("^{stem}[.]"), &database.url)
        .query("tables/readings", READINGS)
        .query("tables/minutes", MINUTES);
    topics.iter().for_each(|topic| topic.put_samples("P1", &[(1, 80.0), (2, 81.0)]));
    job.run_once();
    topics[1].delete();
    topics[0].put_samples("P1", &[(3, 82.0), (30, 82.0)]);
    let run = job.command("run").arg("--once").output().unwrap();
    assert!(run.status.success(), "{}", told(&run));
    let gone = format!("partition={stem}.b/0");
    assert!(told(&run).contains("no such partition any more") && told(&run).contains(&gone), "{}", told(&run));
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["6"]);
    // Who lies there is not watched, which is told.
    let mut running = job.start();
    running.wait_until("the ward is told", || {
        let told = database.rows("SELECT text FROM alerts WHERE rule = 'partition_stalled'");
        told.iter().any(|text| text.contains(&format!("{stem}.b/0")))
    });
    topics[0].put_samples("P1", &[(31, 82.0)]);
    running.wait_until("the others are read", || database.rows("SELECT COUNT(*) FROM readings") == ["7"]);
}

#[test]
fn a_topic_of_a_pattern_that_is_made_anew_is_gone_on_with_and_costs_no_other_one() {
    let stem = unique("bay");
    let topics = ["a", "b"].map(|name| Topic::create_named(&format!("{stem}.{name}"), 1));
    let database = Database::create(&mysql_url());
    let job = TestJob::new(&format!("^{stem}[.]"), &database.url).query("tables/readings", READINGS);
    topics.iter().for_each(|topic| topic.put_samples("P1", &[(1, 80.0), (2, 81.0)]));
    job.run_once();
    topics[1].make_anew(1);
    topics[0].put_samples("P1", &[(3, 82.0)]);
    topics[1].put_samples("P2", &[(3, 83.0)]);
    let run = job.command("run").arg("--once").output().unwrap();
    assert!(run.status.success() && told(&run).contains("going on with the new topic"), "{}", told(&run));
    let count = || database.so_far("SELECT COUNT(*) FROM (SELECT DISTINCT patient_id, event_time FROM readings) AS r");
    assert_eq!(count(), "4");
    // While the job runs it ends, with a code by which it is started again.
    let mut running = job.start();
    topics[0].put_samples("P1", &[(4, 84.0)]);
    running.wait_until("it reads", || count() == "5");
    topics[1].make_anew(1);
    assert_eq!(running.wait(), Some(3), "{}", running.log());
    assert!(running.log().contains("the next start goes on with the new one"), "{}", running.log());
    topics[1].put_samples("P2", &[(5, 85.0)]);
    let mut running = job.start();
    running.wait_until("it goes on", || count() == "6");
}

#[test]
fn windows_that_lack_a_topic_which_is_not_read_any_more_are_not_written() {
    let topics = [Topic::create(1), Topic::create(1)];
    let database = Database::create(&mysql_url());
    let with = |topics: &[Topic]| {
        let job = TestJob::new("", &database.url).source(&listed(topics.iter()));
        job.query("tables/readings", READINGS).query("tables/minutes", MINUTES)
    };
    topics.iter().for_each(|topic| topic.put_samples("P1", &[(1, 80.0), (2, 81.0)]));
    with(&topics).run_once();
    // As after a kill, there is no snapshot of what the windows had.
    database.connect().query_drop("DELETE FROM window_snapshots").unwrap();
    topics[0].put_samples("P1", &[(3, 82.0), (15, 82.0), (40, 82.0)]);
    let run = with(&topics[..1]).command("run").arg("--once").output().unwrap();
    assert!(
        told(&run).contains("the topics that are read no longer hold records of its open windows"),
        "{}",
        told(&run)
    );
    let minutes = database.rows("SELECT window_start, records FROM minutes ORDER BY 1");
    assert!(!minutes.iter().any(|row| row.starts_with("2026-01-01 00:00:00")), "{minutes:?}");
}
