//! The topics that a job reads. Each has a number, and the number of a partition tells of which topic it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::terms::Partition;

/// So many partitions of a topic have numbers. Kafka's advice is far below; a whole cluster has about so many.
const PARTITIONS: i32 = 1 << 16;

/// So many topics have numbers, the first of them 0.
const TOPICS: i32 = i32::MAX / PARTITIONS;

/// The topics that a job reads, and their numbers. All who hold a copy see the topics that are found while the job runs.
///
/// A number is for ever: what is kept by partition stays with its topic, whatever the order in which a job file names topics.
#[derive(Debug, Clone, Default)]
pub struct Topics(Arc<RwLock<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    /// Those that are read.
    read: BTreeMap<i32, Arc<str>>,
    /// Those that have been, and keep their numbers.
    former: BTreeMap<Arc<str>, i32>,
    /// Kafka's ids of topics.
    ids: BTreeMap<Arc<str>, Arc<str>>,
}

impl Numbers {
    fn of(&self, topic: &str) -> Option<i32> {
        self.read.iter().find(|(_, name)| ***name == *topic).map(|(number, _)| *number)
    }

    fn next(&self) -> i32 {
        let read = self.read.last_key_value().map(|(number, _)| *number);
        read.into_iter().chain(self.former.values().copied()).max().map_or(0, |last| last + 1)
    }
}

impl Topics {
    /// Topics that have numbers; those that are not read any more only keep theirs.
    pub fn known(numbers: impl IntoIterator<Item = (String, i32)>, is_read: impl Fn(&str) -> bool) -> Self {
        let (read, former): (Vec<_>, Vec<_>) = numbers.into_iter().partition(|(name, _)| is_read(name));
        Self(Arc::new(RwLock::new(Numbers {
            read: read.into_iter().map(|(name, number)| (number, name.into())).collect(),
            former: former.into_iter().map(|(name, number)| (name.into(), number)).collect(),
            ids: BTreeMap::new(),
        })))
    }

    /// Has all copies of this one know what `other` does, and nothing else.
    pub fn take_over(&self, other: Self) {
        let numbers = std::mem::take(&mut *other.0.write().unwrap_or_else(PoisonError::into_inner));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = numbers;
    }

    /// A topic alone.
    #[must_use]
    pub fn one(name: &str) -> Self {
        Self::known([(name.to_owned(), 0)], |_| true)
    }

    /// Reads `topic` too, which gets the next number if it has none. `None` where there are no more numbers.
    pub fn read(&self, topic: &str) -> Option<i32> {
        let mut numbers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.of(topic) {
            return Some(number);
        }
        let number = numbers.former.remove(topic).unwrap_or_else(|| numbers.next());
        if number >= TOPICS {
            return None;
        }
        numbers.read.insert(number, topic.into());
        Some(number)
    }

    /// Those that are read, in the order of their numbers.
    #[must_use]
    pub fn names(&self) -> Vec<(i32, Arc<str>)> {
        self.with(|numbers| numbers.read.iter().map(|(number, name)| (*number, Arc::clone(name))).collect())
    }

    /// Takes note of Kafka's id of a topic, which is another once it is deleted and made again.
    pub fn note_id(&self, topic: &str, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).ids.insert(topic.into(), id.into());
    }

    /// Kafka's id of a topic; `None` where nobody has asked for it, or the brokers know none.
    #[must_use]
    pub fn id_of(&self, topic: &str) -> Option<Arc<str>> {
        self.with(|numbers| numbers.ids.get(topic).cloned())
    }

    /// The partition of `topic` that Kafka gives this number; `None` where the topic is not read, or the number is none.
    #[must_use]
    pub fn partition(&self, topic: &str, number: i32) -> Option<Partition> {
        let topic = self.with(|numbers| numbers.of(topic))?;
        Partition::of_topic(topic, number)
    }

    /// The topic of a partition; empty where it is none of those that are read.
    #[must_use]
    pub fn name_of(&self, partition: Partition) -> Arc<str> {
        self.with(|numbers| numbers.read.get(&partition.topic()).cloned().unwrap_or_default())
    }

    /// The partition as people know it: its number and, where several topics are read, its topic in front.
    #[must_use]
    pub fn show(&self, partition: Partition) -> ShownPartition {
        let topic = self.with(|numbers| match numbers.read.len() {
            0 | 1 => None,
            _ => numbers.read.get(&partition.topic()).cloned(),
        });
        ShownPartition { topic, number: partition.number() }
    }

    /// The partition that [`Topics::show`] shows so.
    #[must_use]
    pub fn find(&self, shown: &str) -> Option<Partition> {
        match shown.rsplit_once('/') {
            Some((topic, number)) => self.partition(topic, number.parse().ok()?),
            None => {
                let names = self.names();
                let [(_, only)] = &names[..] else { return None };
                self.partition(only, shown.parse().ok()?)
            }
        }
    }

    fn with<T>(&self, look: impl FnOnce(&Numbers) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A partition as people know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShownPartition {
    topic: Option<Arc<str>>,
    number: i32,
}

impl fmt::Display for ShownPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Some(topic) => write!(f, "{topic}/{}", self.number),
            None => self.number.fmt(f),
        }
    }
}

impl Partition {
    /// The partition with this number of Kafka's of the topic with that number; `None` where there is no such.
    #[must_use]
    pub fn of_topic(topic: i32, number: i32) -> Option<Self> {
        ((0..PARTITIONS).contains(&number) && (0..TOPICS).contains(&topic)).then(|| Self(topic * PARTITIONS + number))
    }

    /// Its number in its topic, which is Kafka's.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0.rem_euclid(PARTITIONS)
    }

    /// Whether both are of one topic.
    #[must_use]
    pub fn is_of_topic_of(self, other: Self) -> bool {
        self.topic() == other.topic()
    }

    fn topic(self) -> i32 {
        self.0.div_euclid(PARTITIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_of_the_first_topic_has_the_number_that_kafka_gives_it() {
        let topics = Topics::one("vitals");
        assert_eq!(topics.partition("vitals", 3), Some(Partition(3)));
        assert_eq!(topics.show(Partition(3)).to_string(), "3");
        assert_eq!(topics.find("3"), Some(Partition(3)));
        assert_eq!(topics.partition("labs", 3), None);
        assert_eq!(topics.partition("vitals", PARTITIONS), None);
    }

    #[test]
    fn topics_keep_their_numbers_whoever_is_read() {
        let topics = Topics::known([("a".to_owned(), 0), ("b".to_owned(), 1)], |name| name == "b");
        assert_eq!((topics.read("c"), topics.read("b"), topics.read("a")), (Some(2), Some(1), Some(0)));
        let partition = topics.partition("c", 5).expect("it is read");
        assert_eq!(partition, Partition(2 * PARTITIONS + 5));
        assert_eq!((&*topics.name_of(partition), partition.number()), ("c", 5));
        assert_eq!(topics.show(partition).to_string(), "c/5");
        assert_eq!(topics.find("c/5"), Some(partition));
        assert_eq!(topics.find("5"), None, "of which topic?");
    }

    #[test]
    fn a_copy_sees_what_is_found_later() {
        let topics = Topics::one("a");
        let copy = topics.clone();
        assert_eq!(topics.read("b"), Some(1));
        assert_eq!(copy.names(), [(0, "a".into()), (1, "b".into())]);
        assert_eq!(&*copy.name_of(Partition(7 * PARTITIONS)), "");
    }
}
