//! Lanes: the samples of one stream and one set of columns, cut into runs whose event times ascend. Pure: times in, places
//! out.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::lane::{CLOCK_TOLERANCE, ENOUGH, LEAST_SPAN, Lane, Precedent, Run};
use super::levels::Levels;
use super::seen::{GAP, Spans};

/// Lanes that had a sample no longer ago than this are told of as clocks.
const CLOCK_PATIENCE: i64 = 120_000_000;

/// More lanes than this are no devices, but disorder; the one that was idle for longest goes.
const MOST_LANES: usize = 4;

/// A stream that has had no sample for so long, by stamps, is one of something that is measured seldom.
const SELDOM: i64 = 30_000_000;

/// So many pauses are remembered. What is older than these came after a sample that lies no further off than records of one
/// span do.
const MOST_PAUSES: usize = 8;

/// Where a sample stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// In this lane.
    Lane(u32),
    /// In this lane, but it comes after what its device has told of later times. It counts until the first of these.
    Late(u32, i64),
    /// It is behind every lane, and it is not known yet whether it begins this one.
    Alone(u32),
    /// It has come before, or its span has: it says nothing new.
    Resent,
    /// It is no sample, and says so.
    Gap,
}

/// Of whom the records of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Of a device that the job names.
    Device,
    /// Of one or several without names.
    Unnamed,
}

/// What became of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) placed: Placed,
    /// By how much the clock was set, where this sample tells so; below zero is back.
    pub(super) stepped: Option<i64>,
    /// Whether its lane takes the place of the others.
    pub(super) leads: bool,
    /// The lanes of what had been kept, which count no longer with it: the device tells of now.
    pub(super) let_go: LaneNumbers,
}

/// Lanes of a stream and a set of columns, by their numbers.
pub(super) type LaneNumbers = SmallVec<[u32; 2]>;

impl Noted {
    pub(super) fn at(placed: Placed) -> Self {
        Self { placed, stepped: None, leads: false, let_go: LaneNumbers::new() }
    }
}

/// The lanes of one stream and one set of columns; the first is the one that it mostly has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Lanes {
    pub(super) first: Option<Lane>,
    pub(super) others: Vec<Lane>,
    pub(super) next: u32,
    /// The last samples, while all of them are of one lane that is not the first.
    pub(super) lead: Run,
    /// Between which times the first one paused of late.
    pub(super) pauses: Vec<(i64, i64)>,
    /// The last of the stream's records that was a sample, by its number; and whether the one before was, too.
    pub(super) sampled: Option<u64>,
    pub(super) is_in_each: bool,
    /// Whether values alternate, as those of two devices do.
    pub(super) levels: Levels,
    /// The last sample that was taken for one that had been kept, and let go of: a second one as far behind its stamp is told
    /// by a clock of its own.
    pub(super) apart: Run,
    /// The spans of time that its samples lay in.
    pub(super) spans: Spans,
}

impl Lanes {
    /// Takes note of a record that is a sample.
    pub(super) fn sample(&mut self, record: u64) {
        self.is_in_each = self.sampled.is_some_and(|last| last.checked_add(1) == Some(record));
        self.sampled = Some(record);
    }

    /// Whether a record that is no sample says that there is no value: each one before it had one.
    pub(super) fn is_gap(&self, record: u64) -> bool {
        self.is_in_each && self.sampled.is_some_and(|last| last.checked_add(1) == Some(record))
    }

