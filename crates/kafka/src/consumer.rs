//! A connection to the topics of a job: their partitions, what these hold, where to start, what to show to lag tools.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError as Refusal;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{debug, info, warn};

use wardwatch_config::{SourceSpec, Start, TopicSelection};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::diagnostic::nearest;
use wardwatch_model::terms::{Offset, Partition, Positions, Ranges};
use wardwatch_model::topics::Topics;

use super::client::{Listener, client_config};
use super::error::KafkaError;
use super::reader::Reader;
use super::topic_ids::topic_ids;

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

/// So much may librdkafka fetch ahead of each partition where a job reads several topics: each partition has a queue of its own then.
const AHEAD_OF_EACH: (&str, &str) = ("queued.max.messages.kbytes", "2048");

/// A consumer for the topics of a job, one of which exists at least.
pub struct Consumer {
    pub(super) client: Arc<BaseConsumer<Listener>>,
    selection: TopicSelection,
    /// Those of each source.
    of_sources: Vec<TopicSelection>,
    topics: Topics,
    brokers: String,
    /// A broker that answers for the topics: the leader of one of their partitions.
    broker: AtomicI32,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Connects and finds the topics, trying again until `patience` has passed or `stopped` says so.
    ///
    /// # Errors
    /// No broker answers, a topic does not exist, no topic meets a pattern, or librdkafka refuses a property.
    pub fn connect(spec: &SourceSpec, patience: Duration, stopped: &dyn Fn() -> bool) -> Result<Self, KafkaError> {
        let mut config = client_config(spec);
        let several = spec.topics.is_several().then_some(AHEAD_OF_EACH);
        for (name, value) in FETCHING.into_iter().chain(several) {
            if !spec.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        let client: BaseConsumer<Listener> = config
            .set("group.id", &spec.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .create_with_context(Listener::default())
            .map_err(|error| KafkaError::Property(error.to_string()))?;
        let consumer = Self {
            client: Arc::new(client),
            selection: spec.topics.clone(),
            of_sources: (0..=spec.others.len()).map(|source| spec.topics_of(source).clone()).collect(),
            topics: Topics::default(),
            brokers: spec.brokers.clone(),
            broker: AtomicI32::new(0),
        };
        let waiting = Stopwatch::start();
        loop {
            let left = waiting.left_of(patience);
            match consumer.found(left.clamp(Duration::from_millis(100), PATIENCE)) {
                Err(KafkaError::Unreachable { .. }) => {
                    let reason = consumer.reason();
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
                Ok(found) => {
                    consumer.number(found.keys())?;
                    return Ok(consumer);
                }
            }
        }
    }

    /// Has topics the numbers that a store has kept; those without get the next.
    ///
    /// # Errors
    /// There are more topics than numbers.
    pub fn with_numbers(mut self, topics: &Topics) -> Result<Self, KafkaError> {
        let found = std::mem::replace(&mut self.topics, topics.clone());
        self.number(found.names().iter().map(|(_, name)| &**name))?;
        Ok(self)
    }

    /// The topics that are read.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    fn number(&self, names: impl Iterator<Item = impl AsRef<str>>) -> Result<(), KafkaError> {
        let found: BTreeSet<String> = names.map(|name| name.as_ref().to_owned()).collect();
        // In the order of the job file; what meets a pattern, by name.
        let named = self.selection.names().filter(|name| found.contains(*name));
        let others = found.iter().map(String::as_str);
        for name in named.chain(others) {
            if self.topics.read(name).is_none() {
                return Err(KafkaError::Refused(format!("topic \"{name}\" is one too many: so many have no numbers")));
            }
        }
        Ok(())
    }

    /// Asks Kafka for the ids of topics whose id is not known yet: [`Topics::id_of`] tells them.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn find_ids(&self) -> Result<(), KafkaError> {
        let is_unknown = |name: &Arc<str>| self.topics.id_of(name).is_none();
        let unknown: Vec<Arc<str>> = self.topics.names().into_iter().map(|(_, name)| name).filter(is_unknown).collect();
        for (topic, id) in self.ask_for_ids(&unknown, PATIENCE)? {
            self.topics.note_id(&topic, &id);
        }
        Ok(())
    }

    /// Makes sure that what was read so far is of the topics whose ids were found. A broker that does not answer, or a
    /// topic that is gone, has no other one.
    ///
    /// # Errors
    /// [`KafkaError::Replaced`], or [`KafkaError::MadeAnew`] where a pattern found it.
    pub fn check_ids(&self) -> Result<(), KafkaError> {
        let known = |(_, name): (i32, Arc<str>)| Some((Arc::clone(&name), self.topics.id_of(&name)?));
        let known: BTreeMap<Arc<str>, Arc<str>> = self.topics.names().into_iter().filter_map(known).collect();
        let names: Vec<Arc<str>> = known.keys().cloned().collect();
        let now = self.ask_for_ids(&names, Duration::from_secs(1)).unwrap_or_default();
        let replaced = |(topic, was): &(&Arc<str>, &Arc<str>)| now.get(&***topic).is_some_and(|is| **is != ***was);
        match known.iter().find(replaced) {
            None => Ok(()),
            Some((topic, _)) if !self.is_named(topic) => Err(KafkaError::MadeAnew { topic: topic.to_string() }),
            Some((topic, was)) => {
                Err(KafkaError::Replaced { topic: topic.to_string(), was: was.to_string(), is: now[&**topic].clone() })
            }
        }
    }

    /// Whether the job names a topic; others are found by its patterns, and come and go.
    #[must_use]
    pub fn is_named(&self, topic: &str) -> bool {
        self.selection.names().any(|name| name == topic)
    }

    fn ask_for_ids(&self, topics: &[Arc<str>], patience: Duration) -> Result<BTreeMap<String, String>, KafkaError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let broker = self.broker.load(Ordering::Relaxed);
        topic_ids(self.client.client().native_ptr(), broker, topics, patience)
            .map_err(|code| self.broken(&Refusal::MetadataFetch(code.into())))
    }

