//! Rules that read values of several devices, and devices that say different things at the very same time: judged by each
//! sample of each, in any batching.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use wardwatch::job::{GivenRecord, OfflineJob, Plan, Recovering};
use wardwatch::terms::Partition;

use crate::fixtures::TestJob;

/// What a device sent: its name, the second by its own clock, the second by Kafka's, and values.
type Sent<'a> = (&'a str, f64, f64, &'a [(&'a str, Option<f64>)]);

/// The same with one value.
type OfOne = (&'static str, f64, f64, [(&'static str, Option<f64>); 1]);

const SHOCK: &str = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
    -- @message: shock index {shock_index:.1}\n\
    SELECT patient_id, event_time, heart_rate / systolic AS shock_index FROM vitals WHERE heart_rate / systolic > 1\n";

fn instant(second: f64) -> DateTime<Utc> {
    #[allow(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let millis = (second * 1000.0) as i64;
    DateTime::from_timestamp(1_772_438_400, 0).unwrap() + TimeDelta::milliseconds(millis)
}

fn record(sent: &Sent<'_>, partition: i32) -> GivenRecord {
    let (device, at, stamped, values) = sent;
    let mut record = Map::new();
    // Another patient's device says so.
    record.insert("patient_id".to_owned(), json!(if *device == "neighbour" { "P2" } else { "P1" }));
    if !device.is_empty() {
        record.insert("device_id".to_owned(), json!(device));
    }
    record.insert("event_time".to_owned(), json!(instant(*at).to_rfc3339_opts(SecondsFormat::Millis, true)));
    for (column, value) in *values {
        record.insert((*column).to_owned(), json!(value));
    }
    GivenRecord {
        partition: Partition(partition),
        stamp: Some(instant(*stamped).timestamp_millis()),
        payload: Value::Object(record).to_string().into_bytes(),
    }
}

fn job(names_devices: bool) -> TestJob {
    let job = TestJob::new("topic", "sqlite://x.db").columns(
        "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\ndevice_id = { type = \"text\" }\n\
         heart_rate = { type = \"float\" }\nspo2 = { type = \"float\" }\n\
         systolic = { type = \"float\", valid_for = \"5m\" }\n",
    );
    let job = job.source("lateness = \"2s\"\nbrokers = \"127.0.0.1:1\"");
    if names_devices { job.source("device = \"device_id\"") } else { job }
}

/// The events of rules, in their order: kind, and the second by the clock of whoever tells.
struct Told {
    rules: Vec<(String, f64)>,
    own: Vec<String>,
}

/// Runs the job on records in batches of `every` seconds by Kafka's clock; with `is_killed`, it starts again between them.
fn told_of(job: &TestJob, sent: &[Sent<'_>], every: f64, end: f64, is_killed: bool) -> Told {
    let (mut from, mut now) = (0, 0.0);
    let batches = std::iter::from_fn(|| {
        now += every;
        let until = from + sent[from..].partition_point(|(_, _, stamped, _)| *stamped <= now);
        let given = sent[from..until].iter().map(|sent| record(sent, 0)).collect();
        from = until;
        (now < end + every).then_some((now, given))
    });
    told(job, batches, is_killed)
}

/// Runs the job on batches, each of its time; with `is_killed`, it starts again between them.
fn told(job: &TestJob, batches: impl IntoIterator<Item = (f64, Vec<GivenRecord>)>, is_killed: bool) -> Told {
    let mut offline = OfflineJob::new(Plan::load(&job.file()).unwrap());
    let mut told = Told { rules: Vec::new(), own: Vec::new() };
    for (now, given) in batches {
        for change in offline.records(&given, instant(now)).changes {
            let is_own = wardwatch::alert::is_system_rule(&change.episode.rule);
            for event in &change.events {
                if is_own && event.kind.name() == "firing" {
                    told.own.push(format!("{}: {}", change.episode.rule, change.episode.text));
                } else if !is_own {
                    let at = (event.at - instant(0.0)).as_seconds_f64();
                    told.rules.push((event.kind.name().to_owned(), at));
                }
            }
        }
        if is_killed {
            offline.recover(Recovering::FromRecords);
        }
    }
    told
}

fn at(told: &Told, kind: &str) -> Vec<f64> {
    told.rules.iter().filter(|(known, _)| known == kind).map(|(_, at)| *at).collect()
}

const NO_DATA: &str = "-- @severity: technical\n-- @suppresses: *\n\
    SELECT patient_id, age_seconds FROM vitals_latest WHERE age_seconds > 30\n";

const HYPOXIA: &str = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
    SELECT patient_id, event_time, spo2 FROM vitals WHERE spo2 < 90\n";

/// A monitor that tells the heart rate each second, and a cuff, 30 s behind it, that measured at second 3.
fn monitor_and_cuff(heart_rate: impl Fn(i32) -> f64, seconds: i32) -> Vec<OfOne> {
    let mut sent = Vec::new();
    for second in 0..seconds {
        let at = f64::from(second);
        sent.push(("monitor", at, at, [("heart_rate", Some(heart_rate(second)))]));
        if second == 3 {
            sent.push(("cuff", at - 29.5, at + 0.5, [("systolic", Some(80.0))]));
        }
    }
    sent
}

fn as_sent(sent: &[OfOne]) -> Vec<Sent<'_>> {
    sent.iter().map(|(device, at, stamped, values)| (*device, *at, *stamped, values.as_slice())).collect()
}

