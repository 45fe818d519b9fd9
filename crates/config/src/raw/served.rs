//! What the job file says of addresses that others connect to: the page's, and the gateway's.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::spanned::Spanned;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDashboard {
    /// Where they are served: "127.0.0.1:8080". Elsewhere than on loopback there must be users.
    pub(crate) listen: Option<Spanned<String>>,
    /// The heading: "Ward 4".
    pub(crate) title: Option<Spanned<String>>,
    /// A patient without a reading for so long is shown as stale: "5s".
    pub(crate) stale_after: Option<Spanned<String>>,
    /// The table with a score of each patient and minute; it has `window_start`, `score` and `label`.
    pub(crate) score: Option<Spanned<String>>,
    /// The certificate, with those that lead to it, as PEM; with `key`, pages are served by TLS.
    pub(crate) certificate: Option<Spanned<String>>,
    /// The certificate's key as PEM.
    pub(crate) key: Option<Spanned<String>>,
    /// Whether a proxy stands in front that speaks TLS and says in X-Forwarded-For who asks.
    #[serde(default)]
    pub(crate) behind_proxy: bool,
    /// The most connections at a time.
    pub(crate) max_connections: Option<Spanned<i64>>,
    /// After so long one must log in again: "12h".
    pub(crate) session: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGateway {
    /// Where HL7 v2 is taken by MLLP: "127.0.0.1:2575".
    pub(crate) mllp: Option<Spanned<String>>,
    /// Where FHIR, JSON and other messages are taken by HTTP, and where metrics are: "127.0.0.1:8090".
    pub(crate) http: Option<Spanned<String>>,
    /// The broker of MQTT that messages are fetched from, and a filter of its topics: "mqtt://user:${MQTT_PASSWORD}@broker:1883/ward/+/vitals".
    pub(crate) mqtt: Option<Spanned<String>>,
    /// The topic that messages are put on, where the job reads several.
    pub(crate) topic: Option<Spanned<String>>,
    /// What a sender by HTTP must know. Without it, and without WARDWATCH_GATEWAY_TOKEN in the environment, nothing is taken by HTTP.
    pub(crate) token: Option<Spanned<String>>,
    /// The certificate, with those that lead to it, as PEM; with `key`, MLLP and HTTP are taken by TLS only.
    pub(crate) certificate: Option<Spanned<String>>,
    /// The certificate's key as PEM.
    pub(crate) key: Option<Spanned<String>>,
    /// A longer message is refused: "1MiB".
    pub(crate) max_message: Option<Spanned<String>>,
    /// So much waits for Kafka at most; others wait before the door: "64MiB".
    pub(crate) max_waiting: Option<Spanned<String>>,
    /// The most connections at a time, of MLLP and of HTTP each.
    pub(crate) max_connections: Option<Spanned<i64>>,
    /// So long Kafka may take before a sender is told that it does not answer: "10s".
    pub(crate) patience: Option<Spanned<String>>,
}
