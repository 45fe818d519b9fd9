//! What is to be told reaches whom it is for, at least once and in order, whatever they do; and nobody else waits for it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysql::prelude::Queryable;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::fixtures::{Database, TACHYCARDIA, TestJob, Topic, kafka, sample, told, wait_until};
use crate::receiver::{Manner, Receiver};

/// Fires at once and ends at once.
const AT_ONCE: &str = "-- @severity: high\n-- @latch: no\n-- @message: HR {heart_rate:.0} > 120
SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120
";

fn with_outlets(outlets: &str) -> (TestJob, Topic, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("rules/tachycardia", AT_ONCE).more(outlets);
    (job, topic, database)
}

fn webhook(name: &str, receiver: &Receiver, more: &str) -> String {
    format!("[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{}/hook\"\n{more}\n", receiver.url)
}

fn open_notifications(database: &Database) -> String {
    database.so_far("SELECT COUNT(*) FROM notifications WHERE is_open=1")
}

#[test]
fn a_webhook_is_told_in_order_however_it_misbehaves_and_every_attempt_is_logged() {
    let receiver = Receiver::start(Manner::Failing);
    let more = "secret = \"shh\"\ntimeout = \"300ms\"\nlongest_backoff = \"400ms\"";
    let (job, topic, database) = with_outlets(&webhook("hook", &receiver, more));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0), (1, 140.0)]);
    for manner in [Manner::Failing, Manner::Hanging, Manner::BreakingOff] {
        receiver.behave(manner);
        let before = receiver.requests().len();
        running.wait_until("it is tried again", || receiver.requests().len() >= before + 2);
    }
    topic.put_samples("P1", &[(2, 80.0)]);
    running.wait_until("the end waits behind the beginning", || open_notifications(&database) == "2");
    receiver.behave(Manner::Well);
    running.wait_until("all is delivered", || open_notifications(&database) == "0");

    let told = receiver.alerts();
    let statuses: Vec<&str> = told.iter().map(|(_, status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["firing", "resolved"]);
    let request = receiver.taken()[0].clone();
    let signed = request.header("X-Wardwatch-Signature-256").unwrap().to_owned();
    assert_eq!(signed, format!("sha256={}", hmac("shh", &request.body)));
    assert_eq!(request.json()["alerts"][0]["labels"]["patient"], "P1");
    assert_eq!(request.json()["alerts"][0]["annotations"]["text"], "HR 130 > 120");
    let outcomes = database.rows("SELECT DISTINCT outcome FROM deliveries ORDER BY outcome");
    assert_eq!(outcomes, ["delivered", "failed"]);
    let errors = database.rows("SELECT DISTINCT error FROM deliveries WHERE outcome='failed'").join("\n");
    assert!(errors.contains("HTTP 500") && errors.contains("timeout"), "{errors}");
}

/// The signature of another implementation: OpenSSL's.
fn hmac(secret: &str, body: &str) -> String {
    use std::io::Write;
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret, "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = openssl.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn an_outlet_that_hangs_delays_neither_another_nor_a_batch() {
    let (dead, well) = (Receiver::start(Manner::Hanging), Receiver::start(Manner::Well));
    let outlets = webhook("dead", &dead, "timeout = \"1h\"") + &webhook("well", &well, "");
    let (job, topic, database) = with_outlets(&outlets);
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    running.wait_until("the dead one is being told", || !dead.requests().is_empty());
    for (second, patient) in (1..).zip(["P2", "P3", "P4"]) {
        topic.put_samples(patient, &[(second, 130.0)]);
        let so_many = usize::try_from(second).unwrap() + 1;
        running.wait_until("the other is told", || well.alerts().len() >= so_many);
    }
    assert_eq!(database.so_far("SELECT COUNT(*) FROM readings"), "4");
    assert_eq!(dead.requests().len(), 1, "it still hangs at the first");
}

