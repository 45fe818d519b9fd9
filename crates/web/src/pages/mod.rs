//! Pages for people: the frame that all stand in, and one file for each.

mod alerts;
pub(crate) mod frame;
mod job;
mod login;
mod patient;
mod reports;
mod ward;

pub(super) use alerts::{acknowledge, alert, alerts, end_quiet, quiet};
pub(super) use job::job;
pub(super) use login::{log_in, log_in_form, log_out};
pub(super) use patient::{chart, holding, patient, picture, set_limit};
pub(super) use reports::{report_file, reports};
pub(super) use ward::ward;
