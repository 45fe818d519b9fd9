//! Why a topic cannot be read or written.

use std::time::Duration;

/// Why Kafka does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A broken or refused connection.
    #[error("no Kafka broker answers at \"{brokers}\" within {} s{}", .waited.as_secs(), reason_suffix(.reason))]
    Unreachable {
        /// What was tried.
        brokers: String,
        /// For how long.
        waited: Duration,
        /// What librdkafka said last.
        reason: Option<String>,
    },
    /// The topic does not exist.
    #[error("topic \"{topic}\" does not exist at \"{brokers}\"{}", suggestion(.near))]
    NoTopic {
        /// The job's topic.
        topic: String,
        /// Where it was looked for.
        brokers: String,
        /// An existing topic with a similar name.
        near: Option<String>,
    },
    /// No topic meets a pattern.
    #[error("no topic at \"{brokers}\" meets \"{pattern}\"")]
    NoneMeets {
        /// The job's pattern.
        pattern: String,
        /// Where topics were looked for.
        brokers: String,
    },
    /// Records are to be written, and the job reads several topics.
    #[error(
        "the job reads several topics, {topics}: nobody knows to which of them to write; name one in a job file of its own"
    )]
    SeveralTopics {
        /// Those.
        topics: String,
    },
    /// librdkafka refuses a property.
    #[error("[source.properties]: {0}")]
    Property(String),
    /// The topic has another id than the one that the store has read.
    #[error(
        "topic \"{topic}\" was deleted and made anew: its id was {was} and is {is}, so its offsets are those of other records; \
         `wardwatch run JOB --new-topic` goes on with the new one from where `start` says"
    )]
    Replaced {
        /// The job's topic.
        topic: String,
        /// The id of the one that was read.
        was: String,
        /// The id that it has.
        is: String,
    },
    /// A topic that a pattern found has another id than the one that the store has read.
    #[error(
        "topic \"{topic}\", which the job's pattern finds, was deleted and made anew; the next start goes on with the new one"
    )]
    MadeAnew {
        /// The topic.
        topic: String,
    },
    /// Kafka answers, but not with what was asked.
    #[error("Kafka refuses: {0}")]
    Refused(String),
}

impl KafkaError {
    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::MadeAnew { .. })
    }

    /// What Kafka says, without our words around it.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Refused(reason) => reason.clone(),
            other => other.to_string(),
        }
    }
}

fn reason_suffix(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn suggestion(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}
