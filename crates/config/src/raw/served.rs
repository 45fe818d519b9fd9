//! What the job file says of addresses that others connect to: the page's, and the gateway's.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::spanned::Spanned;
use super::Text;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawDashboard {
    /// Where they are served: "127.0.0.1:8080". Elsewhere than on loopback there must be users.
    pub(in super::super) listen: Option<Text>,
    /// The heading: "Ward 4".
    pub(in super::super) title: Option<Text>,
    /// A patient without a reading for so long is shown as stale: "5s".
    pub(in super::super) stale_after: Option<Text>,
    /// The table with a score of each patient and minute; it has `window_start`, `score` and `label`.
    pub(in super::super) score: Option<Text>,
    /// The certificate, with those that lead to it, as PEM; with `key`, pages are served by TLS.
    pub(in super::super) certificate: Option<Text>,
    /// The certificate's key as PEM.
    pub(in super::super) key: Option<Text>,
    /// Whether a proxy stands in front that speaks TLS and says in X-Forwarded-For who asks.
    #[serde(default)]
    pub(in super::super) behind_proxy: bool,
    /// The most connections at a time.
    pub(in super::super) max_connections: Option<Spanned<i64>>,
    /// After so long one must log in again: "12h".
    pub(in super::super) session: Option<Text>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct RawGateway {
    /// Where HL7 v2 is taken by MLLP: "127.0.0.1:2575".
    pub(in super::super) mllp: Option<Text>,
    /// Where FHIR, JSON and other messages are taken by HTTP, and where metrics are: "127.0.0.1:8090".
    pub(in super::super) http: Option<Text>,
    /// The broker of MQTT that messages are fetched from, and a filter of its topics: "mqtt://user:${MQTT_PASSWORD}@broker:1883/ward/+/vitals".
    pub(in super::super) mqtt: Option<Text>,
    /// The topic that messages are put on, where the job reads several.
    pub(in super::super) topic: Option<Text>,
    /// What a sender by HTTP must know. Without it, and without WARDWATCH_GATEWAY_TOKEN in the environment, nothing is taken by HTTP.
    pub(in super::super) token: Option<Text>,
    /// The certificate, with those that lead to it, as PEM; with `key`, MLLP and HTTP are taken by TLS only.
    pub(in super::super) certificate: Option<Text>,
    /// The certificate's key as PEM.
    pub(in super::super) key: Option<Text>,
    /// A longer message is refused: "1MiB".
    pub(in super::super) max_message: Option<Text>,
    /// So much waits for Kafka at most; others wait before the door: "64MiB".
    pub(in super::super) max_waiting: Option<Text>,
    /// The most connections at a time, of MLLP and of HTTP each.
    pub(in super::super) max_connections: Option<Spanned<i64>>,
    /// So long Kafka may take before a sender is told that it does not answer: "10s".
    pub(in super::super) patience: Option<Text>,
}
