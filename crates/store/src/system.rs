//! wardwatch's own tables.

use std::sync::LazyLock;

use super::column::Kind;
use super::schema::TableSpec;

pub(super) const LEASES: &str = "leases";
pub(super) const OFFSETS: &str = "offsets";
pub(super) const TOPIC_NUMBERS: &str = "topic_numbers";
pub(super) const BATCHES: &str = "batches";
pub(super) const BATCH_RANGES: &str = "batch_ranges";
pub(super) const REJECTS: &str = "rejects";
pub(super) const REJECT_REPLAYS: &str = "reject_replays";
pub(super) const ARTEFACTS: &str = "artefacts";
pub(super) const LATE_ROWS: &str = "late_rows";
pub(super) const ENCOUNTERS: &str = "encounters";
pub(super) const UNATTACHED: &str = "unattached";
pub(super) const ALERTS: &str = "alerts";
pub(super) const ALERT_EVENTS: &str = "alert_events";
pub(super) const ALERT_ACTIONS: &str = "alert_actions";
pub(super) const SILENCES: &str = "silences";
pub(super) const NOTIFICATIONS: &str = "notifications";
pub(super) const DELIVERIES: &str = "deliveries";
pub(super) const QUERIES: &str = "queries";
pub(super) const QUERY_COSTS: &str = "query_costs";
pub(super) const QUERY_FAILURES: &str = "query_failures";
pub(super) const EDITS: &str = "edits";
pub(super) const REFERENCE_CHANGES: &str = "reference_changes";
pub(super) const REPORT_RUNS: &str = "report_runs";
pub(super) const BAD_ROWS: &str = "bad_rows";
pub(super) const PENDING_ROWS: &str = "pending_rows";
pub(super) const TABLE_FAULTS: &str = "table_faults";
pub(super) const INCOMPLETE_TABLES: &str = "incomplete_tables";
pub(super) const WINDOW_SNAPSHOTS: &str = "window_snapshots";
pub(super) const WINDOW_PANES: &str = "window_panes";

pub(super) const COVERAGE: &str = "coverage";

pub(super) const USERS: &str = "users";
pub(super) const SESSIONS: &str = "sessions";
pub(super) const API_TOKENS: &str = "api_tokens";
pub(super) const AUDIT: &str = "audit";

/// The names that no query may bear.
pub const NAMES: &[&str] = &[
    LEASES,
    OFFSETS,
    TOPIC_NUMBERS,
    BATCHES,
    BATCH_RANGES,
    REJECTS,
    REJECT_REPLAYS,
    ARTEFACTS,
    LATE_ROWS,
    ENCOUNTERS,
    UNATTACHED,
    ALERTS,
    ALERT_EVENTS,
    ALERT_ACTIONS,
    SILENCES,
    NOTIFICATIONS,
    DELIVERIES,
    QUERIES,
    QUERY_COSTS,
    QUERY_FAILURES,
    EDITS,
    REFERENCE_CHANGES,
    REPORT_RUNS,
    BAD_ROWS,
    PENDING_ROWS,
    TABLE_FAULTS,
    INCOMPLETE_TABLES,
    WINDOW_SNAPSHOTS,
    WINDOW_PANES,
    COVERAGE,
    USERS,
    SESSIONS,
    API_TOKENS,
    AUDIT,
];

/// The one of these tables that is called `name`.
pub(super) fn table(name: &str) -> &'static TableSpec {
    let table = tables().iter().find(|table| table.name == name);
    table.unwrap_or_else(|| panic!("\"{name}\" is a system table"))
}

/// The tables that every store has.
pub(super) fn tables() -> &'static [TableSpec] {
    &TABLES
}

