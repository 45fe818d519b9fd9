//! The lists that analysts look things up in, made from what the code knows.

use std::collections::BTreeMap;
use std::fmt::Write;

use datafusion::logical_expr::Documentation;

use wardwatch_config::FEATURE_KINDS;

use super::functions::FrozenTimes;
use super::given::given_tables;
use super::header::{RULE_KEYS, TABLE_KEYS, VIEW_KEYS};
use super::lint_names::LINTS;
use super::refuse::is_refused;
use super::session::context;

/// Our own functions, with what they give; DataFusion has no words for them.
const OURS: [(&str, &str); 6] = [
    ("tumble(time, size)", "in GROUP BY: the start of the window of this length that the time lies in"),
    (
        "hop(time, slide, size)",
        "in GROUP BY: the starts of the windows that the time lies in, one every slide; size is a multiple of it",
    ),
    (
        "session(time, gap)",
        "in GROUP BY: the start of the session: rows of which each is less than gap behind the one before",
    ),
    ("now()", "the batch's frozen time; also current_timestamp"),
    ("current_date()", "the day of that; also today()"),
    ("event_now()", "the devices' time: the newest event time, moved on while nothing comes"),
];

/// The reference of headers, warnings and functions, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text =
        "# Reference\n\nMade from the code by `make golden`. What it means is in [the guide](analysts.md).\n"
            .to_owned();
    text += "\n## Headers\n\n`-- @key: value` lines before the SQL.\n";
    for (what, keys) in [("table query", &TABLE_KEYS[..]), ("rule", &RULE_KEYS), ("view", &VIEW_KEYS)] {
        let rows = keys.iter().map(|(key, says)| (format!("`@{key}`"), (*says).to_owned()));
        let _ = write!(text, "\n{}", table(&format!("header of a {what}"), "says", rows));
    }
    let plain = |(name, says): &(&str, &str)| (format!("`{name}`"), (*says).to_owned());
    text += "\n## Warnings\n\n";
    text += &table("name", "what is wrong", LINTS.iter().map(plain));
    text += "\n## Tables\n\nWhat the job gives where `[source] table = \"vitals\"`. A query may also read table queries, views and \
             reference tables by their names.\n\n| table | rows | columns |\n|---|---|---|\n";
    for (name, rows, columns) in given_tables() {
        let _ = writeln!(text, "| `{name}` | {rows} | {columns} |");
    }
    text += "\n## Features\n\nColumns computed from a patient's readings, declared in the job's `[features]`.\n\n";
    text += &table("kind", "gives", FEATURE_KINDS.iter().map(plain));
    text += "\n## Functions\n\nOurs:\n\n";
    text += &table("function", "gives", OURS.iter().map(plain));
    for (title, functions) in functions() {
        let _ = write!(text, "\n{title} (DataFusion {}):\n\n", datafusion::DATAFUSION_VERSION);
        text += &table("function", "gives", functions.into_iter());
    }
    text
}

fn table(left: &str, right: &str, rows: impl Iterator<Item = (String, String)>) -> String {
    let rows = rows.map(|(left, right)| format!("| {left} | {} |\n", right.replace('|', "\\|")));
    format!("| {left} | {right} |\n|---|---|\n{}", rows.collect::<String>())
}

/// The functions that queries may call and that are not ours, by kind and name.
fn functions() -> [(&'static str, BTreeMap<String, String>); 3] {
    let state = context(&FrozenTimes::default()).state();
    let ours = |name: &str| OURS.iter().any(|(call, _)| call.split('(').next() == Some(name));
    let entry = |name: &str, documentation: Option<&Documentation>| {
        let described = documentation.map_or("", |documentation| documentation.description.trim());
        let first = described.split_inclusive(". ").next().unwrap_or_default().replace('\n', " ");
        let call = documentation.map_or_else(|| format!("{name}()"), |known| known.syntax_example.clone());
        (format!("`{}`", call.replace('\n', " ").replace('|', "\\|")), first.trim().to_owned())
    };
    let scalar = state.scalar_functions().values();
    let scalar = scalar.filter(|function| !ours(function.name()) && !is_refused(function.name()));
    let scalar = scalar.map(|function| entry(function.name(), function.documentation()));
    let aggregate = state.aggregate_functions().values().filter(|function| !is_refused(function.name()));
    let aggregate = aggregate.map(|function| entry(function.name(), function.documentation()));
    let window = state.window_functions().values().map(|function| entry(function.name(), function.documentation()));
    [("Aggregates", aggregate.collect()), ("Functions OVER rows", window.collect()), ("Of one row", scalar.collect())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_ours_is_told_of() {
        let times = FrozenTimes::default();
        let functions = times.functions().into_iter().chain(crate::window::functions());
        let mut names: Vec<String> = functions.map(|function| function.name().to_owned()).collect();
        let mut told: Vec<&str> = OURS.iter().filter_map(|(call, _)| call.split('(').next()).collect();
        names.sort();
        told.sort_unstable();
        assert_eq!(names, told);
    }
}
