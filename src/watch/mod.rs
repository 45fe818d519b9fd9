//! What is not being watched although it should be, and what to do about it: one list, which `status` prints and exits by,
//! `/metrics` counts and the page shows.
//!
//! It is made of what the store tells and of the clock, so it tells of a job that stands still, or is not there, as well as
//! of one that runs. What a cause means to those who read it is in docs/operations.md.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::{Episode, Outstanding, UNREACHED, Unjudged, Why};
use crate::config::{Job, Outlet};
use crate::store::{BatchSummary, Incomplete, OutletState, QueryState, Store, StoreError, TableFault};

/// A batch may be this long ago before it is said that none is committed; longer for jobs that are triggered seldom.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Something that is not being watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of what kind it is.
    pub cause: Cause,
    /// What it is, with names and numbers.
    pub what: String,
    /// Since when, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// What to do.
    pub remedy: String,
}

/// Why something is not being watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No batch has been committed for too long: the job or its store stands still, or nothing comes.
    NoBatch,
    /// A query fails, so that what it tells is not told.
    QueryFailing,
    /// What there is to tell of an alert has reached nobody.
    Unreached,
    /// A receiver takes nothing.
    ReceiverStalled,
    /// A rule does not judge a patient.
    Unjudged,
    /// A table does not take its rows, which wait.
    TableAtFault,
    /// A table lacks rows for good.
    TableIncomplete,
}

impl Cause {
    /// All of them, what concerns most first.
    pub const ALL: [Self; 7] = [
        Self::NoBatch,
        Self::Unreached,
        Self::Unjudged,
        Self::QueryFailing,
        Self::TableAtFault,
        Self::TableIncomplete,
        Self::ReceiverStalled,
    ];

    /// The name used in metrics and by programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoBatch => "no_batch",
            Self::QueryFailing => "query_failing",
            Self::Unreached => "unreached",
            Self::ReceiverStalled => "receiver_stalled",
            Self::Unjudged => "unjudged",
            Self::TableAtFault => "table_at_fault",
            Self::TableIncomplete => "table_incomplete",
        }
    }
}

/// How long ago a job's last batch may be, where nobody says otherwise: a minute, or three times its trigger.
#[must_use]
pub fn patience(job: &Job) -> Duration {
    PATIENCE.max(job.trigger.every * 3)
}

