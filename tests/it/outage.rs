//! What is told, and where, while a service that the job needs is away: by pages, metrics and receivers, from memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::browser;
use crate::fixtures::{
    Database, READINGS, Running, TACHYCARDIA, TestJob, Topic, kafka, mysql_url, told, unique, wait_until,
};
use crate::page::{Ward, pictures};
use crate::receiver::{Manner, Receiver};
use crate::services::OwnService;
use crate::webdriver::{Browser, Screen};

/// The status and the body of an answer, which must not take long whatever the services do.
pub fn get(port: u16, path: &str) -> (u16, String) {
    let asked = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(8), "{path} took {:?}", asked.elapsed());
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn metrics(port: u16) -> String {
    let (status, text) = get(port, "/metrics");
    assert_eq!(status, 200, "{text}");
    text
}

/// Whether a metric has a value.
fn has(text: &str, line: &str) -> bool {
    text.lines().any(|known| known == line)
}

/// What a receiver was told of an alert of the job's own: episode and status, in order.
fn told_of(receiver: &Receiver, rule: &str) -> Vec<(String, String)> {
    let alerts = receiver.taken().into_iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
    let of = alerts.filter(|alert| alert["labels"]["alertname"] == rule);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    of.map(|alert| (text(&alert["labels"]["episode"]), text(&alert["status"]))).collect()
}

fn statuses(receiver: &Receiver, rule: &str) -> Vec<String> {
    told_of(receiver, rule).into_iter().map(|(_, status)| status).collect()
}

fn notifying(receiver: &Receiver) -> String {
    format!("[[notify]]\nkind = \"webhook\"\nurl = \"{}/hook\"\nseverity = \"technical\"\n", receiver.url)
}

