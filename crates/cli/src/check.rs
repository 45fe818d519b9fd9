//! `wardwatch check`: every fault of a job, as `file:line:column: message`, and what is mostly a mistake.

use std::path::PathBuf;

use anyhow::bail;

use wardwatch_model::diagnostic::{Diagnostics, Warning};
use wardwatch_pipeline::Plan;
use wardwatch_store::Store;

use super::arguments::JobFile;
use super::report::check_reports;
use super::samples::{Samples, Seen, of_schemas};
use super::show;

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: JobFile,
    /// Compare with the tables in the store too; changes nothing there
    #[arg(long)]
    store: bool,
    /// Print faults and warnings as a JSON array, for editors
    #[arg(long)]
    json: bool,
    /// Warn of what no record of this file has: columns, places, forms
    #[arg(long, value_name = "FILE", conflicts_with = "last")]
    input: Option<PathBuf>,
    /// The topic that records of the file are of, where they do not say so themselves and the job reads several
    #[arg(long, value_name = "TOPIC", requires = "input")]
    topic: Option<String>,
    /// The same of the newest records of the job's topic
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Take warnings for faults
    #[arg(long)]
    deny_warnings: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(faults) => {
                if self.json {
                    println!("{}", show::json(&faults.0, &[]));
                }
                return Err(faults.into());
            }
        };
        let mut warnings = plan.warnings();
        warnings.extend(of_schemas(&plan.job));
        warnings.extend(self.of_samples(&plan)?);
        if self.json {
            println!("{}", show::json(&[], &warnings));
        } else {
            warnings.iter().for_each(|warning| print!("{}", show::warning(warning)));
        }
        if self.store {
            let mut store = Store::connect(&plan.job.store, &plan.job.name)?;
            let found = store.incompatibilities(&plan.all_tables())?;
            if !found.is_empty() {
                bail!("{}", found.join("\nerror: "));
            }
        }
        if self.deny_warnings && !warnings.is_empty() {
            bail!("{} warnings, which --deny-warnings takes for faults", warnings.len());
        }
        if !self.json {
            last_values(&plan).iter().for_each(|note| println!("note: {note}"));
            let job = self.file.job.display();
            println!("{job}: {} tables, {} rules, no fault", plan.tables.len(), plan.rules.len());
        }
        Ok(())
    }

    /// What samples, if there are any, lack of what the job reads.
    fn of_samples(&self, plan: &Plan) -> anyhow::Result<Vec<Warning>> {
        if self.input.is_none() && self.last.is_none() {
            return Ok(Vec::new());
        }
        let mut samples = Samples::of(&plan.job)?;
        let records = match (&self.input, self.last) {
            (Some(file), _) => samples.of_file(file, self.topic.as_deref())?,
            (None, last) => samples.newest(last.unwrap_or_default())?,
        };
        if records.is_empty() {
            bail!("there is no record to compare with");
        }
        let mut seen = Seen::default();
        for record in &records {
            let found = samples.explain(record);
            seen.note(&plan.job, record, &found, &samples.forms_that_take(record));
        }
        if !self.json {
            println!("{}", seen.summary(records.len()));
        }
        Ok(seen.warnings(&plan.job))
    }

    /// The job with its tests and reports, which are checked too.
    fn plan(&self) -> Result<Plan, Diagnostics> {
        let plan = Plan::load(&self.file.job)?;
        let files = wardwatch_sqltest::load(&plan.job.sql.dir)?;
        wardwatch_sqltest::check(&plan, &files, &[], false)?;
        check_reports(&plan)?;
        Ok(plan)
    }
}

/// Which queries see only last values of a source.
fn last_values(plan: &Plan) -> Vec<String> {
    let tables: Vec<&str> = plan.job.source.tables().map(|(_, table)| table).collect();
    let beside = plan.engine.queries().filter(|query| !query.beside.is_empty());
    beside
        .map(|query| {
            format!(
                "{} has rows of {} and sees of {} the last values of each patient only, as after the batch",
                query.file.name,
                tables[query.source],
                query.beside.join(" and ")
            )
        })
        .collect()
}
