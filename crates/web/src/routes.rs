//! What is where, and the headers that every answer has.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio_stream::wrappers::BroadcastStream;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use wardwatch_config::Privacy;
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_store::StoreError;

use super::access::viewing::audit_view;
use super::access::visitor::Visitor;
use super::access::{guard, told};
use super::app::App;
use super::problem::Problem;
use super::{api, assets, metrics, pages};

/// How long an answer may take; streams of events are answered at once and then go on.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// A stream of events ends after so long, and the browser asks for it again: so one who logged out, or is removed, gets no
/// more.
const STREAM_LASTS: Duration = Duration::from_secs(300);

/// No script and no style but our own files, nothing from anywhere else, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Everything that is served.
pub(super) fn routes(app: App) -> Router {
    let guarded = Router::new()
        .route("/", get(pages::ward))
        .route("/patients/{patient}", get(pages::patient))
        .route("/patients/{patient}/chart", get(pages::chart))
        .route("/patients/{patient}/chart.png", get(pages::picture))
        .route("/patients/{patient}/limits", post(pages::set_limit))
        .route("/alerts", get(pages::alerts))
        .route("/alerts/acknowledge", post(pages::acknowledge))
        .route("/alerts/quiet", post(pages::quiet))
        .route("/alerts/end", post(pages::end_quiet))
        .route("/alerts/{episode}", get(pages::alert))
        .route("/reports", get(pages::reports))
        .route("/reports/{*file}", get(pages::report_file))
        .route("/job", get(pages::job))
        .route("/logout", post(pages::log_out))
        .route("/events", get(events))
        .route("/metrics", get(prometheus))
        .merge(api::routes())
        .fallback(async |uri: Uri| told(uri.path(), Problem::not_found("there is no such page")))
        .layer(from_fn_with_state(app.clone(), guard));
    let worth_it = DefaultPredicate::new().and(NotForContentType::new("text/event-stream"));
    let routes = Router::new()
        .merge(guarded)
        .route("/login", get(pages::log_in_form).post(pages::log_in))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .merge(assets::routes())
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "there is such a page, but not for this method")
        })
        .layer(DefaultBodyLimit::max(64 * 1024))
        .layer(from_fn(in_time))
        .layer(CompressionLayer::new().compress_when(worth_it))
        .layer(from_fn_with_state(app.clone(), headers));
    routes.with_state(app)
}

/// Gives up on what takes too long, such as a body that never comes.
async fn in_time(request: Request, next: Next) -> Response {
    // A panic over one request ends neither the page nor the job, and who asked is told.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(ANSWERED_WITHIN, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            let message = "this request made wardwatch panic; its log says where";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "this took too long").into_response(),
    }
}

async fn headers(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    // Nothing of a patient stays on a disk.
    set(CACHE_CONTROL, "no-store");
    if app.job.dashboard.privacy != Privacy::Plain {
        set(STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

/// Whether the store answers, the page and the job alike.
async fn ready(State(app): State<App>) -> Response {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    if let Some(trouble) = app.services.trouble() {
        return unready(trouble.reason());
    }
    match app.stores.with(|store| store.has_tables()).await {
        Ok(true) => "ready\n".into_response(),
        Ok(false) => unready("the job has not run yet"),
        Err::<_, StoreError>(_) => unready("the store does not answer"),
    }
}

/// While the store does not answer, or cannot be read, what is known without it.
async fn prometheus(State(app): State<App>) -> Response {
    let (job, trouble) = (app.job.clone(), app.services.trouble());
    let known = trouble.clone();
    let now = SystemClock.now();
    let read = app.stores.with(move |store| metrics::metrics(store, &job, known.as_ref(), now)).await;
    let text = match read {
        Ok(text) => text,
        Err::<_, StoreError>(error) => {
            tracing::warn!(%error, "the metrics are told from memory");
            let trouble = app.services.trouble().or(trouble);
            metrics::without_store(&app.live.ward(), trouble.as_ref(), error.complaint(), now)
        }
    };
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// A page that has heard nothing for so long is told that the line is alive: the thread that tells them waits for the store.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);

/// Everything, then what changes. A page that does not keep up is told everything anew, so nothing is kept for it.
async fn events(State(app): State<App>, Extension(visitor): Extension<Visitor>) -> Result<Response, Problem> {
    audit_view(&app, &visitor, "the ward").await?;
    let heard = BroadcastStream::new(app.live.events());
    let first = app.live.whole();
    let news = stream::unfold((heard, app.live.clone()), |(mut heard, live)| async move {
        let event = match tokio::time::timeout(HEARD_WITHIN, heard.next()).await {
            Ok(news) => news?.unwrap_or_else(|_| live.whole()),
            Err(_) => live.beat(),
        };
        Some((event, (heard, live)))
    });
    let running = Stopwatch::start();
    let mut stop = app.stop.clone();
    let events = stream::once(async { first })
        .chain(news)
        .take_while(move |_| std::future::ready(running.elapsed() < STREAM_LASTS))
        .take_until(async move { drop(stop.changed().await) })
        .map(Ok::<_, std::convert::Infallible>);
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response())
}
