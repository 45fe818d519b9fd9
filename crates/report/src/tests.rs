//! Pictures of odd data: they are drawn, and they do not lie.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use wardwatch_model::terms::Severity;

use super::figure::frame::{LEFT, RIGHT};
use super::*;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).expect("a time")
}

fn seconds(count: usize) -> Vec<i64> {
    (0..).map(|second| start().timestamp_micros() + second * 1_000_000).take(count).collect()
}

fn line(name: &str, values: Vec<Option<f64>>) -> Body {
    Body::Lines(Lines {
        times: seconds(values.len()),
        lines: vec![Line { name: name.to_owned(), label: name.to_owned(), values, band: None }],
        trace: Trace::Straight,
        limits: vec![Limit { low: Some(50.0), high: Some(120.0), whose: "default".to_owned() }],
        gap: None,
    })
}

fn figure(length: i64, bodies: Vec<Body>) -> Figure {
    let panel = |body| Panel { title: "Heart rate".to_owned(), unit: "/min".to_owned(), body };
    Figure {
        title: "Patient <P1> & \"co\"".to_owned(),
        note: "1 h".to_owned(),
        from: start(),
        until: start() + TimeDelta::seconds(length),
        zone: chrono_tz::Europe::Berlin,
        theme: Theme::Light,
        panels: bodies.into_iter().map(panel).collect(),
        footer: "Made by a test".to_owned(),
    }
}

fn svg(length: i64, bodies: Vec<Body>) -> String {
    figure(length, bodies).svg().expect("drawn")
}

fn entry(severity: Severity, from: i64, until: Option<i64>, text: &str) -> Entry {
    let at = |second| start() + TimeDelta::seconds(second);
    Entry { severity, from: at(from), until: until.map(at), text: text.to_owned() }
}

fn cell(from: i64, value: f64) -> Cell {
    let from = start() + TimeDelta::seconds(from);
    Cell { from, until: from + TimeDelta::seconds(60), value, label: String::new() }
}

#[test]
fn odd_data_are_drawn_all_the_same() {
    for values in [
        Vec::new(),
        vec![Some(80.0)],
        vec![Some(80.0); 100],
        vec![None; 100],
        vec![Some(1e12), Some(-1e12), None, Some(0.0)],
        vec![Some(f64::NAN), Some(f64::INFINITY), Some(f64::MIN), Some(f64::MAX)],
    ] {
        let low = values.clone();
        let ranges =
            Ranges { name: "bp".to_owned(), times: seconds(low.len()), low, high: values.clone(), limits: Vec::new() };
        let finite = || values.iter().flatten().copied().collect::<Vec<f64>>();
        let spark = Spark { label: "P1".to_owned(), times: seconds(values.len()), values: values.clone() };
        let histogram = Histogram {
            name: "x".to_owned(),
            values: finite(),
            unit: "s".to_owned(),
            marks: vec![(14.0, "14 s".to_owned())],
            bins: 10,
        };
        let bars =
            Bars { name: "x".to_owned(), bars: finite().into_iter().map(|value| ("a".to_owned(), value)).collect() };
        let cells: Vec<Cell> = finite().into_iter().map(|value| cell(0, value)).collect();
        let bodies = vec![
            line("heart_rate", values.clone()),
            Body::Ranges(ranges),
            Body::Sparks(Sparks { name: "x".to_owned(), rows: vec![spark] }),
            Body::Histogram(histogram),
            Body::Bars(bars),
            Body::Strip(Strip { cells: cells.clone(), steps: vec![5.0] }),
            Body::Heat(Heat { rows: vec![("P1".to_owned(), cells)], steps: Vec::new() }),
            Body::Timeline(Timeline { entries: Vec::new() }),
            Body::Table(Table { columns: vec![("a".to_owned(), true)], rows: vec![vec![String::new()], Vec::new()] }),
        ];
        assert!(
            png(&svg(100, bodies), PictureSize { width: 600, dpi: 96 }).expect("a picture").starts_with(b"\x89PNG")
        );
    }
}

#[test]
fn text_from_outside_is_escaped_and_long_names_are_cut() {
    let drawn = svg(100, vec![line("heart_rate", vec![Some(80.0)])]);
    assert!(drawn.contains("Patient &lt;P1&gt; &amp;"), "{drawn}");
    let mut long = figure(100, vec![line("heart_rate", vec![Some(80.0)])]);
    long.title = "מטופל בעל שם ארוך מאוד ".repeat(40);
    let drawn = long.svg().expect("drawn");
    assert!(drawn.contains('…') && drawn.matches("ארוך").count() < 8, "{drawn}");
}