    /// Finds the place of a sample. `value`: of the vital, where the set is of one that is a number.
    pub(super) fn note(
        &mut self,
        at: i64,
        stamped: i64,
        known: Precedent,
        source: Source,
        value: Option<f64>,
    ) -> Noted {
        self.let_go(stamped);
        let is_known_span = known != Precedent::None;
        if let Some(value) = value.filter(|_| !is_known_span) {
            self.note_level(at, value);
        }
        let Some(first) = &mut self.first else {
            self.first = Some(Lane::begin(self.next, at, stamped));
            let placed = Placed::Lane(self.next);
            self.next += 1;
            return Noted::at(placed);
        };
        let delay = stamped.saturating_sub(at);
        // What is known and not long ago by a clock is that clock's, sent again, though all of it may come again at its pace.
        let is_recent = |lane: &Lane| {
            let ago = lane.newest.saturating_sub(at);
            lane.is_certain && (ago == 0 || ((0..CLOCK_TOLERANCE).contains(&ago) && lane.agrees(delay)))
        };
        if is_known_span && (is_recent(first) || self.others.iter().any(is_recent)) {
            return Noted::at(Placed::Resent);
        }
        let takes = |lane: &Lane| at >= lane.newest && lane.takes(at, stamped, known);
        if self.others.is_empty() && takes(first) {
            self.lead = Run::default();
            note_pause(&mut self.pauses, first.newest, at);
            return Noted { stepped: first.go_on(at, stamped), ..Noted::at(Placed::Lane(first.id)) };
        }
        let nearest = std::iter::once(first).chain(&mut self.others).filter(|lane| takes(lane));
        // What was kept lies further behind its stamp than usual, but nothing less far while its clock goes on. Of lanes of one
        // clock it is the one that has come furthest: a device has one lane, however its samples jitter.
        let far = |lane: &Lane| if lane.agrees(delay) { 0 } else { delay.saturating_sub(lane.delay).abs() };
        let is_ahead = |lane: &Lane| !lane.agrees(delay) && delay < lane.delay;
        let rank =
            |lane: &Lane| (is_ahead(lane), far(lane), !lane.is_certain, lane.off(at, value), Reverse(lane.newest));
        match nearest.min_by_key(|lane| rank(lane)) {
            Some(lane) if lane.is_certain => {
                let (id, last) = (lane.id, Run::of(lane.newest, lane.stamped));
                let stepped = lane.go_on(at, stamped);
                lane.level = lane.level.and(value.or(lane.level));
                let mut noted = self.take_the_lead(id, last, (at, stamped), source);
                noted.stepped = noted.stepped.or(stepped);
                noted.let_go = self.let_kept_go(id, at);
                Noted { placed: self.counted(id, last, at, stamped), ..noted }
            }
            Some(lane) => {
                let last = Run::of(lane.newest, lane.stamped);
                lane.run = lane.run.with(at, stamped);
                lane.samples += 1;
                lane.note_pace(at, stamped);
                (lane.newest, lane.stamped, lane.delay) = (at, stamped, delay);
                // What may have come before must keep pace with the stamps, one after the other, for of a few that are sent again by
                // themselves some lie as far apart as they were sent; what is new may come in one go.
                let is_paced = u32::from(lane.paced) + 1 >= ENOUGH;
                lane.is_certain =
                    if lane.is_known_span { is_paced && lane.run.is_enough(at) } else { lane.samples >= ENOUGH };
                if !lane.is_certain {
                    let placed = if lane.is_known_span { Placed::Resent } else { Placed::Alone(lane.id) };
                    return Noted::at(placed);
                }
                lane.run = Run::default();
                let id = lane.id;
                Noted {
                    placed: self.counted(id, last, at, stamped),
                    ..self.take_the_lead(id, last, (at, stamped), source)
                }
            }
            None => {
                // Of a time of which nothing was known: it is true whether it had been kept or the clock was set back. Of
                // something that is measured seldom, there may not be another for long.
                let id = self.next;
                if source != Source::Device && !is_known_span && self.apart.goes_on(at, delay) {
                    self.begin(Lane::begin(id, at, stamped));
                    return Noted::at(Placed::Lane(id));
                }
                if let Some(until) = self.between_readings(at, stamped).filter(|_| !is_known_span) {
                    self.begin(Lane { run: Run::of(at, stamped), is_kept: true, ..Lane::begin(id, at, stamped) });
                    return Noted::at(Placed::Late(id, until));
                }
                let lane = Lane {
                    is_certain: false,
                    is_known_span,
                    run: Run::of(at, stamped),
                    ..Lane::begin(self.next, at, stamped)
                };
                let id = lane.id;
                self.begin(lane);
                Noted::at(if is_known_span { Placed::Resent } else { Placed::Alone(id) })
            }
        }
    }

    /// One more lane.
    fn begin(&mut self, lane: Lane) {
        self.next += 1;
        if self.others.len() + 1 >= MOST_LANES
            && let Some(idle) =
                (0..self.others.len()).min_by_key(|index| (self.others[*index].is_certain, self.others[*index].stamped))
        {
            self.others.swap_remove(idle);
        }
        self.others.push(lane);
    }

