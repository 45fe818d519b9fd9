//! What serde says of a text that does not fit, in words of who wrote the text.

use std::ops::Range;

use wardwatch_model::diagnostic::{nearest, unknown};

/// Where a text of TOML is wrong, and what is wrong there.
#[must_use]
pub fn toml_fault(text: &str, error: &toml::de::Error) -> (Range<usize>, String) {
    let place = error.span().unwrap_or(0..0);
    let message = error.message();
    let message = match setting_at(&text[..place.start]) {
        // `[source.form]`, which is a list of tables.
        _ if text[place.clone()].starts_with('[') && message.contains("expected a sequence") => {
            let name = text[place.clone()].trim_matches(['[', ']']);
            Some(format!("[{name}] is one of a list: write [[{name}]]"))
        }
        Some(setting) => wrong_kind(setting, &text[place.clone()], message),
        None => None,
    };
    let message = message.unwrap_or_else(|| {
        let message = with_nearest_key(error.message());
        match misspelt(&text[place.clone()], &message) {
            Some((key, near)) => format!("{message}; did you mean \"{near}\" by \"{key}\"?"),
            None => message,
        }
    });
    (place, message)
}

/// A key of an inline table that what is said of it does not have, and the nearest word that it has.
fn misspelt<'t>(written: &'t str, message: &'t str) -> Option<(&'t str, &'t str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words = || message.split(|c| !is_word(c)).filter(|word| word.len() > 1);
    let inside = written.strip_prefix('{')?;
    let keys = inside.match_indices('=').filter_map(|(at, _)| inside[..at].trim_end().rsplit(|c| !is_word(c)).next());
    keys.filter(|key| !words().any(|word| word == *key)).find_map(|key| Some((key, nearest(key, words())?)))
}

/// The setting whose value, or a part of it, begins where `before` ends.
fn setting_at(before: &str) -> Option<&str> {
    let name = before[..before.rfind('=')?].trim_end();
    let start = name.rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).map_or(0, |at| at + 1);
    Some(&name[start..]).filter(|name| !name.is_empty())
}

/// What is said of a value that is not of the kind which its setting takes, with an example.
fn wrong_kind(setting: &str, written: &str, message: &str) -> Option<String> {
    let (found, expected) = message.strip_prefix("invalid ")?.split_once(", expected ")?;
    let found = match found.strip_prefix("type: ").unwrap_or(found).split([' ', '`']).next()? {
        "string" => "a text",
        "integer" | "float" | "floating" => "a number",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a table",
        "length" => "a list of another length",
        _ => return None,
    };
    let wanted = match expected {
        "a sequence" if found == "a table" => format!("a list of tables: [[{setting}]], or {setting} = [{{ … }}]"),
        "a sequence" if written.contains('\n') => "a list, in brackets".to_owned(),
        "a sequence" => format!("a list: {setting} = [{written}]"),
        "an array of length 2" => format!("two numbers: {setting} = [10, 300]"),
        "a string" if found == "a list" => "one text, in quotes".to_owned(),
        "a string" if written.contains('\n') => "a text, in quotes".to_owned(),
        "a string" => format!("a text, in quotes: \"{}\"", written.trim_matches('"')),
        "a boolean" => "true or false, without quotes".to_owned(),
        "a map" => format!("a table: {setting} = {{ … }}, or [{setting}]"),
        _ if expected.starts_with("struct RawColumn") => {
            format!(
                "a column: {setting} = {{ type = \"float\", from = {} }}",
                if found == "a text" { written } else { "\"hr\"" }
            )
        }
        _ if expected.starts_with("struct ") => format!("a table: {setting} = {{ … }}, or [{setting}]"),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" | "i32" | "i8" if found == "a number" => {
            return Some(format!("\"{setting}\" wants a whole number; this is {written}"));
        }
        "u8" | "u16" | "u32" | "u64" | "usize" | "nonzero" => "a whole number, without quotes".to_owned(),
        "f64" | "f32" | "i64" | "i32" => "a number, without quotes".to_owned(),
        _ => return None,
    };
    Some(format!("\"{setting}\" wants {wanted}; this is {found}"))
}

/// An unknown key with the nearest one that there is, which serde lists behind it, and a missing one; other words with our quotes.
fn with_nearest_key(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    match names.next() {
        Some(wrong) if message.starts_with("unknown field") => unknown("key", wrong, names),
        Some(key) if message.starts_with("missing field") => format!("the key \"{key}\" is missing"),
        _ => message.replace('`', "\""),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read to see what is said of what cannot be")]
    struct Settings {
        steps: Vec<String>,
        range: Option<[f64; 2]>,
        name: Option<String>,
        count: Option<usize>,
        is_on: Option<bool>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "as above")]
    struct Inner {
        x: usize,
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_with_an_example() {
        for (text, expected) in [
            ("steps = \"gzip\"", "\"steps\" wants a list: steps = [\"gzip\"]; this is a text"),
            ("steps = []\nrange = \"1-2\"", "\"range\" wants two numbers: range = [10, 300]; this is a text"),
            (
                "steps = []\nrange = [1]",
                "\"range\" wants two numbers: range = [10, 300]; this is a list of another length",
            ),
            ("steps = [1]", "\"steps\" wants a text, in quotes: \"1\"; this is a number"),
            ("steps = []\nname = [\"a\"]", "\"name\" wants one text, in quotes; this is a list"),
            ("steps = []\ncount = \"5\"", "\"count\" wants a whole number, without quotes; this is a text"),
            ("steps = []\nis_on = \"true\"", "\"is_on\" wants true or false, without quotes; this is a text"),
            ("steps = []\ninner = 5", "\"inner\" wants a table: inner = { … }, or [inner]; this is a number"),
            ("stps = []", "unknown key \"stps\"; did you mean \"steps\"?"),
            ("name = \"x\"", "the key \"steps\" is missing"),
        ] {
            let error = toml::from_str::<Settings>(text).unwrap_err();
            assert_eq!(toml_fault(text, &error).1, expected, "{text}");
        }
    }

    #[test]
    fn a_misspelt_key_of_a_condition_is_told_with_the_nearest() {
        let told = "a condition names a field and one of is, is_not: { field = \"status\" }";
        assert_eq!(misspelt("{ feild = \"x\", is = \"a=b\" }", told), Some(("feild", "field")));
        assert_eq!(misspelt("{ field = \"x\", equals = \"y\" }", told), None, "nothing is near");
        assert_eq!(misspelt("\"gzipp\"", told), None);
    }
}
