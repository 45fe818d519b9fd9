//! What consumers and producers of a job have in common: how a client is configured, and what is heard of it.

use std::sync::{Mutex, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as Refusal, RDKafkaErrorCode};
use tracing::debug;

use wardwatch_config::SourceSpec;

/// The configuration of a job's clients; the job's own properties win.
pub(super) fn client_config(spec: &SourceSpec) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &spec.brokers)
        .set("client.id", "wardwatch")
        .set("reconnect.backoff.max.ms", "2000")
        .set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in &spec.properties {
        config.set(name, value);
    }
    config
}

/// Hears what librdkafka says on its own threads.
#[derive(Debug, Default)]
pub(super) struct Listener {
    last_error: Mutex<Option<String>>,
}

impl Listener {
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka reconnects by itself; what matters comes as an error too, and is told once by those who see it.
        debug!(target: "librdkafka", ?level, facility, message);
    }

    fn error(&self, error: Refusal, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return; // an event that we asked for
        }
        debug!(%error, reason, "librdkafka");
        // "All brokers down" follows the error that says why; the why is worth more.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Listener {
    fn commit_callback(&self, result: Result<(), Refusal>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            debug!(%error, "group offsets not shown");
        }
    }
}