static TABLES: LazyLock<Vec<TableSpec>> = LazyLock::new(|| {
    vec![
        // Who writes for a job, by the database's clock; there is a row while somebody does.
        TableSpec::system(
            LEASES,
            &["job"],
            &[
                ("job", Kind::Text),
                ("holder", Kind::Text),
                ("since_at", Kind::Time),
                ("renewed_at", Kind::Time),
                ("expires_at", Kind::Time),
                ("renewals", Kind::Int),
            ],
        ),
        // Where each partition goes on, and the fence: a commit advances it from the expected offset, by the process that holds
        // the lease, or not at all.
        TableSpec::system(
            OFFSETS,
            &["job", "topic", "partition"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("next_offset", Kind::Int),
                ("watermark", Kind::Time),
                ("active_at", Kind::Time),
                ("writer", Kind::Text),
                ("topic_id", Kind::Text),
            ],
        ),
        // The number that each topic of the job has, for ever: what is kept by partition is kept by it.
        TableSpec::system(
            TOPIC_NUMBERS,
            &["job", "number"],
            &[("job", Kind::Text), ("number", Kind::Int), ("topic", Kind::Text)],
        ),
        // The batch log: with `batch_ranges`, what a replay needs to repeat a batch.
        TableSpec::system(
            BATCHES,
            &["job", "batch"],
            &[
                ("job", Kind::Text),
                ("batch", Kind::Int),
                ("now_at", Kind::Time),
                ("records", Kind::Int),
                ("frame_rows", Kind::Int),
                ("rejects", Kind::Int),
                ("artefacts", Kind::Int),
                ("late_rows", Kind::Int),
                ("duplicates", Kind::Int),
                ("failures", Kind::Int),
                ("watermark", Kind::Time),
                ("event_now_at", Kind::Time),
                ("prepared_ms", Kind::Float),
                ("bad_rows", Kind::Int),
                ("encounters", Kind::Int),
                ("unattached", Kind::Int),
                ("attached_later", Kind::Int),
                ("ignored", Kind::Int),
                // By when windows of each source have closed, as JSON: by table, microseconds since 1970.
                ("watermarks", Kind::Text),
            ],
        ),
        // A start looks for what a partition had last, which may be long ago.
        TableSpec::system(
            BATCH_RANGES,
            &["job", "batch", "topic", "partition"],
            &[
                ("job", Kind::Text),
                ("batch", Kind::Int),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("start_offset", Kind::Int),
                ("end_offset", Kind::Int),
                ("watermark", Kind::Time),
                ("oldest_at", Kind::Time),
                ("newest_at", Kind::Time),
            ],
        )
        .indexed_by(&["job", "topic", "partition", "batch"]),
        TableSpec::system(
            REJECTS,
            &["job", "topic", "partition", "offset", "item"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("item", Kind::Int),
                ("key", Kind::Bytes),
                ("raw", Kind::Bytes),
                ("reason", Kind::Text),
                ("batch", Kind::Int),
                // NULL where the record does not say whose it is, and in rows of before 0.2.
                ("patient_id", Kind::Text),
                // NULL where the topic keeps no stamps, and in rows of before 0.2.
                ("stamped_at", Kind::Time),
                // A JSON object; NULL where the job reads no headers, and in rows of before 0.3.
                ("headers", Kind::Text),
                // NULL in rows of before 0.3.
                ("whole", Kind::Bool),
            ],
        )
        .with_added_to_key("item")
        .indexed_by(&["job", "batch"]),
        // Rejects that people have asked to be read again. `batch` is the one that did; then `row_count` says how many rows it became,
        // and `reason` why it was rejected again.
        TableSpec::system(
            REJECT_REPLAYS,
            &["job", "topic", "partition", "offset", "item"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("item", Kind::Int),
                ("asked_at", Kind::Time),
                ("author", Kind::Text),
                ("batch", Kind::Int),
                ("row_count", Kind::Int),
                ("reason", Kind::Text),
            ],
        )
        .indexed_by(&["job", "batch"]),
        TableSpec::system(
            ARTEFACTS,
            &["job", "topic", "partition", "offset", "item", "column_name"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("item", Kind::Int),
                ("column_name", Kind::Text),
                ("patient_id", Kind::Text),
                ("event_time", Kind::Time),
                // NULL where no number was sent.
                ("value", Kind::Float),
                ("batch", Kind::Int),
                // NULL in rows of before 0.2, which are of numbers out of range.
                ("text", Kind::Text),
                ("reason", Kind::Text),
            ],
        )
        .with_added_to_key("item"),
        // Rows that came after the watermark had passed them: no window counts them.
        TableSpec::system(
            LATE_ROWS,
            &["job", "topic", "partition", "offset", "item"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("item", Kind::Int),
                ("patient_id", Kind::Text),
                ("event_time", Kind::Time),
                ("watermark", Kind::Time),
                ("late_by_seconds", Kind::Float),
                ("row_values", Kind::Text),
                ("batch", Kind::Int),
            ],
        )
        .with_added_to_key("item"),
        // Who comes, moves and goes. A row is a request until the job has applied it with a batch and given it a version, or has
        // refused it: until then, `is_open` is 1. Applied rows stay as they are: the batch log says which of them a batch saw.
        TableSpec::system(
            ENCOUNTERS,
            &["job", "id"],
            &[
                ("job", Kind::Text),
                ("id", Kind::Text),
                ("is_open", Kind::Bool),
                ("kind", Kind::Text),
                ("patient_id", Kind::Text),
                ("device", Kind::Text),
                ("from_at", Kind::Time),
                ("until_at", Kind::Time),
                ("ward", Kind::Text),
                ("place", Kind::Text),
                ("name", Kind::Text),
                ("born", Kind::Text),
                ("age_band", Kind::Text),
                ("stay", Kind::Text),
                ("source", Kind::Text),
                ("author", Kind::Text),
                ("note", Kind::Text),
                ("asked_at", Kind::Time),
                ("version", Kind::Int),
                ("refusal", Kind::Text),
                ("remark", Kind::Text),
                ("batch", Kind::Int),
                ("merged_id", Kind::Text),
            ],
        )
        .indexed_by(&["job", "is_open"])
        .for_requests(),
        // Records that were nobody's when they came: no query saw them then. `attached_batch` is the batch with which they became
        // the patient's all the same, because somebody said so later.
        TableSpec::system(
            UNATTACHED,
            &["job", "topic", "partition", "offset", "item"],
            &[
                ("job", Kind::Text),
                ("topic", Kind::Text),
                ("partition", Kind::Int),
                ("offset", Kind::Int),
                ("item", Kind::Int),
                ("device", Kind::Text),
                ("event_time", Kind::Time),
                ("row_values", Kind::Text),
                ("batch", Kind::Int),
                ("patient_id", Kind::Text),
                ("attached_batch", Kind::Int),
            ],
        )
        .with_added_to_key("item")
        .indexed_by(&["job", "batch"]),
        // A row per episode.
        TableSpec::system(
            ALERTS,
            &["job", "rule", "patient_id", "started_at"],
            &[
                ("job", Kind::Text),
                ("rule", Kind::Text),
                ("patient_id", Kind::Text),
                ("started_at", Kind::Time),
                ("id", Kind::Text),
                ("severity", Kind::Text),
                ("state", Kind::Text),
                ("is_open", Kind::Bool),
                ("firing_at", Kind::Time),
                ("last_at", Kind::Time),
                ("known_at", Kind::Time),
                ("clear_since", Kind::Time),
                ("cleared_at", Kind::Time),
                ("ended_at", Kind::Time),
                ("end_reason", Kind::Text),
                ("samples", Kind::Int),
                ("text", Kind::Text),
                ("peak_value", Kind::Float),
                ("limit_value", Kind::Float),
                ("peak_at", Kind::Time),
                ("peak_text", Kind::Text),
                ("stale_at", Kind::Time),
                ("suppressed_by", Kind::Text),
                ("acknowledged_at", Kind::Time),
                ("acknowledged_by", Kind::Text),
                ("acknowledged_note", Kind::Text),
                ("fired_now_at", Kind::Time),
                ("told", Kind::Bool),
                ("notices", Kind::Int),
                ("reminded_at", Kind::Time),
                ("escalated", Kind::Int),
                ("events", Kind::Int),
                ("tracks", Kind::Text),
                ("batch", Kind::Int),
            ],
        )
        .indexed_by(&["job", "is_open"]),
        // Everything that has happened to an episode.
        TableSpec::system(
            ALERT_EVENTS,
            &["job", "episode", "number"],
            &[
                ("job", Kind::Text),
                ("episode", Kind::Text),
                ("number", Kind::Int),
                ("rule", Kind::Text),
                ("patient_id", Kind::Text),
                ("at", Kind::Time),
                ("kind", Kind::Text),
                ("author", Kind::Text),
                ("note", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        // What people ask of alerts. The job answers with its next batch: until then, `is_open` is 1.
        TableSpec::system(
            ALERT_ACTIONS,
            &["job", "id"],
            &[
                ("job", Kind::Text),
                ("id", Kind::Text),
                ("is_open", Kind::Bool),
                ("asked_at", Kind::Time),
                ("author", Kind::Text),
                ("note", Kind::Text),
                ("kind", Kind::Text),
                ("episode", Kind::Text),
                ("patient_id", Kind::Text),
                ("ward", Kind::Text),
                ("rule", Kind::Text),
                ("up_to", Kind::Text),
                ("until_at", Kind::Time),
                ("refusal", Kind::Text),
                ("batch", Kind::Int),
            ],
        )
        .for_requests()
        .indexed_by(&["job", "is_open"]),
        // Pauses and silences; one that is over has an `until_at` in the past.
        TableSpec::system(
            SILENCES,
            &["job", "id"],
            &[
                ("job", Kind::Text),
                ("id", Kind::Text),
                ("kind", Kind::Text),
                ("patient_id", Kind::Text),
                ("ward", Kind::Text),
                ("rule", Kind::Text),
                ("up_to", Kind::Text),
                ("from_at", Kind::Time),
                ("until_at", Kind::Time),
                ("author", Kind::Text),
                ("reason", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        // What is to be delivered, written with the batch that gave rise to it; `is_open` until it is, or is given up.
        TableSpec::system(
            NOTIFICATIONS,
            &["job", "id"],
            &[
                ("job", Kind::Text),
                ("id", Kind::Text),
                ("is_open", Kind::Bool),
                ("outlet", Kind::Text),
                ("episode", Kind::Text),
                ("number", Kind::Int),
                ("kind", Kind::Text),
                ("facts", Kind::Text),
                ("written_at", Kind::Time),
                ("state", Kind::Text),
                ("attempts", Kind::Int),
                ("settled_at", Kind::Time),
                ("batch", Kind::Int),
            ],
        )
        .indexed_by(&["job", "is_open"]),
        // The attempts to deliver.
        TableSpec::system(
            DELIVERIES,
            &["job", "notification", "attempt"],
            &[
                ("job", Kind::Text),
                ("notification", Kind::Text),
                ("attempt", Kind::Int),
                ("outlet", Kind::Text),
                ("at", Kind::Time),
                ("took_ms", Kind::Float),
                ("outcome", Kind::Text),
                ("error", Kind::Text),
            ],
        ),
        // How each query fares; a quarantined one is tried again with batch `retry_batch`.
        TableSpec::system(
            QUERIES,
            &["job", "query"],
            &[
                ("job", Kind::Text),
                ("query", Kind::Text),
                ("state", Kind::Text),
                ("failures", Kind::Int),
                ("retry_batch", Kind::Int),
                ("error", Kind::Text),
                ("since_at", Kind::Time),
                ("window_failed_at", Kind::Time),
                ("batch", Kind::Int),
            ],
        ),
        // What each query cost over the batches until `batch`.
        TableSpec::system(
            QUERY_COSTS,
            &["job", "query"],
            &[
                ("job", Kind::Text),
                ("query", Kind::Text),
                ("batches", Kind::Int),
                ("mean_ms", Kind::Float),
                ("longest_ms", Kind::Float),
                ("mean_rows", Kind::Float),
                ("batch", Kind::Int),
            ],
        ),
        // The batches that a query gave nothing for, and whether its windows count their rows all the same.
        TableSpec::system(
            QUERY_FAILURES,
            &["job", "query", "batch"],
            &[
                ("job", Kind::Text),
                ("query", Kind::Text),
                ("batch", Kind::Int),
                ("error", Kind::Text),
                ("counted", Kind::Bool),
            ],
        ),
        // What became of each edit of the set while the job ran.
        TableSpec::system(
            EDITS,
            &["job", "edited_at"],
            &[
                ("job", Kind::Text),
                ("edited_at", Kind::Time),
                ("outcome", Kind::Text),
                ("files", Kind::Text),
                ("error", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        // Rows of reference tables that people have changed, by the first batch that saw them.
        TableSpec::system(
            REFERENCE_CHANGES,
            &["job", "batch", "number"],
            &[
                ("job", Kind::Text),
                ("batch", Kind::Int),
                ("number", Kind::Int),
                ("seen_at", Kind::Time),
                ("table_name", Kind::Text),
                ("before_row", Kind::Text),
                ("after_row", Kind::Text),
            ],
        ),
        // A row for each time at which a report was due.
        TableSpec::system(
            REPORT_RUNS,
            &["job", "report", "due_at"],
            &[
                ("job", Kind::Text),
                ("report", Kind::Text),
                ("due_at", Kind::Time),
                ("made_at", Kind::Time),
                ("pages", Kind::Int),
                ("failed", Kind::Int),
                ("seconds", Kind::Float),
                ("error", Kind::Text),
                ("mail_open", Kind::Bool),
                ("mail_error", Kind::Text),
            ],
        ),
        // Rows of any table that cannot be written: a NULL or a long text in a key, a value that a column does not take. The
        // row behind the hundredth of a batch says how many more there were.
        TableSpec::system(
            BAD_ROWS,
            &["job", "table_name", "batch", "number"],
            &[
                ("job", Kind::Text),
                ("table_name", Kind::Text),
                ("batch", Kind::Int),
                ("number", Kind::Int),
                ("seen_at", Kind::Time),
                ("reason", Kind::Text),
                ("row_values", Kind::Text),
            ],
        ),
        // Rows that wait until their table takes them: Arrow IPC, compressed with zstd, in parts that fit a packet.
        TableSpec::system(
            PENDING_ROWS,
            &["job", "table_name", "batch", "part"],
            &[
                ("job", Kind::Text),
                ("table_name", Kind::Text),
                ("batch", Kind::Int),
                ("part", Kind::Int),
                ("parts", Kind::Int),
                ("batch_at", Kind::Time),
                ("row_count", Kind::Int),
                ("size", Kind::Int),
                ("checksum", Kind::Int),
                ("bytes", Kind::Bytes),
            ],
        ),
        // The tables that do not take their rows, with what the database says, and those that did not.
        TableSpec::system(
            TABLE_FAULTS,
            &["job", "table_name"],
            &[
                ("job", Kind::Text),
                ("table_name", Kind::Text),
                ("is_at_fault", Kind::Bool),
                ("since_at", Kind::Time),
                ("reason", Kind::Text),
                ("batch", Kind::Int),
            ],
        ),
        // The batches whose rows a table lacks for good, because more would have waited than may.
        TableSpec::system(
            INCOMPLETE_TABLES,
            &["job", "table_name", "from_batch"],
            &[
                ("job", Kind::Text),
                ("table_name", Kind::Text),
                ("from_batch", Kind::Int),
                ("until_batch", Kind::Int),
                ("from_at", Kind::Time),
                ("until_at", Kind::Time),
                ("batches", Kind::Int),
                ("row_count", Kind::Int),
                ("reason", Kind::Text),
                ("given_up_at", Kind::Time),
            ],
        ),
        // What windowed queries kept after a batch, so that a restart goes on from there.
        TableSpec::system(
            WINDOW_SNAPSHOTS,
            &["job", "query"],
            &[
                ("job", Kind::Text),
                ("query", Kind::Text),
                ("batch", Kind::Int),
                ("fingerprint", Kind::Text),
                ("closed_to", Kind::Int),
                ("incomplete_before", Kind::Int),
            ],
        ),
        // The partial aggregates of a snapshot, pane by pane: Arrow IPC, compressed with zstd, in parts that fit a packet.
        TableSpec::system(
            WINDOW_PANES,
            &["job", "query", "pane", "part"],
            &[
                ("job", Kind::Text),
                ("query", Kind::Text),
                ("pane", Kind::Int),
                ("part", Kind::Int),
                ("parts", Kind::Int),
                ("checksum", Kind::Int),
                ("bytes", Kind::Bytes),
            ],
        ),
        // Which rules do not judge which patients now, and why; of the rest, every rule judges every patient. The rule `*` is
        // every rule; the empty patient is everybody, or somebody unknown, and `patients` tells how many that are.
        TableSpec::system(
            COVERAGE,
            &["job", "patient_id", "rule"],
            &[
                ("job", Kind::Text),
                ("patient_id", Kind::Text),
                ("rule", Kind::Text),
                ("judged_until", Kind::Time),
                ("since_at", Kind::Time),
                ("cause", Kind::Text),
                ("detail", Kind::Text),
                ("patients", Kind::Int),
                ("batch", Kind::Int),
            ],
        ),
        // Who may see the page. Passwords are kept as argon2 makes them.
        TableSpec::system(
            USERS,
            &["job", "name"],
            &[
                ("job", Kind::Text),
                ("name", Kind::Text),
                ("password", Kind::Text),
                ("role", Kind::Text),
                ("changed_at", Kind::Time),
            ],
        ),
        // Who is logged in: `id` is the SHA-256 of what the browser holds.
        TableSpec::system(
            SESSIONS,
            &["job", "id"],
            &[
                ("job", Kind::Text),
                ("id", Kind::Text),
                ("user_name", Kind::Text),
                ("begun_at", Kind::Time),
                ("until_at", Kind::Time),
            ],
        ),
        // What programs show in place of a password: `id` is its SHA-256.
        TableSpec::system(
            API_TOKENS,
            &["job", "id"],
            &[
                ("job", Kind::Text),
                ("id", Kind::Text),
                ("name", Kind::Text),
                ("role", Kind::Text),
                ("made_at", Kind::Time),
                ("until_at", Kind::Time),
            ],
        ),
        // Who saw which patient, who did what, and who tried to get in.
        TableSpec::system(
            AUDIT,
            &["job", "at", "id"],
            &[
                ("job", Kind::Text),
                ("at", Kind::Time),
                ("id", Kind::Text),
                ("who", Kind::Text),
                ("role", Kind::Text),
                ("address", Kind::Text),
                ("action", Kind::Text),
                ("subject", Kind::Text),
                ("detail", Kind::Text),
            ],
        ),
    ]
});
