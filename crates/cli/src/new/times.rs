//! How times are written that job files need to be told of.

use std::collections::BTreeSet;

use super::names::quoted;

/// Whether these are times of a day.
pub(super) fn is_clock(values: &[String]) -> bool {
    let is_clock = |value: &String| value.contains(':') && value.len() <= 12 && !value.contains(['-', '/', 'T']);
    !values.is_empty() && values.iter().all(is_clock)
}

/// What has to be said of times that are not written in the usual order, and what is in doubt about it.
pub(super) fn time_settings(values: &[String]) -> (String, Option<String>) {
    if is_clock(values) {
        return (", day = \"@stamp\"".to_owned(), Some("of the day of Kafka's stamp".to_owned()));
    }
    let read: Option<Vec<Day>> = values.iter().map(|value| Day::of(value)).collect();
    let Some(read) = read.filter(|read| !read.is_empty()) else { return (String::new(), None) };
    let is_month_first = read.iter().any(|day| day.second > 12);
    let is_sure = is_month_first || read.iter().any(|day| day.first > 12);
    let order = if is_month_first { ["%m", "%d"] } else { ["%d", "%m"] };
    let formats: BTreeSet<String> = read.iter().map(|day| day.format(order)).collect();
    let formats: Vec<String> = formats.iter().map(|format| quoted(format)).collect();
    let formats = if let [format] = &formats[..] { format.clone() } else { format!("[{}]", formats.join(", ")) };
    let doubt = (!is_sure).then(|| "the day may stand before the month, or behind it".to_owned());
    (format!(", time_format = {formats}"), doubt)
}

/// Whether these look like times with their day.
pub(super) fn is_time(values: &[String]) -> bool {
    let is_iso = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 16
            && bytes[..4].iter().all(u8::is_ascii_digit)
            && bytes[4] == b'-'
            && bytes[7] == b'-'
            && text.contains(':')
    };
    // Seconds, milli-, micro- or nanoseconds from 2001 to 2065.
    let is_count = |text: &str| {
        let first = text.split('.').next().unwrap_or_default();
        matches!(first.len(), 10 | 13 | 16 | 19)
            && first.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(first.as_bytes()[0], b'1' | b'2')
    };
    values.iter().all(|value| is_iso(value.trim()) || is_count(value.trim()) || Day::of(value).is_some())
}

/// A day and a time of day with the day in another order than ISO 8601's.
struct Day {
    mark: char,
    first: u32,
    second: u32,
    is_short_year: bool,
    has_seconds: bool,
    has_fraction: bool,
    has_half: bool,
}

impl Day {
    fn of(text: &str) -> Option<Self> {
        let (day, clock) = text.trim().split_once(' ')?;
        let mark = day.chars().find(|c| matches!(c, '.' | '/' | '-'))?;
        let parts: Vec<&str> = day.split(mark).collect();
        let [first, second, year] = parts[..] else { return None };
        let clock = clock.trim();
        let half = ["AM", "PM", "am", "pm"].into_iter().find(|half| clock.ends_with(half));
        let clock = half.map_or(clock, |half| clock.trim_end_matches(half).trim_end());
        let is_clock =
            clock.contains(':') && clock.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
        let is_year = matches!(year.len(), 2 | 4) && first.len() <= 2 && second.len() <= 2;
        (is_clock && is_year && year.parse::<u32>().is_ok()).then_some(())?;
        Some(Self {
            mark,
            first: first.parse().ok()?,
            second: second.parse().ok()?,
            is_short_year: year.len() == 2,
            has_seconds: clock.matches(':').count() == 2,
            has_fraction: clock.contains('.'),
            has_half: half.is_some(),
        })
    }

    fn format(&self, [first, second]: [&str; 2]) -> String {
        let mark = self.mark;
        let year = if self.is_short_year { "%y" } else { "%Y" };
        let hour = if self.has_half { "%I" } else { "%H" };
        let seconds = match (self.has_seconds, self.has_fraction) {
            (true, true) => ":%S%.f",
            (true, false) => ":%S",
            (false, _) => "",
        };
        let half = if self.has_half { " %p" } else { "" };
        format!("{first}{mark}{second}{mark}{year} {hour}:%M{seconds}{half}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[&str]) -> (String, Option<String>) {
        time_settings(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_order_of_a_day_is_told_where_it_is_another() {
        assert_eq!(settings(&["2026-01-13 10:00"]).0, "");
        assert_eq!(settings(&["13.01.2026 10:00"]), (", time_format = \"%d.%m.%Y %H:%M\"".to_owned(), None));
        assert_eq!(settings(&["01/13/26 10:00:05 PM"]), (", time_format = \"%m/%d/%y %I:%M:%S %p\"".to_owned(), None));
        let (format, doubt) = settings(&["01/02/2026 10:00", "01/02/2026 10:00:01"]);
        assert_eq!(format, ", time_format = [\"%d/%m/%Y %H:%M\", \"%d/%m/%Y %H:%M:%S\"]");
        assert!(doubt.is_some());
        assert!(settings(&["10:00:05"]).0.contains("day = \"@stamp\""));
    }
}
