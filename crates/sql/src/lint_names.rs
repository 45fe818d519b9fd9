//! The names of warnings.

/// The lints, each with what is wrong about it.
pub const LINTS: [(&str, &str); 10] = [
    (
        "average-of-averages",
        "an average of averages counts each the same, however many readings it is of; keep sums and counts",
    ),
    (
        "by-batch",
        "a rule that groups the rows of a batch depends on which records happen to come together; return event_time, or read a window",
    ),
    ("join-multiplies-rows", "a join on less than the key of a table gives a row for each that matches"),
    ("no-delay", "a rule without `@for` fires at a single reading, and most such alarms are false"),
    (
        "null-comparison",
        "a comparison with NULL is never true: `x = NULL`, `NOT IN (SELECT …)`, and `x <> 'a'` where there is no `x`",
    ),
    (
        "doubled-key",
        "a row per record, keyed by `_offset` without `_item`: a record of the job may have several rows, of which one is written",
    ),
    ("short-memory", "an INTERVAL longer than the job's `[source] retain` finds nothing that far back"),
    (
        "some-patients",
        "LIMIT, TABLESAMPLE, or OVER without PARTITION BY in a rule: some patients are left out, by which records happen to come together",
    ),
    ("unbounded-group", "windows keep a row for each group: a key that is new with every record grows without bound"),
    ("unread", "a view or reference table that nobody reads"),
];
