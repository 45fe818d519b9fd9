//! Admissions, transfers and discharges that a hospital's system sends to the job's topic, exactly once and in the time that they tell.

use crate::fixtures::{Database, READINGS, TestJob, Topic, mysql_url, sample, told};

const COLUMNS: &str = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
device_id = { type = "text" }
heart_rate = { type = "float", plausible = [0, 300], unit = "/min" }
spo2 = { type = "float", plausible = [50, 100], unit = "%" }
"#;

const FORMS: &str = "attach = \"device_id\"\n[[source.form]]\nuse = \"hl7v2-adt\"\n\
    [source.form.columns]\ndevice = \"{PV1.3.1}-{PV1.3.3}\"\n[[source.form]]\nuse = \"hl7v2-oru\"";

/// An event of ADT at a minute of 2026, with segments behind its PID.
fn adt(event: &str, minute: u32, patient: &str, rest: &str) -> String {
    format!(
        "MSH|^~\\&|HIS|HOSP|||202601010800||ADT^{event}|{event}-{minute}|P|2.5\rEVN|{event}|20260101{:02}{:02}00+0000\r\
         PID|||{patient}^^^HOSP||Meyer^Ada||19800504|F\r{rest}",
        minute / 60,
        minute % 60
    )
}

/// A heart rate that a bed's monitor tells at a minute.
fn oru(bed: &str, minute: u32, heart_rate: u32) -> String {
    format!(
        "MSH|^~\\&|MON|ICU|||20260101000000+0000||ORU^R01|{bed}-{minute}|P|2.6\rPID|||\rOBR|1|||VITALS|||20260101{:02}{:02}00+0000\r\
         OBX|1|NM|8867-4^HR^LN||{heart_rate}|/min|||||F|||||||{bed}\r",
        minute / 60,
        minute % 60
    )
}

fn ward() -> Vec<String> {
    vec![
        oru("ICU-1", 0, 70),
        adt("A01", 1, "A", "PV1||I|ICU^R1^1||||||||||||||||stay7"),
        oru("ICU-1", 2, 72),
        adt("A04", 2, "X", "PV1||O|AMB"),
        adt("A02", 5, "A", "PV1||I|NORTH^R2^4"),
        oru("ICU-1", 6, 73),
        oru("NORTH-4", 7, 74),
        // Moved by mistake, and back.
        adt("A12", 8, "A", "PV1||I|ICU^R1^1"),
        oru("ICU-1", 9, 75),
        adt("A01", 10, "TMP1", "PV1||I|ICU^R1^2"),
        oru("ICU-2", 11, 81),
        adt("A40", 12, "B", "MRG|TMP1"),
        oru("ICU-2", 13, 82),
        adt("A03", 14, "A", "PV1||I|ICU^R1^1"),
        oru("ICU-1", 15, 76),
        // Discharged by mistake.
        adt("A13", 16, "A", "PV1||I|ICU^R1^1"),
        oru("ICU-1", 17, 77),
        adt("A01", 18, "C", "PV1||I|ICU^R1^3"),
        adt("A11", 19, "C", "PV1||I|ICU^R1^3"),
        oru("ICU-3", 20, 90),
        adt("A03", 21, "NOBODY", "PV1||I|ICU^R1^9"),
        adt("A03", 22, "NOBODY", "PV1||I|ICU^R1^9"),
    ]
}

fn job(source: &str) -> (TestJob, Topic, Database) {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .source(&format!("{source}{FORMS}"))
        .columns(COLUMNS)
        .query("tables/readings", READINGS);
    (job, topic, database)
}

const REQUESTS: &str =
    "SELECT kind, patient_id, ward, place, IFNULL(version, 0), refusal FROM encounters ORDER BY from_at, note";

