//! `wardwatch run`: the main job.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::{info, warn};

use wardwatch_ingest::source::Until;
use wardwatch_model::clock::{Stopwatch, SystemClock};
use wardwatch_model::health::Health;
use wardwatch_model::telemetry;
use wardwatch_pipeline::{AtEnd, Plan, ReplacedTopic, RunError, RunOptions, Standby, Summary, run};
use wardwatch_report::{Pace, Reporting, Spec, Specs};

use super::arguments::{JobFile, duration};
use super::report;
use super::stop::Stop;

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: JobFile,
    /// Take what is there now, then end; for cron
    #[arg(long)]
    once: bool,
    /// With --once: give out windows that are still open, too; the next run goes on with them
    #[arg(long, requires = "once")]
    close_windows: bool,
    /// Where another process runs the job, wait and take over when it is gone, instead of ending
    #[arg(long, conflicts_with = "once")]
    standby: bool,
    /// Where the topic was deleted and made again, go on with the new one; what was not read of the old one is lost
    #[arg(long)]
    new_topic: bool,
    /// How long Kafka and the store may take to answer at the start
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    connect_timeout: Duration,
}

/// Shows how far reading again has got, where somebody is looking.
fn show_repeating(bar: &ProgressBar, done: usize, all: usize) {
    if bar.length() != Some(all as u64) {
        bar.set_length(all as u64);
        if let Ok(style) =
            ProgressStyle::with_template("{elapsed_precise} {bar:30} {human_pos}/{human_len} batches read again")
        {
            bar.set_style(style);
        }
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    bar.set_position(done as u64);
    if done == all {
        bar.finish_and_clear();
    }
}

impl Run {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::init("info");
        let stop = Stop::on_signals()?;
        let mut plan = Plan::load(&self.file.job)?;
        // From cron, there is no time to look at a page; `wardwatch serve` has one all the time.
        let listen = plan.job.dashboard.listen.filter(|_| !self.once);
        let health = Health::new(Arc::new(SystemClock));
        let page = listen.map(|listen| wardwatch_web::serve(&plan.job, listen, Some(&health)).context("[dashboard]"));
        let page = page.transpose()?;
        if let Some(page) = &page {
            info!(address = page.address(), "page and metrics");
        }
        // From cron, `wardwatch report` makes what is due.
        let specs = if self.once { Specs::default() } else { report::specs(&plan.job) };
        for fault in &specs.faults {
            warn!(%fault, "no such report; the job and the other reports go on");
        }
        let scheduled = specs.good.into_iter().filter(|spec| spec.schedule.is_some()).collect::<Vec<_>>();
        let running = Stopwatch::start();
        // Without its page, a ward sees nothing: the batch in hand is finished, and whoever restarts us brings both back.
        let is_stopped = || stop.is_asked() || page.as_ref().is_some_and(wardwatch_web::Page::has_ended);
        let done = loop {
            match self.run_once_admitted(&mut plan, &scheduled, &health, &is_stopped) {
                Err(error) if self.standby && error.is_fenced() => {
                    warn!(%error, "standing by from now on");
                    plan = self.plan_again(plan);
                }
                done => break done,
            }
        };
        let page = page.map_or(Ok(()), wardwatch_web::Page::stop);
        let summary = done?;
        page?;
        if self.once {
            println!(
                "{} batches, {} records, {} rejects, {} artefacts, {} late rows, {} duplicates, {} failing queries, {:.2} s",
                summary.batches,
                summary.records,
                summary.rejects,
                summary.artefacts,
                summary.late,
                summary.duplicates,
                summary.failing,
                running.elapsed().as_secs_f64()
            );
            if summary.tables_at_fault > 0 {
                println!(
                    "{} tables at fault, whose rows wait; `wardwatch status {}` says why",
                    summary.tables_at_fault,
                    self.file.job.display()
                );
            }
        }
        Ok(())
    }

    /// The plan of the files as they are now. Where these have a fault, the one that ran goes on, with nothing in its windows: a standby
    /// that ends over somebody's edit leaves the ward without one.
    fn plan_again(&self, mut ran: Plan) -> Plan {
        match Plan::load(&self.file.job) {
            Ok(plan) => plan,
            Err(fault) => {
                warn!(%fault, "the files have faults; it stands by with the job as it ran");
                ran.engine.start_over();
                ran
            }
        }
    }

    /// Runs the job until it ends; reports are made while this process writes for it, and not while it stands by.
    fn run_once_admitted(
        &self,
        plan: &mut Plan,
        scheduled: &[Spec],
        health: &Health,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Summary, RunError> {
        let pace = Pace::new(plan.job.trigger.every);
        let job = plan.job.clone();
        let mut reporting = None;
        let repeating = ProgressBar::hidden();
        let mut options = RunOptions {
            until: if self.once { Until::CaughtUp } else { Until::Stopped },
            at_end: if self.close_windows { AtEnd::CloseWindows } else { AtEnd::LeaveWindows },
            standby: if self.standby { Standby::Wait } else { Standby::Stop },
            new_topic: if self.new_topic { ReplacedTopic::GoOn } else { ReplacedTopic::Refuse },
            connect_timeout: self.connect_timeout,
            stopped,
            on_start: &mut || {
                if !scheduled.is_empty() {
                    reporting = Reporting::start(&job, scheduled.to_vec(), pace.clone())
                        .inspect_err(|error| warn!(%error, "no thread for reports; the job goes on without"))
                        .ok();
                }
            },
            on_repeat: &|done, all| show_repeating(&repeating, done, all),
            on_commit: &mut |progress| pace.committed(progress.latency),
            health,
            clock: Arc::new(SystemClock),
        };
        let done = run(plan, &mut options);
        if let Some(reporting) = reporting {
            reporting.stop();
        }
        done
    }
}
