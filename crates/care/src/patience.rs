//! How long anything may take before it is told of.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_config::Job;

/// A batch may be this long ago before it is said that none is committed; longer for jobs that are triggered seldom.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long ago a job's last batch may be, where nobody says otherwise: a minute, or three times its trigger.
#[must_use]
pub fn patience(job: &Job) -> Duration {
    PATIENCE.max(job.trigger.every * 3)
}

/// Records may wait for so long before it is told that they do; where the last batch is older than that, too, it is the job that
/// stands still, and not a partition.
pub(super) const STALL_PATIENCE: Duration = Duration::from_secs(30);

/// How long records may wait: half a minute, or three times the job's trigger.
#[must_use]
pub fn stall_patience(job: &Job) -> Duration {
    STALL_PATIENCE.max(job.trigger.every * 3)
}

/// Whether a time is so long ago.
pub(super) fn is_older(at: DateTime<Utc>, than: Duration, now: DateTime<Utc>) -> bool {
    TimeDelta::from_std(than).is_ok_and(|than| now - at >= than)
}