#[test]
fn while_the_store_is_away_pages_metrics_and_receivers_tell_it_from_memory() {
    let Some(server) = OwnService::start("mysql") else {
        println!("skipped: the server is the user's");
        return;
    };
    let (receiver, unmoved) = (Receiver::start(Manner::Well), Receiver::start(Manner::Well));
    let only_high = notifying(&unmoved).replace("\"technical\"", "\"high\"\nname = \"only_high\"");
    let more = notifying(&receiver) + &only_high;
    let mut ward = Ward::open_on(&kafka(), &server.address, &[("P1", 80.0), ("P2", 75.0)], &more);
    let port = ward.port;
    ward.running.wait_until("the ward is there", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok() && get(port, "/").1.matches("class=\"tile").count() == 2
    });
    let well = metrics(port);
    assert!(has(&well, "wardwatch_store_up 1") && has(&well, "wardwatch_store_away_seconds 0"), "{well}");
    assert_eq!(get(port, "/readyz"), (200, "ready\n".to_owned()));
    let browser = browser::is_there().then(|| {
        let browser = Browser::start(Screen::Wall);
        ward.show(&browser, "/");
        browser.wait_for("it is live", "document.querySelectorAll('.tile').length === 2 && stalled.hidden");
        browser
    });

    // It stands still: connections stay, and no answer comes.
    server.signal("STOP");
    wait_until("the page says so", || get(port, "/").1.contains("The store has not answered for"));
    let (status, page) = get(port, "/");
    assert_eq!(status, 200);
    assert!(page.contains("no alarm is judged") && page.contains("What is shown here is old, of "), "{page}");
    assert!(page.contains("data-id=\"P1\"") && page.contains(">80<") && page.contains("is-stalled"), "{page}");
    assert!(!page.contains("no data for"), "nobody knows what the devices do: {page}");
    for (path, still) in
        [("/patients/P1", ">80<"), ("/alerts", "Open now"), ("/job", "store_away"), ("/reports", "Search")]
    {
        let (status, page) = get(port, path);
        assert_eq!(status, 200, "{path}: {page}");
        assert!(page.contains("The store has not answered for") && page.contains(still), "{path}: {page}");
    }
    let away = metrics(port);
    for line in ["wardwatch_store_up 0", "wardwatch_unjudged_patients 2", "wardwatch_unwatched{cause=\"store_away\"} 1"]
    {
        assert!(has(&away, line), "{line} in {away}");
    }
    assert!(!has(&away, "wardwatch_unjudged_seconds 0"), "{away}");
    assert_eq!(get(port, "/readyz").0, 503);
    assert_eq!(get(port, "/healthz"), (200, "ok\n".to_owned()));
    let (status, problem) = get(port, "/api/v1/status");
    assert!(status == 503 && problem.contains("the store does not answer"), "{problem}");
    let asked = Instant::now();
    let status = ward.job.command("status").arg("--json").output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((status.status.code(), json["unwatched"][0]["cause"].as_str()), (Some(3), Some("store_away")), "{json}");
    let said = told(&status);
    assert!(said.contains("gave no answer in time") && !said.contains("CodecError"), "{said}");
    if let Some(browser) = &browser {
        browser.wait_for("open pages say so", "stalled.textContent.startsWith('The store has not answered for ')");
        assert!(browser.eval("document.body.classList.contains('is-stalled')").as_bool().unwrap());
        assert_eq!(browser.text("[data-id=P1] .value"), "80", "what was known stays");
        browser.picture(&pictures().join("store-away.png"));
    }
    wait_until("people are called", || !told_of(&receiver, "store_away").is_empty());
    let request = receiver.taken().pop().unwrap().json();
    let text = request["alerts"][0]["annotations"]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("the store has not answered since ") && text.contains("judges no alarm"), "{text}");
    std::thread::sleep(Duration::from_secs(3)); // that nothing more comes shows only over time
    assert_eq!(statuses(&receiver, "store_away"), ["firing"], "once");

    server.signal("CONT");
    wait_until("people hear that it is over", || statuses(&receiver, "store_away") == ["firing", "resolved"]);
    wait_until("it is live again", || has(&metrics(port), "wardwatch_store_up 1") && get(port, "/readyz").0 == 200);
    wait_until("the page is live again", || !get(port, "/").1.contains("The store has not answered"));
    wait_until("what was seen meanwhile is in the audit", || {
        ward.database.so_far("SELECT COUNT(*) FROM audit WHERE action='see' AND subject='P1'") == "1"
    });

    // It is killed, and everybody's connection is cut.
    server.kill();
    wait_until("the page says so", || get(port, "/").1.contains("The store has not answered for"));
    wait_until("people are called again", || told_of(&receiver, "store_away").len() == 3);
    let before = metrics(port);
    assert!(has(&before, "wardwatch_store_up 0") && has(&before, "wardwatch_unjudged_patients 2"), "{before}");
    server.start_again();
    wait_until("people hear that it is over", || told_of(&receiver, "store_away").len() == 4);
    wait_until("it is live again", || has(&metrics(port), "wardwatch_store_up 1"));
    let told = told_of(&receiver, "store_away");
    assert_eq!(told[0].0, told[1].0);
    assert_eq!(told[2].0, told[3].0);
    assert_ne!(told[0].0, told[2].0, "each outage is told of by itself");
    assert_eq!(told_of(&unmoved, "store_away"), [], "who does not hear technical alerts does not hear this one");
    let outages = "SELECT id, state, ended_at > started_at FROM alerts WHERE rule='store_away' ORDER BY started_at";
    wait_until("both stand in the store, now that they are over", || {
        ward.database.rows(outages) == [0, 2].map(|of| format!("{}|ended|1", told[of].0))
    });
    assert_eq!(ward.database.so_far("SELECT COUNT(*) FROM notifications WHERE facts LIKE '%store_away%'"), "0");
    ward.set(&[("P1", 81.0), ("P2", 75.0)]);
    wait_until("new values come", || get(port, "/").1.contains(">81<"));
    assert_eq!(ward.database.so_far("SELECT COUNT(*) - MAX(batch) FROM batches"), "0", "nothing is lost or doubled");
}

