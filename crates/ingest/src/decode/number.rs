//! Numbers as people and devices write them: with a decimal comma, with their unit behind them, in another unit than the column's.

use std::cell::RefCell;

use arrow::array::{Array, StringViewArray};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::Float64Type;

use wardwatch_config::{Conversion, Written};

use super::text::value_text;

/// How the numbers of one column are written in a chunk of records.
pub(super) struct Numbers<'a> {
    pub(super) written: &'a Written,
    /// The unit that each record names, where the column says where.
    pub(super) units: Option<StringViewArray>,
    /// The units that were seen: records name few.
    pub(super) known: RefCell<Vec<(String, Result<Conversion, String>)>>,
}

impl Numbers<'_> {
    /// The number that `text` writes, in the column's unit.
    ///
    /// Errors: what is said of the text.
    pub(super) fn read(&self, row: usize, text: &str) -> Result<f64, String> {
        let (digits, unit) = if self.written.is_in_text { number_and_rest(text)? } else { (text, None) };
        let point = if self.written.has_decimal_comma && digits.contains(',') {
            digits.replace('.', "").replace(',', ".").into()
        } else {
            std::borrow::Cow::Borrowed(digits)
        };
        let value = Float64Type::parse(&point).filter(|value| !value.is_nan());
        let value = value.ok_or_else(|| "is not a valid number".to_owned())?;
        let conversion = self.conversion(row, unit)?;
        let converted = conversion.apply(value);
        Ok(self.written.scaled.map_or(converted, |scaled| scaled.apply(converted)))
    }

    /// How a value becomes one of the column's unit; `behind` is what stands behind the number.
    fn conversion(&self, row: usize, behind: Option<&str>) -> Result<Conversion, String> {
        let units = &self.written.units;
        let named = || {
            let texts = self.units.as_ref().filter(|texts| texts.is_valid(row))?;
            value_text(texts.value(row))
        };
        match behind.or_else(named) {
            Some(unit) if !units.own.is_empty() => self.known(unit),
            _ => Ok(units.sent.unwrap_or(Conversion::NONE)),
        }
    }

    fn known(&self, unit: &str) -> Result<Conversion, String> {
        let mut known = self.known.borrow_mut();
        if let Some((_, conversion)) = known.iter().find(|(name, _)| name == unit) {
            return conversion.clone();
        }
        let conversion = self.written.units.conversion(unit);
        let conversion = conversion.map_err(|reason| format!("has a unit that the column cannot take: {reason}"));
        known.push((unit.to_owned(), conversion.clone()));
        conversion
    }
}

/// The number with which a text begins, and what stands behind it.
fn number_and_rest(text: &str) -> Result<(&str, Option<&str>), String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let length = unsigned.find(|c: char| !is_of_number(c)).unwrap_or(unsigned.len());
    let (number, rest) = text.split_at(text.len() - unsigned.len() + length);
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return Err("does not begin with a number".to_owned());
    }
    let rest = value_text(rest);
    // Exponents aside, a digit behind it is another number: 120-130, 118/76.
    if rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit() || "-+/:".contains(c))
            && rest.contains(|c: char| c.is_ascii_digit())
    }) {
        return Err("is more than one number".to_owned());
    }
    Ok((number, rest))
}