    /// The partitions that the topics have now. Topics that are new get numbers.
    ///
    /// # Errors
    /// The broker does not answer, or a topic does not exist.
    pub fn partitions(&self, patience: Duration) -> Result<Vec<Partition>, KafkaError> {
        let found = self.found(patience)?;
        self.number(found.keys())?;
        let numbered = found.iter().flat_map(|(topic, numbers)| numbers.iter().map(move |number| (topic, *number)));
        let partitions = numbered.map(|(topic, number)| {
            self.topics.partition(topic, number).ok_or_else(|| {
                KafkaError::Refused(format!("topic \"{topic}\" has a partition {number}: so many have no numbers"))
            })
        });
        partitions.collect()
    }

    /// The topics that are selected and exist, with Kafka's numbers of their partitions.
    fn found(&self, patience: Duration) -> Result<BTreeMap<String, Vec<i32>>, KafkaError> {
        let mut found = BTreeMap::new();
        if self.selection.has_pattern() {
            let all = self.client.fetch_metadata(None, patience).map_err(|e| self.broken(&e))?;
            let taken = all.topics().iter().filter(|topic| self.selection.takes(topic.name()));
            taken.for_each(|topic| self.take_topic(topic, &mut found));
        }
        for name in self.selection.names() {
            if !found.contains_key(name) {
                let metadata = self.client.fetch_metadata(Some(name), patience).map_err(|e| self.broken(&e))?;
                let own = metadata.topics().iter().filter(|topic| topic.name() == name);
                own.for_each(|topic| self.take_topic(topic, &mut found));
            }
            if !found.contains_key(name) {
                return Err(self.no_topic(name, patience));
            }
        }
        let of_none = match self.of_sources.len() {
            1 => found.is_empty().then_some(&self.selection),
            // Each has records of its own to miss.
            _ => self.of_sources.iter().find(|topics| !found.keys().any(|topic| topics.takes(topic))),
        };
        match of_none {
            Some(topics) => Err(KafkaError::NoneMeets { pattern: topics.to_string(), brokers: self.brokers.clone() }),
            None => Ok(found),
        }
    }

    fn take_topic(&self, topic: &MetadataTopic, found: &mut BTreeMap<String, Vec<i32>>) {
        let numbers: Vec<i32> = topic.partitions().iter().map(MetadataPartition::id).collect();
        if let Some(leader) = topic.partitions().iter().map(MetadataPartition::leader).find(|id| *id >= 0) {
            self.broker.store(leader, Ordering::Relaxed);
        }
        if !numbers.is_empty() {
            found.insert(topic.name().to_owned(), numbers);
        }
    }

