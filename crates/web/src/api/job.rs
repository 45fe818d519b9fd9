//! Batches, and how the job stands.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use wardwatch_care::{Finding, findings, patience};
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::BatchId;
use wardwatch_store::StoreError;

use super::super::problem::Problem;
use super::asked::{Listed, how_many, read};
use super::time::Time;
use crate::app::App;

/// A micro-batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Batch {
    /// Its number.
    batch: u64,
    /// Its frozen time.
    at: Time,
    /// Records.
    records: i64,
    /// Records that became no rows.
    rejects: i64,
    /// Values that cannot be read or true.
    artefacts: i64,
    /// Records, and items of them, that are no rows on purpose.
    ignored: i64,
    /// Rows that came too late for windows.
    late_rows: i64,
    /// Rows that had come before.
    duplicates: i64,
    /// Queries that failed.
    failures: i64,
    /// From its closing to the begin of its commit.
    prepared_ms: f64,
}

/// Which batches.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichBatches {
    /// The batch before which to go on.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Batches, the newest first.
#[utoipa::path(get, path = "/api/v1/batches", tag = "job", params(WhichBatches), responses(
    (status = 200, body = inline(Listed<Batch>)),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn batches(
    State(app): State<App>,
    query: Result<Query<WhichBatches>, QueryRejection>,
) -> Result<Response, Problem> {
    let WhichBatches { after, limit } = read(query)?;
    let most = how_many(limit)?;
    let before = after.unwrap_or(i64::MAX);
    let before = u64::try_from(before).map_err(|_| Problem::wrong("there is no batch before the first"))?;
    let until = BatchId(before.saturating_sub(1));
    let mut rows = app.stores.with(move |store| store.batch_rows(until, most + 1)).await?;
    let has_more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| has_more).map(|last| last.summary.batch.to_string());
    let items = rows.into_iter().map(|row| Batch {
        batch: row.summary.batch.0,
        at: Time(row.summary.now),
        records: row.summary.records,
        rejects: row.rejects,
        artefacts: row.artefacts,
        ignored: row.ignored,
        late_rows: row.late,
        duplicates: row.duplicates,
        failures: row.failures,
        prepared_ms: row.prepared_ms,
    });
    Ok(Json(Listed { items: items.collect(), next }).into_response())
}

/// How the job stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobStatus {
    /// Its name.
    job: String,
    /// The last batch.
    batch: Option<u64>,
    /// Its frozen time.
    batch_at: Option<Time>,
    /// All records so far.
    records: i64,
    /// All rejects so far.
    rejects: i64,
    /// Alerts that stand.
    open_alerts: usize,
    /// The queries that fail, each with its error.
    failing_queries: Vec<FailingQuery>,
    /// The tables that do not take their rows, or have rows waiting.
    tables_at_fault: Vec<TableAtFault>,
    /// All rows that no table took.
    bad_rows: i64,
    /// Why the newest edit of the queries was refused.
    refused_edit: Option<String>,
    /// What is not being watched although it should be.
    unwatched: Vec<Unwatched>,
}

/// Something that is not being watched.
#[derive(Debug, Serialize, ToSchema)]
struct Unwatched {
    /// Of what kind it is.
    cause: &'static str,
    /// What it is.
    what: String,
    /// Since when, where that is known.
    since: Option<Time>,
    /// What to do.
    remedy: String,
}

/// A query that fails.
#[derive(Debug, Serialize, ToSchema)]
struct FailingQuery {
    /// The query.
    query: String,
    /// How often in a row.
    failures: u32,
    /// Why.
    error: String,
}

/// A table that does not take its rows, or has rows waiting.
#[derive(Debug, Serialize, ToSchema)]
struct TableAtFault {
    /// The table.
    table: String,
    /// Since when it takes none; without it, it catches up.
    since: Option<Time>,
    /// Why.
    reason: String,
    /// How many rows wait.
    pending_rows: i64,
}

/// How the job stands.
#[utoipa::path(get, path = "/api/v1/status", tag = "job", responses(
    (status = 200, body = JobStatus),
    (status = 304, description = "nothing has changed"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn status(State(app): State<App>) -> Result<Response, Problem> {
    let job = app.job.clone();
    let read = app.stores.with(move |store| {
        let found = findings(store, &job, patience(&job), SystemClock.now())?;
        let topics = store.topics(&job.source.topics)?;
        Ok::<_, StoreError>((store.status(&topics)?, found))
    });
    let (status, found) = read.await?;
    let found = app.services.trouble().and_then(|trouble| trouble.finding()).into_iter().chain(found);
    let unwatched = found.map(|Finding { cause, what, since, remedy }| Unwatched {
        cause: cause.name(),
        what,
        since: since.map(Time),
        remedy,
    });
    let failing = status.queries.into_iter().map(|query| FailingQuery {
        query: query.query,
        failures: query.failures,
        error: query.error,
    });
    let at_fault = status.tables.into_iter().map(|fault| TableAtFault {
        table: fault.table,
        since: fault.since.map(Time),
        reason: fault.reason,
        pending_rows: fault.pending.rows,
    });
    Ok(Json(JobStatus {
        job: app.job.name.clone(),
        batch: status.last.as_ref().map(|last| last.batch.0),
        batch_at: status.last.map(|last| Time(last.now)),
        records: status.records,
        rejects: status.rejects,
        open_alerts: status.episodes.iter().filter(|episode| episode.state.is_shown()).count(),
        failing_queries: failing.collect(),
        tables_at_fault: at_fault.collect(),
        bad_rows: status.bad_rows,
        refused_edit: status.refused_edit.map(|(_, error)| error),
        unwatched: unwatched.collect(),
    })
    .into_response())
}
