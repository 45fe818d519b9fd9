//! Edits of the set of queries, taken over while the job runs.
//!
//! A save is noticed when the files have changed and then stand still for a moment, so that all changes of one save are
//! taken together. The new set is planned, and its windows made, on a thread of its own; the loop goes on with the old
//! one and swaps between two batches. A set with a fault in it changes nothing but what `status` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use tracing::{error, info, warn};

use crate::clock::Stopwatch;
use crate::config::Job;
use crate::diagnostic::Diagnostics;
use crate::source::Topic;
use crate::store::{Edited, Store, StoreError};
use crate::terms::BatchId;

use super::memory::Memory;
use super::needs::{UP_TO_DATE, begins_earliest};
use super::plan::Plan;
use super::recover::Recovery;
use super::references::References;
use super::retry::Retry;
use super::run::RunError;
use super::start::mark_earliest;
use super::state::JobState;

/// Files are looked at this often; a save is over when two looks find the same.
const LOOK: Duration = Duration::from_millis(250);

/// How long a service may take to answer the thread that makes windows.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many batches may be left for the loop to repeat by itself.
const ALMOST: u64 = 2;

/// Looks for edits.
#[derive(Debug)]
pub(super) struct Reloader {
    job: Job,
    /// The files that the running set was made of, or that were refused last.
    known: Files,
    candidate: Files,
    looked: Stopwatch,
    building: Option<Building>,
    /// The last batch that the loop has committed.
    reached: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// Every file of a set, with what tells that it has changed.
type Files = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

#[derive(Debug)]
struct Building {
    files: Files,
    thread: JoinHandle<Result<Box<Ready>, Refusal>>,
}

/// What became of an edit.
pub(super) enum Edit {
    /// It can be taken over.
    Ready(Box<Ready>),
    /// It has faults.
    Refused(Diagnostics),
}

/// Takes over an edit of the set of queries at the time `now`, whole or not at all, and has it told with the next batch.
pub(super) fn take_edit(
    edit: Edit,
    plan: &mut Plan,
    store: &mut Store,
    state: &mut JobState,
    references: References,
    (now, stopped): (DateTime<Utc>, &dyn Fn() -> bool),
) -> Result<References, RunError> {
    let at = state.after_last(now);
    let refused = |error: String| Edited { at, files: Vec::new(), error };
    let ready = match edit {
        Edit::Ready(ready) => ready,
        Edit::Refused(faults) => {
            error!(faults = %faults, "an edit of the queries is refused; the running ones go on");
            state.edits.looked_at.push(refused(faults.to_string()));
            return Ok(references);
        }
    };
    let retry = Retry::endless(stopped);
    let tables = ready.plan.all_tables();
    mark_earliest(&ready.plan, store, &retry)?;
    let unfit = retry.until_done(|| match store.migrate(&tables) {
        Err(StoreError::Refused(reason)) => Ok(Some(reason)),
        done => done.map(|()| None),
    })?;
    if let Some(reason) = unfit {
        error!(reason, "an edit of the queries does not fit the store; the running ones go on");
        state.edits.looked_at.push(refused(reason));
        return Ok(references);
    }
    let files = ready.plan.files_unlike(plan);
    let changed = |query: &str| files.iter().any(|(name, _)| name == query);
    let Some(given) = ready.take_over(plan, &mut state.memory, state.last_batch, &retry)? else {
        return Ok(references); // the job is stopping
    };
    for (table, rows) in given {
        state.backfill.entry(table).or_default().extend(rows);
    }
    state.edits.forgotten.extend(state.quarantine.forget(&changed, state.last_batch.next()));
    let files = files.into_iter().map(|(_, file)| file).collect();
    state.edits.looked_at.push(Edited { at, files, error: String::new() });
    drop(references);
    retry.until_done(|| {
        store.keep_snapshots_of(&plan.kept_names())?;
        References::start(plan, store)
    })
}

/// Why there is no new plan.
#[derive(Debug)]
enum Refusal {
    Faults(Diagnostics),
    Service(RunError),
}

/// A new plan whose windows are almost up to date.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) plan: Plan,
    /// Queries whose state goes on as it is.
    unchanged: BTreeSet<String>,
    making: Option<Making>,
}

