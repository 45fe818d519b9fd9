//! A Kafka broker inside the process, for `demo`: librdkafka's mock cluster.
//!
//! It speaks the real protocol on a loopback port and keeps its log in memory. It is no proof of anything: it has
//! no disk, a subset of the protocol, and forgets what is older than 5 MB or 100,000 records of a partition.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::error::KafkaError;

/// A broker that lives as long as this value.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts a broker with one topic.
    ///
    /// # Errors
    /// No port or thread is to be had.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, KafkaError> {
        let refused = |error: rdkafka::error::KafkaError| KafkaError::Refused(error.to_string());
        let cluster = MockCluster::new(1).map_err(refused)?;
        cluster.create_topic(topic, partitions, 1).map_err(refused)?;
        Ok(Self { cluster })
    }

    /// Its address, as `bootstrap.servers` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker").field("address", &self.address()).finish()
    }
}
