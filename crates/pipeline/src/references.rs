//! Reference tables, read again every while on a thread of their own: a slow store must not hold up a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use tracing::{error, info, warn};

use wardwatch_config::{Job, StoreUrl};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::telemetry::Panicked;
use wardwatch_model::terms::BatchId;
use wardwatch_store::{Edited, ReferenceChange, Store, StoreError};

use super::error::RunError;
use super::plan::{Plan, Reference};
use super::state::Edits;

/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// The reference tables that queries see, and the thread that reads them again.
#[derive(Debug)]
pub(super) struct References {
    /// As queries see them.
    seen: Vec<Reference>,
    /// Which tables are to be read, counted by how often that has changed.
    generation: u64,
    orders: Sender<Order>,
    found: Receiver<Found>,
    /// Why they cannot be read again, where they cannot.
    unread: Option<String>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The tables to read from now on, as they are known.
#[derive(Debug)]
struct Order {
    generation: u64,
    known: Vec<Reference>,
}

/// A reference table that is another than before.
#[derive(Debug)]
struct Found {
    generation: u64,
    table: String,
    news: News,
}

#[derive(Debug)]
enum News {
    Rows(RecordBatch, Vec<ReferenceChange>),
    /// What is wrong with its rows now; nothing any more where that is empty.
    Odd(Vec<String>),
    /// Why no table can be read again, though the store answers; they can where that is empty.
    Unread(String),
}

/// Makes the reference tables that the store lacks, with their rows, reads all, and has the plan see them. Returns what was read,
/// and what is wrong with rows that had to be left out.
///
/// Errors: the store does not answer, or has an incompatible table, or one that must be changed and is in use.
pub(super) fn read_references(plan: &mut Plan, store: &mut Store) -> Result<(Vec<Reference>, Vec<String>), StoreError> {
    let (mut read, mut odd) = (Vec::new(), Vec::new());
    for Reference { spec, rows } in plan.references.clone() {
        store.seed(&spec, &rows)?;
        let (rows, faults) = store.read_reference(&spec, &rows.schema())?;
        plan.set_reference(&spec.name, &rows);
        read.push(Reference { spec, rows });
        odd.extend(faults);
    }
    Ok((read, odd))
}

impl References {
    /// Goes on reading the tables that were read.
    ///
    /// Errors: the operating system has no thread to give; limits that nobody reads would hold for ever.
    pub(super) fn start(job: &Job, read: Vec<Reference>) -> Result<Self, RunError> {
        let (orders, next) = channel();
        let (sender, found) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            url: job.store.clone(),
            job: job.name.clone(),
            every: job.sql.reference_refresh,
            order: Order { generation: 0, known: read.clone() },
            odd: Vec::new(),
            orders: next,
            sender,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("references".to_owned()).spawn(move || reader.run());
        let thread = Some(thread.map_err(RunError::Thread)?);
        Ok(Self { seen: read, generation: 0, orders, found, unread: None, stop, thread })
    }

    /// Why the tables cannot be read again, so that queries go on with the rows of before; `None` where they can.
    pub(super) fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    /// Lets the queries see what has changed, from `batch` on, and has it told with that.
    ///
    /// Errors: nobody reads the tables any more.
    pub(super) fn take_over(
        &mut self,
        plan: &mut Plan,
        batch: BatchId,
        now: DateTime<Utc>,
        edits: &mut Edits,
    ) -> Result<(), RunError> {
        for Found { generation, table, news } in self.found.try_iter() {
            if generation != self.generation {
                continue; // of the set before the last edit
            }
            match news {
                News::Rows(rows, changes) => {
                    info!(table, rows = rows.num_rows(), changed = changes.len(), %batch, "reference table changed");
                    plan.set_reference(&table, &rows);
                    if let Some(seen) = self.seen.iter_mut().find(|seen| seen.spec.name == table) {
                        seen.rows = rows;
                    }
                    edits.references.extend(changes);
                }
                News::Unread(reason) => self.unread = Some(reason).filter(|reason| !reason.is_empty()),
                News::Odd(faults) => edits.note(Edited { at: now, files: vec![table], error: faults.join("\n") }),
            }
        }
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(RunError::Panicked(Panicked::of("references")));
        }
        Ok(())
    }

