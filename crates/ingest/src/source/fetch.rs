//! The fetch thread: polls, hands over what is to be decoded, closes batches, pauses when the loop cannot keep up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tracing::{info, warn};

use super::contact::Contact;
use super::merge::{Merge, Situation};
use super::stall::Stalls;

use wardwatch_config::{SourceSpec, Trigger};
use wardwatch_kafka::{Bounds, Consumer, KafkaError, Polled, Reader, Received};
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::terms::{Offset, OffsetRange, Partition, Positions, Ranges};

use super::assemble::Assembly;
use super::batch::{MicroBatch, Unread};
use super::error::SourceError;
use super::held::Held;
use super::owned::OwnedRecord;
use crate::decode::{Decoder, RawRecord, Reshaping, registries};

/// Whether the source ends when it has read what was there when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It goes on until it is stopped.
    Stopped,
    /// It ends at the offsets that were the last when it started.
    CaughtUp,
}

/// How long to wait when there is nothing to read: a stop is noticed after it.
const TICK: Duration = Duration::from_millis(20);

/// How long to wait when there is something to do soon.
const SHORTEST: Duration = Duration::from_millis(1);

/// How often topics are asked for new partitions.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(5);

/// A loop that is behind for this long is stalled: fetching pauses, so that brokers need not serve what waits anyway.
/// A pause makes librdkafka drop what it has fetched ahead, so a backlog that keeps moving is better off without.
const STALLED: Duration = Duration::from_secs(2);

/// Who reads what is there and ends waits no longer for a schema.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// The clock is read once in so many records.
const RECORDS_PER_LOOK: usize = 256;

/// The fetch thread's state.
pub(super) struct Fetch {
    consumer: Arc<Consumer>,
    reader: Arc<Reader>,
    trigger: Trigger,
    assembly: Assembly,
    merge: Merge,
    held: Held,
    partitions: BTreeSet<Partition>,
    /// A closed batch for which the queue has no room yet.
    waiting: Option<MicroBatch>,
    /// When it was looked where each partition ends.
    started: Stopwatch,
    since_close: Stopwatch,
    since_look: Stopwatch,
    full_since: Option<Stopwatch>,
    paused: bool,
    disconnected: bool,
    until: Until,
    /// Where each partition ended when it was seen first; only of use with [`Until::CaughtUp`].
    ends: BTreeMap<Partition, Offset>,
    /// The partitions of which nothing waits to be read; with [`Until::CaughtUp`], of what was there at the start.
    at_end: BTreeSet<Partition>,
    stalls: Stalls,
    contact: Contact,
    /// What Kafka has deleted before it was read, and no batch tells yet.
    lost: Ranges,
}

type Sender = SyncSender<Result<MicroBatch, SourceError>>;

impl Fetch {
    pub(super) fn new(
        consumer: Arc<Consumer>,
        spec: &SourceSpec,
        (trigger, until): (Trigger, Until),
        positions: &Positions,
        bounds: &Bounds,
        reshaping: Option<&Reshaping>,
    ) -> Result<Self, SourceError> {
        let (mut reading, mut lost) = (positions.clone(), Ranges::new());
        for (partition, position) in &mut reading {
            if let Some((low, high)) = bounds.get(partition) {
                *position = reachable(&consumer, *partition, *position, (*low, *high), &mut lost)?;
            }
        }
        let reader = Arc::new(consumer.read(&reading)?);
        let ends: BTreeMap<_, _> = bounds.iter().map(|(partition, (_, high))| (*partition, *high)).collect();
        let registries = registries(spec);
        let decoder = Decoder::sharing(spec, &registries, consumer.topics()).reshaped_by(spec, reshaping);
        let mut assembly = Assembly::new(decoder, positions.clone())?;
        lost.iter().for_each(|(partition, range)| assembly.skip_to(*partition, range.end));
        let at_end = reading.iter().filter(|(p, position)| ends.get(p).is_none_or(|end| *position >= end));
        Ok(Self {
            at_end: at_end.map(|(partition, _)| *partition).collect(),
            partitions: assembly.partitions().collect(),
            assembly,
            merge: Merge::default(),
            held: Held::new(registries.into_values()),
            consumer,
            reader,
            trigger,
            waiting: None,
            started: Stopwatch::start(),
            since_close: Stopwatch::start(),
            since_look: Stopwatch::start(),
            full_since: None,
            paused: false,
            disconnected: false,
            until,
            ends,
            stalls: Stalls::default(),
            contact: Contact::new(),
            lost,
        })
    }

