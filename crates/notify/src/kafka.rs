//! A Kafka topic as an outlet: a record per notification, keyed by patient, for other systems.

use chrono::{DateTime, Utc};
use serde::Serialize;

use wardwatch_alert::Facts;
use wardwatch_config::{Outlet, SourceSpec};
use wardwatch_kafka::Producer;

use super::message::Message;
use super::sink::{Sink, Undelivered};

/// A topic of the Kafka that the job reads from.
pub(super) struct Records {
    spec: SourceSpec,
    timeout: std::time::Duration,
    /// Made when there is something to say; after a failure it is made anew, for it never forgets one.
    producer: Option<Producer>,
}

/// A record: what is known of the episode, and by which id a notification that comes twice is known.
#[derive(Debug, Serialize)]
struct Record<'a> {
    id: &'a str,
    subject: &'a str,
    message: &'a str,
    #[serde(flatten)]
    facts: &'a Facts,
}

impl Records {
    pub(super) fn new(outlet: &Outlet, source: &SourceSpec, topic: &str) -> Self {
        let spec = source.of_topic(topic);
        Self { spec, timeout: outlet.timeout, producer: None }
    }

    fn send(&mut self, messages: &[Message]) -> Result<(), String> {
        let producer = match &mut self.producer {
            Some(producer) => producer,
            None => {
                let connected = Producer::connect(&self.spec, self.timeout, &|| false);
                self.producer.insert(connected.map_err(|error| error.to_string())?)
            }
        };
        let told = |error: wardwatch_kafka::ProduceError| {
            std::error::Error::source(&error).map_or(error.to_string(), |cause| format!("{error}: {cause}"))
        };
        for message in messages {
            let facts = message.facts();
            let Message { notification, subject, text } = message;
            let record = Record { id: &notification.id, subject, message: text, facts };
            let payload = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
            let key = if facts.patient.is_empty() { &facts.episode } else { &facts.patient };
            producer.send(key, &payload).map_err(told)?;
        }
        producer.flush(self.timeout).map_err(told)
    }
}

impl Sink for Records {
    fn max_batch(&self) -> usize {
        500
    }

    fn send(&mut self, messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
        self.send(messages).map_err(|reason| {
            self.producer = None;
            Undelivered::Later(reason)
        })
    }
}