#[test]
fn while_kafka_is_away_it_is_an_alert_a_finding_and_no_heartbeat() {
    let Some(broker) = OwnService::start("kafka") else {
        println!("skipped: the broker is the user's");
        return;
    };
    for how in ["it is killed", "it stands still"] {
        let (receiver, called) = (Receiver::start(Manner::Well), Receiver::start(Manner::Well));
        let heartbeat = format!("[[notify]]\nkind = \"heartbeat\"\nurl = \"{}/ping\"\nevery = \"200ms\"\n", called.url);
        let more = notifying(&receiver) + &heartbeat;
        let mut ward = Ward::open_on(&broker.address, &mysql_url(), &[("P1", 80.0), ("P2", 75.0)], &more);
        let port = ward.port;
        ward.running.wait_until("it beats", || called.requests().len() > 3);
        ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 4 FROM readings") == "1");
        if how == "it is killed" {
            broker.kill()
        } else {
            broker.signal("STOP");
        }
        wait_until("it is an alert", || {
            ward.database.so_far("SELECT state, patient_id FROM alerts WHERE rule='kafka_away'") == "firing|"
        });
        wait_until("people are called", || statuses(&receiver, "kafka_away") == ["firing"]);
        let beats = called.requests().len();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(called.requests().len(), beats, "{how}: silence shows only over time: ten beats long there is none");
        let status = ward.job.command("status").output().unwrap();
        assert_eq!(status.status.code(), Some(4), "{}", told(&status));
        assert!(told(&status).contains("kafka_away · Kafka has not answered since "), "{}", told(&status));
        let away = metrics(port);
        assert!(has(&away, "wardwatch_kafka_up 0") && has(&away, "wardwatch_store_up 1"), "{away}");
        assert!(has(&away, "wardwatch_unjudged_patients 2"), "{away}");
        assert!(get(port, "/").1.contains("Kafka has not answered for"));
        assert_eq!(get(port, "/readyz").0, 503);

        if how == "it is killed" {
            broker.start_again()
        } else {
            broker.signal("CONT");
        }
        ward.running
            .wait_until("people hear that it is over", || statuses(&receiver, "kafka_away") == ["firing", "resolved"]);
        ward.running.wait_until("it beats again", || called.requests().len() > beats + 3);
        ward.running.wait_until("it is ready", || get(port, "/readyz").0 == 200);
        assert!(has(&metrics(port), "wardwatch_kafka_up 1"));
    }
}

#[test]
fn a_store_that_is_read_only_is_called_so_and_nobody_is_judged_meanwhile() {
    let Some(server) = OwnService::start("mysql") else {
        println!("skipped: the server is the user's");
        return;
    };
    let receiver = Receiver::start(Manner::Well);
    let more = notifying(&receiver);
    let mut ward = Ward::open_on(&kafka(), &server.address, &[("P1", 80.0), ("P2", 75.0)], &more);
    let port = ward.port;
    let coverage = || get(port, "/api/v1/patients/P1/coverage");
    ward.running.wait_until("the ward is there", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
            && get(port, "/").1.matches("class=\"tile").count() == 2
            && coverage().1.contains("\"judged\":true")
    });
    let mut root = ward.database.connect();
    root.query_drop("SET GLOBAL super_read_only = 1").unwrap();
    wait_until("the page says so", || get(port, "/").1.contains("The store has been read-only for"));
    let text = metrics(port);
    for line in [
        "wardwatch_store_up 0",
        "wardwatch_store_complaint{complaint=\"read_only\"} 1",
        "wardwatch_unjudged_patients 2",
        "wardwatch_unjudged_patients_by_cause{cause=\"no batch\"} 2",
    ] {
        assert!(has(&text, line), "{line} in {text}");
    }
    let (status, listed) = coverage();
    assert!(status == 200 && !listed.contains("\"judged\":true"), "{listed}");
    assert!(listed.contains("\"cause\":\"no batch\"") && listed.contains("the store is read-only"), "{listed}");
    assert!(get(port, "/job").1.contains("the store is read-only, as the job finds"));
    assert_eq!(get(port, "/readyz"), (503, "the store is read-only\n".to_owned()));
    wait_until("people are called", || !told_of(&receiver, "store_away").is_empty());
    let request = receiver.taken().pop().unwrap().json();
    let text = request["alerts"][0]["annotations"]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("the store has been read-only since "), "{text}");

    root.query_drop("SET GLOBAL super_read_only = 0").unwrap();
    root.query_drop("SET GLOBAL read_only = 0").unwrap();
    wait_until("all are judged again", || {
        has(&metrics(port), "wardwatch_unjudged_patients 0") && coverage().1.contains("\"judged\":true")
    });
}

