//! The program's own log as an outlet.
//!
//! A log goes where patients' values must not, so a line names the episode and its rule; the text of an alert is in it
//! only where the job gives the outlet a template of its own.

use chrono::{DateTime, Utc};
use tracing::info;

use wardwatch_config::Outlet;

use super::message::Message;
use super::sink::{Sink, Undelivered};

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    name: String,
    shows_text: bool,
}

impl Log {
    pub(super) fn new(outlet: &Outlet) -> Self {
        Self { name: outlet.name.clone(), shows_text: outlet.template.is_some() }
    }
}

impl Sink for Log {
    fn max_batch(&self) -> usize {
        1_000
    }

    fn send(&mut self, messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
        for message in messages {
            let facts = message.facts();
            let text = if self.shows_text { message.text.as_str() } else { "" };
            info!(
                outlet = self.name,
                episode = facts.episode,
                rule = facts.rule,
                severity = facts.severity,
                kind = facts.kind,
                text,
                "alert"
            );
        }
        Ok(())
    }
}
