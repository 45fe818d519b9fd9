//! A connection to one topic: its partitions, their bounds, where to start, what to show to lag tools.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as Refusal;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{debug, info, warn};

use wardwatch_config::{SourceSpec, Start};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::diagnostic::nearest;
use wardwatch_model::terms::{Offset, Partition, Positions, Ranges};

use super::error::KafkaError;
use super::topic_id::topic_id;

/// The longest that one request may take; a broken connection is noticed after it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How librdkafka fetches, unless the job says otherwise.
///
/// Ahead: its own 64 MiB would be the larger part of our memory, and it would wait a second each time it has fetched so
/// much, which makes a backlog six times slower. Live: a fetch for every single record costs both sides more than the
/// records do, so a broker gathers them for 50 ms.
const FETCHING: [(&str, &str); 4] = [
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.min.bytes", "65536"),
    ("fetch.wait.max.ms", "50"),
];

/// The first offset that each partition still holds, and the next one that it will give.
pub type Bounds = BTreeMap<Partition, (Offset, Offset)>;

/// A topic that exists, and a consumer for it.
pub struct Topic {
    pub(super) consumer: BaseConsumer<Listener>,
    name: String,
    brokers: String,
    /// Kafka's id of the topic as it was read first.
    id: OnceLock<Option<String>>,
    /// A broker that answers for the topic: the leader of one of its partitions.
    broker: AtomicI32,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Topic {
    /// Connects and finds the topic, trying again until `patience` has passed or `stopped` says so.
    ///
    /// # Errors
    /// No broker answers, the topic does not exist, or librdkafka refuses a property.
    pub fn connect(spec: &SourceSpec, patience: Duration, stopped: &dyn Fn() -> bool) -> Result<Self, KafkaError> {
        let mut config = client_config(spec);
        for (name, value) in FETCHING {
            if !spec.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        let consumer: BaseConsumer<Listener> = config
            .set("group.id", &spec.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .create_with_context(Listener::default())
            .map_err(|error| KafkaError::Property(error.to_string()))?;
        let topic = Self {
            consumer,
            name: spec.topic.clone(),
            brokers: spec.brokers.clone(),
            id: OnceLock::new(),
            broker: AtomicI32::new(0),
        };
        let waiting = Stopwatch::start();
        loop {
            let left = waiting.left_of(patience);
            match topic.partitions(left.clamp(Duration::from_millis(100), PATIENCE)) {
                Err(KafkaError::Unreachable { .. }) => {
                    let reason = topic.reason();
                    if left.is_zero() || stopped() {
                        return Err(KafkaError::Unreachable {
                            brokers: spec.brokers.clone(),
                            waited: patience,
                            reason,
                        });
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return Err(error),
                Ok(_) => return Ok(topic),
            }
        }
    }

    /// Kafka's id of the topic, which is another once it is deleted and made again; `None` where the brokers know no ids.
    ///
    /// # Errors
    /// The broker does not answer, or the topic does not exist.
    pub fn id(&self) -> Result<Option<&str>, KafkaError> {
        if self.id.get().is_none() {
            let id = self.ask_for_id(PATIENCE)?;
            self.id.get_or_init(|| id);
        }
        Ok(self.id.get().and_then(Option::as_deref))
    }

    /// Makes sure that what was read so far is of the topic whose [`Topic::id`] was asked for. A broker that does not answer, or a
    /// topic that is gone, has no other one.
    ///
    /// # Errors
    /// [`KafkaError::Replaced`].
    pub fn check_id(&self) -> Result<(), KafkaError> {
        let Some(Some(was)) = self.id.get() else { return Ok(()) };
        match self.ask_for_id(Duration::from_secs(1)) {
            Ok(Some(is)) if is != *was => Err(KafkaError::Replaced { topic: self.name.clone(), was: was.clone(), is }),
            _ => Ok(()),
        }
    }

    fn ask_for_id(&self, patience: Duration) -> Result<Option<String>, KafkaError> {
        let broker = self.broker.load(Ordering::Relaxed);
        topic_id(self.consumer.client().native_ptr(), broker, &self.name, patience)
            .map_err(|code| self.broken(&Refusal::MetadataFetch(code.into())))
    }

    /// The partitions that the topic has now.
    ///
    /// # Errors
    /// The broker does not answer, or the topic does not exist.
    pub fn partitions(&self, patience: Duration) -> Result<Vec<Partition>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), patience).map_err(|e| self.broken(&e))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.name);
        let partitions: Vec<Partition> =
            topic.into_iter().flat_map(|topic| topic.partitions()).map(|p| Partition(p.id())).collect();
        if partitions.is_empty() {
            return Err(self.no_topic(patience));
        }
        if let Some(leader) =
            topic.into_iter().flat_map(|topic| topic.partitions()).map(|p| p.leader()).find(|id| *id >= 0)
        {
            self.broker.store(leader, Ordering::Relaxed);
        }
        Ok(partitions)
    }

    fn no_topic(&self, patience: Duration) -> KafkaError {
        let names: Vec<String> = match self.consumer.fetch_metadata(None, patience) {
            Ok(metadata) => metadata.topics().iter().map(|topic| topic.name().to_owned()).collect(),
            Err(error) => return self.broken(&error),
        };
        KafkaError::NoTopic {
            near: nearest(&self.name, names.iter().map(String::as_str)).map(str::to_owned),
            topic: self.name.clone(),
            brokers: self.brokers.clone(),
        }
    }

    /// What each partition holds now.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn bounds(&self) -> Result<Bounds, KafkaError> {
        self.partitions(PATIENCE)?.into_iter().map(|partition| Ok((partition, self.bounds_of(partition)?))).collect()
    }

