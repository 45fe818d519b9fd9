//! The job: a plan made of the job file and its queries, and the loop that runs it.
//!
//! This is the only room that sees all stages; each of them knows just the output of the one before.

mod commit;
mod plan;
mod quarantine;
mod run;

pub use plan::Plan;
pub use run::{Progress, RunError, RunOptions, Summary, run};