/// Nobody knows when a cuff measures again: what it has said together holds for long enough by itself.
#[test]
fn what_one_reading_says_by_two_vitals_fires_after_a_kill_too() {
    let shock = SHOCK.replace("heart_rate / systolic AS shock_index", "spo2 / systolic AS shock_index");
    let shock = shock.replace("heart_rate / systolic > 1", "spo2 / systolic > 1");
    for names_devices in [true, false] {
        let mut sent: Vec<Sent<'_>> = Vec::new();
        for second in 0..60 {
            let at = f64::from(second);
            sent.push(("monitor", at, at, &[("heart_rate", Some(80.0))]));
            if second == 3 {
                sent.push(("cuff", at + 0.2, at + 0.5, &[("systolic", Some(60.0)), ("spo2", Some(90.0))]));
            }
        }
        for (every, is_killed) in [(1.0, false), (1.0, true), (7.0, true), (0.3, true)] {
            let job = job(names_devices).columns(
                "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\ndevice_id = { type = \"text\" }\n\
                 heart_rate = { type = \"float\" }\nspo2 = { type = \"float\", valid_for = \"5m\" }\n\
                 systolic = { type = \"float\", valid_for = \"5m\" }\n",
            );
            let told = told_of(&job.query("rules/shock", &shock), &sent, every, 60.0, is_killed);
            let case = format!("batches of {every} s, devices named: {names_devices}, killed: {is_killed}");
            assert_eq!(at(&told, "pending"), [3.2], "{case}");
            assert_eq!(at(&told, "firing"), [13.2], "{case}");
            assert!(at(&told, "recovering").is_empty(), "{case}");
        }
    }
}

#[test]
fn a_rule_of_two_devices_is_judged_with_the_newest_valid_values_of_both_by_the_difference_of_their_clocks() {
    let sent = monitor_and_cuff(|second| if second < 40 { 120.0 } else { 70.0 }, 60);
    for (every, is_killed) in [(1.0, false), (0.3, true), (7.0, true), (100.0, false)] {
        let told = told_of(&job(true).query("rules/shock", SHOCK), &as_sent(&sent), every, 60.0, is_killed);
        // From the cuff's measurement on, which the monitor's clock calls 3.5 s; the cuff need not say that it is over.
        assert_eq!(at(&told, "pending"), [3.5], "batches of {every} s");
        assert_eq!(at(&told, "firing"), [13.5], "batches of {every} s");
        assert_eq!(at(&told, "recovering"), [40.0], "batches of {every} s");
        assert_eq!(at(&told, "ended"), [45.0], "batches of {every} s");
    }
}

