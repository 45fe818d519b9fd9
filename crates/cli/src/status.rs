//! `wardwatch status`: how a job stands, and what it does not watch; exit code 4 where there is such a thing.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use wardwatch_alert::{Unjudged, Why, unjudged_patients};
use wardwatch_care::{Cause, Finding};
use wardwatch_config::{Job, SourceSpec};
use wardwatch_kafka::{Bounds, Consumer, KafkaError};
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::terms::{Offset, Partition};
use wardwatch_store::{OutletState, StalledPartition, Store, StoreError};

use super::arguments::{JobFile, duration};

/// How long Kafka may take; without it, everything but the lag is shown.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer of the store may take; one that stands still would keep us for minutes.
const STORE_PATIENCE: Duration = Duration::from_secs(15);

/// Records that wait in a partition that was quiet may have come a moment ago: so long we wait for a batch that leaves them.
const SECOND_LOOK: Duration = Duration::from_secs(4);

/// A batch whose time is less than this after our look may not have seen what we saw.
const IN_FLIGHT: TimeDelta = TimeDelta::seconds(1);

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    file: JobFile,
    /// How long ago the last batch may be; without it a minute, or three times the job's trigger
    #[arg(long, value_name = "TIME", value_parser = duration)]
    patience: Option<Duration>,
    /// Print it as one JSON object: what is not being watched, since when, why, and what to do
    #[arg(long)]
    json: bool,
}

/// Something is not being watched; what, has been printed.
#[derive(Debug, thiserror::Error)]
#[error("{count} {} not being watched", if *count == 1 { "thing is" } else { "things are" })]
pub(super) struct Unwatched {
    count: usize,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let looked = self.look(&job);
        // Somebody who asks what is not being watched is told so, too, where that cannot be found out.
        if let Err(error) = &looked
            && let Some(error) = error.downcast_ref::<StoreError>()
        {
            let found = [wardwatch_care::store_away(error.complaint(), &error.to_string())];
            if self.json {
                println!("{}", serde_json::to_string_pretty(&Shown::of(&job, None, &found))?);
            } else {
                println!("job {} · store {}", job.name, job.store.address());
                tell_findings(&found);
            }
        }
        looked
    }

    fn look(&self, job: &Job) -> anyhow::Result<()> {
        let mut store = Store::connect_with(&job.store, &job.name, STORE_PATIENCE)?;
        let patience = self.patience.unwrap_or_else(|| wardwatch_care::patience(job));
        let now = SystemClock.now();
        let mut found = wardwatch_care::findings(&mut store, job, patience, now)?;
        let mut gathered = match store.has_tables()? {
            true => {
                let patience = wardwatch_care::stall_patience(job);
                Some(Gathered::of(job, &mut store, patience, now)?)
            }
            false => None,
        };
        let is_told = |cause| matches!(cause, Cause::PartitionStalled | Cause::NoBatch);
        if let Some(gathered) = &mut gathered {
            for error in &gathered.missing {
                if let KafkaError::NoTopic { topic, .. } = error {
                    found.insert(0, wardwatch_care::topic_missing(topic));
                }
            }
            for Replaced { topic, was, is } in &gathered.replaced {
                found.insert(0, wardwatch_care::topic_replaced(topic, was, is));
            }
            let mut halted = None;
            if !found.iter().any(|finding| is_told(finding.cause)) {
                halted = wardwatch_care::halted_while_records_wait(&gathered.stalled, &mut store, job, now)?;
                // A job between two runs, or in a batch, has not left them.
                if halted.is_some() || gathered.is_left {
                    found.extend(wardwatch_care::waiting_records(&gathered.stalled, halted.as_ref(), job, now));
                }
            }
            gathered.unjudged = wardwatch_care::unjudged(&mut store, job, patience, halted, now)?;
        }
        if self.json {
            let shown = Shown::of(job, gathered.as_ref(), &found);
            println!("{}", serde_json::to_string_pretty(&shown)?);
        } else {
            println!("job {} · store {}", job.name, store.address());
            match &gathered {
                Some(gathered) => gathered.tell(&store, now),
                None => println!("no batch yet, and no tables; `wardwatch run {}` makes them", self.file.job.display()),
            }
            tell_findings(&found);
        }
        if found.is_empty() { Ok(()) } else { Err(Unwatched { count: found.len() }.into()) }
    }
}

