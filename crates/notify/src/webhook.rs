//! The two forms of Prometheus' Alertmanager: what it sends to webhooks (version 4), and what it is sent itself
//! (`POST /api/v2/alerts`).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use wardwatch_alert::Facts;
use wardwatch_config::{Outlet, OutletKind};
use wardwatch_store::Store;

use super::http::{Http, idempotency_key, signature};
use super::message::Message;
use super::sink::{MaintainFault, Sink, Undelivered};

/// A time that says that there is none, as Go writes it.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

type Labels = BTreeMap<&'static str, String>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    labels: Labels,
    annotations: Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

/// What tells an alert apart: the same for all that is ever told of an episode.
fn labels(facts: &Facts) -> Labels {
    let all = [
        ("alertname", &facts.rule),
        ("job", &facts.job),
        ("severity", &facts.severity),
        ("episode", &facts.episode),
        ("patient", &facts.patient),
        ("ward", &facts.ward),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect()
}

fn annotations(facts: &Facts) -> Labels {
    let stale = if facts.is_stale { "true".to_owned() } else { String::new() };
    let all = [
        ("kind", &facts.kind),
        ("text", &facts.text),
        ("peak", &facts.peak),
        ("state", &facts.state),
        ("acknowledged_by", &facts.acknowledged_by),
        ("end_reason", &facts.end_reason),
        ("stale", &stale),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect()
}

/// A POST of the webhook's form.
#[derive(Debug)]
pub(super) struct Webhook {
    http: Http,
    name: String,
    url: String,
    secret: Option<String>,
}

impl Webhook {
    pub(super) fn new(outlet: &Outlet) -> Self {
        let OutletKind::Webhook { url, secret } = &outlet.kind else { panic!("only a webhook gets here") };
        let http = Http::new(outlet.timeout);
        Self { http, name: outlet.name.clone(), url: url.clone(), secret: secret.clone() }
    }

    fn body(&self, messages: &[Message]) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            version: &'static str,
            group_key: String,
            truncated_alerts: u32,
            status: &'static str,
            receiver: &'a str,
            group_labels: Labels,
            common_labels: Labels,
            common_annotations: Labels,
            #[serde(rename = "externalURL")]
            external_url: &'static str,
            alerts: Vec<Alert>,
        }
        let alerts: Vec<Alert> = messages.iter().map(webhook_alert).collect();
        let job = messages.first().map(|message| message.facts().job.clone()).unwrap_or_default();
        let body = Body {
            version: "4",
            group_key: format!("{job}/{}", self.name),
            truncated_alerts: 0,
            status: if messages.iter().all(Message::is_over) { "resolved" } else { "firing" },
            receiver: &self.name,
            group_labels: Labels::from([("job", job)]),
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            external_url: "",
            alerts,
        };
        serde_json::to_vec(&body).unwrap_or_default() // texts always have a form in JSON
    }
}

fn webhook_alert(message: &Message) -> Alert {
    let facts = message.facts();
    let mut annotations = annotations(facts);
    annotations.insert("summary", message.subject.clone());
    annotations.insert("description", message.text.clone());
    annotations.insert("notification", message.notification.id.clone());
    Alert {
        status: Some(if message.is_over() { "resolved" } else { "firing" }),
        labels: labels(facts),
        annotations,
        starts_at: facts.firing_at.clone(),
        ends_at: if facts.ended_at.is_empty() { NO_TIME.to_owned() } else { facts.ended_at.clone() },
        generator_url: String::new(),
        fingerprint: Some(facts.episode.clone()),
    }
}

/// The labels that all have, with one value.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let first = all.next().cloned().unwrap_or_default();
    all.fold(first, |mut common, labels| {
        common.retain(|name, value| labels.get(name) == Some(value));
        common
    })
}

impl Sink for Webhook {
    fn max_batch(&self) -> usize {
        200
    }

    fn send(&mut self, messages: &[Message], _now: DateTime<Utc>) -> Result<(), Undelivered> {
        let body = self.body(messages);
        let key = idempotency_key(messages);
        let signed = self.secret.as_ref().map(|secret| format!("sha256={}", signature(secret, &body)));
        let mut headers = vec![("Content-Type", "application/json"), ("Idempotency-Key", key.as_str())];
        headers.extend(signed.as_ref().map(|signed| ("X-Wardwatch-Signature-256", signed.as_str())));
        self.http.post(&self.url, &headers, &body).map(drop)
    }
}

