//! From a plan to a running job: both services found, the tables made, what a stopped job remembered made again.

use std::sync::Arc;

use tracing::{error, info, warn};

use wardwatch_ingest::source::{Source, Until};
use wardwatch_kafka::{Bounds, Consumer, KafkaError};
use wardwatch_model::clock::SteadyClock;
use wardwatch_model::terms::Positions;
use wardwatch_model::topics::Topics;
use wardwatch_notify::Notifier;
use wardwatch_store::{Edited, Store, TableSpec};

use super::error::RunError;
use super::lease::Lease;
use super::needs::begins_earliest;
use super::options::{ReplacedTopic, RunOptions, Standby};
use super::plan::Plan;
use super::recover::recover;
use super::references::{References, read_references};
use super::retry::Retry;
use super::state::JobState;

/// What only one process of a job has at a time.
pub(super) struct Admission {
    pub(super) store: Store,
    pub(super) consumer: Consumer,
    pub(super) lease: Lease,
}

/// Connects to both services and becomes the writer; waits for that, if so asked. `None` where it was stopped meanwhile.
pub(super) fn be_admitted(plan: &Plan, options: &RunOptions<'_>) -> Result<Option<Admission>, RunError> {
    let job = &plan.job;
    let retry = Retry::at_start(&job.store, options.connect_timeout, options.stopped);
    let mut store = retry.until_done(|| Store::connect(&job.store, &job.name))?;
    let consumer = Consumer::connect(&job.source, options.connect_timeout, options.stopped)?;
    let waiting = match options.standby {
        Standby::Stop => retry,
        Standby::Wait => options.retry(),
    };
    let lease = Lease::take(&mut store, job, options.standby, &waiting)?;
    Ok(lease.map(|lease| Admission { store, consumer, lease }))
}

/// Finds out where to go on.
pub(super) fn start(
    plan: &mut Plan,
    store: &mut Store,
    consumer: Consumer,
    options: &RunOptions<'_>,
) -> Result<Started, RunError> {
    let (spec, url) = (plan.job.source.clone(), plan.job.store.clone());
    let retry = Retry::at_start(&url, options.connect_timeout, options.stopped);
    mark_earliest(plan, store, &retry)?;
    retry.until_done(|| store.migrate(&plan.tables))?;
    retry.until_done(|| store.fence_others())?;
    plan.topics.take_over(retry.until_done(|| store.topics(&spec.topics))?);
    let consumer = consumer.with_numbers(&plan.topics)?;
    same_topics(store, &consumer, options, &retry)?;
    let bounds = consumer.bounds()?;
    let known = retry.until_done(|| store.positions(&plan.topics))?;
    let starts = consumer.starts(spec.start, &bounds, &known)?;
    let positions = retry.until_done(|| store.claim(&plan.topics, &starts))?;
    let resume = retry.until_done(|| store.resume(&plan.topics))?;
    retry.until_done(|| store.keep_snapshots_of(&plan.kept_names()))?;
    let specs: Vec<_> = plan.references.iter().map(|reference| reference.spec.clone()).collect();
    let lost = retry.until_done(|| store.lost_references(specs.iter()))?;
    let (read, odd) = retry.until_done(|| read_references(plan, store))?;
    let references = References::start(&plan.job, read)?;
    let mut clock = SteadyClock::new(Arc::clone(&options.clock), resume.last_now);
    let mut state = JobState::new(resume, plan, &positions);
    for (table, changes) in &lost {
        error!(
            table,
            changes, "the table is gone and is made from its seed; what people had changed in it does not count"
        );
    }
    state.lost_references = lost;
    if !odd.is_empty() {
        error!(rows = odd.len(), "rows of reference tables cannot be read; they count for nothing");
        let at = state.after_last(clock.now());
        state.edits.note(Edited { at, files: vec!["seeds".to_owned()], error: odd.join("\n") });
    }
    state.waiting_since = (options.until == Until::Stopped).then(|| clock.now());
    retry.until_done(|| state.attaching.read_waiting(store))?;
    recover(plan, store, &consumer, &mut state, options, &retry)?;
    consumer.check_ids()?;
    if let Some(last_now) = state.last_now {
        state.memory.streams.resume(last_now);
    }
    // Recovery may have taken long, and more has come; partitions that are new are found by whoever reads.
    let later = consumer.bounds().unwrap_or_default();
    let bounds: Bounds = bounds.into_iter().map(|(p, known)| (p, later.get(&p).copied().unwrap_or(known))).collect();
    tell_of_gone(&positions, &bounds, &plan.topics);
    let source =
        Source::start(consumer, &spec, plan.job.trigger, &positions, &bounds, options.until, plan.reshaping())?;
    let notifier = retry.until_done(|| Notifier::start(&plan.job, store, options.health, &options.clock))?;
    info!(job = plan.job.name, batch = %state.last_batch, store = store.address(), "running");
    Ok(Started { source, state, clock, references, notifier })
}

