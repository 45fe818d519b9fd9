//! What a consumer gives when it is asked for the next record.

use std::time::Duration;

use rdkafka::error::KafkaError as Refusal;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use wardwatch_model::terms::{Offset, Partition};

use super::topic::Topic;

/// What one poll brought.
#[derive(Debug)]
pub enum Polled<'a> {
    /// Nothing has come.
    Nothing,
    /// A record.
    Record(Received<'a>),
    /// Nothing waits to be read of a partition.
    End(Partition),
    /// Kafka no longer holds an offset that was asked for.
    OutOfRange(String),
    /// The topic is not there; it may come back.
    NoTopic(String),
    /// It will not give records to this account, or to this client.
    Refused(String),
    /// No broker answers, or with a trouble that passes.
    Away(String),
}

/// A record as librdkafka has it.
#[derive(Debug)]
pub struct Received<'a>(BorrowedMessage<'a>);

impl Received<'_> {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> (Partition, Offset) {
        (Partition(self.0.partition()), Offset(self.0.offset()))
    }

    /// When Kafka stamped it, in milliseconds since 1970; `None` where the topic keeps no stamps.
    #[must_use]
    pub fn stamp(&self) -> Option<i64> {
        self.0.timestamp().to_millis()
    }

    /// Its key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// The last of its headers of this name, as Kafka's clients take it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.0.headers()?;
        headers.iter().filter(|header| header.key == name).last()?.value
    }

    /// Its bytes; `None` where its value is null, which is not empty.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.0.payload()
    }
}

impl Topic {
    /// The next record of the assignment, or what there is instead, within `patience`.
    #[must_use]
    pub fn poll(&self, patience: Duration) -> Polled<'_> {
        let error = match self.consumer.poll(patience) {
            None => return Polled::Nothing,
            Some(Ok(message)) => return Polled::Record(Received(message)),
            Some(Err(Refusal::PartitionEOF(partition))) => return Polled::End(Partition(partition)),
            Some(Err(error)) => error,
        };
        let said = error.to_string();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Polled::OutOfRange(said),
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::TopicAuthorizationFailed) => Polled::Refused(said),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Polled::NoTopic(said),
            _ => Polled::Away(said),
        }
    }
}
