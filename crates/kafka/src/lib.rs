//! Kafka through librdkafka: a job's topics and their consumer, a producer, and a broker inside the process.
//!
//! The only crate that knows rdkafka. It does not know what stands in a record.

mod client;
mod consumer;
mod embedded;
mod error;
mod produce;
mod publish;
mod reader;
mod topic_ids;

pub use consumer::{Bounds, Consumer};
pub use embedded::EmbeddedBroker;
pub use error::KafkaError;
pub use produce::{ProduceError, Producer};
pub use publish::{Outgoing, PublishError, Publisher, Written};
pub use reader::{Polled, Reader, Received};
