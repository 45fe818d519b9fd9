//! The one way from any door to Kafka: room for the message, its key and headers, and what became of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use wardwatch_config::{GatewaySpec, Job};
use wardwatch_kafka::{Outgoing, PublishError, Publisher, Written};
use wardwatch_model::clock::{Clock, SystemClock};

use crate::door::{Refusal, Via};
use crate::error::GatewayError;
use crate::metrics::Metrics;
use crate::reading::{Reader, WillBe};

/// Room is given by so many bytes.
const UNIT: usize = 1_024;

/// A message that has come.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) via: Via,
    /// What its sender wants as its key.
    pub(crate) key: Option<&'a str>,
    /// What it is kept in order by where it is of no one patient or device: its sender.
    pub(crate) sender: &'a str,
    /// What is told of its origin beside door and time.
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

/// A message of at most so many bytes needs no room before it is known whole.
pub(crate) const SMALL: usize = 16 * 1_024;

/// Room for a message, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// Where all messages go through.
pub(crate) struct Intake {
    publisher: Publisher,
    /// `None` where it is not known what the job will make of a message.
    reader: Option<Reader>,
    /// For messages that are on their way in: who does not end what was begun takes no room from messages that are whole.
    arriving: Arc<Semaphore>,
    /// For messages that are on their way to Kafka.
    waiting: Arc<Semaphore>,
    /// So much there is of either.
    units: u32,
    longest: usize,
    patience: Duration,
    pub(crate) metrics: Metrics,
}

/// A message that librdkafka has, and that Kafka may have.
pub(crate) struct Sent {
    outcome: oneshot::Receiver<Result<Written, PublishError>>,
    will_be: Option<WillBe>,
    via: Via,
    bytes: usize,
}

impl Intake {
    /// One for `topic`; waits for Kafka.
    pub(crate) fn new(
        job: &Job,
        spec: &GatewaySpec,
        topic: &str,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(Self, Option<JoinHandle<()>>), GatewayError> {
        let (reader, thread) = Reader::start(job, topic)?.unzip();
        let publisher =
            Publisher::connect(&job.source, topic, spec.patience, spec.max_message, spec.max_waiting, stopped)?;
        // Half for messages that come in, half for those that go out; of either at least one of the longest.
        let half = (spec.max_waiting / 2).max(spec.max_message);
        let units = u32::try_from(half.div_ceil(UNIT)).unwrap_or(u32::MAX >> 3);
        let intake = Self {
            publisher,
            reader,
            arriving: Arc::new(Semaphore::new(units as usize)),
            waiting: Arc::new(Semaphore::new(units as usize)),
            units,
            longest: spec.max_message,
            patience: spec.patience,
            metrics: Metrics::default(),
        };
        Ok((intake, thread))
    }

    /// The most bytes of a message.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Room for a message that is coming in, once there is; `None` where it needs none.
    pub(crate) async fn room_to_arrive(&self, bytes: usize) -> Result<Option<Room>, Refusal> {
        if bytes <= SMALL { Ok(None) } else { self.room(&self.arriving, bytes).await.map(Some) }
    }

    /// Room for a message that is whole, once there is.
    pub(crate) async fn room_to_wait(&self, bytes: usize) -> Result<Room, Refusal> {
        self.room(&self.waiting, bytes).await
    }

    async fn room(&self, of: &Arc<Semaphore>, bytes: usize) -> Result<Room, Refusal> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        match timeout(self.patience, Arc::clone(of).acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Full),
        }
    }

    /// Room that is taken by messages that come in, and by those on their way to Kafka, in bytes.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let taken = |of: &Semaphore| (self.units as usize).saturating_sub(of.available_permits()) * UNIT;
        (taken(&self.arriving), taken(&self.waiting))
    }

    /// Puts a message on the topic, and says what became of it. Its room is held until the caller has told its sender.
    pub(crate) async fn put(&self, arrived: &Arrived<'_>) -> Result<InKafka, Refusal> {
        match self.send(arrived).await {
            Ok(sent) => self.outcome(sent).await,
            Err(refusal) => Err(refusal),
        }
    }

    /// Hands a message to librdkafka; those of one key are on the topic in the order in which they are handed over.
    pub(crate) async fn send(&self, arrived: &Arrived<'_>) -> Result<Sent, Refusal> {
        let bytes = arrived.payload.len();
        if bytes > self.longest {
            let refusal = Refusal::TooLong { longest: self.longest };
            self.metrics.refused(arrived.via, &refusal);
            return Err(refusal);
        }
        let now = SystemClock.now();
        let received = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut headers = vec![("via", arrived.via.name()), ("received", received.as_str())];
        headers.extend(arrived.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let given = arrived.key.unwrap_or(arrived.sender);
        let will_be = match &self.reader {
            Some(reader) => reader.read(arrived.payload, &headers, given, now.timestamp_millis()).await,
            None => None,
        };
        let patient = will_be.as_ref().and_then(|will_be| will_be.of.as_deref());
        let key = arrived.key.or(patient).unwrap_or(arrived.sender);
        let (tell, outcome) = oneshot::channel();
        self.publisher.publish(Outgoing { key, headers: &headers, payload: arrived.payload }, move |outcome| {
            // Nobody waits any more where the sender has gone.
            let _ = tell.send(outcome);
        });
        Ok(Sent { outcome, will_be, via: arrived.via, bytes })
    }

    /// What became of a message, once that is known.
    pub(crate) async fn outcome(&self, sent: Sent) -> Result<InKafka, Refusal> {
        let Sent { outcome, will_be, via, bytes } = sent;
        let refusal = match outcome.await {
            Ok(Ok(written)) => {
                let rejected = will_be.as_ref().map_or(0, |will_be| will_be.rejected);
                self.metrics.took(via, bytes, rejected);
                return Ok(InKafka { partition: written.partition, offset: written.offset, will_be });
            }
            Ok(Err(PublishError::TooLong(reason))) => {
                tracing::warn!(%reason, via = via.name(), bytes, "message refused");
                Refusal::TooLongForKafka { bytes }
            }
            Ok(Err(PublishError::Unavailable(reason))) => {
                tracing::warn!(%reason, via = via.name(), "message not taken");
                Refusal::Unavailable
            }
            Err(_) => Refusal::Unavailable,
        };
        self.metrics.refused(via, &refusal);
        Err(refusal)
    }

    /// Waits until everybody who was waiting has been told.
    pub(crate) async fn settle(&self) {
        let all = Arc::clone(&self.waiting).acquire_many_owned(self.units);
        if timeout(self.patience + Duration::from_secs(1), all).await.is_err() {
            tracing::warn!(bytes = self.taken().1, "senders have not been told what became of their messages");
        }
        self.publisher.flush(Duration::from_secs(1));
    }
}

/// A sender, as an address without its port: that changes with each connection.
pub(crate) fn sender(peer: IpAddr) -> String {
    peer.to_canonical().to_string()
}
