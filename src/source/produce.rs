//! Writing records to the job's topic, for `simulate` and `demo`.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::config::SourceSpec;

use super::kafka::client_config;

/// A producer for one topic. Records with one key keep their order.
pub struct Producer {
    producer: BaseProducer,
    topic: String,
}

/// Why a record could not be written.
#[derive(Debug, thiserror::Error)]
#[error("topic \"{topic}\" does not take records")]
pub struct ProduceError {
    topic: String,
    #[source]
    source: KafkaError,
}

impl Producer {
    /// A producer for the topic of `spec`; it connects with the first record.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn new(spec: &SourceSpec) -> Result<Self, ProduceError> {
        let failed = |source| ProduceError { topic: spec.topic.clone(), source };
        let producer =
            client_config(spec).set("linger.ms", "5").set("enable.idempotence", "true").create().map_err(failed)?;
        Ok(Self { producer, topic: spec.topic.clone() })
    }

    /// Queues a record, waiting while the queue is full.
    ///
    /// # Errors
    /// The record cannot be queued: too long, or the topic is unknown.
    pub fn send(&self, key: &str, payload: &[u8]) -> Result<(), ProduceError> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(payload);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    self.producer.poll(Duration::from_millis(10));
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
        self.producer.flush(patience).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: KafkaError) -> ProduceError {
        ProduceError { topic: self.topic.clone(), source }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).finish_non_exhaustive()
    }
}
