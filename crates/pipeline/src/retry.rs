//! Trying again what a store that is not available has not done. It does not know what is done.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use wardwatch_config::StoreUrl;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::health::Health;
use wardwatch_store::StoreError;

use super::error::RunError;

/// The pauses between two tries grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Somebody is told about a stalled store this often.
const REMIND: Duration = Duration::from_secs(30);

/// How long something is tried again, and what ends it.
#[derive(Clone, Copy)]
pub(super) struct Retry<'a> {
    pub(super) stopped: &'a dyn Fn() -> bool,
    until: Until<'a>,
}

/// For how long something is tried again.
#[derive(Clone, Copy)]
enum Until<'a> {
    /// Until it is done; whoever looks at the job's health learns how that goes.
    Done(&'a Health),
    /// Until so much time has passed.
    Passed(&'a StoreUrl, Duration),
}

impl<'a> Retry<'a> {
    /// However long it takes; only a fence and `stopped` end it.
    ///
    /// A wrong password, or a table of ours that somebody is changing, is waited for too: the batch is safe in Kafka
    /// meanwhile, and its queries would have to run again.
    pub(super) fn endless(stopped: &'a dyn Fn() -> bool, health: &'a Health) -> Self {
        Self { stopped, until: Until::Done(health) }
    }

    /// Until `timeout` has passed; what the store refuses is told at once, for somebody is looking on.
    pub(super) fn at_start(store: &'a StoreUrl, timeout: Duration, stopped: &'a dyn Fn() -> bool) -> Self {
        Self { stopped, until: Until::Passed(store, timeout) }
    }

    /// Does what the store must do, trying again until it is done. `work` may run more than once.
    ///
    /// Errors: a fence; given up, because it was stopped or the time is over; at a start, what cannot pass.
    pub(super) fn until_done<T>(&self, work: impl FnMut() -> Result<T, StoreError>) -> Result<T, RunError> {
        match self.until {
            Until::Done(health) => Ok(self.without_limit(health, work)?),
            Until::Passed(store, timeout) => self.within(store, timeout, work),
        }
    }

    fn within<T>(
        &self,
        store: &StoreUrl,
        timeout: Duration,
        mut work: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, RunError> {
        let waiting = Stopwatch::start();
        loop {
            let trouble = match work() {
                Err(trouble) if trouble.is_transient() => trouble,
                done => return Ok(done?),
            };
            if waiting.left_of(timeout).is_zero() || (self.stopped)() {
                return Err(match trouble {
                    StoreError::Unavailable(reason) => {
                        RunError::StoreUnreachable { address: store.address(), waited: timeout, reason }
                    }
                    blocked => blocked.into(),
                });
            }
            debug!(%trouble, "the store does not answer yet");
            // Each time that a table in use is asked for, others wait for a moment too.
            let pause = if matches!(trouble, StoreError::Blocked(_)) { 2_000 } else { 100 };
            sleep(Duration::from_millis(pause).min(waiting.left_of(timeout)), self.stopped);
        }
    }

    fn without_limit<T>(
        &self,
        health: &Health,
        mut work: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut stall = Stall::new(self.stopped, health);
        loop {
            match work() {
                Ok(done) => {
                    stall.is_over();
                    return Ok(done);
                }
                Err(trouble) => stall.wait(trouble)?,
            }
        }
    }
}

/// A store that does not do what it must, for as long as it does not.
pub(super) struct Stall<'a> {
    stopped: &'a dyn Fn() -> bool,
    health: &'a Health,
    pause: Duration,
    since: Option<Stopwatch>,
    reminded: Stopwatch,
}

impl<'a> Stall<'a> {
    /// The store is about to be asked.
    pub(super) fn new(stopped: &'a dyn Fn() -> bool, health: &'a Health) -> Self {
        health.store_is_asked();
        Self { stopped, health, pause: Duration::from_millis(50), since: None, reminded: Stopwatch::start() }
    }

    /// Waits before the next try, and tells of it at once and then every while.
    ///
    /// Errors: a fence, or `stopped`.
    pub(super) fn wait(&mut self, trouble: StoreError) -> Result<(), StoreError> {
        if let StoreError::Fenced(_) = trouble {
            self.health.store_has_answered();
            return Err(trouble);
        }
        self.health.store_has_failed(trouble.complaint(), &trouble.to_string());
        if (self.stopped)() {
            return Err(StoreError::Unavailable(trouble.to_string()));
        }
        match &self.since {
            None => {
                warn!(error = %trouble, "the store does not take the batch; trying again until it does");
                self.since = Some(Stopwatch::start());
            }
            Some(since) if self.reminded.elapsed() >= REMIND => {
                error!(error = %trouble, stalled_seconds = since.elapsed().as_secs(), "the store is stalled");
                self.reminded = Stopwatch::start();
            }
            Some(_) => {}
        }
        sleep(self.pause, self.stopped);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Tells that the store does what it must again.
    pub(super) fn is_over(&self) {
        self.health.store_has_answered();
        if let Some(since) = &self.since {
            info!(stalled_seconds = since.elapsed().as_secs_f64(), "the store is back");
        }
    }
}

/// Sleeps, unless a stop is asked for meanwhile.
fn sleep(pause: Duration, stopped: &dyn Fn() -> bool) {
    let waiting = Stopwatch::start();
    while waiting.elapsed() < pause && !stopped() {
        std::thread::sleep(waiting.left_of(pause).min(Duration::from_millis(20)));
    }
}
