//! Logging in and out: an attempt is counted before anything is looked up, and passwords are compared in a queue of their
//! own, so that guesses cost the pages nothing.

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use cookie::{Cookie, SameSite};

use wardwatch_config::Privacy;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_store::{LOG_IN, Session, StoreError};

use super::super::problem::Problem;
use super::audit::audit_entry;
use super::password::is_too_long;
use super::secret::{digest, new_secret};
use super::throttle::Throttle;
use super::visitor::{Known, Visitor, remembered_as};
use crate::app::App;
use crate::redirect::redirect;

/// When to come again where too many passwords are being compared.
const BUSY: Duration = Duration::from_secs(1);

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogInError {
    /// Which of the two is not said.
    #[error("the name or the password is wrong")]
    Wrong,
    /// There were too many guesses.
    #[error("too many attempts; try again in {} s", .0.as_secs() + 1)]
    Wait(Duration),
    /// Too many log in at this moment.
    #[error("too many people log in at this moment; try again")]
    Busy,
    /// The store.
    #[error("the store did not do it, and the log says why; try again")]
    Store(#[from] StoreError),
}

impl LogInError {
    /// The status, and after how many seconds it may be tried again.
    pub(crate) fn status(&self) -> (StatusCode, Option<u64>) {
        match self {
            Self::Wrong => (StatusCode::UNAUTHORIZED, None),
            Self::Wait(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.as_secs() + 1)),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, Some(BUSY.as_secs())),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
        }
    }
}

/// Logs somebody in: a new session, whatever cookie the browser brought, and the way on.
pub(crate) async fn log_in(
    app: &App,
    address: Option<IpAddr>,
    (name, password): (String, String),
    next: &str,
) -> Result<Response, LogInError> {
    if is_too_long(&password) {
        // Nobody has such a password, so nobody is looked up for it.
        return Err(LogInError::Wrong);
    }
    let attempt = throttle(app).begin(&name, address).map_err(LogInError::Wait)?;
    // Whoever goes away before the answer has had a guess all the same.
    let secret = match begin_session(app, address, name, password).await {
        Ok(Some(secret)) => {
            throttle(app).succeeded(attempt);
            secret
        }
        Ok(None) => {
            throttle(app).failed(attempt);
            return Err(LogInError::Wrong);
        }
        Err(error) => {
            throttle(app).withdrawn(attempt);
            return Err(error);
        }
    };
    let cookie = Cookie::build((cookie_name(app), secret))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(app.job.dashboard.privacy != Privacy::Plain)
        .max_age(cookie::time::Duration::seconds(session_length(app).num_seconds()));
    // Only to pages of ours.
    let is_ours = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    let to = if is_ours && next.parse::<Uri>().is_ok() { next } else { "/" };
    Ok(([(SET_COOKIE, cookie.build().to_string())], redirect(to)).into_response())
}

fn throttle(app: &App) -> MutexGuard<'_, Throttle> {
    app.access.throttle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn session_length(app: &App) -> TimeDelta {
    TimeDelta::from_std(app.job.dashboard.session).unwrap_or(TimeDelta::hours(12))
}

/// Begins a session and returns its secret; `None` where the name or the password is wrong.
async fn begin_session(
    app: &App,
    address: Option<IpAddr>,
    name: String,
    password: String,
) -> Result<Option<String>, LogInError> {
    let place = app.access.comparing.place().ok_or(LogInError::Busy)?;
    // A password that is changed while this one is compared ends the session that comes of it.
    let begun_at = SystemClock.now();
    let wanted = name.clone();
    let find = move |store: &mut wardwatch_store::Store| {
        store.users().map(|users| users.into_iter().find(|user| user.name == wanted))
    };
    let user = app.stores.with::<_, StoreError>(find).await?;
    if user.is_some() {
        app.access.note_user();
    }
    let hash = user.as_ref().map(|user| user.password.clone());
    let is_right = app.access.comparing.is_password(place, password, hash).await;
    let role = user.filter(|_| is_right).map_or("", |user| user.role.name());
    let (secret, id) = new_secret();
    let until = begun_at + session_length(app);
    let noted = app.stores.with(move |store| {
        let what = if is_right { LOG_IN } else { "fail to log in" };
        store.note_audit(&audit_entry(&name, role, address, (what, "", "")))?;
        match is_right {
            true => store.begin_session(&Session { id, user: name, begun_at, until }),
            false => Ok(()),
        }
    });
    noted.await?;
    Ok(is_right.then_some(secret))
}

/// Logs the visitor out and leads to the log-in page.
pub(crate) async fn log_out(app: &App, visitor: &Visitor, headers: &HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = session_token(app, headers) {
        let id = digest(&token);
        app.access.forget(&remembered_as(&id, Known::Session));
        let entry = visitor.audit_entry("log out", "", "");
        let ended = app.stores.with(move |store| {
            store.end_session(&id)?;
            store.note_audit(&entry)
        });
        ended.await?;
    }
    let cookie = Cookie::build((cookie_name(app), ""))
        .path("/")
        .secure(app.job.dashboard.privacy != Privacy::Plain)
        .max_age(cookie::time::Duration::ZERO);
    Ok(([(SET_COOKIE, cookie.build().to_string())], redirect("/login")).into_response())
}

/// The cookie's name; a browser takes one with this prefix by TLS only, for this host only.
fn cookie_name(app: &App) -> &'static str {
    if app.job.dashboard.privacy == Privacy::Plain { "wardwatch" } else { "__Host-wardwatch" }
}

/// What a visitor's cookie says.
pub(super) fn session_token(app: &App, headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|value| Cookie::split_parse(value.to_owned())).filter_map(Result::ok);
    cookies.find(|cookie| cookie.name() == cookie_name(app)).map(|cookie| cookie.value().to_owned())
}
