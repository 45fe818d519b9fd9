//! How far the job as a whole has got in event time: when windows close, and what time it is for the devices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::terms::{Partition, Watermark};

/// The watermark of each partition that has one.
pub type Watermarks = BTreeMap<Partition, Watermark>;

/// Event time after a batch. All of it is in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTime {
    /// How far each partition has got.
    pub watermarks: Watermarks,
    /// The frozen time of the last batch that had records of a partition.
    pub active: BTreeMap<Partition, DateTime<Utc>>,
    /// The least of the live partitions' watermarks: windows that end by it have closed. It only moves forward.
    pub watermark: Option<Watermark>,
    /// The devices' time: the newest event time, moved on by our clock while nothing comes. It only moves forward.
    pub now: Option<DateTime<Utc>>,
}

/// What a batch says of partitions.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The watermarks after its rows.
    pub watermarks: &'a Watermarks,
    /// The partitions of which it has records.
    pub active: &'a BTreeSet<Partition>,
    /// The partitions of which nothing waits to be read.
    pub at_end: &'a BTreeSet<Partition>,
    /// Whether windows wait for more all the same.
    pub keeps_windows: bool,
    /// All partitions.
    pub partitions: &'a BTreeSet<Partition>,
    /// Since when a partition that never had a record has been waited for; `None` where none will come.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Its frozen time.
    pub now: DateTime<Utc>,
}

/// How patient to be.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How far behind the newest event time a row may be.
    pub lateness: Duration,
    /// A partition at its end is idle when this time has passed since its last record.
    pub idle_timeout: Duration,
}

impl EventTime {
    /// Event time after a batch.
    ///
    /// The watermark is the minimum over live partitions. A partition is live unless it is at its end and idle; one that
    /// has records waiting is live however long it takes to read them.
    #[must_use]
    pub fn after(&self, seen: &Seen<'_>, patience: &Patience) -> Self {
        let mut active = self.active.clone();
        active.extend(seen.active.iter().map(|partition| (*partition, seen.now)));
        let after = Self { watermarks: seen.watermarks.clone(), active, ..self.clone() };
        let mut live = seen.partitions.iter().filter(|partition| after.is_live(**partition, seen, patience)).peekable();
        let least = match live.peek() {
            None => None,
            // A live partition of which nothing is known yet holds everything back.
            Some(_) => live.map(|partition| after.watermarks.get(partition).copied()).min().flatten(),
        };
        let now = after.partition_nows(seen, patience).into_values().max();
        Self { watermark: self.watermark.max(least), now: self.now.max(now), ..after }
    }

    /// The partition for which windows wait, and how far its newest event time is behind the devices' time. One that has been idle for
    /// too long is behind the watermark, and holds nothing.
    #[must_use]
    pub fn slowest(&self, patience: &Patience) -> Option<(Partition, TimeDelta)> {
        let (watermark, now) = self.watermark.zip(self.now)?;
        let holding = self.watermarks.iter().filter(|(_, own)| **own >= watermark);
        let (partition, least) = holding.min_by_key(|(_, own)| **own)?;
        Some((*partition, now - least.0.checked_add_signed(delta(patience.lateness))?))
    }

    /// Whether nothing has come from any partition for the idle timeout.
    #[must_use]
    pub fn is_silent(&self, seen: &Seen<'_>, patience: &Patience) -> bool {
        !self.active.is_empty() && !seen.partitions.iter().any(|partition| self.is_live(*partition, seen, patience))
    }

    fn is_live(&self, partition: Partition, seen: &Seen<'_>, patience: &Patience) -> bool {
        if seen.keeps_windows || !seen.at_end.contains(&partition) {
            return true;
        }
        let since = self.active.get(&partition).copied().or(seen.waiting_since);
        since.is_some_and(|since| silent_for(since, seen.now) < delta(patience.idle_timeout))
    }

