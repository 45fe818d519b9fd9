//! `wardwatch report`: charts from what the store holds.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::report::{PatientChart, file_name, patient_chart, write_png};
use crate::store::Store;

use super::{JobFile, duration, time};

/// The arguments of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    #[command(flatten)]
    file: JobFile,
    /// The patient to draw
    #[arg(long, value_name = "ID")]
    patient: String,
    /// How much time to draw
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    last: Duration,
    /// The right edge; the patient's newest reading by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// The PNG file to write; named after the patient in the job's report folder by default
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let job = config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        let file = self.out.unwrap_or_else(|| job.reports.dir.join(file_name(&self.patient)));
        let wanted = PatientChart { patient: self.patient, span: self.last, until: self.until };
        let chart = patient_chart(&mut store, &job, &wanted, SystemClock.now())?;
        write_png(&chart, &file)?;
        println!("{}", file.display());
        Ok(())
    }
}
