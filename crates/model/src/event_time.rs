//! How far the job as a whole has got in event time: when windows close, and what time it is for the devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::terms::{Partition, Watermark};

/// The watermark of each partition that has one.
pub type Watermarks = BTreeMap<Partition, Watermark>;

/// The watermarks of sources, by their tables.
pub type SourceWatermarks = BTreeMap<Arc<str>, Watermark>;

/// Event time after a batch. All of it is in the store, but for what a partition is waited for by, which is known better after a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTime {
    /// How far each partition has got.
    pub watermarks: Watermarks,
    /// The frozen time of the last batch that had records of a partition.
    pub active: BTreeMap<Partition, DateTime<Utc>>,
    /// The frozen time of the last batch since the start that had rows of a partition: heartbeats, and what cannot be read, are records
    /// for which no window waits.
    pub with_rows: BTreeMap<Partition, DateTime<Utc>>,
    /// The least of the watermarks of the first source's live partitions: its windows that end by it have closed. It only moves
    /// forward.
    pub watermark: Option<Watermark>,
    /// The same of all sources that have got anywhere, by their tables: which is the first may be said otherwise tomorrow.
    pub by_table: SourceWatermarks,
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
    /// Those of them of which it has rows.
    pub with_rows: &'a BTreeSet<Partition>,
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

/// How patient to be with a source.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Its table.
    pub table: Arc<str>,
    /// How far behind the newest event time a row may be.
    pub lateness: Duration,
    /// A partition at its end is idle when this time has passed since its last record.
    pub idle_timeout: Duration,
}

/// How patient to be with each source, and whose partitions are.
pub trait Sources {
    /// Each source, the first one first.
    fn patience(&self) -> &[Patience];
    /// The place of a partition's source.
    fn source_of(&self, partition: Partition) -> usize;
}

/// A source that is the only one.
impl Sources for Patience {
    fn patience(&self) -> &[Patience] {
        std::slice::from_ref(self)
    }

    fn source_of(&self, _: Partition) -> usize {
        0
    }
}

/// How patient to be with a partition.
fn patience_of(sources: &dyn Sources, partition: Partition) -> &Patience {
    let all = sources.patience();
    all.get(sources.source_of(partition)).unwrap_or(&all[0])
}

impl EventTime {
    /// Event time after a batch.
    ///
    /// A source's watermark is the minimum over its live partitions. A partition is live unless it is at its end and idle; one that
    /// has records waiting is live however long it takes to read them.
    #[must_use]
    pub fn after(&self, seen: &Seen<'_>, sources: &dyn Sources) -> Self {
        let mut active = self.active.clone();
        active.extend(seen.active.iter().map(|partition| (*partition, seen.now)));
        let mut with_rows = self.with_rows.clone();
        with_rows.extend(seen.with_rows.iter().map(|partition| (*partition, seen.now)));
        let mut after = Self { watermarks: seen.watermarks.clone(), active, with_rows, ..self.clone() };
        for (place, source) in sources.patience().iter().enumerate() {
            let own = seen.partitions.iter().filter(|partition| sources.source_of(**partition) == place);
            let mut live = own.filter(|partition| after.is_live(**partition, seen, source)).peekable();
            let least = match live.peek() {
                None => None,
                // A live partition of which nothing is known yet holds everything back.
                Some(_) => live.map(|partition| after.watermarks.get(partition).copied()).min().flatten(),
            };
            let least = if place == 0 { self.watermark.max(least) } else { least };
            if let Some(least) = least {
                let known = after.by_table.entry(Arc::clone(&source.table)).or_insert(least);
                *known = (*known).max(least);
            }
            if place == 0 {
                after.watermark = least;
            }
        }
        let now = after.partition_nows(seen, sources).into_values().max();
        Self { now: self.now.max(now), ..after }
    }

    /// The same where the first source is the one with this table.
    #[must_use]
    pub fn led_by(mut self, table: &str) -> Self {
        // Before there were several, only the first one's was kept.
        if !self.by_table.is_empty() {
            self.watermark = self.by_table.get(table).copied();
        }
        self
    }

