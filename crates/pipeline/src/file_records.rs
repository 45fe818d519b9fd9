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
/// Where that one's records are JSON, lines of text, or CSV whose header the job names, each line is one, and so is a value of JSON that is written over
/// several. Otherwise the file is one as it
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
    // Compressed, it has no lines, whatever it is.
    let has_lines = has_lines && !bytes.starts_with(&[0x1f, 0x8b]);
    let lines = || (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
    let kept = |(line, text): (usize, &[u8])| kept_record(text).map(|record| FileRecord { line, ..record });
    let all_kept: Option<Vec<FileRecord>> = lines().map(kept).collect();
    if let Some(records) = all_kept.filter(|records| !records.is_empty()) {
        return Ok(records);
    }
    if !has_lines {
        return Ok(vec![FileRecord { line: 1, payload: Some(bytes), ..FileRecord::default() }]);
    }
    let is_json =
        job.source.forms.iter().filter(|form| form.source == source).all(|form| matches!(form.format, Format::Json));
    if let Some(records) = documents(&bytes).filter(|_| is_json) {
        return Ok(records);
    }
    let plain = |(line, text): (usize, &[u8])| {
        kept((line, text)).unwrap_or_else(|| FileRecord { line, payload: Some(text.to_vec()), ..FileRecord::default() })
    };
    Ok(lines().map(plain).collect())
}

/// The values of a file of JSON that are written over several lines, each a record; `None` where each line has its own.
fn documents(bytes: &[u8]) -> Option<Vec<FileRecord>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    if serde_json::from_slice::<Json>(first).is_ok() {
        return None;
    }
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Json>();
    let mut records = Vec::new();
    let mut start = 0;
    while let Some(value) = values.next() {
        value.ok()?;
        let text = &bytes[start..values.byte_offset()];
        let before = text.len() - text.trim_ascii_start().len();
        let line = 1 + bytes[..start + before].iter().filter(|byte| **byte == b'\n').count();
        records.push(FileRecord { line, payload: Some(text.trim_ascii().to_vec()), ..FileRecord::default() });
        start = values.byte_offset();
    }
    (!records.is_empty()).then_some(records)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Option<Vec<(usize, String)>> {
        let text_of = |record: FileRecord| String::from_utf8(record.payload.unwrap_or_default()).unwrap();
        documents(text.as_bytes()).map(|all| all.into_iter().map(|record| (record.line, text_of(record))).collect())
    }

    #[test]
    fn json_over_several_lines_is_one_record() {
        assert_eq!(lines("{\"a\":1}\n{\n \"b\": 2\n}\n"), None, "each line has its own, as far as the first shows");
        let written = lines("{\n \"a\": 1\n}\n\n[\n2\n]\n");
        assert_eq!(written, Some(vec![(1, "{\n \"a\": 1\n}".to_owned()), (5, "[\n2\n]".to_owned())]));
        assert_eq!(lines("BPM: 72\n{\"a\":1}\n"), None, "what is no JSON is read line by line");
    }
}
