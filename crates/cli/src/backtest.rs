//! `wardwatch backtest`: a rule on records of the past, before it is switched on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};

use wardwatch_alert::Episode;
use wardwatch_pipeline::{Backtest as Tested, Past, Plan, backtest};
use wardwatch_store::Store;

use super::arguments::{JobFile, Takes, duration, time};
use super::table::{aligned, second};

/// How many episodes are shown one by one.
const SHOWN: usize = 20;

/// The arguments of `backtest`.
#[derive(Debug, clap::Args)]
pub(super) struct Backtest {
    #[command(flatten)]
    file: JobFile,
    /// A rule of the set by its name, or the file of one that is not in it yet
    #[arg(value_name = "RULE")]
    rule: String,
    /// From this event time on
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// Before this event time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<DateTime<Utc>>,
    /// Records of this file, one JSON object a line, instead of those in the store's table
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Delays to compare with the rule's own
    #[arg(long = "for", value_name = "TIMES", value_delimiter = ',', default_value = "0s,5s,10s,19s,30s", value_parser = duration)]
    holds: Vec<Duration>,
    /// Show every episode, not only the first
    #[arg(long)]
    all: bool,
}

impl Backtest {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (plan, rule) = self.file.with_query(&self.rule, Takes::Rules)?;
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            bail!("--from is not before --to; there is no time between them");
        }
        let past = match &self.input {
            Some(file) => Past::of_file(&plan, file, self.from, self.to)?,
            None if self.is_of_other(&plan, &rule) => {
                let tables: Vec<&str> = plan.job.source.tables().map(|(_, table)| table).collect();
                bail!(
                    "\"{rule}\" needs rows of another source than \"{}\", and the store's table \"{}\" has none; give records of all \
                     topics: --input FILE, a line each as `{{\"topic\": …, \"headers\": {{}}, \"value\": …}}`",
                    tables[0],
                    plan.job.reports.table
                )
            }
            None => {
                let mut store = Store::connect(&plan.job.store, &plan.job.name)?;
                Past::of_store(&plan.job, &mut store, self.from, self.to)?
            }
        };
        if past.rows.num_rows() == 0 {
            bail!("there are no records in that time");
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:30} {human_pos}/{human_len} rows") {
            bar.set_style(style);
        }
        let tested = backtest(plan, &rule, &past, &self.holds, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        self.show(&tested, &past);
        Ok(())
    }

    /// Whether a rule reads what is not in the table of readings, directly or through others.
    fn is_of_other(&self, plan: &Plan, rule: &str) -> bool {
        let mut waiting = vec![rule.to_owned()];
        while let Some(name) = waiting.pop() {
            let Some(query) = plan.engine.queries().find(|query| query.file.name == name) else { continue };
            if query.source > 0 || !query.beside.is_empty() {
                return true;
            }
            waiting.extend(query.reads.iter().cloned());
        }
        false
    }

    fn show(&self, tested: &Tested, past: &Past) {
        println!(
            "{}: {} rows of {} patients, {:.2} patient-hours{}",
            tested.rule,
            past.rows.num_rows(),
            tested.patients,
            tested.patient_hours,
            if past.rejects > 0 { format!("; {} records are none of the job's", past.rejects) } else { String::new() }
        );
        let rows = tested.delays.iter().enumerate().map(|(index, delay)| {
            let own = if index == 0 { " (the rule's own)" } else { "" };
            vec![
                format!("{}{own}", humantime::format_duration(delay.hold)),
                delay.episodes.to_string(),
                delay.patients.to_string(),
                format!("{:.3}", delay.per_patient_hour),
                delay.median.map_or("–".to_owned(), |median| humantime::format_duration(median).to_string()),
            ]
        });
        print!("\n{}", aligned(&["DELAY", "EPISODES", "PATIENTS", "PER PATIENT-HOUR", "MEDIAN DURATION"], rows));

        if !tested.overlaps.is_empty() {
            let rows = tested
                .overlaps
                .iter()
                .map(|(rule, count)| vec![rule.clone(), format!("{count} of {}", tested.episodes.len())]);
            print!("\n{}", aligned(&["FIRES TOGETHER WITH", "EPISODES"], rows));
        }
        if !tested.episodes.is_empty() {
            let shown = if self.all { tested.episodes.len() } else { SHOWN };
            let rows = tested.episodes.iter().take(shown).map(episode_row);
            print!("\n{}", aligned(&["PATIENT", "CONDITION SINCE", "FIRES", "CLEARED", "WORST"], rows));
            if tested.episodes.len() > shown {
                println!("and {} more; --all shows them", tested.episodes.len() - shown);
            }
        }
        for (query, error) in &tested.failures {
            println!("\nquery {query} failed: {error}");
        }
    }
}

fn episode_row(episode: &Episode) -> Vec<String> {
    let shown = |at: Option<DateTime<Utc>>| at.map_or("–".to_owned(), second);
    vec![
        episode.patient.to_string(),
        shown(Some(episode.started_at)),
        shown(episode.firing_at),
        shown(episode.cleared_at),
        episode.peak.text.to_string(),
    ]
}
