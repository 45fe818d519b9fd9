//! The job: a plan made of the job file and its queries, and the loop that runs it.
//!
//! This is the only crate that sees all stages; each of them knows just the output of the one before.

mod admit;
mod attaching;
mod backtest;
mod begin;
mod commit;
mod costs;
mod coverage;
mod error;
mod evaluate;
mod file_records;
mod given;
mod judge;
mod late;
mod lease;
mod leaving;
mod memory;
mod needs;
mod offline;
mod options;
mod past;
mod periods;
mod plan;
mod preview;
mod quarantine;
mod recover;
mod references;
mod rejected;
mod reload;
mod replays;
mod reshape;
mod retry;
mod run;
mod sources;
mod start;
mod state;
mod tables;
mod waiting;

pub use backtest::{Backtest, Delay, backtest};
pub use error::RunError;
pub use file_records::{FileRecord, newest_records, records_of_file};
pub use offline::{GivenRecord, OfflineBatch, OfflineJob, Recovering};
pub use options::{AtEnd, Progress, ReplacedTopic, RunOptions, Standby, Summary};
pub use past::{Past, PastError};
pub use plan::{Plan, Reference};
pub use preview::{Preview, preview};
pub use replays::{ReadAgain, read_again};
pub use reshape::decoder;
pub use run::run;
