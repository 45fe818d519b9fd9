//! One stream: what is known of it, and what a record tells anew.

use std::sync::Arc;

use arrow::array::{Array, Float64Array};

use super::lane::{CLOCK_TOLERANCE, Precedent};
use super::lanes::{Lanes, Noted, Placed, Source};
use super::pace::Pace;
use super::record::Record;
use super::seen::Seen;
use super::shape::columns_in;
use super::{SetId, Shape};

/// So many records in a row that stand in no lane are in no order: nothing is known by more of them.
const MOST_ALONE: u8 = 5;

/// So many records in a row that were sent faster than they were measured are sent at once.
const HURRIED: u8 = 3;

/// Records that come so much later after the one before than they were measured were held up, in microseconds. What was held up for
/// longer was no rhythm, but an outage.
const HELD_UP: std::ops::RangeInclusive<i64> = 5_000_000..=60_000_000;

/// Records that were measured no further apart than this come all the time.
const CLOSE: i64 = 5_000_000;

/// So long it is remembered that records were held up.
const REMEMBERED: i64 = 300_000_000;

/// How records were held up of late before they were sent together: for how long, and the stamp of the first of them; the last first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HeldUp(pub(super) [(i64, i64); 4]);

impl HeldUp {
    fn note(&mut self, length: i64, stamped: i64) {
        self.0.rotate_right(1);
        self.0[0] = (length, stamped);
    }

    /// For how long they are as a rule: what was so twice. One gap of the network is no rhythm.
    fn usual(&self, stamped: i64) -> i64 {
        let is_recent = |(length, at): &&(i64, i64)| *length > 0 && stamped.saturating_sub(*at) <= REMEMBERED;
        let mut lengths: Vec<i64> = self.0.iter().filter(is_recent).map(|(length, _)| *length).collect();
        lengths.sort_unstable();
        lengths.iter().rev().nth(1).copied().unwrap_or(0)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) partition: i32,
    pub(super) device: Arc<str>,
    /// The greatest event time of any record.
    pub(super) newest: i64,
    /// The stamp of the newest record.
    pub(super) stamped: i64,
    /// How many records there were.
    pub(super) records: u64,
    /// When each column had a value last.
    pub(super) columns: Vec<LastValue>,
    pub(super) sets: Vec<Lanes>,
    pub(super) seen: Seen,
    pub(super) stepped: Option<Step>,
    /// How many records in a row were sent faster than they were measured.
    pub(super) hurried: u8,
    pub(super) pace: Pace,
    pub(super) held_up: HeldUp,
    /// How many records in a row have stood in no lane.
    pub(super) alone: u8,
}

/// When a column had a value last: never is the least of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastValue {
    pub(super) at: i64,
    pub(super) stamped: i64,
}

impl LastValue {
    pub(super) const NEVER: Self = Self { at: i64::MIN, stamped: i64::MIN };
}

/// A clock that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how much, in microseconds: below zero is back.
    pub by: i64,
    /// The stamp of the record by which it was known.
    pub stamped: i64,
}

impl Stream {
    /// One of which nothing is known.
    pub(super) fn begin(partition: i32, device: &str, shape: &Shape) -> Self {
        Self {
            partition,
            device: device.into(),
            newest: i64::MIN,
            stamped: i64::MIN,
            records: 0,
            columns: vec![LastValue::NEVER; shape.columns.len()],
            sets: vec![Lanes::default(); shape.sets.len()],
            seen: Seen::default(),
            stepped: None,
            hurried: 0,
            pace: Pace::default(),
            held_up: HeldUp::default(),
            alone: 0,
        }
    }

