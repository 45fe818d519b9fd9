//! The guard: finds out who asks, and lets nothing change that the asker did not mean to change.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use wardwatch_config::Privacy;
use wardwatch_listen::Peer;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::Role;
use wardwatch_store::{Registered, Store, StoreError};

use super::super::problem::Problem;
use super::super::words::encoded;
use super::here::why_not_here;
use super::log_in::session_token;
use super::secret::{csrf_token, digest, is_same};
use super::visitor::{Known, REMEMBERED, REMEMBERED_ALONE, Visitor, remembered_as};
use crate::app::App;
use crate::pages::frame::NoPage;
use crate::redirect::redirect;

/// Where scripts put what seals a form.
const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// The most bytes of a request; forms and JSON are short.
const LONGEST_BODY: usize = 64 * 1024;

/// Finds out who asks, and hands the request on with that, or says why not.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
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
pub(crate) fn told(path: &str, problem: Problem) -> Response {
    if is_for_programs(path) { problem.into_response() } else { NoPage::from(problem).into_response() }
}

fn is_for_programs(path: &str) -> bool {
    ["/api/", "/fhir/", "/metrics", "/events"].iter().any(|start| path.starts_with(start))
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
        return Ok(Some(Visitor { name, role, by: Known::Session, csrf: csrf_token(token.as_bytes()), address }));
    }
    if users(app).await? {
        return Ok(None);
    }
    if app.access.is_public {
        let message = "there are no users yet, so nobody may see this from elsewhere; `wardwatch users add` makes them";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let peer = request.extensions.get::<Peer>().map(|peer| peer.0);
    if let Some(why) = why_not_here(&app.job.dashboard.privacy, peer, request) {
        return Err(Problem::new(StatusCode::FORBIDDEN, &why));
    }
    let csrf = csrf_token(&app.access.secret);
    Ok(Some(Visitor { name: "local".to_owned(), role: Role::Admin, by: Known::Here, csrf, address }))
}

/// Whether there are users. There are none only where the store says so and nothing speaks against it.
async fn users(app: &App) -> Result<bool, Problem> {
    if app.access.remembers_users() {
        return Ok(true);
    }
    let are_there = match app.stores.with(Store::registered).await {
        Ok(Registered::Users) => true,
        Ok(Registered::NoTable) => return Err(shut(NO_TABLE)),
        Ok(Registered::Nobody) if app.access.has_seen_users() => return Err(shut(SEEN)),
        Ok(Registered::Gone) => return Err(shut(GONE)),
        Ok(Registered::Nobody) => false,
        // Users are kept in the store, so there are none more, and none fewer, than when it answered last.
        Err(StoreError::Unavailable(reason)) => {
            return app.access.had_users().ok_or_else(|| StoreError::Unavailable(reason).into());
        }
        Err(error) => return Err(error.into()),
    };
    app.access.remember_users(are_there);
    Ok(are_there)
}

const NO_TABLE: &str = "the store has no table \"users\" or no table \"audit\", so nobody knows who may see this: a job makes \
                        them when it starts for the first time; later, put back the one that is missing";
const GONE: &str = "there were users, and now there are none, though the last one cannot be removed: nobody is let in until \
                    `wardwatch users add` makes one or the table \"users\" is put back";
const SEEN: &str = "there were users when this page was asked before, and now there are none: nobody is let in until \
                    `wardwatch users add` makes one, the table \"users\" is put back, or the page is started again";

/// What keeps everybody out, and has to be mended by whoever has the store.
fn shut(why: &str) -> Problem {
    tracing::error!(why, "nobody is let in");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Whose cookie or token has this digest.
async fn known(app: &App, id: &str, by: Known) -> Result<Option<(String, Role)>, StoreError> {
    let key = remembered_as(id, by);
    if let Some(known) = app.access.remembered(&key, REMEMBERED) {
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
        .await;
    match known {
        Ok(known) => {
            if by == Known::Session && known.is_some() {
                app.access.note_user();
            }
            app.access.remember(&key, known.clone());
            Ok(known)
        }
        Err(StoreError::Unavailable(reason)) => {
            let known = app.access.remembered(&key, REMEMBERED_ALONE).filter(Option::is_some);
            known.ok_or(StoreError::Unavailable(reason))
        }
        Err(error) => Err(error),
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// From where somebody asks; a proxy adds the address that it sees at the end.
pub(crate) fn address(app: &App, request: &Parts) -> Option<IpAddr> {
    let forwarded = || {
        let header = request.headers.get_all("x-forwarded-for").into_iter().next_back()?.to_str().ok()?;
        forwarded_address(header.rsplit(',').next()?)
    };
    let peer = request.extensions.get::<Peer>().map(|peer| peer.0);
    if app.job.dashboard.privacy == Privacy::Proxy { forwarded().or(peer) } else { peer }
}

/// The address that a proxy has put down; some put the port beside it, and brackets around it.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Whether a browser says that a page of ours asks, or says nothing.
pub(crate) fn same_site(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_ours = match text(&ORIGIN) {
        None => true,
        Some(origin) => is_origin_of(origin, text(&HOST).unwrap_or_default()),
    };
    let site = text(&HeaderName::from_static("sec-fetch-site")).unwrap_or("same-origin");
    is_ours && matches!(site, "same-origin" | "none")
}

/// Whether a page of `origin` is one of `host`. Names are the same in small and in large letters, and some proxies put down
/// the port that a browser leaves out because it is the scheme's own.
fn is_origin_of(origin: &str, host: &str) -> bool {
    let (Ok(origin), Ok(host)) = (origin.parse::<Uri>(), host.parse::<Authority>()) else { return false };
    let Some(asking) = origin.authority() else { return false };
    let usual = if origin.scheme_str() == Some("https") { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(usual);
    asking.host().eq_ignore_ascii_case(host.host()) && port(asking) == port(&host)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
        pairs.collect()
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
        // As proxies hand it on: by IPv6, in large letters, with the port that browsers leave out.
        check(&[("host", "[2001:db8::1]:8443"), ("origin", "https://[2001:db8::1]:8443")], true);
        check(&[("host", "[2001:db8::2]:8443"), ("origin", "https://[2001:db8::1]:8443")], false);
        check(&[("host", "Ward.Example"), ("origin", "https://ward.example")], true);
        check(&[("host", "ward.example:443"), ("origin", "https://ward.example")], true);
        check(&[("host", "ward.example:8443"), ("origin", "https://ward.example")], false);
        check(&[("host", "ward.example"), ("origin", "http://ward.example:8080")], false);
        check(&[("origin", "http://ward.example")], false);
    }

    #[test]
    fn an_address_is_read_however_a_proxy_writes_it() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(forwarded_address(text), expected.map(|text| text.parse().expect("an address")), "{text}");
        };
        check(" 192.0.2.5", Some("192.0.2.5"));
        check("192.0.2.5:4711", Some("192.0.2.5"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("\"[2001:db8::1]:4711\"", Some("2001:db8::1"));
        check("unknown", None);
        check("", None);
    }
}
