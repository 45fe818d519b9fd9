//! Who is let go of with a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

/// The patients who are let go of with a batch, each with the time from which on.
pub(crate) type Leaving = BTreeMap<Arc<str>, DateTime<Utc>>;
