//! Analysts' SQL: files in, plans once, result batches every second.
//!
//! The only crate that knows DataFusion. A query sees the micro-batch, the results of the queries before it and one
//! frozen `now()`; it can reach no file, no network and no clock. It does not know what becomes of its rows.

mod aggregates;
mod batch;
mod batching;
mod condition;
mod engine;
mod execute;
mod fault;
mod file;
mod functions;
mod given;
mod header;
mod kept;
mod keyed;
mod latest;
mod leading;
mod lint;
mod lint_names;
mod names;
mod one_rule;
mod own_rows;
mod periods;
mod planner;
mod query;
mod reference;
mod refuse;
mod result;
mod run;
mod sampled;
mod seed;
mod session;
mod slot;
mod source;
mod source_query;
mod stored;
mod syntax;
mod window;
mod yielding;

pub use batch::{Ages, AgesOf, Closing, Input, Judged, Outcome, PatientAges, Period, Progress};
pub use engine::Engine;
pub use execute::{Limits, QueryFailure};
pub use file::{QueryFile, QueryKind, files, is_hidden, load_draft, load_set};
pub use given::{artefacts_schema, encounters_now_schema, given_rows, open_alerts_schema};
pub use kept::{Kept, SavedQuery};
pub use keyed::Replaced;
pub use lint_names::LINTS;
pub use periods::ReferenceChange;
pub use query::Planned;
pub use reference::reference;
pub use seed::{Seed, load_seeds, read_rows, seed_column};
pub use source::Source;
pub use source_query::{DECODED, Made, SOURCE_FILE, SourceQuery};
pub use stored::{Given, Parameters, StoredFailure, StoredReader, StoredSql};
