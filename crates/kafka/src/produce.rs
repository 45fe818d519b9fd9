//! Writing records to the job's topic, for `simulate` and `demo`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError as Refusal, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use wardwatch_config::SourceSpec;

use super::client::client_config;
use super::consumer::Consumer;
use super::error::KafkaError;

/// A producer for one topic. Records with one key keep their order.
pub struct Producer {
    producer: BaseProducer<Deliveries>,
    topic: String,
}

/// Why records could not be written.
#[derive(Debug, thiserror::Error)]
#[error("topic \"{topic}\" does not take records")]
pub struct ProduceError {
    topic: String,
    #[source]
    source: Refusal,
}

impl Producer {
    /// A producer for the topic of the first source of `spec`, which must exist; waits at most `patience` for a broker.
    ///
    /// # Errors
    /// No broker answers, the topic does not exist, there are several, or librdkafka refuses a property.
    pub fn connect(spec: &SourceSpec, patience: Duration, stopped: &dyn Fn() -> bool) -> Result<Self, KafkaError> {
        let Some(topic) = spec.own_topics.only() else {
            return Err(KafkaError::SeveralTopics { topics: spec.own_topics.to_string() });
        };
        drop(Consumer::connect(&spec.of_topic(topic), patience, stopped)?);
        let producer = client_config(spec)
            .set("linger.ms", "5")
            .set("enable.idempotence", "true")
            .create_with_context(Deliveries::default())
            .map_err(|error| KafkaError::Property(error.to_string()))?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Queues a record, waiting while the queue is full.
    ///
    /// # Errors
    /// The record cannot be queued, or an earlier one was not delivered.
    pub fn send(&self, key: &str, payload: &[u8]) -> Result<(), ProduceError> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(payload);
        loop {
            match self.producer.send(record) {
                Ok(()) => return self.undelivered(),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    self.producer.poll(Duration::from_millis(10));
                    self.undelivered()?;
                    record = back;
                }
                Err((source, _)) => return Err(self.failed(source)),
            }
        }
    }

    /// Takes note of what Kafka has confirmed meanwhile; does not wait.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until everything queued is written.
    ///
    /// # Errors
    /// Not all of it was within `patience`.
    pub fn flush(&self, patience: Duration) -> Result<(), ProduceError> {
        self.producer.flush(patience).map_err(|source| self.failed(source))?;
        self.undelivered()
    }

    fn undelivered(&self) -> Result<(), ProduceError> {
        let first = self.producer.context().first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        first.map_or(Ok(()), |source| Err(self.failed(source)))
    }

    fn failed(&self, source: Refusal) -> ProduceError {
        ProduceError { topic: self.topic.clone(), source }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Hears what became of each record.
#[derive(Debug, Default)]
struct Deliveries {
    first_failure: Mutex<Option<Refusal>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}