    /// Takes note of a record; `numbers` are the values of each set of one vital. Returns when it was measured, if it tells
    /// anything new.
    pub(super) fn note(
        &mut self,
        record: &Record,
        shape: &Shape,
        numbers: &[Vec<Float64Array>],
        place: &mut dyn FnMut(SetId, Noted),
    ) -> Option<i64> {
        let is_first = self.newest == i64::MIN;
        let is_behind = !is_first && record.at < self.newest;
        // Two devices say the same of the very same time only where they tell whole seconds.
        let is_expected = || {
            let of_vitals = shape.sets.iter().zip(&self.sets).filter(|(set, _)| set.judges_one(record.columns));
            record.at % 1_000_000 == 0
                && of_vitals.into_iter().any(|(_, lanes)| lanes.expect(record.at, record.stamped))
        };
        let may_be_known = !is_first && record.at <= self.newest;
        let is_seen = may_be_known && self.seen.has(record.at, record.hash);
        let stands = may_be_known && self.pace.stands(record, self.newest, self.stamped, is_seen);
        let is_known = is_seen && !stands && !is_expected();
        if is_known && record.at.saturating_add(CLOCK_TOLERANCE) > self.newest {
            return None;
        }
        // With its stamp of then, too, it is that record. Of what is not remembered one by one nobody can say so.
        if is_known && record.stamped.saturating_add(CLOCK_TOLERANCE) <= self.stamped {
            return None;
        }
        // One from longer ago may be of a clock that was set back, while values are as they were then.
        let is_past = is_behind && self.seen.is_past(record.at);
        let at = self.pace.measured_at(record, self.newest, stands);
        let mut is_judged = false;
        let (mut is_placed, mut new) = (false, 0);
        let source = if self.device.is_empty() { Source::Unnamed } else { Source::Device };
        self.records += 1;
        for (index, set) in shape.sets.iter().enumerate() {
            if !set.has_sample(record.columns) {
                // A value that is doubtful is no sensor without one: what was known before goes on to hold.
                if record.doubts & set.mask == 0 && self.sets[index].is_gap(self.records) {
                    place(SetId(index), Noted::at(Placed::Gap));
                }
                continue;
            }
            self.sets[index].sample(self.records);
            let number = numbers[index].iter().find(|values| values.is_valid(record.row));
            let number = number.map(|values| values.value(record.row));
            // Of a time of which another device told other vitals, this one may have kept its own until now.
            let known = match is_past && self.sets[index].spans.cover(record.at) {
                _ if is_known => Precedent::Record,
                true => Precedent::Span,
                false => Precedent::None,
            };
            let noted = self.sets[index].note(at, record.stamped, known, source, number);
            if let Some(by) = noted.stepped {
                self.stepped = Some(Step { by, stamped: record.stamped });
            }
            is_judged |= noted.placed != Placed::Resent;
            if noted.placed != Placed::Resent {
                new |= set.mask;
                self.sets[index].spans.add(record.at, record.at);
            }
            is_placed |= matches!(noted.placed, Placed::Lane(_) | Placed::Late(..));
            place(SetId(index), noted);
        }
        if is_judged {
            self.seen.push(record.at, record.hash);
            self.alone = if is_placed { 0 } else { self.alone.saturating_add(1) };
            let known = if self.alone <= MOST_ALONE { record.columns & new } else { 0 };
            for index in columns_in(known, self.columns.len()) {
                let last = &mut self.columns[index];
                if record.stamped >= last.stamped {
                    *last = LastValue { at: record.at, stamped: record.stamped };
                }
            }
        }
        self.note_pace(record);
        self.newest = self.newest.max(record.at);
        self.stamped = self.stamped.max(record.stamped);
        is_judged.then_some(at)
    }

    /// Takes note of whether a record was sent as it was measured. Where several are sent at once, stamps tell nothing of time.
    fn note_pace(&mut self, record: &Record) {
        let (passed, waited) = (record.at.saturating_sub(self.newest), record.stamped.saturating_sub(self.stamped));
        if self.newest > i64::MIN && passed > 0 {
            let is_hurried = waited.saturating_mul(2) < passed;
            self.hurried = if is_hurried { self.hurried.saturating_add(1) } else { 0 };
            let held_up = waited.saturating_sub(passed);
            // What is measured seldom, by two clocks, is no burst.
            if HELD_UP.contains(&held_up) && passed <= CLOSE {
                self.held_up.note(held_up, record.stamped);
            }
        }
    }

    /// For how long records are held up as a rule when stamps are at `stamped`: a gateway that sends every half minute does so again.
    pub(super) fn held_up_at(&self, stamped: i64) -> i64 {
        self.held_up.usual(stamped)
    }

    /// Whether the time of a record is that of every device of the stream: it is of one device or, where the job names none,
    /// nothing shows that it is of several, for what is sent at once would be out of order.
    pub(super) fn has_one_clock(&self) -> bool {
        let of_any = self.sets.first();
        let is_alone = of_any.is_some_and(|lanes| lanes.others.is_empty());
        is_alone && (!self.device.is_empty() || self.hurried >= HURRIED)
    }

    /// When one of the columns in `mask` had a value last.
    pub(super) fn newest_of(&self, mask: u128) -> Option<LastValue> {
        let last = columns_in(mask, self.columns.len()).map(|index| self.columns[index]);
        last.filter(|last| last.stamped > i64::MIN).max_by_key(|last| last.stamped)
    }
}