    /// Goes on with the tables of an edited plan, as they were read for it. Where one is as before, the rows that queries see
    /// stand: what has changed of it since is told by the thread, once.
    pub(super) fn follow(&mut self, plan: &mut Plan, read: Vec<Reference>) -> Vec<ReferenceChange> {
        let mut changes = Vec::new();
        let next = read.into_iter().map(|mut next| {
            if let Some(seen) = self.seen.iter().find(|seen| seen.spec.name == next.spec.name) {
                match seen.rows.schema() == next.rows.schema() {
                    true => next.rows = seen.rows.clone(),
                    false => changes.extend(ReferenceChange::between(&next.spec, &seen.rows, &next.rows)),
                }
            }
            next
        });
        self.seen = next.collect();
        for Reference { spec, rows } in &self.seen {
            plan.set_reference(&spec.name, rows);
        }
        self.generation += 1;
        // A thread that has ended is told with the next batch.
        let _ = self.orders.send(Order { generation: self.generation, known: self.seen.clone() });
        changes
    }
}

impl Drop for References {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread for reference tables panicked");
        }
    }
}

struct Reader {
    url: StoreUrl,
    job: String,
    every: Duration,
    order: Order,
    /// What is wrong with rows, by table, as it was told.
    odd: Vec<(String, Vec<String>)>,
    orders: Receiver<Order>,
    sender: Sender<Found>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        let mut store: Option<Store> = None;
        let mut failing = false;
        while self.wait() {
            if let Some(order) = self.orders.try_iter().last() {
                self.order = order;
            }
            if self.order.known.is_empty() {
                continue;
            }
            let read = match &mut store {
                Some(store) => self.read(store),
                None => Store::connect(&self.url, &self.job).and_then(|new| self.read(store.insert(new))),
            };
            match read {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        self.tell_unread(String::new());
                    }
                }
                Err(error) if !failing => {
                    warn!(%error, "reference tables cannot be read; the rows of before stand");
                    failing = true;
                    // That the store is away is told by those who wait for it.
                    if !matches!(error, StoreError::Unavailable(_)) {
                        self.tell_unread(error.to_string());
                    }
                }
                Err(_) => {}
            }
        }
    }

    fn tell_unread(&self, reason: String) {
        // Without a listener the job is stopping.
        let _ = self.sender.send(Found {
            generation: self.order.generation,
            table: String::new(),
            news: News::Unread(reason),
        });
    }

    /// Returns false when it is time to stop.
    fn wait(&self) -> bool {
        let waiting = Stopwatch::start();
        while waiting.elapsed() < self.every {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(waiting.left_of(self.every).min(TICK));
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn read(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let Order { generation, known } = &mut self.order;
        let tell = |table: &str, news| {
            // Without a listener the job is stopping.
            let _ = self.sender.send(Found { generation: *generation, table: table.to_owned(), news });
        };
        for Reference { spec, rows } in known {
            let (found, odd) = store.read_reference(spec, &rows.schema())?;
            if found != *rows {
                let changes = ReferenceChange::between(spec, rows, &found);
                rows.clone_from(&found);
                tell(&spec.name, News::Rows(found, changes));
            }
            let told = self.odd.iter().position(|(table, _)| *table == spec.name);
            if told.map_or(&[][..], |told| &self.odd[told].1) != odd {
                error!(
                    table = spec.name,
                    rows = odd.len(),
                    "rows of a reference table cannot be read; they count for nothing"
                );
                if let Some(told) = told {
                    self.odd.swap_remove(told);
                }
                self.odd.push((spec.name.clone(), odd.clone()));
                tell(&spec.name, News::Odd(odd));
            }
        }
        Ok(())
    }
}
