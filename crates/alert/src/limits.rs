//! Alarm limits as values: whose they are, which hold, and what adding one means.
//!
//! Rules read limits by SQL (`views/thresholds.sql`); this is the same resolution for people who look at limits and change
//! them, and a test holds the two together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use super::streams::texts;

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitScope {
    /// Everybody's who has no other.
    Default,
    /// An age band's.
    AgeBand(String),
    /// A ward's.
    Ward(String),
    /// A patient's own.
    Patient(String),
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::AgeBand(band) => write!(f, "age band {band}"),
            Self::Ward(ward) => write!(f, "ward {ward}"),
            Self::Patient(patient) => write!(f, "patient {patient}"),
        }
    }
}

/// A row of the table of limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Whose it is.
    pub whose: LimitScope,
    /// The vital, by the name of its column.
    pub vital: String,
    /// Since when it holds.
    pub valid_from: DateTime<Utc>,
    /// Until when; without it, until another does.
    pub valid_until: Option<DateTime<Utc>>,
    /// Below it, something is wrong; without it, the wider scope's counts.
    pub low: Option<f64>,
    /// Above it, something is wrong; without it, the wider scope's counts.
    pub high: Option<f64>,
    /// Who set it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// The limits that hold for somebody, each with where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved<'a> {
    /// The vital.
    pub vital: &'a str,
    /// The lower one.
    pub low: Option<(f64, &'a Limit)>,
    /// The upper one.
    pub high: Option<(f64, &'a Limit)>,
}

/// The columns of the table, which `wardwatch limits` needs.
pub const LIMIT_COLUMNS: [&str; 10] =
    ["patient_id", "ward", "age_band", "vital", "valid_from", "valid_until", "low", "high", "author", "reason"];

impl Limit {
    /// The rows of the table of limits.
    ///
    /// # Errors
    /// The column that the table lacks, or that is of another type.
    pub fn read(rows: &RecordBatch) -> Result<Vec<Self>, String> {
        let text = |name: &str| texts(rows, name).ok_or_else(|| lacks(name));
        let typed = |name: &str, is_right: fn(&DataType) -> bool| {
            let column = rows.column_by_name(name).ok_or_else(|| lacks(name))?;
            if is_right(column.data_type()) { Ok(column) } else { Err(lacks(name)) }
        };
        let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, _));
        let is_float = |data_type: &DataType| *data_type == DataType::Float64;
        let (patients, wards, bands) = (text("patient_id")?, text("ward")?, text("age_band")?);
        let (vitals, authors, reasons) = (text("vital")?, text("author")?, text("reason")?);
        let from = typed("valid_from", is_time)?.as_primitive::<TimestampMicrosecondType>();
        let until = typed("valid_until", is_time)?.as_primitive::<TimestampMicrosecondType>();
        let low = typed("low", is_float)?.as_primitive::<Float64Type>();
        let high = typed("high", is_float)?.as_primitive::<Float64Type>();
        let or_empty = |texts: &StringViewArray, row: usize| -> String {
            if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
        };
        let time = |times: &TimestampMicrosecondArray, row: usize| {
            times.is_valid(row).then(|| DateTime::from_timestamp_micros(times.value(row))).flatten()
        };
        let number = |numbers: &Float64Array, row: usize| numbers.is_valid(row).then(|| numbers.value(row));
        let limits = (0..rows.num_rows()).map(|row| Self {
            whose: whose(or_empty(&patients, row), or_empty(&wards, row), or_empty(&bands, row)),
            vital: or_empty(&vitals, row),
            valid_from: time(from, row).unwrap_or(DateTime::UNIX_EPOCH),
            valid_until: time(until, row),
            low: number(low, row),
            high: number(high, row),
            author: or_empty(&authors, row),
            reason: or_empty(&reasons, row),
        });
        Ok(limits.collect())
    }

    /// The limit as a row of a table with these columns; columns that are not ours are NULL.
    #[must_use]
    pub fn row(&self, schema: &SchemaRef) -> RecordBatch {
        let of =
            |wanted: fn(&LimitScope) -> Option<&String>| wanted(&self.whose).map(String::as_str).unwrap_or_default();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            let text = match field.name().as_str() {
                "patient_id" => of(|whose| if let LimitScope::Patient(name) = whose { Some(name) } else { None }),
                "ward" => of(|whose| if let LimitScope::Ward(name) = whose { Some(name) } else { None }),
                "age_band" => of(|whose| if let LimitScope::AgeBand(name) = whose { Some(name) } else { None }),
                "vital" => &self.vital,
                "author" => &self.author,
                "reason" => &self.reason,
                "valid_from" => return instant(Some(self.valid_from)),
                "valid_until" => return instant(self.valid_until),
                "low" => return std::sync::Arc::new(Float64Array::from(vec![self.low])),
                "high" => return std::sync::Arc::new(Float64Array::from(vec![self.high])),
                _ => return arrow::array::new_null_array(field.data_type(), 1),
            };
            std::sync::Arc::new(StringViewArray::from_iter_values([text]))
        });
        RecordBatch::try_new(std::sync::Arc::clone(schema), columns.collect())
            .unwrap_or_else(|error| panic!("`read` has looked at the columns of limits: {error}"))
    }

    /// Whether it holds at `at`, if no later one does.
    #[must_use]
    pub fn is_valid(&self, at: DateTime<Utc>) -> bool {
        self.valid_from <= at && self.valid_until.is_none_or(|until| until > at)
    }
}

