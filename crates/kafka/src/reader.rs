//! What a consumer gives when it is asked for the next record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError as Refusal;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use wardwatch_model::terms::{Offset, Partition, Positions};
use wardwatch_model::topics::Topics;

use super::client::Listener;

/// What one poll brought.
#[derive(Debug)]
pub enum Polled<'a> {
    /// Nothing has come.
    Nothing,
    /// A record.
    Record(Received<'a>),
    /// Nothing waits to be read of a partition.
    End(Partition),
    /// The same, and nobody knows of which: it came while partitions of several topics got their queues. Whoever needs to know reads
    /// anew from where it stands.
    SomeEnd,
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
pub struct Received<'a> {
    message: BorrowedMessage<'a>,
    partition: Partition,
}

impl Received<'_> {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> (Partition, Offset) {
        (self.partition, Offset(self.message.offset()))
    }

    /// When Kafka stamped it, in milliseconds since 1970; `None` where the topic keeps no stamps.
    #[must_use]
    pub fn stamp(&self) -> Option<i64> {
        self.message.timestamp().to_millis()
    }

    /// Its key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// The last of its headers of this name, as Kafka's clients take it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.message.headers()?;
        headers.iter().filter(|header| header.key == name).last()?.value
    }

    /// Its bytes; `None` where its value is null, which is not empty.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.message.payload()
    }
}

/// What is read: some partitions, from some offsets on.
///
/// librdkafka says of the end of a partition which number it has, and not of which topic. So where several topics are read, each
/// partition has a queue of its own.
pub struct Reader {
    client: Arc<BaseConsumer<Listener>>,
    topics: Topics,
    /// The one partition of each number of Kafka's; `None` where several have it.
    by_number: BTreeMap<i32, Option<Partition>>,
    queues: Vec<(Partition, PartitionQueue<Listener>)>,
    /// The queue that gave the last record, and how many it has given in a row.
    turn: AtomicUsize,
    given: AtomicUsize,
}

/// So many records of one queue are read before the next one is asked.
const TURN: usize = 1_000;

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads what the client was assigned.
    pub(super) fn of(client: &Arc<BaseConsumer<Listener>>, topics: &Topics, positions: &Positions) -> Self {
        let mut by_number = BTreeMap::new();
        for partition in positions.keys() {
            by_number.entry(partition.number()).and_modify(|one| *one = None).or_insert(Some(*partition));
        }
        let queue = |partition: &Partition| {
            let topic = topics.name_of(*partition);
            Some((*partition, client.split_partition_queue(&topic, partition.number())?))
        };
        let queues = match by_number.values().all(Option::is_some) {
            true => Vec::new(),
            false => positions.keys().filter_map(queue).collect(),
        };
        Self {
            client: Arc::clone(client),
            topics: topics.clone(),
            by_number,
            queues,
            turn: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
        }
    }

    /// The next record, or what there is instead, within `patience`.
    #[must_use]
    pub fn poll(&self, patience: Duration) -> Polled<'_> {
        // What came before a partition had its queue comes first.
        let patience = if self.queues.is_empty() { patience } else { Duration::ZERO };
        match self.client.poll(patience) {
            None => self.poll_queues(),
            Some(Ok(message)) => match self.partition_of(&message) {
                Some(partition) => Polled::Record(Received { message, partition }),
                None => Polled::Nothing,
            },
            Some(Err(Refusal::PartitionEOF(number))) => match self.by_number.get(&number) {
                Some(Some(partition)) => Polled::End(*partition),
                _ => Polled::SomeEnd,
            },
            Some(Err(error)) => trouble(&error),
        }
    }

    fn partition_of(&self, message: &BorrowedMessage<'_>) -> Option<Partition> {
        match self.by_number.get(&message.partition()) {
            Some(Some(partition)) => Some(*partition),
            _ => self.topics.partition(message.topic(), message.partition()),
        }
    }

    fn poll_queues(&self) -> Polled<'_> {
        let count = self.queues.len();
        let mut turn = self.turn.load(Ordering::Relaxed);
        for _ in 0..count {
            let (partition, queue) = &self.queues[turn % count];
            let is_over = self.given.load(Ordering::Relaxed) >= TURN;
            match if is_over { None } else { queue.poll(Duration::ZERO) } {
                None => {
                    turn = (turn + 1) % count;
                    self.turn.store(turn, Ordering::Relaxed);
                    self.given.store(0, Ordering::Relaxed);
                }
                Some(Ok(message)) => {
                    self.given.fetch_add(1, Ordering::Relaxed);
                    return Polled::Record(Received { message, partition: *partition });
                }
                Some(Err(Refusal::PartitionEOF(_))) => return Polled::End(*partition),
                Some(Err(error)) => return trouble(&error),
            }
        }
        Polled::Nothing
    }
}

fn trouble(error: &Refusal) -> Polled<'static> {
    let said = error.to_string();
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Polled::OutOfRange(said),
        Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::TopicAuthorizationFailed) => Polled::Refused(said),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Polled::NoTopic(said),
        _ => Polled::Away(said),
    }
}