/// What is known of a job that has tables.
struct Gathered {
    status: wardwatch_store::Status,
    /// How far Kafka has got, or why that is unknown.
    bounds: Result<Bounds, KafkaError>,
    /// What is said of topics that do not exist, beside others that do.
    missing: Vec<KafkaError>,
    /// The topics that are not those that were read.
    replaced: Vec<Replaced>,
    stalled: Vec<StalledPartition>,
    /// Whether the job has committed a batch since, and has left these records where they are.
    is_left: bool,
    outlets: Vec<OutletState>,
    unjudged: Vec<Unjudged>,
}

/// A topic that was deleted and made again.
struct Replaced {
    topic: String,
    /// Kafka's id of the one that was read.
    was: String,
    /// That of the one there is.
    is: String,
}

/// A connection to those of the topics that exist, and what is said of the others.
fn connect(source: &SourceSpec) -> (Result<Consumer, KafkaError>, Vec<KafkaError>) {
    // What each source has is of no interest here.
    let (mut source, mut missing) = (SourceSpec { others: Vec::new(), ..source.clone() }, Vec::new());
    loop {
        match Consumer::connect(&source, PATIENCE, &|| false) {
            Err(KafkaError::NoTopic { topic, near, brokers }) => match source.topics.without(&topic) {
                Some(others) => {
                    source.topics = others;
                    missing.push(KafkaError::NoTopic { topic, near, brokers });
                }
                None => return (Err(KafkaError::NoTopic { topic, near, brokers }), missing),
            },
            connected => return (connected, missing),
        }
    }
}

impl Gathered {
    fn of(job: &Job, store: &mut Store, patience: Duration, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let topics = store.topics(&job.source.topics)?;
        let (consumer, missing) = connect(&job.source);
        let consumer = consumer.and_then(|found| found.with_numbers(&topics));
        let status = store.status(&topics)?;
        let mut replaced = Vec::new();
        if consumer.as_ref().is_ok_and(|consumer| consumer.find_ids().is_ok()) {
            for (_, topic) in topics.names() {
                let is = topics.id_of(&topic).map(|id| id.to_string());
                let other = store.topic_id(&topic)?.zip(is).filter(|(was, is)| was != is);
                replaced.extend(other.map(|(was, is)| Replaced { topic: topic.to_string(), was, is }));
            }
        }
        let bounds = consumer.and_then(|consumer| consumer.bounds());
        let ends = bounds.iter().flatten().map(|(partition, (_, end))| (*partition, *end)).collect();
        let mut stalled = status.stalled(&ends, patience, now);
        let mut is_left = false;
        let looking = Stopwatch::start();
        while !stalled.is_empty() && !is_left && looking.elapsed() < SECOND_LOOK {
            std::thread::sleep(Duration::from_millis(250));
            let again = store.status(&topics)?;
            stalled = again.stalled(&ends, patience, now);
            is_left = again.last.is_some_and(|last| last.now > now + IN_FLIGHT);
        }
        let outlets = store.outlet_states()?;
        Ok(Self { missing, replaced, stalled, is_left, outlets, unjudged: Vec::new(), status, bounds })
    }

    /// How many records of a partition wait to be read; `None` where nobody knows.
    fn lag(&self, partition: Partition, position: Offset) -> Option<i64> {
        let (_, end) = self.bounds.as_ref().ok()?.get(&partition)?;
        Some(end.0 - position.0)
    }