/// A limit that somebody wants to set.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitChange {
    /// LimitScope.
    pub whose: LimitScope,
    /// The vital, by the name of its column.
    pub vital: String,
    /// The lower limit: `None` leaves it as it is, `Some(None)` leaves it to the wider scope.
    pub low: Option<Option<f64>>,
    /// The upper limit, likewise.
    pub high: Option<Option<f64>>,
    /// Since when it shall hold.
    pub from: DateTime<Utc>,
    /// Until when; afterwards what held before does.
    pub until: Option<DateTime<Utc>>,
    /// Who sets it.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl LimitChange {
    /// The row to add to `limits`, for a vital whose values lie within `plausible`.
    ///
    /// # Errors
    /// Why nobody could want this limit.
    pub fn limit(self, limits: &[Limit], plausible: Option<[f64; 2]>) -> Result<Limit, String> {
        let Self { whose, vital, low, high, from, until, author, reason } = self;
        if author.trim().is_empty() || reason.trim().is_empty() {
            return Err("a limit has an author and a reason".to_owned());
        }
        if low.is_none() && high.is_none() {
            return Err("give a lower limit, an upper limit or both".to_owned());
        }
        if until.is_some_and(|until| until <= from) {
            return Err("the limit would be over before it holds: it ends no later than it begins".to_owned());
        }
        let own = own_limit(limits, &whose, &vital, from);
        let is_lost = |before: Option<f64>, after: Option<Option<f64>>| before.is_some() && after == Some(None);
        let lost = [("lower", own.and_then(|own| own.low), low), ("upper", own.and_then(|own| own.high), high)];
        if let Some((side, ..)) = lost.iter().find(|(_, before, after)| is_lost(*before, *after))
            && whose == LimitScope::Default
        {
            return Err(format!(
                "without a default, nobody has a {side} limit of {vital} but those with a narrower one, and no alarm would come; \
                 set another number, or give single patients or a ward another limit"
            ));
        }
        let low = low.unwrap_or(own.and_then(|own| own.low));
        let high = high.unwrap_or(own.and_then(|own| own.high));
        if let Some((low, high)) = low.zip(high)
            && low >= high
        {
            return Err(format!("the lower limit {low} is not below the upper limit {high}"));
        }
        if let Some([least, most]) = plausible
            && let Some(side) = [low, high].into_iter().flatten().find(|side| !(least..=most).contains(side))
        {
            return Err(format!("{side} is no value that {vital} can have: {least} to {most}"));
        }
        Ok(Limit { whose, vital, valid_from: from, valid_until: until, low, high, author, reason })
    }
}

