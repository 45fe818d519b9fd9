//! A job file as it was typed: the shape that TOML may have, nothing of it checked yet.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    pub(super) name: Option<Text>,
    #[serde(default)]
    pub(super) trigger: RawTrigger,
    pub(super) source: RawSource,
    pub(super) store: RawStore,
    pub(super) sql: RawSql,
    #[serde(default)]
    pub(super) features: BTreeMap<Text, RawFeature>,
    #[serde(default)]
    pub(super) alerts: RawAlerts,
    #[serde(default)]
    pub(super) notify: Vec<Spanned<RawOutlet>>,
    #[serde(default)]
    pub(super) reports: RawReports,
    #[serde(default)]
    pub(super) dashboard: RawDashboard,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDashboard {
    pub(super) listen: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrigger {
    pub(super) every: Option<Text>,
    pub(super) max_rows: Option<Spanned<i64>>,
    pub(super) max_bytes: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) brokers: Text,
    pub(super) topic: Text,
    pub(super) group: Option<Text>,
    pub(super) table: Option<Text>,
    pub(super) key: Text,
    pub(super) event_time: Text,
    pub(super) start: Option<Text>,
    pub(super) lateness: Option<Text>,
    pub(super) max_skew: Option<Text>,
    pub(super) idle_timeout: Option<Text>,
    pub(super) retain: Option<Text>,
    #[serde(default)]
    pub(super) dedupe: Vec<Text>,
    pub(super) time_zone: Option<Text>,
    pub(super) max_record_bytes: Option<Text>,
    #[serde(default)]
    pub(super) properties: BTreeMap<String, Text>,
    pub(super) columns: BTreeMap<Text, RawColumn>,
    pub(super) long: Option<RawLong>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawColumn {
    pub(super) r#type: Text,
    #[serde(default)]
    pub(super) required: bool,
    pub(super) from: Option<RawFrom>,
    pub(super) unit: Option<String>,
    pub(super) label: Option<String>,
    pub(super) plausible: Option<Spanned<[f64; 2]>>,
    pub(super) limits: Option<Spanned<[f64; 2]>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawFrom {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLong {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) url: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSql {
    pub(super) dir: Text,
    pub(super) time_limit: Option<Text>,
    pub(super) memory_limit: Option<Text>,
    pub(super) max_groups: Option<Spanned<i64>>,
    pub(super) snapshot_every: Option<Spanned<i64>>,
    pub(super) reference_refresh: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeature {
    pub(super) of: Text,
    pub(super) kind: Text,
    pub(super) over: Option<Text>,
    pub(super) half_life: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReports {
    pub(super) table: Option<Text>,
    pub(super) dir: Option<Text>,
    pub(super) time_zone: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlerts {
    pub(super) stale_after: Option<Text>,
    pub(super) longest_pause: Option<Text>,
    pub(super) patients: Option<Text>,
    pub(super) limits: Option<Text>,
    #[serde(default)]
    pub(super) escalation: Vec<RawStep>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) after: Text,
    pub(super) to: Spanned<Vec<Text>>,
    pub(super) severity: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutlet {
    pub(super) name: Option<Text>,
    pub(super) kind: Option<Text>,
    pub(super) severity: Option<Text>,
    pub(super) when: Option<Text>,
    pub(super) identify: Option<bool>,
    pub(super) subject: Option<Text>,
    pub(super) template: Option<Text>,
    pub(super) timeout: Option<Text>,
    pub(super) longest_backoff: Option<Text>,
    pub(super) give_up_after: Option<Text>,
    pub(super) url: Option<Text>,
    pub(super) secret: Option<Text>,
    pub(super) resend: Option<Text>,
    pub(super) from: Option<Text>,
    pub(super) to: Option<Spanned<Vec<Text>>>,
    pub(super) topic: Option<Text>,
    pub(super) token: Option<Text>,
    pub(super) acknowledge: Option<Text>,
    pub(super) every: Option<Text>,
}
