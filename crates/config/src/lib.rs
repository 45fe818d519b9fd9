//! The job file, read once: what the user wrote (`raw`) becomes a [`Job`], in which everything is valid.
//!
//! Past this crate nothing is "maybe valid": no missing value stands for "not checked yet". It knows neither
//! Kafka nor a database; whether a topic or a table exists is not its business.

mod alerts;
mod checker;
mod columns;
mod conversion;
mod dashboard;
mod form;
mod gateway;
mod job;
mod parse;
mod path;
mod pattern;
mod raw;
mod spanned;
mod topics;
mod units;
mod wording;
mod written;

pub use alerts::{AlertSpec, EscalationStep, Outlet, OutletKind, TEMPLATE_NAMES, When};
pub use columns::{Column, ColumnType, Columns, Words};
pub use conversion::Conversion;
pub use dashboard::{DashboardSpec, Privacy};
pub use form::{Counts, CsvFormat, Form, Format, LongForm, SchemaSource, Subject, Undeclared, Unwrap};
pub use gateway::{GatewaySpec, MqttUrl};
pub use job::{
    FEATURE_KINDS, Feature, FeatureKind, GivenQuery, Job, OtherSource, QueryFolder, ReportSpec, SourceSpec, SqlSpec,
    Start, StoreUrl, Trigger, marker,
};
pub use parse::{load, parse};
pub use path::Template;
pub use path::{KafkaField, Scope, Search, SourcePath, Step, Way};
pub use pattern::Pattern;
pub use raw::schema;
pub use topics::TopicSelection;
pub use wording::toml_fault;
pub use written::{Condition, FieldTest, Part, TimeUnit, TimeWritten, Units, Written};
