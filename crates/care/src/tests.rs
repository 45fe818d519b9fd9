//! What is found while batches, lease and store are as they may be.

use wardwatch_model::event_time::SourceWatermarks;
use wardwatch_model::terms::BatchId;

use super::halt::why_halted;
use super::*;

fn job() -> Job {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../jobs/patient_vitals.toml");
    wardwatch_config::load(&file).expect("the shipped job is right")
}

fn batch(second: i64) -> BatchSummary {
    let now = at(second);
    BatchSummary {
        batch: BatchId(7),
        now,
        records: 1,
        watermark: None,
        by_table: SourceWatermarks::new(),
        event_now: None,
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).expect("a time")
}

fn lease(since: i64, is_expired: bool) -> LeaseRow {
    LeaseRow { holder: "vm:7:ab".to_owned(), since: at(since), renewed: at(since), renewals: 1, is_expired }
}

#[test]
fn a_last_batch_may_be_a_minute_ago_and_longer_where_the_trigger_is_seldom() {
    let mut job = job();
    assert_eq!((patience(&job), stall_patience(&job)), (Duration::from_secs(60), Duration::from_secs(30)));
    let halted = Halt { since: at(0), why: why_halted(Some(&lease(0, true)), true) };
    let found = standing_still(&halted, &job, at(3_661));
    assert_eq!((found.cause, found.since), (Cause::NoBatch, Some(at(0))));
    assert_eq!(
        found.what,
        "no batch has been committed for 1h 1m 1s, so no alarm is judged: the job, vm:7:ab, is not running any more, or \
         the store takes nothing of it"
    );
    assert!(found.remedy.contains("wardwatch run") && found.remedy.contains("patient_vitals.toml"), "{found:?}");
    job.trigger.every = Duration::from_secs(300);
    assert_eq!((patience(&job), stall_patience(&job)), (Duration::from_secs(900), Duration::from_secs(900)));
}

#[test]
fn who_writes_for_a_job_tells_why_no_batch_is_committed() {
    let check = |lease: Option<LeaseRow>, expected: &str| {
        let why = why_halted(lease.as_ref(), true);
        assert!(why.ends_with(expected), "{why}");
    };
    check(None, "the job is not running");
    check(Some(lease(0, false)), "runs, but the store does not take its batch");
    check(Some(lease(0, true)), "is not running any more, or the store takes nothing of it");
}

#[test]
fn a_job_that_has_just_begun_has_time_for_its_first_batch() {
    let (job, patience) = (job(), Duration::from_secs(60));
    let found = no_batch_yet(None, &job, patience, at(0)).expect("a finding");
    assert!(found.what.ends_with("the job has not run yet"), "{found:?}");
    assert_eq!(no_batch_yet(Some(&lease(0, false)), &job, patience, at(59)), None);
    let found = no_batch_yet(Some(&lease(0, false)), &job, patience, at(60)).expect("a finding");
    assert!(found.what.contains("though vm:7:ab writes for the job"), "{found:?}");
}

#[test]
fn what_is_not_judged_is_a_finding_by_patient_and_cause_with_what_to_do() {
    let row = |patient: &str, rule: &str, cause, since, detail: &str| Unjudged {
        patient: patient.into(),
        patients: 1,
        rule: rule.to_owned(),
        judged_until: None,
        since: at(since),
        cause,
        detail: detail.to_owned(),
        told_by: None,
    };
    let found = of_rules(
        &[
            row("", "hypoxia", Why::QueryFailing, 1, "divide by zero"),
            row("", EVERY_RULE, Why::NotAttached, 2, "records of device D9 are nobody's"),
            row("P1", "hypoxia", Why::NoValue, 40, "SpO₂"),
            row("P1", "desaturation", Why::NoValue, 30, "SpO₂"),
            row("P1", "tachycardia", Why::Suppressed, 50, "lead_off"),
            row("P2", EVERY_RULE, Why::Paused, 60, "pause by nora"),
        ],
        1,
    );
    let told: Vec<(&str, i64)> =
        found.iter().map(|one| (one.what.as_str(), one.since.map_or(0, |since| since.timestamp()))).collect();
    assert_eq!(
        told,
        [
            ("records of device D9 are nobody's", 2),
            (
                "patient \"P1\" is not judged by tachycardia: suppressed, the alert lead_off says that its values mean nothing",
                50
            ),
            ("patient \"P1\" is not judged by desaturation, hypoxia: no value, no valid SpO₂", 30),
            ("nobody is told of alarms of patient \"P2\" by any rule: pause by nora", 60),
        ]
    );
    assert!(found.iter().all(|one| !one.remedy.is_empty()));
}

#[test]
fn a_machine_whose_clock_is_behind_the_last_batch_is_a_finding() {
    assert_eq!(clock(Some(&batch(5)), at(0)), None);
    let found = clock(Some(&batch(20)), at(0)).expect("a finding");
    assert!(found.what.starts_with("this machine's clock is 20s behind the last batch"), "{found:?}");
}

#[test]
fn every_cause_and_every_alert_of_the_jobs_own_says_what_to_do_and_stands_in_the_guide() {
    let guide = include_str!("../../../docs/operations.md");
    let has = |name: &str| guide.contains(&format!("| `{name}`")) || guide.contains(&format!(", `{name}` |"));
    for cause in Cause::ALL {
        assert!(has(cause.name()), "{} stands in no table of docs/operations.md", cause.name());
    }
    for cause in Why::ALL {
        assert!(has(cause.name()) && !remedy_of(cause).is_empty(), "{}", cause.name());
    }
    for (rule, _) in wardwatch_alert::SYSTEM_RULES {
        assert!(has(rule) && remedy_of_alert(rule).is_some(), "{rule}");
    }
}

#[test]
fn a_receiver_that_takes_nothing_is_a_finding_though_others_do() {
    let state = |since| OutletState { outlet: "ward".to_owned(), waiting: 3, since, given_up: 9 };
    let patience = Duration::from_secs(30);
    assert_eq!(stalled(&[state(None), state(Some(at(1)))], &[], patience, at(30)), []);
    let found = stalled(&[state(Some(at(0)))], &[], patience, at(30));
    assert_eq!(found[0].what, "outlet \"ward\" has not taken 3 notifications, the first for 30s");
}
