//! What the job will make of a message: whose it is, and what of it cannot be read. By its own decoder, so that both say the same.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray};

use wardwatch_config::Job;
use wardwatch_ingest::decode::{Decoder, RawRecord, RawRecords};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics};
use wardwatch_model::terms::{Offset, Partition};

use crate::intake::Arrived;

/// So many reasons are told to a sender.
const TOLD: usize = 3;

/// Reads messages as the job does.
pub(crate) struct Reading {
    decoder: Decoder,
    patient: String,
    device: Option<String>,
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

impl Reading {
    /// As `job` reads; `None` where records are read by schemas of a registry, which would have to be asked first.
    ///
    /// Errors: its `source.sql` or a schema is wrong.
    pub(crate) fn of(job: &Job) -> Result<Option<Self>, Diagnostics> {
        if job.source.forms.iter().any(|form| form.format.registry().is_some()) {
            return Ok(None);
        }
        let mut decoder = wardwatch_pipeline::decoder(job, &job.source.topics.unnumbered())?;
        let fault = |message| Diagnostic { file: job.file.clone(), line: 1, column: 1, message };
        let faults: Vec<Diagnostic> = decoder.faults().into_iter().map(fault).collect();
        if !faults.is_empty() {
            return Err(Diagnostics(faults));
        }
        let patient = job.source.columns.key().name.clone();
        let device = job.source.device.clone().or_else(|| job.source.attach.clone());
        Ok(Some(Self { decoder, patient, device }))
    }

    /// What becomes of a message that has `key`.
    pub(crate) fn read(&mut self, arrived: &Arrived<'_>, key: &str, stamp: i64) -> WillBe {
        let value = |name: &String| {
            let found = arrived.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_bytes())
        };
        let headers: Vec<Option<&[u8]>> = self.decoder.headers().iter().map(value).collect();
        let mut records = RawRecords::default();
        records.push(RawRecord {
            partition: Partition(0),
            offset: Offset(0),
            stamp: Some(stamp),
            key: Some(key.as_bytes()),
            headers: &headers,
            payload: Some(arrived.payload),
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
