//! Lanes: the samples of one stream and one set of columns, cut into runs whose event times ascend. Pure: times in, places
//! out.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::levels::Levels;
use super::seen::{GAP, Spans};

/// Clocks that differ by no more than this are taken to agree.
pub const CLOCK_TOLERANCE: i64 = 10_000_000;

/// So many samples in a row that keep pace with Kafka's stamps make a lane.
const ENOUGH: u32 = 3;

/// So many, over so much event time, tell that a clock was set.
const LASTING: u32 = 5;
const LASTING_SPAN: i64 = 4_000_000;

/// And they must span this much event time: of records sent at once, nothing tells how fast the clock goes.
const LEAST_SPAN: i64 = 2_000_000;

/// A lane that has had no sample for so long is let go, by stamps: a cuff measures every ten minutes to four hours.
const LANE_PATIENCE: i64 = 6 * 3_600_000_000;

/// And one that is not certain to be one.
const DOUBT_PATIENCE: i64 = 120_000_000;

/// Lanes that had a sample no longer ago than this are told of as clocks.
const CLOCK_PATIENCE: i64 = 120_000_000;

/// A lane of alternating values that has had no sample for so long is no more.
const LEVEL_PATIENCE: i64 = 120_000_000;

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

/// What is known of a record of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precedent {
    /// Nothing: it is new.
    None,
    /// There were records about that time, too long ago to tell whether it is one of those.
    Span,
    /// There was one with the same values.
    Record,
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

/// A run of samples whose event times ascend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lane {
    pub(super) id: u32,
    /// The newest event time.
    pub(super) newest: i64,
    /// Its stamp.
    pub(super) stamped: i64,
    /// How far event times lie behind stamps: a little more than usual, so that a sample on its way is waited for.
    pub(super) delay: i64,
    /// The stamp of the first sample since it began, or since another took its place.
    pub(super) since: i64,
    /// How many samples it has had, until it is certain.
    pub(super) samples: u32,
    /// Whether it is one: its samples are judged.
    pub(super) is_certain: bool,
    /// Whether its samples lie where others are known already, so that only their pace can tell that they are new.
    pub(super) is_known_span: bool,
    /// Whether another has taken its place as the first, and it has had no sample since.
    pub(super) is_left: bool,
    /// Samples that keep another pace than `delay`, or the first ones of a lane that is not certain.
    pub(super) run: Run,
    /// How many samples in a row have kept pace with the one before: they come as they are measured.
    pub(super) paced: u8,
    /// Its last value, where that tells it from another lane of the same clock.
    pub(super) level: Option<f64>,
    /// Whether samples have kept pace at this delay: it is a clock's, and not how long something was kept.
    pub(super) is_clock: bool,
    /// Whether its device, which measures seldom, may only have kept it.
    pub(super) is_kept: bool,
}

/// Samples in a row that lie equally far behind their stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Run {
    pub(super) at: i64,
    pub(super) stamped: i64,
    pub(super) samples: u32,
}

impl Run {
    fn of(at: i64, stamped: i64) -> Self {
        Self { at, stamped, samples: 1 }
    }

    /// Whether a sample lies as far behind its stamp as the first of the run. Records sent in one go have their stamps
    /// together, however far apart their times are.
    fn keeps_pace(self, at: i64, stamped: i64) -> bool {
        let (passed, waited) = (at.saturating_sub(self.at), stamped.saturating_sub(self.stamped));
        passed.saturating_sub(waited).abs() <= 200_000 + passed / 2
    }

    /// The run with one more sample, or begun again with it.
    fn with(self, at: i64, stamped: i64) -> Self {
        match self.samples {
            0 => Self::of(at, stamped),
            samples if self.keeps_pace(at, stamped) => Self { samples: samples.saturating_add(1), ..self },
            _ => Self::of(at, stamped),
        }
    }

    /// Whether a later sample lies as far behind its stamp as the last one did, whenever it comes.
    fn goes_on(self, at: i64, delay: i64) -> bool {
        let before = self.stamped.saturating_sub(self.at);
        self.samples > 0 && at > self.at && delay.saturating_sub(before).abs() <= CLOCK_TOLERANCE
    }

