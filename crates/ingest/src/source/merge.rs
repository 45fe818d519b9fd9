//! Merges partitions by Kafka's stamps while a backlog is read, so that a patient whose devices write to several partitions is judged
//! in about the order in which the records came, as if the job had never stopped.
//!
//! Kafka promises no order across partitions: a backlog comes a megabyte of one, then a megabyte of the next. A record that is ahead of
//! a partition from which older ones may still come is buffered here until that one has caught up, has nothing more, or gives nothing.
//! Records that have just come are never buffered, nor are those without stamps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wardwatch_kafka::Received;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::Partition;

use super::owned::OwnedRecord;

/// Records that came no further apart than this may be read in any order, in milliseconds: so much does a batch hold at least as a rule.
const SLACK: i64 = 1_000;

/// Where nothing comes for so long though it is asked for, partitions are not waited for, each until it gives something.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many bytes may be buffered of all partitions together; each has its share of it, and this at least.
const MOST_BUFFERED: usize = 64 << 20;
const LEAST_SHARE: usize = 256 << 10;

/// A record that waits for older ones of other partitions.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) record: OwnedRecord,
    /// The greatest stamp of its partition up to it.
    order: i64,
}

/// What is buffered, and how far each partition has got.
#[derive(Debug, Default)]
pub(super) struct Merge {
    queues: BTreeMap<Partition, Queue>,
    /// Since when Kafka's client has had nothing whenever it was asked.
    nothing_since: Option<Stopwatch>,
}

#[derive(Debug)]
struct Queue {
    /// The greatest stamp that was read of it.
    read_to: i64,
    buffered: VecDeque<Buffered>,
    bytes: usize,
    /// Whether it is not waited for: it gave nothing for too long.
    is_given_up: bool,
    is_paused: bool,
}

impl Queue {
    fn new() -> Self {
        Self { read_to: i64::MIN, buffered: VecDeque::new(), bytes: 0, is_given_up: false, is_paused: false }
    }
}

/// What a source knows of its partitions when a record is to be let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'a> {
    /// All partitions that are read.
    pub(super) partitions: &'a BTreeSet<Partition>,
    /// Those of which nothing more waits with Kafka.
    pub(super) at_end: &'a BTreeSet<Partition>,
    /// Our time, in milliseconds since 1970.
    pub(super) now: i64,
}

impl Merge {
    /// Buffers a record if others that are older may still come. Returns whether it did.
    pub(super) fn buffer(&mut self, record: &Received<'_>, headers: &[String], situation: Situation<'_>) -> bool {
        let (partition, _) = record.place();
        let Some(order) = self.reach(partition, record.stamp()) else { return false };
        if !self.waits(partition, order, situation) {
            return false;
        }
        self.push(Buffered { record: OwnedRecord::of(record, headers), order });
        true
    }

    /// Takes note that Kafka's client had nothing when it was asked. While nobody asks, for the loop is busy, nobody is given up.
    pub(super) fn gave_nothing(&mut self) {
        if self.nothing_since.get_or_insert_with(Stopwatch::start).elapsed() >= PATIENCE {
            let waited_for = self.queues.values_mut().filter(|queue| queue.buffered.is_empty());
            waited_for.for_each(|queue| queue.is_given_up = true);
        }
    }

    /// Takes note that it had something, or was not asked.
    pub(super) fn goes_on(&mut self) {
        self.nothing_since = None;
    }

    /// Takes note of a stamp; returns how far its partition has got by it, if that is known.
    fn reach(&mut self, partition: Partition, stamp: Option<i64>) -> Option<i64> {
        let queue = self.queues.entry(partition).or_insert_with(Queue::new);
        queue.is_given_up = false;
        queue.read_to = queue.read_to.max(stamp?);
        Some(queue.read_to)
    }

    /// Whether a record that is to be read next of its partition would come before older ones of others.
    fn waits(&mut self, partition: Partition, order: i64, situation: Situation<'_>) -> bool {
        if self.queues.get(&partition).is_some_and(|queue| !queue.buffered.is_empty()) {
            return true;
        }
        self.is_ahead(partition, order, situation)
    }

    fn is_ahead(&mut self, partition: Partition, order: i64, situation: Situation<'_>) -> bool {
        order < situation.now.saturating_sub(SLACK)
            && situation
                .partitions
                .iter()
                .any(|other| *other != partition && self.bound(*other, situation).is_some_and(|bound| bound < order))
    }

    /// Up to which stamp nothing older comes of a partition; `None` where nothing does at all.
    fn bound(&mut self, partition: Partition, situation: Situation<'_>) -> Option<i64> {
        let is_at_end = situation.at_end.contains(&partition);
        let queue = match self.queues.get_mut(&partition) {
            Some(queue) => queue,
            None if is_at_end => return None,
            None => self.queues.entry(partition).or_insert_with(Queue::new),
        };
        match queue.buffered.front() {
            Some(next) => Some(next.order),
            None if is_at_end || queue.is_given_up => None,
            None => Some(queue.read_to.saturating_add(SLACK)),
        }
    }

    fn push(&mut self, buffered: Buffered) {
        let queue = self.queues.entry(buffered.record.partition).or_insert_with(Queue::new);
        queue.bytes += size(&buffered);
        queue.buffered.push_back(buffered);
    }

