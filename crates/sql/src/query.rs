//! A query that was planned, and what queries read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::ExecutionPlan;

use super::file::QueryFile;
use super::slot::Slot;
use super::window::windowed::Windowed;

/// A planned query and where others find its rows.
#[derive(Debug)]
pub(crate) struct Query {
    pub(super) planned: Planned,
    pub(super) body: Body,
    /// A rule's rows under `@clear_when`.
    pub(super) clear: Option<Arc<dyn ExecutionPlan>>,
    /// Of a rule of several vitals: the rows that it is judged on.
    pub(super) judged: Option<Slot>,
    /// Whether it is of a batch's rows, or read by what is, and looks up what may change between them.
    pub(super) looks_up: bool,
    /// Its closed windows, where a windowed query reads them.
    pub(super) closed: Option<Slot>,
    /// Its rows, or its windows as they stand, where a query without windows reads them.
    pub(super) current: Option<Slot>,
}

/// What is run.
#[derive(Debug)]
pub(crate) enum Body {
    /// On each batch alone.
    Plain(Arc<dyn ExecutionPlan>),
    /// Over windows.
    Windowed(Box<Windowed>),
}

/// What queries read that is not another query's.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    /// Every row of the batch.
    pub(super) all: Slot,
    /// The same with their numbers, for rules.
    pub(super) judged: Slot,
    /// Those that were on time.
    pub(super) on_time: Slot,
    /// The rows of the last while.
    pub(super) history: Slot,
    /// The alerts that stood after the batch before.
    pub(super) open_alerts: Slot,
    /// The batch's values that cannot be read or true.
    pub(super) artefacts: Slot,
    /// Who is here.
    pub(super) encounters_now: Slot,
    /// Reference tables by name.
    pub(super) references: BTreeMap<String, Slot>,
}

/// A query that was planned.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its file.
    pub file: QueryFile,
    /// The schema of its rows.
    pub schema: SchemaRef,
    /// The queries it reads.
    pub reads: Vec<String>,
    /// The tables it reads that no query makes.
    pub given: Vec<String>,
    /// Whether its rows come from those of the batch, directly or through other queries. Where not, they are a matter
    /// of what is known at a time: of windows, of the last values, of reference tables.
    pub per_row: bool,
    /// Whether it has nothing to say on a batch without rows.
    pub needs_rows: bool,
    /// Whether it is kept up over windows.
    pub windowed: bool,
    /// Whether it reads rows of batches before this one.
    pub looks_back: bool,
    /// Of a query without windows: whether its rows depend on which records came in one batch.
    pub by_batch: bool,
    /// Of a rule: whether it is judged on rows with what they lack filled in, since its condition depends on several vitals.
    pub composed: bool,
    /// Of a rule: the columns of the source that its condition depends on.
    pub vitals: Vec<String>,
}
