//! One lane: a run of samples whose event times ascend, the clock that tells them, and how long it waits for more.

/// Clocks that differ by no more than this are taken to agree.
pub const CLOCK_TOLERANCE: i64 = 10_000_000;

/// So many samples in a row that keep pace with Kafka's stamps make a lane.
pub(super) const ENOUGH: u32 = 3;

/// So many, over so much event time, tell that a clock was set.
const LASTING: u32 = 5;
const LASTING_SPAN: i64 = 4_000_000;

/// And they must span this much event time: of records sent at once, nothing tells how fast the clock goes.
pub(super) const LEAST_SPAN: i64 = 2_000_000;

/// A lane that has had no sample for so long is let go, by stamps: a cuff measures every ten minutes to four hours.
const LANE_PATIENCE: i64 = 6 * 3_600_000_000;

/// And one that is not certain to be one.
const DOUBT_PATIENCE: i64 = 120_000_000;

/// A lane of alternating values that has had no sample for so long is no more.
const LEVEL_PATIENCE: i64 = 120_000_000;

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
    pub(super) fn of(at: i64, stamped: i64) -> Self {
        Self { at, stamped, samples: 1 }
    }

    /// Whether a sample lies as far behind its stamp as the first of the run. Records sent in one go have their stamps
    /// together, however far apart their times are.
    pub(super) fn keeps_pace(self, at: i64, stamped: i64) -> bool {
        let (passed, waited) = (at.saturating_sub(self.at), stamped.saturating_sub(self.stamped));
        passed.saturating_sub(waited).abs() <= 200_000 + passed / 2
    }

    /// The run with one more sample, or begun again with it.
    pub(super) fn with(self, at: i64, stamped: i64) -> Self {
        match self.samples {
            0 => Self::of(at, stamped),
            samples if self.keeps_pace(at, stamped) => Self { samples: samples.saturating_add(1), ..self },
            _ => Self::of(at, stamped),
        }
    }

    /// Whether a later sample lies as far behind its stamp as the last one did, whenever it comes.
    pub(super) fn goes_on(self, at: i64, delay: i64) -> bool {
        let before = self.stamped.saturating_sub(self.at);
        self.samples > 0 && at > self.at && delay.saturating_sub(before).abs() <= CLOCK_TOLERANCE
    }

    /// Whether `at` is the last of enough samples.
    pub(super) fn is_enough(self, at: i64) -> bool {
        self.samples >= ENOUGH && at.saturating_sub(self.at) >= LEAST_SPAN
    }

    /// Whether it lasts: enough to say that a clock was set, and not that records come faster than they were measured.
    pub(super) fn lasts(self, at: i64, stamped: i64) -> bool {
        let (passed, waited) = (at.saturating_sub(self.at), stamped.saturating_sub(self.stamped));
        let keeps_pace = passed.saturating_sub(waited).abs() <= 200_000 + passed / 5;
        self.samples >= LASTING && passed >= LASTING_SPAN && keeps_pace
    }
}

impl Lane {
    /// How long it may be without a sample, in a stream that `pauses` for so long.
    pub(super) fn patience(&self, pauses: i64) -> i64 {
        match self.is_certain {
            true if self.level.is_some() => LEVEL_PATIENCE,
            true => LANE_PATIENCE,
            // A cuff says no more about its clock until it measures again.
            false => DOUBT_PATIENCE.max(pauses.saturating_mul(3)).min(LANE_PATIENCE),
        }
    }

    /// How far a sample's value is from the lane's, where values tell lanes apart; a device has one value at a time.
    pub(super) fn off(&self, at: i64, value: Option<f64>) -> (bool, u64) {
        let distance = self.level.zip(value).map(|(level, value)| (level - value).abs());
        // Of numbers that are not negative, the bits are in their order.
        distance.map_or((false, 0), |distance| (self.newest == at, distance.to_bits()))
    }

    /// Whether a sample keeps pace with the last one: it lies about as far behind its stamp, and does not come faster than it
    /// was measured.
    pub(super) fn keeps_pace(&self, at: i64, stamped: i64) -> bool {
        let (passed, waited) = (at.saturating_sub(self.newest), stamped.saturating_sub(self.stamped));
        passed.saturating_sub(waited).abs() <= CLOCK_TOLERANCE && passed.saturating_sub(waited) <= 200_000 + passed / 2
    }

    /// Whether a later sample goes on with it. One out of a known span does so at the lane's pace only, where it has one, for it
    /// may have come before, from another device; and in a lane of such samples, one that is new has no place while it is not
    /// certain. That a clock that was set tells a time again to the fraction of a second, with the same values, is no more likely
    /// than that it comes again.
    pub(super) fn takes(&self, at: i64, stamped: i64, known: Precedent) -> bool {
        let keeps_pace = || self.paced > 0 && self.keeps_pace(at, stamped);
        match (self.is_certain, known) {
            (false, known) if self.is_known_span => known != Precedent::None,
            (_, Precedent::None) => true,
            (_, Precedent::Span) => keeps_pace(),
            (_, Precedent::Record) => (self.is_known_span || at % 1_000_000 == 0) && keeps_pace(),
        }
    }

    /// Whether a sample that lies so far behind its stamp is told by the same clock.
    pub(super) fn agrees(&self, delay: i64) -> bool {
        delay.saturating_sub(self.delay).abs() <= CLOCK_TOLERANCE
    }

    pub(super) fn begin(id: u32, at: i64, stamped: i64) -> Self {
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
    pub(super) fn note_pace(&mut self, at: i64, stamped: i64) {
        self.paced = if self.keeps_pace(at, stamped) { self.paced.saturating_add(1) } else { 0 };
    }

    /// Goes on with a sample that is not before its newest. Returns by how much the clock was set, where that is known now.
    pub(super) fn go_on(&mut self, at: i64, stamped: i64) -> Option<i64> {
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

    /// Whether its delay is that of a clock.
    pub(super) fn tells_clock(&self) -> bool {
        self.is_certain && !self.is_left && u32::from(self.paced) + 1 >= LASTING
    }
}