/// What is needed to repeat the last few batches.
struct Making {
    recovery: Recovery,
    store: Store,
    topic: Topic,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Making").finish_non_exhaustive()
    }
}

/// What the running plan keeps: name, stream and fingerprint of each windowed query.
type Kept = Vec<(String, String, String)>;

impl Reloader {
    pub(super) fn new(job: &Job) -> Self {
        let known = scan(&job.sql.dir);
        Self {
            job: job.clone(),
            candidate: known.clone(),
            known,
            looked: Stopwatch::start(),
            building: None,
            reached: Arc::default(),
            stop: Arc::default(),
        }
    }

    /// Looks whether there is an edit to be taken over behind batch `last`.
    pub(super) fn poll(&mut self, plan: &Plan, last: BatchId) -> Option<Edit> {
        self.reached.store(last.0, Ordering::Relaxed);
        if let Some(building) = self.building.take_if(|building| building.thread.is_finished()) {
            return self.built(building);
        }
        if self.building.is_none() && self.looked.elapsed() >= LOOK {
            self.looked = Stopwatch::start();
            let found = scan(&self.job.sql.dir);
            if found != self.known && found == self.candidate {
                self.build(plan, found);
            } else {
                self.candidate = found;
            }
        }
        None
    }

    fn build(&mut self, plan: &Plan, files: Files) {
        let kept: Kept = plan
            .engine
            .kept()
            .map(|kept| (kept.name.to_owned(), kept.stream().to_owned(), kept.fingerprint().to_owned()))
            .collect();
        let builder = Builder {
            job: self.job.clone(),
            kept,
            tables: plan.tables.iter().map(|table| table.name.clone()).collect(),
            had_history: plan.engine.reads_history(),
            reached: Arc::clone(&self.reached),
            stop: Arc::clone(&self.stop),
        };
        match std::thread::Builder::new().name("reload".to_owned()).spawn(move || builder.build()) {
            Ok(thread) => self.building = Some(Building { files, thread }),
            Err(error) => warn!(%error, "an edit cannot be looked at; it is tried again"),
        }
    }

    fn built(&mut self, Building { files, thread }: Building) -> Option<Edit> {
        let Ok(built) = thread.join() else {
            self.known = files;
            error!("planning an edit panicked; the running set goes on");
            return None;
        };
        match built {
            Ok(ready) => {
                self.known = files;
                Some(Edit::Ready(ready))
            }
            Err(Refusal::Faults(faults)) => {
                self.known = files;
                Some(Edit::Refused(faults))
            }
            Err(Refusal::Service(error)) => {
                warn!(%error, "an edit waits for its windows to be made; it is tried again");
                None
            }
        }
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(building) = self.building.take()
            && building.thread.join().is_err()
        {
            error!("planning an edit panicked");
        }
    }
}

fn scan(set: &Path) -> Files {
    let folders = ["tables", "views", "rules", "seeds"].map(|folder| set.join(folder));
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|extension| extension == "sql" || extension == "csv");
        let about = entry.metadata().ok().filter(|about| is_ours && about.is_file())?;
        Some((path, (about.len(), about.modified().ok())))
    };
    entries.filter_map(file).collect()
}

