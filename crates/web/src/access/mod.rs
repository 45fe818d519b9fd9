//! Who may see and do what: every request but those for the log-in page and for what has no facts passes the guard.
//!
//! ```text
//! a request ─▶ bearer token? ─▶ session cookie? ─▶ no users, and at this machine? ─▶ nobody: log in, or 401
//!                   └──────────────┴───────────────────┴─▶ changes something, and no token? ─▶ CSRF token
//! ```

pub(crate) mod audit;
mod guard;
mod here;
mod log_in;
mod password;
pub(crate) mod secret;
pub(crate) mod state;
mod throttle;
pub(crate) mod viewing;
pub(crate) mod visitor;

pub(super) use guard::{address, guard, same_site, told};
pub(super) use log_in::{log_in, log_out};
pub use password::{PasswordError, hash_password};