#[test]
fn a_kill_between_commit_and_delivery_loses_nothing_and_a_repeat_bears_the_same_key() {
    let receiver = Receiver::start(Manner::Hanging);
    let (job, topic, database) = with_outlets(&webhook("hook", &receiver, ""));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    running.wait_until("it is committed and being told", || !receiver.requests().is_empty());
    running.signal("KILL");
    running.wait();
    assert_eq!(open_notifications(&database), "1");
    receiver.behave(Manner::Well);
    let mut running = job.start();
    running.wait_until("it is delivered", || open_notifications(&database) == "0");
    let keys: Vec<String> =
        receiver.requests().iter().filter_map(|request| request.header("Idempotency-Key").map(str::to_owned)).collect();
    assert!(keys.len() >= 2 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(database.so_far("SELECT COUNT(*) FROM alerts"), "1", "a restart opens no second episode");
}

#[test]
fn after_a_long_silence_of_the_receiver_all_is_told_in_a_few_messages() {
    let receiver = Receiver::start(Manner::Failing);
    let (job, topic, database) = with_outlets(&webhook("hook", &receiver, "longest_backoff = \"500ms\""));
    let mut running = job.start();
    for (second, rate, readings) in [(0, 130.0, "150"), (1, 80.0, "300")] {
        for patient in 0..150 {
            topic.put(0, None, sample(&format!("P{patient}"), second, rate).as_bytes());
        }
        topic.flush();
        running.wait_until("they are read", || database.so_far("SELECT COUNT(*) FROM readings") == readings);
    }
    let expected = 300;
    assert_eq!(open_notifications(&database), "300", "the beginnings and the ends");
    receiver.behave(Manner::Well);
    running.wait_until("all is delivered", || open_notifications(&database) == "0");
    assert_eq!(receiver.alerts().len(), expected);
    assert!(receiver.taken().len() <= 3, "{} messages for {expected}", receiver.taken().len());
    let mut firing = std::collections::HashSet::new();
    for (episode, status, _) in receiver.alerts() {
        match status.as_str() {
            "firing" => assert!(firing.insert(episode)),
            _ => assert!(firing.contains(&episode), "the end is told behind the beginning"),
        }
    }
}

#[test]
fn a_message_that_is_refused_keeps_no_other_from_the_receiver() {
    let receiver = Receiver::start(Manner::Failing);
    let (job, topic, database) = with_outlets(&webhook("hook", &receiver, "longest_backoff = \"300ms\""));
    let mut running = job.start();
    for patient in ["P1", "POISON", "P3"] {
        topic.put_samples(patient, &[(0, 130.0)]);
    }
    running.wait_until("all are to be told", || open_notifications(&database) == "3");
    receiver.behave(Manner::Refusing("POISON"));
    running.wait_until("the others are delivered", || open_notifications(&database) == "1");
    assert_eq!(database.so_far("SELECT state FROM notifications WHERE is_open=1"), "waiting");
    receiver.behave(Manner::Well);
    running.wait_until("it is too, once it is taken", || open_notifications(&database) == "0");
}

#[test]
fn what_was_tried_for_long_enough_is_given_up_and_status_says_so() {
    let receiver = Receiver::start(Manner::Failing);
    let more = "longest_backoff = \"100ms\"\ngive_up_after = \"1s\"";
    let (job, topic, database) = with_outlets(&webhook("hook", &receiver, more));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    running.wait_until("it is given up", || {
        database.so_far("SELECT state FROM notifications") == "given up"
            && database.so_far("SELECT outcome FROM deliveries ORDER BY attempt DESC LIMIT 1") == "given up"
    });
    let status = job.command("status").output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("outlet hook · 0 wait · 1 given up"), "{status}");
}

