//! The live page: the ward, each patient, alerts, reports and the job, for people and, as JSON, for programs; and what
//! Prometheus reads.
//!
//! It reads what was committed and can neither delay nor lose a batch. It is served by the job itself or by any number of
//! other processes.
//!
//! ```text
//!   store ─▶ live (a thread) ─▶ the ward as it is ─▶ pages/ api/      for whoever the guard (access/) lets in
//!                    └─────────▶ events ─▶ open pages
//! ```

mod access;
mod actions;
mod api;
mod app;
mod assets;
mod error;
mod event;
mod live;
mod metrics;
mod pages;
mod patient_state;
mod problem;
mod redirect;
mod routes;
mod services;
mod stores;
mod view;
mod vitals;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::watch;

use wardwatch_config::{Job, Privacy};
use wardwatch_listen::{Listener, Tls};
use wardwatch_model::health::Health;
use wardwatch_model::telemetry::{Panicked, join};
use wardwatch_store::{Registered, Store};

use access::audit::LateAudit;
use access::state::Access;
use app::{App, Shared};
use live::Live;
use services::Services;
use stores::Stores;

pub use access::secret::new_secret;
pub use access::{PasswordError, hash_password};
pub use api::description;
pub use error::ServeError;

/// A page that is served until it is stopped.
#[derive(Debug)]
pub struct Page {
    address: SocketAddr,
    scheme: &'static str,
    stop: watch::Sender<bool>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Page {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    /// Whether it is not served any more, though nobody has stopped it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends it.
    ///
    /// # Errors
    /// It had ended before.
    pub fn stop(self) -> Result<(), Panicked> {
        let had_ended = self.has_ended();
        self.stopped.store(true, Ordering::Relaxed);
        // Nobody listens where the thread has ended already.
        let _ = self.stop.send(true);
        let ended: Vec<Result<(), Panicked>> = self.threads.into_iter().map(join).collect();
        ended.into_iter().collect::<Result<(), _>>()?;
        // The log says why it could not be served.
        if had_ended { Err(Panicked::of("page")) } else { Ok(()) }
    }
}

/// Serves the pages of `job` at `listen`, on threads of their own; port 0 takes any free one. `health` is of the job that runs in
/// this process, if it does: pages tell by it what the store cannot be asked for.
///
/// # Errors
/// The address is taken, others could reach it and there are no users, or the certificate is of no use. A store that does
/// not answer is no error: pages say so, and nobody is let in until it does.
pub fn serve(job: &Job, listen: SocketAddr, health: Option<&Health>) -> Result<Page, ServeError> {
    let is_public = !listen.ip().is_loopback();
    if is_public {
        let users = Store::connect(&job.store, &job.name).and_then(|mut store| store.registered());
        match users {
            Ok(Registered::Users) => {}
            Ok(_) => return Err(ServeError::NoUsers { address: listen }),
            Err(error) => tracing::warn!(%error, "nobody is let in until the store answers"),
        }
    }
    let tls = match &job.dashboard.privacy {
        Privacy::Tls { certificate, key } => Some(Tls { certificate, key }),
        Privacy::Plain | Privacy::Proxy => None,
    };
    let listener = Listener::bind(listen, tls, job.dashboard.max_connections)?;
    let address = listener.address()?;
    let (stop, stopping) = watch::channel(false);
    let stopped = Arc::new(AtomicBool::new(false));
    let (services, late) = (Services::new(health), LateAudit::default());
    let app = App(Arc::new(Shared {
        job: job.clone(),
        stores: Stores::new(&job.store, &job.name, services.store()),
        live: Live::new(job, services.clone(), late.clone()),
        services,
        access: Access::new(is_public, late),
        stop: stopping.clone(),
    }));
    let asked = app.clone();
    let reading = app.live.start(job, Arc::clone(&stopped), move |registered| asked.access.note_users(&registered))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("page".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(listener.serve(routes::routes(app), stopping, || {})) {
            tracing::error!(%error, "the page is not served any more");
        }
        runtime.shutdown_background();
    })?;
    let scheme = if matches!(job.dashboard.privacy, Privacy::Tls { .. }) { "https" } else { "http" };
    Ok(Page { address, scheme, stop, stopped, threads: vec![reading, thread] })
}
