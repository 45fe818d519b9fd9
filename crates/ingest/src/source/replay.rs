//! Reads again what was read before: logged batches in their boundaries.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use wardwatch_config::SourceSpec;
use wardwatch_kafka::{Consumer, KafkaError, Polled};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::{Offset, OffsetRange, Partition, Positions, Ranges};

use super::assemble::Assembly;
use super::batch::MicroBatch;
use super::error::SourceError;
use super::held::Held;
use super::owned::OwnedRecord;
use crate::decode::{Decoder, Reshaping, registries};

/// About so many records are read at a time; they are in memory together.
const GROUP: i64 = 200_000;

/// How long to wait when there is nothing to read.
const TICK: Duration = Duration::from_millis(5);

/// A batch that was read again.
#[derive(Debug)]
pub struct Repeated {
    /// Which of the batches asked for.
    pub index: usize,
    /// What it had, but for the records that Kafka has deleted since.
    pub batch: MicroBatch,
    /// How many records Kafka no longer holds.
    pub missing: i64,
}

/// Reads `batches` again, in their order, and hands each to `take`.
///
/// Whoever reads by `consumer` gets nothing more. Each partition's ranges must follow each other.
///
/// # Errors
/// What `take` says, or Kafka refuses. A broker that does not answer is waited for until `stopped`, and the rest is
/// left out then.
pub fn repeat<E: From<SourceError>>(
    consumer: &Consumer,
    (spec, reshaping): (&SourceSpec, Option<&Reshaping>),
    batches: &[Ranges],
    stopped: &dyn Fn() -> bool,
    take: &mut dyn FnMut(Repeated) -> Result<(), E>,
) -> Result<(), E> {
    let registries = registries(spec);
    let mut held = Held::new(registries.values().cloned());
    let mut from = 0;
    while from < batches.len() && !stopped() {
        let mut to = from;
        let mut records = 0;
        while to < batches.len() && (to == from || records < GROUP) {
            records += batches[to].values().map(length).sum::<i64>();
            to += 1;
        }
        let group = &batches[from..to];
        let decoder = Decoder::sharing(spec, &registries, consumer.topics()).reshaped_by(spec, reshaping);
        let mut assembly = Assembly::new(decoder, starts(group))?;
        let (mut read, lows) = read_spans(consumer, &spans(group), assembly.headers(), stopped)?;
        for (index, ranges) in (from..).zip(group) {
            let mut missing = 0;
            for (partition, range) in ranges {
                let records = read.entry(*partition).or_default();
                let wanted = take_range(records, *range);
                let low = lows.get(partition).copied().unwrap_or(range.start);
                missing += (low.min(range.end).0 - range.start.0).max(0);
                for record in wanted {
                    // What was read before can be read again, once the registry is there.
                    while !held.is_readable(record.payload.as_deref()) {
                        if stopped() {
                            return Ok(());
                        }
                        warn!("the schema registry does not answer; reading again goes on when it does");
                        std::thread::sleep(Duration::from_secs(1));
                    }
                    record.lend(|record| assembly.push(record));
                }
            }
            let mut batch = assembly.close(&ranges.keys().copied().collect());
            batch.ranges.clone_from(ranges);
            take(Repeated { index, batch, missing })?;
        }
        from = to;
    }
    Ok(())
}

fn length(range: &OffsetRange) -> i64 {
    range.end.0 - range.start.0
}

/// What the batches cover together.
fn spans(batches: &[Ranges]) -> Ranges {
    let mut spans = Ranges::new();
    for (partition, range) in batches.iter().flatten() {
        let span = spans.entry(*partition).or_insert(*range);
        span.end = span.end.max(range.end);
    }
    spans
}

fn starts(batches: &[Ranges]) -> Positions {
    spans(batches).into_iter().map(|(partition, span)| (partition, span.start)).collect()
}

/// Takes the records of `range` off the front.
fn take_range(records: &mut Vec<OwnedRecord>, range: OffsetRange) -> Vec<OwnedRecord> {
    let end = records.partition_point(|record| record.offset < range.end);
    let mut taken: Vec<OwnedRecord> = records.drain(..end).collect();
    taken.retain(|record| record.offset >= range.start);
    taken
}

/// What was read of each partition, and the first offset that Kafka still holds of it.
type Read = (BTreeMap<Partition, Vec<OwnedRecord>>, Positions);

fn read_spans(
    consumer: &Consumer,
    spans: &Ranges,
    headers: &[String],
    stopped: &dyn Fn() -> bool,
) -> Result<Read, SourceError> {
    let mut lows = Positions::new();
    let mut open: BTreeMap<Partition, Offset> = BTreeMap::new();
    let mut positions = Positions::new();
    for (partition, span) in spans {
        let (low, high) = match consumer.bounds_of(*partition) {
            // Its topic is gone, and with it all that it had.
            Err(KafkaError::NoTopic { .. }) => (span.end, span.end),
            bounds => bounds?,
        };
        lows.insert(*partition, low);
        let (start, end) = (span.start.max(low), span.end.min(high));
        if start < end {
            positions.insert(*partition, start);
            open.insert(*partition, end);
        }
    }
    let mut reader = consumer.read(&positions)?;
    let mut read: BTreeMap<Partition, Vec<OwnedRecord>> = BTreeMap::new();
    let mut waiting = Stopwatch::start();
    while !open.is_empty() && !stopped() {
        let mut is_to_be_read_anew = false;
        match reader.poll(TICK) {
            Polled::Nothing if waiting.elapsed() > Duration::from_secs(10) => {
                warn!("Kafka does not answer; reading again goes on when it does");
                waiting = Stopwatch::start();
            }
            Polled::Nothing => {}
            Polled::Record(message) => {
                waiting = Stopwatch::start();
                let (partition, offset) = message.place();
                let Some(end) = open.get(&partition).copied() else { continue };
                positions.insert(partition, Offset(offset.0 + 1));
                if offset < end {
                    read.entry(partition).or_default().push(OwnedRecord::of(&message, headers));
                }
                if Offset(offset.0 + 1) >= end {
                    open.remove(&partition);
                }
            }
            Polled::End(partition) => drop(open.remove(&partition)),
            Polled::SomeEnd => is_to_be_read_anew = true,
            Polled::OutOfRange(error) | Polled::NoTopic(error) | Polled::Refused(error) | Polled::Away(error) => {
                warn!(error, "reading again");
            }
        }
        if is_to_be_read_anew {
            positions.retain(|partition, _| open.contains_key(partition));
            reader = consumer.read(&positions)?;
        }
    }
    Ok((read, lows))
}
