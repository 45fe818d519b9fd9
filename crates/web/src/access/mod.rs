//! Who may see and do what: every request but those for the log-in page and for what has no facts passes the guard.
//!
//! ```text
//! a request ─▶ bearer token? ─▶ session cookie? ─▶ no users, and at this machine? ─▶ nobody: log in, or 401
//!                   └──────────────┴───────────────────┴─▶ changes something, and no token? ─▶ CSRF token
//! ```

mod guard;
mod here;
mod log_in;
mod password;
mod throttle;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::terms::Role;
use wardwatch_store::{AuditEntry, Store, StoreError};

use super::App;

pub(super) use guard::{Peer, address, guard, redirect, same_site, told};
pub(super) use log_in::{log_in, log_out};
use password::Comparing;
pub use password::{PasswordError, hash_password};
use throttle::Throttle;

/// For so long it is remembered who a cookie or token belongs to: a user that is removed may see the page for so long yet.
const REMEMBERED: Duration = Duration::from_secs(10);

/// While the store does not answer, whoever was known by it so lately is still known: nobody can be removed meanwhile, and the
/// ward must not lose sight of what was known last.
const REMEMBERED_ALONE: Duration = Duration::from_secs(3_600);

/// For so long, somebody who looks at the same again and again is in the audit once.
const ONE_LOOK: Duration = Duration::from_secs(600);

/// So many are remembered at the most.
const MOST_REMEMBERED: usize = 10_000;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visitor {
    /// The user's or the token's name.
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// How it is known.
    pub(super) by: Known,
    /// What a form must bear so that it is believed to be ours; empty for programs.
    pub(super) csrf: String,
    /// From where.
    pub(super) address: Option<IpAddr>,
}

/// How a visitor is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// There are no users, and this machine may do everything.
    Here,
    /// By a log-in.
    Session,
    /// By a token.
    Token,
}

impl Visitor {
    /// Whether it may do what `role` may.
    pub(super) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether it may read names of patients.
    pub(super) fn may_read_names(&self) -> bool {
        self.may(Role::Nurse)
    }

    /// The line of the audit that says what it did.
    pub(super) fn did(&self, action: &str, subject: &str, detail: &str) -> AuditEntry {
        audit_entry(&self.name, self.role.name(), self.address, (action, subject, detail))
    }
}

/// A line of the audit; somebody who is not logged in has no role.
pub(super) fn audit_entry(
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

/// A name and its role; `None` for nobody.
type Somebody = Option<(String, Role)>;

/// What is remembered of visitors, and the secrets of this process.
#[derive(Debug)]
pub(super) struct Access {
    /// What forms of visitors without a session are sealed with.
    secret: [u8; 32],
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
    late: LateAudit,
    /// Who has guessed passwords lately.
    throttle: Mutex<Throttle>,
    /// Passwords that are being compared.
    comparing: Comparing,
}

impl Access {
    /// What was seen while the store did not answer is kept in `late`.
    pub(super) fn new(is_public: bool, late: LateAudit) -> Self {
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
    fn remembers_users(&self) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.is_some_and(|(looked, are_there)| are_there && looked.elapsed() < REMEMBERED)
    }

    /// Whether there were users when it was asked last, where that is not too long ago to go by while nobody can be asked.
    fn had_users(&self) -> Option<bool> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.filter(|(looked, _)| looked.elapsed() < REMEMBERED_ALONE).map(|(_, were_there)| were_there)
    }

    fn remember_users(&self, are_there: bool) {
        if are_there {
            self.note_user();
        }
        *self.users.lock().unwrap_or_else(PoisonError::into_inner) = Some((Stopwatch::start(), are_there));
    }

    /// A user was seen.
    fn note_user(&self) {
        self.has_seen_users.store(true, Ordering::Relaxed);
    }

    /// Whether there have been users as long as this process runs.
    fn has_seen_users(&self) -> bool {
        self.has_seen_users.load(Ordering::Relaxed)
    }

    /// Who it was that was looked up within `lately`.
    fn remembered(&self, id: &str, lately: Duration) -> Option<Somebody> {
        let visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        visitors.get(id).filter(|(looked, _)| looked.elapsed() < lately).map(|(_, visitor)| visitor.clone())
    }

    fn remember(&self, id: &str, visitor: Somebody) {
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
    fn has_seen(&self, visitor: &Visitor, subject: &str) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (visitor.name.clone(), subject.to_owned());
        seen.get(&key).is_some_and(|looked| looked.elapsed() < ONE_LOOK)
    }

    fn remember_seen(&self, visitor: &Visitor, subject: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_REMEMBERED {
            seen.retain(|_, looked| looked.elapsed() < ONE_LOOK);
        }
        if seen.len() < MOST_REMEMBERED {
            seen.insert((visitor.name.clone(), subject.to_owned()), Stopwatch::start());
        }
    }

    fn forget(&self, id: &str) {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// What seals the forms of somebody who holds `secret`: nobody else can make it, and it does not tell the secret.
fn seal(secret: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| panic!("HMAC takes keys of any length"));
    mac.update(b"wardwatch form");
    hex(&mac.finalize().into_bytes())
}

/// Whether two texts are the same, in a time that does not tell how far they agree.
fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// What is kept of a secret that is random itself.
#[must_use]
pub(super) fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// A secret that nobody guesses, and what is kept of it.
#[must_use]
pub fn new_secret() -> (String, String) {
    let secret = hex(&random::<32>());
    let kept = digest(&secret);
    (secret, kept)
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    use rand::RngCore as _;
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes into the audit that a visitor sees something, before it is shown; what cannot be written is not shown. While the store
/// does not answer, there is nothing to be shown but what was read before: that is written when the store is back.
pub(super) async fn see(app: &App, visitor: &Visitor, subject: &str) -> Result<(), StoreError> {
    if app.access.has_seen(visitor, subject) {
        return Ok(());
    }
    let entry = visitor.did("see", subject, "");
    let late = entry.clone();
    match app.stores.with(move |store| store.note_audit(&entry)).await {
        Ok(()) => {
            app.access.remember_seen(visitor, subject);
            Ok(())
        }
        Err(StoreError::Unavailable(_)) if app.access.late.add(late) => {
            app.access.remember_seen(visitor, subject);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Lines of the audit that the store has not taken yet, the oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct LateAudit(Arc<Mutex<VecDeque<AuditEntry>>>);

impl LateAudit {
    /// Keeps a line until the store takes it; `false` where there are too many.
    fn add(&self, entry: AuditEntry) -> bool {
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
    pub(super) fn write(&self, store: &mut Store) -> Result<(), StoreError> {
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
