//! Believable patients: records as bedside monitors would send them, from a model or from recordings.
//!
//! The model is a demonstration, not physiology: plausible numbers that move together. It is deterministic by its
//! seed. Nothing here knows Kafka; what is made is text, in the form that a job declares.

mod form;
mod options;
mod patient;
mod replay;
mod scenario;
mod vital;
mod ward;

pub use form::RecordForm;
pub use options::WardOptions;
pub use replay::{Recordings, ReplayError};
pub use scenario::Scenario;
pub use vital::{ACVPU, ONSET, Sample, Vital};
pub use ward::Ward;

#[cfg(test)]
mod tests;