/// What the thread needs.
struct Builder {
    job: Job,
    kept: Kept,
    tables: BTreeSet<String>,
    had_history: bool,
    reached: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Builder {
    fn build(self) -> Result<Box<Ready>, Refusal> {
        let mut plan = Plan::of(self.job.clone()).map_err(Refusal::Faults)?;
        let (unchanged, repeated) = self.sort_out(&plan);
        let needs_history = plan.engine.reads_history() && !self.had_history;
        if repeated.is_empty() && !needs_history {
            return Ok(Box::new(Ready { plan, unchanged, making: None }));
        }
        let making = self.make(&mut plan, &repeated).map_err(Refusal::Service)?;
        Ok(Box::new(Ready { plan, unchanged, making }))
    }

    /// The queries that go on as they are, and those whose batches must be repeated: the others, and what they read.
    fn sort_out(&self, plan: &Plan) -> (BTreeSet<String>, BTreeSet<String>) {
        let new: Kept = plan
            .engine
            .kept()
            .map(|kept| (kept.name.to_owned(), kept.stream().to_owned(), kept.fingerprint().to_owned()))
            .collect();
        let is_windowed = |name: &str| new.iter().any(|(known, ..)| known == name);
        let mut unchanged = BTreeSet::new();
        for kept in &new {
            let (name, stream, _) = kept;
            if self.kept.contains(kept) && (!is_windowed(stream) || unchanged.contains(stream)) {
                unchanged.insert(name.clone());
            }
        }
        let mut repeated = BTreeSet::new();
        for (name, stream, _) in new.iter().rev() {
            if !unchanged.contains(name) || repeated.contains(name) {
                repeated.insert(name.clone());
                if is_windowed(stream) {
                    repeated.insert(stream.clone());
                }
            }
        }
        (unchanged, repeated)
    }

    fn make(&self, plan: &mut Plan, repeated: &BTreeSet<String>) -> Result<Option<Making>, RunError> {
        let stopped = || self.stop.load(Ordering::Relaxed);
        let retry = Retry::at_start(&self.job.store, PATIENCE, &stopped);
        let mut store = retry.until_done(|| Store::connect(&self.job.store, &self.job.name))?;
        let topic = Topic::connect(&self.job.source, PATIENCE, &stopped)?;
        let resume = retry.until_done(|| store.resume(&self.job.source.topic))?;
        let up_to_date: BTreeMap<String, BatchId> = plan
            .engine
            .kept()
            .filter(|kept| !repeated.contains(kept.name))
            .map(|kept| (kept.name.to_owned(), UP_TO_DATE))
            .collect();
        let new: BTreeSet<String> = plan.tables.iter().map(|table| table.name.clone()).collect();
        let from_earliest =
            new.difference(&self.tables).filter(|table| begins_earliest(plan, table)).cloned().collect();
        let memory = Memory::new(plan, resume.event_time.clone());
        let end = (&resume.event_time, resume.last_batch);
        let mut recovery = Recovery::plan(plan, &mut store, memory, end, &up_to_date, from_earliest, &retry)?;
        let mut done = BatchId(0);
        loop {
            let last = BatchId(self.reached.load(Ordering::Relaxed)).max(resume.last_batch);
            if last.0 <= done.0 + ALMOST || stopped() {
                return Ok(Some(Making { recovery, store, topic }));
            }
            recovery.run(plan, &mut store, &topic, last, &retry, &|_, _| {})?;
            done = last;
        }
    }
}

impl Ready {
    /// Brings the new plan up to batch `last`, behind which the loop stands, and has it go on from the running one.
    ///
    /// Returns the rows of windows that a new query has given out from the earliest on; `None` where the job was stopped
    /// meanwhile and nothing is taken over. Errors: a service stops answering; the running plan is as before.
    pub(super) fn take_over(
        mut self: Box<Self>,
        running: &mut Plan,
        memory: &mut Memory,
        last: BatchId,
        retry: &Retry<'_>,
    ) -> Result<Option<BTreeMap<String, Vec<RecordBatch>>>, RunError> {
        let mut given = BTreeMap::new();
        let mut history = None;
        if let Some(Making { mut recovery, mut store, topic }) = self.making.take() {
            recovery.run(&mut self.plan, &mut store, &topic, last, retry, &|_, _| {})?;
            if (retry.stopped)() {
                return Ok(None);
            }
            recovery.finish(&mut self.plan);
            given = std::mem::take(&mut recovery.given);
            history = recovery.memory.history;
        }
        self.plan.engine.adopt(&mut running.engine, &|name| self.unchanged.contains(name));
        memory.history = match self.plan.engine.reads_history() {
            true => memory.history.take().or(history),
            false => None,
        };
        memory.streams.reshape(self.plan.streams());
        info!(tables = self.plan.tables.len(), rules = self.plan.rules.len(), batch = %last.next(), "edit taken over");
        *running = self.plan;
        Ok(Some(given))
    }
}