    pub(super) fn run(mut self, batches: &Sender, stop: &AtomicBool) {
        if let Err(error) = self.fetch(batches, stop) {
            // Without a listener there is nobody to tell.
            let _ = batches.send(Err(error));
        }
    }

    /// Ends when stopped, when nobody listens, or when caught up.
    fn fetch(&mut self, batches: &Sender, stop: &AtomicBool) -> Result<(), SourceError> {
        while !stop.load(Ordering::Relaxed) {
            self.read_some()?;
            let is_at_end = self.ends.keys().all(|partition| self.at_end.contains(partition));
            let is_all_read = is_at_end && self.merge.is_empty() && !self.held.is_holding();
            if self.until == Until::CaughtUp
                && let Some(reason) = self.held.waits_longer_than(LONGEST_HOLD)
            {
                return Err(SourceError::Registry(reason.to_owned()));
            }
            let caught_up = self.until == Until::CaughtUp && is_all_read;
            if self.waiting.is_none() && (caught_up || self.is_due()) {
                self.since_close = Stopwatch::start();
                // While it goes on, time passes for the loop even if nothing comes.
                if self.assembly.records() > 0 {
                    // Records of another topic look like those that follow.
                    self.consumer.check_ids()?;
                    self.contact.is_there();
                }
                let worth_telling =
                    self.assembly.records() > 0 || !self.lost.is_empty() || self.until == Until::Stopped;
                self.waiting = worth_telling.then(|| self.close());
            }
            if !self.offer(batches) {
                return Ok(());
            }
            self.pause_or_resume();
            if caught_up && self.waiting.is_none() && self.assembly.records() == 0 {
                return Ok(());
            }
            if self.since_look.elapsed() >= LOOK_FOR_PARTITIONS {
                self.since_look = Stopwatch::start();
                self.look_for_partitions()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> MicroBatch {
        let mut stalled = self.stalls.standing();
        stalled.extend(self.held.standing());
        let unread = Unread { kafka_away: self.contact.away(), stalled };
        let lost = std::mem::take(&mut self.lost);
        let is_read = |partition: &&Partition| !self.merge.has_buffered(**partition);
        let at_end = self.at_end.iter().filter(is_read).copied().collect();
        let batch = MicroBatch { unread, lost, ..self.assembly.close(&at_end) };
        match self.until {
            Until::Stopped => batch,
            // More may have come since; the next run takes it.
            Until::CaughtUp => MicroBatch { looked: Some(self.started), ..batch },
        }
    }

    fn is_due(&self) -> bool {
        self.is_full() || self.since_close.elapsed() >= self.trigger.every
    }

    fn is_full(&self) -> bool {
        self.assembly.records() >= self.trigger.max_rows || self.assembly.bytes() >= self.trigger.max_bytes
    }

    /// Polls until there is a reason to look around: nothing to read, enough read, or an error.
    fn read_some(&mut self) -> Result<(), SourceError> {
        let reader = Arc::clone(&self.reader);
        if self.held.is_holding() {
            self.merge.goes_on();
            match self.held.release() {
                Some(record) => drop(record.lend(|record| self.assembly.push(record))),
                None => std::thread::sleep(TICK),
            }
            return Ok(());
        }
        for _ in 0..RECORDS_PER_LOOK {
            // What librdkafka has fetched ahead waits in its own queue, which is bounded too.
            if self.is_full() {
                self.merge.goes_on();
                std::thread::sleep(SHORTEST);
                return Ok(());
            }
            if self.release() {
                return Ok(());
            }
            match reader.poll(Duration::ZERO) {
                Polled::Nothing => {
                    self.merge.gave_nothing();
                    // Not a poll that waits: it would wake for every single record.
                    std::thread::sleep(self.since_close.left_of(self.trigger.every).clamp(SHORTEST, TICK));
                    return Ok(());
                }
                Polled::Record(record) => {
                    self.disconnected = false;
                    self.merge.goes_on();
                    if self.push(&record) {
                        return Ok(());
                    }
                }
                trouble => return self.notice(trouble),
            }
        }
        Ok(())
    }

    fn push(&mut self, record: &Received<'_>) -> bool {
        let (partition, offset) = record.place();
        if self.until == Until::CaughtUp {
            let end = self.ends.get(&partition).copied().unwrap_or(Offset(0));
            if Offset(offset.0 + 1) >= end {
                self.at_end.insert(partition);
            }
            if offset >= end {
                return false; // came after the start; the next run takes it
            }
        } else {
            self.at_end.remove(&partition);
        }
        if !self.held.is_readable(record.payload()) {
            self.held.hold(OwnedRecord::of(record, self.assembly.headers()));
            return true;
        }
        let situation = Situation { partitions: &self.partitions, at_end: &self.at_end, now: now_millis() };
        if self.partitions.len() > 1 && self.merge.buffer(record, self.assembly.headers(), situation) {
            return false;
        }
        let headers: Vec<Option<&[u8]>> = self.assembly.headers().iter().map(|name| record.header(name)).collect();
        self.assembly.push(RawRecord {
            partition,
            offset,
            stamp: record.stamp(),
            key: record.key(),
            headers: &headers,
            payload: record.payload(),
        })
    }

    /// Takes the next records that were buffered and need not be any more. Returns whether a chunk is full with it.
    fn release(&mut self) -> bool {
        if self.merge.is_empty() {
            return false;
        }
        let mut is_chunk_full = false;
        let situation = Situation { partitions: &self.partitions, at_end: &self.at_end, now: now_millis() };
        while !is_chunk_full && let Some(buffered) = self.merge.release(situation) {
            is_chunk_full = buffered.record.lend(|record| self.assembly.push(record));
        }
        is_chunk_full
    }

    /// Hands the waiting batch over if there is room. Returns whether anybody listens.
    fn offer(&mut self, batches: &Sender) -> bool {
        let Some(batch) = self.waiting.take() else { return true };
        match batches.try_send(Ok(batch)) {
            Ok(()) => true,
            Err(TrySendError::Full(Ok(batch))) => {
                self.waiting = Some(batch);
                true
            }
            Err(_) => false,
        }
    }

    fn pause_or_resume(&mut self) {
        if !self.paused {
            let (ahead, wanted) = self.merge.take_pauses();
            self.consumer.set_paused_of(&ahead, true);
            self.consumer.set_paused_of(&wanted, false);
        }
        if self.is_full() {
            let since = *self.full_since.get_or_insert_with(Stopwatch::start);
            if !self.paused && since.elapsed() >= STALLED {
                self.consumer.set_paused(true);
                self.paused = true;
            }
        } else {
            self.full_since = None;
            if std::mem::take(&mut self.paused) {
                self.consumer.set_paused(false);
                self.merge.all_resumed();
            }
        }
    }

    /// Tells a passing trouble from one that ends the source.
    fn notice(&mut self, trouble: Polled<'_>) -> Result<(), SourceError> {
        match trouble {
            Polled::Nothing | Polled::Record(_) => {}
            Polled::End(partition) => drop(self.at_end.insert(partition)),
            Polled::SomeEnd => self.assign(&self.assembly.positions())?,
            Polled::OutOfRange(_) => {
                self.consumer.check_ids()?;
                self.reposition()?;
            }
            Polled::Refused(reason) => return Err(KafkaError::Refused(reason).into()),
            Polled::NoTopic(error) => {
                if !self.disconnected {
                    warn!(error, "a topic is gone; reading goes on when it is back");
                }
                self.disconnected = true;
            }
            Polled::Away(error) => {
                if !self.disconnected {
                    warn!(error, "Kafka does not answer; reading goes on when it does");
                }
                self.disconnected = true;
                self.contact.is_missed(error);
            }
        }
        Ok(())
    }

    /// Kafka no longer holds an offset that was asked for: goes on at the first one that it holds.
    fn reposition(&mut self) -> Result<(), SourceError> {
        let mut positions = self.assembly.positions();
        let told = self.lost.clone();
        for (partition, position) in &mut positions {
            match self.consumer.bounds_of(*partition) {
                Ok(bounds) => *position = reachable(&self.consumer, *partition, *position, bounds, &mut self.lost)?,
                Err(error) => {
                    warn!(%error, partition = %self.consumer.topics().show(*partition), "its bounds are unknown")
                }
            }
        }
        for (partition, range) in self.lost.iter().filter(|(partition, range)| told.get(partition) != Some(range)) {
            self.assembly.skip_to(*partition, range.end);
        }
        self.assign(&positions)
    }

    fn look_for_partitions(&mut self) -> Result<(), SourceError> {
        let now = match self.consumer.partitions(Duration::from_secs(1)) {
            Ok(now) => now,
            // A topic that is gone beside others is no silence of the brokers: its partitions stand still, and others may too.
            Err(KafkaError::NoTopic { .. }) if self.consumer.topics().names().len() > 1 => {
                self.contact.is_there();
                self.look_at_stalls();
                return Ok(());
            }
            Err(error) => {
                self.contact.is_refused(&error);
                return Ok(());
            }
        };
        if self.contact.away().is_some() {
            // Nobody could read while there was nobody to read from.
            self.stalls = Stalls::default();
        }
        self.contact.is_there();
        self.consumer.check_ids()?;
        self.look_at_stalls();
        let known: BTreeSet<Partition> = self.assembly.partitions().collect();
        let new: Vec<Partition> = now.into_iter().filter(|partition| !known.contains(partition)).collect();
        if !new.is_empty()
            && let Err(error) = self.consumer.find_ids()
        {
            self.contact.is_refused(&error);
            return Ok(());
        }
        let mut is_any_added = false;
        for partition in new {
            // Nobody has read it, so it is read from its first record whatever `start` says of the old ones.
            let Ok((low, high)) = self.consumer.bounds_of(partition) else { continue };
            info!(partition = %self.consumer.topics().show(partition), start = %low, "new partition");
            self.assembly.add_partition(partition, low);
            self.partitions.insert(partition);
            self.ends.insert(partition, high);
            is_any_added = true;
            if low >= high {
                self.at_end.insert(partition);
            }
        }
        if !is_any_added {
            return Ok(());
        }
        let positions = self.assembly.positions();
        self.assign(&positions)
    }

    /// Finds out which partitions stand still.
    fn look_at_stalls(&mut self) {
        if self.waiting.is_none() && !self.paused {
            // What is buffered waits for other partitions, and not for Kafka.
            let mut positions = self.assembly.positions();
            positions.retain(|partition, _| !self.merge.has_buffered(*partition));
            self.stalls.look(&self.consumer, &positions);
        }
    }

    fn assign(&mut self, positions: &Positions) -> Result<(), SourceError> {
        self.reader = Arc::new(self.consumer.read(positions)?);
        self.paused = false; // an assignment starts unpaused
        // What was buffered is not read by the positions, and comes again.
        self.merge.clear();
        self.held.clear();
        Ok(())
    }
}

fn now_millis() -> i64 {
    SystemClock.now().timestamp_millis()
}

/// `position`, or the first offset after it that Kafka still holds, of what lies between its `bounds`; then those before are `lost`.
fn reachable(
    consumer: &Consumer,
    partition: Partition,
    position: Offset,
    (low, high): (Offset, Offset),
    lost: &mut Ranges,
) -> Result<Offset, SourceError> {
    if position > high {
        return Err(SourceError::Recreated {
            topic: consumer.topics().name_of(partition).to_string(),
            partition: partition.number(),
            end: high,
            stored: position,
        });
    }
    if position < low {
        warn!(partition = %consumer.topics().show(partition), from = %position, to = %low, records = low.0 - position.0,
            "Kafka has deleted records that were not read; they are lost, keep the topic longer");
        lost.insert(partition, OffsetRange { start: position, end: low });
        return Ok(low);
    }
    Ok(position)
}