#[test]
fn a_run_for_cron_delivers_before_it_ends_and_an_outlet_that_is_gone_is_not_waited_for() {
    let receiver = Receiver::start(Manner::Well);
    let (job, topic, database) = with_outlets(&webhook("hook", &receiver, ""));
    topic.put_samples("P1", &[(0, 130.0)]);
    job.run_once();
    assert_eq!(receiver.alerts().len(), 1);
    receiver.behave(Manner::Failing);
    topic.put_samples("P1", &[(1, 80.0)]);
    job.run_once();
    assert_eq!(open_notifications(&database), "1");
    let without = TestJob::new(&job.topic, &job.store).query("rules/tachycardia", AT_ONCE);
    without.run_once();
    assert_eq!(database.so_far("SELECT state FROM notifications ORDER BY number DESC LIMIT 1"), "given up");
}

#[test]
fn a_kafka_topic_has_a_record_for_each_notification_keyed_by_patient() {
    let alerts = Topic::create(2);
    let (job, topic, database) = with_outlets(&format!("[[notify]]\nkind = \"kafka\"\ntopic = \"{}\"\n", alerts.name));
    topic.put_samples("P1", &[(0, 130.0), (1, 80.0)]);
    topic.put_samples("P2", &[(1, 130.0)]);
    job.run_once();
    topic.put_samples("P2", &[(2, 80.0)]);
    job.run_once();
    assert_eq!(open_notifications(&database), "0");

    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .set("group.id", &alerts.name)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&alerts.name]).unwrap();
    let mut found = Vec::new();
    wait_until("the records", || {
        while let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let record: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            assert_eq!(record["patient"], key.as_str());
            found.push(format!("{key} {}", record["kind"].as_str().unwrap()));
        }
        found.len() >= 2
    });
    found.sort();
    assert_eq!(found, ["P2 firing", "P2 resolved"], "P1's was over before anybody could be told");
}

#[test]
fn a_heartbeat_ceases_while_batches_are_not_committed() {
    let receiver = Receiver::start(Manner::Well);
    let (job, topic, database) = with_outlets(&format!(
        "[[notify]]\nkind = \"heartbeat\"\nurl = \"{}/ping\"\nevery = \"100ms\"\n",
        receiver.url
    ));
    let job = job.more("[trigger]\nevery = \"100ms\"");
    let mut running = job.start();
    running.wait_until("it beats", || receiver.requests().len() >= 3);
    let mut locking = database.connect();
    locking.query_drop("LOCK TABLES batches WRITE, offsets WRITE").unwrap();
    topic.put_samples("P1", &[(0, 80.0)]);
    // Silence shows only over time: ten beats long there is none.
    let is_silent = || {
        let before = receiver.requests().len();
        std::thread::sleep(Duration::from_secs(1));
        receiver.requests().len() == before
    };
    running.wait_until("it is silent", is_silent);
    locking.query_drop("UNLOCK TABLES").unwrap();
    let before = receiver.requests().len();
    running.wait_until("it beats again", || receiver.requests().len() > before + 2);
}

#[test]
fn a_heartbeat_ceases_while_the_store_stalls_though_nothing_comes_that_had_to_be_committed() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let receiver = Receiver::start(Manner::Well);
    let (topic, database) = (Topic::create(1), Database::create(&crate::fixtures::mysql_url()));
    let is_stalled = Arc::new(AtomicBool::new(false));
    let stalled = Arc::clone(&is_stalled);
    // The store takes commands and answers none.
    let url = crate::proxy::before(&database.url, move |_| {
        while stalled.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        crate::proxy::Verdict::Pass
    });
    let heartbeat = format!("[[notify]]\nkind = \"heartbeat\"\nurl = \"{}/ping\"\nevery = \"100ms\"\n", receiver.url);
    let job = TestJob::new(&topic.name, &url)
        .query("rules/tachycardia", AT_ONCE)
        .more(&heartbeat)
        .more("[trigger]\nevery = \"100ms\"");
    let mut running = job.start();
    running.wait_until("it beats with nothing to commit", || receiver.requests().len() >= 5);
    assert_eq!(database.so_far("SELECT COUNT(*) FROM batches"), "0");
    is_stalled.store(true, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(500)); // what was on its way
    let before = receiver.requests().len();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(receiver.requests().len(), before, "silence shows only over time: twenty beats long there is none");
    is_stalled.store(false, Ordering::SeqCst);
    running.wait_until("it beats again", || receiver.requests().len() > before + 2);
}

