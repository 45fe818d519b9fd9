//! How pages write severities, times and lengths of time.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use wardwatch_alert::{Episode, State};
use wardwatch_model::terms::Severity;

/// The sign of a severity, by IEC 60601-1-8.
pub(super) fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "***",
        Severity::Medium => "**",
        Severity::Low => "*",
        Severity::Technical => "sensor",
    }
}

/// A length of time in its two largest units: `2 m 10 s`.
pub(super) fn length(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A time with its zone.
pub(super) fn time(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%-d %b %Y %H:%M:%S %Z").to_string()
}

/// The time of day with its zone.
pub(super) fn time_of_day(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%H:%M:%S %Z").to_string()
}

/// Relative where it was less than an hour ago, with its zone otherwise.
pub(super) fn ago(at: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> String {
    let age = now - at;
    if (TimeDelta::zero()..TimeDelta::hours(1)).contains(&age) {
        format!("{} ago", length(age))
    } else {
        time(at, zone)
    }
}

/// How an episode stands, in words.
pub(super) fn standing(episode: &Episode) -> String {
    let state = match episode.state {
        State::Latched => "gone, waits to be acknowledged",
        other => other.name(),
    };
    match (&episode.suppressed_by, episode.stale_at) {
        (Some(rule), _) => format!("{state}, waits for {rule}"),
        (None, Some(_)) => format!("{state}, no data"),
        (None, None) => state.to_owned(),
    }
}

/// Where a list of episodes goes on after this one.
pub(super) fn cursor_after(episode: &Episode) -> String {
    format!("{}.{}", episode.started_at.timestamp_micros(), episode.id)
}

/// What a cursor says: the begin and the id of an episode.
pub(super) fn cursor(text: &str) -> Option<(DateTime<Utc>, String)> {
    let (micros, id) = text.split_once('.')?;
    let is_id = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let at = DateTime::from_timestamp_micros(micros.parse().ok()?).filter(|at| is_kept(*at))?;
    is_id.then(|| (at, id.to_owned()))
}

/// Whether it is a time that databases keep, and so may be asked of them.
pub(super) fn is_kept(at: DateTime<Utc>) -> bool {
    (1_000..=9_998).contains(&chrono::Datelike::year(&at))
}

/// Text as one part of a path or of a query.
pub(super) fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// With a capital letter.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units() {
        let written = |seconds: i64| length(TimeDelta::seconds(seconds));
        assert_eq!([5, 130, 7_260, 90_000].map(written), ["5 s", "2 m 10 s", "2 h 01 m", "1 d 1 h"]);
    }

    #[test]
    fn a_cursor_is_a_time_that_a_database_keeps_and_an_id() {
        let at = DateTime::from_timestamp(1_800_000_000, 5_000).expect("a time");
        assert_eq!(cursor("1800000000000005.0123456789ab"), Some((at, "0123456789ab".to_owned())));
        // The year 31,290, and what is no id.
        for wrong in
            ["925277913010607434.fcaec2b133a1", "1800000000000005.x", "0.5", "", ".", "-99999999999999999.0123456789ab"]
        {
            assert_eq!(cursor(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_patients_id_is_one_part_of_a_path_whatever_it_is() {
        assert_eq!(encoded("a/../b c?<ü>"), "a%2F..%2Fb%20c%3F%3C%C3%BC%3E");
    }
}
