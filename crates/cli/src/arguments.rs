//! Arguments that several commands have.

use std::path::{Path, PathBuf};

use wardwatch_model::diagnostic::unknown;
use wardwatch_pipeline::Plan;

/// The job file that most commands take.
#[derive(Debug, clap::Args)]
pub(crate) struct JobFile {
    /// The job file, such as jobs/patient_vitals.toml
    #[arg(value_name = "JOB")]
    pub(crate) job: PathBuf,
}

/// Which queries a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Queries,
    Rules,
}

impl JobFile {
    /// The job with a query of its set, or with the draft in a file, and the query's name.
    ///
    /// Errors: faults of files, or a name that no query that the command takes has.
    pub(crate) fn with_query(&self, query: &str, takes: Takes) -> anyhow::Result<(Plan, String)> {
        let job = wardwatch_config::load(&self.job)?;
        let (plan, name) = if query.ends_with(".sql") {
            Plan::with_draft(job, Path::new(query))?
        } else {
            (Plan::of(job)?, query.to_owned())
        };
        let taken = plan.engine.queries().filter(|known| takes == Takes::Queries || known.file.is_rule());
        let names: Vec<&str> = taken.map(|known| known.file.name.as_str()).collect();
        if !names.contains(&name.as_str()) {
            let kind = if takes == Takes::Rules { "rule" } else { "query" };
            anyhow::bail!(unknown(kind, &name, names.into_iter()));
        }
        Ok((plan, name))
    }
}

/// A length of time such as `10s` or `5m`.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a number and a unit: 500ms, 10s, 5m".to_owned())
}

/// A time such as `2026-01-01T00:00:00Z`.
pub(crate) fn time(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "write a time with its zone: 2026-01-01T00:00:00Z".to_owned())
}