    /// Takes note of a value. Where values alternate, those of each level have a lane of their own from now on; devices whose
    /// clocks differ have one anyway.
    fn note_level(&mut self, at: i64, value: f64) {
        let Some(first) = &mut self.first else { return };
        if self.others.iter().any(|lane| lane.is_certain && !first.agrees(lane.delay)) {
            self.levels = Levels::default();
            return;
        }
        let Some(other) = self.levels.note(at, value).filter(|_| first.level.is_none()) else { return };
        first.level = Some(value);
        let second = Lane { id: self.next, level: Some(other), ..*first };
        match self.others.iter_mut().filter(|lane| lane.is_certain).max_by_key(|lane| lane.stamped) {
            Some(second) => second.level = Some(other),
            None => self.begin(second),
        }
    }

    /// Lets go of what had been kept, where a lane that had not goes on: the device tells of now.
    fn let_kept_go(&mut self, id: u32, at: i64) -> LaneNumbers {
        if self.others.iter().any(|lane| lane.id == id && lane.is_kept) {
            return LaneNumbers::new();
        }
        let is_over = |lane: &Lane| lane.is_kept && lane.newest < at;
        if let Some(kept) = self.others.iter().rfind(|lane| is_over(lane)) {
            self.apart = Run::of(kept.newest, kept.stamped);
        }
        let gone = self.others.iter().filter(|lane| is_over(lane)).map(|lane| lane.id).collect();
        self.others.retain(|lane| !is_over(lane));
        gone
    }

    /// Lets go of lanes that have had no sample for too long.
    fn let_go(&mut self, stamped: i64) {
        let Some(first) = self.first.as_mut().filter(|_| !self.others.is_empty()) else { return };
        let pauses = self.pauses.iter().map(|(from, until)| until.saturating_sub(*from)).max().unwrap_or(0);
        let is_over = |lane: &Lane| stamped.saturating_sub(lane.stamped) >= lane.patience(pauses);
        self.others.retain(|lane| !is_over(lane));
        if first.level.is_none() {
            return;
        }
        if is_over(first)
            && let Some(other) = self.others.iter().position(|lane| lane.level.is_some())
        {
            *first = self.others.swap_remove(other);
        }
        if self.others.iter().all(|lane| lane.level.is_none()) {
            first.level = None;
            self.levels = Levels::default();
        }
    }

    /// A sample of the lane called `id`, whose sample before was `last`. The lane takes the first one's place when that has had no
    /// sample while enough came here: the clock was set.
    fn take_the_lead(&mut self, id: u32, last: Run, (at, stamped): (i64, i64), source: Source) -> Noted {
        let noted = Noted::at(Placed::Lane(id));
        let Some(first) = self.first.as_mut().filter(|first| first.id != id) else {
            self.lead = Run::default();
            return noted;
        };
        self.lead = self.lead.with(at, stamped);
        let next = self.others.iter().position(|lane| lane.id == id);
        // One that went on beside the first is another device's, without a name, and the first one has only paused.
        let is_alone = |next: &usize| self.others[*next].since >= first.stamped;
        // A device with a name has one clock: of what it measures seldom, two that keep pace are enough.
        let is_paced = last.keeps_pace(at, stamped) && at.saturating_sub(last.at) >= SELDOM;
        let is_enough = self.lead.lasts(at, stamped) || (source == Source::Device && is_paced);
        let is_next = |next: &usize| is_alone(next) && is_enough;
        let Some(next) = next.filter(is_next) else { return noted };
        let by = first.delay.saturating_sub(self.others[next].delay);
        let is_step = first.is_clock && by.abs() > CLOCK_TOLERANCE;
        // It may go on, when the clock is set right again.
        std::mem::swap(first, &mut self.others[next]);
        self.others[next].is_left = true;
        self.lead = Run::default();
        self.pauses.clear();
        Noted { stepped: is_step.then_some(by), leads: true, ..noted }
    }

    /// Where a sample of the lane called `id` stands, whose sample before was `last`. What a device had kept comes faster than
    /// it was measured, and behind what it has told at once.
    fn counted(&mut self, id: u32, last: Run, at: i64, stamped: i64) -> Placed {
        let Some(first) = &self.first else { return Placed::Lane(id) };
        if first.id == id {
            note_pause(&mut self.pauses, last.at, at);
            return Placed::Lane(id);
        }
        // Two samples of the very same time show no pace; one more that keeps it does.
        let is_paced = || self.others.iter().any(|lane| lane.id == id && lane.paced > 1);
        if at >= first.newest || (last.keeps_pace(at, stamped) && (at > last.at || is_paced())) {
            return Placed::Lane(id);
        }
        Placed::Late(id, self.pause_at(at).map_or(at.saturating_add(GAP), |(_, until)| until))
    }