#[test]
fn a_job_that_is_gone_judges_nobody_and_all_say_so() {
    let mut ward = Ward::open(&[("P1", 80.0), ("P2", 75.0)]);
    ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 4 FROM readings") == "1");
    let port = crate::page::free_port();
    let mut command = ward.job.command("serve");
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let _server = Running::spawn(&mut command, ward.job.folder.path().join("serve.log"));
    wait_until("it serves", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok() && get(port, "/").1.matches("class=\"tile").count() == 2
    });
    let coverage = || get(port, "/api/v1/patients/P1/coverage").1;
    assert!(coverage().contains("\"judged\":true"));
    ward.running.signal("KILL");
    ward.running.wait();
    let status = |more: &[&str]| {
        let output = ward.job.command("status").arg("--json").args(more).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    let later = |seconds: u32| {
        let sql = format!("UPDATE batches SET now_at = now_at - INTERVAL {seconds} SECOND");
        ward.database.connect().query_drop(sql).unwrap();
    };

    // Records wait, and none is read, but no partition is the reason, however patient one is with batches.
    let patiently = ["--patience", "10m"];
    later(40);
    wait_until("it is seen that records wait", || status(&patiently).0 == Some(4));
    let (_, json) = status(&patiently);
    assert_eq!(json["unwatched"].as_array().unwrap().len(), 1, "{json}");
    let found = &json["unwatched"][0];
    assert_eq!(found["cause"], "no_batch", "{json}");
    assert!(found["what"].as_str().unwrap().ends_with(" records wait"), "{found}");
    assert_eq!((&json["unjudged_patients"], &json["unjudged"][0]["cause"]), (&2.into(), &"no batch".into()), "{json}");

    later(40);
    let (code, json) = status(&[]);
    assert_eq!((code, &json["unjudged_patients"]), (Some(4), &2.into()), "{json}");
    assert_eq!((&json["unjudged"][0]["rule"], &json["unjudged"][0]["patients"]), (&"*".into(), &2.into()), "{json}");
    let text = metrics(port);
    for line in [
        "wardwatch_unwatched{cause=\"no_batch\"} 1",
        "wardwatch_unjudged_patients 2",
        "wardwatch_unjudged_patients_by_cause{cause=\"no batch\"} 2",
    ] {
        assert!(has(&text, line), "{line} in {text}");
    }
    let listed = coverage();
    assert!(listed.contains("\"cause\":\"no batch\"") && !listed.contains("\"judged\":true"), "{listed}");
    assert!(get(port, "/patients/P1").1.contains("All rules"), "the patient's page says it, too");

    // Without its batches of before, a page that starts now knows the last one as it is old.
    let mut command = ward.job.command("serve");
    let port = crate::page::free_port();
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let _again = Running::spawn(&mut command, ward.job.folder.path().join("serve.log"));
    wait_until("the page says so", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
            && get(port, "/").1.contains("No alarm is judged: watch the patients by their monitors")
    });
}

#[test]
fn a_job_that_has_nothing_to_read_shows_that_it_runs() {
    let port = crate::page::free_port();
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .query("tables/readings", READINGS)
        .query("rules/tachycardia", TACHYCARDIA)
        .more(&format!("[dashboard]\nlisten = \"127.0.0.1:{port}\""));
    let mut running = job.start();
    running.wait_until("its tables are there", || database.so_far("SELECT COUNT(*) FROM audit") == "0");
    let status = || {
        let output = job.command("status").output().unwrap();
        (output.status.code(), told(&output))
    };
    let (code, said) = status();
    assert_eq!(code, Some(0), "it has just begun: {said}");
    running.wait_until("it goes on without a record", || {
        database.so_far("SELECT COUNT(*) > 2 AND MAX(batch) = COUNT(*) FROM batches") == "1"
    });
    let newest = "SELECT TIMESTAMPDIFF(MICROSECOND, MAX(now_at), UTC_TIMESTAMP(6)) < 4000000 FROM batches";
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(300)); // that it never falls silent shows only over time
        assert_eq!(database.so_far(newest), "1", "pages would say that what they show is old");
    }
    assert_eq!(status().0, Some(0), "{}", status().1);
    let page = get(port, "/").1;
    assert!(page.contains("id=\"stalled\" role=\"alert\" hidden"), "{page}");
    assert!(has(&metrics(port), "wardwatch_unjudged_patients 0"));
}

