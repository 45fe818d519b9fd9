//! Records of a file, as a topic would have them: samples that people keep, or what a tool has written of a topic.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use wardwatch_config::{Format, Job};
use wardwatch_ingest::decode::{RawRecord, RawRecords};
use wardwatch_kafka::{Consumer, KafkaError, Polled};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::{Offset, Partition, Positions};
use wardwatch_model::topics::Topics;

/// A record of a file.
#[derive(Debug, Clone, Default)]
pub struct FileRecord {
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// Its topic, where that is known.
    pub topic: Option<String>,
    /// Its partition, by its number in the topic.
    pub partition: i32,
    /// When Kafka stamped it, in milliseconds since 1970.
    pub stamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
}

impl FileRecord {
    /// Adds it to `records` as the one at `offset`, with those of `headers` that it has. Its topic is made one of `topics`.
    pub fn push(&self, records: &mut RawRecords, offset: Offset, headers: &[String], topics: &Topics) {
        let header = |name: &String| {
            let found = self.headers.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_slice())
        };
        let headers: Vec<Option<&[u8]>> = headers.iter().map(header).collect();
        let partition = match &self.topic {
            Some(topic) => topics.read(topic).and_then(|number| Partition::of_topic(number, self.partition)),
            None => Partition::of_topic(0, self.partition),
        };
        let partition = partition.unwrap_or(Partition(0));
        records.push(RawRecord {
            partition,
            offset,
            stamp: self.stamp,
            key: self.key.as_deref(),
            headers: &headers,
            payload: self.payload.as_deref(),
        });
    }
}

/// The records of `file`, which are of the source at this place where they do not say of which topic they are.
///
/// Where that one's records are JSON, lines of text, or CSV whose header the job names, each line is one. Otherwise the file is one as it
/// is: HL7 v2 (of several messages), CSV with its header, a message of Avro or Protobuf. A line that says what else Kafka has of a record,
/// `{"key": …, "timestamp_ms": …, "headers": {…}, "value": …}` (or `"value_b64"`, with which `headers` may be missing), is that record, in every form.
///
/// # Errors
/// The file cannot be read.
pub fn records_of_file(job: &Job, file: &Path, source: usize) -> std::io::Result<Vec<FileRecord>> {
    let bytes = std::fs::read(file)?;
    let mut own = job.source.forms.iter().filter(|form| form.source == source);
    let has_lines = own.all(|form| match &form.format {
        Format::Json | Format::Text(_) => true,
        Format::Csv(csv) => !csv.header.is_empty(),
        Format::Hl7v2 | Format::Avro(_) | Format::Protobuf { .. } => false,
    });
    let lines = || (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
    let kept = |(line, text): (usize, &[u8])| kept_record(text).map(|record| FileRecord { line, ..record });
    let all_kept: Option<Vec<FileRecord>> = lines().map(kept).collect();
    if let Some(records) = all_kept.filter(|records| !records.is_empty()) {
        return Ok(records);
    }
    if !has_lines {
        return Ok(vec![FileRecord { line: 1, payload: Some(bytes), ..FileRecord::default() }]);
    }
    let plain = |(line, text): (usize, &[u8])| {
        kept((line, text)).unwrap_or_else(|| FileRecord { line, payload: Some(text.to_vec()), ..FileRecord::default() })
    };
    Ok(lines().map(plain).collect())
}

/// The newest `count` records of the job's topics, in the order of their stamps, with these headers; their offset stands for the line.
///
/// # Errors
/// Kafka does not answer.
pub fn newest_records(
    job: &Job,
    count: usize,
    headers: &[String],
    patience: Duration,
) -> Result<Vec<FileRecord>, KafkaError> {
    let consumer = Consumer::connect(&job.source, patience, &|| false)?;
    let wanted = i64::try_from(count).unwrap_or(i64::MAX);
    let bounds = consumer.bounds()?;
    let mut open: BTreeMap<Partition, Offset> = BTreeMap::new();
    let mut positions = Positions::new();
    for (partition, (low, end)) in bounds.into_iter().filter(|(_, (low, end))| low < end) {
        positions.insert(partition, Offset(low.0.max(end.0.saturating_sub(wanted))));
        open.insert(partition, end);
    }
    let mut reader = consumer.read(&positions)?;
    let mut records = Vec::new();
    let waiting = Stopwatch::start();
    while !open.is_empty() && waiting.elapsed() < patience {
        let mut is_to_be_read_anew = false;
        match reader.poll(Duration::from_millis(50)) {
            Polled::Record(record) => {
                let (partition, offset) = record.place();
                positions.insert(partition, Offset(offset.0 + 1));
                let header = |name: &String| Some((name.clone(), record.header(name)?.to_vec()));
                records.push(FileRecord {
                    line: usize::try_from(offset.0).unwrap_or_default(),
                    topic: Some(consumer.topics().name_of(partition).to_string()),
                    partition: partition.number(),
                    stamp: record.stamp(),
                    key: record.key().map(<[u8]>::to_vec),
                    headers: headers.iter().filter_map(header).collect(),
                    payload: record.payload().map(<[u8]>::to_vec),
                });
                if open.get(&partition).is_some_and(|end| offset.0 + 1 >= end.0) {
                    open.remove(&partition);
                }
            }
            Polled::End(partition) => drop(open.remove(&partition)),
            Polled::SomeEnd => is_to_be_read_anew = true,
            Polled::Nothing => {}
            Polled::OutOfRange(reason) | Polled::NoTopic(reason) | Polled::Refused(reason) | Polled::Away(reason) => {
                tracing::warn!(reason, "reading samples");
            }
        }
        if is_to_be_read_anew {
            positions.retain(|partition, _| open.contains_key(partition));
            reader = consumer.read(&positions)?;
        }
    }
    records.sort_by_key(|record| (record.stamp, record.partition, record.line));
    let skipped = records.len().saturating_sub(count);
    Ok(records.split_off(skipped))
}

/// A record that a line keeps with what Kafka has beside its value; `None` where it is none.
fn kept_record(line: &[u8]) -> Option<FileRecord> {
    let kept: Json = serde_json::from_slice(line).ok()?;
    let kept = kept.as_object()?;
    const BESIDE: [&str; 8] = ["topic", "partition", "offset", "key", "timestamp_ms", "headers", "value", "value_b64"];
    let is_value = |name: &&str| kept.contains_key(*name);
    let value = ["value", "value_b64"].into_iter().find(is_value)?;
    // A record of one vital may have a key and a value too.
    let is_told = value == "value_b64" || kept.contains_key("headers");
    if !is_told || !kept.keys().all(|name| BESIDE.contains(&name.as_str())) {
        return None;
    }
    let bytes = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    };
    let payload = match (value, &kept[value]) {
        ("value_b64", Json::String(text)) => Some(wardwatch_ingest::decode::from_base64(text)?),
        ("value_b64", Json::Null) => None,
        ("value_b64", _) => return None,
        (_, value) => bytes(value),
    };
    let headers = kept.get("headers").and_then(Json::as_object);
    let headers = headers.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), bytes(value)?)));
    Some(FileRecord {
        line: 0,
        topic: kept.get("topic").and_then(Json::as_str).map(str::to_owned),
        partition: kept
            .get("partition")
            .and_then(Json::as_i64)
            .and_then(|number| i32::try_from(number).ok())
            .unwrap_or(0),
        stamp: kept.get("timestamp_ms").and_then(Json::as_i64),
        key: kept.get("key").and_then(bytes),
        headers: headers.collect(),
        payload,
    })
}
