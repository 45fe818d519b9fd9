//! A frame of Polars goes in, the windows that have closed come out as one.
//!
//! `cargo run --example frames`

#![allow(clippy::print_stdout, missing_docs, reason = "an example prints what it finds")]

use wardwatch::chrono::{DateTime, TimeDelta};
use wardwatch::polars::prelude::{Column as Series, DataFrame, NamedFrom, PlSmallStr, Series as Values};
use wardwatch::{Column, Session, SessionError};

pub fn main() -> Result<(), SessionError> {
    let mut ward = Session::builder("ward")
        .column(Column::float("heart_rate"))
        .table(
            "minutes",
            "-- @key: patient_id, window_start
             SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start,
                 avg(heart_rate) AS heart_rate, count(*) AS records
             FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')",
        )
        .build()?
        .offline();

    let start = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let times: Vec<String> = (0..180).map(|second| (start + TimeDelta::seconds(second)).to_rfc3339()).collect();
    let rates: Vec<f64> = (0..180).map(|second| 70.0 + f64::from(second / 60)).collect();
    let columns = vec![
        Series::from(Values::new(PlSmallStr::from("patient_id"), vec!["P1"; 180])),
        Series::from(Values::new(PlSmallStr::from("event_time"), times)),
        Series::from(Values::new(PlSmallStr::from("heart_rate"), rates)),
    ];
    let vitals = DataFrame::new(180, columns).map_err(wardwatch::frame::CrossingError::from)?;

    let end = start + TimeDelta::seconds(180);
    let given = ward.frame(&vitals, end)?;
    let minutes = given.committed().frame("minutes")?;
    println!("{minutes:?}");
    // The third minute may still get late records.
    assert_eq!(minutes.map(|minutes| minutes.height()), Some(2));
    Ok(())
}