#[test]
fn a_record_that_has_just_come_is_not_said_to_be_left() {
    let (job, topic, database) = TestJob::on_mysql();
    let shift = |sql: &str| database.connect().query_drop(sql).unwrap();
    let quiet = || shift("UPDATE offsets SET active_at = active_at - INTERVAL 10 MINUTE");
    let status = |job: &TestJob| {
        let output = job.command("status").output().unwrap();
        (output.status.code(), told(&output))
    };
    // A job that runs: a record comes after ten minutes, and the look at it before the next batch.
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("it reads", || database.so_far("SELECT COUNT(*) FROM readings") == "1");
    running.signal("STOP");
    quiet();
    topic.put_samples("P1", &[(1, 80.0)]);
    let looked = std::thread::scope(|scope| {
        let look = scope.spawn(|| status(&job));
        std::thread::sleep(Duration::from_secs(1)); // for the look to begin
        running.signal("CONT");
        look.join().unwrap()
    });
    assert_eq!(looked.0, Some(0), "{}", looked.1);
    running.signal("TERM");
    running.wait();

    // Cron runs it each minute: between two runs records wait.
    let job = job.more("[trigger]\nevery = \"1m\"");
    job.run_once();
    quiet();
    topic.put_samples("P1", &[(2, 80.0)]);
    let earlier = |seconds: u32| shift(&format!("UPDATE batches SET now_at = now_at - INTERVAL {seconds} SECOND"));
    earlier(70);
    assert_eq!(status(&job).0, Some(0), "{}", status(&job).1);
    earlier(70);
    let (code, said) = status(&job);
    assert_eq!(code, Some(4), "two runs have been left out: {said}");
    assert!(said.contains("1 records wait"), "{said}");
}

#[test]
fn records_that_kafka_has_deleted_unread_are_an_alert_and_a_finding_until_somebody_has_seen_it() {
    let (job, topic, database) = TestJob::on_mysql();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    topic.put_samples("P1", &[(1, 130.0), (2, 130.0), (3, 130.0)]);
    topic.delete_before(0, 4);
    // Though nothing else has come since.
    job.run_once();
    let alert = "SELECT id, state, text FROM alerts WHERE rule = 'records_lost' AND is_open = 1";
    let found = database.rows(alert);
    let (id, rest) = found[0].split_once('|').unwrap();
    assert_eq!(
        rest,
        "firing|Kafka had deleted records before they were read: 3 of partition 0, from offset 1 on. No alarm was judged by them"
    );
    let status = || {
        let output = job.command("status").output().unwrap();
        (output.status.code(), told(&output))
    };
    let (code, said) = status();
    assert!(code == Some(4) && said.contains("records_lost · Kafka had deleted records"), "{said}");
    topic.put_samples("P1", &[(4, 80.0)]);
    job.run_once();
    assert_eq!(status().0, Some(4), "nobody has seen it");
    let acknowledged = crate::fixtures::wardwatch()
        .args(["alerts", "ack"])
        .arg(job.file())
        .args([id, "--by", "nora"])
        .current_dir(job.folder.path())
        .output()
        .unwrap();
    assert!(acknowledged.status.success(), "{}", told(&acknowledged));
    job.run_once();
    job.run_once();
    assert_eq!(database.rows(alert), [""; 0]);
    assert_eq!(status().0, Some(0), "{}", status().1);
}

#[test]
fn a_topic_that_is_deleted_is_called_so() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("it reads", || database.so_far("SELECT COUNT(*) FROM readings") == "1");
    topic.delete();
    let alert = "SELECT text FROM alerts WHERE rule='kafka_away' AND is_open=1";
    running.wait_until("it is an alert", || !database.so_far(alert).is_empty());
    let text = database.so_far(alert);
    assert!(text.contains(&format!(", topic \"{}\" does not exist: no new value comes", topic.name)), "{text}");
    // When the job is gone, nobody knows how Kafka fares.
    running.signal("KILL");
    running.wait();
    database.connect().query_drop("UPDATE batches SET now_at = now_at - INTERVAL 2 MINUTE").unwrap();
    let status = job.command("status").output().unwrap();
    let said = told(&status);
    let (before, found) = said.split_once(" not being watched").unwrap();
    assert!(found.contains("no_batch · ") && !found.contains("kafka_away · "), "{said}");
    assert!(before.contains("1 open episodes, as the last batch left them"), "{said}");
}

