//! Kafka through librdkafka: a topic and its consumer, a producer, and a broker inside the process.
//!
//! The only crate that knows rdkafka. It does not know what stands in a record.

mod embedded;
mod error;
mod poll;
mod produce;
mod topic;
mod topic_id;

pub use embedded::EmbeddedBroker;
pub use error::KafkaError;
pub use poll::{Polled, Received};
pub use produce::{ProduceError, Producer};
pub use topic::{Bounds, Topic};
