//! Why a source cannot start or go on.

use wardwatch_kafka::KafkaError;
use wardwatch_model::telemetry::Panicked;
use wardwatch_model::terms::Offset;

/// Why the source cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The topic cannot be read.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The store has read further than the topic reaches, so this is not the topic it read.
    #[error(
        "partition {partition} of topic \"{topic}\" ends at offset {end}, but the store has read to {stored}: the topic \
         was deleted and made anew; `wardwatch run JOB --new-topic` goes on with the new one from where `start` says"
    )]
    Recreated {
        /// The job's topic.
        topic: String,
        /// The partition at fault, by its number in the topic.
        partition: i32,
        /// The partition's next offset in Kafka.
        end: Offset,
        /// The next offset in the store.
        stored: Offset,
    },
    /// Records wait for a schema that its registry does not give.
    #[error("{0}")]
    Registry(String),
    /// The thread that fetches has panicked, or with it the one that decodes.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The operating system has no thread to give.
    #[error("no thread can be started to fetch or decode")]
    Thread(#[source] std::io::Error),
}

impl SourceError {
    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Registry(_)) || matches!(self, Self::Kafka(error) if error.is_transient())
    }
}
