//! `wardwatch report`: the reports that are due, or those that are named, from what the store holds.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};

use wardwatch_config::Job;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::diagnostic::{Diagnostics, unknown};
use wardwatch_pipeline::Plan;
use wardwatch_report::{
    Moment, PatientChart, PictureSize, Spec, Specs, Wanted, Written, check, patient_chart, plain_name, png, write,
    write_due, write_reports,
};
use wardwatch_sql::{Limits, StoredReader};
use wardwatch_store::{Store, TablesToBe};

use super::arguments::{JobFile, duration, time};

/// The arguments of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    #[command(flatten)]
    file: JobFile,
    /// The reports to make, by the names of their specs; without any, those that are due
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only of this patient, or whatever the report is of; without a NAME, the chart of a patient's vitals
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// How much time to show; the spec's by default, and an hour of a patient's vitals
    #[arg(long, value_name = "TIME", value_parser = duration)]
    last: Option<Duration>,
    /// The right edge; the newest batch by default, and a patient's newest reading
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// The PNG file for a patient's vitals; named after the patient in the job's report folder by default
    #[arg(long, value_name = "FILE", requires = "patient", conflicts_with = "names")]
    out: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        if self.names.is_empty()
            && let Some(patient) = self.patient
        {
            return draw(&job, patient, self.last.unwrap_or(Duration::from_secs(3_600)), self.until, self.out);
        }
        let specs = Specs::of(&job).all()?;
        if self.names.is_empty() {
            return due(&job, &specs);
        }
        let known = || specs.iter().map(|spec| spec.name.as_str());
        let mut failed = 0;
        for name in &self.names {
            let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
                bail!(unknown("report", name, known()));
            };
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            let wanted = Wanted { subject: self.patient.clone(), last: self.last, until: self.until, workers };
            let bar = bar(name);
            let written = write_reports(&job, spec, &wanted, &|done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                ControlFlow::Continue(())
            })?;
            bar.finish_and_clear();
            failed += written.failed.len();
            tell(name, &written);
        }
        println!("{}", job.reports.dir.join("index.html").display());
        if failed > 0 {
            bail!("{failed} reports could not be made");
        }
        Ok(())
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{msg} {elapsed_precise} {bar:30} {human_pos}/{human_len}") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}

fn tell(name: &str, written: &Written) {
    for (subject, reason) in &written.failed {
        eprintln!("{name} of \"{subject}\": {reason}");
    }
    if let [page] = written.pages.as_slice() {
        println!("{}", page.display());
    }
    println!(
        "{name}: {} pages, {} failed, {:.2} s",
        written.pages.len(),
        written.failed.len(),
        written.took.as_secs_f64()
    );
}

fn due(job: &Job, specs: &[Spec]) -> anyhow::Result<()> {
    if !specs.iter().any(|spec| spec.schedule.is_some()) {
        bail!("no report has a schedule; name those that are wanted: {}", names(specs));
    }
    let made = write_due(job, specs, &|| false, &|_, _| ControlFlow::Continue(()))?;
    made.iter().for_each(|(name, written)| tell(name, written));
    if made.is_empty() {
        println!("no report is due");
    }
    Ok(())
}

fn names(specs: &[Spec]) -> String {
    specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn draw(
    job: &Job,
    patient: String,
    span: Duration,
    until: Option<DateTime<Utc>>,
    out: Option<PathBuf>,
) -> anyhow::Result<()> {
    let mut store = Store::connect(&job.store, &job.name)?;
    let file = out.unwrap_or_else(|| job.reports.dir.join(format!("{}.png", plain_name(&patient))));
    let wanted = PatientChart { until, ..PatientChart::of(&patient, span) };
    let figure = patient_chart(&mut store, job, &wanted, SystemClock.now())?;
    write(&file, &png(&figure.svg()?, PictureSize::default())?)?;
    println!("{}", file.display());
    Ok(())
}

/// Checks the specs of a job's reports against the tables that it will have.
pub(super) fn check_reports(plan: &Plan) -> Result<(), Diagnostics> {
    let specs = Specs::of(&plan.job).all()?;
    let limits = Limits { time: plan.job.sql.time_limit, memory: plan.job.sql.memory_limit, groups: usize::MAX };
    let reader = StoredReader::new(Arc::new(TablesToBe::new(plan.all_tables())), limits);
    let now = SystemClock.now();
    let moment = Moment {
        job: plan.job.name.clone(),
        made: now,
        batch: 0,
        newest: None,
        last: None,
        until: None,
        zone: plan.job.reports.time_zone,
    };
    let faults: Vec<_> = specs.iter().flat_map(|spec| check(spec, &reader, &moment)).collect();
    if faults.is_empty() { Ok(()) } else { Err(Diagnostics(faults)) }
}