/// What holds at `at` for exactly this scope and vital.
#[must_use]
pub fn own_limit<'a>(limits: &'a [Limit], whose: &LimitScope, vital: &str, at: DateTime<Utc>) -> Option<&'a Limit> {
    let own = limits.iter().filter(|limit| limit.whose == *whose && limit.vital == vital && limit.is_valid(at));
    own.max_by_key(|limit| limit.valid_from)
}

/// The default limits that `set` has and `limits` has not at `at`, on each side: in words, each vital once.
#[must_use]
pub fn lost_defaults(set: &[Limit], limits: &[Limit], at: DateTime<Utc>) -> BTreeMap<String, String> {
    let mut lost: BTreeMap<String, String> = BTreeMap::new();
    let vitals: BTreeSet<&str> =
        set.iter().filter(|limit| limit.whose == LimitScope::Default).map(|limit| limit.vital.as_str()).collect();
    for vital in vitals {
        let of = |limits: &[Limit]| {
            let own = own_limit(limits, &LimitScope::Default, vital, at);
            (own.and_then(|own| own.low), own.and_then(|own| own.high))
        };
        let (expected, found) = (of(set), of(limits));
        let sides = [("low", expected.0, found.0), ("high", expected.1, found.1)];
        let sides = sides.iter().filter(|(_, expected, found)| expected.is_some() && found.is_none());
        let sides: Vec<&str> = sides.map(|(side, ..)| *side).collect();
        if !sides.is_empty() {
            lost.insert(vital.to_owned(), format!("{vital} ({})", sides.join(", ")));
        }
    }
    lost
}

fn lacks(column: &str) -> String {
    format!(
        "the table of limits lacks the column \"{column}\", or has it in another type; its columns are {}",
        LIMIT_COLUMNS.join(", ")
    )
}

fn instant(at: Option<DateTime<Utc>>) -> ArrayRef {
    let micros = TimestampMicrosecondArray::from(vec![at.map(|at| at.timestamp_micros())]);
    std::sync::Arc::new(micros.with_timezone("UTC"))
}

/// The narrowest that is named.
fn whose(patient: String, ward: String, band: String) -> LimitScope {
    match (patient.as_str(), ward.as_str(), band.as_str()) {
        ("", "", "") => LimitScope::Default,
        ("", "", _) => LimitScope::AgeBand(band),
        ("", _, _) => LimitScope::Ward(ward),
        _ => LimitScope::Patient(patient),
    }
}

