//! The `-- @key: value` lines at the head of a query file.

use std::time::Duration;

use wardwatch_model::diagnostic::unknown;
use wardwatch_model::header::{Begin, Emit, Extreme, PeakOf, Placed, RuleHeader, TableHeader};
use wardwatch_model::terms::Severity;

use super::lint_names::LINTS;

/// A fault in a header, with its place.
pub(super) type Fault = Placed<String>;

/// The keys of a table's header, with what they say.
pub(super) const TABLE_KEYS: [(&str, &str); 4] = [
    ("key", "the columns that identify a row, its primary key: `patient_id, window_start`; needed"),
    (
        "emit",
        "of windows: `close` (or nothing) writes a row once, when it closes; `change` with every batch that changes it",
    ),
    (
        "start",
        "of windows: a new query begins `now` (or nothing) with those that are open, `earliest` with Kafka's oldest record",
    ),
    ALLOW,
];

/// The keys of a rule's header, with what they say.
pub(super) const RULE_KEYS: [(&str, &str); 11] = [
    ("severity", "`high`, `medium`, `low` (IEC 60601-1-8), or `technical`: the signal, not the patient; needed"),
    ("for", "how long the condition must hold, in event time, before the alert fires: `10s`"),
    ("clear_after", "how long it must be gone, in event time, before the alert ends: `15s`"),
    ("clear_when", "a condition: only where it is true has the alert's gone (hysteresis): `v.spo2 > t.low + 2`"),
    ("message", "the alert's text, with `{column}` and `{column:.1}` in it"),
    ("peak", "what the worst value is: `max(heart_rate)`, `min(spo2)`; without it, the first column of the message"),
    (
        "latch",
        "`yes`: an alert that nobody has acknowledged outlasts its condition, as high ones do without saying so; `no`",
    ),
    ("repeat", "how long after an acknowledgement people are reminded while the condition persists: `3m`"),
    ("stale_after", "after how long without a value an alert is stale, instead of the job's"),
    ("suppresses", "of technical rules: the rules that cannot be judged meanwhile, `*` for all"),
    ALLOW,
];

/// The keys of a view's header.
pub(super) const VIEW_KEYS: [(&str, &str); 1] = [ALLOW];

const ALLOW: (&str, &str) = ("allow", "warnings that are not to be given, by name: `no-delay`");

/// Reads the header of a table query. Errors: every fault in it.
pub(super) fn table(text: &str) -> Result<TableHeader, Vec<Fault>> {
    let mut entries = Entries::read(text, &TABLE_KEYS);
    let key = entries.take("key").map(|entry| {
        let names: Vec<String> = entry.value.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            entries.fault(&entry, "@key names no column; write \"-- @key: patient_id, event_time\"".to_owned());
        }
        names
    });
    if key.is_none() {
        let at_start = Placed { value: String::new(), line: 1, column: 1 };
        entries
            .fault(&at_start, "missing @key: name the columns that identify a row, \"-- @key: patient_id\"".to_owned());
    }
    let emit = entries.choice("emit", &[("close", Emit::Close), ("change", Emit::Change)]);
    let start = entries.choice("start", &[("now", Begin::Now), ("earliest", Begin::Earliest)]);
    entries.finish(TableHeader { key: key.unwrap_or_default(), emit, start })
}

/// Reads the header of a rule. Errors: every fault in it.
pub(super) fn rule(text: &str) -> Result<RuleHeader, Vec<Fault>> {
    let mut entries = Entries::read(text, &RULE_KEYS);
    let severity = entries.take("severity").map(|entry| {
        Severity::from_name(&entry.value).unwrap_or_else(|| {
            let message = unknown("severity", &entry.value, Severity::ALL.iter().map(|severity| severity.name()));
            entries.fault(&entry, message);
            Severity::Technical
        })
    });
    if severity.is_none() {
        let at_start = Placed { value: String::new(), line: 1, column: 1 };
        entries.fault(&at_start, "missing @severity: high, medium, low or technical".to_owned());
    }
    let severity = severity.unwrap_or(Severity::Technical);
    let hold_at = entries.place("for");
    let hold = entries.duration("for").unwrap_or_default();
    let clear_after = entries.duration("clear_after").unwrap_or_default();
    let message = entries.take("message");
    let clear_when = entries.take("clear_when");
    let latch = entries.latch(severity);
    let repeat = entries.duration("repeat");
    let stale_after = entries.duration("stale_after");
    let suppresses = entries.suppresses(severity);
    let peak = entries.peak();
    entries.finish(RuleHeader {
        severity,
        hold,
        hold_at,
        clear_after,
        message,
        clear_when,
        latch,
        repeat,
        stale_after,
        suppresses,
        peak,
    })
}

