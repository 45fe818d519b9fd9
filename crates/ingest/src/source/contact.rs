//! Whether brokers answer. librdkafka goes on trying for ever and says little, and a broker that hangs says nothing at all, so
//! they are asked.

use std::time::Duration;

use tracing::{info, warn};

use wardwatch_kafka::KafkaError;
use wardwatch_model::clock::Stopwatch;

/// Kafka is away once it has not answered for so long: two questions in a row.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// Something that should go on and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standstill {
    /// For how long.
    pub lasts: Duration,
    /// Why, as far as anybody says.
    pub reason: String,
}

/// When brokers answered last.
#[derive(Debug)]
pub(super) struct Contact {
    answered: Stopwatch,
    /// Why they do not; empty while they do.
    reason: String,
    /// What they answer instead; empty where they say nothing.
    says: String,
    is_told: bool,
}

impl Contact {
    /// They have answered just now.
    pub(super) fn new() -> Self {
        Self { answered: Stopwatch::start(), reason: String::new(), says: String::new(), is_told: false }
    }

    /// A broker has answered.
    pub(super) fn is_there(&mut self) {
        if std::mem::take(&mut self.is_told) {
            info!(silent_seconds = self.answered.elapsed().as_secs(), "Kafka answers again");
        }
        self.answered = Stopwatch::start();
        self.reason.clear();
        self.says.clear();
    }

    /// None has, or not with what was asked; `error` says which.
    pub(super) fn is_refused(&mut self, error: &KafkaError) {
        self.is_missed(error.to_string());
        self.says = match error {
            KafkaError::NoTopic { topic, .. } => format!("topic \"{topic}\" does not exist"),
            KafkaError::Refused(reason) => reason.clone(),
            _ => String::new(),
        };
    }

    /// None has.
    pub(super) fn is_missed(&mut self, reason: String) {
        self.reason = reason;
        self.says.clear();
        if !self.is_told && self.away().is_some() {
            self.is_told = true;
            warn!(reason = self.reason, "Kafka does not answer; reading goes on when it does");
        }
    }

    /// For how long none has, with what they answer instead; `None` where that is not worth telling yet.
    pub(super) fn away(&self) -> Option<Standstill> {
        let lasts = self.answered.elapsed();
        (!self.reason.is_empty() && lasts >= AWAY_AFTER).then(|| Standstill { lasts, reason: self.says.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_answer_without_the_topic_are_told_from_those_that_are_silent() {
        let mut contact = Contact::new();
        contact.is_refused(&KafkaError::NoTopic {
            topic: "vitals".to_owned(),
            brokers: "b:9092".to_owned(),
            near: None,
        });
        assert_eq!(contact.says, "topic \"vitals\" does not exist");
        assert!(contact.away().is_none(), "not for long enough");
        contact.is_missed("broker transport failure".to_owned());
        assert_eq!(contact.says, "");
        contact.is_there();
        assert_eq!((contact.says.as_str(), contact.reason.as_str()), ("", ""));
    }
}