/// What is not being watched at `now`, in the order of [`Cause::ALL`]. The last batch may be `patience` ago.
///
/// # Errors
/// The database does not answer, or holds what this version did not write.
pub fn findings(
    store: &mut Store,
    job: &Job,
    patience: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<Finding>, StoreError> {
    if !store.has_tables()? {
        return Ok(no_batch(None, job, patience, now).into_iter().collect());
    }
    let outstanding = Outstanding { looked_at: now, notices: store.untaken(&job.notify)? };
    let mut found: Vec<Finding> = no_batch(store.newest_batch()?.as_ref(), job, patience, now).into_iter().collect();
    found.extend(unreached(&outstanding, &store.open_episodes()?, job));
    found.extend(unjudged(&store.unjudged()?));
    found.extend(store.failing_queries()?.iter().map(failing));
    found.extend(store.table_faults()?.iter().filter_map(at_fault));
    found.extend(store.incomplete()?.iter().map(incomplete));
    found.extend(stalled(&store.outlet_states()?, &job.notify, job.alerts.unreached_after, now));
    Ok(found)
}

fn no_batch(last: Option<&BatchSummary>, job: &Job, patience: Duration, now: DateTime<Utc>) -> Option<Finding> {
    let what = match last {
        None => "no batch has ever been committed: the job has not run yet".to_owned(),
        Some(last) if is_older(last.now, patience, now) => format!(
            "no batch has been committed for {}: the job is not running, Kafka or the store does not answer, or nothing comes",
            length(now - last.now)
        ),
        Some(_) => return None,
    };
    let remedy =
        format!("see whether `wardwatch run {}` runs, and what it logs; then whether devices send", job.file.display());
    Some(Finding { cause: Cause::NoBatch, what, since: last.map(|last| last.now), remedy })
}

/// What has reached nobody: what waits for too long, whether the job runs or not, and alerts of that which stand because it
/// is not tried any more.
fn unreached(outstanding: &Outstanding, open: &[Episode], job: &Job) -> Vec<Finding> {
    let finding = |what: String, since: DateTime<Utc>| Finding {
        cause: Cause::Unreached,
        what,
        since: Some(since),
        remedy: "go to the patient; then see why the receiver does not answer: `deliveries` has each attempt's error"
            .to_owned(),
    };
    let waiting: Vec<_> = outstanding.unreached(job.alerts.unreached_after).collect();
    let patients: BTreeSet<&str> = waiting.iter().map(|notice| notice.patient.as_str()).collect();
    let standing = open.iter().filter(|episode| &*episode.rule == UNREACHED && !patients.contains(&*episode.patient));
    let given_up: Vec<Finding> =
        standing.map(|episode| finding(episode.text.to_string(), episode.started_at)).collect();
    let waiting =
        waiting.iter().map(|notice| finding(notice.tell(0, &job.notify, outstanding.looked_at), notice.written_at));
    waiting.chain(given_up).collect()
}

/// The rules that do not judge a patient, patient by patient. What a query's own failure causes is told with the query.
fn unjudged(unjudged: &[Unjudged]) -> Vec<Finding> {
    let of_patients: Vec<&Unjudged> = unjudged.iter().filter(|unjudged| !unjudged.patient.is_empty()).collect();
    let patients = of_patients.chunk_by(|one, next| one.patient == next.patient);
    let finding = |rules: &[&Unjudged]| {
        let first = rules.iter().min_by_key(|unjudged| unjudged.since)?;
        let names: Vec<&str> = rules.iter().map(|unjudged| unjudged.rule.as_str()).collect();
        let last = first.judged_until.map_or(String::new(), |at| format!("; the last value is of {}", at.to_rfc3339()));
        Some(Finding {
            cause: Cause::Unjudged,
            what: format!(
                "patient \"{}\" is not judged by {}: {}, {}{last}",
                first.patient,
                names.join(", "),
                first.cause.name(),
                first.detail
            ),
            since: Some(first.since),
            remedy: match first.cause {
                Why::NoValue => "see whether the sensor is on and sends; a patient who has left is to be discharged",
                Why::BadValue => "see what the device sends: `artefacts` has each value with the reason",
                Why::Suppressed => "mend what the technical alert says",
                Why::QueryFailing => "mend the query's file",
            }
            .to_owned(),
        })
    };
    patients.filter_map(finding).collect()
}

fn at_fault(fault: &TableFault) -> Option<Finding> {
    let since = fault.since?;
    let waits = format!("{} rows of {} batches wait", fault.pending.rows, fault.pending.batches);
    Some(Finding {
        cause: Cause::TableAtFault,
        what: format!("table \"{}\" does not take its rows: {}; {waits}", fault.table, fault.reason),
        since: Some(since),
        remedy: "mend the table or its rights; the rows that wait are written then, the oldest first".to_owned(),
    })
}

fn incomplete(lost: &Incomplete) -> Finding {
    Finding {
        cause: Cause::TableIncomplete,
        what: format!(
            "table \"{}\" lacks {} rows of batches {} to {}: {}",
            lost.table, lost.rows, lost.from, lost.until, lost.reason
        ),
        since: None,
        remedy: "read those batches again into another table, or take note of the gap; then delete the row of \
                 `incomplete_tables`"
            .to_owned(),
    }
}

fn failing(query: &QueryState) -> Finding {
    Finding {
        cause: Cause::QueryFailing,
        what: format!("query \"{}\" has failed {} times in a row: {}", query.query, query.failures, query.error),
        since: None,
        remedy: format!("mend its file or its table; it is tried again with batch {}", query.retry),
    }
}

fn stalled(states: &[OutletState], outlets: &[Outlet], patience: Duration, now: DateTime<Utc>) -> Vec<Finding> {
    let late =
        states.iter().filter_map(|state| Some((state, state.since.filter(|since| is_older(*since, patience, now))?)));
    let late = late.map(|(state, since)| {
        let kind = outlets.iter().find(|outlet| outlet.name == state.outlet).map_or("outlet", |outlet| outlet.kind.name());
        Finding {
            cause: Cause::ReceiverStalled,
            what: format!("{kind} \"{}\" has not taken {} notifications, the first for {}", state.outlet, state.waiting, length(now - since)),
            since: Some(since),
            remedy: format!("see why it does not answer: `deliveries` has each attempt's error; what waits is told when \"{}\" is back", state.outlet),
        }
    });
    late.collect()
}

fn is_older(at: DateTime<Utc>, than: Duration, now: DateTime<Utc>) -> bool {
    TimeDelta::from_std(than).is_ok_and(|than| now - at >= than)
}

/// A length of time, to the second.
fn length(length: TimeDelta) -> String {
    let seconds = u64::try_from(length.num_seconds()).unwrap_or(0);
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use crate::terms::BatchId;

    use super::*;

    fn job() -> Job {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/patient_vitals.toml");
        crate::config::load(&file).expect("the shipped job is right")
    }

    fn batch(second: i64) -> BatchSummary {
        let now = at(second);
        BatchSummary { batch: BatchId(7), now, records: 1, watermark: None, event_now: None }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    #[test]
    fn a_last_batch_may_be_a_minute_ago_and_longer_where_the_trigger_is_seldom() {
        let mut job = job();
        assert_eq!(patience(&job), Duration::from_secs(60));
        assert_eq!(no_batch(Some(&batch(0)), &job, patience(&job), at(59)), None);
        let found = no_batch(Some(&batch(0)), &job, patience(&job), at(3_661)).expect("a finding");
        assert_eq!((found.cause, found.since), (Cause::NoBatch, Some(at(0))));
        assert!(
            found.what.starts_with("no batch has been committed for 1h 1m 1s: the job is not running"),
            "{found:?}"
        );
        assert!(found.remedy.contains("wardwatch run") && found.remedy.contains("patient_vitals.toml"), "{found:?}");
        assert!(no_batch(None, &job, patience(&job), at(0)).is_some());
        job.trigger.every = Duration::from_secs(300);
        assert_eq!(no_batch(Some(&batch(0)), &job, patience(&job), at(899)), None);
    }

    #[test]
    fn a_receiver_that_takes_nothing_is_a_finding_though_others_do() {
        let state = |since| OutletState { outlet: "ward".to_owned(), waiting: 3, since, given_up: 9 };
        let patience = Duration::from_secs(30);
        assert_eq!(stalled(&[state(None), state(Some(at(1)))], &[], patience, at(30)), []);
        let found = stalled(&[state(Some(at(0)))], &[], patience, at(30));
        assert_eq!(found[0].what, "outlet \"ward\" has not taken 3 notifications, the first for 30s");
    }
}