#[test]
fn a_value_that_counts_no_longer_neither_fires_nor_clears() {
    let sent = monitor_and_cuff(|_| 120.0, 400);
    let told = told_of(&job(true).query("rules/shock", SHOCK), &as_sent(&sent), 5.0, 400.0, false);
    assert_eq!((at(&told, "firing"), at(&told, "ended")), (vec![13.5], vec![]));
    let stale = at(&told, "stale");
    assert!(stale.len() == 1 && (300.0..310.0).contains(&stale[0]), "{stale:?}");
    assert!(
        told.own.iter().any(|text| text.contains("unjudged") && text.contains("no valid Systolic")),
        "{:?}",
        told.own
    );
}

#[test]
fn devices_without_names_are_combined_alike() {
    let sent = monitor_and_cuff(|second| if second < 40 { 120.0 } else { 70.0 }, 60);
    let told = told_of(&job(false).query("rules/shock", SHOCK), &as_sent(&sent), 1.0, 60.0, false);
    assert_eq!(at(&told, "firing").len(), 1, "{:?}", told.rules);
    assert_eq!(at(&told, "ended").len(), 1, "{:?}", told.rules);
}

#[test]
fn a_rule_that_reads_a_view_is_judged_with_both_devices_too() {
    let sent = monitor_and_cuff(|second| if second < 40 { 120.0 } else { 70.0 }, 60);
    let view = "SELECT patient_id, event_time, heart_rate / systolic AS shock_index FROM vitals\n";
    let rule = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, event_time, shock_index FROM shock_indices WHERE shock_index > 1\n";
    let job = job(true).query("views/shock_indices", view).query("rules/shock", rule);
    let told = told_of(&job, &as_sent(&sent), 1.0, 60.0, false);
    assert_eq!((at(&told, "firing"), at(&told, "ended")), (vec![13.5], vec![45.0]));
}

#[test]
fn a_condition_is_true_where_it_is_in_one_of_the_combinations() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120 AND spo2 < 90\n";
    let job = job(true).query("rules/both", rule);
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..60 {
        let at = f64::from(second);
        let low: &[(&str, Option<f64>)] = if second < 40 { &[("spo2", Some(82.0))] } else { &[("spo2", Some(97.0))] };
        sent.push(("monitor", at, at, &[("heart_rate", Some(130.0)), ("spo2", Some(96.0))]));
        sent.push(("oximeter", at + 0.4, at + 0.4, low));
    }
    for every in [1.0, 0.2, 30.0] {
        let told = told_of(&job, &sent, every, 60.0, false);
        let (fired, ended) = (at(&told, "firing"), at(&told, "ended"));
        assert!(fired.len() == 1 && (10.0..12.0).contains(&fired[0]), "{fired:?} in batches of {every} s");
        assert!(ended.len() == 1 && (45.0..47.0).contains(&ended[0]), "{ended:?} in batches of {every} s");
    }
}

#[test]
fn devices_that_say_different_things_at_the_very_same_time_are_two_samples_and_are_told_of() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, event_time, spo2 FROM vitals WHERE spo2 < 90\n";
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..90 {
        let at = f64::from(second);
        sent.push(("monitor", at, at, &[("spo2", Some(96.0))]));
        sent.push(("oximeter", at, at, &[("spo2", Some(80.0))]));
    }
    for (every, is_killed) in [(1.0, false), (13.0, true)] {
        let told = told_of(&job(true).query("rules/hypoxia", rule), &sent, every, 90.0, is_killed);
        assert_eq!((at(&told, "firing"), at(&told, "ended")), (vec![10.0], vec![]), "batches of {every} s");
        let text = "device \"oximeter\" says hypoxia, device \"monitor\" does not";
        assert!(told.own.iter().any(|told| told.contains(text)), "{:?}", told.own);
    }
}