/// Three receivers: the ward is told at once, the nurse and the doctor when nobody came for long.
fn three_receivers(ward: &Receiver, nurse: &Receiver, doctor: &Receiver) -> String {
    let quick = "timeout = \"300ms\"\nlongest_backoff = \"300ms\"";
    let called = format!("{quick}\nwhen = \"escalation\"");
    let step = |hours: u32, to: &str| format!("[[alerts.escalation]]\nafter = \"{hours}h\"\nto = [\"{to}\"]\n");
    [
        "[alerts]\nunreached_after = \"2s\"\n".to_owned(),
        step(1, "nurse"),
        step(2, "doctor"),
        webhook("ward", ward, quick),
        webhook("nurse", nurse, &called),
        webhook("doctor", doctor, &called),
    ]
    .concat()
}

/// `wardwatch status`: the exit code, and what it says.
fn status(job: &TestJob) -> (Option<i32>, String) {
    let output = job.command("status").output().unwrap();
    (output.status.code(), told(&output))
}

#[test]
fn an_alert_that_its_receiver_does_not_take_goes_to_the_next_and_nobody_is_told_twice() {
    let (ward, nurse) = (Receiver::start(Manner::Failing), Receiver::start(Manner::Hanging));
    let doctor = Receiver::start(Manner::Failing);
    let port = free_port();
    let (job, topic, database) = with_outlets(&three_receivers(&ward, &nurse, &doctor));
    let job = job.more(&format!("[dashboard]\nlisten = \"127.0.0.1:{port}\""));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 134.0)]);
    // Steps that are due in an hour and in two are taken because neither the ward nor the nurse is there.
    running.wait_until("the doctor is called", || !doctor.requests().is_empty());
    let unreached = || database.so_far("SELECT state FROM alerts WHERE rule='unreached' AND patient_id='P1'");
    running.wait_until("that nobody was reached is an alert", || unreached() == "firing");
    let text = database.so_far("SELECT text FROM alerts WHERE rule='unreached'");
    assert!(
        text.starts_with("nobody was reached: webhook \"ward\" has not taken \"HR 134 > 120\" of P1 for "),
        "{text}"
    );
    assert_eq!(database.so_far("SELECT severity FROM alerts WHERE rule='unreached'"), "technical");
    let episode = database.so_far("SELECT id FROM alerts WHERE rule='tachycardia'");
    assert_eq!(database.so_far(&format!("SELECT escalated FROM alerts WHERE id='{episode}'")), "2");

    let (code, said) = status(&job);
    assert_eq!(code, Some(4), "{said}");
    for expected in ["unreached · nobody was reached: webhook \"ward\"", "receiver_stalled · webhook \"ward\""] {
        assert!(said.contains(expected), "\"{expected}\" in\n{said}");
    }
    let read = |path: &str| {
        let output = Command::new("curl").args(["-sf", &format!("http://127.0.0.1:{port}{path}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let metric = |name: &str| -> f64 {
        let metrics = read("/metrics");
        let line = metrics.lines().find(|line| line.starts_with(&format!("wardwatch_{name} ")));
        line.unwrap_or_else(|| panic!("{name} in\n{metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(metric("notifications_unreached") >= 2.0, "the ward's and the nurse's");
    assert!(metric("notifications_unreached_seconds") >= 2.0 && metric("unwatched{cause=\"unreached\"}") >= 2.0);
    assert!(read("/alerts").contains("nobody was reached") && read("/job").contains("nobody was reached"));
    assert!(read("/api/v1/status").contains("\"cause\":\"unreached\""));

    // Once the doctor has taken it, somebody was reached, though neither the ward nor the nurse is back.
    doctor.behave(Manner::Well);
    running.wait_until("the doctor has it", || !doctor.alerts().is_empty());
    running.wait_until("somebody was reached", || unreached() == "ended" && metric("notifications_unreached") == 0.0);
    let (code, said) = status(&job);
    assert!(code == Some(4) && !said.contains("unreached ·") && said.contains("receiver_stalled · webhook"), "{said}");

    // A kill between, and the steps are not taken again.
    running.signal("KILL");
    running.wait();
    let mut running = job.start();
    topic.put_samples("P1", &[(1, 135.0)]);
    running.wait_until("it goes on", || database.so_far("SELECT COUNT(*) FROM readings") == "2");
    ward.behave(Manner::Well);
    nurse.behave(Manner::Well);
    running.wait_until("all is taken, and the alert of that over", || {
        open_notifications(&database) == "0" && unreached() == "ended"
    });
    assert_eq!(status(&job).0, Some(0), "{}", status(&job).1);
    for receiver in [&ward, &nurse, &doctor] {
        let told = receiver.alerts();
        let of = told.iter().filter(|(id, ..)| *id == episode).count();
        assert_eq!(of, 1, "each has been told of it once: {told:?}");
        let mut ids: Vec<&String> = told.iter().map(|(_, _, notification)| notification).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), told.len(), "and of nothing twice: {told:?}");
    }
    assert_eq!(database.so_far("SELECT COUNT(*) FROM alerts WHERE rule='unreached'"), "1");
}

#[test]
fn that_nobody_was_reached_is_an_alert_without_an_escalation_too_and_makes_no_more_of_itself() {
    let receiver = Receiver::start(Manner::Failing);
    let quick = webhook("ward", &receiver, "longest_backoff = \"200ms\"");
    let (job, topic, database) = with_outlets(&format!("[alerts]\nunreached_after = \"1s\"\n{quick}"));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 134.0)]);
    let of = |patient: &str| {
        database.so_far(&format!("SELECT state FROM alerts WHERE rule='unreached' AND patient_id='{patient}'"))
    };
    running.wait_until("it is an alert", || of("P1") == "firing");
    let told = "SELECT COUNT(*) FROM notifications WHERE facts LIKE '%\"rule\":\"unreached\"%' AND is_open=1";
    running.wait_until("which waits for the same receiver", || database.so_far(told) == "1");
    // Nobody takes that either, for several times as long as it needs.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(database.so_far("SELECT COUNT(*) FROM alerts WHERE rule='unreached'"), "1");
    assert_eq!(database.so_far("SELECT COUNT(*) FROM notifications"), "2");
    // An alert that is over has reached nobody all the same.
    topic.put_samples("P1", &[(20, 80.0)]);
    running.wait_until("the first is over", || {
        database.so_far("SELECT state FROM alerts WHERE rule='tachycardia'") == "ended"
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(of("P1"), "firing");
    receiver.behave(Manner::Well);
    running.wait_until("it is over once all is taken", || of("P1") == "ended" && open_notifications(&database) == "0");
    let statuses: Vec<String> = receiver.alerts().into_iter().map(|(_, status, _)| status).collect();
    let count = |wanted: &str| statuses.iter().filter(|status| *status == wanted).count();
    assert_eq!((count("firing"), count("resolved")), (2, 2), "{statuses:?}");
}

#[test]
fn what_is_not_tried_any_more_has_reached_nobody_while_its_alert_stands_also_after_a_restart() {
    let receiver = Receiver::start(Manner::Failing);
    let more = "longest_backoff = \"200ms\"\ngive_up_after = \"2s\"";
    let quick = webhook("ward", &receiver, more);
    let (job, topic, database) = with_outlets(&format!("[alerts]\nunreached_after = \"3s\"\n{quick}"));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 134.0)]);
    let state = || database.so_far("SELECT state FROM alerts WHERE rule='unreached'");
    running.wait_until("nobody was reached", || state() == "firing");
    let text = database.so_far("SELECT text FROM alerts WHERE rule='unreached'");
    assert!(text.ends_with(", and it is not tried any more"), "{text}");
    running.signal("KILL");
    running.wait();
    let mut running = job.start();
    topic.put_samples("P1", &[(1, 135.0)]);
    running.wait_until("it goes on", || database.so_far("SELECT COUNT(*) FROM readings") == "2");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(database.rows("SELECT state FROM alerts WHERE rule='unreached'"), ["firing"]);
    let (code, said) = status(&job);
    assert!(code == Some(4) && said.contains("not tried any more"), "{said}");
    topic.put_samples("P1", &[(20, 80.0)]);
    running.wait_until("it is over with its alert", || state() == "ended");
}

