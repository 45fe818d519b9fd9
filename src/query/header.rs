//! The `-- @key: value` lines at the head of a query file.

use std::time::Duration;

use crate::diagnostic::unknown;

/// What the header of a table query says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableHeader {
    /// The columns that identify a row; they become the table's primary key.
    pub key: Vec<String>,
    /// When a window's rows are written; only of use to a query with one.
    pub emit: Emit,
    /// Where a query that is new to a running job begins; only of use to one with a window.
    pub start: Begin,
}

/// When the rows of a window are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Once, when the watermark has passed its end.
    Close,
    /// With every batch that changes it.
    Change,
}

/// Where a windowed query that is new to a running job begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the windows that are open.
    Now,
    /// With the oldest record that the job has read and Kafka still holds.
    Earliest,
}

/// What the header of a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHeader {
    /// How soon somebody must act.
    pub severity: Severity,
    /// How long the condition must hold, in event time, before the alert fires.
    pub hold: Duration,
    /// How long it must be gone, in event time, before the alert ends.
    pub clear_after: Duration,
    /// The text of the alert, with `{column}` and `{column:.1}` in it, and where it stands.
    pub message: Option<Placed<String>>,
}

/// The priorities of IEC 60601-1-8, and the conditions that concern the signal and not the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The signal, not the patient.
    Technical,
    /// Awareness.
    Low,
    /// Prompt response.
    Medium,
    /// Immediate response.
    High,
}

impl Severity {
    const ALL: [Self; 4] = [Self::High, Self::Medium, Self::Low, Self::Technical];

    /// The name used in headers and in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Technical => "technical",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The severity called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// A value and where it stands in its file, both counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub line: usize,
    /// Its column in characters.
    pub column: usize,
}

/// A fault in a header, with its place.
pub(super) type Fault = Placed<String>;

const TABLE_KEYS: [&str; 3] = ["key", "emit", "start"];
const RULE_KEYS: [&str; 4] = ["severity", "for", "clear_after", "message"];

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
    let hold = entries.duration("for");
    let clear_after = entries.duration("clear_after");
    let message = entries.take("message");
    entries.finish(RuleHeader { severity: severity.unwrap_or(Severity::Technical), hold, clear_after, message })
}

/// Reads the header of a view, which has nothing to say. Errors: every line of it.
pub(super) fn view(text: &str) -> Result<(), Vec<Fault>> {
    Entries::read(text, &[]).finish(())
}

/// The header's lines, taken one by one.
struct Entries {
    found: Vec<(String, Placed<String>)>,
    faults: Vec<Fault>,
}

impl Entries {
    /// The header ends at the first line that is neither blank nor a comment.
    fn read(text: &str, known: &[&str]) -> Self {
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
                known,
            );
        }
        entries
    }

    fn add(&mut self, name: &str, name_place: Placed<String>, value: Placed<String>, known: &[&str]) {
        if !known.contains(&name) {
            let message = match known {
                [] => format!("a view has no header keys; found \"{name}\""),
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

    fn duration(&mut self, name: &str) -> Duration {
        let Some(entry) = self.take(name) else { return Duration::ZERO };
        humantime::parse_duration(&entry.value).unwrap_or_else(|_| {
            self.fault(&entry, format!("\"{}\" is not a length of time; write \"10s\" or \"2m\"", entry.value));
            Duration::ZERO
        })
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