#[test]
fn devices_without_names_whose_clocks_agree_are_told_apart_by_their_values() {
    // Both send each second, in whichever order: at the very same time, half a second apart, or almost at the same time.
    for (apart, takes_turns) in [(0.0, true), (0.5, true), (0.013, false)] {
        let mut sent = Vec::new();
        for second in 0..150 {
            let (one, other) = (f64::from(second), f64::from(second) + apart);
            let low = if (10..90).contains(&second) { 80.0 } else { 96.0 };
            let both = [("", one, one, [("spo2", Some(low))]), ("", other, other, [("spo2", Some(97.0))])];
            match takes_turns || second % 3 > 0 {
                true => sent.extend(both),
                false => sent.extend([both[1], ("", one, other, both[0].3)]),
            }
        }
        for (every, is_killed) in [(1.0, false), (0.3, true), (7.0, true), (100.0, false)] {
            let told = told_of(&job(false).query("rules/hypoxia", HYPOXIA), &as_sent(&sent), every, 160.0, is_killed);
            let firing = at(&told, "firing");
            assert!(firing.len() == 1 && (20.0..50.0).contains(&firing[0]), "{apart}, {every}: {:?}", told.rules);
            // What the one said last counts for as long as it is valid: its next value may have been the other's.
            let ended = at(&told, "ended");
            assert!(ended.len() == 1 && (95.0..=126.0).contains(&ended[0]), "{apart}, {every}: {:?}", told.rules);
            let disagree = told.own.iter().any(|text| text.contains("one device says hypoxia, another does not"));
            assert!(disagree || every > 50.0, "{apart}, {every}: {:?}", told.own);
        }
    }
}

#[test]
fn a_rule_that_calls_patients_something_else_fails_and_is_told_of() {
    let rule = HYPOXIA.replace("SELECT patient_id", "SELECT lower(patient_id) AS patient_id");
    let sent: Vec<OfOne> = (0..40).map(|now| ("a", f64::from(now), f64::from(now), [("spo2", Some(80.0))])).collect();
    let told = told_of(&job(true).query("rules/hypoxia", &rule), &as_sent(&sent), 1.0, 40.0, false);
    assert_eq!(at(&told, "firing"), [0.0; 0]);
    let text = "its query fails: it calls patient \"P1\" \"p1\"";
    assert!(told.own.iter().any(|told| told.contains(text)), "{:?}", told.own);
}

#[test]
fn a_rule_that_returns_no_time_is_judged_at_each_sample_all_the_same() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, heart_rate FROM vitals WHERE heart_rate > 120\n";
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..60 {
        let at = f64::from(second);
        let high: &[(&str, Option<f64>)] =
            if (5..30).contains(&second) { &[("heart_rate", Some(130.0))] } else { &[("heart_rate", Some(80.0))] };
        sent.push(("monitor", at, at, high));
    }
    for every in [1.0, 60.0] {
        let told = told_of(&job(true).query("rules/fast", rule), &sent, every, 60.0, false);
        assert_eq!((at(&told, "firing"), at(&told, "ended")), (vec![15.0], vec![35.0]), "batches of {every} s");
    }
}

#[test]
fn a_value_that_is_said_to_be_missing_is_not_carried_on() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120 AND spo2 < 90\n";
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..40 {
        let at = f64::from(second);
        let spo2: &[(&str, Option<f64>)] = if second < 8 {
            &[("heart_rate", Some(130.0)), ("spo2", Some(80.0))]
        } else {
            &[("heart_rate", Some(130.0)), ("spo2", None)]
        };
        sent.push(("monitor", at, at, spo2));
    }
    let told = told_of(&job(true).query("rules/both", rule), &sent, 1.0, 40.0, false);
    // The probe came off before the condition had lasted: the heart rate alone does not say that it goes on.
    assert_eq!((at(&told, "pending").len(), at(&told, "firing")), (1, vec![]));
}

#[test]
fn what_is_sent_at_once_lets_time_pass_by_its_own_times() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, event_time, systolic FROM vitals WHERE systolic < 90\n";
    // A single cuff reading, then a minute of heart rates, all of it sent in one go long after.
    let mut sent: Vec<Sent<'_>> = vec![("", 0.0, 9_000.0, &[("systolic", Some(70.0)), ("heart_rate", Some(80.0))])];
    for second in 1..60 {
        sent.push(("", f64::from(second), 9_000.0, &[("heart_rate", Some(80.0))]));
    }
    for (every, is_killed) in [(9_000.0, false), (9_000.5, false), (9_000.0, true)] {
        let told = told_of(&job(false).query("rules/hypotension", rule), &sent, every, 9_000.0, is_killed);
        assert_eq!((at(&told, "firing"), at(&told, "ended")), (vec![10.0], vec![]), "{:?}", told.rules);
    }
}

