//! The forms of time that devices send: ISO 8601 with or without a zone, HL7's digits, and counts since 1970.

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use wardwatch_config::{TimeUnit, TimeWritten};

/// What a time that names no zone depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// The zone that is meant.
    pub(super) zone: Tz,
    /// When Kafka stamped the record, in microseconds since 1970.
    pub(super) stamp: Option<i64>,
}

impl Clock {
    /// Whether Kafka stamped the record in a time like ours, and not one of a recording that is played.
    fn is_stamped_today(self) -> bool {
        self.stamp.is_some_and(|stamp| PLAUSIBLE.contains(&stamp))
    }
}

/// What a record has beside a time that belongs to it.
#[derive(Debug, Default)]
pub(super) struct TimeFields {
    /// From when it counts.
    pub(super) origin: Option<String>,
    /// What is added.
    pub(super) plus: Option<String>,
}

/// So many seconds or more count from 1970, whatever the origin; fewer count from it (RFC 8428, section 4.5.3).
const ABSOLUTE: f64 = 268_435_456.0;

/// The same as [`read`] of a column that says how its times are written. One that lies too far from Kafka's stamp does not count.
pub(super) fn read_as(text: &str, clock: Clock, written: &TimeWritten, fields: &TimeFields) -> Result<i64, String> {
    let plus = match (&fields.plus, &written.plus) {
        (Some(plus), Some((field, unit))) => {
            let count: f64 =
                plus.parse().map_err(|_| format!("goes with field \"{field}\", which is \"{plus}\", not a number"))?;
            micros_of(count, *unit).ok_or_else(|| NOT_VALID.to_owned())?
        }
        _ => 0,
    };
    let micros = base(text, clock, written, fields.origin.as_deref()).map_err(|reason| match &written.formats[..] {
        [_, ..] if reason == NOT_VALID => {
            let formats: Vec<String> = written.formats.iter().map(|format| format!("\"{format}\"")).collect();
            format!("is not a valid time, and not written as {}", formats.join(" or "))
        }
        _ => reason,
    });
    let micros = micros?.saturating_add(plus);
    match (written.most_off_stamp, clock.stamp) {
        _ if !KEPT.contains(&micros) => Err(NOT_VALID.to_owned()),
        (Some(most), Some(stamp)) if micros.saturating_sub(stamp).saturating_abs() > most => {
            Err(format!("lies too far from Kafka's stamp, {}, which counts in its place", shown(stamp)))
        }
        _ => Ok(micros),
    }
}

fn base(text: &str, clock: Clock, written: &TimeWritten, origin: Option<&str>) -> Result<i64, String> {
    let second = TimeUnit { per_microsecond: 1, microseconds: 1_000_000 };
    let has_origin = !written.origin.is_empty();
    let unit = written.count_in.or(has_origin.then_some(second));
    if let Some((unit, count)) = unit.and_then(|unit| Some((unit, text.parse::<f64>().ok()?))) {
        let micros = micros_of(count, unit).ok_or_else(|| NOT_VALID.to_owned())?;
        let is_absolute = !has_origin || (unit == second && count >= ABSOLUTE);
        return match origin {
            _ if is_absolute => match of_another_unit(micros, clock.stamp) {
                Some(meant) => Err(format!(
                    "counts, in the column's unit, to {}; in another it is {}",
                    shown(micros),
                    shown(meant)
                )),
                None => Ok(micros),
            },
            Some(origin) => {
                let from = read(origin, clock);
                let from = from.map_err(|reason| format!("counts from \"{origin}\", which {reason}"))?;
                Ok(from.saturating_add(micros))
            }
            None => {
                let origins: Vec<String> = written.origin.iter().map(|path| format!("\"{path}\"")).collect();
                Err(format!("counts from field {}, which has no value", origins.join(" or ")))
            }
        };
    }
    for format in &written.formats {
        // Four digits are wanted for a year, and two are read as one too: then another format may be meant.
        if let Some(micros) = formatted(text, format, clock, written.year_pivot).filter(|micros| KEPT.contains(micros))
        {
            return Ok(micros);
        }
    }
    if written.is_near_stamp
        && let Some(time) = time_of_day(text, &written.formats)
    {
        let stamp = clock
            .stamp
            .ok_or_else(|| "is a time of day, and the topic keeps no stamps that tell the day".to_owned())?;
        return near(time, stamp, clock).ok_or_else(|| NOT_VALID.to_owned());
    }
    read(text, clock)
}