#[test]
fn who_comes_moves_and_goes_by_the_topic_is_applied_with_the_batch_however_it_was_batched() {
    let mut before: Option<Vec<Vec<String>>> = None;
    for trigger in ["", "[trigger]\nmax_rows = 1", "[trigger]\nmax_rows = 3"] {
        let (job, topic, database) = job("");
        let job = job.more(trigger);
        ward().iter().for_each(|message| topic.put(0, None, message.as_bytes()));
        topic.flush();
        job.run_once();
        let requests = database.rows(REQUESTS);
        assert_eq!(
            requests,
            [
                "admit|A|ICU|1|1|",
                "move|A|NORTH|4|2|",
                "cancel_move|A|ICU|1|3|",
                "admit|TMP1|ICU|2|4|",
                "merge|B|||5|",
                "discharge|A|ICU|1|6|",
                "cancel_discharge|A|ICU|1|7|",
                "admit|C|ICU|3|8|",
                "cancel_admit|C|ICU|3|9|",
                "discharge|NOBODY|ICU|9|10|",
                "discharge|NOBODY|ICU|9|0|NOBODY left at 2026-01-01T00:21:00Z",
            ]
        );
        assert_eq!(
            database.rows(
                "SELECT DISTINCT name, born, stay, source FROM encounters WHERE patient_id = 'A' AND kind = 'admit'"
            ),
            ["Meyer, Ada|1980-05-04|stay7|topic"]
        );
        let found = vec![
            // The last of a record waits for a row that says whose it was: at 15 minutes A was back already, told a minute later.
            database.rows("SELECT patient_id, heart_rate FROM readings ORDER BY heart_rate"),
            database.rows("SELECT device, COUNT(*) FROM unattached WHERE patient_id IS NULL GROUP BY 1 ORDER BY 1"),
        ];
        assert_eq!(database.rows("SELECT COUNT(*) FROM rejects"), ["0"]);
        assert!(database.rows("SELECT SUM(ignored) FROM batches")[0].starts_with('1'), "the outpatient");
        match &before {
            Some(before) => assert_eq!(&found, before, "{trigger}"),
            None => {
                assert_eq!(found[0], ["A|72", "A|74", "A|75", "A|76", "A|77", "TMP1|81", "B|82"]);
                assert_eq!(found[1], ["ICU-1|2", "ICU-3|1"]);
                before = Some(found);
            }
        }
    }
}

#[test]
fn what_a_topic_says_of_encounters_counts_once_whatever_is_killed() {
    let (job, topic, database) = job("");
    let job = job.more("[trigger]\nmax_rows = 2\nevery = \"100ms\"");
    let messages: Vec<String> = (0..60)
        .map(|minute| match minute % 3 {
            0 => adt("A01", minute, &format!("P{minute}"), "PV1||I|ICU^R1^1"),
            1 => oru("ICU-1", minute, 60 + minute),
            _ => adt("A03", minute, &format!("P{}", minute - 2), "PV1||I|ICU^R1^1"),
        })
        .collect();
    for (index, message) in messages.iter().enumerate() {
        topic.put(0, None, message.as_bytes());
        if index % 20 == 13 {
            topic.flush();
            let mut running = job.start();
            running.wait_until("something is committed", || database.so_far("SELECT COUNT(*) > 0 FROM batches") == "1");
            running.signal("KILL");
            running.wait();
        }
    }
    topic.flush();
    job.run_once();
    assert_eq!(
        database.rows("SELECT COUNT(*), COUNT(DISTINCT version), MAX(version), SUM(is_open) FROM encounters"),
        ["40|40|40|0"]
    );
    let expected: Vec<String> = (0..20).map(|stay| format!("P{}|{}", 3 * stay, 60 + 3 * stay + 1)).collect();
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM readings ORDER BY heart_rate"), expected);
}

#[test]
fn a_form_of_encounters_in_json_and_one_that_is_wrong() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let form = "[[source.form]]\nname = \"moves\"\nwhen = { field = \"kind\", is = [\"admit\", \"came\", \"discharge\", \"gone\"] }\n\
        encounters = true\n[source.form.columns]\nfrom_at = \"at\"\nkind = { from = \"kind\", map = { came = \"admit\" } }\n\
        [[source.form]]\nname = \"vitals\"";
    let job = TestJob::new(&topic.name, &database.url).source(form).query("tables/readings", READINGS);
    for record in [
        r#"{"kind": "came", "patient_id": "P1", "at": "2026-01-01T00:00:00Z", "ward": "ICU"}"#,
        r#"{"patient_id": "P1", "event_time": "2026-01-01T00:00:01Z", "heart_rate": 70}"#,
        r#"{"kind": "gone", "patient_id": "P1", "at": "2026-01-01T00:00:02Z"}"#,
        r#"{"kind": "admit", "patient_id": "P2"}"#,
    ] {
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
    let sample = told(&job.command("sample").output().unwrap());
    assert!(sample.contains("admit of P1 at 2026-01-01T00:00:00Z, ward ICU"), "{sample}");
    job.run_once();
    assert_eq!(database.rows(REQUESTS), ["admit|P1|ICU||1|"]);
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM readings"), ["P1|70"]);
    let reasons = database.rows("SELECT reason FROM rejects ORDER BY `offset`");
    assert!(reasons[0].contains("\"kind\": \"gone\"") && reasons[1].contains("\"from_at\" is required"), "{reasons:?}");
    // The words are learned, and the reject is read again, once.
    let text = std::fs::read_to_string(job.file())
        .unwrap()
        .replace("came = \"admit\"", "came = \"admit\", gone = \"discharge\"");
    std::fs::write(job.file(), text).unwrap();
    let mut replay = crate::fixtures::wardwatch();
    let replay = replay.args(["rejects", "replay"]).arg(job.file()).args(["--reason", "kind"]).output().unwrap();
    assert!(replay.status.success(), "{}", told(&replay));
    job.run_once();
    job.run_once();
    assert_eq!(database.rows(REQUESTS), ["admit|P1|ICU||1|", "discharge|P1|||2|"]);

    let check = |from: &str, to: &str, expected: &str| {
        let text = std::fs::read_to_string(job.file()).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(job.file(), text.replace(from, to)).unwrap();
        let output = told(&job.command("check").output().unwrap());
        assert!(output.contains(expected), "{expected}: {output}");
        std::fs::write(job.file(), text).unwrap();
    };
    check("gone = \"discharge\"", "gone = \"dischrage\"", "did you mean \"discharge\"?");
    check("from_at = \"at\"", "form_at = \"at\"", "did you mean \"from_at\"?");
    check(
        "encounters = true",
        "encounters = true\nformat = \"hl7v2\"",
        "a form of encounters must say where \"patient_id\" stands",
    );
}

