//! Windowed queries: aggregates over spans of event time, kept up batch by batch.
//!
//! ```text
//!             ┌─ partial ──▶ state rows of this batch ─┐
//! batch ──────┤                                        ├─ reduce ──▶ panes ── finish ──▶ groups ── above ──▶ rows
//!             └─ (WHERE, joins with reference rows)    │  (fold)                (merge)           (HAVING, SELECT)
//!                               panes as they were ────┘
//! ```
//!
//! The plan is cut at its aggregate ([`mod@cut`]); the parts are planned once and run on slots that are filled anew. A
//! state row is a group's partial aggregate, for one pane and one partition: `keys…, partition, partial values…,
//! [last time of the session,] last batch`. This room does not decide when a window closes; it is told the watermark.

mod call;
mod cut;
mod due;
mod incremental;
mod inputs;
mod keep;
mod panes;
mod parts;
mod rows;
mod saved;
mod sessions;
pub(crate) mod windowed;

pub(super) use call::functions;
pub(super) use due::{ClosedWindows, Open};
pub(super) use inputs::{Input, Inputs};
pub(super) use keep::Saved;