#[test]
fn a_store_that_answers_without_a_table_of_ours_is_no_store_that_is_silent() {
    let mut ward = Ward::open(&[("P1", 80.0)]);
    let port = ward.port;
    ward.running.wait_until("the ward is there", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok() && get(port, "/").1.matches("class=\"tile").count() == 1
    });
    for table in ["alerts", "notifications"] {
        let rename = |from: &str, to: &str| {
            ward.database.connect().query_drop(format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
        };
        rename(table, "aside");
        wait_until("it is told", || has(&metrics(port), "wardwatch_store_complaint{complaint=\"refuses\"} 1"));
        let text = metrics(port);
        assert!(has(&text, "wardwatch_store_up 0") && has(&text, "wardwatch_unjudged_patients 1"), "{table}: {text}");
        let status = ward.job.command("status").output().unwrap();
        let said = told(&status);
        assert_ne!(status.status.code(), Some(0), "{said}");
        assert!(
            said.contains("store_away · the store refuses what it is asked") && said.contains("put right what it says"),
            "{table}: {said}"
        );
        rename("aside", table);
        wait_until("it goes on", || has(&metrics(port), "wardwatch_store_up 1"));
    }
}

/// Two brokers of the real kind take long to start, so these are librdkafka's.
#[test]
fn a_partition_whose_broker_is_away_is_an_alert_and_a_finding_and_its_patients_are_not_judged() {
    let brokers = MockCluster::<DefaultProducerContext>::new(2).unwrap();
    let (topic, database) = (unique("topic"), Database::create(&mysql_url()));
    brokers.create_topic(&topic, 2, 1).unwrap();
    (0..2).for_each(|partition| brokers.partition_leader(&topic, partition, Some(partition + 1)).unwrap());
    let addresses = brokers.bootstrap_servers();
    let job = TestJob::new(&topic, &database.url)
        .source(&format!("brokers = \"{addresses}\""))
        .query("tables/readings", READINGS)
        .query("rules/tachycardia", TACHYCARDIA);
    let topic = Topic::existing(&addresses, &topic);
    let put = |partition: i32| {
        let at = chrono::Utc::now().to_rfc3339();
        let record = format!(r#"{{"patient_id":"P{partition}","event_time":"{at}","heart_rate":80}}"#);
        topic.put(partition, None, record.as_bytes());
        topic.flush_if_possible();
    };
    let mut running = job.start();
    (0..2).for_each(put);
    running.wait_until("both are read", || database.so_far("SELECT COUNT(*) FROM readings") == "2");
    brokers.broker_down(2).unwrap();
    let alert = "SELECT state, patient_id FROM alerts WHERE rule='partition_stalled'";
    running.wait_until("it is an alert of the ward", || {
        put(0);
        database.so_far(alert) == "firing|"
    });
    let text = database.so_far("SELECT text FROM alerts WHERE rule='partition_stalled'");
    assert!(text.starts_with("records wait that cannot be read: partition 1 since "), "{text}");
    let rows = "SELECT patient_id, rule, cause FROM coverage";
    running.wait_until("its patient is not judged by any rule", || {
        put(0);
        database.rows(rows) == ["P1|*|partition stalled"]
    });
    let status = job.command("status").output().unwrap();
    assert_eq!(status.status.code(), Some(4), "{}", told(&status));
    assert!(
        told(&status).contains("partition_stalled · records wait that cannot be read: partition 1"),
        "{}",
        told(&status)
    );
    assert_eq!(
        database.so_far("SELECT COUNT(*) FROM alerts WHERE rule='unjudged' AND is_open=1"),
        "0",
        "it is not told twice"
    );

    brokers.broker_up(2).unwrap();
    running.wait_until("it is over", || {
        (0..2).for_each(put);
        database.so_far(alert) == "ended|" && database.rows(rows).is_empty()
    });
}
