//! Edits of the set of queries, taken over while the job runs.
//!
//! A save is noticed when the files have changed and then stand still for a moment, so that all changes of one save are
//! taken together. The new set is planned, and its windows made, on a thread of its own; the loop goes on with the old
//! one and swaps between two batches. A set with a fault in it changes nothing but what `status` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use tracing::{error, info, warn};

use wardwatch_config::Job;
use wardwatch_kafka::Consumer;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::telemetry::Panicked;
use wardwatch_model::terms::BatchId;
use wardwatch_model::topics::Topics;
use wardwatch_sql::{SOURCE_FILE, is_hidden};
use wardwatch_store::{Edited, Store, StoreError};

use super::error::RunError;
use super::memory::Memory;
use super::needs::{UP_TO_DATE, begins_earliest};
use super::plan::{Plan, Reference};
use super::recover::{Passed, Passing, Recovery};
use super::references::{References, read_references};
use super::retry::Retry;
use super::start::mark_earliest;
use super::state::JobState;

/// Files are looked at this often; a save is over when two looks find the same.
const LOOK: Duration = Duration::from_millis(250);

/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(20);

/// How long a service may take to answer the thread that makes windows.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many batches may be left for the loop to repeat by itself, from memory.
const ALMOST: u64 = 2;

/// An edit that cannot be taken over now is tried again after a pause that doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Looks for edits.
#[derive(Debug)]
pub(super) struct Reloader {
    job: Job,
    /// The files that the running set was made of, or that were looked at last.
    known: Files,
    candidate: Files,
    /// What the thread that looks at the files has found last.
    found: Arc<Mutex<Option<Files>>>,
    looking: Option<JoinHandle<()>>,
    building: Option<Building>,
    /// An edit that may be taken over later, as it stands.
    later: Option<Later>,
    /// The last batches, while a thread repeats those before them.
    passed: Passed,
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

/// An edit that waits for a table or a service.
#[derive(Debug)]
struct Later {
    since: Stopwatch,
    tries: u32,
}

impl Later {
    /// How long it is left alone: a table that is in use is asked for ever less often.
    fn pause(&self) -> Duration {
        (FIRST_PAUSE * 2_u32.saturating_pow(self.tries)).min(LONGEST_PAUSE)
    }
}

/// What became of an edit.
pub(super) enum Edit {
    /// It can be taken over.
    Ready(Box<Ready>, Passed),
    /// It has faults, or cannot be taken over now; in words.
    Refused(String),
}

/// Takes over an edit of the set of queries at the time `now`, whole or not at all, and has it told with the next batch.
///
/// Nothing here waits for anybody but the store that batches wait for too: tables are made, rows read and windows filled by then.
pub(super) fn take_edit(
    edit: Edit,
    plan: &mut Plan,
    store: &mut Store,
    state: &mut JobState,
    references: &mut References,
    (now, retry): (DateTime<Utc>, &Retry<'_>),
) -> Result<(), RunError> {
    let at = state.after_last(now);
    let (mut ready, passed) = match edit {
        Edit::Ready(ready, passed) => (ready, passed),
        Edit::Refused(error) => {
            error!(error, "an edit of the queries is refused; the running ones go on");
            state.edits.note(Edited { at, files: Vec::new(), error });
            return Ok(());
        }
    };
    let files = ready.plan.files_unlike(plan);
    let changed = |query: &str| files.iter().any(|(name, _)| name == query);
    let read = std::mem::take(&mut ready.references);
    let Edition { given, beginning } = ready.take_over(plan, &mut state.memory, &passed, state.last_batch, retry)?;
    state.begin(beginning);
    state.last_snapshot = BatchId(0);
    for (table, rows) in given {
        state.backfill.entry(table).or_default().extend(rows);
    }
    state.edits.forgotten.extend(state.quarantine.forget(&changed, state.last_batch.next()));
    let files = files.into_iter().map(|(_, file)| file).collect();
    state.edits.note(Edited { at, files, error: String::new() });
    state.edits.references.extend(references.follow(plan, read));
    retry.until_done(|| store.keep_snapshots_of(&plan.kept_names()))
}

/// Why there is no new plan.
#[derive(Debug)]
enum Refusal {
    /// Not before the files have changed.
    Faults(String),
    /// Not now.
    Later(String),
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Store(StoreError::Refused(reason)) => Self::Faults(reason),
            other => Self::Later(other.to_string()),
        }
    }
}

