//! Looks into the outbox for what nobody has taken, so that the loop can call others without asking the store itself.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use wardwatch_alert::{EpisodeId, Outstanding, Untaken};
use wardwatch_config::{Job, Outlet, StoreUrl};
use wardwatch_model::clock::Clock;
use wardwatch_store::{Store, StoreError};

/// How often it is looked while something waits; a commit that writes notifications is looked at once.
const LOOK: Duration = Duration::from_secs(2);

/// How often without anything that waits: a commit whose bell was lost.
const LOOK_IDLE: Duration = Duration::from_secs(30);

/// What was found, for whoever wants to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Board(Arc<Mutex<Arc<Outstanding>>>);

impl Board {
    pub(super) fn newest(&self) -> Arc<Outstanding> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, outstanding: Outstanding) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(outstanding);
    }
}

/// A notice of an episode.
type Key = (EpisodeId, u32);

/// What the thread works with.
pub(super) struct Watch {
    url: StoreUrl,
    job: String,
    outlets: Vec<Outlet>,
    clock: Arc<dyn Clock>,
    rings: Receiver<()>,
    board: Board,
    store: Option<Store>,
    /// What waited when it was looked last.
    waiting: BTreeMap<Key, Untaken>,
    /// What is not tried any more; nothing is known of it before the first look, and after one that failed.
    given_up: Option<BTreeMap<Key, Untaken>>,
    is_told: bool,
}

impl Watch {
    pub(super) fn new(job: &Job, clock: Arc<dyn Clock>, rings: Receiver<()>, board: Board) -> Self {
        Self {
            url: job.store.clone(),
            job: job.name.clone(),
            outlets: job.notify.clone(),
            clock,
            rings,
            board,
            store: None,
            waiting: BTreeMap::new(),
            given_up: None,
            is_told: false,
        }
    }

    /// Looks until nobody is left to ring.
    pub(super) fn run(mut self) {
        loop {
            match self.look() {
                Ok(()) => self.is_told = false,
                Err(error) => {
                    self.store = None;
                    if !std::mem::replace(&mut self.is_told, true) {
                        warn!(%error, "it cannot be looked for what nobody has taken; trying again");
                    }
                }
            }
            let is_idle = self.store.is_some()
                && self.waiting.is_empty()
                && self.given_up.as_ref().is_some_and(BTreeMap::is_empty);
            match self.rings.recv_timeout(if is_idle { LOOK_IDLE } else { LOOK }) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::connect(&self.url, &self.job)?,
        };
        let mut given_up = match self.given_up.take() {
            Some(given_up) => given_up,
            None => keyed(store.given_up(&self.outlets)?),
        };
        // What is delivered while it is looked is older than what is found.
        let looked_at = self.clock.now();
        let waiting = keyed(store.untaken(&self.outlets)?);
        let gone: Vec<Untaken> = self
            .waiting
            .iter()
            .filter(|(key, _)| !waiting.contains_key(key))
            .map(|(_, notice)| notice.clone())
            .collect();
        let is_taken = store.taken_among(&gone, &self.outlets)?;
        let lost = gone.into_iter().zip(is_taken).filter(|(_, is_taken)| !is_taken).map(|(notice, _)| notice);
        given_up.extend(keyed(lost.map(|notice| Untaken { is_given_up: true, ..notice }).collect()));
        if !given_up.is_empty() {
            let standing = store.open_episode_ids()?;
            given_up.retain(|(episode, _), _| standing.contains(episode));
        }
        let mut notices: Vec<Untaken> = waiting.values().chain(given_up.values()).cloned().collect();
        notices.sort_by_key(|notice| notice.written_at);
        self.board.put(Outstanding { looked_at, notices });
        (self.waiting, self.given_up, self.store) = (waiting, Some(given_up), Some(store));
        Ok(())
    }
}

fn keyed(notices: Vec<Untaken>) -> BTreeMap<Key, Untaken> {
    notices.into_iter().map(|notice| ((notice.episode.clone(), notice.number), notice)).collect()
}