/// Reads the header of a view, which has nothing to say. Errors: every line of it.
pub(super) fn view(text: &str) -> Result<(), Vec<Fault>> {
    Entries::read(text, &VIEW_KEYS).finish(())
}

/// The lints that a file allows. Errors: one that there is not.
pub(super) fn allowed(text: &str) -> Result<Vec<String>, Vec<Fault>> {
    let mut entries = Entries::read(text, &VIEW_KEYS);
    // What else is wrong is told by those who read the header for what it is.
    entries.faults.clear();
    let Some(entry) = entries.take("allow") else { return Ok(Vec::new()) };
    let names: Vec<String> = entry.value.split(',').map(|name| name.trim().to_owned()).collect();
    let known = || LINTS.iter().map(|(name, _)| *name);
    for name in names.iter().filter(|name| !known().any(|known| known == name.as_str())) {
        entries.fault(&entry, format!("@allow: {}", unknown("warning", name, known())));
    }
    entries.finish(names)
}

/// The header's lines, taken one by one.
struct Entries {
    found: Vec<(String, Placed<String>)>,
    faults: Vec<Fault>,
}

impl Entries {
    /// The header ends at the first line that is neither blank nor a comment.
    fn read(text: &str, keys: &[(&str, &str)]) -> Self {
        let known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
        let mut entries = Self { found: Vec::new(), faults: Vec::new() };
        let lines =
            text.lines().zip(1..).take_while(|(line, _)| line.trim().is_empty() || line.trim_start().starts_with("--"));
        for (line, number) in lines {
            let comment = line.trim_start().trim_start_matches('-').trim_start();
            let Some(entry) = comment.strip_prefix('@') else { continue };
            let column = |part: &str| line[..line.len() - part.len()].chars().count() + 1;
            let Some((name, value)) = entry.split_once(':') else {
                entries.faults.push(Placed {
                    value: format!("\"@{}\" has no value; write \"-- @key: value\"", entry.trim()),
                    line: number,
                    column: column(entry) - 1,
                });
                continue;
            };
            // A second "--" starts a remark, as in "-- @for: 10s   -- in event time".
            let value = value.split(" --").next().unwrap_or_default();
            let place = Placed {
                value: value.trim().to_owned(),
                line: number,
                column: column(&entry[name.len() + 1..]) + value.len() - value.trim_start().len(),
            };
            entries.add(
                name.trim(),
                Placed { value: name.trim().to_owned(), line: number, column: column(entry) },
                place,
                &known,
            );
        }
        entries
    }

    fn add(&mut self, name: &str, name_place: Placed<String>, value: Placed<String>, known: &[&str]) {
        if !known.contains(&name) {
            let message = match known {
                ["allow"] => format!("a view has no header keys but \"allow\"; found \"{name}\""),
                _ => unknown("header key", name, known.iter().copied()),
            };
            self.fault(&name_place, message);
        } else if let Some((_, first)) = self.found.iter().find(|(taken, _)| taken == name) {
            let message = format!("@{name} stands in line {} already", first.line);
            self.fault(&name_place, message);
        } else {
            self.found.push((name.to_owned(), value));
        }
    }

    fn take(&mut self, name: &str) -> Option<Placed<String>> {
        let index = self.found.iter().position(|(found, _)| found == name)?;
        Some(self.found.remove(index).1)
    }

    /// Where an entry stands that is not taken yet; the start of the file where there is none.
    fn place(&self, name: &str) -> (usize, usize) {
        let entry = self.found.iter().find(|(found, _)| found == name);
        entry.map_or((1, 1), |(_, entry)| (entry.line, entry.column))
    }

