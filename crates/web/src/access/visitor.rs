//! Who asks.

use std::net::IpAddr;
use std::time::Duration;

use wardwatch_model::terms::Role;
use wardwatch_store::AuditEntry;

use super::audit::audit_entry;

/// For so long it is remembered who a cookie or token belongs to: a user that is removed may see the page for so long yet.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10);

/// While the store does not answer, whoever was known by it so lately is still known: nobody can be removed meanwhile, and the
/// ward must not lose sight of what was known last.
pub(crate) const REMEMBERED_ALONE: Duration = Duration::from_secs(3_600);

/// For so long, somebody who looks at the same again and again is in the audit once.
pub(crate) const ONE_LOOK: Duration = Duration::from_secs(600);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// The user's or the token's name.
    pub(crate) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// How it is known.
    pub(crate) by: Known,
    /// What a form must bear so that it is believed to be ours; empty for programs.
    pub(crate) csrf: String,
    /// From where.
    pub(super) address: Option<IpAddr>,
}

/// How a visitor is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// There are no users, and this machine may do everything.
    Here,
    /// By a log-in.
    Session,
    /// By a token.
    Token,
}

impl Visitor {
    /// Whether it may do what `role` may.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether it may read names of patients.
    pub(crate) fn may_read_names(&self) -> bool {
        self.may(Role::Nurse)
    }

    /// The line of the audit that says what it did.
    pub(crate) fn audit_entry(&self, action: &str, subject: &str, detail: &str) -> AuditEntry {
        audit_entry(&self.name, self.role.name(), self.address, (action, subject, detail))
    }
}

/// A name and its role; `None` for nobody.
pub(crate) type Somebody = Option<(String, Role)>;

/// A session's secret is no token, and a token no session's.
pub(crate) fn remembered_as(id: &str, by: Known) -> String {
    format!("{by:?} {id}")
}
