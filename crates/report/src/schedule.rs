//! When reports are due. Times in, times out.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::spec::plain::Schedule;

/// So many missed ones are made up for at most, the newest.
const MOST_MISSED: usize = 48;

impl Schedule {
    /// The last time at which it was due, at `now`.
    fn last_due(self, now: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        match self {
            Self::Every(length) => {
                let length = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
                // Midnight in the ward is a multiple of what divides a day there.
                let local = now.with_timezone(&zone).naive_local();
                let into_day = (local - local.date().and_time(NaiveTime::MIN)).num_seconds();
                if 86_400 % length == 0 {
                    return now - TimeDelta::seconds(into_day % length) - fraction(now);
                }
                now - TimeDelta::seconds(now.timestamp().rem_euclid(length)) - fraction(now)
            }
            Self::Daily(time) => {
                let today = now.with_timezone(&zone).date_naive();
                let on = |day: chrono::NaiveDate| {
                    // A time that the change of clocks leaves out is the first after it.
                    let local = day.and_time(time);
                    zone.from_local_datetime(&local)
                        .earliest()
                        .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest())
                        .map_or(now, |time| time.to_utc())
                };
                let due = on(today);
                if due <= now { due } else { on(today - Days::new(1)) }
            }
        }
    }

    /// The times at which it was due after `since` and up to `now`, oldest first.
    #[must_use]
    pub fn due(self, since: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> Vec<DateTime<Utc>> {
        let mut due = Vec::new();
        let mut at = self.last_due(now, zone);
        while at > since && due.len() < MOST_MISSED {
            due.push(at);
            at = self.last_due(at - TimeDelta::microseconds(1), zone);
        }
        due.reverse();
        due
    }
}

fn fraction(time: DateTime<Utc>) -> TimeDelta {
    TimeDelta::nanoseconds(i64::from(time.timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_report_of_every_hour_is_due_at_full_hours_and_missed_ones_are_made_up() {
        let hourly = Schedule::Every(Duration::from_secs(3_600));
        let now = at("2026-03-01T10:20:30.5Z");
        assert_eq!(
            hourly.due(at("2026-03-01T08:00:00Z"), now, chrono_tz::UTC),
            [at("2026-03-01T09:00:00Z"), at("2026-03-01T10:00:00Z")]
        );
        assert!(hourly.due(at("2026-03-01T10:00:00Z"), now, chrono_tz::UTC).is_empty());
    }

    #[test]
    fn a_daily_report_goes_by_the_clock_of_the_ward_through_its_changes() {
        let daily = Schedule::Daily(NaiveTime::from_hms_opt(2, 30, 0).expect("a time"));
        let berlin = chrono_tz::Europe::Berlin;
        // On 29 March 2026 there is no 02:30 in Berlin; on 25 October there are two.
        let spring = daily.due(at("2026-03-28T01:30:00Z"), at("2026-03-30T12:00:00Z"), berlin);
        assert_eq!(spring, [at("2026-03-29T01:30:00Z"), at("2026-03-30T00:30:00Z")]);
        let autumn = daily.due(at("2026-10-24T00:30:00Z"), at("2026-10-25T12:00:00Z"), berlin);
        assert_eq!(autumn, [at("2026-10-25T00:30:00Z")]);
    }

    #[test]
    fn a_long_absence_does_not_ask_for_a_year_of_reports() {
        let hourly = Schedule::Every(Duration::from_secs(3_600));
        let due = hourly.due(at("2025-01-01T00:00:00Z"), at("2026-01-01T00:30:00Z"), chrono_tz::UTC);
        assert_eq!(due.len(), MOST_MISSED);
        assert_eq!(due.last(), Some(&at("2026-01-01T00:00:00Z")));
    }
}
