//! Reports and charts of what the store holds, as pages, PNG and SVG.
//!
//! It reads committed rows only and can neither delay nor lose a batch. A report is a spec (`spec`) that is made for a
//! time and a subject (`facts`), drawn (`figure`) and laid into a folder (`reporter`). What the store does
//! not hold is not drawn.

mod build;
mod canvas;
mod error;
mod figure;
mod files;
mod pace;
mod page;
mod patient;
mod picture;
mod reporter;
mod resample;
mod scale;
mod schedule;
mod spec;
mod theme;

pub use build::{Moment, RenderedReport, Subject, check, make, subjects};
pub use canvas::ChartError;
pub use error::ReportError;
pub use figure::{
    Band, Bars, Body, Cell, Entry, Figure, Heat, Histogram, Limit, Line, Lines, Panel, Ranges, Readout, Spark,
    SparkPoint, Sparks, Strip, TIME_AXIS, Table, Timeline, Trace, shown, spark_path,
};
pub use files::{plain_name, write};
pub use pace::Pace;
pub use page::Listed;
pub use patient::{PatientChart, patient_chart};
pub use picture::png;
pub use reporter::{Reporting, Wanted, Written, listed, reader, write_due, write_reports};
pub use spec::folder::{Specs, load};
pub use spec::plain::{ChartSpec, KINDS, Kind, Limits, PictureSize, Range, Schedule, Spec};
pub use theme::Theme;

#[cfg(test)]
mod tests;
