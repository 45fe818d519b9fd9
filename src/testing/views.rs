//! The tables that a test may look into: those of the set's queries, and wardwatch's own as far as they follow from records alone.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use crate::alert::{Change, Episode, EpisodeId, State};
use crate::decode::{Artefact, Reject};
use crate::frame::LateRecord;
use crate::job::{Plan, Rehearsed};
use crate::query::QueryKind;

use super::cell::{Cell, CellKind};

/// What a test may ask of a table.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Its columns, in their order.
    pub(super) columns: Vec<(String, CellKind)>,
    /// Whether an expectation must name them all.
    pub(super) whole: bool,
    /// Those that are written where nobody has named any.
    pub(super) usual: Vec<String>,
}

impl Shape {
    /// The shape of the table called `name`, if a test may look into it.
    pub(super) fn of(plan: &Plan, name: &str) -> Option<Self> {
        let own = match name {
            ALERTS => Some((alert_columns(), &["patient_id", "state", "started_at", "firing_at", "text"][..])),
            LATE_ROWS => Some((late_columns(), &["patient_id", "event_time", "late_by_seconds"][..])),
            REJECTS => Some((reject_columns(), &["partition", "offset", "reason"][..])),
            ARTEFACTS => Some((artefact_columns(), &["patient_id", "event_time", "column_name", "value"][..])),
            _ => None,
        };
        if let Some((columns, usual)) = own {
            let usual = usual.iter().map(|&name| name.to_owned()).collect();
            return Some(Self { columns, whole: false, usual });
        }
        let query = plan.engine.queries().find(|query| query.file.name == name && !query.file.is_rule())?;
        let columns = query.schema.fields().iter();
        let columns: Vec<_> = columns.map(|field| (field.name().clone(), CellKind::of(field.data_type()))).collect();
        let usual = columns.iter().map(|(name, _)| name.clone()).collect();
        Some(Self { columns, whole: true, usual })
    }

    /// The names that a test may use after `expect.`.
    pub(super) fn names(plan: &Plan) -> Vec<String> {
        let queries = plan.engine.queries().filter(|query| !query.file.is_rule()).map(|query| query.file.name.clone());
        queries.chain([ALERTS, ARTEFACTS, LATE_ROWS, REJECTS].map(str::to_owned)).collect()
    }

    pub(super) fn kind(&self, column: &str) -> Option<CellKind> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind)
    }
}

pub(super) const ALERTS: &str = "alerts";
const ARTEFACTS: &str = "artefacts";
const LATE_ROWS: &str = "late_rows";
const REJECTS: &str = "rejects";

/// Rows as they were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Found {
    /// The place of a column; every row has it.
    pub(super) fn index_of(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }
}

/// What the store would hold after the batches so far.
#[derive(Debug, Default)]
pub(super) struct Held {
    tables: BTreeMap<String, Vec<Vec<Cell>>>,
    /// The rows of views, of the last batch alone.
    views: BTreeMap<String, Vec<Vec<Cell>>>,
    alerts: BTreeMap<EpisodeId, Episode>,
    late: Vec<LateRecord>,
    rejects: Vec<Reject>,
    artefacts: Vec<Artefact>,
    /// Queries that failed, and why.
    pub(super) failures: Vec<(String, String)>,
}

impl Held {
    /// Adds what a batch gave.
    pub(super) fn add(&mut self, plan: &Plan, batch: Rehearsed) {
        self.views.clear();
        for outcome in batch.outcomes {
            let Some(query) = plan.engine.queries().find(|query| query.file.name == outcome.query) else { continue };
            let trouble = outcome.trouble.map(|trouble| trouble.to_string());
            let rows = match outcome.rows {
                Ok(rows) => cells(&rows),
                Err(failure) => {
                    self.failures.push((outcome.query, failure.to_string()));
                    continue;
                }
            };
            self.failures.extend(trouble.map(|trouble| (outcome.query.clone(), trouble)));
            match &query.file.kind {
                QueryKind::Table(header) => {
                    let key: Vec<usize> =
                        header.key.iter().filter_map(|name| query.schema.index_of(name).ok()).collect();
                    upsert(self.tables.entry(outcome.query).or_default(), rows, &key);
                }
                QueryKind::View => {
                    self.views.insert(outcome.query, rows);
                }
                QueryKind::Rule(_) => {}
            }
        }
        for Change { episode, .. } in batch.changes {
            match episode.state {
                State::Dropped => self.alerts.remove(&episode.id),
                _ => self.alerts.insert(episode.id.clone(), (*episode).clone()),
            };
        }
        self.late.extend(batch.late);
        self.rejects.extend(batch.rejects);
        self.artefacts.extend(batch.artefacts);
    }

    /// The rows of a table; of alerts, those of `rules`, or of all where that is empty.
    pub(super) fn rows(&self, table: &str, shape: &Shape, rules: &[String]) -> Found {
        let of_query = || self.tables.get(table).or_else(|| self.views.get(table)).cloned().unwrap_or_default();
        let mut rows = match table {
            ALERTS => {
                let shown = self
                    .alerts
                    .values()
                    .filter(|episode| rules.is_empty() || rules.iter().any(|rule| **rule == *episode.rule));
                let mut episodes: Vec<&Episode> = shown.collect();
                episodes.sort_by_key(|episode| (episode.started_at, &*episode.rule, &*episode.patient));
                episodes.into_iter().map(alert_cells).collect()
            }
            LATE_ROWS => self.late.iter().map(late_cells).collect(),
            REJECTS => self.rejects.iter().map(reject_cells).collect(),
            ARTEFACTS => self.artefacts.iter().map(artefact_cells).collect(),
            _ => of_query(),
        };
        let columns = shape.columns.iter().map(|(name, _)| name.clone()).collect();
        if matches!(table, LATE_ROWS | REJECTS | ARTEFACTS) {
            rows.sort_by(|a, b| order(a, b, &[0, 1, 2]));
        }
        Found { columns, rows }
    }
}

