//! In which ward each patient lies.

use std::collections::HashMap;

use arrow::array::RecordBatch;

use super::streams::texts;

/// In which ward each patient lies.
#[derive(Debug, Clone, Default)]
pub struct Wards(HashMap<String, String>);

impl Wards {
    /// Pairs of patient and ward.
    pub fn new(wards: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(wards.into_iter().collect())
    }

    /// The same, where others know better of some patients.
    #[must_use]
    pub fn with<'a>(&self, wards: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = self.0.clone();
        all.extend(wards.into_iter().map(|(patient, ward)| (patient.to_owned(), ward.to_owned())));
        Self(all)
    }

    /// The rows of a reference table whose column `key` names patients.
    #[must_use]
    pub fn read(rows: &RecordBatch, key: &str) -> Self {
        let (Some(patients), Some(wards)) = (texts(rows, key), texts(rows, "ward")) else { return Self::default() };
        let pairs = patients.iter().zip(wards.iter());
        Self::new(pairs.filter_map(|(patient, ward)| Some((patient?.to_owned(), ward?.to_owned()))))
    }

    /// The patient's ward; empty where nobody knows.
    #[must_use]
    pub fn of(&self, patient: &str) -> &str {
        self.0.get(patient).map(String::as_str).unwrap_or_default()
    }
}
