//! The one way from any door to Kafka: room for the message, its key and headers, and what became of it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use wardwatch_config::{GatewaySpec, Job};
use wardwatch_kafka::{Outgoing, PublishError, Publisher};
use wardwatch_model::clock::{Clock, SystemClock};

use crate::GatewayError;
use crate::metrics::Metrics;
use crate::reading::{Reading, WillBe};

/// Room is given by so many bytes.
const UNIT: usize = 1_024;

/// By which door a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Mllp,
    Http,
    Mqtt,
}

impl Via {
    pub(crate) const ALL: [Self; 3] = [Self::Mllp, Self::Http, Self::Mqtt];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mllp => "mllp",
            Self::Http => "http",
            Self::Mqtt => "mqtt",
        }
    }
}

/// A message that has come.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) via: Via,
    /// What its sender wants as its key.
    pub(crate) key: Option<&'a str>,
    /// What it is kept in order by where it is of no one patient or device: its sender.
    pub(crate) sender: &'a str,
    /// What is told of its origin.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: &'a [u8],
}

/// What became of a message that Kafka has.
#[derive(Debug)]
pub(crate) struct InKafka {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// What the job will make of it, where that is known.
    pub(crate) will_be: Option<WillBe>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It will never be.
    #[error("the message is longer than {longest} bytes")]
    TooLong {
        /// What is allowed.
        longest: usize,
    },
    /// It will never be.
    #[error("{0}")]
    Unreadable(String),
    /// Others wait; later it may be.
    #[error("so much waits for Kafka that there is no room for it; send it again later")]
    Full,
    /// Later it may be.
    #[error("Kafka did not take it; send it again later")]
    Unavailable,
}

impl Refusal {
    /// Whether it is of no use to send the message again as it is.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::Unreadable(_))
    }

    /// Its name in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Unreadable(_) => "unreadable",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Room for a message, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// Where all messages go through.
pub(crate) struct Intake {
    publisher: Publisher,
    /// `None` where it is not known what the job will make of a message.
    reading: Option<Mutex<Reading>>,
    room: Arc<Semaphore>,
    units: u32,
    longest: usize,
    patience: Duration,
    pub(crate) metrics: Metrics,
}

impl Intake {
    /// One for `topic`; waits for Kafka.
    pub(crate) fn new(
        job: &Job,
        spec: &GatewaySpec,
        topic: &str,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, GatewayError> {
        let reading = Reading::of(job).map_err(GatewayError::Forms)?.map(Mutex::new);
        let publisher =
            Publisher::connect(&job.source, topic, spec.patience, spec.max_message, spec.max_waiting, stopped)?;
        let units = u32::try_from(spec.max_waiting.div_ceil(UNIT)).unwrap_or(u32::MAX >> 3);
        Ok(Self {
            publisher,
            reading,
            room: Arc::new(Semaphore::new(units as usize)),
            units,
            longest: spec.max_message,
            patience: spec.patience,
            metrics: Metrics::default(),
        })
    }

    /// The most bytes of a message.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Room for a message of at most `bytes`, once there is.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, Refusal> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        let permit = Arc::clone(&self.room).acquire_many_owned(units);
        match timeout(self.patience, permit).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Full),
        }
    }

    /// Bytes that wait, with what is kept for them.
    pub(crate) fn waiting(&self) -> usize {
        (self.units as usize).saturating_sub(self.room.available_permits()) * UNIT
    }

    /// Puts a message on the topic. Its room is held until the caller has told its sender.
    pub(crate) async fn put(&self, arrived: &Arrived<'_>) -> Result<InKafka, Refusal> {
        let put = self.try_put(arrived).await;
        match &put {
            Ok(in_kafka) => {
                let rejected = in_kafka.will_be.as_ref().map_or(0, |will_be| will_be.rejected);
                self.metrics.took(arrived.via, arrived.payload.len(), rejected);
            }
            Err(refusal) => self.metrics.refused(arrived.via, refusal),
        }
        put
    }

    async fn try_put(&self, arrived: &Arrived<'_>) -> Result<InKafka, Refusal> {
        if arrived.payload.len() > self.longest {
            return Err(Refusal::TooLong { longest: self.longest });
        }
        let now = SystemClock.now();
        let given = arrived.key.unwrap_or(arrived.sender);
        let will_be = self.reading.as_ref().map(|reading| {
            let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
            reading.read(arrived, given, now.timestamp_millis())
        });
        let patient = will_be.as_ref().and_then(|will_be| will_be.of.as_deref());
        let key = arrived.key.or(patient).unwrap_or(arrived.sender);
        let received = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut headers = vec![("via", arrived.via.name()), ("received", received.as_str())];
        headers.extend(arrived.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let (tell, told) = oneshot::channel();
        self.publisher.publish(Outgoing { key, headers: &headers, payload: arrived.payload }, move |outcome| {
            // Nobody waits any more where the sender has gone.
            let _ = tell.send(outcome);
        });
        match told.await {
            Ok(Ok(written)) => Ok(InKafka { partition: written.partition, offset: written.offset, will_be }),
            Ok(Err(PublishError::TooLong(reason))) => {
                tracing::warn!(%reason, via = arrived.via.name(), bytes = arrived.payload.len(), "message refused");
                Err(Refusal::TooLong { longest: self.longest })
            }
            Ok(Err(PublishError::Unavailable(reason))) => {
                tracing::warn!(%reason, via = arrived.via.name(), "message not taken");
                Err(Refusal::Unavailable)
            }
            Err(_) => Err(Refusal::Unavailable),
        }
    }

    /// Waits until everybody who was waiting has been told.
    pub(crate) async fn settle(&self) {
        let all = Arc::clone(&self.room).acquire_many_owned(self.units);
        if timeout(self.patience + Duration::from_secs(1), all).await.is_err() {
            tracing::warn!(bytes = self.waiting(), "senders have not been told what became of their messages");
        }
        self.publisher.flush(Duration::from_secs(1));
    }
}

/// A sender, as an address without its port: that changes with each connection.
pub(crate) fn sender(peer: IpAddr) -> String {
    peer.to_canonical().to_string()
}