/// The limits that hold at `at` for `patient`, who lies in `ward` and is of `bands`, the first before the others; by vital.
#[must_use]
pub fn resolve<'a>(
    limits: &'a [Limit],
    patient: &str,
    ward: &str,
    bands: &[&str],
    at: DateTime<Utc>,
) -> Vec<Resolved<'a>> {
    let mut scopes = vec![LimitScope::Patient(patient.to_owned())];
    if !ward.is_empty() {
        scopes.push(LimitScope::Ward(ward.to_owned()));
    }
    scopes.extend(bands.iter().filter(|band| !band.is_empty()).map(|band| LimitScope::AgeBand((*band).to_owned())));
    scopes.push(LimitScope::Default);
    let mut vitals: Vec<&str> = limits.iter().map(|limit| limit.vital.as_str()).collect();
    vitals.sort_unstable();
    vitals.dedup();
    let resolved = vitals.into_iter().map(|vital| {
        let now = |scope: &LimitScope| own_limit(limits, scope, vital, at);
        let first = |side: fn(&Limit) -> Option<f64>| {
            scopes.iter().filter_map(now).find_map(|limit| Some((side(limit)?, limit)))
        };
        Resolved { vital, low: first(|limit| limit.low), high: first(|limit| limit.high) }
    });
    resolved.filter(|resolved| resolved.low.is_some() || resolved.high.is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(whose: LimitScope, from: i64, until: Option<i64>, low: Option<f64>, high: Option<f64>) -> Limit {
        let at = |second: i64| DateTime::from_timestamp(second, 0).expect("a time");
        Limit {
            whose,
            vital: "heart_rate".to_owned(),
            valid_from: at(from),
            valid_until: until.map(at),
            low,
            high,
            author: "test".to_owned(),
            reason: "test".to_owned(),
        }
    }

    #[test]
    fn each_side_comes_from_the_narrowest_scope_that_has_it_and_a_limit_that_is_over_gives_way() {
        let limits = [
            limit(LimitScope::Default, 0, None, Some(50.0), Some(120.0)),
            limit(LimitScope::AgeBand("child".to_owned()), 0, None, Some(75.0), Some(160.0)),
            limit(LimitScope::Ward("icu".to_owned()), 10, None, None, Some(110.0)),
            limit(LimitScope::Patient("P1".to_owned()), 20, None, Some(40.0), None),
            limit(LimitScope::Patient("P1".to_owned()), 30, Some(40), Some(30.0), None),
        ];
        let check = |patient: &str, ward: &str, band: &str, second: i64, low: f64, high: f64| {
            let at = DateTime::from_timestamp(second, 0).expect("a time");
            let found = resolve(&limits, patient, ward, &[band], at);
            let sides = found.first().map(|found| (found.low.map(|low| low.0), found.high.map(|high| high.0)));
            assert_eq!(sides, Some((Some(low), Some(high))), "{patient} {ward} {band} at {second}");
        };
        check("P2", "", "", 5, 50.0, 120.0);
        check("P2", "", "child", 5, 75.0, 160.0);
        check("P2", "icu", "", 5, 50.0, 120.0);
        check("P2", "icu", "child", 15, 75.0, 110.0);
        check("P1", "icu", "", 25, 40.0, 110.0);
        check("P1", "icu", "", 35, 30.0, 110.0);
        check("P1", "icu", "", 40, 40.0, 110.0);
    }

    #[test]
    fn a_default_that_everybody_would_lose_is_refused_and_one_that_is_lost_is_told() {
        let at = |second: i64| DateTime::from_timestamp(second, 0).expect("a time");
        let spo2 = |whose, low, high| Limit { vital: "spo2".to_owned(), ..limit(whose, 5, None, low, high) };
        let set =
            [spo2(LimitScope::Default, Some(90.0), None), spo2(LimitScope::Ward("icu".to_owned()), Some(85.0), None)];
        let change = |whose, low, high| LimitChange {
            whose,
            vital: "spo2".to_owned(),
            low,
            high,
            from: at(10),
            until: None,
            author: "nora".to_owned(),
            reason: "tried".to_owned(),
        };
        let refused =
            change(LimitScope::Default, Some(None), Some(Some(99.0))).limit(&set, None).expect_err("a refusal");
        assert!(refused.starts_with("without a default, nobody has a lower limit of spo2"), "{refused}");
        assert!(change(LimitScope::Default, None, Some(None)).limit(&set, None).is_ok(), "there was none on that side");
        assert!(change(LimitScope::Ward("icu".to_owned()), Some(None), None).limit(&set, None).is_ok());
        assert!(change(LimitScope::Default, Some(Some(88.0)), None).limit(&set, None).is_ok());

        assert!(lost_defaults(&set, &set, at(20)).is_empty());
        let without = [spo2(LimitScope::Default, None, Some(99.0)), set[1].clone()];
        let told = BTreeMap::from([("spo2".to_owned(), "spo2 (low)".to_owned())]);
        assert_eq!(lost_defaults(&set, &without, at(20)), told);
        assert_eq!(lost_defaults(&set, &set[1..], at(20)), told);
        assert!(lost_defaults(&set[1..], &[], at(20)).is_empty(), "only what the set has is missed");
    }

    #[test]
    fn a_limit_that_was_written_is_read_back() {
        let fields = LIMIT_COLUMNS.map(|name| {
            let data_type = match name {
                "valid_from" | "valid_until" => {
                    DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
                }
                "low" | "high" => DataType::Float64,
                _ => DataType::Utf8View,
            };
            arrow::datatypes::Field::new(name, data_type, true)
        });
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields.to_vec()));
        for whose in [LimitScope::Default, LimitScope::Ward("icu".to_owned()), LimitScope::Patient("P1".to_owned())] {
            let limit = limit(whose, 5, Some(9), None, Some(120.0));
            assert_eq!(Limit::read(&limit.row(&schema)), Ok(vec![limit]));
        }
    }
}
