//! Why the gateway does not start.

use wardwatch_kafka::KafkaError;
use wardwatch_listen::ListenError;
use wardwatch_model::diagnostic::Diagnostics;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nothing is to be taken.
    #[error(
        "say where messages come in: --mllp 127.0.0.1:2575, --http 127.0.0.1:8090 or --mqtt mqtt://broker/ward/#, or [gateway] in the \
         job file"
    )]
    Nowhere,
    /// The job reads several topics.
    #[error(
        "the job reads several topics, {topics}: say with --topic, or [gateway] topic, on which of them messages are put"
    )]
    WhichTopic {
        /// Those.
        topics: String,
    },
    /// The job does not read it.
    #[error("\"{topic}\" is none of the topics that the job reads: {topics}")]
    NotRead {
        /// What was asked for.
        topic: String,
        /// Those that it reads.
        topics: String,
    },
    /// The forms of the job, or its `source.sql`.
    #[error("{0}")]
    Forms(Diagnostics),
    /// An address, or the certificate.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The system.
    #[error("the gateway cannot be started")]
    System(#[from] std::io::Error),
}
