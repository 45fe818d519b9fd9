//! The text of an alert: `HR {heart_rate:.0} > {high:.0}` filled from a row.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::util::display::array_value_to_string;

use wardwatch_model::diagnostic::unknown;
use wardwatch_model::header::Extreme;

/// A message whose placeholders are columns of the rule's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column { index: usize, decimals: Option<usize> },
}

/// Why a message was refused, and at which of its characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MessageFault {
    /// The number of characters before the fault.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl Message {
    /// Reads a message; `{column}` shows a value, `{column:.1}` a number with so many decimals, `{{` a brace.
    ///
    /// # Errors
    /// A placeholder that is no column of `schema`, has another form, or is not closed.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, MessageFault> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let fault = |message: String| MessageFault { at: text.chars().count() - rest.chars().count(), message };
            if let Some(after) = rest
                .strip_prefix("{{")
                .map(|after| ('{', after))
                .or_else(|| rest.strip_prefix("}}").map(|after| ('}', after)))
            {
                plain.push(after.0);
                rest = after.1;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let Some((inside, after)) = inside.split_once('}') else {
                    return Err(fault("a \"{\" that no \"}\" closes; write \"{{\" for a brace".to_owned()));
                };
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(placeholder(inside, schema).map_err(fault)?);
                rest = after;
            } else {
                plain.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The first two numbers that it shows, a value and its limit, and which way a value gets worse: `<` between them
    /// says that it is the lowest that counts.
    pub(super) fn value_and_limit(&self, schema: &Schema) -> (Option<usize>, Option<usize>, Extreme) {
        let is_number = |index: usize| schema.field(index).data_type().is_numeric();
        let mut numbers = self.0.iter().filter_map(|part| match part {
            Part::Column { index, .. } if is_number(*index) => Some(*index),
            _ => None,
        });
        let (value, limit) = (numbers.next(), numbers.next());
        let is_below = self.0.iter().any(|part| matches!(part, Part::Text(text) if text.contains(['<', '≤'])));
        (value, limit, if is_below { Extreme::Min } else { Extreme::Max })
    }

    /// Whether it shows this column.
    #[must_use]
    pub fn shows(&self, column: usize) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Column { index, .. } if *index == column))
    }

    /// The message with the values of one row; a NULL shows as "–".
    #[must_use]
    pub fn render(&self, rows: &RecordBatch, row: usize) -> String {
        let shown = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Column { index, decimals } => value(rows.column(*index), row, *decimals),
        });
        shown.collect()
    }
}

fn placeholder(inside: &str, schema: &Schema) -> Result<Part, String> {
    let (name, format) = match inside.split_once(':') {
        Some((name, format)) => (name.trim(), Some(format.trim())),
        None => (inside.trim(), None),
    };
    let index = schema.index_of(name).map_err(|_| {
        format!("placeholder: {}", unknown("column", name, schema.fields().iter().map(|f| f.name().as_str())))
    })?;
    let decimals = match format {
        None => None,
        Some(format) => Some(
            format
                .strip_prefix('.')
                .and_then(|digits| digits.parse().ok())
                .filter(|decimals| *decimals <= 9)
                .ok_or_else(|| format!("\"{{{inside}}}\": write the number of decimals as \"{{{name}:.1}}\""))?,
        ),
    };
    Ok(Part::Column { index, decimals })
}

/// The number in a column of numbers.
pub(super) fn number(column: &dyn Array, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Some(column.as_primitive::<Float32Type>().value(row).into()),
        data_type if data_type.is_numeric() => array_value_to_string(column, row).ok()?.parse().ok(),
        _ => None,
    }
}

fn value(column: &dyn Array, row: usize, decimals: Option<usize>) -> String {
    if column.is_null(row) {
        return "–".to_owned();
    }
    let number = if column.data_type().is_floating() { number(column, row) } else { None };
    match (number, decimals) {
        (Some(number), Some(decimals)) => format!("{number:.decimals$}"),
        (Some(number), None) => number.to_string(),
        (None, _) => array_value_to_string(column, row).unwrap_or_else(|_| "–".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("heart_rate", Arc::new(Float64Array::from(vec![Some(133.6), None])) as _),
            ("high", Arc::new(Int64Array::from(vec![120, 120])) as _),
        ])
        .expect("rows")
    }

    #[test]
    fn values_are_shown_with_the_decimals_asked_for() {
        let rows = rows();
        let message = Message::parse("HR {heart_rate:.0} > {high} {{{heart_rate}}}", rows.schema_ref()).expect("valid");
        assert_eq!(message.render(&rows, 0), "HR 134 > 120 {133.6}");
        assert_eq!(message.render(&rows, 1), "HR – > 120 {–}");
    }

    #[test]
    fn a_wrong_placeholder_is_named_with_the_nearest_column() {
        let fault = |text| Message::parse(text, rows().schema_ref()).expect_err("refused");
        assert_eq!(fault("HR {hart_rate}").at, 3);
        assert!(fault("HR {hart_rate}").message.contains("did you mean \"heart_rate\"?"));
        assert!(fault("{high:.x}").message.contains("{high:.1}"));
        assert!(fault("{high").message.contains("no \"}\" closes"));
    }
}