    /// The oldest record that is buffered and need not be any more.
    pub(super) fn release(&mut self, situation: Situation<'_>) -> Option<Buffered> {
        let next = |(partition, queue): (&Partition, &Queue)| Some((queue.buffered.front()?.order, *partition));
        let (order, partition) = self.queues.iter().filter_map(next).min()?;
        if self.is_ahead(partition, order, situation) {
            return None;
        }
        let queue = self.queues.get_mut(&partition)?;
        let buffered = queue.buffered.pop_front()?;
        queue.bytes -= size(&buffered);
        Some(buffered)
    }

    /// Whether records of a partition are buffered.
    pub(super) fn has_buffered(&self, partition: Partition) -> bool {
        self.queues.get(&partition).is_some_and(|queue| !queue.buffered.is_empty())
    }

    /// Whether any record is buffered.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.buffered.is_empty())
    }

    /// Lets go of what is buffered, which is to be read again.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.nothing_since = None;
    }

    /// The partitions of which so much is buffered that no more is to be fetched, or so little that more is.
    pub(super) fn take_pauses(&mut self) -> (Vec<Partition>, Vec<Partition>) {
        let share = (MOST_BUFFERED / self.queues.len().max(1)).max(LEAST_SHARE);
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (partition, queue) in &mut self.queues {
            if !queue.is_paused && queue.bytes > share {
                queue.is_paused = true;
                pause.push(*partition);
            } else if queue.is_paused && queue.bytes < share / 4 {
                queue.is_paused = false;
                resume.push(*partition);
            }
        }
        (pause, resume)
    }

    /// Takes note that all partitions are fetched again.
    pub(super) fn all_resumed(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.is_paused = false);
    }
}

fn size(buffered: &Buffered) -> usize {
    buffered.record.bytes() + size_of::<Buffered>()
}

#[cfg(test)]
mod tests {
    use wardwatch_model::terms::Offset;

    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn record(partition: Partition, stamp: Option<i64>, size: usize) -> OwnedRecord {
        OwnedRecord {
            partition,
            offset: Offset(0),
            stamp,
            key: None,
            headers: Vec::new(),
            payload: Some(vec![0; size]),
        }
    }

    fn partitions(numbers: &[i32]) -> BTreeSet<Partition> {
        numbers.iter().map(|number| Partition(*number)).collect()
    }

    /// Reads (partition, stamp) in this order; returns the order in which they are let through.
    fn read(records: &[(i32, i64)], ends: &[usize]) -> Vec<(i32, i64)> {
        let all = partitions(&[0, 1]);
        let mut at_end = BTreeSet::new();
        let (mut merge, mut through) = (Merge::default(), Vec::new());
        for (index, (partition, stamp)) in records.iter().enumerate() {
            let partition = Partition(*partition);
            let situation = Situation { partitions: &all, at_end: &at_end, now: NOW };
            let order = merge.reach(partition, Some(*stamp)).expect("it has a stamp");
            if merge.waits(partition, order, situation) {
                merge.push(Buffered { record: record(partition, Some(*stamp), 0), order });
            } else {
                through.push((partition.0, *stamp));
            }
            if ends.contains(&index) {
                at_end.insert(partition);
            }
            let situation = Situation { partitions: &all, at_end: &at_end, now: NOW };
            while let Some(buffered) = merge.release(situation) {
                through.push((buffered.record.partition.0, buffered.record.stamp.unwrap_or_default()));
            }
        }
        through
    }

    #[test]
    fn a_backlog_of_two_partitions_comes_in_the_order_of_stamps() {
        let (first, second) = ([(0, 10_000), (0, 30_000), (0, 50_000)], [(1, 20_000), (1, 40_000), (1, 60_000)]);
        let records: Vec<(i32, i64)> = first.into_iter().chain(second).collect();
        let mut sorted = records.clone();
        sorted.sort_by_key(|(_, stamp)| *stamp);
        assert_eq!(read(&records, &[2, 5]), sorted);
        let other_way: Vec<(i32, i64)> = second.into_iter().chain(first).collect();
        assert_eq!(read(&other_way, &[2, 5]), sorted);
    }

    #[test]
    fn a_record_that_has_just_come_is_not_buffered() {
        assert_eq!(read(&[(0, NOW - 500), (1, 20_000)], &[]), [(0, NOW - 500), (1, 20_000)]);
    }

    #[test]
    fn a_partition_that_gives_nothing_is_not_waited_for_long() {
        let all = partitions(&[0, 1]);
        let situation = Situation { partitions: &all, at_end: &BTreeSet::new(), now: NOW };
        let mut merge = Merge::default();
        let order = merge.reach(Partition(0), Some(10_000)).expect("it has a stamp");
        assert!(merge.waits(Partition(0), order, situation));
        merge.gave_nothing();
        std::thread::sleep(PATIENCE);
        assert!(merge.waits(Partition(0), order, situation), "nobody has asked it meanwhile");
        merge.gave_nothing();
        assert!(!merge.waits(Partition(0), order, situation));
        merge.reach(Partition(1), Some(5_000));
        assert!(merge.waits(Partition(0), order, situation), "it gives again");
    }

    #[test]
    fn what_is_buffered_is_bounded() {
        let mut merge = Merge::default();
        merge.push(Buffered { record: record(Partition(0), None, MOST_BUFFERED), order: 0 });
        assert_eq!(merge.take_pauses(), (vec![Partition(0)], vec![]));
        assert_eq!(merge.take_pauses(), (vec![], vec![]), "it is told once");
        let all = partitions(&[0]);
        assert!(merge.release(Situation { partitions: &all, at_end: &all, now: NOW }).is_some());
        assert_eq!(merge.take_pauses(), (vec![], vec![Partition(0)]));
    }
}
