//! Writing records of others to a topic, one by one, and what became of each.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError as Refusal, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use wardwatch_config::SourceSpec;

use super::client::client_config;
use super::consumer::Consumer;
use super::error::KafkaError;

/// What is added to a message by its key and headers, at most.
const BESIDE: usize = 64 * 1024;

/// A record that is to be written.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Records with one key keep their order.
    pub key: &'a str,
    /// Names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its value.
    pub payload: &'a [u8],
}

/// Where a record stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Kafka's number of the partition.
    pub partition: i32,
    /// Its offset in it.
    pub offset: i64,
}

/// Why a record was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It is longer than the broker allows.
    #[error("it is longer than the broker allows: {0}")]
    TooLong(String),
    /// It may be taken another time.
    #[error("Kafka does not take it: {0}")]
    Unavailable(String),
}

/// What is done once it is known what became of a record.
type Then = Box<dyn FnOnce(Result<Written, PublishError>) + Send>;

/// Writes records to one topic. Each counts as written once all replicas that are in sync have it (acks = all).
pub struct Publisher {
    producer: ThreadedProducer<Outcomes>,
    topic: String,
}

impl Publisher {
    /// One for `topic` of `spec`, which must exist; waits at most `patience` for a broker, here and for each record. `longest` is
    /// the most bytes of a record, `waiting` of all that wait.
    ///
    /// # Errors
    /// No broker answers, the topic does not exist, or librdkafka refuses a property.
    pub fn connect(
        spec: &SourceSpec,
        topic: &str,
        patience: Duration,
        longest: usize,
        waiting: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, KafkaError> {
        let spec = spec.of_topic(topic);
        drop(Consumer::connect(&spec, patience, stopped)?);
        let producer = client_config(&spec)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("message.timeout.ms", patience.as_millis().to_string())
            .set("message.max.bytes", (longest + BESIDE).to_string())
            .set("queue.buffering.max.kbytes", (2 * waiting / 1_024).max(1_024).to_string())
            .create_with_context(Outcomes)
            .map_err(|error| KafkaError::Property(error.to_string()))?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Writes a record, and then says what became of it, on a thread of librdkafka's.
    pub fn publish(&self, record: Outgoing<'_>, then: impl FnOnce(Result<Written, PublishError>) + Send + 'static) {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header { key, value: Some(*value) });
        }
        let then: Box<Mutex<Option<Then>>> = Box::new(Mutex::new(Some(Box::new(then))));
        let record =
            BaseRecord::with_opaque_to(&self.topic, then).key(record.key).headers(headers).payload(record.payload);
        if let Err((refusal, back)) = self.producer.send(record) {
            say(&back.delivery_opaque, Err(refused(&refusal)));
        }
    }

    /// Waits until it is known what became of everything.
    pub fn flush(&self, patience: Duration) {
        // What is not written by then is told as such to those who asked.
        drop(self.producer.flush(patience));
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn refused(refusal: &Refusal) -> PublishError {
    match refusal.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge,
        ) => PublishError::TooLong(refusal.to_string()),
        _ => PublishError::Unavailable(refusal.to_string()),
    }
}

fn say(then: &Mutex<Option<Then>>, outcome: Result<Written, PublishError>) {
    let then = then.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(then) = then {
        then(outcome);
    }
}

/// Hears what became of each record.
#[derive(Debug)]
struct Outcomes;

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<Mutex<Option<Then>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, then: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(Written { partition: message.partition(), offset: message.offset() }),
            Err((refusal, _)) => Err(refused(refusal)),
        };
        say(&then, outcome);
    }
}