/// A new plan whose windows are almost up to date.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) plan: Plan,
    /// Queries whose state goes on as it is.
    unchanged: BTreeSet<String>,
    /// The reference tables as the store has them.
    references: Vec<Reference>,
    making: Option<Making>,
}

/// What is needed to repeat the last few batches.
struct Making {
    recovery: Recovery,
    store: Store,
    consumer: Consumer,
    /// The last batch when it was found out what is to be repeated.
    begun: BatchId,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Making").finish_non_exhaustive()
    }
}

/// What an edit brings.
pub(super) struct Edition {
    /// The rows of windows that new queries have given out from the earliest on, by their tables.
    given: BTreeMap<String, Vec<RecordBatch>>,
    /// The rules that are new or others than before.
    beginning: BTreeSet<String>,
}

/// What the running plan keeps: name, stream and fingerprint of each windowed query.
type Kept = Vec<(String, String, String)>;

impl Reloader {
    /// Goes by the files as they are now, with which the running set is to have been made.
    ///
    /// Errors: the operating system has no thread to give.
    pub(super) fn start(job: &Job) -> Result<Self, RunError> {
        let known = scan(&job.sql.dir);
        let (found, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (dir, seen, stopped) = (job.sql.dir.clone(), Arc::clone(&found), Arc::clone(&stop));
        // A disk that hangs, perhaps of another machine, is to hang this thread alone.
        let looking = std::thread::Builder::new().name("edits".to_owned()).spawn(move || look(&dir, &seen, &stopped));
        Ok(Self {
            job: job.clone(),
            candidate: known.clone(),
            known,
            found,
            looking: Some(looking.map_err(RunError::Thread)?),
            building: None,
            later: None,
            passed: Passed::default(),
            reached: Arc::default(),
            stop,
        })
    }

    /// Has the plan be of the files as they are now, before it runs: whoever has stood by may come after one that has taken over
    /// edits meanwhile, and batches would not reach a table that is new. A set with faults is left for [`Reloader::poll`] to tell.
    ///
    /// Errors: the operating system has no thread to give.
    pub(super) fn follow_edits(self, plan: &mut Plan) -> Result<Self, RunError> {
        if scan(&self.job.sql.dir) == self.known {
            return Ok(self);
        }
        let next = Self::start(&self.job)?;
        match Plan::of(self.job.clone()) {
            Ok(edited) => {
                info!("the set was edited meanwhile; it is run as it is now");
                *plan = edited;
                Ok(next)
            }
            Err(_) => Ok(self),
        }
    }

    /// Looks whether there is an edit to be taken over behind batch `last`.
    ///
    /// Errors: nobody looks at the files any more.
    pub(super) fn poll(&mut self, plan: &Plan, last: BatchId) -> Result<Option<Edit>, RunError> {
        self.reached.store(last.0, Ordering::Relaxed);
        if let Some(building) = self.building.take_if(|building| building.thread.is_finished()) {
            return Ok(self.built(building, last));
        }
        if self.looking.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(Panicked::of("edits").into());
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(found) = found.filter(|_| self.building.is_none()) else { return Ok(None) };
        let is_due = |later: &Later| later.since.elapsed() >= later.pause();
        if found != self.known && found == self.candidate {
            self.later = None;
            self.build(plan, found);
        } else if found == self.known && self.later.as_ref().is_some_and(is_due) {
            self.build(plan, found);
        } else {
            self.candidate = found;
        }
        Ok(None)
    }

    /// Whether batches that pass are to be noted.
    pub(super) fn is_building(&self) -> bool {
        self.building.is_some()
    }

    /// Takes note of the batch that the loop stands behind now.
    pub(super) fn note_passed(&mut self, passing: Passing, state: &JobState) {
        self.passed.push(passing, state);
    }

    fn build(&mut self, plan: &Plan, files: Files) {
        let kept: Kept = plan
            .engine
            .kept()
            .map(|kept| (kept.name.to_owned(), kept.stream().to_owned(), kept.fingerprint().to_owned()))
            .collect();
        let builder = Builder {
            job: self.job.clone(),
            topics: plan.topics.clone(),
            source_sql: plan.source_sql.as_ref().map(|sql| sql.text.clone()),
            kept,
            tables: plan.tables.iter().map(|table| table.name.clone()).collect(),
            has_rules: !plan.rules.is_empty(),
            had_history: plan.engine.reads_history(),
            pace: self.pace(),
        };
        self.passed.clear();
        self.begin(files, move || builder.build());
    }

    fn begin(&mut self, files: Files, work: impl FnOnce() -> Result<Box<Ready>, Refusal> + Send + 'static) {
        match std::thread::Builder::new().name("reload".to_owned()).spawn(work) {
            Ok(thread) => self.building = Some(Building { files, thread }),
            Err(error) => warn!(%error, "an edit cannot be looked at; it is tried again"),
        }
    }

    fn pace(&self) -> Pace {
        Pace { reached: Arc::clone(&self.reached), stop: Arc::clone(&self.stop) }
    }

    fn built(&mut self, Building { files, thread }: Building, last: BatchId) -> Option<Edit> {
        let built = thread.join().unwrap_or_else(|_| {
            Err(Refusal::Faults("planning it panicked; the log says where, which is a fault of wardwatch".to_owned()))
        });
        match built {
            Ok(ready) if !ready.is_reached_by(&self.passed, last) => {
                let (pace, job) = (self.pace(), self.job.clone());
                self.begin(files, move || ready.catch_up(&job, &pace));
                None
            }
            Ok(ready) => {
                (self.known, self.later) = (files, None);
                Some(Edit::Ready(ready, std::mem::take(&mut self.passed)))
            }
            Err(Refusal::Faults(faults)) => {
                (self.known, self.later) = (files, None);
                Some(Edit::Refused(faults))
            }
            Err(Refusal::Later(reason)) => {
                self.known = files;
                let tries = self.later.as_ref().map_or(0, |later| later.tries + 1);
                self.later = Some(Later { since: Stopwatch::start(), tries });
                (tries == 0).then(|| Edit::Refused(format!("{reason}; it is tried again until it can be taken over")))
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
        let Some(looking) = self.looking.take() else { return };
        let waiting = Stopwatch::start();
        while !looking.is_finished() && waiting.elapsed() < LOOK * 4 {
            std::thread::sleep(TICK);
        }
        // One that hangs with its disk is left behind: it ends with the process.
        if looking.is_finished() && looking.join().is_err() {
            error!("looking for edits panicked");
        }
    }
}

/// Says every while which files there are, until it is stopped.
fn look(set: &Path, found: &Mutex<Option<Files>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let files = scan(set);
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
        let waiting = Stopwatch::start();
        while waiting.elapsed() < LOOK && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
        }
    }
}

fn scan(set: &Path) -> Files {
    let folders = ["tables", "views", "rules", "seeds"].map(|folder| set.join(folder));
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let source = Some(set.join(SOURCE_FILE)).filter(|path| path.exists());
    let paths = entries.map(|entry| entry.path()).chain(source);
    let file = |path: PathBuf| {
        let is_ours = path.extension().is_some_and(|extension| extension == "sql" || extension == "csv");
        let about = std::fs::metadata(&path).ok().filter(|about| is_ours && !is_hidden(&path) && about.is_file())?;
        Some((path, (about.len(), about.modified().ok())))
    };
    paths.filter_map(file).collect()
}

/// What the thread needs.
struct Builder {
    job: Job,
    topics: Topics,
    source_sql: Option<String>,
    kept: Kept,
    tables: BTreeSet<String>,
    has_rules: bool,
    had_history: bool,
    pace: Pace,
}

/// How far the loop has got, and whether it stops.
struct Pace {
    reached: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Pace {
    fn last(&self) -> BatchId {
        BatchId(self.reached.load(Ordering::Relaxed))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Builder {
    fn build(self) -> Result<Box<Ready>, Refusal> {
        let mut plan = Plan::of(self.job.clone()).map_err(|faults| Refusal::Faults(faults.to_string()))?;
        plan.topics = self.topics.clone();
        if plan.source_sql.as_ref().map(|sql| &sql.text) != self.source_sql.as_ref() {
            let file = self.job.sql.dir.join(SOURCE_FILE);
            let message = format!(
                "{}:1:1: what records become is decided when the job starts: start it again to have this take effect",
                file.display()
            );
            return Err(Refusal::Faults(message));
        }
        let rules = self.job.sql.dir.join("rules");
        if self.has_rules && plan.rules.is_empty() && !rules.is_dir() {
            let message = format!("{} is gone, and all rules with it; to watch nobody, stop the job", rules.display());
            return Err(Refusal::Faults(message));
        }
        let stopped = || self.pace.is_stopped();
        let retry = Retry::at_start(&self.job.store, PATIENCE, &stopped);
        let mut store = retry.until_done(|| Store::connect(&self.job.store, &self.job.name))?;
        let references = self.prepare(&mut plan, &mut store, &retry)?;
        let (unchanged, repeated) = self.sort_out(&plan);
        let needs_history = plan.engine.reads_history() && !self.had_history;
        let mut ready = Box::new(Ready { plan, unchanged, references, making: None });
        if !repeated.is_empty() || needs_history {
            ready.making = Some(self.make(&mut ready.plan, store, &repeated)?);
            ready = ready.catch_up(&self.job, &self.pace)?;
        }
        Ok(ready)
    }

    /// Has the store take the rows of the new set: whole, or as far as nobody minds.
    ///
    /// Errors: a table that does not fit, or is in use; nothing of the running set is touched then.
    fn prepare(&self, plan: &mut Plan, store: &mut Store, retry: &Retry<'_>) -> Result<Vec<Reference>, Refusal> {
        let done = |error: StoreError| Refusal::from(RunError::from(error));
        let tables = plan.all_tables();
        if let Some(unfit) = store.incompatibilities(&tables).map_err(done)?.into_iter().next() {
            return Err(Refusal::Faults(unfit));
        }
        mark_earliest(plan, store, retry)?;
        store.migrate(&plan.tables).map_err(done)?;
        let (read, odd) = read_references(plan, store).map_err(done)?;
        if !odd.is_empty() {
            warn!(rows = odd.len(), "rows of reference tables cannot be read; they count for nothing");
        }
        Ok(read)
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

    /// Finds out which batches are to be repeated.
    fn make(&self, plan: &mut Plan, mut store: Store, repeated: &BTreeSet<String>) -> Result<Making, RunError> {
        let stopped = || self.pace.is_stopped();
        let retry = Retry::at_start(&self.job.store, PATIENCE, &stopped);
        let consumer = Consumer::connect(&self.job.source, PATIENCE, &stopped)?.with_numbers(&self.topics)?;
        let resume = retry.until_done(|| store.resume(&self.topics))?;
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
        let event_time = memory.event_time.clone();
        let end = (&event_time, resume.last_batch);
        let recovery = Recovery::plan(plan, &mut store, memory, end, &up_to_date, from_earliest, &retry)?;
        Ok(Making { recovery, store, consumer, begun: resume.last_batch })
    }
}

impl Ready {
    /// Repeats batches until the loop can do the rest from what it has at hand.
    fn catch_up(mut self: Box<Self>, job: &Job, pace: &Pace) -> Result<Box<Self>, Refusal> {
        let Some(Making { recovery, store, consumer, begun }) = &mut self.making else { return Ok(self) };
        let stopped = || pace.is_stopped();
        let retry = Retry::at_start(&job.store, PATIENCE, &stopped);
        // The loop has at hand what passes from now on, so what is before that is repeated here in any case.
        let mut done: Option<BatchId> = None;
        loop {
            let last = pace.last().max(*begun);
            if done.is_some_and(|done| last.0 <= done.0 + ALMOST) || pace.is_stopped() {
                break;
            }
            recovery.run(&mut self.plan, store, consumer, last, &retry, &|_, _| {})?;
            done = Some(last);
        }
        // People may have changed rows meanwhile.
        let read = retry.until_done(|| read_references(&mut self.plan, store))?;
        self.references = read.0;
        Ok(self)
    }

    fn is_reached_by(&self, passed: &Passed, last: BatchId) -> bool {
        self.making.as_ref().is_none_or(|making| making.recovery.is_reached_by(passed, last))
    }

    /// Brings the new plan up to batch `last`, behind which the loop stands, and has it go on from the running one.
    ///
    /// Errors: the store stops answering; the
    /// running plan is as before.
    pub(super) fn take_over(
        mut self: Box<Self>,
        running: &mut Plan,
        memory: &mut Memory,
        passed: &Passed,
        last: BatchId,
        retry: &Retry<'_>,
    ) -> Result<Edition, RunError> {
        let mut given = BTreeMap::new();
        let mut history = None;
        if let Some(Making { mut recovery, mut store, .. }) = self.making.take() {
            recovery.run_passed(&mut self.plan, &mut store, passed, retry)?;
            recovery.finish(&mut self.plan);
            given = std::mem::take(&mut recovery.given);
            history = recovery.memory.history;
        }
        self.plan.engine.adopt(&mut running.engine, &|name| self.unchanged.contains(name));
        memory.history = match self.plan.engine.reads_history() {
            true => memory.history.take().or(history),
            false => None,
        };
        let beginning = memory.reshape(&self.plan);
        info!(tables = self.plan.tables.len(), rules = self.plan.rules.len(), batch = %last.next(), "edit taken over");
        *running = self.plan;
        Ok(Edition { given, beginning })
    }
}
