//! `wardwatch status`: how a job stands, and what it does not watch; exit code 4 where there is such a thing.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Job};
use crate::source::Topic;
use crate::store::{self, Store};
use crate::watch::{self, Finding};

use super::{JobFile, duration};

/// How long Kafka may take; without it, everything but the lag is shown.
const PATIENCE: Duration = Duration::from_secs(3);

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    file: JobFile,
    /// How long ago the last batch may be; without it a minute, or three times the job's trigger
    #[arg(long, value_name = "TIME", value_parser = duration)]
    patience: Option<Duration>,
}

/// Something is not being watched; what, has been printed.
#[derive(Debug, thiserror::Error)]
#[error("{count} {} not being watched", if *count == 1 { "thing is" } else { "things are" })]
pub(super) struct Unwatched {
    count: usize,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let job = config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        println!("job {} · store {}", job.name, store.address());
        if !store.has_tables()? {
            println!("no batch yet, and no tables; `wardwatch run {}` makes them", self.file.job.display());
            return self.tell_findings(&job, &mut store);
        }
        let status = store.status(&job.source.topic)?;
        match &status.last {
            None => println!("no batch yet"),
            Some(last) => println!(
                "batch {} · {} s ago · {} records, {} rejects, {} artefacts, {} late rows, {} duplicates in all",
                last.batch,
                (SystemClock.now() - last.now).num_seconds(),
                status.records,
                status.rejects,
                status.artefacts,
                status.late,
                status.duplicates
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
        if let Some(behind) = status.clock_behind(SystemClock.now()) {
            println!("this machine's clock is {} s behind the last batch", behind.num_seconds());
        }
        if let Some(watermark) = status.last.as_ref().and_then(|last| last.watermark) {
            println!("windows that end by {} have closed", watermark.0.to_rfc3339());
        }
        let bounds = Topic::connect(&job.source, PATIENCE, &|| false).and_then(|topic| topic.bounds());
        for (partition, position) in &status.positions {
            let lag = match &bounds {
                Ok(bounds) => {
                    bounds.get(partition).map_or("gone".to_owned(), |(_, end)| (end.0 - position.0).to_string())
                }
                Err(_) => "unknown".to_owned(),
            };
            let watermark = status.watermarks.get(partition).map_or("none".to_owned(), |w| w.0.to_rfc3339());
            println!("partition {partition} · next offset {position} · lag {lag} · watermark {watermark}");
        }
        if let Err(error) = &bounds {
            println!("Kafka: {error}");
        }
        let ends = bounds.iter().flatten().map(|(partition, (_, end))| (*partition, *end)).collect();
        for stalled in status.stalled(&ends, SystemClock.now()) {
            let since = stalled.since.map_or("so far".to_owned(), |since| format!("since {}", since.to_rfc3339()));
            println!(
                "partition {} is stalled: {} records wait, none was read {since}",
                stalled.partition, stalled.waiting
            );
        }
        println!("{} open episodes", status.episodes.len());
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
        }
        println!("{} failing queries", status.queries.len());
        for query in &status.queries {
            println!(
                "  {} · {} times, again with batch {} · {}",
                query.query, query.failures, query.retry, query.error
            );
        }
        tell_tables(&status);
        for state in store.outlet_states()?.iter().filter(|state| state.waiting + state.given_up > 0) {
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
        self.tell_findings(&job, &mut store)
    }

    /// Prints what is not being watched, and fails where there is something.
    fn tell_findings(&self, job: &Job, store: &mut Store) -> anyhow::Result<()> {
        let patience = self.patience.unwrap_or_else(|| watch::patience(job));
        let found = watch::findings(store, job, patience, SystemClock.now())?;
        println!("{} not being watched", found.len());
        for Finding { cause, what, since, remedy } in &found {
            let since = since.map_or(String::new(), |since| format!(" · since {}", since.to_rfc3339()));
            println!("  {} · {what}{since}\n    {remedy}", cause.name());
        }
        if found.is_empty() { Ok(()) } else { Err(Unwatched { count: found.len() }.into()) }
    }
}

/// The tables that do not take their rows, those that lack some for good, and rows that no table takes; nothing where all is well.
fn tell_tables(status: &store::Status) {
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