#[test]
fn an_episode_is_marked_with_its_sign_and_text() {
    let entries = vec![entry(Severity::High, 10, None, "HR 134 > 120")];
    let drawn = svg(100, vec![Body::Timeline(Timeline { entries })]);
    assert!(drawn.contains("*** HR 134 &gt; 120 · 1 min 30 s, standing"), "{drawn}");
}

#[test]
fn episodes_of_five_hundred_patients_have_an_end_and_are_counted() {
    let entries = (0..500).map(|at| entry(Severity::Low, at / 100, None, "SpO₂ low")).collect();
    let drawn = svg(100, vec![Body::Timeline(Timeline { entries })]);
    assert!(drawn.contains("more that have no room here"));
    let rows = (0..500).map(|patient| (format!("P{patient}"), vec![cell(0, 3.0)])).collect();
    let drawn = svg(100, vec![Body::Heat(Heat { rows, steps: vec![1.0, 3.0] })]);
    assert!(drawn.contains("and 440 more"));
}

#[test]
fn a_state_tells_its_number_and_not_only_a_colour() {
    let cells = vec![cell(0, 2.0), cell(60, 2.0), cell(120, 7.0)];
    let drawn = svg(240, vec![Body::Strip(Strip { cells, steps: vec![1.0, 3.0, 5.0, 7.0] })]);
    let count = |text: &str| drawn.split('<').filter(|part| part.ends_with(&format!(">\n{text}\n"))).count();
    assert_eq!((count("2"), count("7")), (1, 1), "neighbours of one value are one cell: {drawn}");
}

#[test]
fn a_file_name_holds_no_path_and_two_patients_never_share_one() {
    assert_eq!(plain_name("P0001"), "P0001");
    let odd = plain_name("../../etc/passwd");
    assert!(odd.starts_with("etcpasswd-") && !odd.contains('/'));
    assert_ne!(plain_name("a/b"), plain_name("a\\b"));
    assert!(!plain_name("").is_empty());
}

#[test]
fn a_full_disk_leaves_the_report_that_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.html");
    write(&file, b"before").expect("written");
    // What cannot be written cannot be renamed either.
    std::fs::create_dir(folder.path().join("report.html.part")).expect("a folder in the way");
    assert!(matches!(write(&file, b"after"), Err(ReportError::Write { .. })));
    assert_eq!(std::fs::read(&file).expect("read"), b"before");
}

/// The middles of all squares of a colour, in pixels: values that stand alone.
fn squares(drawn: &str, colour: &str) -> Vec<(f64, f64)> {
    let squares = drawn.split("<rect ").skip(1).filter_map(|rest| rest.split('>').next());
    let squares = squares.filter(|square| square.contains(&format!("fill=\"{colour}\"")));
    let number = |square: &str, name: &str| -> f64 {
        let text = square.split(&format!(" {name}=\"")).nth(1).or_else(|| square.strip_prefix(&format!("{name}=\"")));
        text.and_then(|text| text.split('"').next()?.parse().ok()).expect("a number")
    };
    let middle = |square: &str| {
        let of = |place, size| (number(square, place) + number(square, size) / 2.0) / 4.0;
        (of("x", "width"), of("y", "height"))
    };
    squares.map(middle).collect()
}

/// The points of all lines of a colour, in pixels.
fn points(drawn: &str, colour: &str) -> Vec<Vec<(f64, f64)>> {
    let lines = drawn.split("<polyline ").skip(1).filter(|line| line.contains(&format!("stroke=\"{colour}\"")));
    let pairs = lines.map(|line| {
        let points = line.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let pair = |pair: &str| {
            let (x, y) = pair.split_once(',').expect("a pair");
            (x.parse::<f64>().expect("x") / 4.0, y.parse::<f64>().expect("y") / 4.0)
        };
        points.split_whitespace().map(pair).collect()
    });
    pairs.collect()
}

