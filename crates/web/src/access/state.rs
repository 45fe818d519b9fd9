//! What is known of who may see and do what.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wardwatch_model::clock::Stopwatch;
use wardwatch_store::Registered;

use super::audit::{LateAudit, MOST_REMEMBERED};
use super::password::Comparing;
use super::secret::random;
use super::throttle::Throttle;
use super::visitor::{ONE_LOOK, REMEMBERED, REMEMBERED_ALONE, Somebody, Visitor};

/// What is remembered of visitors, and the secrets of this process.
#[derive(Debug)]
pub(crate) struct Access {
    /// What forms of visitors without a session are sealed with.
    pub(crate) secret: [u8; 32],
    /// Whether others than this machine can reach the page.
    pub(super) is_public: bool,
    /// When it was seen last whether there are users. That there are none is asked for each time, while there is somebody to
    /// ask: it lets everybody here in.
    users: Mutex<Option<(Stopwatch, bool)>>,
    /// Whether this process has ever seen users: then it never believes again that there are none.
    has_seen_users: AtomicBool,
    visitors: Mutex<HashMap<String, (Stopwatch, Somebody)>>,
    /// Who has seen what lately.
    seen: Mutex<HashMap<(String, String), Stopwatch>>,
    /// What was seen while the store did not answer.
    pub(crate) late: LateAudit,
    /// Who has guessed passwords lately.
    pub(crate) throttle: Mutex<Throttle>,
    /// Passwords that are being compared.
    pub(crate) comparing: Comparing,
}

impl Access {
    /// What was seen while the store did not answer is kept in `late`.
    pub(crate) fn new(is_public: bool, late: LateAudit) -> Self {
        Self {
            secret: random(),
            is_public,
            users: Mutex::default(),
            has_seen_users: AtomicBool::new(false),
            visitors: Mutex::default(),
            seen: Mutex::default(),
            late,
            throttle: Mutex::default(),
            comparing: Comparing::default(),
        }
    }

    /// Whether it was seen lately that there are users.
    pub(crate) fn remembers_users(&self) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.is_some_and(|(looked, are_there)| are_there && looked.elapsed() < REMEMBERED)
    }

    /// Whether there were users when it was asked last, where that is not too long ago to go by while nobody can be asked.
    pub(crate) fn had_users(&self) -> Option<bool> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.filter(|(looked, _)| looked.elapsed() < REMEMBERED_ALONE).map(|(_, were_there)| were_there)
    }

    pub(crate) fn remember_users(&self, are_there: bool) {
        if are_there {
            self.note_user();
        }
        *self.users.lock().unwrap_or_else(PoisonError::into_inner) = Some((Stopwatch::start(), are_there));
    }

    /// Takes note of whether there are users, for when nobody can be asked. What speaks against a page that anybody may see changes
    /// nothing here: whoever asks is told of it.
    pub(crate) fn note_users(&self, registered: &Registered) {
        match registered {
            Registered::Users => self.remember_users(true),
            Registered::Nobody if !self.has_seen_users() => self.remember_users(false),
            Registered::Nobody | Registered::NoTable | Registered::Gone => {}
        }
    }

    /// A user was seen.
    pub(crate) fn note_user(&self) {
        self.has_seen_users.store(true, Ordering::Relaxed);
    }

    /// Whether there have been users as long as this process runs.
    pub(crate) fn has_seen_users(&self) -> bool {
        self.has_seen_users.load(Ordering::Relaxed)
    }

    /// Who it was that was looked up within `lately`.
    pub(crate) fn remembered(&self, id: &str, lately: Duration) -> Option<Somebody> {
        let visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        visitors.get(id).filter(|(looked, _)| looked.elapsed() < lately).map(|(_, visitor)| visitor.clone())
    }

    pub(crate) fn remember(&self, id: &str, visitor: Somebody) {
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        if visitors.len() >= MOST_REMEMBERED {
            visitors.retain(|_, (looked, visitor)| {
                looked.elapsed() < if visitor.is_some() { REMEMBERED_ALONE } else { REMEMBERED }
            });
        }
        if visitors.len() >= MOST_REMEMBERED {
            // Whoever makes up tokens must not push out those that are known.
            visitors.retain(|_, (_, visitor)| visitor.is_some());
        }
        if visitors.len() < MOST_REMEMBERED {
            visitors.insert(id.to_owned(), (Stopwatch::start(), visitor));
        }
    }

    /// Whether it is in the audit already that this visitor looks at this.
    pub(crate) fn has_seen(&self, visitor: &Visitor, subject: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (visitor.name.clone(), subject.to_owned());
        seen.get(&key).is_some_and(|looked| looked.elapsed() < ONE_LOOK)
    }

    pub(crate) fn remember_seen(&self, visitor: &Visitor, subject: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_REMEMBERED {
            seen.retain(|_, looked| looked.elapsed() < ONE_LOOK);
        }
        if seen.len() < MOST_REMEMBERED {
            seen.insert((visitor.name.clone(), subject.to_owned()), Stopwatch::start());
        }
    }

    pub(crate) fn forget(&self, id: &str) {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_first_while_the_store_is_away_finds_what_was_known_of_users() {
        let access = Access::new(false, LateAudit::default());
        assert_eq!(access.had_users(), None, "nobody has said so");
        access.note_users(&Registered::NoTable);
        assert_eq!(access.had_users(), None);
        access.note_users(&Registered::Nobody);
        assert_eq!(access.had_users(), Some(false));
        access.note_users(&Registered::Users);
        // They cannot be removed, so they are there still.
        access.note_users(&Registered::Nobody);
        access.note_users(&Registered::Gone);
        assert_eq!(access.had_users(), Some(true));
    }
}
