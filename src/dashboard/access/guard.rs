//! The guard: finds out who asks, and lets nothing change that the asker did not mean to change.

use std::net::IpAddr;
use std::sync::PoisonError;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use cookie::{Cookie, SameSite};

use crate::clock::{Clock, SystemClock};
use crate::config::Privacy;
use crate::store::{Session, StoreError};
use crate::terms::Role;

use super::super::App;
use super::super::pages::NoPage;
use super::super::problem::Problem;
use super::super::words::encoded;
use super::{
    Known, Visitor, are_there_users, audit_entry, digest, is_password, is_same, new_secret, seal,
    waste_the_time_of_a_password,
};

/// Where scripts put what seals a form.
const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// The most bytes of a request; forms and JSON are short.
const LONGEST_BODY: usize = 64 * 1024;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(in crate::dashboard) struct Peer(pub(in crate::dashboard) IpAddr);

/// Finds out who asks, and hands the request on with that, or says why not.
pub(in crate::dashboard) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    match visitor(&app, &parts).await {
        Ok(Some(visitor)) => {
            let mut request = match believed(&visitor, parts, body).await {
                Ok(request) => request,
                Err(refusal) => return told(&path, refusal),
            };
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Ok(None) if is_for_programs(&path) => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "log in, or show a bearer token");
            ([(WWW_AUTHENTICATE, "Bearer")], problem).into_response()
        }
        Ok(None) => {
            let wanted = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            redirect(&format!("/login?next={}", encoded(wanted)))
        }
        Err(problem) => told(&path, problem),
    }
}

/// Says to programs and to people, each in their way, why there is no answer.
pub(in crate::dashboard) fn told(path: &str, problem: Problem) -> Response {
    if is_for_programs(path) { problem.into_response() } else { NoPage::from(problem).into_response() }
}

fn is_for_programs(path: &str) -> bool {
    ["/api/", "/fhir/", "/metrics", "/events"].iter().any(|start| path.starts_with(start))
}

pub(in crate::dashboard) fn redirect(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, to.to_owned())]).into_response()
}

/// Who asks; `None` for nobody that is known.
async fn visitor(app: &App, request: &Parts) -> Result<Option<Visitor>, Problem> {
    let address = address(app, request);
    if let Some(token) = bearer(&request.headers) {
        let known = known(app, &digest(&token), Known::Token).await?;
        let visitor = |(name, role)| Visitor { name, role, by: Known::Token, csrf: String::new(), address };
        return Ok(known.map(visitor));
    }
    if let Some(token) = session_token(app, &request.headers)
        && let Some((name, role)) = known(app, &digest(&token), Known::Session).await?
    {
        return Ok(Some(Visitor { name, role, by: Known::Session, csrf: seal(token.as_bytes()), address }));
    }
    if users(app).await? {
        return Ok(None);
    }
    if app.access.is_public {
        let message = "there are no users yet, so nobody may see this from elsewhere; `wardwatch users add` makes them";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    if !is_called_by_loopback(&request.headers) {
        let message = "without users, the page is for this machine: call it by http://127.0.0.1 or http://localhost";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let csrf = seal(&app.access.secret);
    Ok(Some(Visitor { name: "local".to_owned(), role: Role::Admin, by: Known::Here, csrf, address }))
}

/// Whether there are users.
async fn users(app: &App) -> Result<bool, Problem> {
    if let Some(known) = app.access.remembered_users() {
        return Ok(known);
    }
    let are_there = app.stores.with(are_there_users).await?;
    app.access.remember_users(are_there);
    Ok(are_there)
}

/// Whose cookie or token has this digest.
async fn known(app: &App, id: &str, by: Known) -> Result<Option<(String, Role)>, StoreError> {
    let key = remembered_as(id, by);
    if let Some(known) = app.access.remembered(&key) {
        return Ok(known);
    }
    let wanted = id.to_owned();
    let known = app
        .stores
        .with(move |store| {
            let now = SystemClock.now();
            if by == Known::Session {
                return store.session_user(&wanted, now);
            }
            let tokens = store.api_tokens()?;
            let valid =
                tokens.into_iter().find(|token| token.id == wanted && token.until.is_none_or(|until| until > now));
            Ok::<_, StoreError>(valid.map(|token| (token.name, token.role)))
        })
        .await?;
    app.access.remember(&key, known.clone());
    Ok(known)
}

/// A session's secret is no token, and a token no session's.
fn remembered_as(id: &str, by: Known) -> String {
    format!("{by:?} {id}")
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The cookie's name; a browser takes one with this prefix by TLS only, for this host only.
fn cookie_name(app: &App) -> &'static str {
    if app.job.dashboard.privacy == Privacy::Plain { "wardwatch" } else { "__Host-wardwatch" }
}

fn session_token(app: &App, headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|value| Cookie::split_parse(value.to_owned())).filter_map(Result::ok);
    cookies.find(|cookie| cookie.name() == cookie_name(app)).map(|cookie| cookie.value().to_owned())
}

/// From where somebody asks; a proxy adds the address that it sees at the end.
pub(in crate::dashboard) fn address(app: &App, request: &Parts) -> Option<IpAddr> {
    let forwarded = || {
        let header = request.headers.get_all("x-forwarded-for").into_iter().next_back()?.to_str().ok()?;
        header.rsplit(',').next()?.trim().parse().ok()
    };
    let peer = request.extensions.get::<Peer>().map(|peer| peer.0);
    if app.job.dashboard.privacy == Privacy::Proxy { forwarded().or(peer) } else { peer }
}

/// A page elsewhere can make a browser ask here by another name that leads here (DNS rebinding), but not by these.
fn is_called_by_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    matches!(name, Some("localhost" | "127.0.0.1" | "::1"))
}

