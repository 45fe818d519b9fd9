//! `wardwatch run`: the main job.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Stopwatch, SystemClock};
use crate::job::{Plan, RunOptions, run};
use crate::source::Until;
use crate::telemetry;

use super::stop::Stop;
use super::{JobFile, duration};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: JobFile,
    /// Take what is there now, then end; for cron
    #[arg(long)]
    once: bool,
    /// How long Kafka and the store may take to answer at the start
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    connect_timeout: Duration,
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::init("info");
        let stop = Stop::on_signals()?;
        let plan = Plan::load(&self.file.job)?;
        let running = Stopwatch::start();
        let mut options = RunOptions {
            until: if self.once { Until::CaughtUp } else { Until::Stopped },
            connect_timeout: self.connect_timeout,
            stopped: &|| stop.is_asked(),
            on_commit: &mut |_| {},
            clock: Arc::new(SystemClock),
        };
        let summary = run(&plan, &mut options)?;
        if self.once {
            println!(
                "{} batches, {} records, {} rejects, {} artefacts, {} failing queries, {:.2} s",
                summary.batches,
                summary.records,
                summary.rejects,
                summary.artefacts,
                summary.failing,
                running.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }
}