/// The time that a count tells in another unit, where that is about Kafka's stamp and this one far from it.
fn of_another_unit(micros: i64, stamp: Option<i64>) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    let stamp = stamp.filter(|stamp| *stamp > 0)?;
    let off = |micros: i64| micros.saturating_sub(stamp).saturating_abs();
    if off(micros) < 365 * DAY {
        return None;
    }
    let scales = [1_000, 1_000_000, 1_000_000_000].into_iter();
    let mut others = scales.flat_map(|scale: i64| [micros.checked_mul(scale), Some(micros / scale)]).flatten();
    others.find(|other| off(*other) < 2 * DAY)
}

fn micros_of(count: f64, unit: TimeUnit) -> Option<i64> {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the range is checked")]
    let micros = count * unit.microseconds as f64 / f64::from(unit.per_microsecond);
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    (micros.is_finite() && micros.abs() < 9e18).then(|| micros.round() as i64)
}

/// The time that `text` writes in a format of chrono's. `pivot`: the first year of two digits that is of 1900, in formats that
/// have such.
fn formatted(text: &str, format: &str, clock: Clock, pivot: Option<i32>) -> Option<i64> {
    let pivot = pivot.filter(|_| TimeWritten::has_short_year(format));
    if let Ok(instant) = DateTime::parse_from_str(text, format) {
        return in_century(instant, pivot).map(|instant| instant.timestamp_micros());
    }
    let local = NaiveDateTime::parse_from_str(text, format).ok()?;
    in_zone(in_century(local, pivot)?, 0, b"", clock)
}

/// The same time of the century that the pivot says.
fn in_century<T: Datelike>(time: T, pivot: Option<i32>) -> Option<T> {
    let Some(pivot) = pivot else { return Some(time) };
    let year = time.year().rem_euclid(100);
    time.with_year(if year < pivot { 2_000 + year } else { 1_900 + year })
}

/// The time that `text` writes without a day.
fn time_of_day(text: &str, formats: &[String]) -> Option<NaiveTime> {
    let usual = ["%I:%M:%S %p", "%I:%M %p", "%H:%M:%S%.f", "%H:%M", "%H%M%S"];
    let mut all = formats.iter().map(String::as_str).chain(usual);
    all.find_map(|format| NaiveTime::parse_from_str(text, format).ok())
}

/// The time of day on the day that brings it nearest to Kafka's stamp.
fn near(time: NaiveTime, stamp: i64, clock: Clock) -> Option<i64> {
    let stamped = DateTime::from_timestamp_micros(stamp)?.with_timezone(&clock.zone).date_naive();
    let days = [stamped.pred_opt(), Some(stamped), stamped.succ_opt()];
    let times = days.into_iter().flatten().filter_map(|day| in_zone(day.and_time(time), 0, b"", clock));
    times.min_by_key(|micros| micros.abs_diff(stamp))
}

/// Microseconds since 1970, UTC, of the time that `text` writes, or why it writes none, to be read behind it.
///
/// - `2024-01-23 14:56:26`, with `T` or a space, with or without seconds and a fraction (what is less than a microsecond is cut
///   off), with `Z`, `UTC`, `+01`, `+0100` or `+01:00`, a space before it or not, and a zone in brackets behind it or in its
///   stead.
/// - the same without its dashes and colons: `20240123145626.5+0100`, `202401231456`, `20240123T145626Z`.
/// - `[2026,1,1,10,0,0,250000000]`: year, month, day, hour, minute and, if they are not zero, second and nanoseconds, as Java's
///   Jackson writes local times.
/// - a number since 1970: seconds below 10^11, milliseconds below 10^14, microseconds below 10^17, else nanoseconds. It must
///   give a time from 1990 on and before 2300, or be less than 7,305 seconds (the seconds of a short recording; as days
///   since 1970 these are before 1990): digits are never taken for a time of another year than the one that was meant.
///
/// Where no zone is written it is the clock's. A local time that a clock change skips is read with the offset before the
/// change; of one that it repeats, the one nearer to Kafka's stamp counts, without a stamp the earlier. Times before the
/// year 1000 or after 9999 are none: MySQL's `DATETIME` ends there.
pub(super) fn read(text: &str, clock: Clock) -> Result<i64, String> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'[') {
        return list(text, clock).ok_or_else(|| NOT_VALID.to_owned());
    }
    if bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' {
        return iso(bytes, clock).filter(|micros| KEPT.contains(micros)).ok_or_else(|| match date(&bytes[..10]) {
            Some(_) if bytes.len() == 10 => {
                "is a day without a time; write it like \"2026-01-01T00:00:00Z\"".to_owned()
            }
            _ => NOT_VALID.to_owned(),
        });
    }
    let counted = count(text);
    let plausible = counted.filter(|micros| PLAUSIBLE.contains(micros));
    match (plausible, compact(bytes, clock)) {
        (Some(count), Compact::Time(written)) => nearer(count, written, clock.stamp),
        (Some(count), _) => Ok(count),
        (None, Compact::Time(written)) => Ok(written),
        (None, Compact::Day(day)) => Err(format!(
            "is a day without a time, {day}, and not a plausible count since 1970{}; write it like \"{day}T00:00:00Z\"",
            counted.map(|micros| format!(", which would be {}", shown(micros))).unwrap_or_default(),
        )),
        (None, Compact::No) => match counted {
            None => Err(NOT_VALID.to_owned()),
            // Who stamps a record today does not count from 1970, and four digits are a year.
            Some(_) if clock.is_stamped_today() && is_year(text) => {
                Err("is a year without month and day; write it like \"2026-01-01T00:00:00Z\"".to_owned())
            }
            Some(micros) if (0..SHORT).contains(&micros) => Ok(micros),
            Some(micros) => Err(implausible(text, micros)),
        },
    }
}

