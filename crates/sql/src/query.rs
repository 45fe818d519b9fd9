//! A query that was planned, and what queries read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::ExecutionPlan;

use super::file::QueryFile;
use super::given::{artefacts_schema, latest_name};
use super::own_rows::OwnRows;
use super::sampled::numbered_schema;
use super::slot::Slot;
use super::source::Source;
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

/// What queries read of one source.
#[derive(Debug, Clone)]
pub(crate) struct StreamSlots {
    /// Which of the batch's rows are its own.
    pub(super) own: OwnRows,
    /// Every row of the batch.
    pub(super) all: Slot,
    /// The same with their numbers, for rules.
    pub(super) judged: Slot,
    /// Those that were on time.
    pub(super) on_time: Slot,
    /// The rows of the last while.
    pub(super) history: Slot,
    /// The batch's values that cannot be read or true.
    pub(super) artefacts: Slot,
}

impl StreamSlots {
    pub(super) fn of(source: &Source<'_>, number: usize) -> Self {
        let own = OwnRows::of(source, number);
        let slot = || Slot::new(Arc::clone(own.schema()));
        Self {
            all: slot(),
            judged: Slot::new(numbered_schema(own.schema())),
            on_time: slot(),
            history: slot(),
            artefacts: Slot::new(artefacts_schema(source.key, source.event_time)),
            own,
        }
    }

    pub(super) fn clear(&self) {
        let Self { own: _, all, judged, on_time, history, artefacts } = self;
        [all, judged, on_time, history, artefacts].into_iter().for_each(Slot::clear);
    }
}

/// What queries read that is not another query's.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    /// Of each source, the first one's first.
    pub(super) streams: Vec<StreamSlots>,
    /// The alerts that stood after the batch before.
    pub(super) open_alerts: Slot,
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
    /// Of which of the job's sources its rows are, by its place: the first is 0. What it reads of others are last values.
    pub source: usize,
    /// The other sources' tables that it reads the last values of.
    pub beside: Vec<String>,
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

impl Planned {
    /// Whether it reads what is kept under this name of a source's last values.
    pub(super) fn reads_of_sources(&self, latest: &str) -> bool {
        self.given.iter().any(|given| given == latest) || self.beside.iter().any(|table| latest_name(table) == latest)
    }
}