    fn tell(&self, store: &Store, now: DateTime<Utc>) {
        let status = &self.status;
        match &status.last {
            None => println!("no batch yet"),
            Some(last) => println!(
                "batch {} · {} s ago · {} records, {} rejects, {} artefacts, {} late rows, {} duplicates{} in all",
                last.batch,
                (now - last.now).num_seconds(),
                status.records,
                status.rejects,
                status.artefacts,
                status.late,
                status.duplicates,
                if status.ignored > 0 { format!(", {} ignored", status.ignored) } else { String::new() }
            ),
        }
        match &status.lease {
            Some(lease) => println!(
                "{} writes since {}{}",
                lease.holder,
                lease.since.format("%Y-%m-%dT%H:%M:%SZ"),
                if lease.is_expired && store.leases_expire() { ", but has not renewed its lease" } else { "" }
            ),
            None => println!("nobody writes for it now"),
        }
        if let Some(behind) = status.clock_behind(now) {
            println!("this machine's clock is {} s behind the last batch", behind.num_seconds());
        }
        match &status.last {
            Some(last) if last.by_table.len() > 1 => {
                for (table, watermark) in &last.by_table {
                    println!("windows over {table} that end by {} have closed", watermark.0.to_rfc3339());
                }
            }
            last => {
                if let Some(watermark) = last.as_ref().and_then(|last| last.watermark) {
                    println!("windows that end by {} have closed", watermark.0.to_rfc3339());
                }
            }
        }
        self.tell_partitions();
        let is_halted = self.unjudged.iter().any(|unjudged| unjudged.cause == Why::NoBatch);
        let as_of = if is_halted { ", as the last batch left them" } else { "" };
        println!("{} open episodes{as_of}", status.episodes.len());
        for episode in &status.episodes {
            println!(
                "  {:<9} {} · patient {} · {} since {} · {}",
                episode.severity.name(),
                episode.rule,
                episode.patient,
                episode.state.name(),
                episode.started_at.to_rfc3339(),
                episode.text
            );
            if let Some(remedy) = wardwatch_care::remedy_of_alert(&episode.rule) {
                println!("            {remedy}");
            }
        }
        println!("{} failing queries", status.queries.len());
        for query in &status.queries {
            println!(
                "  {} · {} times, again with batch {} · {}",
                query.query, query.failures, query.retry, query.error
            );
        }
        tell_tables(status);
        for state in self.outlets.iter().filter(|state| state.waiting + state.given_up > 0) {
            let since = state.since.map_or(String::new(), |since| format!(", the first since {}", since.to_rfc3339()));
            println!("outlet {} · {} wait{since} · {} given up", state.outlet, state.waiting, state.given_up);
        }
        if !status.odd_rows.is_empty() {
            println!(
                "{} rows cannot be read and count for nothing; mend them, and start the job again",
                status.odd_rows.len()
            );
            status.odd_rows.iter().for_each(|fault| println!("  {fault}"));
        }
        if let Some((at, error)) = &status.refused_edit {
            println!("the last edit of the queries, {}, is not in use:\n{error}", at.to_rfc3339());
        }
    }

    fn tell_partitions(&self) {
        let status = &self.status;
        for (partition, position) in &status.positions {
            let lag = match (self.lag(*partition, *position), &self.bounds) {
                (Some(lag), _) => lag.to_string(),
                (None, Ok(_)) => "gone".to_owned(),
                (None, Err(_)) => "unknown".to_owned(),
            };
            let watermark = status.watermarks.get(partition).map_or("none".to_owned(), |w| w.0.to_rfc3339());
            let partition = status.topics.show(*partition);
            println!("partition {partition} · next offset {position} · lag {lag} · watermark {watermark}");
        }
        for error in self.missing.iter().chain(self.bounds.as_ref().err()) {
            println!("Kafka: {error}");
        }
        for stalled in &self.stalled {
            let since = stalled.since.map_or("so far".to_owned(), |since| format!("since {}", since.to_rfc3339()));
            println!(
                "partition {} is stalled: {} records wait, none was read {since}",
                stalled.partition, stalled.waiting
            );
        }
    }
}

/// Prints what is not being watched.
fn tell_findings(found: &[Finding]) {
    println!("{} not being watched", found.len());
    for Finding { cause, what, since, remedy } in found {
        let since = since.map_or(String::new(), |since| format!(" · since {}", since.to_rfc3339()));
        println!("  {} · {what}{since}\n    {remedy}", cause.name());
    }
}

