//! `wardwatch run`: the main job.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use wardwatch_model::clock::Stopwatch;
use wardwatch_model::telemetry;
use wardwatch_session::{Session, SessionError};

use super::arguments::{JobFile, duration};
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
        let running = Stopwatch::start();
        let repeating = ProgressBar::hidden();
        let mut session = Session::from_job(&self.file.job)
            .map_err(plain)?
            .connect_timeout(self.connect_timeout)
            .stop_when(|| stop.is_asked())
            .on_repeat(|done, all| show_repeating(&repeating, done, all));
        if self.once {
            session = session.once();
        }
        if self.close_windows {
            session = session.close_windows();
        }
        if self.standby {
            session = session.standby();
        }
        if self.new_topic {
            session = session.accept_new_topic();
        }
        let summary = session.run().map_err(plain)?;
        if self.once {
            println!(
                "{} batches, {} records, {} rejects, {} artefacts, {} late rows, {} duplicates{}, {} failing queries, {:.2} s",
                summary.batches,
                summary.records,
                summary.rejects,
                summary.artefacts,
                summary.late,
                summary.duplicates,
                if summary.ignored > 0 { format!(", {} ignored", summary.ignored) } else { String::new() },
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
}

/// What a session says of its parts, as these say it: places of faults, and exit codes, go by that.
pub(super) fn plain(error: SessionError) -> anyhow::Error {
    match error {
        SessionError::Faults(faults) => faults.into(),
        SessionError::Run(error) => error.into(),
        other => other.into(),
    }
}