    /// Whether `at` is the last of enough samples.
    fn is_enough(self, at: i64) -> bool {
        self.samples >= ENOUGH && at.saturating_sub(self.at) >= LEAST_SPAN
    }

    /// Whether it lasts: enough to say that a clock was set, and not that records come faster than they were measured.
    fn lasts(self, at: i64, stamped: i64) -> bool {
        let (passed, waited) = (at.saturating_sub(self.at), stamped.saturating_sub(self.stamped));
        let keeps_pace = passed.saturating_sub(waited).abs() <= 200_000 + passed / 5;
        self.samples >= LASTING && passed >= LASTING_SPAN && keeps_pace
    }
}

impl Lane {
    /// How long it may be without a sample, in a stream that `pauses` for so long.
    fn patience(&self, pauses: i64) -> i64 {
        match self.is_certain {
            true if self.level.is_some() => LEVEL_PATIENCE,
            true => LANE_PATIENCE,
            // A cuff says no more about its clock until it measures again.
            false => DOUBT_PATIENCE.max(pauses.saturating_mul(3)).min(LANE_PATIENCE),
        }
    }

    /// How far a sample's value is from the lane's, where values tell lanes apart; a device has one value at a time.
    fn off(&self, at: i64, value: Option<f64>) -> (bool, u64) {
        let distance = self.level.zip(value).map(|(level, value)| (level - value).abs());
        // Of numbers that are not negative, the bits are in their order.
        distance.map_or((false, 0), |distance| (self.newest == at, distance.to_bits()))
    }

    /// Whether a sample keeps pace with the last one: it lies about as far behind its stamp, and does not come faster than it
    /// was measured.
    fn keeps_pace(&self, at: i64, stamped: i64) -> bool {
        let (passed, waited) = (at.saturating_sub(self.newest), stamped.saturating_sub(self.stamped));
        passed.saturating_sub(waited).abs() <= CLOCK_TOLERANCE && passed.saturating_sub(waited) <= 200_000 + passed / 2
    }

    /// Whether a later sample goes on with it. One out of a known span does so at the lane's pace only, where it has one, for it
    /// may have come before, from another device; and in a lane of such samples, one that is new has no place while it is not
    /// certain. That a clock that was set tells a time again to the fraction of a second, with the same values, is no more likely
    /// than that it comes again.
    fn takes(&self, at: i64, stamped: i64, known: Precedent) -> bool {
        let keeps_pace = || self.paced > 0 && self.keeps_pace(at, stamped);
        match (self.is_certain, known) {
            (false, known) if self.is_known_span => known != Precedent::None,
            (_, Precedent::None) => true,
            (_, Precedent::Span) => keeps_pace(),
            (_, Precedent::Record) => (self.is_known_span || at % 1_000_000 == 0) && keeps_pace(),
        }
    }

    /// Whether a sample that lies so far behind its stamp is told by the same clock.
    fn agrees(&self, delay: i64) -> bool {
        delay.saturating_sub(self.delay).abs() <= CLOCK_TOLERANCE
    }

    fn begin(id: u32, at: i64, stamped: i64) -> Self {
        Self {
            id,
            newest: at,
            stamped,
            delay: stamped.saturating_sub(at),
            since: stamped,
            samples: 1,
            is_certain: true,
            is_known_span: false,
            is_left: false,
            run: Run::default(),
            paced: 0,
            level: None,
            is_clock: false,
            is_kept: false,
        }
    }

    /// Takes note of whether the next sample keeps pace with the last one.
    fn note_pace(&mut self, at: i64, stamped: i64) {
        self.paced = if self.keeps_pace(at, stamped) { self.paced.saturating_add(1) } else { 0 };
    }