proptest! {
    /// A chart never lies: every value lies within half a pixel of where it belongs, whatever is left out; the greatest and
    /// the least are drawn; and no line crosses a gap.
    #[test]
    fn drawn_points_are_where_their_values_are(
        values in prop::collection::vec(prop::option::weighted(0.8, 30.0_f64..200.0), 2..400),
        length in 100_i64..4_000,
    ) {
        prop_assume!(values.iter().any(Option::is_some));
        let drawn = svg(length, vec![line("heart_rate", values.clone())]);
        let lines = points(&drawn, "#009E73");
        let alone = squares(&drawn, "#009E73");
        let x_of = |second: usize| LEFT + second as f64 / length as f64 * (RIGHT - LEFT);
        let shown = values.iter().enumerate().filter(|(second, _)| *second as i64 <= length);
        let known: Vec<(usize, f64)> = shown.filter_map(|(second, value)| Some((second, (*value)?))).collect();
        prop_assume!(!known.is_empty());
        let (low, high) = known.iter().fold((50.0_f64, 120.0_f64), |(low, high), (_, v)| (low.min(*v), high.max(*v)));
        let air = ((high - low) * 0.08).max(0.5);
        let y_of = |value: f64| 210.0 - (value - (low - air)) / (high - low + 2.0 * air) * 104.0;

        for (x, y) in lines.iter().flatten().chain(&alone) {
            let near = known.iter().any(|(second, value)| {
                // The stroke from least to greatest stands between the first and the last of its pixel.
                (x_of(*second) - x).abs() <= 0.75 && (y_of(*value) - y).abs() <= 0.5
            });
            prop_assert!(near, "({x}, {y}) is no value");
        }
        let heights: Vec<f64> = lines.iter().flatten().chain(&alone).map(|(_, y)| *y).collect();
        for extreme in [f64::max as fn(f64, f64) -> f64, f64::min] {
            let value = known.iter().map(|(_, value)| *value).reduce(extreme).expect("values");
            prop_assert!(heights.iter().any(|y| (y - y_of(value)).abs() <= 0.5), "{value} is lost");
        }
        for pair in lines.iter().flat_map(|line| line.windows(2)) {
            let ((left, _), (right, _)) = (pair[0], pair[1]);
            let second = |x: f64| ((x - LEFT) / (RIGHT - LEFT) * length as f64).round() as usize;
            let between = (second(left) + 1..second(right)).filter(|at| values.get(*at).copied().flatten().is_none()).count();
            let gap = known.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|d| *d > 0).collect::<Vec<_>>();
            let mut sorted = gap.clone();
            sorted.sort_unstable();
            let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(1);
            prop_assert!(between < 3 * usual, "a line from {left} to {right} crosses {between} s without a value");
        }
    }
}

#[test]
fn a_spec_is_read_and_every_fault_has_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |text: &str| {
        std::fs::write(folder.path().join("trend.toml"), text).expect("written");
        load(folder.path(), &[]).all()
    };
    let good = "title = \"T\"\nrange = \"6h\"\nschedule = \"daily 07:00\"\n[data.a]\nsql = '''\nSELECT 1\n'''\n[[chart]]\n\
                kind = \"line\"\ntitle = \"H\"\ndata = \"a\"\ntime = \"t\"\nvalues = [\"v\"]\n";
    let specs = read(good).expect("no fault");
    assert_eq!(specs[0].range, Range::Last(Duration::from_secs(6 * 3_600)));
    assert_eq!(specs[0].data["a"].line, 6, "the SELECT stands on its line");

    let faults = |change: &str, to: &str| {
        let text = good.replacen(change, to, 1);
        assert_ne!(text, good, "{change} is not there");
        read(&text).expect_err("a fault").to_string()
    };
    let has = |told: String, at: &str, wanted: &str| {
        assert!(told.contains(&format!("trend.toml:{at}")) && told.contains(wanted), "{told}");
    };
    has(faults("range = \"6h\"", "rang = \"6h\""), "2:1", "unknown key \"rang\"; did you mean \"range\"?");
    has(faults("6h", "six hours"), "2:9", "\"six hours\" is no length of time");
    has(faults("daily 07:00", "each day"), "3:12", "write \"every 1h\" or \"daily 07:00\"");
    has(faults("\"line\"", "\"lines\""), "9:8", "unknown kind \"lines\"; did you mean \"line\"?");
    has(faults("data = \"a\"", "data = \"b\""), "11:8", "unknown data \"b\"");
    has(faults("values = [\"v\"]", "value = \"v\""), "8:1", "has no key \"value\"; did you mean \"values\"?");
    has(faults("time = \"t\"\n", ""), "8:1", "lacks the key \"time\"");
    has(
        faults("values = [\"v\"]", "values = [\"v\"]\nlimits = \"heart_rate\""),
        "8:1",
        "[data.limits], which is not there",
    );
    has(faults("title = \"T\"\n", ""), "1:1", "the key \"title\" is missing");
    has(faults("schedule", "dpi = 3\nschedule"), "3:7", "dpi 3 is not within 36 and 1200");
    has(faults("schedule", "mail = [\"doctor\"]\nschedule"), "3:9", "unknown outlet \"doctor\"; there is none");
}
