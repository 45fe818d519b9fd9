//! What the job will make of a message: whose it is, and what of it cannot be read. By its own decoder, so that both say the same.
//!
//! On a thread of its own: queries of a `source.sql` have a runtime of theirs, and a message that takes long to read keeps no connection
//! from being looked after.

use std::collections::BTreeSet;
use std::thread::JoinHandle;

use arrow::array::{Array, AsArray};
use tokio::sync::{mpsc, oneshot};

use wardwatch_config::Job;
use wardwatch_ingest::decode::{Decoder, RawRecord, RawRecords};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics};
use wardwatch_model::terms::{Offset, Partition};

use crate::error::GatewayError;

/// So many reasons are told to a sender.
const TOLD: usize = 3;

/// A longer message is not read: what it becomes may take a hundred times its memory, and here it is wanted for its key only.
const LONGEST_READ: usize = 64 * 1_024;

/// So many messages wait to be read; whoever brings more waits.
const QUEUE: usize = 16;

/// Has messages read.
#[derive(Debug)]
pub(crate) struct Reader(mpsc::Sender<Asked>);

/// A message that is to be read.
struct Asked {
    payload: Vec<u8>,
    headers: Vec<(String, String)>,
    key: String,
    stamp: i64,
    answer: oneshot::Sender<WillBe>,
}

/// What the job will make of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WillBe {
    /// The patient that all of it is of, or else the device.
    pub(crate) of: Option<String>,
    pub(crate) rows: usize,
    /// Why something of it is no row; as many as there are, the first of them in words.
    pub(crate) rejected: usize,
    pub(crate) reasons: Vec<String>,
}

impl Reader {
    /// Reads as `job` does what comes by `topic`, on a thread that ends with it; `None` where records are read by schemas of a registry, which would have to be
    /// asked first.
    ///
    /// Errors: its `source.sql` or a schema is wrong; no thread.
    pub(crate) fn start(job: &Job, topic: &str) -> Result<Option<(Self, JoinHandle<()>)>, GatewayError> {
        if job.source.forms.iter().any(|form| form.format.registry().is_some()) {
            return Ok(None);
        }
        let mut reading = Reading::of(job, topic).map_err(GatewayError::Forms)?;
        let (ask, mut asked) = mpsc::channel::<Asked>(QUEUE);
        let thread = std::thread::Builder::new().name("reading".to_owned()).spawn(move || {
            while let Some(message) = asked.blocking_recv() {
                let will_be = reading.read(&message);
                // Nobody waits any more where the sender has gone.
                let _ = message.answer.send(will_be);
            }
        })?;
        Ok(Some((Self(ask), thread)))
    }

    /// What becomes of a message that has `key`; `None` where it is too long to be read here.
    pub(crate) async fn read(&self, payload: &[u8], headers: &[(&str, &str)], key: &str, stamp: i64) -> Option<WillBe> {
        if payload.len() > LONGEST_READ {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            payload: payload.to_vec(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            key: key.to_owned(),
            stamp,
            answer,
        };
        self.0.send(asked).await.ok()?;
        answered.await.ok()
    }
}

/// Reads messages as the job does.
struct Reading {
    decoder: Decoder,
    /// Where messages are put: whose records they are goes by the topic.
    partition: Partition,
    patient: String,
    device: Option<String>,
}

impl Reading {
    fn of(job: &Job, topic: &str) -> Result<Self, Diagnostics> {
        let topics = job.source.topics.unnumbered();
        let partition = topics.read(topic).and_then(|number| Partition::of_topic(number, 0)).unwrap_or(Partition(0));
        let mut decoder = wardwatch_pipeline::decoder(job, &topics)?;
        let fault = |message| Diagnostic { file: job.file.clone(), line: 1, column: 1, message };
        let faults: Vec<Diagnostic> = decoder.faults().into_iter().map(fault).collect();
        if !faults.is_empty() {
            return Err(Diagnostics(faults));
        }
        let patient = job.source.columns.key().name.clone();
        let device = job.source.device.clone().or_else(|| job.source.attach.clone());
        Ok(Self { decoder, partition, patient, device })
    }

    fn read(&mut self, message: &Asked) -> WillBe {
        let value = |name: &String| {
            let found = message.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_bytes())
        };
        let headers: Vec<Option<&[u8]>> = self.decoder.headers().iter().map(value).collect();
        let mut records = RawRecords::default();
        records.push(RawRecord {
            partition: self.partition,
            offset: Offset(0),
            stamp: Some(message.stamp),
            key: Some(message.key.as_bytes()),
            headers: &headers,
            payload: Some(&message.payload),
        });
        let decoded = self.decoder.decode(&records);
        let only = |column: &String| {
            let texts = decoded.rows.column_by_name(column)?.as_string_view_opt()?;
            let values: BTreeSet<&str> =
                (0..texts.len()).filter(|row| texts.is_valid(*row)).map(|row| texts.value(row)).collect();
            let is_one = values.len() == 1 && texts.null_count() == 0;
            values.first().filter(|_| is_one).map(|value| (*value).to_owned())
        };
        let spoken_of: BTreeSet<&str> = decoded.encounters.iter().map(|said| said.request.patient.as_str()).collect();
        let spoken_of = spoken_of.first().filter(|_| spoken_of.len() == 1).map(|patient| (*patient).to_owned());
        let reasons: BTreeSet<&str> = decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect();
        WillBe {
            of: only(&self.patient).or_else(|| self.device.as_ref().and_then(only)).or(spoken_of),
            rows: decoded.rows.num_rows() + decoded.encounters.len(),
            rejected: decoded.rejects.len(),
            reasons: reasons.into_iter().take(TOLD).map(str::to_owned).collect(),
        }
    }
}
