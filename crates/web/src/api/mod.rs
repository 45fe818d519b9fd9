//! The same facts as JSON, for programs: described by OpenAPI, by pages with cursors, with entity tags, and vitals as FHIR.

mod alerts;
mod asked;
mod coverage;
mod fhir;
mod job;
mod patients;
mod time;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::secret::digest;
use super::app::App;
use super::problem::Problem;

/// The longest body that gets an entity tag.
const LONGEST: usize = 64 * 1024 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wardwatch",
        description = "Patients, vitals, alerts, limits and batches of a job. For demonstration and research; no medical device.",
        version = "1"
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("a token that `wardwatch users token` has made"))
            .build();
        description.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn described() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(patients::patients))
        .routes(routes!(patients::patient))
        .routes(routes!(patients::vitals))
        .routes(routes!(coverage::coverage))
        .routes(routes!(patients::limits, patients::set_limit))
        .routes(routes!(alerts::alerts))
        .routes(routes!(alerts::alert))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alerts::silences, alerts::silence))
        .routes(routes!(alerts::end_silence))
        .routes(routes!(job::batches))
        .routes(routes!(job::status))
        .routes(routes!(fhir::observations))
        .split_for_parts()
}

/// Everything under `/api` and `/fhir`.
pub(super) fn routes() -> Router<App> {
    let (routes, _) = described();
    let text = description();
    routes
        .route("/api/v1/openapi.json", get(async move || ([("content-type", "application/json")], text.clone())))
        .layer(from_fn(tagged))
}

/// The OpenAPI description.
#[must_use]
pub fn description() -> String {
    let (_, description) = described();
    description.to_pretty_json().unwrap_or_else(|error| panic!("a description is JSON: {error}"))
}

/// Tags answers, so that whoever asks again is told when nothing has changed.
async fn tagged(request: Request, next: Next) -> Response {
    let known = request.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).map(str::to_owned);
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = next.run(request).await;
    if !is_reading || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, answer) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(answer, LONGEST).await else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer is too long").into_response();
    };
    let tag = format!("\"{}\"", &digest(&String::from_utf8_lossy(&bytes))[..24]);
    if let Ok(value) = tag.parse() {
        parts.headers.insert(ETAG, value);
    }
    // It may be kept for asking again, but for nothing else, and by nobody else.
    parts.headers.insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("private, no-cache"));
    let is_known = known.is_some_and(|known| {
        known.split(',').any(|one| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag)
    });
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(axum::http::header::CONTENT_TYPE);
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
