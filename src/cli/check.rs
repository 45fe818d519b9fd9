//! `wardwatch check`: every fault of a job, as `file:line:column: message`.

use anyhow::bail;

use crate::job::Plan;
use crate::store::Store;

use super::JobFile;

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: JobFile,
    /// Compare with the tables in the store too; changes nothing there
    #[arg(long)]
    store: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let plan = Plan::load(&self.file.job)?;
        if self.store {
            let mut store = Store::connect(&plan.job.store, &plan.job.name)?;
            let found = store.incompatibilities(&plan.all_tables())?;
            if !found.is_empty() {
                bail!("{}", found.join("\nerror: "));
            }
        }
        println!("{}: {} tables, {} rules, no fault", self.file.job.display(), plan.tables.len(), plan.rules.len());
        Ok(())
    }
}
