//! Texts of values as records have them.

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::Float64Type;

use wardwatch_model::record::MOST_TEXT_CHARS;

/// As much of a text as is kept.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A text that was sent, for a reason.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

/// The truth that `text` writes, also as a number.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => match Float64Type::parse(text) {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
    }
}

/// A text without the space around it; `None` where it is a form of "no value".
pub(crate) fn value_text(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("nan"))
}

/// The whole number that `text` writes, also as `88.0`.
pub(crate) fn whole(text: &str) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    text.parse().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
    })
}
