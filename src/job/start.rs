//! From a plan to a running job: both services found, the tables made, what a stopped job remembered made again.

use std::time::Duration;

use tracing::{debug, info};

use crate::clock::Stopwatch;
use crate::source::{Source, Topic, Until};
use crate::store::{Store, StoreError};

use super::plan::Plan;
use super::recover::recover;
use super::references::References;
use super::run::{RunError, RunOptions};
use super::state::JobState;

/// Connects to both services, becomes the writer, and finds out where to go on.
pub(super) fn start(plan: &mut Plan, options: &RunOptions<'_>) -> Result<Started, RunError> {
    let (spec, address) = (plan.job.source.clone(), plan.job.store.address());
    let mut store = patiently(&address, options, || Store::connect(&plan.job.store, &plan.job.name))?;
    let topic = Topic::connect(&spec, options.connect_timeout, options.stopped)?;
    patiently(&address, options, || store.become_writer())?;
    let new = patiently(&address, options, || store.absent(&plan.tables))?;
    patiently(&address, options, || store.migrate(&plan.tables))?;
    let bounds = topic.bounds()?;
    let starts = topic.starts(spec.start, &bounds)?;
    let positions = patiently(&address, options, || store.claim(&spec.topic, &starts))?;
    let resume = patiently(&address, options, || store.resume(&spec.topic))?;
    patiently(&address, options, || store.keep_snapshots_of(&plan.kept_names()))?;
    let mut references = None;
    patiently(&address, options, || {
        references = Some(References::start(plan, &mut store)?);
        Ok(())
    })?;
    let references = references.unwrap_or_else(|| panic!("it was started or an error was returned"));
    let mut state = JobState::new(resume, plan, &positions);
    state.waiting_since = (options.until == Until::Stopped).then(|| options.clock.now());
    let memory = state.memory.clone();
    (state.memory, state.owed) = recover(plan, &mut store, &topic, memory, state.last_batch, &new, options)?;
    let source = Source::start(topic, &spec, plan.job.trigger, &positions, &bounds, options.until)?;
    info!(job = plan.job.name, batch = %state.last_batch, store = store.address(), "running");
    Ok(Started { store, source, state, references })
}

/// What a run works with.
pub(super) struct Started {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) state: JobState,
    pub(super) references: References,
}

/// Does what the store must do at the start, trying again until the timeout has passed.
fn patiently<T>(
    address: &str,
    options: &RunOptions<'_>,
    mut work: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, RunError> {
    let waiting = Stopwatch::start();
    loop {
        match work() {
            Err(StoreError::Unavailable(reason)) => {
                if waiting.left_of(options.connect_timeout).is_zero() || (options.stopped)() {
                    let address = address.to_owned();
                    return Err(RunError::StoreUnreachable { address, waited: options.connect_timeout, reason });
                }
                debug!(reason, "the store does not answer yet");
                std::thread::sleep(Duration::from_millis(100));
            }
            done => return Ok(done?),
        }
    }
}