    /// The devices' time of each partition: its newest event time, and the time that has passed since where nothing
    /// waits to be read.
    #[must_use]
    pub fn partition_nows(&self, seen: &Seen<'_>, patience: &Patience) -> BTreeMap<Partition, DateTime<Utc>> {
        let of = |(partition, watermark): (&Partition, &Watermark)| {
            let newest = watermark.0.checked_add_signed(delta(patience.lateness))?;
            let silent = self.active.get(partition).filter(|_| seen.at_end.contains(partition));
            let now =
                newest.checked_add_signed(silent.map_or(TimeDelta::zero(), |active| silent_for(*active, seen.now)));
            Some((*partition, now?))
        };
        self.watermarks.iter().filter_map(of).collect()
    }
}

impl EventTime {
    /// How long each partition has been silent of which nothing waits to be read.
    #[must_use]
    pub fn silences(&self, seen: &Seen<'_>) -> BTreeMap<Partition, TimeDelta> {
        let silent = self.active.iter().filter(|(partition, _)| seen.at_end.contains(partition));
        silent.map(|(partition, active)| (*partition, silent_for(*active, seen.now))).collect()
    }
}

fn silent_for(active: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    (now - active).max(TimeDelta::zero())
}

fn delta(length: Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { lateness: Duration::from_secs(10), idle_timeout: Duration::from_secs(30) };

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    /// Now, event times reached by partition, partitions at their end.
    type Batch<'a> = (i64, &'a [(i32, i64)], &'a [i32]);

    /// The watermark, the devices' time and whether there is silence after each batch.
    fn run(batches: &[Batch<'_>]) -> Vec<(Option<i64>, Option<i64>, bool)> {
        let partitions: BTreeSet<Partition> = [Partition(0), Partition(1)].into();
        let mut event_time = EventTime::default();
        let mut found = Vec::new();
        for (now, reached, at_end) in batches {
            let mut watermarks = event_time.watermarks.clone();
            watermarks.extend(reached.iter().map(|(p, time)| (Partition(*p), Watermark(second(time - 10)))));
            let seen = Seen {
                watermarks: &watermarks,
                active: &reached.iter().map(|(partition, _)| Partition(*partition)).collect(),
                at_end: &at_end.iter().map(|partition| Partition(*partition)).collect(),
                keeps_windows: false,
                partitions: &partitions,
                waiting_since: Some(second(990)),
                now: second(*now),
            };
            event_time = event_time.after(&seen, &PATIENCE);
            let seconds = |time: DateTime<Utc>| time.timestamp();
            found.push((
                event_time.watermark.map(|watermark| seconds(watermark.0)),
                event_time.now.map(seconds),
                event_time.is_silent(&seen, &PATIENCE),
            ));
        }
        found
    }

    #[test]
    fn the_slowest_live_partition_holds_the_watermark() {
        assert_eq!(run(&[(1000, &[(0, 500), (1, 300)], &[0, 1])]), [(Some(290), Some(500), false)]);
    }

    #[test]
    fn a_partition_that_waits_to_be_read_holds_it_and_one_that_never_had_a_record_does_so_for_a_while() {
        assert_eq!(run(&[(1020, &[(0, 500)], &[0])]), [(None, Some(500), false)]);
        assert_eq!(run(&[(1019, &[(0, 500)], &[0, 1])]), [(None, Some(500), false)]);
        assert_eq!(run(&[(1020, &[(0, 500)], &[0, 1])]), [(Some(490), Some(500), false)]);
    }

    #[test]
    fn an_idle_partition_lets_go_after_its_timeout() {
        let found = run(&[
            (1000, &[(0, 500), (1, 500)], &[0, 1]),
            (1020, &[(0, 520)], &[0, 1]),
            (1030, &[(0, 530)], &[0, 1]),
            (1031, &[(1, 505)], &[0, 1]),
        ]);
        let watermarks: Vec<_> = found.into_iter().map(|(watermark, ..)| watermark).collect();
        assert_eq!(watermarks, [Some(490), Some(490), Some(520), Some(520)]);
    }

    #[test]
    fn when_all_are_idle_there_is_silence_and_the_devices_time_goes_on() {
        let found = run(&[(1000, &[(0, 500), (1, 490)], &[0, 1]), (1029, &[], &[0, 1]), (1031, &[], &[0, 1])]);
        assert_eq!(found[1], (Some(480), Some(529), false));
        assert_eq!(found[2], (Some(480), Some(531), true));
    }
}
