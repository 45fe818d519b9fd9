//! Episodes: from conditions that are true at samples to alerts that begin, fire, are taken on and end. Values in,
//! values out.
//!
//! A rule is judged at every sample of a patient, in event time: the rows that it returned name the samples at which
//! it is true, the patient's other samples in the batch are those at which it is false, and a sample that lacks a value
//! that the rule's condition names decides nothing. So a backlog of an hour gives the same episodes as an hour live. A
//! rule that looks at no row of the batch, but at windows or at the last values of patients, is judged once per batch,
//! by the devices' time. What people do, and what follows from nobody doing anything, goes by the batch's `now`.
//!
//! Nothing here reads a clock, a database or SQL, and nothing notifies anybody: notices are values too.

mod action;
mod begun;
mod care;
mod composed;
mod conditions;
mod coverage;
mod episode;
mod life;
mod lifecycle;
mod limits;
mod map;
mod message;
mod moment;
mod open;
mod rule;
mod silence;
mod standing;
mod stays;
mod streams;
mod system;
mod system_rules;
mod track;
mod unreached;
mod wards;

pub use action::{Action, Answer, Request};
pub use begun::EpisodeKey;
pub use care::{Facts, Notice, NoticeKind, Notification, address, notification_id};
pub use composed::Composer;
pub use composed::parts::Composed;
pub use conditions::check_rows;
pub use coverage::{BadValue, BadValues, EVERY_RULE, Unjudged, ValidFor, Watch, Why, bad_text, unjudged_patients};
pub use episode::{Acknowledged, End, Episode, EpisodeId, Event, EventKind, Handling, Peak, State};
pub use limits::{LIMIT_COLUMNS, Limit, LimitChange, LimitScope, Resolved, lost_defaults, own_limit, resolve};
pub use message::{Message, MessageFault};
pub use moment::{Departures, Elsewhere, Findings, Moment, Rows};
pub use rule::Judged;
pub use silence::{ActionId, Scope, Silence, SilenceKind};
pub use standing::{Change, OpenEpisodes};
pub use streams::id::StreamId;
pub use streams::samples::Samples;
pub use streams::state::Streams;
pub use streams::{Arrivals, CLOCK_TOLERANCE, Clock, ColumnSet, Known, Needs, Origin, SetId, Shape, Step};
pub use system::{StalledPartition, Unread};
pub use system_rules::{
    CLOCK_AHEAD, CLOCK_DIFFERS, CLOCK_STEP, DEVICES_DISAGREE, DOUBTFUL, HOST_CLOCK, HOST_CLOCK_TOLERANCE, KAFKA_AWAY,
    LIMIT_MISSING, PARTITION_STALLED, RECORDS_LOST, REFERENCE_LOST, REFERENCE_UNREAD, REJECTED, STORE_AWAY,
    SYSTEM_RULES, TABLE_AT_FAULT, TABLE_INCOMPLETE, UNATTACHED, UNJUDGED, UNREACHED, check_rule, is_system_rule,
};
pub use track::{Holds, Track, read_tracks, write_tracks};
pub use unreached::{Outstanding, Reach, Untaken};
pub use wards::Wards;

pub use rule::{Measure, Rule, SampleColumns};

#[cfg(test)]
mod tests;
