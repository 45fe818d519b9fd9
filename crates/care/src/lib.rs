//! What is not being watched although it should be, and what to do about it: one list, which `status` prints and exits by,
//! `/metrics` counts and the page shows.
//!
//! It is made of what the store tells and of the clock, so it tells of a job that stands still, or is not there, as well as
//! of one that runs. What a cause means to those who read it is in docs/operations.md.

mod halt;
mod patience;
mod remedies;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{
    EVERY_RULE, Episode, HOST_CLOCK_TOLERANCE, KAFKA_AWAY, LIMIT_MISSING, Outstanding, PARTITION_STALLED, RECORDS_LOST,
    REFERENCE_LOST, REFERENCE_UNREAD, UNREACHED, Unjudged, Why,
};
use wardwatch_config::{Job, Outlet};
use wardwatch_model::health::Complaint;
use wardwatch_store::{
    BatchSummary, Incomplete, LeaseRow, OutletState, QueryState, StalledPartition, Store, StoreError, TableFault,
};

pub use halt::{Halt, unjudged, unjudged_of};
pub use patience::{PATIENCE, patience, stall_patience};
pub use remedies::{STORE_REMEDY, remedy_of, remedy_of_alert};

use halt::is_of_kafka;
use patience::{STALL_PATIENCE, is_older};
use remedies::{CLOCK_REMEDY, INCOMPLETE_REMEDY, PARTITION_REMEDY, TABLE_REMEDY};

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
    /// The store does not answer. It cannot be asked for this: only who runs the job, or shows its page, knows.
    StoreAway,
    /// No batch has been committed for too long: the job stands still, or its store.
    NoBatch,
    /// Kafka does not answer.
    KafkaAway,
    /// The topic was deleted and made anew, so its offsets are those of other records: a job does not run on it.
    TopicReplaced,
    /// Records of a partition wait and are not read.
    PartitionStalled,
    /// The clock of the job's machine is behind its last batch.
    Clock,
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
    /// Reference tables cannot be read again: limits count as they were.
    ReferenceUnread,
    /// A vital that rules judge by limits has no default limit any more.
    LimitMissing,
    /// Kafka had deleted records before they were read.
    RecordsLost,
    /// Reference tables were gone, and were made from their seeds.
    ReferenceLost,
}

impl Cause {
    /// All of them, what concerns most first.
    pub const ALL: [Self; 16] = [
        Self::StoreAway,
        Self::NoBatch,
        Self::KafkaAway,
        Self::TopicReplaced,
        Self::PartitionStalled,
        Self::Unreached,
        Self::Unjudged,
        Self::QueryFailing,
        Self::LimitMissing,
        Self::RecordsLost,
        Self::ReferenceLost,
        Self::ReferenceUnread,
        Self::TableAtFault,
        Self::TableIncomplete,
        Self::ReceiverStalled,
        Self::Clock,
    ];

    /// The name used in metrics and by programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StoreAway => "store_away",
            Self::NoBatch => "no_batch",
            Self::KafkaAway => "kafka_away",
            Self::TopicReplaced => "topic_replaced",
            Self::PartitionStalled => "partition_stalled",
            Self::Clock => "clock",
            Self::QueryFailing => "query_failing",
            Self::Unreached => "unreached",
            Self::ReceiverStalled => "receiver_stalled",
            Self::Unjudged => "unjudged",
            Self::TableAtFault => "table_at_fault",
            Self::TableIncomplete => "table_incomplete",
            Self::ReferenceUnread => "reference_unread",
            Self::LimitMissing => "limit_missing",
            Self::RecordsLost => "records_lost",
            Self::ReferenceLost => "reference_lost",
        }
    }
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
        return Ok(no_batch_yet(None, job, patience, now).into_iter().collect());
    }
    let outstanding = Outstanding { looked_at: now, notices: store.untaken(&job.notify)? };
    let last = store.newest_batch()?;
    let halted = match &last {
        Some(_) => Halt::of_store(store, patience, now)?.map(|halted| standing_still(&halted, job, now)),
        None => no_batch_yet(store.lease()?.as_ref(), job, patience, now),
    };
    let is_halted = halted.is_some();
    let mut found: Vec<Finding> = halted.into_iter().collect();
    let open = store.open_episodes()?;
    // What the job said last of Kafka is old then.
    if !is_halted {
        found.extend(of_ward(&open, KAFKA_AWAY, Cause::KafkaAway));
        found.extend(of_ward(&open, PARTITION_STALLED, Cause::PartitionStalled));
    }
    found.extend(unreached(&outstanding, &open, job));
    let queries = store.failing_queries()?;
    found.extend(of_rules(&store.unjudged()?, queries.len()));
    found.extend(queries.iter().map(failing));
    found.extend(of_ward(&open, RECORDS_LOST, Cause::RecordsLost));
    found.extend(of_ward(&open, REFERENCE_LOST, Cause::ReferenceLost));
    found.extend(of_ward(&open, LIMIT_MISSING, Cause::LimitMissing));
    found.extend(of_ward(&open, REFERENCE_UNREAD, Cause::ReferenceUnread));
    found.extend(store.table_faults()?.iter().filter_map(at_fault));
    found.extend(store.incomplete()?.iter().map(incomplete));
    found.extend(stalled(&store.outlet_states()?, &job.notify, job.alerts.unreached_after, now));
    found.extend(clock(last.as_ref(), now));
    Ok(found)
}