#[test]
fn a_device_whose_clock_is_behind_is_judged_and_not_taken_for_silent() {
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..120 {
        let at = f64::from(second);
        let spo2: &[(&str, Option<f64>)] = if second < 60 { &[("spo2", Some(97.0))] } else { &[("spo2", Some(75.0))] };
        sent.push(("neighbour", at, at, &[("spo2", Some(97.0))]));
        sent.push(("oximeter", at - 45.0, at, spo2));
    }
    for names_devices in [true, false] {
        let job = job(names_devices).query("rules/no_data", NO_DATA).query("rules/hypoxia", HYPOXIA);
        let told = told_of(&job, &sent, 1.0, 120.0, false);
        assert!(at(&told, "firing").contains(&25.0), "by the device's clock: {:?}", told.rules);
        assert!(told.own.iter().any(|text| text.contains("is 45s behind")), "{:?}", told.own);
    }
}

#[test]
fn a_device_whose_clock_is_ahead_is_missed_when_it_falls_silent() {
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..120 {
        let at = f64::from(second);
        sent.push(("neighbour", at, at, &[("spo2", Some(97.0))]));
        if second < 40 {
            sent.push(("oximeter", at + 20.0, at, &[("spo2", Some(97.0))]));
        }
    }
    let told = told_of(&job(true).query("rules/no_data", NO_DATA), &sent, 1.0, 120.0, false);
    let missed = at(&told, "firing");
    assert!(missed.len() == 1 && missed[0] < 75.0 + 20.0, "{missed:?}");
}

#[test]
fn what_a_device_had_kept_and_sends_in_one_go_is_no_other_clock() {
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for second in 0..200 {
        let at = f64::from(second);
        let stamped = if (60..120).contains(&second) { 125.0 } else { at };
        sent.push(("monitor", at, stamped, &[("spo2", Some(97.0))]));
    }
    sent.sort_by(|one, other| one.2.total_cmp(&other.2));
    for names_devices in [true, false] {
        let told = told_of(&job(names_devices).query("rules/hypoxia", HYPOXIA), &sent, 1.0, 200.0, false);
        let clocks: Vec<&String> = told.own.iter().filter(|text| text.contains("clock")).collect();
        assert!(clocks.is_empty(), "{clocks:?}");
    }
}

/// Two devices of a patient that write to partitions of their own. A backlog comes one partition after the other.
#[test]
fn a_backlog_of_two_partitions_tells_of_the_same_alerts_as_the_ward_did() {
    let job = job(true).query("rules/hypoxia", HYPOXIA);
    let is_low = |device: &str, second: i32| match device {
        "monitor" => (0..20).contains(&second),
        _ => (50..70).contains(&second),
    };
    let devices = [("monitor", 0), ("oximeter", 1)];
    let sent = |(device, partition): (&'static str, i32), second: i32| {
        let at = f64::from(second) + f64::from(partition) * 0.5;
        let spo2 = if is_low(device, second) { 85.0 } else { 97.0 };
        record(&(device, at, at, &[("spo2", Some(spo2))]), partition)
    };
    let live = (0..120).map(|second| (f64::from(second) + 1.5, devices.map(|device| sent(device, second)).to_vec()));
    let in_order = |mut told: Told| {
        told.rules.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        told.rules
    };
    let live = in_order(told(&job, live, false));
    assert_eq!(live.iter().filter(|(kind, _)| kind == "firing").count(), 2, "{live:?}");
    let one_after_another = |order: [usize; 2]| {
        let of = |index: usize| (0..120).map(move |second| sent(devices[index], second));
        (120.5, order.into_iter().flat_map(of).collect::<Vec<_>>())
    };
    for order in [[0, 1], [1, 0]] {
        assert_eq!(in_order(told(&job, [one_after_another(order)], false)), live, "partitions {order:?}");
    }
}

