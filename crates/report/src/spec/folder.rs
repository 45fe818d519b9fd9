//! Reads the reports of a folder.

use std::path::Path;

use wardwatch_config::{Job, Outlet};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics};

use super::plain::Spec;
use super::written::parse;

/// The specs of a folder.
#[derive(Debug, Default)]
pub struct Specs {
    /// Those without a fault, by name.
    pub good: Vec<Spec>,
    /// The faults of the others.
    pub faults: Vec<Diagnostic>,
}

impl Specs {
    /// The specs of a job's reports; none where it names no folder.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        job.reports.specs.as_deref().map(|folder| load(folder, &job.notify)).unwrap_or_default()
    }

    /// All of them.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn all(self) -> Result<Vec<Spec>, Diagnostics> {
        if self.faults.is_empty() { Ok(self.good) } else { Err(Diagnostics(self.faults)) }
    }
}

/// Reads every `*.toml` of a folder, by name; none where there is no folder. Mail goes to `outlets` of the job.
#[must_use]
pub fn load(folder: &Path, outlets: &[Outlet]) -> Specs {
    let mut specs = Specs::default();
    let paths = wardwatch_sql::files(folder, "toml").unwrap_or_else(|fault| {
        specs.faults.push(fault);
        Vec::new()
    });
    for path in paths {
        match std::fs::read_to_string(&path) {
            Ok(text) => match parse(&path, &text, outlets) {
                Ok(spec) => specs.good.push(spec),
                Err(found) => specs.faults.extend(found),
            },
            Err(error) => {
                let message = format!("cannot be read: {error}");
                specs.faults.push(Diagnostic { file: path, line: 1, column: 1, message });
            }
        }
    }
    specs
}