/// That no batch has ever been committed, where that takes longer than a start does.
fn no_batch_yet(lease: Option<&LeaseRow>, job: &Job, patience: Duration, now: DateTime<Utc>) -> Option<Finding> {
    let (what, since) = match lease {
        None => ("no batch has ever been committed: the job has not run yet".to_owned(), None),
        Some(lease) if is_older(lease.since, patience, now) => (
            format!("no batch has ever been committed, though {} writes for the job: it stands still", lease.holder),
            Some(lease.since),
        ),
        Some(_) => return None,
    };
    Some(Finding { cause: Cause::NoBatch, what, since, remedy: job_remedy(job) })
}

/// That nobody is judged, for the job stands still.
fn standing_still(halted: &Halt, job: &Job, now: DateTime<Utc>) -> Finding {
    Finding {
        cause: Cause::NoBatch,
        what: format!(
            "no batch has been committed for {}, so no alarm is judged: {}",
            length(now - halted.since),
            halted.why
        ),
        since: Some(halted.since),
        remedy: job_remedy(job),
    }
}

fn job_remedy(job: &Job) -> String {
    format!(
        "watch the patients by their monitors; see whether `wardwatch run {}` runs, and what it logs",
        job.file.display()
    )
}

/// What an alert of the job's own about the ward tells, while it stands.
fn of_ward(open: &[Episode], rule: &str, cause: Cause) -> Option<Finding> {
    let standing = open.iter().find(|episode| &*episode.rule == rule && episode.patient.is_empty())?;
    let (what, since) = (standing.text.to_string(), standing.handling.fired_now.unwrap_or(standing.started_at));
    let remedy = remedy_of_alert(rule).unwrap_or_default().to_owned();
    Some(Finding { cause, what, since: Some(since), remedy })
}

/// That the clock of whoever asks is behind the last batch: of one that is ahead, nothing can be said.
fn clock(last: Option<&BatchSummary>, now: DateTime<Utc>) -> Option<Finding> {
    let behind = last.map(|last| last.now - now).filter(|behind| *behind > HOST_CLOCK_TOLERANCE)?;
    Some(Finding {
        cause: Cause::Clock,
        what: format!(
            "this machine's clock is {} behind the last batch: until it has caught up, time passes a tenth slower, and what is \
             to be done after a while is done later",
            length(behind)
        ),
        since: None,
        remedy: CLOCK_REMEDY.to_owned(),
    })
}

/// That the store does not tell who asks it for all of this; `said` are its own words.
#[must_use]
pub fn store_away(complaint: Complaint, said: &str) -> Finding {
    let remedy = match complaint {
        Complaint::Refuses => {
            "put right what it says, such as a table that is missing or a right; the job goes on by itself"
        }
        _ => STORE_REMEDY,
    };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Finding {
        cause: Cause::StoreAway,
        what: format!("{}, so it is not known what is watched{said}", complaint.is()),
        since: None,
        remedy: remedy.to_owned(),
    }
}

/// That a topic of the job is gone, though it has others.
#[must_use]
pub fn topic_missing(topic: &str) -> Finding {
    Finding {
        cause: Cause::TopicReplaced,
        what: format!("topic \"{topic}\" does not exist: what should come by it does not"),
        since: None,
        remedy: "make the topic, or take it out of the job file: the job does not start without it; one that was deleted and is \
                 made again needs `wardwatch run JOB --new-topic`"
            .to_owned(),
    }
}

/// That the topic is not the one whose offsets the store keeps.
#[must_use]
pub fn topic_replaced(topic: &str, was: &str, is: &str) -> Finding {
    Finding {
        cause: Cause::TopicReplaced,
        what: format!(
            "topic \"{topic}\" was deleted and made anew: its id was {was} and is {is}, and none of its records is read"
        ),
        since: None,
        remedy:
            "start the job by `wardwatch run JOB --new-topic`: it goes on with the new topic from where `start` says"
                .to_owned(),
    }
}

/// That it is the job that stands still, where records wait, and not the partitions: it has committed nothing for a while either.
///
/// # Errors
/// The database does not answer, or holds what this version did not write.
pub fn halted_while_records_wait(
    stalled: &[StalledPartition],
    store: &mut Store,
    job: &Job,
    now: DateTime<Utc>,
) -> Result<Option<Halt>, StoreError> {
    // One that runs commits something every few seconds, so this needs less patience than the partition itself has had.
    let patience = (STALL_PATIENCE / 3).max(job.trigger.every * 2);
    if stalled.is_empty() { Ok(None) } else { Halt::of_store(store, patience, now) }
}