    /// Goes on with a sample that is not before its newest. Returns by how much the clock was set, where that is known now.
    fn go_on(&mut self, at: i64, stamped: i64) -> Option<i64> {
        self.note_pace(at, stamped);
        // A second one that comes as it is measured is of another device.
        self.is_kept &= self.paced == 0;
        self.newest = at;
        self.stamped = self.stamped.max(stamped);
        if std::mem::take(&mut self.is_left) {
            self.since = stamped;
        }
        let delay = stamped.saturating_sub(at);
        if self.agrees(delay) {
            self.is_clock |= u32::from(self.paced) + 1 >= LASTING;
            self.run.samples = 0;
            self.delay = if delay > self.delay { delay } else { self.delay - (self.delay - delay) / 16 };
            return None;
        }
        if !self.is_clock && delay < self.delay {
            // What came first had been kept, or was told by another clock.
            self.delay = delay;
            self.run.samples = 0;
            return None;
        }
        self.run = self.run.with(at, stamped);
        if !self.run.lasts(at, stamped) {
            return None;
        }
        let by = self.delay.saturating_sub(delay);
        self.delay = delay;
        self.run.samples = 0;
        std::mem::replace(&mut self.is_clock, true).then_some(by)
    }
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

impl Lane {
    /// Whether its delay is that of a clock.
    fn tells_clock(&self) -> bool {
        self.is_certain && !self.is_left && u32::from(self.paced) + 1 >= LASTING
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
mod tests {
    use super::super::seen::Seen;
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// The places of samples of (event time, stamp) in seconds.
    fn places(samples: &[(i64, i64)]) -> (Vec<Placed>, Vec<i64>) {
        let mut lanes = Lanes::default();
        let mut seen = Seen::default();
        let (mut placed, mut steps, mut newest) = (Vec::new(), Vec::new(), i64::MIN);
        for (at, stamped) in samples.iter().map(|(at, stamped)| (at * SECOND, stamped * SECOND)) {
            let hash = u32::try_from((at + 1_000_000 * SECOND) / SECOND).expect("a second");
            let known = match at < newest {
                true if seen.has(at, hash) => Precedent::Record,
                true if seen.is_past(at) => Precedent::Span,
                _ => Precedent::None,
            };
            newest = newest.max(at);
            let noted = lanes.note(at, stamped, known, Source::Unnamed, None);
            placed.push(noted.placed);
            steps.extend(noted.stepped.map(|by| by / SECOND));
            seen.push(at, hash);
        }
        (placed, steps)
    }

    #[test]
    fn samples_in_order_are_one_lane_and_two_clocks_are_two() {
        assert_eq!(places(&[(0, 0), (1, 1), (1, 2), (9, 9)]).0, [Placed::Lane(0); 4]);
        let found = places(&[(30, 30), (0, 30), (31, 31), (1, 31), (32, 32), (2, 32), (33, 33), (3, 33)]).0;
        let second: Vec<Placed> = found.into_iter().skip(1).step_by(2).collect();
        assert_eq!(second, [Placed::Alone(1), Placed::Alone(1), Placed::Lane(1), Placed::Lane(1)]);
    }

    #[test]
    fn a_clock_set_back_goes_on_in_a_lane_that_becomes_the_first_and_says_by_how_much() {
        let mut samples: Vec<(i64, i64)> = (0..600).map(|second| (second, second)).collect();
        samples.extend((600..620).map(|second| (second - 500, second)));
        let (placed, steps) = places(&samples);
        assert_eq!(steps, [-500]);
        assert!(matches!(placed[605], Placed::Lane(lane) if lane > 0), "{:?}", placed[605]);
        assert_eq!(placed.iter().filter(|placed| **placed == Placed::Resent).count(), 2);
    }

    #[test]
    fn a_span_that_comes_again_in_one_go_is_a_resend() {
        let mut samples: Vec<(i64, i64)> = (0..600).map(|second| (second, second)).collect();
        samples.extend((100..400).map(|second| (second, 600)));
        samples.extend((600..610).map(|second| (second, second + 1)));
        let (placed, steps) = places(&samples);
        assert_eq!(steps, [0; 0]);
        assert!(placed[600..900].iter().all(|placed| *placed == Placed::Resent));
        assert!(placed[900..].iter().all(|placed| *placed == Placed::Lane(0)));
    }

    #[test]
    fn single_samples_that_come_again_are_no_clock_however_far_apart_they_are() {
        let mut samples: Vec<(i64, i64)> = (0..600).map(|second| (second, second)).collect();
        samples.extend([(200, 420), (370, 524), (383, 525)]);
        samples.sort_by_key(|(_, stamped)| *stamped);
        let placed = places(&samples).0;
        assert_eq!(placed.iter().filter(|placed| **placed == Placed::Resent).count(), 3, "{placed:?}");
    }

    #[test]
    fn what_had_waited_when_the_first_records_came_is_no_clock_that_was_set() {
        let mut samples: Vec<(i64, i64)> = (0..240).map(|second| (second, 240)).collect();
        samples.extend((240..300).map(|second| (second, second)));
        assert_eq!(places(&samples).1, [0; 0]);
        samples.extend((300..320).map(|second| (second + 3_600, second)));
        assert_eq!(places(&samples).1, [3_600]);
    }

    #[test]
    fn a_clock_set_ahead_is_told_once_it_lasts_and_one_record_is_not_enough() {
        let mut samples: Vec<(i64, i64)> = (0..10).map(|second| (second, second)).collect();
        samples.extend((10..20).map(|second| (second + 3_600, second)));
        assert_eq!(places(&samples).1, [3_600]);
        let mut samples: Vec<(i64, i64)> = (0..10).map(|second| (second, second)).collect();
        samples.push((3_310, 10));
        samples.extend((11..30).map(|second| (second, second)));
        let (placed, steps) = places(&samples);
        assert_eq!(steps, [0; 0]);
        assert!(matches!(placed[15], Placed::Lane(lane) if lane > 0));
    }

    #[test]
    fn what_was_buffered_and_never_came_is_judged() {
        let mut samples: Vec<(i64, i64)> = (0..100).map(|second| (second, second)).collect();
        samples.extend((400..420).map(|second| (second, second)));
        samples.extend((200..260).map(|second| (second, 420)));
        let placed = places(&samples).0;
        assert!(placed[122..].iter().all(|placed| matches!(placed, Placed::Late(..))), "{placed:?}");
    }

    #[test]
    fn what_was_buffered_for_less_than_a_minute_is_judged_however_much_has_come_since() {
        let mut samples: Vec<(i64, i64)> = (0..100).chain(130..230).map(|second| (second, second)).collect();
        samples.extend((100..130).map(|second| (second, 230)));
        let placed = places(&samples).0;
        assert!(placed[202..].iter().all(|placed| matches!(placed, Placed::Late(..))), "{placed:?}");
    }

    #[test]
    fn what_was_buffered_is_judged_after_a_span_that_came_again() {
        let mut samples: Vec<(i64, i64)> = (0..200).map(|second| (second, second)).collect();
        samples.extend((100..199).map(|second| (second, 222)));
        samples.extend((200..270).map(|second| (second, 267)));
        let placed = places(&samples).0;
        assert!(placed[200..299].iter().all(|placed| *placed == Placed::Resent), "{placed:?}");
        assert!(placed[299..].iter().all(|placed| *placed == Placed::Lane(0)), "{placed:?}");
    }

    #[test]
    fn what_was_buffered_counts_until_what_is_known_of_later_times() {
        let mut samples: Vec<(i64, i64)> = (0..100).chain(130..150).map(|second| (second, second)).collect();
        samples.extend((100..130).map(|second| (second, 150)));
        let placed = places(&samples).0;
        assert_eq!(placed[120..122], [Placed::Alone(1); 2]);
        assert!(placed[122..].iter().all(|placed| *placed == Placed::Late(1, 130 * SECOND)), "{placed:?}");
    }

    #[test]
    fn a_device_that_pauses_beside_another_is_no_clock_that_was_set() {
        let two = |second: i64| [(second, second), (second - 30, second)];
        let mut samples: Vec<(i64, i64)> = (0..100).flat_map(two).collect();
        samples.extend((100..150).map(|second| (second - 30, second)));
        samples.extend((150..200).flat_map(two));
        let (placed, steps) = places(&samples);
        assert_eq!(steps, [0; 0]);
        assert!(placed[200..250].iter().all(|placed| *placed == Placed::Lane(1)), "{placed:?}");
        assert!(placed[250..].iter().step_by(2).all(|placed| *placed == Placed::Lane(0)), "{placed:?}");
    }

    #[test]
    fn what_was_buffered_goes_on_in_its_own_lane_however_near_another_clock_is() {
        let two = |second: i64| [(second + 138, second), (second, second)];
        let mut samples: Vec<(i64, i64)> = (0..100).flat_map(two).collect();
        samples.extend((100..180).map(|second| (second, second)));
        samples.extend((100..180).map(|second| (second + 138, 180)));
        samples.extend((180..200).flat_map(two));
        let placed = places(&samples).0;
        assert!(placed[200..280].iter().all(|placed| *placed == Placed::Lane(1)), "{placed:?}");
        assert!(placed[280..360].iter().all(|placed| *placed == Placed::Lane(0)), "{placed:?}");
    }

    #[test]
    fn samples_of_one_clock_are_one_lane_however_they_jitter() {
        let jittered = |second: i64| (second - second % 3, second);
        let mut samples: Vec<(i64, i64)> = (0..30).map(|second| (second, second)).collect();
        samples.extend((30..60).map(|second| (second - 4, second + 1))); // some of them come late
        samples.extend((60..120).map(jittered));
        let placed = places(&samples).0;
        let last: std::collections::BTreeSet<String> =
            placed[70..].iter().map(|placed| format!("{placed:?}")).collect();
        assert_eq!(last.len(), 1, "{placed:?}");
    }

    #[test]
    fn the_last_reading_of_a_slow_clock_sent_again_does_not_go_on_with_its_lane() {
        let mut samples: Vec<(i64, i64)> = (0..60).map(|second| (second + 250, second)).collect();
        samples.extend([(5, 20), (15, 30), (25, 40), (35, 50)]);
        samples.sort_by_key(|(_, stamped)| *stamped);
        samples.push((35, 59));
        let placed = places(&samples).0;
        assert_eq!(placed.last(), Some(&Placed::Resent), "{placed:?}");
    }

    #[test]
    fn a_record_that_comes_again_does_not_go_on_with_a_slower_clock_that_is_due() {
        let mut samples: Vec<(i64, i64)> = (0..128).step_by(4).map(|second| (second, second)).collect();
        samples.extend((31..128).step_by(4).map(|second| (second - 30, second)));
        samples.sort_by_key(|(_, stamped)| *stamped);
        let mut lanes = Lanes::default();
        let millis = |second: i64| second * SECOND + 250_000;
        for (at, stamped) in samples {
            lanes.note(millis(at), millis(stamped), Precedent::None, Source::Unnamed, None);
        }
        let noted = lanes.note(millis(100), millis(129), Precedent::Record, Source::Unnamed, None);
        assert_eq!(noted.placed, Placed::Resent);
    }

    #[test]
    fn a_cuff_whose_clock_is_set_back_goes_on_from_its_third_reading() {
        let mut samples: Vec<(i64, i64)> = (0..6).map(|reading| (reading * 600, reading * 600)).collect();
        samples.extend((6..10).map(|reading| (reading * 600 - 90_000, reading * 600)));
        let placed = places(&samples).0;
        assert!(matches!(placed[8..], [Placed::Lane(one), Placed::Lane(other)] if one == other), "{placed:?}");
    }

    #[test]
    fn a_slow_clock_that_says_each_thing_twice_is_one_lane() {
        let samples: Vec<(i64, i64)> = (0..60)
            .flat_map(|second| [(second + 250, second), (second, second), (second - 2, second)])
            .filter(|(at, _)| *at >= 0)
            .collect();
        let placed = places(&samples).0;
        let twice = placed.iter().skip(20).filter(|placed| **placed == Placed::Resent).count();
        let lanes: std::collections::BTreeSet<String> =
            placed.iter().skip(20).map(|placed| format!("{placed:?}")).collect();
        assert_eq!((twice > 50, lanes.len()), (true, 3), "{placed:?}");
    }

    #[test]
    fn a_span_that_comes_again_does_not_go_on_with_the_lane_of_a_slower_clock() {
        let two = |second: i64| [(second, second), (second - 250, second)];
        let mut samples: Vec<(i64, i64)> = (0..200).flat_map(two).collect();
        samples.extend((200..230).map(|second| (second - 250, second)));
        let before = samples.len();
        samples.extend((20..180).map(|second| (second, 230)));
        let placed = places(&samples).0;
        assert!(placed[before..].iter().all(|placed| *placed == Placed::Resent), "{placed:?}");
    }
}
