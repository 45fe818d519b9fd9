//! Analysts' SQL: files in, plans once, result batches every second.
//!
//! The only room that knows DataFusion. A query sees the micro-batch, the results of the queries before it and one
//! frozen `now()`; it can reach no file, no network and no clock. It does not know what becomes of its rows.

mod engine;
mod fault;
mod file;
mod functions;
mod header;
mod keyed;
mod refuse;
mod slot;

pub use engine::{Engine, Limits, Outcome, Planned, QueryFailure, Source};
pub use file::{QueryFile, QueryKind, load_set};
pub use header::{RuleHeader, Severity, TableHeader};