/// Writes down which tables of new queries are to hold windows from the earliest record on, before there are such tables: that they
/// are new could not be told afterwards.
///
/// Errors: the store does not answer.
pub(super) fn mark_earliest(plan: &Plan, store: &mut Store, retry: &Retry<'_>) -> Result<(), RunError> {
    let tables: Vec<TableSpec> =
        plan.tables.iter().filter(|table| begins_earliest(plan, &table.name)).cloned().collect();
    let new: Vec<String> = retry.until_done(|| store.absent(&tables))?.into_iter().collect();
    if new.is_empty() {
        return Ok(());
    }
    retry.until_done(|| store.migrate(&[]))?;
    retry.until_done(|| store.begin_earliest(&new))
}

/// Makes sure that the topics are those whose offsets the store keeps, or parts with the others if so asked.
///
/// Errors: [`KafkaError::Replaced`]; a service does not answer.
fn same_topics(
    store: &mut Store,
    consumer: &Consumer,
    options: &RunOptions<'_>,
    retry: &Retry<'_>,
) -> Result<(), RunError> {
    consumer.find_ids()?;
    for (_, topic) in consumer.topics().names() {
        same_topic(store, consumer, &topic, options, retry)?;
    }
    Ok(())
}

fn same_topic(
    store: &mut Store,
    consumer: &Consumer,
    name: &str,
    options: &RunOptions<'_>,
    retry: &Retry<'_>,
) -> Result<(), RunError> {
    let was = retry.until_done(|| store.topic_id(name))?;
    let is = consumer.topics().id_of(name).map(|id| id.to_string());
    let is_replaced = was.is_some() && is.is_some() && was != is;
    let way = match options.new_topic {
        // Whoever reads by a pattern takes topics as they come, and one that was made anew is to cost no other one.
        ReplacedTopic::Refuse if is_replaced && !consumer.is_named(name) => ReplacedTopic::GoOn,
        way => way,
    };
    match (way, &was, &is) {
        (ReplacedTopic::Refuse, Some(was), Some(is)) if is_replaced => {
            return Err(KafkaError::Replaced { topic: name.to_owned(), was: was.clone(), is: is.clone() }.into());
        }
        (ReplacedTopic::GoOn, ..) if is_replaced || (was.is_none() && ends_before(store, consumer, name, retry)?) => {
            warn!(topic = name, was, is, "going on with the new topic; what was not read of the old one is lost");
            retry.until_done(|| store.part_with_topic(name))?;
        }
        (ReplacedTopic::GoOn, ..) => info!(topic = name, "this is the topic that was read before; it goes on as ever"),
        (ReplacedTopic::Refuse, None, Some(is)) => retry.until_done(|| store.note_topic_id(name, is))?,
        (ReplacedTopic::Refuse, ..) => {}
    }
    Ok(())
}

/// Whether the store has read further than the topic reaches.
fn ends_before(store: &mut Store, consumer: &Consumer, name: &str, retry: &Retry<'_>) -> Result<bool, RunError> {
    let topics = consumer.topics();
    let (bounds, known) = (consumer.bounds()?, retry.until_done(|| store.positions(topics))?);
    let mut of_topic = known.iter().filter(|(partition, _)| *topics.name_of(**partition) == *name);
    Ok(of_topic.any(|(partition, position)| bounds.get(partition).is_none_or(|(_, end)| position > end)))
}

/// Tells of partitions that Kafka does not have any more: a topic of a pattern may be gone. They are asked for all the same, so that time
/// passes for their patients, whose values grow old, and the ward is told that nothing is read of them.
fn tell_of_gone(positions: &Positions, bounds: &Bounds, topics: &Topics) {
    for (partition, position) in positions.iter().filter(|(partition, _)| !bounds.contains_key(partition)) {
        error!(partition = %topics.show(*partition), next_offset = %position, "Kafka has no such partition any more; the others are read");
    }
}

/// What a run works with.
pub(super) struct Started {
    pub(super) source: Source,
    pub(super) state: JobState,
    /// What batches have their `now` from.
    pub(super) clock: SteadyClock,
    pub(super) references: References,
    pub(super) notifier: Notifier,
}
