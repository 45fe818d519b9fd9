//! Mail: one alert a message or, when more have come together, one message about all.

use chrono::{DateTime, Utc};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::{Message as Letter, SmtpTransport, Transport};

use wardwatch_config::{Outlet, OutletKind};

use super::http::idempotency_key;
use super::message::{Message, digest, headline};
use super::sink::{Sink, Undelivered};

/// A mail server and who is written to.
pub(super) struct Mail {
    transport: Result<SmtpTransport, String>,
    from: Option<Mailbox>,
    to: Vec<Mailbox>,
    job: String,
}

impl Mail {
    pub(super) fn new(outlet: &Outlet, job: &str) -> Self {
        let OutletKind::Email { url, from, to } = &outlet.kind else { panic!("only mail gets here") };
        let transport = SmtpTransport::from_url(url)
            .map(|builder| builder.timeout(Some(outlet.timeout)).build())
            .map_err(|error| error.to_string());
        Self {
            transport,
            from: from.parse().ok(),
            to: to.iter().filter_map(|address| address.parse().ok()).collect(),
            job: job.to_owned(),
        }
    }

    fn letter(&self, messages: &[Message]) -> Result<Letter, Undelivered> {
        let (subject, text) = words(messages);
        let letter = self.head(&idempotency_key(messages), &subject).header(ContentType::TEXT_PLAIN);
        letter.body(text).map_err(|error| Undelivered::Refused(error.to_string()))
    }

    /// A letter's head; the same `id` is the same letter.
    pub(super) fn head(&self, id: &str, subject: &str) -> MessageBuilder {
        let letter =
            Letter::builder().message_id(Some(format!("<{id}@{}.wardwatch>", self.job))).subject(subject.to_owned());
        let letter = self.from.iter().cloned().fold(letter, MessageBuilder::from);
        self.to.iter().cloned().fold(letter, MessageBuilder::to)
    }

    pub(super) fn post(&self, letter: &Letter) -> Result<(), Undelivered> {
        let transport = self.transport.as_ref().map_err(|error| Undelivered::Later(error.clone()))?;
        transport.send(letter).map(drop).map_err(|error| {
            let reason =
                std::error::Error::source(&error).map_or(error.to_string(), |cause| format!("{error}: {cause}"));
            if error.is_permanent() { Undelivered::Refused(reason) } else { Undelivered::Later(reason) }
        })
    }
}

/// Subject and text. The last message of each episode tells how it stands.
fn words(messages: &[Message]) -> (String, String) {
    let digest = digest(messages);
    match digest.as_slice() {
        [only] => (only.subject.clone(), format!("{}\n", only.text)),
        digest => {
            let lines: Vec<String> =
                digest.iter().map(|message| format!("{}\n  {}\n", message.subject, message.text)).collect();
            (headline(digest), lines.join("\n"))
        }
    }
}

impl Sink for Mail {
    fn max_batch(&self) -> usize {
        1_000
    }

    fn send(&mut self, messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
        self.post(&self.letter(messages)?)
    }
}
