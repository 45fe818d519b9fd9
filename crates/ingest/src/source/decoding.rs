//! Decoding beside fetching: chunks of records in, decoded chunks out in the same order, by a thread of its own.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::decode::ZONE_HINT;

use wardwatch_model::record::Reject;

use super::error::SourceError;
use crate::decode::{Decoded, Decoder, RawRecords};

/// So many chunks may wait to be decoded; then fetching waits too, and memory stays bounded.
const WAITING: usize = 2;

/// The thread "decode", and what is on its way to it and back.
#[derive(Debug)]
pub(super) struct Decoding {
    /// Ends the thread when it is gone.
    chunks: Option<SyncSender<RawRecords>>,
    decoded: Receiver<(Decoded, RawRecords)>,
    /// How many chunks are on their way.
    under_way: usize,
    done: Vec<Decoded>,
    /// Chunks that are empty again; their memory is of use.
    emptied: Vec<RawRecords>,
    thread: Option<JoinHandle<()>>,
}

impl Decoding {
    pub(super) fn start(decoder: Decoder) -> Result<Self, SourceError> {
        let (chunks, to_decode) = sync_channel(WAITING);
        let (sender, decoded) = channel();
        let thread = std::thread::Builder::new()
            .name("decode".to_owned())
            .spawn(move || decode(decoder, &to_decode, &sender))
            .map_err(SourceError::Thread)?;
        Ok(Self {
            chunks: Some(chunks),
            decoded,
            under_way: 0,
            done: Vec::new(),
            emptied: Vec::new(),
            thread: Some(thread),
        })
    }

    /// Has a chunk decoded; returns an empty one to fill.
    pub(super) fn give(&mut self, chunk: RawRecords) -> RawRecords {
        while let Ok((decoded, emptied)) = self.decoded.try_recv() {
            self.take(decoded, emptied);
        }
        let sent = self.chunks.as_ref().is_some_and(|chunks| chunks.send(chunk).is_ok());
        assert!(sent, "the thread decodes for as long as it is given chunks");
        self.under_way += 1;
        self.emptied.pop().unwrap_or_default()
    }

    /// All that was given since the last time, decoded.
    pub(super) fn finish(&mut self) -> Vec<Decoded> {
        while self.under_way > 0 {
            let (decoded, emptied) =
                self.decoded.recv().unwrap_or_else(|_| panic!("the thread gives back every chunk that it is given"));
            self.take(decoded, emptied);
        }
        std::mem::take(&mut self.done)
    }

    fn take(&mut self, decoded: Decoded, emptied: RawRecords) {
        self.under_way -= 1;
        self.done.push(decoded);
        self.emptied.push(emptied);
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the decode thread panicked");
        }
    }
}

/// Ends when no more chunks can come, or nobody wants them.
fn decode(mut decoder: Decoder, chunks: &Receiver<RawRecords>, decoded: &Sender<(Decoded, RawRecords)>) {
    let mut has_told = false;
    while let Ok(mut chunk) = chunks.recv() {
        let rows = decoder.decode(&chunk);
        if !has_told && let Some(reason) = wrong_zone(&rows.rejects, chunk.len()) {
            tracing::warn!(records = chunk.len(), reason, "times are ahead of Kafka's stamps by the same hours");
            has_told = true;
        }
        chunk.clear();
        if decoded.send((rows, chunk)).is_err() {
            return;
        }
    }
}

/// What is said of the first of `rejects` where half of so many records, or more, are rejects whose times are ahead by the same
/// multiple of a quarter of an hour: another time zone is meant.
fn wrong_zone(rejects: &[Reject], records: usize) -> Option<&str> {
    let quarters = |reject: &Reject| {
        let minutes = (reject.event_time? - reject.stamped_at?).num_minutes();
        Some((minutes + 7).div_euclid(15)).filter(|quarters| *quarters >= 2)
    };
    let hinting = rejects.iter().find(|reject| reject.reason.contains(ZONE_HINT))?;
    let alike = rejects.iter().filter(|reject| quarters(reject) == quarters(hinting)).count();
    (alike * 2 >= records).then_some(&hinting.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_zone_is_told_of_where_half_the_records_are_ahead_alike() {
        let reject = |minutes: i64, reason: &str| Reject {
            place: wardwatch_model::record::Place {
                partition: wardwatch_model::terms::Partition(0),
                offset: wardwatch_model::terms::Offset(0),
                item: wardwatch_model::record::Item(0),
            },
            key: None,
            headers: Vec::new(),
            raw: Vec::new(),
            is_whole: true,
            reason: reason.to_owned(),
            patient: None,
            stamped_at: chrono::DateTime::from_timestamp(0, 0),
            event_time: chrono::DateTime::from_timestamp(minutes * 60, 0),
        };
        let hint = format!("event time is ahead{ZONE_HINT} 5 h 30 min ahead");
        let alike: Vec<Reject> = (0..9).map(|_| reject(330, &hint)).collect();
        assert_eq!(wrong_zone(&alike, 18), Some(hint.as_str()));
        assert_eq!(wrong_zone(&alike, 19), None);
        let unlike: Vec<Reject> = (0..10).map(|at| reject(330 + at * 60, &hint)).collect();
        assert_eq!(wrong_zone(&unlike, 10), None);
        assert_eq!(wrong_zone(&[reject(330, "event time is ahead")], 1), None);
    }
}
