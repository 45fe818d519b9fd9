//! docs/reports.md is true: each of its specs gives the picture beside it, every kind of chart is in it, and what it says of
//! files holds. `WARDWATCH_GOLDEN=write` draws the pictures anew; look at them before you commit them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, TimeDelta, Utc};
use resvg::tiny_skia::Pixmap;
use wardwatch::query::{Limits, StoredReader};
use wardwatch::report::{KINDS, Moment, PictureSize, load, make, png, subjects};
use wardwatch::stored::{Condition, StoredError, StoredTables};

use crate::fixtures::repository;

/// A ward of five over an hour: made by formulas, so that it is the same everywhere.
#[derive(Debug)]
struct Ward(Vec<(&'static str, RecordBatch)>);

fn until() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn instants(times: &[i64]) -> ArrayRef {
    Arc::new(
        TimestampMicrosecondArray::from_iter_values(times.iter().map(|second| second * 1_000_000)).with_timezone("UTC"),
    )
}

impl Ward {
    fn new() -> Self {
        let start = (until() - TimeDelta::hours(1)).timestamp();
        // A rise in the middle, a gap of five minutes, a dip of one second.
        let heart = |patient: usize, second: i64| {
            let rise = if (1_500..2_700).contains(&second) { 45.0 } else { 0.0 };
            let dip = if second == 3_000 { -30.0 } else { 0.0 };
            (70.0 + patient as f64 * 6.0 + rise + dip + (second as f64 / 40.0).sin() * 6.0 + (second % 7) as f64 / 2.0)
                .round()
        };
        let seconds: Vec<i64> = (0..3_600).filter(|second| !(600..900).contains(second)).collect();
        let readings = RecordBatch::try_from_iter([
            ("patient_id", Arc::new(StringArray::from(vec!["P0001"; seconds.len()])) as ArrayRef),
            ("event_time", instants(&seconds.iter().map(|second| start + second).collect::<Vec<_>>())),
            ("heart_rate", Arc::new(Float64Array::from_iter_values(seconds.iter().map(|second| heart(0, *second))))),
            (
                "systolic_bp",
                Arc::new(Float64Array::from_iter_values(seconds.iter().map(|second| 125.0 - heart(0, *second) / 4.0))),
            ),
            (
                "diastolic_bp",
                Arc::new(Float64Array::from_iter_values(seconds.iter().map(|second| 85.0 - heart(0, *second) / 5.0))),
            ),
        ]);
        let minutes = || (1..=5_usize).flat_map(|patient| (0..60_i64).map(move |minute| (patient, minute)));
        let of_minute = |patient: usize, minute: i64, fold: fn(f64, f64) -> f64| {
            (minute * 60..minute * 60 + 60).map(|second| heart(patient - 1, second)).reduce(fold).unwrap()
        };
        let mean = |patient: usize, minute: i64| {
            ((minute * 60..minute * 60 + 60).map(|second| heart(patient - 1, second)).sum::<f64>() / 6.0).round() / 10.0
        };
        let starts = instants(&minutes().map(|(_, minute)| start + minute * 60).collect::<Vec<_>>());
        let ids =
            Arc::new(minutes().map(|(patient, _)| Some(format!("P{patient:04}"))).collect::<StringArray>()) as ArrayRef;
        let vitals = RecordBatch::try_from_iter([
            ("patient_id", Arc::clone(&ids)),
            ("window_start", Arc::clone(&starts)),
            (
                "heart_rate_avg",
                Arc::new(Float64Array::from_iter_values(minutes().map(|(p, m)| mean(p, m)))) as ArrayRef,
            ),
            (
                "heart_rate_min",
                Arc::new(Float64Array::from_iter_values(minutes().map(|(p, m)| of_minute(p, m, f64::min)))) as ArrayRef,
            ),
            (
                "heart_rate_max",
                Arc::new(Float64Array::from_iter_values(minutes().map(|(p, m)| of_minute(p, m, f64::max)))) as ArrayRef,
            ),
        ]);
        let scores = minutes().map(|(patient, minute)| (minute / 9 * patient as i64) % 9);
        let scores = RecordBatch::try_from_iter([
            ("patient_id", ids),
            ("window_start", starts),
            ("score", Arc::new(Int64Array::from_iter_values(scores)) as ArrayRef),
        ]);
        let ward = RecordBatch::try_from_iter([
            ("window_start", instants(&(0..60).map(|minute| start + minute * 60).collect::<Vec<_>>())),
            (
                "alerts",
                Arc::new(Int64Array::from_iter_values((0..60_i64).map(|minute| (minute / 7 * 3) % 5))) as ArrayRef,
            ),
        ]);
        let at = |minutes: &[Option<i64>]| -> ArrayRef {
            let times = minutes.iter().map(|minute| minute.map(|minute| (start + minute * 60) * 1_000_000));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        };
        let alerts = RecordBatch::try_from_iter([
            ("patient_id", Arc::new(StringArray::from(vec!["P0001"; 4])) as ArrayRef),
            ("firing_at", at(&[Some(5), Some(25), Some(31), Some(52)])),
            ("cleared_at", at(&[Some(9), Some(45), Some(33), None])),
            ("severity", Arc::new(StringArray::from(vec!["technical", "high", "medium", "low"])) as ArrayRef),
            (
                "text",
                Arc::new(StringArray::from(vec![
                    "respiration leads off",
                    "HR 126 > 120",
                    "temperature 39.2 >= 39.1",
                    "SpO₂ 89 < 90",
                ])) as ArrayRef,
            ),
        ]);
        Self(vec![
            ("readings", readings.unwrap()),
            ("vitals_1m", vitals.unwrap()),
            ("news2_1m", scores.unwrap()),
            ("ward_1m", ward.unwrap()),
            ("alerts", alerts.unwrap()),
        ])
    }

    fn rows(&self, table: &str) -> Option<&RecordBatch> {
        self.0.iter().find(|(name, _)| *name == table).map(|(_, rows)| rows)
    }
}

impl StoredTables for Ward {
    fn is_private(&self, _table: &str) -> bool {
        false
    }

    fn names(&self) -> Result<Vec<String>, StoredError> {
        Ok(self.0.iter().map(|(name, _)| (*name).to_owned()).collect())
    }

    fn schema(&self, table: &str) -> Result<Option<SchemaRef>, StoredError> {
        Ok(self.rows(table).map(RecordBatch::schema))
    }

    fn scan(&self, table: &str, columns: &[String], _conditions: &[Condition]) -> Result<RecordBatch, StoredError> {
        let rows = self.rows(table).expect("a table of the ward");
        let places: Vec<usize> = columns.iter().map(|column| rows.schema().index_of(column).unwrap()).collect();
        Ok(rows.project(&places).unwrap())
    }
}

/// The specs of the guide with the names of their pictures.
fn specs_of(guide: &str) -> Vec<(String, String)> {
    let blocks = guide.split("```toml\n").skip(1);
    blocks
        .map(|block| {
            let (spec, rest) = block.split_once("```").unwrap();
            let picture = rest.split_once("](reports/").and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
            (picture.to_owned(), spec.to_owned())
        })
        .collect()
}

/// How many of the pixels are seen to differ.
fn difference(one: &[u8], other: &[u8]) -> f64 {
    let (one, other) = (Pixmap::decode_png(one).unwrap(), Pixmap::decode_png(other).unwrap());
    if (one.width(), one.height()) != (other.width(), other.height()) {
        return 1.0;
    }
    let differ = one
        .data()
        .chunks(4)
        .zip(other.data().chunks(4))
        .filter(|(a, b)| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 48));
    differ.count() as f64 / f64::from(one.width() * one.height())
}

#[test]
fn every_spec_of_the_guide_gives_the_picture_beside_it() {
    let guide = std::fs::read_to_string(repository().join("docs/reports.md")).unwrap();
    let specs = specs_of(&guide);
    let drawn: Vec<&str> = specs.iter().map(|(picture, _)| picture.trim_end_matches(".png")).collect();
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        {
            let mut drawn = drawn.clone();
            drawn.sort_unstable();
            drawn
        },
        {
            let mut kinds = kinds;
            kinds.sort_unstable();
            kinds
        }
    );

    let limits = Limits { time: Duration::from_secs(30), memory: 1 << 28, groups: usize::MAX };
    let reader = StoredReader::new(Arc::new(Ward::new()), limits);
    let moment = Moment {
        job: "patient_vitals".to_owned(),
        made: until(),
        batch: 3_600,
        newest: Some(until()),
        last: None,
        until: None,
        zone: chrono_tz::Europe::Berlin,
    };
    let mut structure = String::new();
    for (picture, spec) in specs {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("guide.toml"), spec).unwrap();
        let spec = load(folder.path(), &[]).all().unwrap_or_else(|faults| panic!("{picture}: {faults}")).remove(0);
        let faults = wardwatch::report::check(&spec, &reader, &moment);
        assert!(faults.is_empty(), "{picture}: {faults:?}");
        let subject = subjects(&spec, &reader, &moment).unwrap().remove(0);
        let made = make(&spec, &subject, &reader, &moment).unwrap();
        let drawn_svg = made.figure.svg().unwrap();
        structure += &format!("{picture}\n{}\n", skeleton(&drawn_svg));
        let found = png(&drawn_svg, PictureSize { width: 1_200, dpi: 96 }).unwrap();
        let file = repository().join("docs/reports").join(&picture);
        if std::env::var("WARDWATCH_GOLDEN").is_ok_and(|wish| wish == "write") {
            std::fs::write(&file, &found).unwrap();
            continue;
        }
        let differs =
            difference(&found, &std::fs::read(&file).unwrap_or_else(|_| panic!("{} is not there", file.display())));
        assert!(differs < 0.002, "{picture}: {:.2} % of the pixels differ", differs * 100.0);
    }
    crate::golden::check("charts.txt", &structure);
}