    /// One of `choices`; the first where the header says nothing.
    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let (_, default) = choices[0];
        let Some(entry) = self.take(name) else { return default };
        match choices.iter().find(|(known, _)| *known == entry.value) {
            Some((_, chosen)) => *chosen,
            None => {
                let message = unknown(&format!("@{name}"), &entry.value, choices.iter().map(|(known, _)| *known));
                self.fault(&entry, message);
                default
            }
        }
    }

    fn duration(&mut self, name: &str) -> Option<Duration> {
        let entry = self.take(name)?;
        let length = humantime::parse_duration(&entry.value).ok();
        if length.is_none() {
            self.fault(&entry, format!("\"{}\" is not a length of time; write \"10s\" or \"2m\"", entry.value));
        }
        length
    }

    fn latch(&mut self, severity: Severity) -> Option<bool> {
        let entry = self.take("latch")?;
        match entry.value.as_str() {
            "yes" if severity == Severity::Technical => {
                self.fault(
                    &entry,
                    "a technical alert never latches: it is about the signal; leave @latch out".to_owned(),
                );
                None
            }
            "yes" => Some(true),
            "no" => Some(false),
            other => {
                let message = unknown("@latch", other, ["yes", "no"].into_iter());
                self.fault(&entry, message);
                None
            }
        }
    }

    /// The rules named, each with its place.
    fn suppresses(&mut self, severity: Severity) -> Vec<Placed<String>> {
        let Some(entry) = self.take("suppresses") else { return Vec::new() };
        if severity != Severity::Technical {
            let message = "@suppresses is for technical rules: an alert about a patient hides no other".to_owned();
            self.fault(&entry, message);
            return Vec::new();
        }
        let mut names = Vec::new();
        let mut before = 0;
        for part in entry.value.split(',') {
            let column = entry.column + before + part.chars().take_while(|letter| letter.is_whitespace()).count();
            names.push(Placed { value: part.trim().to_owned(), line: entry.line, column });
            before += part.chars().count() + 1;
        }
        names
    }

    fn peak(&mut self) -> Option<Placed<PeakOf>> {
        let entry = self.take("peak")?;
        let inside = |function: &str| {
            entry.value.strip_prefix(function)?.trim().strip_prefix('(')?.strip_suffix(')').map(str::trim)
        };
        let found = [("min", Extreme::Min), ("max", Extreme::Max)]
            .into_iter()
            .find_map(|(function, extreme)| Some(PeakOf { extreme, column: inside(function)?.to_owned() }));
        match found {
            Some(peak) => Some(Placed { value: peak, line: entry.line, column: entry.column }),
            None => {
                let message = format!("\"{}\" is no peak; write \"max(heart_rate)\" or \"min(spo2)\"", entry.value);
                self.fault(&entry, message);
                None
            }
        }
    }

    fn fault(&mut self, place: &Placed<String>, message: String) {
        self.faults.push(Placed { value: message, line: place.line, column: place.column });
    }

    fn finish<T>(self, header: T) -> Result<T, Vec<Fault>> {
        if self.faults.is_empty() { Ok(header) } else { Err(self.faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_header_is_read_with_remarks_and_places() {
        let header = rule("-- Too fast.\n-- @severity: high   -- a remark\n-- @for: 10s\n\n--  @message: HR {heart_rate:.0}\nSELECT 1\n-- @for: 1s")
            .expect("valid");
        assert_eq!(header.severity, Severity::High);
        assert_eq!(header.hold, Duration::from_secs(10));
        let message = header.message.expect("a message");
        assert_eq!((message.value.as_str(), message.line, message.column), ("HR {heart_rate:.0}", 5, 15));
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let check = |faults: Vec<Fault>, expected: &[(usize, usize, &str)]| {
            assert_eq!(faults.len(), expected.len(), "{faults:?}");
            for (fault, (line, column, text)) in faults.iter().zip(expected) {
                assert_eq!((fault.line, fault.column), (*line, *column), "{fault:?}");
                assert!(fault.value.contains(text), "{fault:?}");
            }
        };
        check(table("SELECT 1").expect_err("refused"), &[(1, 1, "missing @key")]);
        check(table("-- @keys: a\n").expect_err("refused"), &[(1, 5, "did you mean \"key\"?"), (1, 1, "missing @key")]);
        check(table("-- @key: a\n-- @key: b").expect_err("refused"), &[(2, 5, "stands in line 1 already")]);
        check(table("-- @key: a,").expect_err("refused"), &[(1, 10, "names no column")]);
        check(
            rule("-- @severity: hihg\n-- @for: long\n-- @message").expect_err("refused"),
            &[(3, 4, "has no value"), (1, 15, "did you mean \"high\"?"), (2, 10, "not a length of time")],
        );
    }
}