fn cells(rows: &RecordBatch) -> Vec<Vec<Cell>> {
    let columns: Vec<Vec<Cell>> = rows.columns().iter().map(|column| Cell::of_column(column)).collect();
    (0..rows.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// Puts rows in the place of those with their keys; the table stays in the order of its key.
fn upsert(table: &mut Vec<Vec<Cell>>, rows: Vec<Vec<Cell>>, key: &[usize]) {
    for row in rows {
        match table.binary_search_by(|known| order(known, &row, key)) {
            Ok(at) => table[at] = row,
            Err(at) => table.insert(at, row),
        }
    }
}

fn order(a: &[Cell], b: &[Cell], key: &[usize]) -> std::cmp::Ordering {
    let differing = key.iter().map(|&column| a[column].order(&b[column])).find(|order| order.is_ne());
    differing.unwrap_or(std::cmp::Ordering::Equal)
}

fn columns(columns: &[(&str, CellKind)]) -> Vec<(String, CellKind)> {
    columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
}

fn whole(number: impl TryInto<i64>) -> Cell {
    number.try_into().map_or(Cell::Null, Cell::Int)
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// The columns of `alerts` that follow from records; what people and outlets do is not a matter of queries.
fn alert_columns() -> Vec<(String, CellKind)> {
    use CellKind::{Float, Int, Text, Time};
    columns(&[
        ("rule", Text),
        ("patient_id", Text),
        ("severity", Text),
        ("state", Text),
        ("started_at", Time),
        ("firing_at", Time),
        ("last_at", Time),
        ("clear_since", Time),
        ("cleared_at", Time),
        ("ended_at", Time),
        ("end_reason", Text),
        ("samples", Int),
        ("text", Text),
        ("peak_value", Float),
        ("limit_value", Float),
        ("peak_at", Time),
        ("peak_text", Text),
        ("stale_at", Time),
        ("suppressed_by", Text),
    ])
}

/// The cells of [`alert_columns`]. What is empty in the store's texts is NULL here, so that a cell may be left empty.
fn alert_cells(episode: &Episode) -> Vec<Cell> {
    let time = |time: Option<_>| time.map_or(Cell::Null, Cell::Time);
    let number = |number: Option<f64>| number.filter(|number| number.is_finite()).map_or(Cell::Null, Cell::Float);
    vec![
        text(&episode.rule),
        text(&episode.patient),
        text(episode.severity.name()),
        text(episode.state.name()),
        Cell::Time(episode.started_at),
        time(episode.firing_at),
        Cell::Time(episode.last_at),
        time(episode.clear_since),
        time(episode.cleared_at),
        time(episode.ended_at),
        episode.end.map_or(Cell::Null, |end| text(end.name())),
        whole(episode.samples),
        text(&episode.text),
        number(episode.peak.value),
        number(episode.peak.limit),
        Cell::Time(episode.peak.at),
        text(&episode.peak.text),
        time(episode.stale_at),
        episode.suppressed_by.as_deref().map_or(Cell::Null, text),
    ]
}

fn late_columns() -> Vec<(String, CellKind)> {
    use CellKind::{Float, Int, Text, Time};
    columns(&[
        ("partition", Int),
        ("offset", Int),
        ("patient_id", Text),
        ("event_time", Time),
        ("watermark", Time),
        ("late_by_seconds", Float),
    ])
}

fn late_cells(late: &LateRecord) -> Vec<Cell> {
    let row = &late.row;
    #[allow(clippy::cast_precision_loss, reason = "a lateness is less than centuries")]
    let by = (row.watermark.0 - row.event_time).num_microseconds().map_or(f64::MAX, |micros| micros as f64 / 1e6);
    vec![
        Cell::Int(row.partition.0.into()),
        Cell::Int(row.offset.0),
        text(&late.patient),
        Cell::Time(row.event_time),
        Cell::Time(row.watermark.0),
        Cell::Float(by),
    ]
}

fn reject_columns() -> Vec<(String, CellKind)> {
    use CellKind::{Int, Text};
    columns(&[("partition", Int), ("offset", Int), ("reason", Text), ("raw", Text)])
}

fn reject_cells(reject: &Reject) -> Vec<Cell> {
    let raw = String::from_utf8_lossy(&reject.raw);
    vec![Cell::Int(reject.partition.0.into()), Cell::Int(reject.offset.0), text(&reject.reason), text(&raw)]
}

fn artefact_columns() -> Vec<(String, CellKind)> {
    use CellKind::{Float, Int, Text, Time};
    columns(&[
        ("partition", Int),
        ("offset", Int),
        ("column_name", Text),
        ("patient_id", Text),
        ("event_time", Time),
        ("value", Float),
    ])
}

fn artefact_cells(artefact: &Artefact) -> Vec<Cell> {
    vec![
        Cell::Int(artefact.partition.0.into()),
        Cell::Int(artefact.offset.0),
        text(&artefact.column),
        text(&artefact.patient),
        Cell::Time(artefact.event_time),
        Cell::Float(artefact.value),
    ]
}
