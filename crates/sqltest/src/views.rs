//! The tables that a test may look into: those of the set's queries, and wardwatch's own as far as they follow from records alone.

use std::collections::BTreeMap;

use wardwatch_alert::{Change, Episode, EpisodeId, State};
use wardwatch_model::record::LateRecord;
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::terms::BatchId;
use wardwatch_model::topics::Topics;
use wardwatch_pipeline::{OfflineBatch, Plan};
use wardwatch_sql::QueryKind;
use wardwatch_store::{ColumnKind, OwnRow, Value};

use super::cell::{order, rows, shown};

pub(super) const ALERTS: &str = "alerts";

/// The columns of wardwatch's own tables that follow from records alone, those that are written where nobody has named any in
/// front. What people and outlets do, and which batch it was, is no matter of queries.
const OWN: [(&str, usize, &[&str]); 4] = [
    (
        ALERTS,
        5,
        &[
            "patient_id",
            "state",
            "started_at",
            "firing_at",
            "text",
            "rule",
            "severity",
            "last_at",
            "clear_since",
            "cleared_at",
            "ended_at",
            "end_reason",
            "samples",
            "peak_value",
            "limit_value",
            "peak_at",
            "peak_text",
            "stale_at",
            "suppressed_by",
        ],
    ),
    ("artefacts", 6, &["patient_id", "event_time", "column_name", "value", "text", "reason", "partition", "offset"]),
    ("late_rows", 3, &["patient_id", "event_time", "late_by_seconds", "partition", "offset", "watermark"]),
    ("rejects", 3, &["partition", "offset", "reason", "raw", "patient_id"]),
];

/// What a test may ask of a table.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Its columns, in their order.
    pub(super) columns: Vec<(String, ColumnKind)>,
    /// Whether an expectation must name them all.
    pub(super) whole: bool,
    /// Those that are written where nobody has named any.
    pub(super) usual: Vec<String>,
}

impl Shape {
    /// The shape of the table called `name`, if a test may look into it.
    pub(super) fn of(plan: &Plan, name: &str) -> Option<Self> {
        if let Some((_, usual, wanted)) = OWN.iter().find(|(table, ..)| *table == name) {
            let known = OwnRow::columns(name)?;
            let column = |wanted: &&str| known.iter().find(|(column, _)| column == wanted).cloned();
            let usual = wanted.iter().take(*usual).map(|&column| column.to_owned()).collect();
            return Some(Self { columns: wanted.iter().filter_map(column).collect(), whole: false, usual });
        }
        let query = plan.engine.queries().find(|query| query.file.name == name && !query.file.is_rule())?;
        // What no table holds is shown as text.
        let kind = |data_type| ColumnKind::of(data_type).unwrap_or(ColumnKind::Text);
        let columns = query.schema.fields().iter();
        let columns: Vec<_> = columns.map(|field| (field.name().clone(), kind(field.data_type()))).collect();
        let usual = columns.iter().map(|(name, _)| name.clone()).collect();
        Some(Self { columns, whole: true, usual })
    }

    /// The names that a test may use after `expect.`.
    pub(super) fn names(plan: &Plan) -> Vec<String> {
        let queries = plan.engine.queries().filter(|query| !query.file.is_rule()).map(|query| query.file.name.clone());
        queries.chain(OWN.iter().map(|(table, ..)| (*table).to_owned())).collect()
    }

    pub(super) fn kind(&self, column: &str) -> Option<ColumnKind> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind)
    }
}

/// Rows as they were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    pub(super) columns: Vec<(String, ColumnKind)>,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Found {
    /// The place of a column; every row has it.
    pub(super) fn index_of(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| name == column)
    }

    /// The cells of a row in these columns, as a pipe table shows them; empty where there is no such column.
    pub(super) fn shown(&self, row: usize, columns: &[String]) -> Vec<String> {
        let cell = |at: usize| shown(&self.rows[row][at], self.columns[at].1);
        columns.iter().map(|column| self.index_of(column).map_or_else(String::new, cell)).collect()
    }
}

/// What the store would hold after the batches so far.
#[derive(Debug, Default)]
pub(super) struct Held {
    tables: BTreeMap<String, Vec<Vec<Value>>>,
    /// The rows of views, of the last batch alone.
    views: BTreeMap<String, Vec<Vec<Value>>>,
    alerts: BTreeMap<EpisodeId, Episode>,
    late: Vec<LateRecord>,
    rejects: Vec<Reject>,
    artefacts: Vec<Artefact>,
    /// Queries that failed, and why.
    pub(super) failures: Vec<(String, String)>,
}

impl Held {
    /// Adds what a batch gave.
    pub(super) fn add(&mut self, plan: &Plan, batch: OfflineBatch) {
        self.views.clear();
        for outcome in batch.outcomes {
            let Some(query) = plan.engine.queries().find(|query| query.file.name == outcome.query) else { continue };
            let doubled = outcome.replaced.map(|replaced| replaced.reason);
            let trouble = outcome.trouble.map(|trouble| trouble.to_string()).or(doubled);
            let rows = match outcome.rows {
                Ok(batch) => rows(&batch),
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
        let columns = shape.columns.clone();
        let own = |rows: &mut dyn Iterator<Item = OwnRow<'_>>| own_rows(table, &columns, rows);
        let rows = match table {
            ALERTS => {
                let is_wanted =
                    |episode: &&Episode| rules.is_empty() || rules.iter().any(|rule| **rule == *episode.rule);
                let mut episodes: Vec<&Episode> = self.alerts.values().filter(is_wanted).collect();
                episodes.sort_by_key(|episode| (episode.started_at, &*episode.rule, &*episode.patient));
                own(&mut episodes.into_iter().map(OwnRow::Alert))
            }
            "artefacts" => own(&mut self.artefacts.iter().map(OwnRow::Artefact)),
            "late_rows" => own(&mut self.late.iter().map(OwnRow::Late)),
            "rejects" => own(&mut self.rejects.iter().map(OwnRow::Reject)),
            _ => self.tables.get(table).or_else(|| self.views.get(table)).cloned().unwrap_or_default(),
        };
        Found { columns, rows }
    }
}

/// The rows of one of wardwatch's own tables as the store writes them, but that an empty text is NULL here, so that a cell
/// may be left empty.
fn own_rows(
    table: &str,
    columns: &[(String, ColumnKind)],
    rows: &mut dyn Iterator<Item = OwnRow<'_>>,
) -> Vec<Vec<Value>> {
    let all = OwnRow::columns(table).unwrap_or_default();
    let place = |column: &String| all.iter().position(|(name, _)| name == column);
    let places: Vec<usize> = columns.iter().filter_map(|(name, _)| place(name)).collect();
    let or_null = |value: &Value| match value {
        Value::Text(text) if text.is_empty() => Value::Null,
        value => value.clone(),
    };
    let picked = rows.map(|row| {
        let values = row.values("", &Topics::default(), BatchId(0));
        places.iter().map(|&place| or_null(&values[place])).collect()
    });
    picked.collect()
}

/// Puts rows in the place of those with their keys; the table stays in the order of its key.
fn upsert(table: &mut Vec<Vec<Value>>, rows: Vec<Vec<Value>>, key: &[usize]) {
    let by_key = |a: &[Value], b: &[Value]| {
        let differing = key.iter().map(|&column| order(&a[column], &b[column])).find(|order| order.is_ne());
        differing.unwrap_or(std::cmp::Ordering::Equal)
    };
    for row in rows {
        match table.binary_search_by(|known| by_key(known, &row)) {
            Ok(at) => table[at] = row,
            Err(at) => table.insert(at, row),
        }
    }
}
