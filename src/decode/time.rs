//! The forms of time that devices send: ISO 8601 with or without a zone, and counts since 1970.

use chrono::{LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// Microseconds since 1970, UTC, of the time that `text` writes; `None` where it writes none.
///
/// - `2024-01-23 14:56:26`, with `T` or a space, with up to nine digits of fraction (the rest of a microsecond is
///   cut off), with `Z`, `+01`, `+0100` or `+01:00`, or in `zone` where no zone is written. A local time that a
///   clock change skips is read with the offset before the change, one that it repeats as the earlier of the two.
/// - a number since 1970: seconds below 10^11, milliseconds below 10^14, microseconds below 10^17, else
///   nanoseconds, so each form reaches from 1973 to beyond the year 5000.
///
/// Times before the year 1000 or after 9999 are none: MySQL's `DATETIME` ends there.
pub(super) fn micros(text: &str, zone: Tz) -> Option<i64> {
    let bytes = text.as_bytes();
    let is_date = bytes.len() >= 19 && bytes[4] == b'-' && bytes[7] == b'-';
    let micros = if is_date { iso(bytes, zone) } else { number(text) };
    micros.filter(|micros| KEPT.contains(micros))
}

/// 1000-01-01T00:00:00Z up to 10000-01-01T00:00:00Z.
const KEPT: std::ops::Range<i64> = -30_610_224_000_000_000..253_402_300_800_000_000;

fn number(text: &str) -> Option<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        return match whole.unsigned_abs() {
            0..100_000_000_000 => whole.checked_mul(1_000_000),
            100_000_000_000..100_000_000_000_000 => whole.checked_mul(1_000),
            100_000_000_000_000..100_000_000_000_000_000 => Some(whole),
            _ => Some(whole.div_euclid(1_000)),
        };
    }
    let seconds: f64 = text.parse().ok()?;
    let scale = if seconds.abs() < 1e11 { 1e6 } else { 1e3 };
    // A double holds microseconds exactly until the year 2255.
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    (seconds.is_finite() && seconds.abs() < 1e14).then(|| (seconds * scale).round() as i64)
}

fn iso(bytes: &[u8], zone: Tz) -> Option<i64> {
    let two = |at: usize| -> Option<u32> { Some(digit(bytes[at])? * 10 + digit(bytes[at + 1])?) };
    let separators = matches!(bytes[10], b'T' | b't' | b' ') && bytes[13] == b':' && bytes[16] == b':';
    if !separators {
        return None;
    }
    let year = two(0)? * 100 + two(2)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, two(5)?, two(8)?)?;
    let local = date.and_hms_opt(two(11)?, two(14)?, two(17)?)?;
    let (fraction, rest) = fraction(&bytes[19..])?;
    let micros = local.and_utc().timestamp_micros() + fraction;
    match rest {
        [] => Some(micros - offset_seconds(zone, local)? * 1_000_000),
        [b'Z' | b'z'] => Some(micros),
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let seconds = written_offset(zone)?;
            Some(if *sign == b'+' { micros - seconds * 1_000_000 } else { micros + seconds * 1_000_000 })
        }
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| u32::from(byte - b'0'))
}

/// The microseconds of `.123…` at the start of `bytes`, and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = bytes else { return Some((0, bytes)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > 9 {
        return None;
    }
    let micros = (0..6).fold(0, |micros, at| {
        let digit = if at < length { i64::from(digits[at] - b'0') } else { 0 };
        micros * 10 + digit
    });
    Some((micros, &digits[length..]))
}

/// The seconds of `HH`, `HHMM` or `HH:MM`.
fn written_offset(zone: &[u8]) -> Option<i64> {
    let (hours, minutes) = match zone {
        [a, b] => ([*a, *b], [b'0', b'0']),
        [a, b, c, d] | [a, b, b':', c, d] => ([*a, *b], [*c, *d]),
        _ => return None,
    };
    let number = |pair: [u8; 2]| Some(i64::from(digit(pair[0])? * 10 + digit(pair[1])?));
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60)
}

/// How far `zone` is ahead of UTC at the local time, in seconds.
fn offset_seconds(zone: Tz, local: NaiveDateTime) -> Option<i64> {
    if zone == Tz::UTC {
        return Some(0);
    }
    let instant = match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => instant,
        // No zone skips more than a day; three hours before a skipped hour lies before the change.
        LocalResult::None => {
            let before = local.checked_sub_signed(TimeDelta::hours(3))?;
            zone.from_local_datetime(&before).earliest()?
        }
    };
    let shown = instant.naive_local().and_utc().timestamp();
    Some(shown - instant.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, zone: Tz, expected: &str) {
        let expected = chrono::DateTime::parse_from_rfc3339(expected).expect("a time").timestamp_micros();
        assert_eq!(micros(text, zone), Some(expected), "{text}");
    }

    #[test]
    fn every_form_of_the_field_is_read() {
        check("2024-01-23 14:56:26", Tz::UTC, "2024-01-23T14:56:26Z");
        check("2025-03-01T10:00:00", Tz::Europe__Berlin, "2025-03-01T09:00:00Z");
        check("2025-03-01T10:00:00Z", Tz::Europe__Berlin, "2025-03-01T10:00:00Z");
        check("2025-03-01T10:00:00.1234567+01:00", Tz::UTC, "2025-03-01T09:00:00.123456Z");
        check("2025-03-01T10:00:00-0530", Tz::UTC, "2025-03-01T15:30:00Z");
        check("2025-03-01T10:00:00+01", Tz::UTC, "2025-03-01T09:00:00Z");
        check("1740823200", Tz::UTC, "2025-03-01T10:00:00Z");
        check("1740823200.25", Tz::UTC, "2025-03-01T10:00:00.25Z");
        check("1740823200250", Tz::UTC, "2025-03-01T10:00:00.25Z");
        check("1740823200250000", Tz::UTC, "2025-03-01T10:00:00.25Z");
        check("1740823200250000000", Tz::UTC, "2025-03-01T10:00:00.25Z");
        check("0", Tz::UTC, "1970-01-01T00:00:00Z");
        check("9999-12-31T23:59:59.999999Z", Tz::UTC, "9999-12-31T23:59:59.999999Z");
        check("2024-02-29T00:00:00Z", Tz::UTC, "2024-02-29T00:00:00Z");
    }

    #[test]
    fn a_clock_change_skips_forward_and_repeats_the_earlier() {
        check("2025-03-30 02:30:00", Tz::Europe__Berlin, "2025-03-30T01:30:00Z");
        check("2025-10-26 02:30:00", Tz::Europe__Berlin, "2025-10-26T00:30:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2024-02-30T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01",
            "2024-01-01T00:00:00+1",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00 UTC",
            "1e300",
            "NaN",
            "0999-12-31T23:59:59Z",
            "٢٠٢٤-01-01T00:00:00Z",
        ] {
            assert_eq!(micros(text, Tz::UTC), None, "{text}");
        }
    }
}
