//! Which vitals tiles show, in which order, and how a number is written.

use wardwatch_config::{Column, ColumnType, Job};

/// The most that a tile has room for.
const ON_A_TILE: usize = 6;

/// The order of tiles and the short names that wards use; what is not here comes after, by its label.
const KNOWN: [(&str, &str); 6] = [
    ("heart_rate", "HR"),
    ("spo2", "SpO₂"),
    ("respiratory_rate", "RR"),
    ("systolic_bp", "BP"),
    ("temperature", "Temp"),
    ("pulse", "Pulse"),
];

/// The vitals that a job's readings have.
#[derive(Debug, Clone)]
pub(super) struct Vitals {
    /// The columns that are read, in the order in which they are read.
    pub(super) columns: Vec<String>,
    /// What is shown, in the order in which it is shown.
    pub(super) shown: Vec<Vital>,
}

/// One number, or the two of a blood pressure.
#[derive(Debug, Clone)]
pub(super) struct Vital {
    /// The name of its column.
    pub(super) name: String,
    /// What wards call it.
    pub(super) short: String,
    /// What people call it.
    pub(super) label: String,
    /// Its unit.
    pub(super) unit: String,
    /// Where it stands among the columns.
    pub(super) column: usize,
    /// Where the diastolic pressure of a systolic one stands.
    pub(super) lower: Option<usize>,
    /// How much it must move in five minutes to be worth an arrow.
    pub(super) matters: f64,
}

impl Vitals {
    /// The vitals of a job as far as its table of readings has them.
    pub(super) fn of(job: &Job, stored: &[String]) -> Self {
        let numeric = |column: &&Column| matches!(column.r#type, ColumnType::Float | ColumnType::Int);
        let read: Vec<&Column> =
            job.source.columns.all().iter().filter(numeric).filter(|column| stored.contains(&column.name)).collect();
        let place = |name: &str| read.iter().position(|column| column.name == name);
        let pressures = place("systolic_bp").zip(place("diastolic_bp"));
        let rank = |name: &str| KNOWN.iter().position(|(known, _)| *known == name).unwrap_or(KNOWN.len());
        let mut shown: Vec<Vital> = read
            .iter()
            .enumerate()
            .filter(|(index, _)| pressures.is_none_or(|(_, diastolic)| diastolic != *index))
            .map(|(index, column)| {
                let lower = pressures.filter(|(systolic, _)| *systolic == index).map(|(_, diastolic)| diastolic);
                Vital::of(column, index, lower)
            })
            .collect();
        shown.sort_by_key(|vital| rank(&vital.name));
        // The SpO₂ sensor's pulse tells nothing more where the heart's rate is there.
        if shown.iter().any(|vital| vital.name == "heart_rate") {
            shown.retain(|vital| vital.name != "pulse");
        }
        shown.truncate(ON_A_TILE);
        Self { columns: read.iter().map(|column| column.name.clone()).collect(), shown }
    }
}

impl Vital {
    fn of(column: &Column, index: usize, lower: Option<usize>) -> Self {
        let short = KNOWN.iter().find(|(known, _)| *known == column.name).map(|(_, short)| (*short).to_owned());
        let label = if lower.is_some() { "Blood pressure".to_owned() } else { column.label.clone() };
        // A sixth of what is normal: 12 beats, 4 breaths, 1.6 % SpO₂.
        let range = column.limits.or(column.plausible).map(|[low, high]| high - low);
        Self {
            name: column.name.clone(),
            short: short.unwrap_or_else(|| label.clone()),
            label,
            unit: column.unit.clone(),
            column: index,
            lower,
            matters: range.map_or(f64::INFINITY, |range| range / 6.0),
        }
    }
}
