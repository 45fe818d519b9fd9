//! The live page: the newest values of each patient, open alerts, a chart on request; and what Prometheus reads.
//!
//! It reads what was committed and can neither delay nor lose a batch. It is bound to loopback and knows no users.

mod metrics;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use crate::clock::{Clock, SystemClock};
use crate::config::Job;
use crate::report::{PatientChart, PictureSize, ReportError, patient_chart, png};
use crate::store::{Store, StoreError};

/// How much time a chart of the page shows.
const CHART_SPAN: Duration = Duration::from_secs(600);

/// A page that is served until it is stopped.
#[derive(Debug)]
pub struct Page {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Page {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends it.
    pub fn stop(self) {
        // The receiver is gone only where the thread has ended already.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the page's thread panicked");
        }
    }
}

/// Serves the live page of `job`, on its own thread; port 0 takes any free one.
///
/// # Errors
/// The port is taken.
pub fn serve(job: &Job, listen: SocketAddr) -> std::io::Result<Page> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = Router::new()
        .route("/", get(ward))
        .route("/chart/{patient}", get(chart))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(job.clone()));
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("page".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let stopped = async { drop(stopped.await) };
            tokio::select! {
                served = axum::serve(listener, routes) => served,
                () = stopped => Ok(()),
            }
        });
        if let Err(error) = served {
            tracing::error!(%error, "the page is not served any more");
        }
        runtime.shutdown_background();
    })?;
    Ok(Page { address, stop, thread })
}

async fn ward(State(job): State<Arc<Job>>) -> Response {
    let read = tokio::task::spawn_blocking(move || page::ward(&job, SystemClock.now())).await;
    match read {
        Ok(Ok(page)) => Html(page).into_response(),
        Ok(Err(error)) => unavailable(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn chart(State(job): State<Arc<Job>>, Path(patient): Path<String>) -> Response {
    let draw = move || {
        let mut store = Store::connect(&job.store, &job.name)?;
        let wanted = PatientChart { patient, span: CHART_SPAN, until: None };
        let chart = patient_chart(&mut store, &job, &wanted, SystemClock.now())?;
        Ok::<_, ReportError>(png(&chart.svg()?, PictureSize { width: 1_800, dpi: 144 })?)
    };
    match tokio::task::spawn_blocking(draw).await {
        Ok(Ok(picture)) => {
            ([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "no-store")], picture).into_response()
        }
        Ok(Err(error @ ReportError::NoPatient { .. })) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(job): State<Arc<Job>>) -> Response {
    match tokio::task::spawn_blocking(move || metrics::metrics(&job)).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The page's own refresh tries again.
fn unavailable(error: &StoreError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::REFRESH, "2")], error.to_string()).into_response()
}