/// What `--json` prints: docs/operations.md says what it means. Names are kept; others may be added.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    job: &'a str,
    store: String,
    batch: Option<u64>,
    batch_at: Option<String>,
    unwatched: Vec<ShownFinding<'a>>,
    unjudged_patients: usize,
    unjudged_since: Option<String>,
    unjudged: Vec<ShownUnjudged<'a>>,
    partitions: Vec<ShownPartition>,
}

#[derive(Debug, Serialize)]
struct ShownFinding<'a> {
    cause: &'static str,
    what: &'a str,
    since: Option<String>,
    remedy: &'a str,
}

#[derive(Debug, Serialize)]
struct ShownUnjudged<'a> {
    patient: &'a str,
    patients: usize,
    rule: &'a str,
    judged_until: Option<String>,
    since: String,
    cause: &'static str,
    why: String,
    remedy: &'static str,
}

#[derive(Debug, Serialize)]
struct ShownPartition {
    topic: String,
    partition: i32,
    next_offset: i64,
    lag: Option<i64>,
    watermark: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(job: &'a Job, gathered: Option<&'a Gathered>, found: &'a [Finding]) -> Self {
        let written = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let last = gathered.and_then(|gathered| gathered.status.last.as_ref());
        let unjudged = gathered.map_or(&[][..], |gathered| &gathered.unjudged);
        let finding = |finding: &'a Finding| ShownFinding {
            cause: finding.cause.name(),
            what: &finding.what,
            since: finding.since.map(written),
            remedy: &finding.remedy,
        };
        let of_rule = |one: &'a Unjudged| ShownUnjudged {
            patient: &one.patient,
            patients: one.patients,
            rule: &one.rule,
            judged_until: one.judged_until.map(written),
            since: written(one.since),
            cause: one.cause.name(),
            why: one.why(),
            remedy: wardwatch_care::remedy_of(one.cause),
        };
        let partitions = gathered.into_iter().flat_map(|gathered| {
            gathered.status.positions.iter().map(move |(partition, position)| ShownPartition {
                topic: gathered.status.topics.name_of(*partition).to_string(),
                partition: partition.number(),
                next_offset: position.0,
                lag: gathered.lag(*partition, *position),
                watermark: gathered.status.watermarks.get(partition).map(|watermark| written(watermark.0)),
            })
        });
        Self {
            job: &job.name,
            store: job.store.address(),
            batch: last.map(|last| last.batch.0),
            batch_at: last.map(|last| written(last.now)),
            unwatched: found.iter().map(finding).collect(),
            unjudged_patients: unjudged_patients(unjudged),
            unjudged_since: unjudged.iter().map(|one| one.since).min().map(written),
            unjudged: unjudged.iter().map(of_rule).collect(),
            partitions: partitions.collect(),
        }
    }
}

/// The tables that do not take their rows, those that lack some for good, and rows that no table takes; nothing where all is well.
fn tell_tables(status: &wardwatch_store::Status) {
    for fault in &status.tables {
        let pending = fault.pending;
        let waits = format!("{} rows of {} batches wait", pending.rows, pending.batches);
        match fault.since {
            Some(since) => {
                println!(
                    "table \"{}\" at fault since {} · {} · {waits}",
                    fault.table,
                    since.to_rfc3339(),
                    fault.reason
                );
                println!("  its query runs on; once the table takes rows again, those that wait are written first");
            }
            None => println!("table \"{}\" catches up · {waits}", fault.table),
        }
    }
    for lost in &status.incomplete {
        println!(
            "table \"{}\" is incomplete: it lacks {} rows of batches {} to {} · {}",
            lost.table, lost.rows, lost.from, lost.until, lost.reason
        );
    }
    if status.unattached > 0 {
        let later = match status.attached_later {
            0 => String::new(),
            later => format!("; {later} became somebody's later"),
        };
        let left = status.unattached - status.attached_later;
        println!("{left} records that were nobody's when they were measured, in the table unattached{later}");
    }
    if status.bad_rows > 0 {
        println!("{} rows that no table takes, each with its reason in the table bad_rows", status.bad_rows);
    }
}