/// Whether a time that [`read`] takes names no zone, so that it depends on the job's.
pub(super) fn names_no_zone(text: &str) -> bool {
    let at = |zone| read(text, Clock { zone, stamp: None }).ok();
    at(Tz::UTC).is_some() && at(Tz::UTC) != at(Tz::Asia__Kathmandu)
}

const NOT_VALID: &str = "is not a valid time; write it like \"2026-01-01T00:00:00Z\"";

/// 1000-01-01T00:00:00Z up to 10000-01-01T00:00:00Z.
const KEPT: std::ops::Range<i64> = -30_610_224_000_000_000..253_402_300_800_000_000;

/// 1990-01-01T00:00:00Z up to 2300-01-01T00:00:00Z: data sets for research are dated as far ahead.
const PLAUSIBLE: std::ops::Range<i64> = 631_152_000_000_000..10_413_792_000_000_000;

/// So many microseconds are 7,305 seconds; 1990 began as many days after 1970.
const SHORT: i64 = 7_305_000_000;

/// Whether four digits, and nothing else, may be a year of this time.
fn is_year(text: &str) -> bool {
    text.len() == 4
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse().is_ok_and(|year| (1900..2200).contains(&year))
}

fn shown(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .map_or_else(|| "no time at all".to_owned(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn implausible(text: &str, micros: i64) -> String {
    let days = text.parse().ok().and_then(NaiveDate::from_epoch_days);
    let days = days.filter(|day| (1990..2300).contains(&day.year()));
    let days = days.map(|day| format!(", as days since 1970 {day}")).unwrap_or_default();
    format!(
        "is not a plausible time: as a count since 1970 it would be {}{days}; write it like \"2026-01-01T00:00:00Z\"",
        shown(micros)
    )
}

/// Of two readings of the same digits the one nearer to Kafka's stamp.
fn nearer(count: i64, written: i64, stamp: Option<i64>) -> Result<i64, String> {
    match stamp {
        Some(stamp) if count.abs_diff(stamp) < written.abs_diff(stamp) => Ok(count),
        Some(_) => Ok(written),
        None => Err(format!(
            "may be {} or, as a count since 1970, {}; write it like \"2026-01-01T00:00:00Z\"",
            shown(written),
            shown(count)
        )),
    }
}

/// The time so long after 1970, in the unit that its size tells.
fn count(text: &str) -> Option<i64> {
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

/// What digits without dashes and colons write.
enum Compact {
    Time(i64),
    Day(NaiveDate),
    No,
}

/// `yyyymmdd[T]hh[mm[ss[fff]]]`, with a fraction and an offset; years from 1900 to 2200.
fn compact(bytes: &[u8], clock: Clock) -> Compact {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length = digits(bytes);
    let day = bytes.get(..8).filter(|_| length >= 8).and_then(day);
    let Some(day) = day.filter(|day| (1900..=2200).contains(&day.year())) else { return Compact::No };
    let rest = &bytes[8..];
    let rest = rest.strip_prefix(b"T").unwrap_or(rest);
    let (time, behind) = rest.split_at(digits(rest));
    let two = |at: usize| time.get(at..at + 2).map_or(Some(0), |pair| Some(digit(pair[0])? * 10 + digit(pair[1])?));
    let fraction = match time.len() {
        0 if behind.is_empty() => return Compact::Day(day),
        2 | 4 => Some((0, behind)),
        6 => fraction(behind),
        // Milliseconds without a point before them.
        9 => std::str::from_utf8(&time[6..])
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .map(|ms| (ms * 1_000, behind)),
        _ => None,
    };
    let local = || day.and_hms_opt(two(0)?, two(2)?, two(4)?);
    let micros = fraction.and_then(|(micros, zone)| in_zone(local()?, micros, zone, clock));
    micros.map_or(Compact::No, Compact::Time)
}

fn day(digits: &[u8]) -> Option<NaiveDate> {
    let number = |digits: &[u8]| digits.iter().try_fold(0, |number, byte| Some(number * 10 + digit(*byte)?));
    NaiveDate::from_ymd_opt(i32::try_from(number(&digits[..4])?).ok()?, number(&digits[4..6])?, number(&digits[6..8])?)
}

/// The day of `yyyy-mm-dd`.
fn date(bytes: &[u8]) -> Option<NaiveDate> {
    let two = |at: usize| -> Option<u32> { Some(digit(bytes[at])? * 10 + digit(bytes[at + 1])?) };
    NaiveDate::from_ymd_opt(i32::try_from(two(0)? * 100 + two(2)?).ok()?, two(5)?, two(8)?)
}

/// The time of a list of numbers.
fn list(text: &str, clock: Clock) -> Option<i64> {
    let numbers = text.strip_prefix('[')?.strip_suffix(']')?.split(',').map(|number| number.trim().parse::<u32>().ok());
    let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
    if !(5..=7).contains(&numbers.len()) {
        return None;
    }
    let at = |place: usize| numbers.get(place).copied().unwrap_or(0);
    let day = NaiveDate::from_ymd_opt(i32::try_from(at(0)).ok()?, at(1), at(2))?;
    let nanos = Some(at(6)).filter(|nanos| *nanos < 1_000_000_000)?;
    let micros = in_zone(day.and_hms_opt(at(3), at(4), at(5))?, i64::from(nanos / 1_000), b"", clock)?;
    KEPT.contains(&micros).then_some(micros)
}

fn iso(bytes: &[u8], clock: Clock) -> Option<i64> {
    let two = |at: usize| -> Option<u32> { Some(digit(bytes[at])? * 10 + digit(bytes[at + 1])?) };
    if bytes.len() < 16 || !matches!(bytes[10], b'T' | b't' | b' ') || bytes[13] != b':' {
        return None;
    }
    let has_seconds = bytes.len() >= 19 && bytes[16] == b':';
    let seconds = if has_seconds { two(17)? } else { 0 };
    let local = date(bytes)?.and_hms_opt(two(11)?, two(14)?, seconds)?;
    let (micros, zone) = if has_seconds { fraction(&bytes[19..])? } else { (0, &bytes[16..]) };
    in_zone(local, micros, zone, clock)
}

/// The instant of a local time and a fraction of a second in the zone that `written` names, or else the clock's.
fn in_zone(local: NaiveDateTime, fraction: i64, written: &[u8], clock: Clock) -> Option<i64> {
    let micros = local.and_utc().timestamp_micros() + fraction;
    let seconds = match written.strip_prefix(b" ").unwrap_or(written) {
        [] if written.is_empty() => offset_seconds(local, clock)?,
        [b'Z' | b'z'] | b"UTC" => 0,
        // In its stead: there is nothing else that tells the zone.
        [b'[', name @ .., b']'] => {
            let zone = std::str::from_utf8(name).ok()?.parse().ok()?;
            offset_seconds(local, Clock { zone, ..clock })?
        }
        // Behind an offset the zone's name says nothing more.
        [inside @ .., b']'] => {
            let open = inside.iter().position(|byte| *byte == b'[')?;
            return in_zone(local, fraction, &inside[..open], clock).filter(|_| open > 0);
        }
        [sign @ (b'+' | b'-'), offset @ ..] => {
            let seconds = written_offset(offset)?;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    Some(micros - seconds * 1_000_000)
}

fn digit(byte: u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| u32::from(byte - b'0'))
}

/// The microseconds of `.123…` at the start of `bytes`, and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = bytes else { return Some((0, bytes)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
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

/// How far the clock's zone is ahead of UTC at the local time, in seconds.
fn offset_seconds(local: NaiveDateTime, Clock { zone, stamp }: Clock) -> Option<i64> {
    if zone == Tz::UTC {
        return Some(0);
    }
    let instant = match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) => instant,
        LocalResult::Ambiguous(earlier, later) => {
            let distance = |instant: &DateTime<Tz>| stamp.map(|stamp| instant.timestamp_micros().abs_diff(stamp));
            if distance(&later) < distance(&earlier) { later } else { earlier }
        }
        // No zone skips more than a day; three hours before a skipped hour lies before the change.
        LocalResult::None => {
            let before = local.checked_sub_signed(TimeDelta::hours(3))?;
            zone.from_local_datetime(&before).earliest()?
        }
    };
    let shown = instant.naive_local().and_utc().timestamp();
    Some(shown - instant.timestamp())
}

/// A zone that is so many microseconds ahead of UTC at a time, one that many people live in.
pub(super) fn zone_ahead(ahead: i64, at: i64) -> Option<Tz> {
    const ZONES: [Tz; 30] = [
        Tz::Europe__Berlin,
        Tz::Europe__London,
        Tz::Asia__Kolkata,
        Tz::Asia__Shanghai,
        Tz::America__New_York,
        Tz::America__Chicago,
        Tz::America__Denver,
        Tz::America__Los_Angeles,
        Tz::America__Sao_Paulo,
        Tz::Europe__Helsinki,
        Tz::Europe__Istanbul,
        Tz::Asia__Dubai,
        Tz::Asia__Tehran,
        Tz::Asia__Karachi,
        Tz::Asia__Kathmandu,
        Tz::Asia__Dhaka,
        Tz::Asia__Yangon,
        Tz::Asia__Bangkok,
        Tz::Asia__Tokyo,
        Tz::Australia__Adelaide,
        Tz::Australia__Sydney,
        Tz::Australia__Brisbane,
        Tz::Australia__Darwin,
        Tz::Pacific__Auckland,
        Tz::America__Halifax,
        Tz::America__St_Johns,
        Tz::Africa__Lagos,
        Tz::Africa__Johannesburg,
        Tz::Asia__Kabul,
        Tz::Pacific__Honolulu,
    ];
    let at = DateTime::from_timestamp_micros(at)?.naive_utc();
    ZONES
        .into_iter()
        .find(|zone| i64::from(zone.offset_from_utc_datetime(&at).fix().local_minus_utc()) * 1_000_000 == ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, zone: Tz, expected: &str) {
        let expected = chrono::DateTime::parse_from_rfc3339(expected).expect("a time").timestamp_micros();
        assert_eq!(read(text, Clock { zone, stamp: None }), Ok(expected), "{text}");
    }

    fn reason(text: &str) -> String {
        read(text, Clock { zone: Tz::UTC, stamp: None }).expect_err(text)
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
        check("479.5", Tz::UTC, "1970-01-01T00:07:59.5Z");
        check("2026-01-01T10:00", Tz::UTC, "2026-01-01T10:00:00Z");
        check("2026-01-01T10:00Z", Tz::Europe__Berlin, "2026-01-01T10:00:00Z");
        check("2026-01-01 10:00:00 +0100", Tz::UTC, "2026-01-01T09:00:00Z");
        check("2026-01-01 10:00:00 UTC", Tz::Europe__Berlin, "2026-01-01T10:00:00Z");
        check("2026-01-01T11:00:00+01:00[Europe/Berlin]", Tz::UTC, "2026-01-01T10:00:00Z");
        check("2026-01-01T11:00:00[Europe/Berlin]", Tz::UTC, "2026-01-01T10:00:00Z");
        check("2026-01-01T10:00:00.1234567890Z", Tz::UTC, "2026-01-01T10:00:00.123456Z");
        check("2026-01-01T10:00:00 Z", Tz::Europe__Berlin, "2026-01-01T10:00:00Z");
        check("20260101T100000Z", Tz::Europe__Berlin, "2026-01-01T10:00:00Z");
        check("20260101100000", Tz::UTC, "2026-01-01T10:00:00Z");
        check("20260101100000", Tz::Europe__Berlin, "2026-01-01T09:00:00Z");
        check("20260101100000.821+0100", Tz::UTC, "2026-01-01T09:00:00.821Z");
        check("20260101100000.821", Tz::UTC, "2026-01-01T10:00:00.821Z");
        check("20260101100000821", Tz::UTC, "2026-01-01T10:00:00.821Z");
        check("202601011000", Tz::UTC, "2026-01-01T10:00:00Z");
        check("202601011000-0500", Tz::UTC, "2026-01-01T15:00:00Z");
        check("5680281600", Tz::UTC, "2150-01-01T00:00:00Z");
        check("9999-12-31T23:59:59.999999Z", Tz::UTC, "9999-12-31T23:59:59.999999Z");
        check("2024-02-29T00:00:00Z", Tz::UTC, "2024-02-29T00:00:00Z");
    }

    #[test]
    fn a_clock_change_skips_forward_and_repeats_the_earlier() {
        check("2025-03-30 02:30:00", Tz::Europe__Berlin, "2025-03-30T01:30:00Z");
        check("2025-10-26 02:30:00", Tz::Europe__Berlin, "2025-10-26T00:30:00Z");
    }

    #[test]
    fn of_a_local_time_that_comes_twice_the_one_nearer_to_the_stamp_is_meant() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros();
        let read = |stamp: &str| {
            let clock = Clock { zone: Tz::Europe__Berlin, stamp: Some(at(stamp)) };
            read("2025-10-26 02:30:00", clock).expect("a time")
        };
        assert_eq!(read("2025-10-26T00:30:05Z"), at("2025-10-26T00:30:00Z"));
        assert_eq!(read("2025-10-26T01:29:55Z"), at("2025-10-26T01:30:00Z"));
        assert_eq!(read("2025-10-26T01:00:00Z"), at("2025-10-26T00:30:00Z"));
    }

    #[test]
    fn digits_are_never_another_year_without_a_word() {
        assert!(reason("20454").contains("1970-01-01T05:40:54Z, as days since 1970 2026-01-01"), "{}", reason("20454"));
        assert!(reason("20260101").contains("is a day without a time, 2026-01-01"), "{}", reason("20260101"));
        assert!(reason("20260101").contains("1970-08-23"), "{}", reason("20260101"));
        assert!(reason("2026-01-01").contains("is a day without a time"));
        assert!(
            reason("20261301100000").contains("as a count since 1970 it would be 2612"),
            "{}",
            reason("20261301100000")
        );
        // Ten digits may be both.
        assert!(reason("2026010110").contains("2026-01-01T10:00:00Z or, as a count since 1970, 2034-03-15"));
        let near = |stamp: &str| {
            let stamp = DateTime::parse_from_rfc3339(stamp).expect("a time").timestamp_micros();
            shown(read("2026010110", Clock { zone: Tz::UTC, stamp: Some(stamp) }).expect("a time"))
        };
        assert_eq!(near("2026-01-01T10:20:00Z"), "2026-01-01T10:00:00Z");
        assert_eq!(near("2034-03-15T00:00:00Z"), shown(2_026_010_110_000_000));
    }

    #[test]
    fn a_time_that_names_no_zone_is_told_from_one_that_does() {
        for (text, expected) in [
            ("2026-01-01 10:00:00", true),
            ("20260101100000", true),
            ("2026-01-01T10:00:00Z", false),
            ("20260101100000+0100", false),
            ("1767225600", false),
            ("soon", false),
        ] {
            assert_eq!(names_no_zone(text), expected, "{text}");
        }
        let at = 1_767_261_600_000_000;
        assert_eq!(zone_ahead(19_800_000_000, at), Some(Tz::Asia__Kolkata));
        assert_eq!(zone_ahead(3_600_000_000, at), Some(Tz::Europe__Berlin));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2024-02-30T00:00:00Z",
            "-1",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01",
            "2024-01-01T00:00:00+1",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00 ",
            "2024-01-01T00:00:00[Nowhere]",
            "2024-01-01T00:0",
            "20240230100000", // the year 2611 otherwise
            "20240101T10000",
            "[2026,1,1]",
            "[2026,1,1,25,0]",
            "1e300",
            "NaN",
            "0999-12-31T23:59:59Z",
            "٢٠٢٤-01-01T00:00:00Z",
        ] {
            assert!(read(text, Clock { zone: Tz::UTC, stamp: None }).is_err(), "{text}");
        }
    }
}