    /// By when the windows of the source at this place have closed.
    #[must_use]
    pub fn watermark_of(&self, source: usize, sources: &dyn Sources) -> Option<Watermark> {
        if source == 0 {
            return self.watermark;
        }
        self.by_table.get(&sources.patience().get(source)?.table).copied()
    }

    /// The partition of the first source for which its windows wait, and how far its newest event time is behind the devices' time. One
    /// that has been idle for too long is behind the watermark, and holds nothing.
    #[must_use]
    pub fn slowest(&self, sources: &dyn Sources) -> Option<(Partition, TimeDelta)> {
        let (watermark, now) = self.watermark.zip(self.now)?;
        let own = self.watermarks.iter().filter(|(partition, _)| sources.source_of(**partition) == 0);
        let holding = own.filter(|(_, own)| **own >= watermark);
        let (partition, least) = holding.min_by_key(|(_, own)| **own)?;
        Some((*partition, now - least.0.checked_add_signed(delta(sources.patience()[0].lateness))?))
    }

    /// Whether nothing has come from any partition of a source for its idle timeout.
    #[must_use]
    pub fn is_silent(&self, source: usize, seen: &Seen<'_>, sources: &dyn Sources) -> bool {
        let is_own = |partition: &Partition| sources.source_of(*partition) == source;
        let patience = sources.patience();
        let patience = patience.get(source).unwrap_or(&patience[0]);
        self.active.keys().any(is_own)
            && !seen.partitions.iter().any(|partition| is_own(partition) && self.is_live(*partition, seen, patience))
    }

    fn is_live(&self, partition: Partition, seen: &Seen<'_>, patience: &Patience) -> bool {
        if seen.keeps_windows || !seen.at_end.contains(&partition) {
            return true;
        }
        let of_before = || self.active.get(&partition).filter(|_| self.watermarks.contains_key(&partition));
        let since = self.with_rows.get(&partition).or_else(of_before).copied().or(seen.waiting_since);
        since.is_some_and(|since| silent_for(since, seen.now) < delta(patience.idle_timeout))
    }

    /// The newest event time of each partition.
    #[must_use]
    pub fn newest(&self, sources: &dyn Sources) -> BTreeMap<Partition, DateTime<Utc>> {
        let newest = |(partition, watermark): (&Partition, &Watermark)| {
            let lateness = delta(patience_of(sources, *partition).lateness);
            Some((*partition, watermark.0.checked_add_signed(lateness)?))
        };
        self.watermarks.iter().filter_map(newest).collect()
    }

