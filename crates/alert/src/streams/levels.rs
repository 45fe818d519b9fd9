//! Two devices that have one name, or none, and whose clocks agree: what tells them apart is that values alternate
//! between two levels within seconds, as no patient's do. Pure: values in, levels out.

use super::seen::GAP;

/// So many jumps in a row from one level to the other and back are those of two devices: of values at random, each jump is
/// followed by the next with a probability below 0.4.
const ENOUGH: u8 = 20;

/// So many more values in a row may be of one level: devices do not take turns strictly.
const MOST_STAYS: u8 = 2;

/// And so many of one of the two, for one device may send more often than the other.
const LONGEST_STAY: u8 = 30;

/// So many times in a row at which two values come that are a jump apart, and near those of the time before, are those of two
/// devices: one has one value at a time. But where its clock tells whole seconds two may share one, and those are at random.
const ENOUGH_TWICE: u8 = 3;

/// What is a jump: by so much of the greater value.
const JUMP: f64 = 0.04;

/// Of the way between two levels, a value may be off its own by so much.
const NEAR: f64 = 0.2;

/// The levels that values jump between, if they do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Levels {
    /// The time of the last value.
    pub(super) at: i64,
    /// The last value.
    pub(super) here: Option<f64>,
    /// The last one on the other level.
    pub(super) there: Option<f64>,
    /// How many jumps there were in a row, and how many values since the last.
    pub(super) jumps: u8,
    pub(super) stays: u8,
    /// Which jumps were away from the level of which more values come in a row: 1 the odd ones, 2 the even ones, 0 none so far.
    pub(super) longer: u8,
    /// At how many times in a row two values came, and the last of them.
    pub(super) twice: u8,
    pub(super) twice_at: i64,
    /// The lower and the higher of these two values.
    pub(super) pair: (f64, f64),
    /// The time before that of the last value.
    pub(super) before: i64,
}

impl Levels {
    /// Takes note of a value. Returns the other level, where values alternate.
    pub(super) fn note(&mut self, at: i64, value: f64) -> Option<f64> {
        if let Some(other) = self.note_twice(at, value) {
            return Some(other);
        }
        if at.saturating_sub(self.at) > GAP {
            *self = self.of_times();
        }
        self.at = self.at.max(at);
        let here = self.here.replace(value)?;
        let off = |level: f64| (value - level).abs() / self.there.map_or(0.0, |there| (here - there).abs());
        match self.there {
            Some(_) if off(here) <= NEAR => {
                self.stays += 1;
                if self.stays > LONGEST_STAY {
                    *self = Self { here: Some(value), ..self.of_times() };
                }
            }
            Some(there) if off(there) <= NEAR && is_jump(value, here) => {
                if self.stays > MOST_STAYS {
                    let which = 1 + self.jumps % 2;
                    if self.longer == 3 - which {
                        // A patient may be at one for a while, and at the other.
                        *self = Self { here: Some(value), there: Some(here), jumps: 1, ..self.of_times() };
                        return None;
                    }
                    self.longer = which;
                }
                self.there = Some(here);
                // However many there are, odd ones stay odd.
                self.jumps = if self.jumps > 2 * ENOUGH { self.jumps - 1 } else { self.jumps + 1 };
                self.stays = 0;
            }
            _ => {
                let there = Some(here).filter(|here| is_jump(value, *here));
                let jumps = u8::from(there.is_some());
                *self = Self { here: Some(value), there, jumps, ..self.of_times() };
            }
        }
        self.there.filter(|_| self.jumps >= ENOUGH)
    }
}

impl Levels {
    /// What is known of times, and nothing of values.
    fn of_times(&self) -> Self {
        let Self { at, twice, twice_at, pair, before, .. } = *self;
        Self { at, twice, twice_at, pair, before, ..Self::default() }
    }

    /// Takes note of a value by its time alone. Returns the other value of that time, where two come again and again.
    fn note_twice(&mut self, at: i64, value: f64) -> Option<f64> {
        if at > self.at {
            self.before = self.at;
        }
        let other = self.here.filter(|here| at == self.at && is_jump(value, *here))?;
        if self.twice_at != at {
            let (pair, known) = ((other.min(value), other.max(value)), self.pair);
            let off = |now: f64, then: f64| (now - then).abs() / (known.1 - known.0);
            let is_alike = off(pair.0, known.0) <= NEAR && off(pair.1, known.1) <= NEAR;
            let goes_on = self.twice > 0 && self.twice_at == self.before && is_alike;
            self.twice = if goes_on { self.twice.saturating_add(1) } else { 1 };
            (self.twice_at, self.pair) = (at, pair);
        }
        (self.twice >= ENOUGH_TWICE).then_some(other)
    }
}

fn is_jump(from: f64, to: f64) -> bool {
    (from - to).abs() >= JUMP * from.abs().max(to.abs()) && from != to
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;

    /// After how many of these values they are known to alternate.
    fn known_after(values: impl IntoIterator<Item = f64>) -> Option<usize> {
        known_every(1, values)
    }

    fn known_every(seconds: i64, values: impl IntoIterator<Item = f64>) -> Option<usize> {
        let mut levels = Levels::default();
        let mut timed = values.into_iter().zip(1..);
        timed.position(|(value, place)| levels.note(place * seconds * 1_000_000, value).is_some())
    }

    #[test]
    fn values_of_two_devices_alternate_also_where_they_do_not_take_turns() {
        assert_eq!(known_after([80.0, 100.0].repeat(20)), Some(20));
        assert_eq!(known_after([80.0, 100.0, 99.0, 81.0].repeat(20)), Some(39));
        assert_eq!(known_after((0..40).flat_map(|second| [100.0 - f64::from(second) / 2.0, 140.0])), Some(20));
        // One that sends each second, the other each fifth or ninth.
        assert!(known_after([[70.0; 4].as_slice(), &[120.0]].concat().repeat(20)).is_some_and(|after| after <= 52));
        assert!(known_after([[70.0; 8].as_slice(), &[120.0]].concat().repeat(20)).is_some_and(|after| after <= 92));
    }

    #[test]
    fn values_of_one_patient_do_not() {
        assert_eq!(known_after([84.0, 86.0].repeat(100)), None);
        assert_eq!(known_after((0..1_000).map(|second| 80.0 + 20.0 * (f64::from(second) / 9.0).sin())), None);
        assert_eq!(known_after([[90.0; 30], [60.0; 30]].repeat(20).concat()), None);
        assert_eq!(known_after([60.0, 90.0, 120.0, 150.0].repeat(20)), None);
        assert_eq!(known_after([0.0; 100]), None);
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        assert_eq!(known_after((0..100_000).map(|_| random.random_range(100.0..120.0))), None);
        assert_eq!(known_every(10, [80.0, 100.0].repeat(10)), None);
    }

    #[test]
    fn one_whose_clock_tells_whole_seconds_is_no_two_however_often_two_values_share_one() {
        let known = |values: &mut dyn FnMut(i64) -> f64| {
            let mut levels = Levels::default();
            (0..20_000).position(|place| levels.note((place / 2 + 1) * 2_000_000, values(place)).is_some())
        };
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        assert!(known(&mut |_| random.random_range(106.0..118.0)).is_none_or(|after| after > 1_000));
        assert_eq!(known(&mut |place| if place % 2 == 0 { 80.0 } else { 97.0 }), Some(5));
    }
}
