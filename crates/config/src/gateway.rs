//! What the job file says of the gateway: where messages come in, and how many of them may wait.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::checker::{Checker, not_empty};
use super::dashboard::address;
use super::raw::RawGateway;
use super::topics::TopicSelection;
use super::units::{Zero, bytes, duration};

/// Where messages for a job's topic come in, and how many of them may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySpec {
    /// Where HL7 v2 comes in by MLLP.
    pub mllp: Option<SocketAddr>,
    /// Where anything comes in by HTTP.
    pub http: Option<SocketAddr>,
    /// What is fetched by MQTT.
    pub mqtt: Option<MqttUrl>,
    /// The topic that messages are put on; `None` for the job's only one.
    pub topic: Option<String>,
    /// What a sender by HTTP must know; without it none is let in.
    pub token: Option<String>,
    /// The certificate, and those that lead to it, and its key, as PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A message of more bytes is refused.
    pub max_message: usize,
    /// Messages of so many bytes may wait for Kafka.
    pub max_waiting: usize,
    /// The most connections at a time, at each address.
    pub max_connections: usize,
    /// So long Kafka may take.
    pub patience: Duration,
}

/// A broker of MQTT, and which of its topics are fetched.
#[derive(Clone, PartialEq, Eq)]
pub struct MqttUrl {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to by TLS.
    pub is_encrypted: bool,
    /// Name and password, if it wants them.
    pub login: Option<(String, String)>,
    /// The filter of topics: `ward/+/vitals`.
    pub filter: String,
}

impl MqttUrl {
    /// Reads `mqtt://[user:password@]host[:port][/filter]`; without a filter all topics are fetched.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write \"mqtt://broker:1883/ward/+/vitals\"";
        let url =
            Url::parse(text).map_err(|error| format!("\"{text}\" is not a valid MQTT URL: {error}; {example}"))?;
        let is_encrypted = match url.scheme() {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            other => return Err(format!("\"{other}\" is neither mqtt nor mqtts; {example}")),
        };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(format!("\"{text}\" names no host; {example}"));
        };
        // What stands behind "#" and "?" is a part of a topic's name here.
        let behind = text.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let filter = match behind {
            "" => "#".to_owned(),
            filter => decoded(filter)?,
        };
        if !is_filter(&filter) {
            return Err(format!(
                "\"{filter}\" is not a valid filter of topics: + stands for a level, # for all levels at the end, as in ward/+/#"
            ));
        }
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (name, password) => Some((decoded(name)?, decoded(password.unwrap_or_default())?)),
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(if is_encrypted { 8883 } else { 1883 }),
            is_encrypted,
            login,
            filter,
        })
    }
}

impl std::fmt::Display for MqttUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_encrypted { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.filter)
    }
}

impl std::fmt::Debug for MqttUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}") // without the password
    }
}

/// A text with its %XX replaced.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("\"{text}\" has a % that two hexadecimal digits do not follow, or is not valid UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        bytes.push(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(wrong)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Whether a filter is one of MQTT 3.1.1 (4.7.1).
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    let is_level = |(at, level): (usize, &&str)| match *level {
        "#" => at == last,
        "+" => true,
        level => !level.contains(['#', '+', '\0']),
    };
    filter.len() <= usize::from(u16::MAX) && levels.iter().enumerate().all(is_level)
}

impl Checker<'_> {
    pub(super) fn gateway(&mut self, raw: RawGateway, topics: Option<&TopicSelection>) -> Option<GatewaySpec> {
        let mut listened = |text| match text {
            None => Some(None),
            Some(text) => self.required(text, address).map(Some),
        };
        let (mllp, http) = (listened(raw.mllp), listened(raw.http));
        let mqtt = match raw.mqtt {
            None => Some(None),
            Some(text) => self.required(text, MqttUrl::parse).map(Some),
        };
        let topic = match raw.topic {
            None => Some(None),
            Some(text) => self.required(text, |topic| topic_of(topic, topics)).map(Some),
        };
        let token = match raw.token {
            None => Some(None),
            Some(text) => self.required(text, not_empty).map(Some),
        };
        let certificate = self.certificate(raw.certificate, raw.key);
        let max_connections = self.count_or(raw.max_connections, 1_000, "connections");
        let waiting = raw.max_waiting.as_ref().map(super::spanned::Spanned::span);
        let max_message = self.or_default(raw.max_message, "1MiB", bytes);
        let max_waiting = self.or_default(raw.max_waiting, "64MiB", bytes);
        if let (Some(message), Some(all)) = (max_message, max_waiting)
            && all < message
        {
            self.refuse::<()>(
                waiting.unwrap_or(0..0),
                "max_waiting must be as much as max_message, or no such message is ever taken".to_owned(),
            );
        }
        let patience = self.or_default(raw.patience, "10s", |text| duration(text, Zero::Refused));
        Some(GatewaySpec {
            mllp: mllp?,
            http: http?,
            mqtt: mqtt?,
            topic: topic?,
            token: token?,
            certificate: certificate?,
            max_message: max_message?,
            max_waiting: max_waiting?,
            max_connections: max_connections?,
            patience: patience?,
        })
    }
}

/// A topic that the job reads.
fn topic_of(text: &str, topics: Option<&TopicSelection>) -> Result<String, String> {
    match topics {
        Some(topics) if !topics.takes(text) => {
            Err(format!("\"{text}\" is none of the topics that the job reads: {topics}"))
        }
        _ => not_empty(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_mqtt_says_where_and_which_topics() {
        let url = MqttUrl::parse("mqtt://nurse:p%40ss@broker/ward/+/#").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.filter.as_str()), ("broker", 1883, "ward/+/#"));
        assert_eq!(url.login, Some(("nurse".to_owned(), "p@ss".to_owned())));
        assert!(!format!("{url:?} {url}").contains("p@ss"));
        let url = MqttUrl::parse("mqtts://[::1]:8884").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.is_encrypted, url.filter.as_str()), ("::1", 8884, true, "#"));
        for (text, expected) in [
            ("broker:1883", "is neither mqtt nor mqtts"),
            ("http://broker", "is neither mqtt nor mqtts"),
            ("mqtt:///vitals", "names no host"),
            ("mqtt://broker/a/#/b", "not a valid filter"),
            ("mqtt://broker/a+/b", "not a valid filter"),
            ("mqtt://broker/%zz", "two hexadecimal digits"),
        ] {
            let told = MqttUrl::parse(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