#[test]
fn a_log_that_takes_everything_has_reached_nobody() {
    let receiver = Receiver::start(Manner::Failing);
    let quick = webhook("ward", &receiver, "longest_backoff = \"200ms\"");
    let log = "[[notify]]\nkind = \"log\"\n";
    let (job, topic, database) = with_outlets(&format!("[alerts]\nunreached_after = \"1s\"\n{log}{quick}"));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 134.0)]);
    let unreached = "SELECT state FROM alerts WHERE rule='unreached'";
    running.wait_until("nobody was reached", || database.so_far(unreached) == "firing");
}

#[test]
fn where_one_of_two_receivers_has_taken_it_somebody_was_reached_and_the_other_is_a_finding() {
    let (well, away) = (Receiver::start(Manner::Well), Receiver::start(Manner::Failing));
    let outlets = webhook("well", &well, "") + &webhook("away", &away, "longest_backoff = \"200ms\"");
    let (job, topic, database) = with_outlets(&format!("[alerts]\nunreached_after = \"1s\"\n{outlets}"));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 134.0)]);
    running.wait_until("one has it", || well.alerts().len() == 1);
    running.wait_until("the other is a finding", || {
        let (code, said) = status(&job);
        code == Some(4) && said.contains("receiver_stalled · webhook \"away\" has not taken 1 notifications")
    });
    let (_, said) = status(&job);
    assert!(!said.contains("nobody was reached"), "{said}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(database.so_far("SELECT COUNT(*) FROM alerts WHERE rule='unreached'"), "0");
}

