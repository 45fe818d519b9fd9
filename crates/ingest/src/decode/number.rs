//! Numbers as people and devices write them: with a decimal comma, with their unit behind them, in another unit than the column's.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use arrow::array::{Array, StringViewArray};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::Float64Type;

use wardwatch_config::{Conversion, Written};

use super::text::{value_text, whole};

/// How the numbers of one column are written in a chunk of records.
pub(super) struct Numbers<'a> {
    pub(super) written: &'a Written,
    /// The unit that each record names, where the column says where.
    pub(super) units: Option<StringViewArray>,
    /// The rows whose unit is no text.
    pub(super) without_unit: HashSet<usize>,
    /// The units that were seen: records name few.
    pub(super) known: RefCell<HashMap<String, Result<Conversion, String>>>,
}

/// A number that was read, in the column's unit; `None` where it says that there is no value.
type Read<T> = Result<Option<T>, String>;

impl Numbers<'_> {
    /// The number that `text` writes.
    ///
    /// Errors: what is said of the text.
    pub(super) fn read(&self, row: usize, text: &str) -> Read<f64> {
        let (point, unit) = self.digits(text)?;
        let value = Float64Type::parse(&point).filter(|value| !value.is_nan());
        let value = value.ok_or_else(|| "is not a valid number".to_owned())?;
        if self.written.is_null_number(value) {
            return Ok(None);
        }
        let converted = self.conversion(row, unit)?.apply(value);
        Ok(Some(self.written.scaled.map_or(converted, |scaled| scaled.apply(converted))))
    }

    /// The same of a whole number.
    pub(super) fn read_whole(&self, row: usize, text: &str) -> Read<i64> {
        let wrong = || "is not a valid whole number".to_owned();
        let (point, unit) = self.digits(text)?;
        // What is not converted keeps its digits.
        if !self.written.converts()
            || (self.written.scaled.is_none() && self.conversion(row, unit)? == Conversion::NONE)
        {
            let value = whole(&point).ok_or_else(wrong)?;
            #[allow(clippy::cast_precision_loss, reason = "what says that there is no value is a small number")]
            return Ok(Some(value).filter(|value| !self.written.is_null_number(*value as f64)));
        }
        let Some(value) = self.read(row, text)? else { return Ok(None) };
        whole(&value.to_string()).ok_or_else(wrong).map(Some)
    }

    /// The digits of a number, with a point before decimals, and what stands behind them.
    fn digits<'t>(&self, text: &'t str) -> Result<(Cow<'t, str>, Option<&'t str>), String> {
        let (digits, unit) = if self.written.is_in_text { number_and_rest(text)? } else { (text, None) };
        let digits = match self.written.has_decimal_comma && digits.contains(',') {
            true => {
                Cow::Owned(with_point(digits).ok_or_else(|| "is not a valid number with a decimal comma".to_owned())?)
            }
            false => Cow::Borrowed(digits),
        };
        Ok((digits, unit))
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
            None if self.without_unit.contains(&row) => {
                Err("has a unit that the column cannot take: it is no text".to_owned())
            }
            _ => Ok(units.sent.unwrap_or(Conversion::NONE)),
        }
    }

    fn known(&self, unit: &str) -> Result<Conversion, String> {
        let mut known = self.known.borrow_mut();
        if let Some(conversion) = known.get(unit) {
            return conversion.clone();
        }
        let conversion = self.written.units.conversion(unit);
        let conversion = conversion.map_err(|reason| format!("has a unit that the column cannot take: {reason}"));
        known.insert(unit.to_owned(), conversion.clone());
        conversion
    }
}

/// A number with a comma before its decimals, and points between thousands if any, with a point before them.
fn with_point(digits: &str) -> Option<String> {
    let (whole, decimals) = digits.split_once(',')?;
    let mut groups = whole.trim_start_matches(['+', '-']).split('.');
    let first = groups.next()?;
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_grouped = whole.contains('.');
    let fits = is_digits(first)
        && (!is_grouped || first.len() <= 3)
        && groups.all(|group| group.len() == 3 && is_digits(group))
        && is_digits(decimals.split(['e', 'E']).next()?);
    fits.then(|| format!("{}.{decimals}", whole.replace('.', "")))
}

/// The number with which a text begins, and what stands behind it.
pub(super) fn number_and_rest(text: &str) -> Result<(&str, Option<&str>), String> {
    let signed = usize::from(text.starts_with(['+', '-']));
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let mut length = signed + text[signed..].find(|c: char| !is_of_number(c)).unwrap_or(text.len() - signed);
    if !text[..length].contains(|c: char| c.is_ascii_digit()) {
        return Err("does not begin with a number".to_owned());
    }
    if let Some(exponent) = text[length..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let exponent = digits(&exponent[sign..]);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    let (number, rest) = text.split_at(length);
    let rest = value_text(rest);
    let is_number = |word: &str| {
        let word = word.trim_start_matches(['/', ':', '–', '-', '+']);
        !word.is_empty() && word.parse::<f64>().is_ok()
    };
    if rest.is_some_and(|rest| rest.split_whitespace().any(is_number)) {
        return Err("is more than one number".to_owned());
    }
    Ok((number, rest))
}
