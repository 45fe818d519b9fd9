//! From a plan to a running job: both services found, the tables made, what a stopped job remembered made again.

use tracing::info;

use crate::notify::Notifier;
use crate::source::{Source, Topic, Until};
use crate::store::{Edited, Store};

use super::plan::Plan;
use super::recover::recover;
use super::references::{References, read_references};
use super::retry::Retry;
use super::run::{RunError, RunOptions};
use super::state::JobState;

/// Connects to both services, becomes the writer, and finds out where to go on.
pub(super) fn start(plan: &mut Plan, options: &RunOptions<'_>) -> Result<Started, RunError> {
    let (spec, url) = (plan.job.source.clone(), plan.job.store.clone());
    let retry = Retry::at_start(&url, options.connect_timeout, options.stopped);
    let mut store = retry.until_done(|| Store::connect(&plan.job.store, &plan.job.name))?;
    let topic = Topic::connect(&spec, options.connect_timeout, options.stopped)?;
    retry.until_done(|| store.become_writer())?;
    let new = retry.until_done(|| store.absent(&plan.tables))?;
    retry.until_done(|| store.migrate(&plan.tables))?;
    let bounds = topic.bounds()?;
    let starts = topic.starts(spec.start, &bounds)?;
    let positions = retry.until_done(|| store.claim(&spec.topic, &starts))?;
    let resume = retry.until_done(|| store.resume(&spec.topic))?;
    retry.until_done(|| store.keep_snapshots_of(&plan.kept_names()))?;
    let (read, odd) = retry.until_done(|| read_references(plan, &mut store))?;
    let references = References::start(&plan.job, read)?;
    let mut state = JobState::new(resume, plan, &positions);
    if !odd.is_empty() {
        tracing::error!(rows = odd.len(), "rows of reference tables cannot be read; they count for nothing");
        let at = state.next_now(options.clock.now());
        state.edits.note(Edited { at, files: vec!["seeds".to_owned()], error: odd.join("\n") });
    }
    state.waiting_since = (options.until == Until::Stopped).then(|| options.clock.now());
    recover(plan, &mut store, &topic, &mut state, &new, options, &retry)?;
    let source = Source::start(topic, &spec, plan.job.trigger, &positions, &bounds, options.until)?;
    let notifier = retry.until_done(|| Notifier::start(&plan.job, &mut store, &options.clock))?;
    info!(job = plan.job.name, batch = %state.last_batch, store = store.address(), "running");
    Ok(Started { store, source, state, references, notifier })
}

/// What a run works with.
pub(super) struct Started {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) state: JobState,
    pub(super) references: References,
    pub(super) notifier: Notifier,
}
