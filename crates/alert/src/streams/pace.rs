//! Clocks that stand still, or tell whole minutes only: what is measured later has the same time, and other values. From then
//! on, time passes as Kafka's stamps say.
//!
//! ```text
//!   event times    10:00   10:00   10:00   10:01
//!   stamps          :00.2   :20.2   :40.2   :00.3
//!   measured at     :00     :20     :40     :00
//! ```
//!
//! Pure: records in, times out.

use super::Record;

/// So long after the one before, by stamps, a record is another measurement; after a pause, it may be one that was kept.
const LATER: std::ops::Range<i64> = 500_000..20_000_000;

/// So many records in a row with later times tell that the clock goes again.
const ENOUGH: u8 = 5;

/// A whole minute may be told so much later than the last one passed.
const JITTER: i64 = 2_000_000;

/// How the event times of a stream go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// The columns that had a value at the newest event time.
    pub(super) columns: u128,
    /// When the first record with that time was measured, and its stamp.
    pub(super) from: i64,
    pub(super) reached: i64,
    /// When the last record was measured.
    pub(super) told: i64,
    /// The event time of the last record.
    pub(super) last: i64,
    /// More than nothing where times have stood still of late.
    pub(super) stood: u8,
}

impl Pace {
    /// Whether a record is another measurement at a time that stands still. `newest`, `stamped`: the greatest event time and
    /// stamp so far; `is_seen`: whether there was a record with its time and values.
    pub(super) fn stands(&mut self, record: &Record, newest: i64, stamped: i64, is_seen: bool) -> bool {
        let is_later = record.at == newest && LATER.contains(&record.stamped.saturating_sub(stamped));
        // A slower clock that reaches what another one told last goes on as ever.
        let goes_on = self.last == newest || self.stood > 0;
        if is_later && goes_on && !is_seen && record.columns & self.columns != 0 {
            self.stood = ENOUGH;
        }
        is_later && self.stood > 0
    }

    /// When a record was measured, at a time that `stands` still or not.
    pub(super) fn measured_at(&mut self, record: &Record, newest: i64, stands: bool) -> i64 {
        let Record { at, stamped, columns, .. } = *record;
        self.last = at;
        if at < newest {
            return at;
        }
        let measured = if at == newest {
            self.columns |= columns;
            let passed = self.from.saturating_add(stamped.saturating_sub(self.reached));
            if stands { passed.max(self.told) } else { self.told }
        } else {
            self.stood = self.stood.saturating_sub(1);
            let is_late = self.stood > 0 && (0..=JITTER).contains(&self.told.saturating_sub(at));
            let measured = if is_late { self.told + 1 } else { at };
            (self.columns, self.from, self.reached) = (columns, measured, stamped);
            measured
        };
        self.told = measured;
        measured
    }

    /// For how long event times have stood still at `stamped`, where they do.
    pub(super) fn stood_for(&self, stamped: i64) -> Option<i64> {
        (self.stood > 0).then(|| stamped.saturating_sub(self.reached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// When records of (event time, stamp, value) were measured, in tenths of a second; `None` is one that came again.
    fn measured(records: &[(i64, i64, u32)]) -> Vec<Option<i64>> {
        let mut pace = Pace::default();
        let (mut newest, mut stamped, mut seen) = (i64::MIN, i64::MIN, Vec::new());
        let of = |(at, stamp, hash): &(i64, i64, u32)| {
            let record =
                Record { row: 0, at: at * SECOND, stamped: stamp * SECOND / 10, columns: 1, doubts: 0, hash: *hash };
            let is_seen = seen.contains(&(*at, *hash));
            let stands = pace.stands(&record, newest, stamped, is_seen);
            let measured = (stands || !is_seen).then(|| pace.measured_at(&record, newest, stands) * 10 / SECOND);
            seen.push((*at, *hash));
            (newest, stamped) = (newest.max(record.at), stamped.max(record.stamped));
            measured
        };
        records.iter().map(of).collect()
    }

    #[test]
    fn a_clock_that_stands_still_goes_on_by_stamps() {
        let records = [(7, 70, 1), (8, 80, 1), (8, 90, 2), (8, 100, 1), (8, 110, 2), (8, 300, 2)];
        assert_eq!(measured(&records), [70, 80, 90, 100, 110, 300].map(Some));
        // What was kept begins at the very second that was told last.
        assert_eq!(measured(&[(7, 70, 1), (8, 80, 1), (8, 700, 2), (9, 701, 1)]), [70, 80, 80, 90].map(Some));
    }

    #[test]
    fn a_slower_clock_that_reaches_the_last_time_of_another_stands_not_still() {
        assert_eq!(
            measured(&[(20, 200, 1), (18, 250, 2), (19, 260, 3), (20, 270, 4), (21, 280, 5)]),
            [200, 180, 190, 200, 210].map(Some)
        );
    }

    #[test]
    fn whole_minutes_pass_second_by_second_even_where_they_come_late() {
        let minutes = |stamp: i64| ((stamp - 3) / 600 * 60, stamp, u32::try_from(stamp % 3).expect("small"));
        let records: Vec<_> = (3..1_500).step_by(10).map(minutes).collect();
        let found = measured(&records);
        assert!(found.is_sorted() && found.iter().all(Option::is_some), "{found:?}");
        assert!(found.iter().zip(&records).all(|(at, (_, stamp, _))| (at.unwrap_or(0) - stamp).abs() <= 10));
    }

    #[test]
    fn what_comes_again_is_no_measurement_and_vitals_apart_share_their_time() {
        assert_eq!(measured(&[(7, 70, 1), (7, 80, 1), (7, 700, 1), (7, 1_000, 1)]), [Some(70), None, None, None]);
        let mut pace = Pace::default();
        let record = |columns, stamped| Record { row: 0, at: 7, stamped, columns, doubts: 0, hash: 0 };
        assert_eq!(pace.measured_at(&record(1, 0), 0, false), 7);
        assert!(!pace.stands(&record(2, SECOND), 7, 0, false));
        assert_eq!(pace.measured_at(&record(2, SECOND), 7, false), 7);
    }
}