/// What a rule reads of both is put together by the newest of each, which a backlog must not take from the time to come.
#[test]
fn a_backlog_of_two_partitions_is_put_together_as_it_came() {
    let job = job(true).query("rules/shock", SHOCK);
    let sent = |second: i32| {
        let now = f64::from(second);
        let heart_rate = if (20..50).contains(&second) { 120.0 } else { 70.0 };
        let monitor = record(&("monitor", now, now, &[("heart_rate", Some(heart_rate))]), 0);
        let cuff = record(&("cuff", now, now + 0.5, &[("systolic", Some(if second < 60 { 80.0 } else { 140.0 }))]), 1);
        (monitor, (second % 10 == 0).then_some(cuff))
    };
    let live = (0..120).map(|second| {
        let (monitor, cuff) = sent(second);
        (f64::from(second) + 1.0, std::iter::once(monitor).chain(cuff).collect())
    });
    let live = told(&job, live, false);
    assert_eq!((at(&live, "firing"), at(&live, "ended")), (vec![30.0], vec![55.0]), "{:?}", live.rules);
    let (monitor, cuff): (Vec<_>, Vec<_>) = (0..120).map(sent).unzip();
    let cuff: Vec<GivenRecord> = cuff.into_iter().flatten().collect();
    for backlog in [[monitor.clone(), cuff.clone()].concat(), [cuff, monitor].concat()] {
        assert_eq!(told(&job, [(120.0, backlog)], false).rules, live.rules);
    }
}

const WINDOWS: &str = "-- @key: patient_id, window_start\n\
    SELECT patient_id, tumble(event_time, INTERVAL '10 seconds') AS window_start, avg(spo2) AS spo2 FROM vitals\n\
    GROUP BY patient_id, tumble(event_time, INTERVAL '10 seconds')\n";

const DESATURATION: &str = "-- @severity: high\n-- @message: mean SpO2 {spo2:.0}\n\
    SELECT patient_id, spo2 FROM windows WHERE spo2 < 90\n";

/// A monitor of P1, and a neighbour's that is so much behind and writes to this partition, for two minutes.
fn two_patients(behind: f64, partition: i32) -> impl Iterator<Item = (f64, Vec<GivenRecord>)> {
    (0..120).map(move |second| {
        let now = f64::from(second);
        let of = |device: &str, at: f64, partition: i32| record(&(device, at, now, &[("spo2", Some(97.0))]), partition);
        (now + 1.0, vec![of("monitor", now, 0), of("neighbour", now - behind, partition)])
    })
}

fn unjudged(told: &Told) -> Vec<&String> {
    told.own.iter().filter(|text| text.starts_with("unjudged")).collect()
}

/// Lateness is of the partition: nobody who is behind it is in a window.
#[test]
fn a_device_that_is_too_late_for_windows_is_told_of() {
    let job = job(true).query("tables/windows", WINDOWS).query("rules/desaturation", DESATURATION);
    let job = job.query("rules/hypoxia", HYPOXIA);
    let punctual = told(&job, two_patients(0.0, 0), false);
    assert_eq!(unjudged(&punctual), Vec::<&String>::new());
    let late = told(&job, two_patients(20.0, 0), false);
    let text =
        "unjudged: not judged by desaturation: Spo2 comes later than lateness = \"2s\" allows, and is in no window";
    assert_eq!(unjudged(&late), [text], "the rule on single readings judges them");
}

/// A watermark is the least of all partitions'.
#[test]
fn windows_that_wait_for_a_partition_are_told_of() {
    let job = job(true).query("tables/windows", WINDOWS).query("rules/desaturation", DESATURATION);
    let waiting = told(&job, two_patients(600.0, 1), false);
    let text = "unjudged: not judged by desaturation: windows wait for partition 1, whose records are behind those of the others";
    assert_eq!(unjudged(&waiting), [text]);
}