#[test]
fn status_says_what_is_not_watched_and_exits_by_it() {
    let (job, topic, database) = TestJob::on_mysql();
    let (code, said) = status(&job);
    assert!(code == Some(4) && said.contains("no_batch · no batch has ever been committed"), "{said}");
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    let (code, said) = status(&job);
    assert!(code == Some(0) && said.contains("0 not being watched"), "{said}");
    let patient = job.command("status").args(["--patience", "1ms"]).output().unwrap();
    assert_eq!(patient.status.code(), Some(4), "{}", told(&patient));
    database.connect().query_drop("UPDATE batches SET now_at = now_at - INTERVAL 2 HOUR").unwrap();
    let (code, said) = status(&job);
    assert!(code == Some(4) && said.contains("no_batch · no batch has been committed for 2h"), "{said}");
    assert!(
        said.contains("see whether `wardwatch run ") && said.contains("error: 1 thing is not being watched"),
        "{said}"
    );
    let seldom = job.command("status").args(["--patience", "3h"]).output().unwrap();
    assert_eq!(seldom.status.code(), Some(0), "a job that cron runs: {}", told(&seldom));

    let job = job.query(
        "tables/bad",
        "-- @key: patient_id\nSELECT patient_id, 1 / (max(_offset) - max(_offset)) AS x FROM vitals GROUP BY 1",
    );
    topic.put_samples("P1", &[(1, 80.0)]);
    job.run_once();
    let (code, said) = status(&job);
    assert!(code == Some(4) && said.contains("query_failing · query \"bad\" has failed 1 times in a row"), "{said}");
}

