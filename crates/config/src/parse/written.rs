//! How a column's values are written: what a job file says of it, checked.

use std::ops::Range;

use wardwatch_model::diagnostic::unknown;

use super::super::checker::Checker;
use super::super::raw::{RawColumn, RawCondition, RawConditions, RawPlaces, RawTrust, RawWords};
use super::super::units::{Zero, duration};
use super::super::{
    ColumnType, Condition, Conversion, FieldTest, Part, Pattern, SourcePath, TimeUnit, TimeWritten, Units, Written,
};

/// Where Kafka's stamp is read.
const STAMP: &str = "@stamp";

/// No text has more parts.
const MOST_PARTS: i64 = 100;

impl Checker<'_> {
    /// Takes what `raw` says of how the column's values are written.
    pub(super) fn written(
        &mut self,
        raw: &mut RawColumn,
        name: &str,
        r#type: ColumnType,
        place: Range<usize>,
    ) -> Option<Written> {
        let is_number = matches!(r#type, ColumnType::Float | ColumnType::Int);
        let part = self.part(raw, place.clone())?;
        let has_decimal_comma = match raw.decimal.take() {
            None => false,
            Some(decimal) => self.required(decimal, |text| match text {
                "," => Ok(true),
                "." => Ok(false),
                _ => Err(format!("\"{text}\" cannot stand before decimals; write \",\" or \".\"")),
            })?,
        };
        let is_json = r#type == ColumnType::Text && raw.extract.as_ref().is_some_and(|what| what.get_ref() == "json");
        let is_in_text = match raw.extract.take().filter(|_| !is_json) {
            None => false,
            Some(extract) => self.required(extract, |text| match text {
                "number" => Ok(true),
                "json" => Err(format!("\"json\" is for columns of type \"text\", and \"{name}\" is none")),
                _ => Err(format!("\"{text}\" cannot be taken out of a text; write \"number\"")),
            })?,
        };
        let of_numbers = [
            (has_decimal_comma, "decimal"),
            (is_in_text, "extract"),
            (raw.unit_in.is_some(), "unit_in"),
            (raw.unit_from.is_some(), "unit_from"),
            (raw.scale.is_some(), "scale"),
            (raw.offset.is_some(), "offset"),
        ];
        if let Some((_, setting)) = of_numbers.iter().find(|(is_set, _)| *is_set && !is_number) {
            let message = format!("{setting} is for columns of type \"float\" or \"int\", and \"{name}\" is none");
            return self.refuse(place, message);
        }
        let units = self.units(raw, is_in_text, place.clone())?;
        let factor = raw.scale.take().map(|scale| (scale.span(), *scale.get_ref()));
        if let Some((place, factor)) = &factor
            && (!factor.is_finite() || *factor == 0.0)
        {
            return self.refuse(place.clone(), format!("{factor} is no scale: every value would be the same"));
        }
        let offset = match raw.offset.take() {
            Some(offset) if !offset.get_ref().is_finite() => {
                return self.refuse(offset.span(), format!("{} cannot be added", offset.get_ref()));
            }
            offset => offset.map(|offset| *offset.get_ref()),
        };
        let scaled = (factor.is_some() || offset.is_some())
            .then(|| Conversion::new(factor.map_or(1.0, |(_, factor)| factor), offset.unwrap_or(0.0)));
        let mut valid_when = Vec::new();
        for condition in match raw.valid_when.take() {
            None => Vec::new(),
            Some(RawConditions::One(one)) => vec![one],
            Some(RawConditions::Several(several)) => several,
        } {
            valid_when.push(self.condition(condition, place.clone())?);
        }
        let take = match raw.take.take() {
            None => None,
            Some(take) => Some(self.required(take, |text| match Pattern::new(text)? {
                pattern if pattern.0.captures_len() > 1 => Ok(pattern),
                _ => Err(format!("\"{text}\" has no group to take; write it like \"Patient/([^/]+)\"")),
            })?),
        };
        let time = self.time(raw, name, r#type, place)?;
        let null = raw.null.take().map(RawWords::into_list).unwrap_or_default();
        Some(Written { null, part, take, has_decimal_comma, is_in_text, is_json, units, scaled, valid_when, time })
    }

    /// How times are written.
    fn time(
        &mut self,
        raw: &mut RawColumn,
        name: &str,
        r#type: ColumnType,
        place: Range<usize>,
    ) -> Option<TimeWritten> {
        let of_times = [
            (raw.time_format.is_some(), "time_format"),
            (raw.count_in.is_some(), "count_in"),
            (raw.origin.is_some(), "origin"),
            (raw.plus.is_some(), "plus"),
            (raw.day.is_some(), "day"),
            (raw.year_pivot.is_some(), "year_pivot"),
            (raw.trust_stamp.is_some(), "trust_stamp"),
        ];
        if let Some((_, setting)) = of_times.iter().find(|(is_set, _)| *is_set && r#type != ColumnType::Time) {
            let message = format!("{setting} is for columns of type \"time\", and \"{name}\" is none");
            return self.refuse(place, message);
        }
        let formats = raw.time_format.take().map(RawPlaces::into_list).unwrap_or_default();
        let has_day = raw.day.is_some();
        for format in &formats {
            let items: Vec<chrono::format::Item<'_>> = chrono::format::StrftimeItems::new(format).collect();
            // What cannot be read again does not tell the time.
            let some = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(12_345);
            let is_read = || {
                let text = some.format(format).to_string();
                chrono::NaiveDateTime::parse_from_str(&text, format).is_ok()
                    || chrono::DateTime::parse_from_str(&text, format).is_ok()
                    || (has_day && chrono::NaiveTime::parse_from_str(&text, format).is_ok())
            };
            if items.contains(&chrono::format::Item::Fixed(chrono::format::Fixed::TimezoneName)) {
                let message = format!(
                    "%Z of \"{format}\" reads no zone: write its letters as they are (\"… EST\") and say time_zone in [source], or %z \
                     for an offset (-0500)"
                );
                return self.refuse(place, message);
            }
            if items.contains(&chrono::format::Item::Error) || !is_read() {
                let message = format!("\"{format}\" does not tell day and time; write it like \"%d.%m.%Y %H:%M:%S\"");
                return self.refuse(place, message);
            }
        }
        let unit = |text: &str| {
            let found = TimeUnit::NAMES.iter().find(|(name, _)| *name == text).map(|(_, unit)| *unit);
            found.ok_or_else(|| unknown("unit of time", text, TimeUnit::NAMES.iter().map(|(name, _)| *name)))
        };
        let count_in = match raw.count_in.take() {
            None => None,
            Some(text) => Some(self.required(text, unit)?),
        };
        let plus = match raw.plus.take() {
            None => None,
            Some(plus) => match unit(&plus.unit) {
                Ok(unit) => Some((self.path_at(&plus.field, place.clone())?, unit)),
                Err(message) => return self.refuse(place, message),
            },
        };
        let is_near_stamp = match raw.day.take() {
            None => false,
            Some(day) => self.required(day, |day| match day {
                "@stamp" | "@timestamp" => Ok(true),
                other => Err(format!("\"{other}\" is no day; write \"@stamp\"")),
            })?,
        };
        let year_pivot = self.year_pivot(raw, &formats)?;
        let most_off_stamp = self.trust_stamp(raw, name)?;
        let origin = self.paths(raw.origin.take(), place)?;
        Some(TimeWritten { formats, count_in, origin, plus, is_near_stamp, year_pivot, most_off_stamp })
    }

    /// From which two-digit year on years are of the last century.
    fn year_pivot(&mut self, raw: &mut RawColumn, formats: &[String]) -> Option<Option<i32>> {
        let Some(pivot) = raw.year_pivot.take() else { return Some(None) };
        let has_short_year = formats.iter().any(|format| TimeWritten::has_short_year(format));
        if !has_short_year {
            let message = "year_pivot is for years of two digits; write one as %y: time_format = \"%d.%m.%y %H:%M\"";
            return self.refuse(pivot.span(), message.to_owned());
        }
        match i32::try_from(*pivot.get_ref()).ok().filter(|pivot| (0..=100).contains(pivot)) {
            Some(number) => Some(Some(number)),
            None => self.refuse(pivot.span(), format!("{} is no year of two digits; write 0 to 100", pivot.get_ref())),
        }
    }

    /// How far a time may lie from Kafka's stamp. The stamp becomes the last place where the column is read, or the only one.
    fn trust_stamp(&mut self, raw: &mut RawColumn, name: &str) -> Option<Option<i64>> {
        let Some(trust) = raw.trust_stamp.take() else { return Some(None) };
        let place = trust.span();
        let beyond = match trust.into_inner() {
            RawTrust::Always(false) => return Some(None),
            RawTrust::Always(true) if raw.from.is_some() => {
                let message = "with trust_stamp = true nothing is read of the record; leave \"from\" out, or write how far off a \
                               time may be: trust_stamp = \"1h\"";
                return self.refuse(place, message.to_owned());
            }
            RawTrust::Always(true) => {
                raw.from = Some(RawPlaces::One(STAMP.to_owned()));
                return Some(None);
            }
            RawTrust::Beyond(text) => text,
        };
        let beyond = match duration(&beyond, Zero::Refused) {
            Ok(beyond) => beyond,
            Err(message) => return self.refuse(place, message),
        };
        let mut from = raw.from.take().map_or_else(|| vec![name.to_owned()], RawPlaces::into_list);
        if !from.iter().any(|path| path == STAMP) {
            from.push(STAMP.to_owned());
        }
        raw.from = Some(RawPlaces::Several(from));
        Some(i64::try_from(beyond.as_micros()).ok())
    }

    fn paths(&mut self, raw: Option<RawPlaces>, place: Range<usize>) -> Option<Vec<SourcePath>> {
        let texts = raw.map(RawPlaces::into_list).unwrap_or_default();
        texts.iter().map(|text| self.path_at(text, place.clone())).collect()
    }

    fn part(&mut self, raw: &mut RawColumn, place: Range<usize>) -> Option<Option<Part>> {
        match (raw.split.take(), raw.part.take()) {
            (None, None) => Some(None),
            (Some(split), Some(part)) => {
                let separator = split.get_ref().clone();
                if separator.is_empty() {
                    return self.refuse(split.span(), "a text is split at something: \"/\"".to_owned());
                }
                let index = match *part.get_ref() {
                    part if (1..=MOST_PARTS).contains(&part) => part - 1,
                    part if (-MOST_PARTS..0).contains(&part) => part,
                    other => {
                        let message = format!(
                            "{other} is no part; they are counted from 1 to {MOST_PARTS}, or from -1 on from the end"
                        );
                        return self.refuse(part.span(), message);
                    }
                };
                Some(Some(Part { separator, index }))
            }
            _ => {
                let message = "split and part go together: split = \"/\", part = 1 takes 118 out of \"118/76\"";
                self.refuse(place, message.to_owned())
            }
        }
    }

    fn units(&mut self, raw: &mut RawColumn, is_in_text: bool, place: Range<usize>) -> Option<Units> {
        let own = raw.unit.clone().unwrap_or_default();
        let molar_mass = match raw.molar_mass.take() {
            Some(mass) if *mass.get_ref() > 0.0 && mass.get_ref().is_finite() => Some(*mass.get_ref()),
            Some(mass) => {
                return self.refuse(mass.span(), format!("{} is no molar mass; glucose has 180.156", mass.get_ref()));
            }
            None => None,
        };
        if own.is_empty() && (raw.unit_in.is_some() || raw.unit_from.is_some()) {
            let message = "values are converted to the column's own unit, which is missing: unit = \"°C\"";
            return self.refuse(place, message.to_owned());
        }
        let sent = match raw.unit_in.take() {
            None => None,
            Some(unit) => Some(self.required(unit, |unit| Conversion::between(unit, &own, molar_mass))?),
        };
        let from = self.paths(raw.unit_from.take(), place.clone())?;
        // What no unit can be converted to is told now, and not with each record.
        if (!from.is_empty() || sent.is_some() || is_in_text)
            && !own.is_empty()
            && let Err(message) = Conversion::check(&own)
        {
            return self.refuse(place, message);
        }
        Some(Units { own, sent, from, molar_mass })
    }

    pub(super) fn condition(&mut self, raw: RawCondition, place: Range<usize>) -> Option<Condition> {
        let fields = self.paths(Some(raw.field), place.clone())?;
        let field = fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        if fields.is_empty() {
            return self
                .refuse(place, "a condition names a field: { field = \"status\", is = [\"final\"] }".to_owned());
        }
        let words = |words: RawWords| words.into_list();
        let tests = [
            raw.is.map(|is| FieldTest::Is(words(is))),
            raw.is_not.map(|is_not| FieldTest::IsNot(words(is_not))),
            raw.at_least.map(FieldTest::AtLeast),
            raw.at_most.map(FieldTest::AtMost),
            raw.exists.map(FieldTest::Exists),
        ];
        let pattern = match raw.matches.map(|text| Pattern::new(&text)).transpose() {
            Ok(pattern) => pattern.map(FieldTest::Matches),
            Err(message) => return self.refuse(place, message),
        };
        let mut tests = tests.into_iter().flatten().chain(pattern);
        match (tests.next(), tests.next()) {
            (Some(FieldTest::Is(words) | FieldTest::IsNot(words)), None) if words.is_empty() => {
                self.refuse(place, format!("nothing is said of what \"{field}\" may be: is = [\"final\"]"))
            }
            (Some(FieldTest::AtLeast(bound) | FieldTest::AtMost(bound)), None) if !bound.is_finite() => {
                self.refuse(place, format!("{bound} is no bound of \"{field}\"; write a number"))
            }
            (Some(test), None) => Some(Condition { fields, test }),
            _ => {
                let message = "a condition names a field and one of is, is_not, at_least, at_most, exists and matches: \
                               { field = \"status\", is = [\"final\"] }";
                self.refuse(place, message.to_owned())
            }
        }
    }
}
