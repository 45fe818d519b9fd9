//! Charts of odd data: they are drawn, and they do not lie.

use chrono::TimeDelta;

use crate::store::PatientEpisode;
use crate::terms::Severity;

use super::*;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).expect("a time")
}

fn series(name: &str, values: Vec<Option<f64>>) -> Series {
    Series {
        name: name.to_owned(),
        label: name.to_owned(),
        unit: "/min".to_owned(),
        limits: Some([50.0, 120.0]),
        plausible: None,
        values,
    }
}

fn chart(seconds: i64, series: Vec<Series>, episodes: Vec<PatientEpisode>) -> Chart {
    Chart {
        title: "Patient <P1> & \"co\"".to_owned(),
        from: start(),
        until: start() + TimeDelta::seconds(seconds),
        zone: chrono_tz::Europe::Berlin,
        times: (0..)
            .map(|second| start().timestamp_micros() + second * 1_000_000)
            .take(series[0].values.len())
            .collect(),
        panels: chart::panels(series),
        episodes,
        made: start(),
        batch: 7,
    }
}

#[test]
fn odd_data_are_drawn_all_the_same() {
    for values in
        [vec![Some(80.0)], vec![Some(80.0); 100], vec![None; 100], vec![Some(1e12), Some(-1e12), None, Some(0.0)]]
    {
        let svg = chart(100, vec![series("heart_rate", values)], Vec::new()).svg().expect("drawn");
        assert!(png(&svg, 1.0).expect("a picture").starts_with(b"\x89PNG"));
    }
}

#[test]
fn text_from_outside_is_escaped() {
    let svg = chart(100, vec![series("heart_rate", vec![Some(80.0)])], Vec::new()).svg().expect("drawn");
    assert!(svg.contains("Patient &lt;P1&gt; &amp;"), "{svg}");
}

#[test]
fn both_blood_pressures_share_a_panel_and_empty_series_have_none() {
    let drawn = chart(
        10,
        vec![
            series("systolic_bp", vec![Some(120.0)]),
            series("diastolic_bp", vec![Some(70.0)]),
            series("spo2", vec![None]),
        ],
        Vec::new(),
    );
    assert_eq!(drawn.panels.len(), 1);
    let svg = drawn.svg().expect("drawn");
    assert!(svg.contains("120/70"), "the last values are told");
}

#[test]
fn an_episode_is_marked_with_its_sign_and_text() {
    let episode = PatientEpisode {
        severity: Severity::High,
        from: start() + TimeDelta::seconds(10),
        until: None,
        text: "HR 134 > 120".to_owned(),
    };
    let svg = chart(100, vec![series("heart_rate", vec![Some(134.0); 100])], vec![episode]).svg().expect("drawn");
    assert!(svg.contains("*** HR 134 &gt; 120 · 1 min 30 s, standing"), "{svg}");
}

#[test]
fn a_file_name_holds_no_path_and_two_patients_never_share_one() {
    assert_eq!(file_name("P0001"), "P0001.png");
    let odd = file_name("../../etc/passwd");
    assert!(odd.starts_with("etcpasswd-") && !odd.contains('/'));
    assert_ne!(file_name("a/b"), file_name("a\\b"));
    assert!(file_name("").ends_with(".png"));
}
