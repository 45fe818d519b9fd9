//! ntfy: messages on telephones, with a button that acknowledges.
//!
//! A press of the button posts a signed text to another topic, which is looked into every two seconds. Whoever can read
//! that topic can press a button again, but not make one up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use wardwatch_alert::{Action, ActionId, EpisodeId, Request};
use wardwatch_config::{Outlet, OutletKind};
use wardwatch_model::terms::Severity;
use wardwatch_store::Store;

use super::http::{Http, idempotency_key, signature};
use super::message::{Message, digest, headline};
use super::sink::{MaintainFault, Sink, Undelivered};

/// How often presses of the button are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// The most bytes of a message's text; ntfy turns a longer one into an attachment.
const LONGEST: usize = 3_500;

/// A topic on an ntfy server.
#[derive(Debug)]
pub(super) struct Ntfy {
    http: Http,
    url: String,
    topic: String,
    authorization: Option<String>,
    button: Option<Button>,
}

/// The button's topic, what signs a press, and the last press that was looked at.
#[derive(Debug)]
struct Button {
    topic: String,
    secret: String,
    since: String,
}

#[derive(Debug, Serialize)]
struct Published<'a> {
    topic: &'a str,
    title: &'a str,
    message: &'a str,
    priority: u8,
    tags: [&'a str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<PublishedAction>,
}

#[derive(Debug, Serialize)]
struct PublishedAction {
    action: &'static str,
    label: &'static str,
    url: String,
    method: &'static str,
    body: String,
    clear: bool,
}

/// A line of a topic as ntfy gives it.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    event: String,
    #[serde(default)]
    message: String,
}

impl Ntfy {
    pub(super) fn new(outlet: &Outlet) -> Self {
        let OutletKind::Ntfy { url, topic, token, acknowledge } = &outlet.kind else { panic!("only ntfy gets here") };
        Self {
            http: Http::new(outlet.timeout),
            url: url.clone(),
            topic: topic.clone(),
            authorization: token.as_ref().map(|token| format!("Bearer {token}")),
            button: acknowledge.as_ref().map(|(topic, secret)| Button {
                topic: topic.clone(),
                secret: secret.clone(),
                // Presses while the job was down count too; those that were seen before are known by their ids.
                since: "all".to_owned(),
            }),
        }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.authorization.iter().map(|token| ("Authorization", token.as_str())).collect()
    }

    fn actions(&self, message: &Message) -> Vec<PublishedAction> {
        let standing =
            self.button.as_ref().filter(|_| !message.is_over() && message.facts().acknowledged_by.is_empty());
        let buttons = standing.map(|button| PublishedAction {
            action: "http",
            label: "Acknowledge",
            url: format!("{}/{}", self.url, button.topic),
            method: "POST",
            body: button.press(&message.facts().episode),
            clear: true,
        });
        buttons.into_iter().collect()
    }
}

impl Button {
    /// What a press posts.
    fn press(&self, episode: &str) -> String {
        let text = format!("acknowledge {episode}");
        let signed = signature(&self.secret, text.as_bytes());
        format!("{text} {signed}")
    }

    /// The episode that a press acknowledges, if it is one of ours.
    fn pressed(&self, text: &str) -> Option<EpisodeId> {
        let episode = text.strip_prefix("acknowledge ")?.split(' ').next()?;
        // Compared whole and by digest, so that the time it takes tells nothing of the signature.
        let (right, given) = (self.press(episode), text.trim_end());
        let digest = |text: &str| signature(&self.secret, text.as_bytes());
        (digest(&right) == digest(given)).then(|| EpisodeId(episode.into()))
    }
}

impl Sink for Ntfy {
    fn max_batch(&self) -> usize {
        1_000
    }

    fn send(&mut self, messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
        let digest = digest(messages);
        let (title, text, actions) = match digest.as_slice() {
            [only] => (only.subject.clone(), only.text.clone(), self.actions(only)),
            digest => (headline(digest), short_lines(digest), Vec::new()),
        };
        let worst = digest.iter().filter(|message| !message.is_over()).map(|message| message.severity()).max();
        let (priority, tag) = match worst {
            Some(Severity::High) => (5, "rotating_light"),
            Some(Severity::Medium) => (4, "warning"),
            Some(Severity::Low) => (3, "information_source"),
            Some(Severity::Technical) => (2, "electric_plug"),
            None => (2, "white_check_mark"),
        };
        let published = Published { topic: &self.topic, title: &title, message: &text, priority, tags: [tag], actions };
        let body = serde_json::to_vec(&published).unwrap_or_default(); // texts always have a form in JSON
        let key = idempotency_key(messages);
        let mut headers = self.headers();
        headers.extend([("Content-Type", "application/json"), ("Idempotency-Key", key.as_str())]);
        self.http.post(&self.url, &headers, &body).map(drop)
    }

    fn maintain_every(&self) -> Option<Duration> {
        self.button.as_ref().map(|_| LOOK)
    }

    /// Passes presses of the button on to the job.
    fn maintain(&mut self, store: &mut Store, now: DateTime<Utc>) -> Result<(), MaintainFault> {
        let Some(Button { topic, since, .. }) = &self.button else { return Ok(()) };
        let url = format!("{}/{topic}/json?poll=1&since={since}", self.url);
        let lines = self.http.get(&url, &self.headers())?;
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        for line in lines.filter(|line| line.event == "message") {
            let Some(button) = &mut self.button else { return Ok(()) };
            if let Some(episode) = button.pressed(&line.message) {
                let (by, note) = ("ntfy".to_owned(), String::new());
                let id = ActionId(format!("ntfy-{}", line.id));
                store.ask(&Action { id, at: now, by, note, ask: Request::Acknowledge(episode) })?;
            }
            button.since = line.id;
        }
        Ok(())
    }
}

/// As many subjects as a message holds.
fn short_lines(digest: &[&Message]) -> String {
    let mut lines = String::new();
    for (index, message) in digest.iter().enumerate() {
        if lines.len() + message.subject.len() > LONGEST {
            lines.push_str(&format!("and {} more", digest.len() - index));
            break;
        }
        lines.push_str(&message.subject);
        lines.push('\n');
    }
    lines.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_acknowledges_its_episode_and_one_that_was_made_up_none() {
        let button = Button { topic: "acks".to_owned(), secret: "secret".to_owned(), since: "all".to_owned() };
        let press = button.press("a1b2");
        assert_eq!(button.pressed(&press), Some(EpisodeId("a1b2".into())));
        assert_eq!(button.pressed(&press.replace("a1b2", "ffff")), None);
        assert_eq!(button.pressed("acknowledge a1b2"), None);
        assert_eq!(button.pressed("hello"), None);
    }
}
