//! Which number each topic of a job has in the numbers of partitions, and how places stand in tables: by topic and by Kafka's number.

use std::collections::BTreeSet;

use wardwatch_config::TopicSelection;
use wardwatch_model::terms::Partition;
use wardwatch_model::topics::Topics;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, insert_system};
use super::quote::quoted;
use super::system::{OFFSETS, TOPIC_NUMBERS};

impl Store {
    /// The job's topics with the numbers that they have; those of `selection` are read.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn topics(&mut self, selection: &TopicSelection) -> Result<Topics, StoreError> {
        let topics = Topics::known(self.topic_numbers()?, |topic| selection.takes(topic));
        // A job of an earlier version has read one topic, which has no number yet.
        let read = self.read_topics()?;
        let named = selection.names().filter(|name| read.contains(*name));
        let others = read.iter().map(String::as_str).filter(|name| selection.takes(name));
        for topic in named.chain(others) {
            topics.read(topic);
        }
        Ok(topics)
    }

    fn topic_numbers(&mut self) -> Result<Vec<(String, i32)>, StoreError> {
        if self.database.columns(TOPIC_NUMBERS)?.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT `topic`, `number` FROM {} WHERE `job`=? ORDER BY `number`", quoted(TOPIC_NUMBERS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let numbered =
            |row: &Vec<Value>| Some((row.first()?.as_text()?.to_owned(), i32::try_from(row.get(1)?.as_int()?).ok()?));
        Ok(rows.iter().filter_map(numbered).collect())
    }

    /// The topics of which offsets are kept.
    fn read_topics(&mut self) -> Result<BTreeSet<String>, StoreError> {
        if self.database.columns(OFFSETS)?.is_empty() {
            return Ok(BTreeSet::new());
        }
        let sql = format!("SELECT DISTINCT `topic` FROM {} WHERE `job`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(rows.iter().filter_map(|row| row.first()?.as_text().map(str::to_owned)).collect())
    }

    /// The topics whose numbers are not kept yet.
    pub(super) fn unnumbered(&mut self, topics: &Topics) -> Result<Vec<Vec<Value>>, StoreError> {
        let known: BTreeSet<String> = self.topic_numbers()?.into_iter().map(|(topic, _)| topic).collect();
        let new = topics.names().into_iter().filter(|(_, topic)| !known.contains(&**topic));
        Ok(new
            .map(|(number, topic)| vec![Value::text(&self.job), Value::Int(number.into()), Value::text(&topic)])
            .collect())
    }

    /// Keeps the numbers of topics. Another process that has given one of them to another topic is ahead of this one, which fails.
    pub(super) fn write_topic_numbers(&mut self, new: Vec<Vec<Value>>) -> Result<(), StoreError> {
        insert_system(self.database.as_mut(), TOPIC_NUMBERS, Duplicates::Refused, &mut new.into_iter())
    }
}

/// Topic and number of a partition, as tables keep them.
pub(super) fn partition_values(topics: &Topics, partition: Partition) -> [Value; 2] {
    [Value::text(&topics.name_of(partition)), Value::Int(partition.number().into())]
}

/// The partition of a row that begins with topic and number; `None` where the topic is none of those that are read.
pub(super) fn partition_of(topics: &Topics, row: &[Value]) -> Option<Partition> {
    topics.partition(row.first()?.as_text()?, i32::try_from(row.get(1)?.as_int()?).ok()?)
}
