//! What a stream remembers of its records, so that one that comes again is known: the last ones each, those before them by
//! the spans of time that they lay in. Pure: times and hashes in, answers out.
//!
//! Some four KiB a stream, however long it goes on: a thousand records are a quarter of an hour of a monitor, and longer
//! than a device is mostly without its network.

use std::collections::VecDeque;

/// Records that lie no further apart are of one span: what a device keeps while it is not connected for longer is new.
pub(super) const GAP: i64 = 5_000_000;

/// The records that a stream has had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The last ones, by the order in which the first of each stretch came.
    pub(super) stretches: VecDeque<Stretch>,
    /// Where those lay that were among them and are no more.
    pub(super) past: Spans,
}

/// Records of one span of event time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: i64,
    pub(super) until: i64,
    /// Time and values of each.
    pub(super) hashes: Vec<u32>,
}

impl Seen {
    /// So many records are remembered each.
    const RECORDS: usize = 1_024;
    /// In so many stretches.
    const STRETCHES: usize = 64;
    /// A stretch has so many.
    const LENGTH: usize = 64;
    /// A record goes on with one of so many: of devices without names, each has its own.
    const OPEN: usize = 4;

    pub(super) fn push(&mut self, at: i64, hash: u32) {
        let goes_on = |stretch: &&mut Stretch| {
            stretch.hashes.len() < Self::LENGTH && at >= stretch.from && at <= stretch.until.saturating_add(GAP)
        };
        if let Some(stretch) = self.stretches.iter_mut().rev().take(Self::OPEN).find(goes_on) {
            stretch.until = stretch.until.max(at);
            stretch.hashes.push(hash);
            return;
        }
        self.stretches.push_back(Stretch { from: at, until: at, hashes: vec![hash] });
        let records = |stretches: &VecDeque<Stretch>| stretches.iter().map(|one| one.hashes.len()).sum::<usize>();
        while self.stretches.len() > Self::STRETCHES || records(&self.stretches) > Self::RECORDS {
            let Some(gone) = self.stretches.pop_front() else { return };
            self.past.add(gone.from, gone.until);
        }
    }

    /// Whether a record of this time and with these values is among the last.
    pub(super) fn has(&self, at: i64, hash: u32) -> bool {
        let of_time = self.stretches.iter().filter(|stretch| (stretch.from..=stretch.until).contains(&at));
        of_time.rev().any(|stretch| stretch.hashes.contains(&hash))
    }

    /// Whether there were records about this time of which nothing else is remembered.
    pub(super) fn is_past(&self, at: i64) -> bool {
        self.past.cover(at)
    }
}

/// Spans of time, the oldest first; none reaches the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spans(pub(super) Vec<(i64, i64)>);

impl Spans {
    /// More are put together, the oldest first.
    const MOST: usize = 64;

    pub(super) fn add(&mut self, from: i64, until: i64) {
        // Mostly time goes on.
        if let Some(last) = self.0.last_mut()
            && (last.0..=last.1.saturating_add(GAP)).contains(&from)
        {
            last.1 = last.1.max(until);
            return;
        }
        let first = self.0.partition_point(|span| span.1.saturating_add(GAP) < from);
        let end = self.0.partition_point(|span| span.0 <= until.saturating_add(GAP));
        let reached = self.0.get(first..end).unwrap_or_default();
        let from = reached.first().map_or(from, |span| span.0.min(from));
        let until = reached.last().map_or(until, |span| span.1.max(until));
        self.0.splice(first..end.max(first), [(from, until)]);
        if self.0.len() > Self::MOST {
            let second = self.0.remove(1);
            self.0[0].1 = second.1;
        }
    }

    pub(super) fn cover(&self, at: i64) -> bool {
        let place = self.0.partition_point(|(from, _)| *from <= at);
        place.checked_sub(1).is_some_and(|span| at <= self.0[span].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn spans_grow_together() {
        let mut spans = Spans::default();
        [0, 5, 30, 20, 25, 10, 15].iter().for_each(|at| spans.add(at * SECOND, at * SECOND));
        assert_eq!(spans.0, [(0, 30 * SECOND)]);
        assert!(spans.cover(12 * SECOND) && !spans.cover(31 * SECOND) && !spans.cover(-SECOND));
        spans.add(100 * SECOND, 200 * SECOND);
        spans.add(50 * SECOND, 60 * SECOND);
        spans.add(58 * SECOND, 97 * SECOND);
        assert_eq!(spans.0, [(0, 30 * SECOND), (50 * SECOND, 200 * SECOND)]);
    }

    /// Two clocks, one of them forty seconds behind.
    fn two_clocks(seconds: i64) -> Seen {
        let mut seen = Seen::default();
        for second in 0..seconds {
            seen.push(second * SECOND, 1);
            seen.push((second - 40) * SECOND, 2);
        }
        seen
    }

    #[test]
    fn the_last_records_are_known_each_and_those_before_them_by_their_time() {
        let seen = two_clocks(1_000);
        for second in 540..960 {
            let at = second * SECOND;
            assert!(seen.has(at, 1) && seen.has(at, 2) && !seen.has(at, 3), "{second}");
            assert!(!seen.is_past(at), "{second}");
        }
        assert!(!seen.has(100 * SECOND, 1) && seen.is_past(100 * SECOND));
    }

    #[test]
    fn what_is_remembered_does_not_grow() {
        let size = |seen: &Seen| {
            let stretches = seen.stretches.iter().map(|one| size_of::<Stretch>() + 4 * one.hashes.capacity());
            stretches.sum::<usize>() + 16 * seen.past.0.capacity()
        };
        let mut sparse = Seen::default();
        (0..100_000).for_each(|reading| sparse.push(reading * 600 * SECOND, 0));
        let dense = two_clocks(100_000);
        assert!(size(&dense) < 6_000 && size(&sparse) < 6_000, "{} and {}", size(&dense), size(&sparse));
    }
}
