//! Messages by HTTP: JSON, FHIR or anything, each body a record; and what Prometheus reads.

use std::error::Error as _;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::LengthLimitError;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use wardwatch_listen::Peer;

use crate::door::{Refusal, Via};
use crate::intake::{Arrived, InKafka, Intake, sender};

/// What requests share.
#[derive(Clone)]
struct Shared {
    intake: Arc<Intake>,
    /// The digest of what a sender must know; `None` where none is let in.
    token: Option<[u8; 32]>,
}

/// What is answered to whom.
pub(crate) fn routes(intake: Arc<Intake>, token: Option<&str>) -> Router {
    let shared = Shared { intake, token: token.map(|token| Sha256::digest(token).into()) };
    Router::new()
        .route("/", post(record))
        .route("/records", post(record))
        .route("/fhir", post(fhir))
        .route("/fhir/{kind}", post(fhir_of_kind))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, "there is nothing here; POST /records, POST /fhir, GET /metrics")
        })
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = shared.intake.metrics.text(shared.intake.taken());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// What may be said of a record in its address.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    key: Option<String>,
}

async fn record(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    said: Result<Query<Said>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    let Ok(Query(said)) = said else {
        return problem(StatusCode::BAD_REQUEST, "the address may say ?key=, once, and nothing else");
    };
    match take(&shared, peer, said.key.as_deref(), request, Check::AsDeclared).await {
        Ok(in_kafka) => (StatusCode::ACCEPTED, Json(told(&in_kafka))).into_response(),
        Err(refused) => refused.into_problem(),
    }
}

async fn fhir(state: State<Shared>, peer: Extension<Peer>, request: Request) -> Response {
    take_fhir(state, peer, request, None).await
}

async fn fhir_of_kind(
    state: State<Shared>,
    peer: Extension<Peer>,
    Path(kind): Path<String>,
    request: Request,
) -> Response {
    take_fhir(state, peer, request, Some(&kind)).await
}

async fn take_fhir(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    request: Request,
    kind: Option<&str>,
) -> Response {
    match take(&shared, peer, None, request, Check::Fhir(kind)).await {
        Ok(in_kafka) => {
            let rejected = in_kafka.will_be.iter().flat_map(|will_be| &will_be.reasons);
            let mut issues: Vec<Value> = rejected.map(|reason| issue("warning", "invalid", reason)).collect();
            let place = format!("taken: partition {}, offset {}", in_kafka.partition, in_kafka.offset);
            issues.insert(0, issue("information", "informational", &place));
            outcome(StatusCode::ACCEPTED, issues)
        }
        Err(refused) => {
            let code = match refused.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "security",
                StatusCode::PAYLOAD_TOO_LARGE => "too-long",
                StatusCode::SERVICE_UNAVAILABLE => "transient",
                _ => "invalid",
            };
            let mut response = outcome(refused.status, vec![issue("error", code, &refused.reason)]);
            refused.advise(response.headers_mut());
            response
        }
    }
}

fn issue(severity: &str, code: &str, text: &str) -> Value {
    json!({ "severity": severity, "code": code, "diagnostics": text })
}

fn outcome(status: StatusCode, issues: Vec<Value>) -> Response {
    let body = json!({ "resourceType": "OperationOutcome", "issue": issues }).to_string();
    (status, [(CONTENT_TYPE, "application/fhir+json")], body).into_response()
}

fn told(in_kafka: &InKafka) -> Value {
    let mut told = json!({ "partition": in_kafka.partition, "offset": in_kafka.offset });
    if let Some(will_be) = &in_kafka.will_be {
        told["rows"] = will_be.rows.into();
        told["rejected"] = will_be.rejected.into();
        if will_be.rejected > 0 {
            told["reasons"] = will_be.reasons.clone().into();
        }
    }
    told
}

/// What is looked at before a body is taken.
enum Check<'a> {
    /// JSON where it says that it is.
    AsDeclared,
    /// A resource of FHIR, of this kind if one is named.
    Fhir(Option<&'a str>),
}

/// Why nothing was taken.
struct Refused {
    status: StatusCode,
    reason: String,
}

impl Refused {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    fn into_problem(self) -> Response {
        let mut response = problem(self.status, &self.reason);
        self.advise(response.headers_mut());
        response
    }

    /// What a sender can do about it.
    fn advise(&self, headers: &mut HeaderMap) {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, 5.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::TooLong { .. } | Refusal::TooLongForKafka { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Unreadable(_) | Refusal::Unfinished(_) => StatusCode::BAD_REQUEST,
            Refusal::Full | Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.to_string())
    }
}