/// Whether a browser says that a page of ours asks, or says nothing.
pub(in crate::dashboard) fn same_site(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_ours = match text(&ORIGIN) {
        None => true,
        Some(origin) => {
            let named = origin.parse::<Uri>().ok().and_then(|origin| origin.authority().map(ToString::to_string));
            named.is_some() && named.as_deref() == text(&HOST)
        }
    };
    let site = text(&HeaderName::from_static("sec-fetch-site")).unwrap_or("same-origin");
    is_ours && matches!(site, "same-origin" | "none")
}

/// Hands a request on that changes nothing, or comes from a program, or bears the seal of a page of ours.
async fn believed(visitor: &Visitor, parts: Parts, body: Body) -> Result<Request, Problem> {
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe {
        return Ok(Request::from_parts(parts, body));
    }
    let bytes = axum::body::to_bytes(body, LONGEST_BODY).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, &format!("a request has {LONGEST_BODY} bytes at the most"))
    })?;
    if visitor.by != Known::Token {
        let header = parts.headers.get(&CSRF_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let seal = header.or_else(|| form_field(&parts.headers, &bytes, "csrf")).unwrap_or_default();
        if !same_site(&parts.headers) || !is_same(&seal, &visitor.csrf) {
            let message = "this does not come from a page of wardwatch, or the page is too old; open it anew";
            return Err(Problem::new(StatusCode::FORBIDDEN, message));
        }
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

fn form_field(headers: &HeaderMap, body: &Bytes, name: &str) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return None;
    }
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(body).ok()?;
    fields.into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
}

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub(in crate::dashboard) enum LogInError {
    /// Which of the two is not said.
    #[error("the name or the password is wrong")]
    Wrong,
    /// There were too many guesses.
    #[error("too many attempts; try again in {} s", .0.as_secs() + 1)]
    Wait(std::time::Duration),
    /// The store.
    #[error("the store does not answer; try again")]
    Store(#[source] StoreError),
}

/// Logs somebody in: a new session, whatever cookie the browser brought, and the way on.
pub(in crate::dashboard) async fn log_in(
    app: &App,
    address: Option<IpAddr>,
    (name, password): (String, String),
    next: &str,
) -> Result<Response, LogInError> {
    let from = address.map(|address| address.to_string()).unwrap_or_default();
    if let Some(wait) = app.access.throttle.lock().unwrap_or_else(PoisonError::into_inner).wait(&name, &from) {
        return Err(LogInError::Wait(wait));
    }
    let (secret, id) = new_secret();
    let length = TimeDelta::from_std(app.job.dashboard.session).unwrap_or(TimeDelta::hours(12));
    let (wanted, kept) = (name.clone(), id);
    let is_in = app.stores.with(move |store| {
        let user = store.users()?.into_iter().find(|user| user.name == wanted);
        let is_right = match &user {
            Some(user) => is_password(&password, &user.password),
            None => {
                waste_the_time_of_a_password(&password);
                false
            }
        };
        let role = user.as_ref().filter(|_| is_right).map_or("", |user| user.role.name());
        let what = if is_right { "log in" } else { "fail to log in" };
        store.note_audit(&audit_entry(&wanted, role, address, (what, "", "")))?;
        if is_right {
            let now = SystemClock.now();
            store.begin_session(&Session { id: kept, user: wanted, begun_at: now, until: now + length })?;
        }
        Ok::<_, StoreError>(is_right)
    });
    let is_in = is_in.await.map_err(LogInError::Store)?;
    let mut throttle = app.access.throttle.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_in {
        throttle.failed(&name, &from);
        return Err(LogInError::Wrong);
    }
    throttle.succeeded(&name, &from);
    drop(throttle);
    let cookie = Cookie::build((cookie_name(app), secret))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(app.job.dashboard.privacy != Privacy::Plain)
        .max_age(cookie::time::Duration::seconds(length.num_seconds()));
    // Only to pages of ours.
    let is_ours = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    let to = if is_ours && next.parse::<Uri>().is_ok() { next } else { "/" };
    Ok(([(SET_COOKIE, cookie.build().to_string())], redirect(to)).into_response())
}

impl LogInError {
    /// The status, and after how many seconds it may be tried again.
    pub(in crate::dashboard) fn status(&self) -> (StatusCode, Option<u64>) {
        match self {
            Self::Wrong => (StatusCode::UNAUTHORIZED, None),
            Self::Wait(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.as_secs() + 1)),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
        }
    }
}

/// Logs the visitor out and leads to the log-in page.
pub(in crate::dashboard) async fn log_out(
    app: &App,
    visitor: &Visitor,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if let Some(token) = session_token(app, headers) {
        let id = digest(&token);
        app.access.forget(&remembered_as(&id, Known::Session));
        let entry = visitor.did("log out", "", "");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
        pairs.collect()
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(is_called_by_loopback(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8080", "127.0.0.1.nip.io", "[::2]:80", ""] {
            assert!(!is_called_by_loopback(&headers(&[("host", host)])), "{host}");
        }
    }

    #[test]
    fn a_page_elsewhere_is_told_from_ours() {
        let check = |pairs: &[(&'static str, &'static str)], expected| assert_eq!(same_site(&headers(pairs)), expected);
        check(&[("host", "ward:80")], true);
        check(&[("host", "ward:80"), ("origin", "http://ward:80"), ("sec-fetch-site", "same-origin")], true);
        check(&[("host", "ward:80"), ("origin", "http://evil")], false);
        check(&[("host", "ward:80"), ("origin", "null")], false);
        check(&[("host", "ward:80"), ("sec-fetch-site", "cross-site")], false);
        check(&[("host", "ward:80"), ("sec-fetch-site", "same-site")], false);
    }
}