/// The partitions of which records wait and none is read, by how far Kafka has got; or that the job is `halted`.
#[must_use]
pub fn waiting_records(
    stalled: &[StalledPartition],
    halted: Option<&Halt>,
    job: &Job,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    if let Some(halted) = halted {
        let waiting: i64 = stalled.iter().map(|stalled| stalled.waiting).sum();
        let finding = standing_still(halted, job, now);
        return vec![Finding { what: format!("{}; {waiting} records wait", finding.what), ..finding }];
    }
    let finding = |stalled: &StalledPartition| Finding {
        cause: Cause::PartitionStalled,
        what: format!("partition {} is stalled: {} records wait, and none is read", stalled.partition, stalled.waiting),
        since: stalled.since,
        remedy: PARTITION_REMEDY.to_owned(),
    };
    stalled.iter().map(finding).collect()
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

/// The rules that do not judge a patient, patient by patient. What Kafka, a partition or a query causes for many is told with it.
fn of_rules(unjudged: &[Unjudged], failing_queries: usize) -> Vec<Finding> {
    // A query that fails for everybody is a finding of its own; one that fails on the last values of somebody goes on for the others.
    let is_of_query =
        |unjudged: &Unjudged| unjudged.cause == Why::QueryFailing && unjudged.patient.is_empty() && failing_queries > 0;
    let is_told_once =
        |unjudged: &Unjudged| is_of_kafka(unjudged.cause) || unjudged.cause == Why::NoBatch || is_of_query(unjudged);
    let mut untold: Vec<&Unjudged> = unjudged.iter().filter(|unjudged| !is_told_once(unjudged)).collect();
    // Not everything about one patient is to be mended in one way.
    untold.sort_by(|one, other| (&one.patient, one.cause, &one.rule).cmp(&(&other.patient, other.cause, &other.rule)));
    let alike = |one: &&Unjudged, next: &&Unjudged| (&one.patient, one.cause) == (&next.patient, next.cause);
    let finding = |rules: &[&Unjudged]| {
        let first = rules.iter().min_by_key(|unjudged| unjudged.since)?;
        Some(Finding {
            cause: Cause::Unjudged,
            what: what_is_unjudged(first, rules),
            since: Some(first.since),
            remedy: remedy_of(first.cause).to_owned(),
        })
    };
    untold.chunk_by(alike).filter_map(finding).collect()
}

fn what_is_unjudged(first: &Unjudged, rules: &[&Unjudged]) -> String {
    let names: Vec<&str> = rules.iter().map(|unjudged| unjudged.rule.as_str()).collect();
    let names = if names.contains(&EVERY_RULE) { "any rule".to_owned() } else { names.join(", ") };
    let last = first.judged_until.map_or(String::new(), |at| format!("; the last value is of {}", at.to_rfc3339()));
    let why = first.why();
    match first.cause {
        _ if first.patient.is_empty() => why,
        Why::Paused => format!("nobody is told of alarms of patient \"{}\" by {names}: {why}", first.patient),
        _ => format!("patient \"{}\" is not judged by {names}: {}, {why}{last}", first.patient, first.cause.name()),
    }
}

fn at_fault(fault: &TableFault) -> Option<Finding> {
    let since = fault.since?;
    let waits = format!("{} rows of {} batches wait", fault.pending.rows, fault.pending.batches);
    Some(Finding {
        cause: Cause::TableAtFault,
        what: format!("table \"{}\" does not take its rows: {}; {waits}", fault.table, fault.reason),
        since: Some(since),
        remedy: TABLE_REMEDY.to_owned(),
    })
}

fn incomplete(lost: &Incomplete) -> Finding {
    Finding {
        cause: Cause::TableIncomplete,
        what: format!(
            "table \"{}\" lacks {} rows of batches {} to {}: {}",
            lost.table, lost.rows, lost.from, lost.until, lost.reason
        ),
        since: lost.since,
        remedy: INCOMPLETE_REMEDY.to_owned(),
    }
}

fn failing(query: &QueryState) -> Finding {
    Finding {
        cause: Cause::QueryFailing,
        what: format!("query \"{}\" has failed {} times in a row: {}", query.query, query.failures, query.error),
        since: query.since,
        remedy: match query.window_failed_at {
            Some(_) => {
                "mend its file; the rules that read it are judged again once a window of it is computed".to_owned()
            }
            None => format!("mend its file or its table; it is tried again with batch {}", query.retry),
        },
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

/// A length of time, to the second.
fn length(length: TimeDelta) -> String {
    let seconds = u64::try_from(length.num_seconds()).unwrap_or(0);
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests;
