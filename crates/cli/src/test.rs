//! `wardwatch test`: the tests of a set of queries.

use std::path::PathBuf;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use wardwatch_model::clock::Stopwatch;
use wardwatch_model::diagnostic::nearest;
use wardwatch_pipeline::Plan;
use wardwatch_sqltest::{Report, TestFile, Thoroughness};

use super::arguments::JobFile;

/// The arguments of `test`.
#[derive(Debug, clap::Args)]
pub(super) struct Test {
    #[command(flatten)]
    file: JobFile,
    /// Only tests with this in their name or their file's, or of this query
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Give records in the tests' own batches only: quicker, while you write a query
    #[arg(long)]
    as_given: bool,
    /// Write what was found in place of what was expected; look at the difference before you keep it
    #[arg(long)]
    update: bool,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let running = Stopwatch::start();
        let plan = Plan::load(&self.file.job)?;
        let files = wardwatch_sqltest::load(&plan.job.sql.dir)?;
        if files.is_empty() {
            bail!("there is no test: put some into {}", plan.job.sql.dir.join("tests").join("*.toml").display());
        }
        let report = self.play(&plan, &files)?;
        if report.results.is_empty() {
            bail!("no test has {} in its name{}", self.filters.join(" or "), self.nearest_query(&plan));
        }
        if let Some(file) = &self.junit {
            let xml =
                wardwatch_sqltest::junit(&plan.job.name, &report).context("the results cannot be written as XML")?;
            std::fs::write(file, xml).with_context(|| format!("\"{}\" cannot be written", file.display()))?;
        }
        let failed = show_failures(&report);
        if self.update {
            let rewritten = wardwatch_sqltest::update(&files, &report);
            let rewritten = rewritten.map_err(|(file, error)| {
                anyhow::Error::new(error).context(format!("\"{}\" cannot be written", file.display()))
            })?;
            for (file, count) in &rewritten {
                println!("{}: {count} expectations rewritten", file.display());
            }
        }
        let untested = report.untested(&plan);
        if self.filters.is_empty() && !untested.is_empty() {
            println!("no test is about {}", untested.join(", "));
        }
        let runs: usize = report.results.iter().map(|result| result.manners.len()).sum();
        let took = running.elapsed().as_secs_f64();
        let tests = report.results.len();
        if failed > 0 {
            bail!("{failed} of {tests} tests failed ({runs} runs, {took:.1} s)");
        }
        let noun = if tests == 1 { "test" } else { "tests" };
        println!("{tests} {noun} passed ({runs} runs, {took:.1} s)");
        Ok(())
    }

    fn play(&self, plan: &Plan, files: &[TestFile]) -> anyhow::Result<Report> {
        let checked = wardwatch_sqltest::check(plan, files, &self.filters, self.update)?;
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} tests") {
            bar.set_style(style);
        }
        let thoroughness = if self.as_given { Thoroughness::AsGiven } else { Thoroughness::EveryManner };
        let report = wardwatch_sqltest::run(plan, &checked, thoroughness, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        Ok(report)
    }

    fn nearest_query(&self, plan: &Plan) -> String {
        let names = || plan.engine.queries().map(|query| query.file.name.as_str());
        let near = self.filters.iter().find_map(|filter| nearest(filter, names()));
        near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"))
    }
}

/// Prints what went wrong; returns in how many tests.
fn show_failures(report: &Report) -> usize {
    let failed = report.results.iter().filter(|result| !result.failures.is_empty());
    failed
        .map(|result| {
            println!("{}:{}: \"{}\" failed", result.file.display(), result.line, result.name);
            for failure in &result.failures {
                println!("  line {}, {}: {}", failure.line, failure.mode, failure.message.trim_end());
            }
        })
        .count()
}
