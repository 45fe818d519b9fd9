//! Values with a unit as people write them, `${NAME}` from the environment, and the nearest valid name.

use std::time::Duration;

/// A length of time such as `500ms`, `1s` or `5m`; zero is refused unless `zero` allows it.
pub(super) fn duration(text: &str, zero: Zero) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) if zero == Zero::Refused => Err(format!("\"{text}\" is no time at all; say \"1s\"")),
        Ok(duration) => Ok(duration),
        Err(_) => {
            Err(format!("\"{text}\" is not a length of time; write a number and a unit: \"500ms\", \"1s\", \"5m\""))
        }
    }
}

/// Whether a length of time may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// A number of bytes such as `4096`, `64KiB`, `1MiB` or `2GiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("\"{text}\" is not a size; write a whole number and a unit: \"64KiB\", \"1MiB\", \"2GiB\"");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let scale: usize = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let count: usize = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(scale).filter(|&size| size > 0).ok_or_else(wrong)
}

/// `text` with each `${NAME}` and `${NAME:-default}` replaced by the environment's value.
///
/// A `$` that no `{` follows is kept. Errors: a name that is not set and has no default, a brace that is not closed.
pub(super) fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        expanded.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            return Err(format!("\"{text}\" opens a \"${{\" that no \"}}\" closes"));
        };
        let inside = &rest[start + 2..start + length];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match environment(name).filter(|value| !value.is_empty()).as_deref().or(default) {
            Some(value) => expanded.push_str(value),
            None => {
                return Err(format!(
                    "the environment variable \"{name}\" is not set; set it, or give a default: \"${{{name}:-...}}\""
                ));
            }
        }
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("17"), Ok(17));
        for wrong in ["", "MiB", "1MB", "-1", "0", "99999999999999999999", "1.5MiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_come_from_the_environment() {
        let environment = |name: &str| (name == "PASSWORD").then(|| "s$cret".to_owned());
        assert_eq!(expand("mysql://u:${PASSWORD}@h", &environment), Ok("mysql://u:s$cret@h".to_owned()));
        assert_eq!(expand("${HOST:-localhost}:9092", &environment), Ok("localhost:9092".to_owned()));
        assert!(expand("${ABSENT}", &environment).is_err_and(|e| e.contains("\"ABSENT\" is not set")));
        assert!(expand("${OPEN", &environment).is_err());
    }
}