/// A program that is ended when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn get(url: &str) -> Option<serde_json::Value> {
    let output = Command::new("curl").args(["-sf", url]).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn prometheus_alertmanager_hears_of_alerts_that_stand_again_and_again_and_that_they_are_over() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
    let port = free_port();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let _alertmanager = Program(
        Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let url = format!("http://127.0.0.1:{port}");
    wait_until("Alertmanager is there", || get(&format!("{url}/api/v2/status")).is_some());

    let outlet = format!("[[notify]]\nkind = \"alertmanager\"\nurl = \"{url}\"\nresend = \"500ms\"\n");
    let (job, topic, _database) = with_outlets(&outlet);
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    let alerts = || get(&format!("{url}/api/v2/alerts?active=true")).unwrap().as_array().unwrap().clone();
    running.wait_until("it has the alert", || alerts().len() == 1);
    let first = alerts().remove(0);
    assert_eq!(first["labels"]["alertname"], "tachycardia");
    assert_eq!(first["labels"]["patient"], "P1");
    assert_eq!(first["labels"]["severity"], "high");
    assert_eq!(first["startsAt"], "2026-01-01T00:00:00.000Z");
    running.wait_until("it hears of it again", || alerts()[0]["updatedAt"] != first["updatedAt"]);

    running.signal("KILL");
    running.wait();
    let before = alerts()[0]["updatedAt"].clone();
    let mut running = job.start();
    running.wait_until("a job that was killed knows what it has told", || alerts()[0]["updatedAt"] != before);
    topic.put_samples("P1", &[(1, 80.0)]);
    running.wait_until("it is over there too", || alerts().is_empty());
}

/// A real mail server that keeps what it gets below a folder; with `--tlscert` among its options it insists on TLS.
fn mail_server(folder: &std::path::Path, port: u16, options: &[&str]) -> Program {
    let server = Command::new("/usr/bin/python3")
        .args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox"])
        .args(options)
        .arg(folder.join("mail"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("smtp.log")).unwrap())
        .spawn()
        .unwrap();
    wait_until("the mail server is there", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Program(server)
}

fn mail(port: u16, more: &str) -> String {
    format!(
        "[[notify]]\nkind = \"email\"\nurl = \"smtp://127.0.0.1:{port}{more}\"\nfrom = \"Wardwatch <ward@example.org>\"\n\
         to = [\"Nurse <nurse@example.org>\"]\nlongest_backoff = \"200ms\"\nsubject = \"{{{{ patient }}}}: {{{{ text }}}}\"\n"
    )
}

fn letters(folder: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("mail/new")).into_iter().flatten();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn mail_arrives_at_a_real_server_and_much_at_once_is_one_letter() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = mail_server(folder.path(), port, &[]);
    let (job, topic, database) = with_outlets(&mail(port, ""));
    let letters = || letters(folder.path());
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    running.wait_until("a letter", || letters().len() == 1);
    let letter = letters().remove(0);
    for expected in
        ["Subject: P1: HR 130 > 120", "To: Nurse <nurse@example.org>", "tachycardia, high, since 2026-01-01"]
    {
        assert!(letter.contains(expected), "\"{expected}\" in\n{letter}");
    }
    drop(server);
    for patient in ["P2", "P3", "P4"] {
        topic.put_samples(patient, &[(1, 130.0)]);
    }
    running.wait_until("three are to be told", || open_notifications(&database) == "3");
    let _back = mail_server(folder.path(), port, &[]);
    running.wait_until("they are told", || open_notifications(&database) == "0");
    assert_eq!(letters().len(), 2, "{:?}", letters());
    assert!(letters().iter().any(|letter| letter.contains("Subject: 3 alerts: 3 high")), "{:?}", letters());
}