    fn no_topic(&self, topic: &str, patience: Duration) -> KafkaError {
        let names: Vec<String> = match self.client.fetch_metadata(None, patience) {
            Ok(metadata) => metadata.topics().iter().map(|topic| topic.name().to_owned()).collect(),
            Err(error) => return self.broken(&error),
        };
        KafkaError::NoTopic {
            // One that has just been made is listed before it can be read.
            near: nearest(topic, names.iter().map(String::as_str).filter(|name| *name != topic)).map(str::to_owned),
            topic: topic.to_owned(),
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
        let topic = self.topics.name_of(partition);
        let (low, high) = self.client.fetch_watermarks(&topic, partition.number(), patience)?;
        Ok((Offset(low), Offset(high)))
    }

    /// Where a job starts with the partitions that it does not know.
    ///
    /// A job that knows nothing of a topic starts where it is told to. Once it knows some of its partitions, the others were added
    /// since: all of their records came after it began, so they are read from the first. So are topics that a pattern finds later.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn starts(&self, start: Start, bounds: &Bounds, known: &Positions) -> Result<Positions, KafkaError> {
        let unknown: Bounds =
            bounds.iter().filter(|(partition, _)| !known.contains_key(partition)).map(|(p, b)| (*p, *b)).collect();
        if start == Start::Earliest {
            return Ok(unknown.iter().map(|(partition, (low, _))| (*partition, *low)).collect());
        }
        let topic_of = |partition: &Partition| self.topics.name_of(*partition);
        let known_topics: BTreeSet<Arc<str>> = known.keys().map(topic_of).collect();
        let named: BTreeSet<&str> = self.selection.names().collect();
        let is_added = |partition: &Partition| {
            let topic = topic_of(partition);
            known_topics.contains(&topic) || (!known.is_empty() && !named.contains(&*topic))
        };
        let (added, unknown): (Bounds, Bounds) = unknown.into_iter().partition(|(partition, _)| is_added(partition));
        let mut starts = Positions::new();
        for (partition, (low, _)) in added {
            info!(partition = %self.topics.show(partition), start = %low, "new partition");
            starts.insert(partition, low);
        }
        match start {
            Start::At(time) if !unknown.is_empty() => starts.extend(self.first_since(time, &unknown)?),
            _ => starts.extend(unknown.into_iter().map(|(partition, (_, high))| (partition, high))),
        }
        Ok(starts)
    }

    fn first_since(&self, time: DateTime<Utc>, bounds: &Bounds) -> Result<Positions, KafkaError> {
        let mut asked = TopicPartitionList::new();
        for partition in bounds.keys() {
            asked
                .add_partition_offset(
                    &self.topics.name_of(*partition),
                    partition.number(),
                    KafkaOffset::Offset(time.timestamp_millis()),
                )
                .map_err(|error| KafkaError::Refused(error.to_string()))?;
        }
        let found = self.client.offsets_for_times(asked, PATIENCE).map_err(|error| self.broken(&error))?;
        Ok(found
            .elements()
            .iter()
            .filter_map(|element| {
                let partition = self.topics.partition(element.topic(), element.partition())?;
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
        let name = self.topics.name_of(partition);
        let metadata = self.client.fetch_metadata(Some(&name), Duration::from_secs(1)).ok()?;
        let topic = metadata.topics().iter().find(|topic| *topic.name() == *name)?;
        let error = topic.error().or_else(|| {
            topic.partitions().iter().find(|known| known.id() == partition.number()).and_then(|known| known.error())
        });
        error.map(|code| RDKafkaErrorCode::from(code).to_string())
    }

    /// Reads these partitions from these offsets on, and no others; whoever read before gets nothing more.
    ///
    /// # Errors
    /// librdkafka refuses an offset.
    pub fn read(&self, positions: &Positions) -> Result<Reader, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let topic = self.topics.name_of(*partition);
            list.add_partition_offset(&topic, partition.number(), KafkaOffset::Offset(offset.0))
                .map_err(|error| KafkaError::Refused(error.to_string()))?;
        }
        self.client.assign(&list).map_err(|error| KafkaError::Refused(error.to_string()))?;
        Ok(Reader::of(&self.client, &self.topics, positions))
    }

    /// Stops or goes on fetching; what librdkafka has already fetched stays where it is.
    pub fn set_paused(&self, paused: bool) {
        let changed = self
            .client
            .assignment()
            .and_then(|all| if paused { self.client.pause(&all) } else { self.client.resume(&all) });
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
            list.add_partition(&self.topics.name_of(*partition), partition.number());
        }
        let changed = if paused { self.client.pause(&list) } else { self.client.resume(&list) };
        match changed {
            Ok(()) => debug!(paused, ?partitions, "fetching"),
            Err(error) => warn!(%error, paused, ?partitions, "fetching could not be paused or resumed"),
        }
    }

    /// Tells Kafka how far records were taken, for lag tools. A failure is logged and changes nothing.
    pub fn commit_group_offsets(&self, ranges: &Ranges) {
        let mut list = TopicPartitionList::new();
        for (partition, range) in ranges {
            let (topic, end) = (self.topics.name_of(*partition), KafkaOffset::Offset(range.end.0));
            if let Err(error) = list.add_partition_offset(&topic, partition.number(), end) {
                warn!(%error, "group offset not shown");
            }
        }
        if let Err(error) = self.client.commit(&list, CommitMode::Async) {
            warn!(%error, "group offsets not shown");
        }
    }

    /// Why librdkafka is not connected; it tells only while it is polled.
    fn reason(&self) -> Option<String> {
        let polling = Stopwatch::start();
        while self.client.context().last_error().is_none() && polling.elapsed() < Duration::from_millis(100) {
            self.client.poll(Duration::from_millis(20));
        }
        self.client.context().last_error()
    }

    fn broken(&self, error: &Refusal) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => KafkaError::NoTopic { topic: self.selection.to_string(), brokers: self.brokers.clone(), near: None },
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