    /// What one partition holds now.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn bounds_of(&self, partition: Partition) -> Result<(Offset, Offset), KafkaError> {
        self.watermarks(partition, PATIENCE).map_err(|error| self.broken(&error))
    }

    /// The same, from a broker that answers in time; whatever is wrong is a refusal.
    ///
    /// # Errors
    /// [`KafkaError::Refused`].
    pub fn bounds_within(&self, partition: Partition, patience: Duration) -> Result<(Offset, Offset), KafkaError> {
        self.watermarks(partition, patience).map_err(|error| KafkaError::Refused(error.to_string()))
    }

    fn watermarks(&self, partition: Partition, patience: Duration) -> Result<(Offset, Offset), Refusal> {
        let (low, high) = self.consumer.fetch_watermarks(&self.name, partition.0, patience)?;
        Ok((Offset(low), Offset(high)))
    }

    /// Where a job starts with the partitions that it does not know.
    ///
    /// A job that knows nothing of the topic starts where it is told to. Once it knows some partitions, the others were added
    /// since: all of their records came after it began, so they are read from the first.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn starts(&self, start: Start, bounds: &Bounds, known: &Positions) -> Result<Positions, KafkaError> {
        let unknown: Bounds =
            bounds.iter().filter(|(partition, _)| !known.contains_key(partition)).map(|(p, b)| (*p, *b)).collect();
        let edge = |pick: fn(&(Offset, Offset)) -> Offset| unknown.iter().map(|(p, b)| (*p, pick(b))).collect();
        match start {
            _ if unknown.is_empty() => Ok(Positions::new()),
            Start::Earliest => Ok(edge(|(low, _)| *low)),
            _ if !known.is_empty() => {
                for (partition, (low, _)) in &unknown {
                    info!(%partition, start = %low, "new partition");
                }
                Ok(edge(|(low, _)| *low))
            }
            Start::Latest => Ok(edge(|(_, high)| *high)),
            Start::At(time) => self.first_since(time, &unknown),
        }
    }

    fn first_since(&self, time: DateTime<Utc>, bounds: &Bounds) -> Result<Positions, KafkaError> {
        let mut asked = TopicPartitionList::new();
        for partition in bounds.keys() {
            asked
                .add_partition_offset(&self.name, partition.0, KafkaOffset::Offset(time.timestamp_millis()))
                .map_err(|error| KafkaError::Refused(error.to_string()))?;
        }
        let found = self.consumer.offsets_for_times(asked, PATIENCE).map_err(|error| self.broken(&error))?;
        Ok(found
            .elements()
            .iter()
            .filter_map(|element| {
                let partition = Partition(element.partition());
                let (_, high) = bounds.get(&partition)?;
                match element.offset() {
                    KafkaOffset::Offset(offset) => Some((partition, Offset(offset))),
                    _ => Some((partition, *high)), // no record is that young
                }
            })
            .collect())
    }

    /// Why a partition cannot be read now, as far as the brokers say: it has no leader, say.
    pub fn held(&self, partition: Partition) -> Option<String> {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), Duration::from_secs(1)).ok()?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.name)?;
        let error = topic.error().or_else(|| {
            topic.partitions().iter().find(|known| known.id() == partition.0).and_then(|known| known.error())
        });
        error.map(|code| RDKafkaErrorCode::from(code).to_string())
    }

    /// Reads these partitions from these offsets on, and no others.
    ///
    /// # Errors
    /// librdkafka refuses an offset.
    pub fn assign(&self, positions: &Positions) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            list.add_partition_offset(&self.name, partition.0, KafkaOffset::Offset(offset.0))
                .map_err(|error| KafkaError::Refused(error.to_string()))?;
        }
        self.consumer.assign(&list).map_err(|error| KafkaError::Refused(error.to_string()))
    }

    /// Stops or goes on fetching; what librdkafka has already fetched stays where it is.
    pub fn set_paused(&self, paused: bool) {
        let changed = self
            .consumer
            .assignment()
            .and_then(|all| if paused { self.consumer.pause(&all) } else { self.consumer.resume(&all) });
        match changed {
            Ok(()) => debug!(paused, "fetching"),
            Err(error) => warn!(%error, paused, "fetching could not be paused or resumed"),
        }
    }

    /// Stops or goes on fetching some partitions; what librdkafka has fetched of them and not given out, it fetches again.
    pub fn set_paused_of(&self, partitions: &[Partition], paused: bool) {
        if partitions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.name, partition.0);
        }
        let changed = if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        match changed {
            Ok(()) => debug!(paused, ?partitions, "fetching"),
            Err(error) => warn!(%error, paused, ?partitions, "fetching could not be paused or resumed"),
        }
    }

    /// Tells Kafka how far records were taken, for lag tools. A failure is logged and changes nothing.
    pub fn commit_group_offsets(&self, ranges: &Ranges) {
        let mut list = TopicPartitionList::new();
        for (partition, range) in ranges {
            if let Err(error) = list.add_partition_offset(&self.name, partition.0, KafkaOffset::Offset(range.end.0)) {
                warn!(%error, "group offset not shown");
            }
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            warn!(%error, "group offsets not shown");
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why librdkafka is not connected; it tells only while it is polled.
    fn reason(&self) -> Option<String> {
        let polling = Stopwatch::start();
        while self.consumer.context().last_error().is_none() && polling.elapsed() < Duration::from_millis(100) {
            self.consumer.poll(Duration::from_millis(20));
        }
        self.consumer.context().last_error()
    }

    fn broken(&self, error: &Refusal) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                KafkaError::NoTopic { topic: self.name.clone(), brokers: self.brokers.clone(), near: None }
            }
            Some(code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)) => {
                KafkaError::Refused(code.to_string())
            }
            _ => KafkaError::Unreachable {
                brokers: self.brokers.clone(),
                waited: PATIENCE,
                reason: Some(error.to_string()),
            },
        }
    }
}

/// What consumers and producers of a job have in common; the job's own properties win.
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
    fn last_error(&self) -> Option<String> {
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