    /// The devices' time of each partition: its newest event time, and the time that has passed since where nothing
    /// waits to be read.
    #[must_use]
    pub fn partition_nows(&self, seen: &Seen<'_>, sources: &dyn Sources) -> BTreeMap<Partition, DateTime<Utc>> {
        let of = |(partition, newest): (Partition, DateTime<Utc>)| {
            let silent = self.active.get(&partition).filter(|_| seen.at_end.contains(&partition));
            let passed = silent.map_or(TimeDelta::zero(), |active| silent_for(*active, seen.now));
            Some((partition, newest.checked_add_signed(passed)?))
        };
        self.newest(sources).into_iter().filter_map(of).collect()
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

    fn patience(table: &str, lateness: u64, idle_timeout: u64) -> Patience {
        let (lateness, idle_timeout) = (Duration::from_secs(lateness), Duration::from_secs(idle_timeout));
        Patience { table: table.into(), lateness, idle_timeout }
    }

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    /// Now, event times reached by partition, partitions at their end.
    type Batch<'a> = (i64, &'a [(i32, i64)], &'a [i32]);

    /// The watermark, the devices' time and whether there is silence after each batch.
    fn run(batches: &[Batch<'_>]) -> Vec<(Option<i64>, Option<i64>, bool)> {
        let partitions: BTreeSet<Partition> = [Partition(0), Partition(1)].into();
        let sources = patience("vitals", 10, 30);
        let mut event_time = EventTime::default();
        let mut found = Vec::new();
        for (now, reached, at_end) in batches {
            let mut watermarks = event_time.watermarks.clone();
            let active = &reached.iter().map(|(partition, _)| Partition(*partition)).collect();
            watermarks.extend(reached.iter().map(|(p, time)| (Partition(*p), Watermark(second(time - 10)))));
            let seen = Seen {
                watermarks: &watermarks,
                active,
                with_rows: &reached.iter().map(|(partition, _)| Partition(*partition)).collect(),
                at_end: &at_end.iter().map(|partition| Partition(*partition)).collect(),
                keeps_windows: false,
                partitions: &partitions,
                waiting_since: Some(second(990)),
                now: second(*now),
            };
            event_time = event_time.after(&seen, &sources);
            let seconds = |time: DateTime<Utc>| time.timestamp();
            found.push((
                event_time.watermark.map(|watermark| seconds(watermark.0)),
                event_time.now.map(seconds),
                event_time.is_silent(0, &seen, &sources),
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

    /// Partition 0 is of the first source, 1 of the second.
    struct Two([Patience; 2]);

    impl Sources for Two {
        fn patience(&self) -> &[Patience] {
            &self.0
        }

        fn source_of(&self, partition: Partition) -> usize {
            usize::from(partition.0 == 1)
        }
    }

    #[test]
    fn a_source_that_is_behind_holds_its_own_windows_only() {
        let sources = Two([patience("vitals", 10, 30), patience("labs", 3600, 600)]);
        let partitions: BTreeSet<Partition> = [Partition(0), Partition(1)].into();
        let watermarks = [(Partition(0), Watermark(second(90_000))), (Partition(1), Watermark(second(40_000)))].into();
        let seen = Seen {
            watermarks: &watermarks,
            active: &partitions,
            with_rows: &partitions,
            at_end: &partitions,
            keeps_windows: false,
            partitions: &partitions,
            waiting_since: None,
            now: second(100_000),
        };
        let after = EventTime::default().after(&seen, &sources);
        assert_eq!(after.watermark, Some(Watermark(second(90_000))));
        let labs = Watermark(second(40_000));
        assert_eq!(after.by_table, [("vitals".into(), Watermark(second(90_000))), ("labs".into(), labs)].into());
        assert_eq!(after.clone().led_by("labs").watermark, Some(labs), "its own, wherever it stands");
        assert_eq!(after.newest(&sources)[&Partition(1)], second(43_600));
        // After a minute the first is silent, and the second, which is seldom written, is not.
        let nothing = BTreeSet::new();
        let later = Seen { active: &nothing, with_rows: &nothing, now: second(100_060), ..seen };
        let after = after.after(&later, &sources);
        assert_eq!([0, 1].map(|source| after.is_silent(source, &later, &sources)), [true, false]);
    }

    #[test]
    fn no_window_waits_for_a_partition_whose_records_are_no_rows() {
        let sources = patience("vitals", 10, 30);
        let both: BTreeSet<Partition> = [Partition(0), Partition(1)].into();
        let first: BTreeSet<Partition> = [Partition(0)].into();
        let mut event_time = EventTime::default();
        let mut found = Vec::new();
        for now in [1000, 1010, 1020, 1030] {
            let watermarks = [(Partition(0), Watermark(second(now - 500)))].into();
            let seen = Seen {
                watermarks: &watermarks,
                active: &both,
                with_rows: &first,
                at_end: &both,
                keeps_windows: false,
                partitions: &both,
                waiting_since: Some(second(990)),
                now: second(now),
            };
            event_time = event_time.after(&seen, &sources);
            found.push(event_time.watermark.map(|watermark| watermark.0.timestamp()));
        }
        assert_eq!(found, [None, None, Some(520), Some(530)], "heartbeats of partition 1 hold nothing");
    }
}