#[test]
fn mail_goes_by_tls_to_a_server_that_can_be_trusted_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate])
        .output()
        .unwrap();
    assert!(made.status.success());
    let port = free_port();
    let _server = mail_server(folder.path(), port, &["--tlscert", certificate, "--tlskey", key]);
    let (job, topic, database) = with_outlets(&mail(port, "?tls=required"));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    running.wait_until("nobody vouches for the server", || {
        database.so_far("SELECT error FROM deliveries LIMIT 1").contains("certificate")
    });
    assert!(letters(folder.path()).is_empty());
    running.signal("KILL");
    running.wait();
    let mut running = job.start_with(&[("SSL_CERT_FILE", certificate)]);
    running.wait_until("a letter", || letters(folder.path()).len() == 1);
    running.wait_until("and the note of it", || open_notifications(&database) == "0");
}

#[test]
fn the_button_of_a_message_on_the_telephone_acknowledges() {
    let receiver = Receiver::start(Manner::Well);
    let outlet = format!(
        "[[notify]]\nkind = \"ntfy\"\nurl = \"{}\"\ntopic = \"ward\"\nacknowledge = \"ward-acks\"\nsecret = \"shh\"\ntoken = \"tk_1\"\n",
        receiver.url
    );
    let (job, topic, database) = with_outlets(&outlet);
    let job = job.query("rules/tachycardia", TACHYCARDIA);
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0), (1, 130.0), (2, 130.0), (3, 130.0)]);
    running.wait_until("it is told", || !receiver.taken().is_empty());
    let told = receiver.taken()[0].clone();
    assert_eq!(told.header("Authorization"), Some("Bearer tk_1"));
    assert_eq!((told.json()["priority"].as_u64(), told.json()["topic"].as_str()), (Some(5), Some("ward")));
    let button = told.json()["actions"][0].clone();
    assert_eq!(button["url"], format!("{}/ward-acks", receiver.url));
    let press = button["body"].as_str().unwrap().to_owned();
    let line = |id: &str, text: &str| format!("{{\"id\":\"{id}\",\"event\":\"message\",\"message\":\"{text}\"}}\n");
    receiver.say(&(line("a", "acknowledge made-up") + &line("b", &press) + &line("c", &press)));
    running.wait_until("it is acknowledged", || database.so_far("SELECT acknowledged_by FROM alerts") == "ntfy");
    assert_eq!(database.so_far("SELECT COUNT(*) FROM alert_events WHERE kind='acknowledged'"), "1");
}

#[test]
fn a_report_that_was_due_is_mailed_with_its_picture_and_again_when_the_server_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let outlet = mail(port, "").replace("[[notify]]", "[[notify]]\nname = \"doctor\"\nidentify = true");
    let (job, topic, database) = with_outlets(&format!("{outlet}\n[reports]\ndir = \"out\"\nspecs = \"reports\"\n"));
    let spec = "title = \"Readings\"\nrange = \"1h\"\nschedule = \"every 1h\"\nmail = [\"doctor\"]\n[[chart]]\nkind = \"table\"\n\
                title = \"Readings\"\nsql = \"SELECT * FROM readings\"\n";
    std::fs::create_dir(job.folder.path().join("reports")).unwrap();
    std::fs::write(job.folder.path().join("reports/all.toml"), spec).unwrap();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    database.connect().query_drop("UPDATE batches SET now_at = now_at - INTERVAL 1 HOUR").unwrap();
    let report = || {
        let output = job.command("report").output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    };
    report();
    assert_eq!(database.rows("SELECT COUNT(*) FROM report_runs WHERE mail_open = 1"), ["1"], "nobody is there");
    let _server = mail_server(folder.path(), port, &[]);
    report();
    assert_eq!(database.rows("SELECT COUNT(*) FROM report_runs WHERE mail_open = 1"), ["0"]);
    let letters = letters(folder.path());
    assert!(!letters.is_empty());
    for expected in ["Subject: Report: all, ", "Content-Type: image/png", "Content-ID: <picture-0>", "cid:picture-0"] {
        assert!(letters[0].contains(expected), "\"{expected}\" in\n{:.3000}", letters[0]);
    }
}
