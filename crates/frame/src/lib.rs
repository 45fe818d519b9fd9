//! The micro-batch as columns: what is computed on rows before any query sees them. No I/O, no SQL, no clock.
//!
//! Which rows are late or doubled, how far event time has got, features, and the rows of the last while. Each of them is decided
//! record by record, so that any batching of the same records gives the same.

mod attach;
mod crossing;
mod duplicates;
mod features;
mod history;
mod lateness;

pub use attach::{Attached, Keyed, attach, attach_artefacts, decoded_again, patient, unattached};
pub use crossing::{CrossingError, from_polars_frame, to_polars_frame};
pub use duplicates::{SeenKeys, without_rows};
pub use features::{Features, schema_with};
pub use history::History;
pub use lateness::{Bounds, Split, late_of_all, late_records, split_late};