#[test]
fn samples_of_the_first_batch_are_judged_by_the_ward_of_their_time() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @message: HR {heart_rate:.0}\nSELECT v.patient_id, v.event_time, v.heart_rate FROM vitals AS v\n\
        JOIN encounters_now AS e ON e.patient_id = v.patient_id WHERE v.heart_rate > CASE WHEN e.ward = 'ICU' THEN 140 ELSE 110 END";
    for trigger in ["", "[trigger]\nmax_rows = 1"] {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let form = "[[source.form]]\nname = \"moves\"\nwhen = { field = \"kind\", exists = true }\nencounters = true\n\
            [source.form.columns]\nfrom_at = \"event_time\"\n[[source.form]]\nname = \"vitals\"";
        let job = TestJob::new(&topic.name, &database.url).source(form).query("rules/fast", rule).more(trigger);
        // Measured and stamped two hours ago, and read now in one go.
        let begin = chrono::Utc::now() - chrono::TimeDelta::hours(2);
        let put = |second: u32, said: &str| {
            let at = begin + chrono::TimeDelta::seconds(second.into());
            let shown = at.format("%Y-%m-%dT%H:%M:%SZ");
            let record = format!(r#"{{"patient_id":"P1","event_time":"{shown}",{said}}}"#);
            topic.put(0, Some(at.timestamp_millis() + 1_000), record.as_bytes());
        };
        let put_fast = |seconds: std::ops::Range<u32>| seconds.for_each(|second| put(second, r#""heart_rate":115"#));
        put(0, r#""kind":"admit","ward":"ICU""#);
        put_fast(1..10);
        put(14, r#""kind":"move","ward":"Sud""#);
        put_fast(15..40);
        put(41, r#""kind":"move","ward":"ICU""#);
        put_fast(42..60);
        topic.flush();
        job.run_once();
        let length = "TIMESTAMPDIFF(SECOND, started_at, ended_at)";
        assert_eq!(
            database.rows_of_rules(&format!("SELECT rule, state, {length} FROM alerts")),
            ["fast|ended|27"],
            "{trigger}"
        );
    }
}

#[test]
fn what_a_topic_says_of_the_past_or_once_more_does_not_bring_back_who_has_left() {
    let (topic, database) = (Topic::create(2), Database::create(&mysql_url()));
    let form = "[[source.form]]\nname = \"moves\"\nwhen = { field = \"kind\", exists = true }\nencounters = true\n\
        [source.form.columns]\nfrom_at = \"event_time\"\n[[source.form]]\nname = \"vitals\"";
    let job = TestJob::new(&topic.name, &database.url).source(form).query("tables/readings", READINGS);
    let said = |patient: &str, kind: &str, second: u32| {
        sample(patient, second, 0.0).replace("\"heart_rate\":0", &format!("\"kind\":\"{kind}\",\"ward\":\"ICU\""))
    };
    // A: the end before the begin. B: the begin once more, by a gateway that was not sure.
    for record in [
        said("A", "discharge", 60),
        said("A", "admit", 0),
        sample("A", 70, 80.0),
        said("B", "admit", 0),
        said("B", "discharge", 60),
        said("B", "admit", 0),
        sample("B", 70, 81.0),
    ] {
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["0"]);
    assert_eq!(database.rows("SELECT device FROM unattached ORDER BY 1"), ["A", "B"]);
    assert_eq!(
        database.rows("SELECT patient_id, kind, version FROM encounters ORDER BY version"),
        ["A|discharge|1", "A|admit|2", "B|admit|3", "B|discharge|4"]
    );
}
