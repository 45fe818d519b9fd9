//! The only place that reads the time.
//!
//! Everything that decides by time takes a [`DateTime`] as a value or a [`Clock`], so that tests set it.

#![allow(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]

use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tracing::warn;

/// A source of time.
pub trait Clock: Debug + Send + Sync {
    /// The time of day, to the microsecond, which is what the store keeps. People and time servers set it, so it may step
    /// either way.
    fn now(&self) -> DateTime<Utc>;

    /// How much time has passed since some moment: it never steps, and says nothing about the time of day.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    fn monotonic(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<(DateTime<Utc>, Duration)>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    /// Lets `by` pass.
    pub fn advance(&self, by: Duration) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.0 += by;
        shown.1 += by;
    }

    /// Sets the time of day, as somebody does to a machine whose clock is wrong; no time passes.
    pub fn set(&self, now: DateTime<Utc>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// A clock that steps forward by more than a second is believed once it has stood by that for so long: a machine that was
/// asleep, or a wrong clock that was put right. A step that is taken back within that time leaves no trace.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// Differences up to this are followed at once: time servers make them all the time.
const SMALL: TimeDelta = TimeDelta::seconds(1);

/// While a steady clock is ahead of the machine's, a tenth of the time that passes is left out, until they agree.
const SLOWED: u32 = 10;

/// A time of day that never goes back and never jumps for a moment: by a clock, and at the pace at which time passes.
///
/// Where the clock is ahead by more than a second, time passes as measured until the clock has stood by that for
/// `BELIEVED_AFTER`, then it is followed. Where the clock is behind, time passes by nine tenths until they agree. So whatever
/// is measured between two readings is wrong by a tenth at most, but for steps forward that turned out to be right.
#[derive(Debug)]
pub struct SteadyClock {
    clock: Arc<dyn Clock>,
    shown: DateTime<Utc>,
    read: Duration,
    ahead_since: Option<Duration>,
    is_behind: bool,
    /// By how much the clock was behind when it was read last.
    behind: TimeDelta,
}

impl SteadyClock {
    /// A clock that goes on from `last`, the newest time that anybody was told, or shows what `clock` shows if that is later.
    ///
    /// A `clock` that is more than a second behind `last` is told in the log.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, last: Option<DateTime<Utc>>) -> Self {
        let now = clock.now();
        let shown = last.map_or(now, |last| last.max(now));
        let mut steady = Self {
            read: clock.monotonic(),
            clock,
            shown,
            ahead_since: None,
            is_behind: false,
            behind: TimeDelta::zero(),
        };
        steady.tell(now);
        steady
    }

    /// The time now; at least the time that was read before.
    pub fn now(&mut self) -> DateTime<Utc> {
        let (now, read) = (self.clock.now(), self.clock.monotonic());
        let passed = read.saturating_sub(self.read);
        let measured = self.shown + passed;
        if now > measured + SMALL {
            let since = *self.ahead_since.get_or_insert(read);
            let is_believed = read.saturating_sub(since) >= BELIEVED_AFTER;
            if is_believed {
                warn!(from = %measured.to_rfc3339(), to = %now.to_rfc3339(), "this machine's clock was set forward; followed");
                self.ahead_since = None;
            }
            self.shown = if is_believed { now } else { measured };
        } else {
            self.ahead_since = None;
            self.shown = now.max(self.shown + (passed - passed / SLOWED));
        }
        self.shown = self.shown.trunc_subsecs(6);
        self.read = read;
        self.tell(now);
        self.shown
    }

    /// By how much the clock is behind the time that this one shows, where that is more than a small correction.
    #[must_use]
    pub fn behind(&self) -> Option<TimeDelta> {
        self.is_behind.then_some(self.behind)
    }

    /// Tells once that the clock is behind, and once that it no longer is.
    fn tell(&mut self, now: DateTime<Utc>) {
        let behind = self.shown - now;
        self.behind = behind;
        if behind > SMALL && !self.is_behind {
            warn!(clock = %now.to_rfc3339(), now = %self.shown.to_rfc3339(), behind_seconds = behind.num_seconds(),
                "this machine's clock is behind the last batch; time passes a tenth slower until it has caught up: set the \
                 clock right");
        }
        self.is_behind = behind > if self.is_behind { TimeDelta::zero() } else { SMALL };
    }
}

/// Measures how long something took, by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of `limit`; zero once it has passed.
    #[must_use]
    pub fn left_of(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn clocks(now: i64, last: Option<i64>) -> (Arc<ManualClock>, SteadyClock) {
        let manual = Arc::new(ManualClock::new(second(now)));
        let steady = SteadyClock::new(manual.clone(), last.map(second));
        (manual, steady)
    }

    #[test]
    fn a_clock_that_runs_ahead_for_a_moment_changes_nothing() {
        let (manual, mut steady) = clocks(1_000, None);
        manual.set(second(1_000 + 172_800));
        manual.advance(Duration::from_secs(1));
        assert_eq!(steady.now(), second(1_001));
        manual.set(second(1_001));
        for passed in 1..=100 {
            manual.advance(Duration::from_secs(1));
            assert_eq!(steady.now(), second(1_001 + passed));
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_and_stays_there_is_followed_after_a_while() {
        let (manual, mut steady) = clocks(1_000, None);
        manual.set(second(5_000));
        assert_eq!(steady.now(), second(1_000));
        manual.advance(Duration::from_secs(9));
        assert_eq!(steady.now(), second(1_009));
        manual.advance(Duration::from_secs(1));
        assert_eq!(steady.now(), second(5_010));
    }

    #[test]
    fn time_passes_by_nine_tenths_while_the_clock_is_behind_and_never_goes_back() {
        let (manual, mut steady) = clocks(1_000, Some(1_020));
        assert_eq!(steady.now(), second(1_020));
        manual.advance(Duration::from_secs(100));
        assert_eq!(steady.now(), second(1_110));
        manual.advance(Duration::from_secs(100));
        assert_eq!(steady.behind(), Some(TimeDelta::seconds(10)));
        assert_eq!(steady.now(), second(1_200), "they agree");
        assert_eq!(steady.behind(), None);
        manual.set(second(1_100));
        manual.advance(Duration::from_secs(10));
        assert_eq!(steady.now(), second(1_209));
    }

    #[test]
    fn small_corrections_are_followed_at_once() {
        let (manual, mut steady) = clocks(1_000, None);
        manual.set(second(1_000) + TimeDelta::milliseconds(700));
        assert_eq!(steady.now(), second(1_000) + TimeDelta::milliseconds(700));
    }
}
