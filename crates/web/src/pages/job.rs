//! The job: how its batches fare, what it could not use, and its queries.

use std::path::Path;

use axum::extract::{Extension, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use maud::{Markup, html};

use wardwatch_care::{Finding, findings, patience};
use wardwatch_config::SqlSpec;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::{BatchId, Role};
use wardwatch_model::topics::Topics;
use wardwatch_sql::load_set;
use wardwatch_store::{BatchRow, CostRow, EditRow, LateRow, OutletState, RejectRow, ReportState, Status, StoreError};

use super::super::words::{ago, time};
use super::frame::{NoPage, Place, frame, if_answered, nothing, patient_path, unread};
use crate::access::visitor::Visitor;
use crate::app::App;

/// Batches, rejects and late rows that are shown.
const MOST: usize = 20;

/// Bytes of a reject that are shown.
const MOST_BYTES: usize = 500;

/// What the page shows.
struct Facts {
    unwatched: Vec<Finding>,
    status: Status,
    batches: Vec<BatchRow>,
    rejects: Vec<RejectRow>,
    late: Vec<LateRow>,
    edits: Vec<EditRow>,
    costs: Vec<CostRow>,
    outlets: Vec<OutletState>,
    reports: Vec<ReportState>,
}

/// A file of the set.
struct File {
    name: String,
    kind: &'static str,
    path: String,
    changed: Option<DateTime<Utc>>,
}

/// The page.
pub(crate) async fn job(State(app): State<App>, Extension(visitor): Extension<Visitor>) -> Result<Response, NoPage> {
    let job = app.job.clone();
    let read = app.stores.with(move |store| {
        if !store.has_tables()? {
            return Ok(None);
        }
        let topics = store.topics(&job.source.topics)?;
        Ok::<_, StoreError>(Some(Facts {
            unwatched: findings(store, &job, patience(&job), SystemClock.now())?,
            status: store.status(&topics)?,
            batches: store.batch_rows(BatchId(i64::MAX as u64), MOST)?,
            rejects: store.reject_rows(&topics, MOST)?,
            late: store.late_rows(&topics, MOST)?,
            edits: store.edit_rows(MOST)?,
            costs: store.cost_rows()?,
            outlets: store.outlet_states()?,
            reports: store.report_states()?,
        }))
    });
    let facts = if_answered(read.await)?;
    let set = app.job.sql.clone();
    let files = tokio::task::spawn_blocking(move || files(&set)).await.unwrap_or_default();
    let trouble = app.services.trouble();
    let now = SystemClock.now();
    let content = match facts {
        Some(Some(mut facts)) => {
            facts.unwatched.splice(..0, trouble.and_then(|trouble| trouble.finding()));
            content(&app, &visitor, &facts, &files)
        }
        Some(None) => nothing("The job has not run yet."),
        None => html! {
            (not_watched(trouble.and_then(|trouble| trouble.finding_unread()).as_slice(), now, app.job.reports.time_zone))
            section .panel { h2 { "Job " (app.job.name) } (unread()) }
        },
    };
    Ok(frame(&app, &visitor, (Place::Job, "Job"), &app.live.ward(), &content))
}

fn files(set: &SqlSpec) -> Vec<File> {
    let Ok(files) = load_set(set) else { return Vec::new() };
    let changed =
        |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok().map(DateTime::<Utc>::from);
    let file = |file: &wardwatch_sql::QueryFile| File {
        name: file.name.clone(),
        kind: if file.is_rule() { "rule" } else { "table" },
        path: file.path.strip_prefix(&set.dir).unwrap_or(&file.path).display().to_string(),
        changed: changed(&file.path),
    };
    files.iter().map(file).collect()
}

fn content(app: &App, visitor: &Visitor, facts: &Facts, files: &[File]) -> Markup {
    let (now, zone) = (SystemClock.now(), app.job.reports.time_zone);
    let Facts { unwatched, status, batches, rejects, late, edits, costs, outlets, reports } = facts;
    html! {
        (not_watched(unwatched, now, zone))
        div .columns {
            section .panel { h2 { "Job " (app.job.name) } dl .facts-list {
                dt { (if app.job.source.topics.is_several() { "Topics" } else { "Topic" }) } dd { (app.job.source.topics) }
                dt { "Records" } dd { (status.records) }
                dt { "Rejects" } dd { (status.rejects) }
                dt { "Values left empty" } dd { (status.artefacts) }
                dt { "Ignored on purpose" } dd { (status.ignored) }
                dt { "Late rows" } dd { (status.late) }
                dt { "Duplicates" } dd { (status.duplicates) }
                dt { "Rows no table takes" } dd { (status.bad_rows) }
                @for (partition, offset) in &status.positions { dt { "Partition " (status.topics.show(*partition)) } dd {
                    "goes on at " (offset)
                    @if let Some(watermark) = status.watermarks.get(partition) { ", watermark " (ago(watermark.0, now, zone)) }
                } }
            } }
            section .panel { h2 { "Failing queries" }
                @if status.queries.is_empty() { (nothing("None.")) } @else { @for query in &status.queries {
                    p .wrong { b { (query.query) } ", " (query.failures) " times, tried again with batch " (query.retry) br; code { (query.error) } }
                } }
                @if !status.odd_rows.is_empty() {
                    h2 { "Rows that cannot be read" }
                    @for fault in &status.odd_rows { p .wrong { code { (fault) } } }
                }
                @if !status.tables.is_empty() || !status.incomplete.is_empty() {
                    h2 { "Tables" }
                    @for fault in &status.tables { p .wrong {
                        b { (fault.table) }
                        @if let Some(since) = fault.since { ", at fault since " (ago(since, now, zone)) } @else { ", catching up" }
                        ", " (fault.pending.rows) " rows wait" br; code { (fault.reason) }
                    } }
                    @for lost in &status.incomplete { p .wrong {
                        b { (lost.table) } ", incomplete: " (lost.rows) " rows of batches " (lost.from) " to " (lost.until) " are missing"
                    } }
                }
                h2 { "Edits of the queries" }
                @if edits.is_empty() { (nothing("None since the job began.")) } @else { ul { @for edit in edits { li {
                    (ago(edit.at, now, zone)) ": " (edit.files)
                    @if edit.error.is_empty() { ", taken over" } @else { ", refused: " code { (edit.error) } }
                } } } }
                h2 { "Notifications and reports" }
                @if outlets.is_empty() && reports.is_empty() { (nothing("None are set up.")) }
                ul {
                    @for outlet in outlets { li { (outlet.outlet) ": " (outlet.waiting) " waiting, " (outlet.given_up) " given up" } }
                    @for report in reports { li { (report.report) ": of " (time(report.due_at, zone)) ", "
                        @if report.failed == 0 { "made" } @else { (report.failed) " pages failed" } } }
                }
            }
        }
        section .panel { h2 { "Batches" } div .scroll tabindex="0" { table {
            thead { tr { th { "Batch" } th { "When" } th .number { "Records" } th .number { "Rejects" } th .number { "Ignored" } th .number { "Left empty" }
                th .number { "Late" } th .number { "Duplicates" } th .number { "Failures" } th .number { "Prepared in, ms" } } }
            tbody { @for batch in batches { tr {
                td { (batch.summary.batch) } td { (ago(batch.summary.now, now, zone)) }
                td .number { (batch.summary.records) } td .number { (batch.rejects) } td .number { (batch.ignored) }
                td .number { (batch.artefacts) }
                td .number { (batch.late) } td .number { (batch.duplicates) } td .number { (batch.failures) }
                td .number { (format!("{:.1}", batch.prepared_ms)) }
            } } }
        } } }
        section .panel { h2 { "Records that became no rows" }
            @if rejects.is_empty() { (nothing("None.")) } @else { div .scroll tabindex="0" { table {
                thead { tr { th { "Batch" } th { "Partition" } th { "Offset" } th { "Why" } th { "Bytes" } } }
                tbody { @for reject in rejects { tr {
                    td { (reject.batch) } td { (partition_of(reject, &status.topics)) } td { (reject.offset) } td { (reject.reason) }
                    // A record may name its patient.
                    td { @if visitor.may(Role::Nurse) { code { (bytes(&reject.raw)) } } @else { (reject.raw.len()) " bytes" } }
                } } }
            } } }
        }
        section .panel { h2 { "Rows that came too late for windows" }
            @if late.is_empty() { (nothing("None.")) } @else { div .scroll tabindex="0" { table {
                thead { tr { th { "Batch" } th { "Patient" } th { "Measured" } th .number { "Late by, s" } } }
                tbody { @for row in late { tr {
                    td { (row.batch) } td { a href=(patient_path(&row.patient)) { (row.patient) } }
                    td { (time(row.event_time, zone)) } td .number { (format!("{:.1}", row.late_by)) }
                } } }
            } } }
        }
        section .panel { h2 { "Queries" } div .scroll tabindex="0" { table {
            thead { tr { th { "Query" } th { "Is" } th { "File" } th { "Last changed" } th .number { "Mean, ms" } th .number { "Longest, ms" } } }
            tbody { @for file in files {
                @let cost = costs.iter().find(|cost| cost.query == file.name);
                tr {
                    td { (file.name) } td { (file.kind) } td { (file.path) }
                    td { @if let Some(changed) = file.changed { (ago(changed, now, zone)) } }
                    td .number { @if let Some(cost) = cost { (format!("{:.2}", cost.mean_ms)) } }
                    td .number { @if let Some(cost) = cost { (format!("{:.2}", cost.longest_ms)) } }
                }
            } }
        } } }
    }
}

/// What is not being watched; nothing where everything is.
fn not_watched(unwatched: &[Finding], now: DateTime<Utc>, zone: Tz) -> Markup {
    html! {
        @if !unwatched.is_empty() { section .panel { h2 { "Not being watched" } @for finding in unwatched {
            p .wrong { b { (finding.cause.name()) } ", " (finding.what)
                @if let Some(since) = finding.since { ", since " (ago(since, now, zone)) }
                br; (finding.remedy) }
        } } }
    }
}

/// The bytes of a record as text, what is no text as its escape.
/// The partition of a reject, with its topic where the job reads several.
fn partition_of(reject: &RejectRow, topics: &Topics) -> String {
    let shown = reject.place(topics).map(|place| topics.show(place.partition).to_string());
    shown.unwrap_or_else(|| reject.partition.to_string())
}

fn bytes(raw: &[u8]) -> String {
    let shown = raw[..raw.len().min(MOST_BYTES)].utf8_chunks().map(|chunk| {
        let rest: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("{}{rest}", chunk.valid())
    });
    let more = if raw.len() > MOST_BYTES { format!(" … {} bytes in all", raw.len()) } else { String::new() };
    shown.collect::<String>() + &more
}
