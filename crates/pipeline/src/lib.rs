//! The job: a plan made of the job file and its queries, and the loop that runs it.
//!
//! This is the only crate that sees all stages; each of them knows just the output of the one before.

mod attaching;
mod backtest;
mod batch;
mod costs;
mod coverage;
mod given;
mod lease;
mod memory;
mod needs;
mod past;
mod periods;
mod plan;
mod preview;
mod quarantine;
mod recover;
mod references;
mod rehearse;
mod rejected;
mod reload;
mod retry;
mod run;
mod standing;
mod start;
mod state;
mod tables;
mod waiting;

pub use backtest::{Backtest, Delay, backtest};
pub use past::{Past, PastError};
pub use plan::{Plan, Reference};
pub use preview::{Preview, preview};
pub use rehearse::{GivenRecord, Recovering, Rehearsal, Rehearsed};
pub use run::{AtEnd, Progress, ReplacedTopic, RunError, RunOptions, Standby, Summary, run};