/// A problem as RFC 9457 writes it.
fn problem(status: StatusCode, reason: &str) -> Response {
    let body = json!({ "status": status.as_u16(), "title": status.canonical_reason(), "detail": reason }).to_string();
    (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// A request that is looked after, as long as it is.
struct Counted<'i>(&'i Intake);

impl<'i> Counted<'i> {
    fn new(intake: &'i Intake) -> Self {
        intake.metrics.connected(Via::Http);
        Self(intake)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.disconnected(Via::Http);
    }
}

/// Takes the body of a request.
async fn take(
    shared: &Shared,
    Peer(peer): Peer,
    key: Option<&str>,
    request: Request,
    check: Check<'_>,
) -> Result<InKafka, Refused> {
    let intake = &shared.intake;
    let _counted = Counted::new(intake);
    let (head, body) = request.into_parts();
    may_send(shared.token.as_ref(), &head.headers)?;
    let refused = |refusal: Refusal| {
        intake.metrics.refused(Via::Http, &refusal);
        Refused::from(refusal)
    };
    let text = |name| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let declared: Option<usize> = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let longest = intake.longest();
    if declared.is_some_and(|length| length > longest) {
        return Err(refused(Refusal::TooLong { longest }));
    }
    let arriving = intake.room_to_arrive(declared.unwrap_or(longest)).await.map_err(refused)?;
    let body = to_bytes(Body::new(body), longest);
    let body = match tokio::time::timeout(BODY_WITHIN, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            return Err(refused(Refusal::TooLong { longest }));
        }
        Ok(Err(_)) => return Err(refused(Refusal::Unfinished("the body ends before its end"))),
        Err(_) => return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the body does not come")),
    };
    let _waiting = intake.room_to_wait(body.len()).await.map_err(refused)?;
    drop(arriving);
    let (kind, encoding) = (text(CONTENT_TYPE).unwrap_or_default(), text(CONTENT_ENCODING).unwrap_or_default());
    check.look(&kind, &encoding, &body).map_err(|reason| refused(Refusal::Unreadable(reason)))?;
    let sender = sender(peer);
    let mut headers = vec![("peer", sender.clone())];
    headers.extend((!kind.is_empty()).then_some(("content-type", kind)));
    headers.extend((!encoding.is_empty()).then_some(("content-encoding", encoding)));
    let arrived = Arrived { via: Via::Http, key, sender: &sender, headers, payload: &body };
    Ok(intake.put(&arrived).await?)
}

/// How long a sender may take for a body.
const BODY_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Whether a sender knows the token.
fn may_send(token: Option<&[u8; 32]>, headers: &HeaderMap) -> Result<(), Refused> {
    let Some(token) = token else {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "nothing is taken by HTTP: there is no token; set WARDWATCH_GATEWAY_TOKEN, or [gateway] token in the job file",
        ));
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    // Digests are compared: how long that takes says nothing of the token.
    match given {
        Some((_, given)) if <[u8; 32]>::from(Sha256::digest(given.trim())) == *token => Ok(()),
        Some(_) => Err(Refused::new(StatusCode::UNAUTHORIZED, "this is not the token")),
        None => Err(Refused::new(StatusCode::UNAUTHORIZED, "say who asks: Authorization: Bearer TOKEN")),
    }
}

impl Check<'_> {
    /// Looks at a body.
    ///
    /// Errors: what is wrong with it.
    fn look(&self, kind: &str, encoding: &str, body: &[u8]) -> Result<(), String> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err("the body is empty".to_owned());
        }
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_encoded = !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity");
        match self {
            // The job's form says what is taken off.
            Self::AsDeclared if is_encoded => Ok(()),
            Self::AsDeclared if kind == "application/json" || kind.ends_with("+json") => {
                values::<IgnoredAny>(body).map(drop)
            }
            Self::AsDeclared => Ok(()),
            Self::Fhir(_) if is_encoded => Err(format!("FHIR is taken as it is, not as {encoding}")),
            Self::Fhir(_) if kind.contains("xml") => {
                Err("FHIR is taken as JSON: Content-Type: application/fhir+json".to_owned())
            }
            Self::Fhir(wanted) => {
                let resources = values::<Resource>(body)?;
                let [Resource { kind: found }] = &resources[..] else {
                    return Err("the body must be one resource of FHIR".to_owned());
                };
                match (found, wanted) {
                    (None, _) => Err("the body is no resource of FHIR: it has no resourceType".to_owned()),
                    (Some(found), Some(wanted)) if found != *wanted => {
                        Err(format!("the address says {wanted}, and the body is a resource of type {found}"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// What is looked at of a resource of FHIR.
#[derive(serde::Deserialize)]
struct Resource {
    #[serde(rename = "resourceType")]
    kind: Option<String>,
}

/// The values of JSON in a body: one, or one behind the other.
fn values<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let values = serde_json::Deserializer::from_slice(body).into_iter().collect::<Result<Vec<T>, _>>();
    values.map_err(|error| format!("the body is not valid JSON: {error}"))
}
