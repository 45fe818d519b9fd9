//! What one query gives on records that are given: for trying it while it is written.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use wardwatch_alert::{Episode, State};
use wardwatch_sql::QueryFailure;

use super::offline::OfflineJob;
use super::past::Past;
use super::plan::Plan;

/// What a query gave.
#[derive(Debug)]
pub struct Preview {
    /// Its rows: windows that have closed, then those that are open as they stand; of another query, those of one batch with
    /// all the records.
    pub rows: RecordBatch,
    /// Of a rule: the alerts that it opened, in the order in which they began.
    pub alerts: Vec<Episode>,
    /// What it reads that the records cannot fill, and that is empty: reference tables without rows, alerts.
    pub empty: Vec<String>,
}

/// Runs `query`, and what it needs, on the rows of `past` as one batch; reference tables hold what their seeds hold, or `given`.
///
/// # Errors
/// The query, or one that it reads, fails on these records, or the plan has no such query.
pub fn preview(
    plan: &Plan,
    query: &str,
    past: &Past,
    given: &[(String, RecordBatch)],
) -> Result<Preview, QueryFailure> {
    let excerpt = plan.excerpt(&[query.to_owned()], Vec::new());
    let excerpt =
        excerpt.map_err(|faults| QueryFailure(format!("it cannot be planned apart from its set: {faults}")))?;
    let planned = excerpt.engine.queries().find(|planned| planned.file.name == query);
    let schema = planned.ok_or_else(|| QueryFailure(format!("the set has no query \"{query}\"")))?.schema.clone();
    let empty = cannot_be_filled(&excerpt, given);
    let mut offline = OfflineJob::new(excerpt);
    for (table, rows) in given {
        offline.set_reference(table, rows);
    }
    let now = past.newest(&plan.job);
    let mut batches = [offline.batch(&past.rows, &past.artefacts, now), offline.close_windows(now)];
    let windowed = offline.plan().engine.queries().any(|planned| planned.file.name == query && planned.windowed);
    let mut found = Vec::new();
    for batch in batches.iter_mut().take(if windowed { 2 } else { 1 }) {
        for outcome in batch.outcomes.drain(..) {
            let rows = outcome.rows.map_err(|failure| told(query, &outcome.query, failure))?;
            let doubled = outcome.replaced.map(|replaced| QueryFailure(replaced.reason));
            if let Some(trouble) = outcome.trouble.or(doubled) {
                return Err(told(query, &outcome.query, trouble));
            }
            if outcome.query == query {
                found.push(rows);
            }
        }
    }
    let rows = concat_batches(&schema, &found).map_err(|error| QueryFailure(error.to_string()))?;
    let changes = std::mem::take(&mut batches[0].changes).into_iter();
    let mut alerts: Vec<Episode> = changes
        .map(|change| (*change.episode).clone())
        .filter(|episode| *episode.rule == *query && episode.state != State::Dropped)
        .collect();
    alerts.sort_by_key(|episode| (episode.started_at, episode.patient.clone()));
    Ok(Preview { rows, alerts, empty })
}

fn told(query: &str, failed: &str, failure: QueryFailure) -> QueryFailure {
    if query == failed { failure } else { QueryFailure(format!("\"{failed}\", which it reads, failed: {failure}")) }
}

/// The reference tables that are read and have no rows, and the table of alerts.
fn cannot_be_filled(plan: &Plan, given: &[(String, RecordBatch)]) -> Vec<String> {
    let is_given = |name: &str| given.iter().any(|(table, rows)| table == name && rows.num_rows() > 0);
    let read = plan.engine.given_reads();
    let references = plan.references.iter().filter(|reference| reference.rows.num_rows() == 0);
    let empty =
        references.map(|reference| reference.spec.name.clone()).filter(|name| read.contains(name) && !is_given(name));
    empty.chain(plan.engine.reads_alerts().then(|| "open_alerts".to_owned())).collect()
}