    /// The pause of the first lane in which a time lies.
    fn pause_at(&self, at: i64) -> Option<(i64, i64)> {
        self.pauses.iter().rev().find(|(from, until)| (*from..*until).contains(&at)).copied()
    }

    /// Until when the first lane paused at a time, or it has had no sample yet, where it pauses as a rule: one pause follows on
    /// another, or it paused before its last sample, or does so now.
    fn between_readings(&self, at: i64, stamped: i64) -> Option<i64> {
        let first = self.first.as_ref()?;
        let last = self.others.iter().map(|lane| lane.stamped).fold(first.stamped, i64::max);
        let pauses_now = stamped.saturating_sub(last) > SELDOM;
        let has_paused =
            self.pauses.last().is_some_and(|(from, until)| *until == first.newest && until - from > SELDOM);
        let Some((from, until)) = self.pause_at(at) else {
            let is_seldom = self.pauses.windows(2).any(|pair| pair[0].1 == pair[1].0);
            let begin = self.pauses.first().map_or(first.newest, |(from, _)| *from);
            return (at < begin && (pauses_now || has_paused || is_seldom)).then_some(begin);
        };
        let is_next = |(before, after): &(i64, i64)| *after == from || *before == until;
        (pauses_now || has_paused || self.pauses.iter().any(is_next)).then_some(until)
    }

    /// Whether a lane of another clock goes on with a sample: the same that the first had of that time, but at its own pace.
    pub(super) fn expect(&self, at: i64, stamped: i64) -> bool {
        let delay = stamped.saturating_sub(at);
        let keeps_pace =
            |lane: &Lane| delay.saturating_sub(lane.delay).abs() <= LEAST_SPAN && lane.keeps_pace(at, stamped);
        let is_other_clock = |lane: &Lane| self.first.is_none_or(|first| !first.agrees(lane.delay));
        // What had been kept and was sent in one go tells of no clock.
        let is_paced = |lane: &Lane| lane.is_certain && (lane.paced > 0 || lane.samples == 1) && at > lane.newest;
        self.others.iter().any(|lane| is_paced(lane) && keeps_pace(lane) && is_other_clock(lane))
    }

    /// How far the clock of a lane lies behind stamps, in microseconds, where that is known.
    pub(super) fn clock(&self, lane: u32) -> Option<i64> {
        let known = self.first.iter().chain(&self.others).find(|known| known.id == lane)?;
        known.tells_clock().then_some(known.delay)
    }

    /// How far its lanes lie behind stamps, the least and the most, of those whose samples come as they are measured, the last not
    /// long before `stamped`. What was kept and sent in one go tells nothing of a clock.
    pub(super) fn delays(&self, stamped: i64) -> Option<(i64, i64)> {
        let lanes = self.first.iter().chain(&self.others).filter(|lane| lane.tells_clock());
        let delays = lanes.filter(|lane| stamped.saturating_sub(lane.stamped) < CLOCK_PATIENCE).map(|lane| lane.delay);
        delays.fold(None, |range, delay| match range {
            None => Some((delay, delay)),
            Some((least, most)) => Some((delay.min(least), delay.max(most))),
        })
    }

    /// The same of the lane that had the last sample: a device with a name has one clock, and what it said before it was set counts
    /// no longer.
    pub(super) fn last_delay(&self, stamped: i64) -> Option<i64> {
        let lanes = self.first.iter().chain(&self.others).filter(|lane| lane.tells_clock());
        let last = lanes.filter(|lane| stamped.saturating_sub(lane.stamped) < CLOCK_PATIENCE);
        last.max_by_key(|lane| lane.stamped).map(|lane| lane.delay)
    }
}

/// Takes note of the time between two samples of the first lane, if nothing tells of it.
fn note_pause(pauses: &mut Vec<(i64, i64)>, from: i64, until: i64) {
    if until.saturating_sub(from) > GAP {
        if pauses.len() == MOST_PAUSES {
            pauses.remove(0);
        }
        pauses.push((from, until));
    }
}

#[cfg(test)]
mod tests;
