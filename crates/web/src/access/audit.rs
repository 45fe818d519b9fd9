//! What is written down of who looked at what.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use wardwatch_model::clock::{Clock as _, SystemClock};
use wardwatch_store::{AuditEntry, Store, StoreError};

use super::secret::{hex, random};

/// A line of the audit; somebody who is not logged in has no role.
pub(crate) fn audit_entry(
    who: &str,
    role: &str,
    address: Option<IpAddr>,
    (action, subject, detail): (&str, &str, &str),
) -> AuditEntry {
    // Columns of keys are short, and what strangers type need not be kept whole.
    let short = |text: &str| text.chars().take(200).collect::<String>();
    AuditEntry {
        at: SystemClock.now(),
        id: hex(&random::<8>()),
        who: short(who),
        role: role.to_owned(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        action: action.to_owned(),
        subject: short(subject),
        detail: short(detail),
    }
}

/// Lines of the audit that the store has not taken yet, the oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct LateAudit(Arc<Mutex<VecDeque<AuditEntry>>>);

impl LateAudit {
    /// Keeps a line until the store takes it; `false` where there are too many.
    pub(crate) fn add(&self, entry: AuditEntry) -> bool {
        let mut late = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = late.len() < MOST_REMEMBERED;
        if has_room {
            late.push_back(entry);
        }
        has_room
    }

    /// Writes them, now that the store answers. By one thread only.
    ///
    /// # Errors
    /// It does not answer any more; the lines that it has not taken are kept.
    pub(crate) fn write(&self, store: &mut Store) -> Result<(), StoreError> {
        let first = || self.0.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
        while let Some(entry) = first() {
            match store.note_audit(&entry) {
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                // It may stand there already: the reply to writing it may have been lost.
                Err(error) => tracing::error!(%error, who = entry.who, "a line of the audit cannot be written"),
                Ok(()) => {}
            }
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }
        Ok(())
    }
}

/// So many are remembered at the most.
pub(crate) const MOST_REMEMBERED: usize = 10_000;
