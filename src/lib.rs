//! **wardwatch** watches patients' vitals: once a second it pulls a micro-batch from Kafka into Arrow, runs the
//! team's own SQL over it, and commits results, alerts and offsets to MySQL in one transaction.
//!
//! ```text
//! Kafka ─fetch+decode thread─▶ Frame + rejects ─▶ late, doubled ─▶ queries (SQL) ─▶ alerts ─▶ COMMIT ─▶ page, charts
//!         source/ decode/        (Arrow)           frame/           query/          alert/    store/    dashboard/ report/
//! ```
//!
//! The loop is [`job::run`]; it reads like that line.
//!
//! # Words
//! - *topic, partition, offset*: Kafka's. *Record*: a Kafka message.
//! - *Trigger*: when a micro-batch closes. *Micro-batch*: one half-open offset range `start..end` per partition.
//! - *Event time*: when the device measured. *Watermark*: per partition the greatest event time seen less the
//!   allowed lateness; it only moves forward. *Late row*: one before the watermark that its partition had reached.
//! - *Reject*: a record that cannot become a row. *Artefact*: a value that cannot be read or cannot be true.
//! - *Frame*: the micro-batch as columns.
//! - *Query*: one SQL file. *Table query*: its rows go to a table. *Rule*: its rows are conditions that are true.
//! - *Window*: a tumbling, hopping or session span of event time. *Pane*: the piece that windows are merged from.
//! - *Episode*: one alert from first to last.
//! - *Store*: MySQL, MariaDB or SQLite. *Commit*: the one transaction of a micro-batch.
//!
//! # Guarantees
//! 1. Exactly once, end to end: everything that a batch leaves is one transaction, and the offsets in it advance by
//!    compare-and-set, or it rolls back ([`store::Store::commit`]).
//! 2. Nothing is dropped silently: a record is a row or a reject, with its bytes and the reason; an implausible value
//!    is NULL and an artefact ([`decode`]).
//! 3. Recovery is deterministic: windows, history and duplicates are made again from snapshots and from the logged
//!    batches, which are read from Kafka in their boundaries ([`job`]).
//! 4. One bad thing stays one bad thing: a failing query is quarantined, a stalled store holds the batch in bounded
//!    memory ([`job`]).
//! 5. A batch sees one `now`, which stands in the batch log.
//! 6. What becomes of a record, a window, a feature and an episode does not depend on how records were batched
//!    ([`decode`], [`frame`], [`query`], [`alert`]).
//!
//! # Layers
//! Each is a crate below `crates/`, and depends on those below it only:
//!
//! ```text
//! cli
//! web · sqltest                          care, report │ pipeline
//! pipeline · report · care               the loop │ charts │ what is wrong
//! notify                                 outlets
//! store
//! alert · sql · ingest · frame · simulate   the stages; ingest → kafka
//! config
//! model                                  terms, clock, plain data
//! ```

pub use wardwatch_session::{
    Builder, Column, Committed, Given, Offline, Session, SessionError, Stopper, arrow, chrono, polars,
};

pub use wardwatch_alert as alert;
pub use wardwatch_care as watch;
#[cfg(feature = "program")]
pub use wardwatch_cli as cli;
pub use wardwatch_config as config;
pub use wardwatch_frame as frame;
pub use wardwatch_ingest::{decode, source};
pub use wardwatch_kafka as kafka;
pub use wardwatch_model::{clock, diagnostic, encounter, event_time, header, health, record, stored, telemetry, terms};
pub use wardwatch_notify as notify;
pub use wardwatch_pipeline as job;
#[cfg(feature = "reports")]
pub use wardwatch_report as report;
pub use wardwatch_simulate as simulate;
pub use wardwatch_sql as query;
pub use wardwatch_sqltest as testing;
pub use wardwatch_store as store;
#[cfg(feature = "web")]
pub use wardwatch_web as dashboard;
