//! What takes messages at the door of a hospital's network and puts them on a job's topic, as they are.
//!
//! ```text
//!   devices, engines ── MLLP ──▶┐                       ┌──▶ Kafka (acks = all)
//!   apps, FHIR servers ─ HTTP ─▶│ Intake: room, key,    │
//!   boxes ─▶ broker ◀── MQTT ───┘ headers of the origin ┘◀── what became of it ─▶ ACK, 202, PUBACK
//! ```
//!
//! Nobody is told that a message was taken before Kafka has it; whoever is told nothing sends it again, so a message comes at least
//! once. It makes no rows: what the job cannot read is a reject of the job's, with its bytes, and can be replayed.

mod acknowledgement;
mod door;
mod error;
mod http;
mod intake;
mod metrics;
mod mllp;
mod mqtt;
mod reading;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use wardwatch_config::{GatewaySpec, Job};
use wardwatch_listen::{Listener, Tls};
use wardwatch_model::telemetry::{Panicked, join};

use door::Via;
use intake::Intake;

pub use error::GatewayError;

/// Threads that look after connections.
const WORKERS: usize = 2;

/// A gateway that takes messages until it is stopped.
#[derive(Debug)]
pub struct Gateway {
    mllp: Option<SocketAddr>,
    http: Option<SocketAddr>,
    is_encrypted: bool,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    reading: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Takes messages as `spec` says, for the topic of `job`; port 0 takes any free one. Asks `stopped` while it waits for Kafka.
    ///
    /// # Errors
    /// Nowhere to take them, no topic to put them on, an address that is taken, Kafka that does not answer.
    pub fn start(job: &Job, spec: &GatewaySpec, stopped: &dyn Fn() -> bool) -> Result<Self, GatewayError> {
        if spec.mllp.is_none() && spec.http.is_none() && spec.mqtt.is_none() {
            return Err(GatewayError::Nowhere);
        }
        let topic = topic(job, spec)?;
        let bind = |address: SocketAddr| {
            let tls = spec.certificate.as_ref().map(|(certificate, key)| Tls { certificate, key });
            Listener::bind(address, tls, spec.max_connections)
        };
        // Addresses first: what is wrong with them is known at once.
        let mllp = spec.mllp.map(bind).transpose()?;
        let http = spec.http.map(bind).transpose()?;
        let (intake, reading) = Intake::new(job, spec, &topic, stopped)?;
        let intake = Arc::new(intake);
        if spec.http.is_some() && spec.token.is_none() {
            tracing::warn!(
                "nothing is taken by HTTP: there is no token; set WARDWATCH_GATEWAY_TOKEN, or [gateway] token"
            );
        }
        let address = |listener: &Option<Listener>| listener.as_ref().map(Listener::address).transpose();
        let (mllp_address, http_address) = (address(&mllp)?, address(&http)?);
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        let (mqtt, token, name) = (spec.mqtt.clone(), spec.token.clone(), job.name.clone());
        let thread = std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut doors = JoinSet::new();
                if let Some(listener) = mllp {
                    doors.spawn(mllp::serve(listener, Arc::clone(&intake), stopping.clone()));
                }
                if let Some(listener) = http {
                    let routes = http::routes(Arc::clone(&intake), token.as_deref());
                    let stopping = stopping.clone();
                    let counted = Arc::clone(&intake);
                    let full = move || counted.metrics.turned_away(Via::Http);
                    doors.spawn(async move { listener.serve(routes, stopping, full).await });
                }
                if let Some(broker) = mqtt {
                    doors.spawn(mqtt::fetch(broker, name, Arc::clone(&intake), stopping));
                }
                while let Some(ended) = doors.join_next().await {
                    match ended {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::error!(%error, "messages are not taken any more"),
                        Err(error) => tracing::error!(%error, "a door of the gateway has failed"),
                    }
                }
                intake.settle().await;
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self {
            mllp: mllp_address,
            http: http_address,
            is_encrypted: spec.certificate.is_some(),
            stop,
            thread,
            reading,
        })
    }

    /// Where it takes HL7 v2 by MLLP.
    #[must_use]
    pub fn mllp(&self) -> Option<String> {
        let scheme = if self.is_encrypted { "mllps" } else { "mllp" };
        self.mllp.map(|address| format!("{scheme}://{address}"))
    }

    /// Where it takes messages by HTTP.
    #[must_use]
    pub fn http(&self) -> Option<String> {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        self.http.map(|address| format!("{scheme}://{address}/"))
    }

    /// Whether it takes nothing any more, though nobody has stopped it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Takes nothing new, and ends once it is known what became of what was taken.
    ///
    /// # Errors
    /// It had ended before.
    pub fn stop(self) -> Result<(), Panicked> {
        let had_ended = self.has_ended();
        // Nobody listens where the thread has ended already.
        let _ = self.stop.send(true);
        join(self.thread)?;
        self.reading.map_or(Ok(()), join)?;
        if had_ended { Err(Panicked::of("gateway")) } else { Ok(()) }
    }
}

/// The topic that messages are put on.
fn topic(job: &Job, spec: &GatewaySpec) -> Result<String, GatewayError> {
    let topics = &job.source.topics;
    match (&spec.topic, topics.only()) {
        (Some(topic), _) if !topics.takes(topic) => {
            Err(GatewayError::NotRead { topic: topic.clone(), topics: topics.to_string() })
        }
        (Some(topic), _) => Ok(topic.clone()),
        (None, Some(topic)) => Ok(topic.to_owned()),
        (None, None) => Err(GatewayError::WhichTopic { topics: topics.to_string() }),
    }
}
