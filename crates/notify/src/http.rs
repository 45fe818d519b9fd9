//! HTTP as outlets need it: one request with a limit of time, its answer as delivered, later or refused. And the
//! heartbeat, which is nothing but a request.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{TlsConfig, TlsProvider};

use wardwatch_config::{Outlet, OutletKind};
use wardwatch_store::Store;

use super::message::Message;
use super::sink::{MaintainFault, Pulse, Sink, Undelivered};

/// How much of an answer is kept to say what was wrong.
const SHOWN: usize = 200;

/// A client for one outlet.
#[derive(Debug)]
pub(super) struct Http(Agent);

impl Http {
    /// No request takes longer than `timeout`, whatever the receiver does.
    pub(super) fn new(timeout: Duration) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).build();
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls)
            .user_agent(concat!("wardwatch/", env!("CARGO_PKG_VERSION")));
        Self(config.build().into())
    }

    /// Sends `body`, and returns the answer's.
    pub(super) fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<String, Undelivered> {
        let mut request = self.0.post(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body))
    }

    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<String, Undelivered> {
        let mut request = self.0.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call())
    }
}

fn answer(answered: Result<Response<ureq::Body>, ureq::Error>) -> Result<String, Undelivered> {
    let mut response = answered.map_err(|error| Undelivered::Later(error.to_string()))?;
    let status = response.status();
    let body = response.body_mut().read_to_string();
    if status.is_success() {
        // An answer that breaks off may be of a receiver that broke off before it kept what it was told.
        return body.map_err(|error| Undelivered::Later(format!("the answer broke off: {error}")));
    }
    let said: String = body.unwrap_or_default().trim().chars().take(SHOWN).collect();
    let reason = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
    // Too slow, too early, too many: it is not the message's fault.
    let is_passing = matches!(status.as_u16(), 408 | 425 | 429);
    Err(if status.is_client_error() && !is_passing { Undelivered::Refused(reason) } else { Undelivered::Later(reason) })
}

/// By which a receiver knows a message that comes twice: the id of the only notification in it, or one made of all.
pub(super) fn idempotency_key(messages: &[Message]) -> String {
    match messages {
        [message] => message.notification.id.clone(),
        messages => {
            let mut digest = Sha256::new();
            messages.iter().for_each(|message| digest.update(format!("{}\n", message.notification.id)));
            hex(&digest.finalize())
        }
    }
}

/// HMAC-SHA256 of `body`, in hexadecimal digits (RFC 2104, FIPS 180-4).
pub(super) fn signature(secret: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        panic!("HMAC takes a key of any length");
    };
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A dead man's switch: whoever is called notices when no call comes.
#[derive(Debug)]
pub(super) struct Heartbeat {
    http: Http,
    url: String,
    every: Duration,
    pulse: Pulse,
    seen: u64,
}

impl Heartbeat {
    pub(super) fn new(outlet: &Outlet, pulse: Pulse) -> Self {
        let OutletKind::Heartbeat { url, every } = &outlet.kind else { panic!("only a heartbeat gets here") };
        Self { http: Http::new(outlet.timeout), url: url.clone(), every: *every, pulse, seen: 0 }
    }
}

impl Sink for Heartbeat {
    fn max_batch(&self) -> usize {
        1
    }

    fn send(&mut self, _messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
        Ok(()) // nothing is ever addressed to it
    }

    fn maintain_every(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn maintain(&mut self, _store: &mut Store, _now: DateTime<Utc>) -> Result<(), MaintainFault> {
        let beats = self.pulse.0.load(std::sync::atomic::Ordering::Relaxed);
        if beats == self.seen {
            return Ok(()); // the loop has stood still since the last call: silence is the message
        }
        self.seen = beats;
        self.http.get(&self.url, &[])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