/// Alertmanager itself. It forgets an alert that it does not hear of again, so what stands is sent again and again.
#[derive(Debug)]
pub(super) struct Alertmanager {
    http: Http,
    name: String,
    url: String,
    resend: Duration,
    /// What it was told and stands, by episode; `None` before the store was asked.
    standing: Option<BTreeMap<String, Facts>>,
}

impl Alertmanager {
    pub(super) fn new(outlet: &Outlet) -> Self {
        let OutletKind::Alertmanager { url, resend } = &outlet.kind else { panic!("only Alertmanager gets here") };
        Self {
            http: Http::new(outlet.timeout),
            name: outlet.name.clone(),
            url: format!("{url}/api/v2/alerts"),
            resend: *resend,
            standing: None,
        }
    }

    fn post(&self, alerts: &[Alert]) -> Result<(), Undelivered> {
        let body = serde_json::to_vec(alerts).unwrap_or_default(); // texts always have a form in JSON
        self.http.post(&self.url, &[("Content-Type", "application/json")], &body).map(drop)
    }

    /// An alert that stands until it is heard of no more: four times as long as it is sent again, as Prometheus does.
    fn alert(&self, facts: &Facts, now: DateTime<Utc>) -> Alert {
        let until = now + TimeDelta::from_std(self.resend * 4).unwrap_or(TimeDelta::minutes(4));
        let until = until.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut annotations = annotations(facts);
        annotations.insert("summary", facts.text.clone());
        Alert {
            status: None,
            labels: labels(facts),
            annotations,
            starts_at: facts.firing_at.clone(),
            ends_at: if facts.kind == "resolved" { facts.ended_at.clone() } else { until },
            generator_url: String::new(),
            fingerprint: None,
        }
    }
}

impl Sink for Alertmanager {
    fn max_batch(&self) -> usize {
        200
    }

    fn send(&mut self, messages: &[Message], now: DateTime<Utc>) -> Result<(), Undelivered> {
        // Of one alert, a message has one state: the last.
        let mut last: BTreeMap<&str, &Message> = BTreeMap::new();
        last.extend(messages.iter().map(|message| (message.facts().episode.as_str(), message)));
        let alerts: Vec<Alert> = last.values().map(|message| self.alert(message.facts(), now)).collect();
        self.post(&alerts)?;
        let standing = self.standing.get_or_insert_default();
        for (episode, message) in last {
            match message.is_over() {
                true => drop(standing.remove(episode)),
                false => drop(standing.insert(episode.to_owned(), message.facts().clone())),
            }
        }
        Ok(())
    }

    fn maintain_every(&self) -> Option<Duration> {
        Some(self.resend)
    }

    fn maintain(&mut self, store: &mut Store, now: DateTime<Utc>) -> Result<(), MaintainFault> {
        if self.standing.is_none() {
            let told = store.told(&self.name)?;
            self.standing = Some(told.into_iter().map(|facts| (facts.episode.clone(), facts)).collect());
        }
        let standing: Vec<&Facts> = self.standing.iter().flat_map(BTreeMap::values).collect();
        for facts in standing.chunks(self.max_batch()) {
            let alerts: Vec<Alert> = facts.iter().map(|facts| self.alert(facts, now)).collect();
            self.post(&alerts)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Texts;
    use crate::message::tests::{notification, outlet};

    #[test]
    fn a_body_has_the_form_of_version_4_and_says_what_all_its_alerts_share() {
        let outlet = outlet(OutletKind::Webhook { url: "http://localhost".to_owned(), secret: None });
        let texts = Texts::of(&outlet);
        let messages = [("a", "firing", "high"), ("b", "resolved", "high")]
            .map(|(episode, kind, severity)| texts.message(notification(episode, kind, severity)));
        let body: serde_json::Value = serde_json::from_slice(&Webhook::new(&outlet).body(&messages)).expect("JSON");
        assert_eq!(body["version"], "4");
        assert_eq!(body["status"], "firing");
        assert_eq!(body["commonLabels"]["alertname"], "tachycardia");
        assert!(body["commonLabels"].get("episode").is_none());
        assert_eq!(body["alerts"][0]["labels"]["patient"], "P1");
        assert_eq!(body["alerts"][1]["status"], "resolved");
        assert_eq!(body["alerts"][0]["endsAt"], NO_TIME);
        assert_eq!(body["alerts"][1]["annotations"]["summary"], "over: HR 140 > 120 (high, patient P1)");
    }
}