/// What a drawing is made of: how many shapes of each kind and colour, and its texts.
fn skeleton(svg: &str) -> String {
    let mut shapes: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let mut texts = Vec::new();
    for element in svg.split('<').skip(1).filter(|element| !element.starts_with('/')) {
        let (tag, text) = element.split_once('>').unwrap();
        let name = tag.split(' ').next().unwrap();
        let colour = |of: &str| Some(tag.split(&format!(" {of}=\"")).nth(1)?.split('"').next()?.to_owned());
        let colour = colour("fill").filter(|fill| fill != "none").or_else(|| colour("stroke")).unwrap_or_default();
        *shapes.entry(format!("{name} {colour}")).or_default() += 1;
        texts.extend(Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
    }
    let shapes: Vec<String> = shapes.iter().map(|(shape, count)| format!("  {count} {shape}")).collect();
    format!("{}\n  {}", shapes.join("\n"), texts.join(" | "))
}

#[test]
fn every_shipped_report_is_told_of_in_the_guide() {
    let guide = std::fs::read_to_string(repository().join("docs/reports.md")).unwrap();
    for spec in load(Path::new(&repository().join("reports")), &[]).all().unwrap() {
        assert!(guide.contains(&format!("| `{}` |", spec.name)), "{}", spec.name);
    }
}
