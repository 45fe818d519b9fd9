//! A spec as it is typed: the TOML of a file becomes a [`Spec`], or every fault of it with its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use serde::Deserialize;
use toml::Spanned;

use wardwatch_config::{Outlet, OutletKind, toml_fault};
use wardwatch_model::diagnostic::{Diagnostic, nearest, place, unknown};
use wardwatch_sql::StoredSql;

use super::super::theme::Theme;
use super::plain::{ChartSpec, KINDS, Kind, LIMITS, Limits, NEWS2, PictureSize, Range, Schedule, Spec};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    title: String,
    for_each: Option<Spanned<String>>,
    range: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    until: Option<Spanned<String>>,
    schedule: Option<Spanned<String>>,
    keep: Option<Spanned<String>>,
    #[serde(default)]
    mail: Vec<Spanned<String>>,
    #[serde(default)]
    theme: Theme,
    width: Option<Spanned<u32>>,
    dpi: Option<Spanned<u32>>,
    #[serde(default)]
    data: BTreeMap<String, RawData>,
    #[serde(default)]
    chart: Vec<Spanned<RawChart>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawData {
    sql: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChart {
    kind: Spanned<String>,
    title: String,
    #[serde(default)]
    unit: String,
    data: Option<Spanned<String>>,
    sql: Option<Spanned<String>>,
    time: Option<String>,
    until: Option<String>,
    values: Option<Vec<String>>,
    value: Option<String>,
    low: Option<String>,
    high: Option<String>,
    row: Option<String>,
    text: Option<String>,
    severity: Option<String>,
    steps: Option<Vec<f64>>,
    marks: Option<Vec<(f64, String)>>,
    bins: Option<usize>,
    limits: Option<RawLimits>,
    gap: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "limits are two numbers, [90, 100], or the name of a vital's column")]
enum RawLimits {
    Of(String),
    Fixed([f64; 2]),
}

/// Takes a spec apart and collects what is wrong with it.
struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    outlets: &'a [Outlet],
    faults: Vec<Diagnostic>,
}

pub(super) fn parse(file: &Path, text: &str, outlets: &[Outlet]) -> Result<Spec, Vec<Diagnostic>> {
    let mut reader = Reader { file, text, outlets, faults: Vec::new() };
    let raw: RawSpec = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let (place, message) = toml_fault(text, &error);
            return Err(vec![Diagnostic::at(file, text, place.start, message)]);
        }
    };
    let spec = reader.spec(raw);
    if reader.faults.is_empty() { Ok(spec) } else { Err(reader.faults) }
}

impl Reader<'_> {
    fn fault(&mut self, at: usize, message: String) {
        self.faults.push(Diagnostic::at(self.file, self.text, at, message));
    }

    fn spec(&mut self, raw: RawSpec) -> Spec {
        let name = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let range = self.range(&raw);
        let schedule = raw.schedule.as_ref().and_then(|text| {
            let found = schedule(text.get_ref());
            self.taken(text, found)
        });
        let keep = raw.keep.as_ref().and_then(|text| self.duration(text));
        let size = PictureSize {
            width: self.within(raw.width, "width", 300, 9_600, PictureSize::default().width),
            dpi: self.within(raw.dpi, "dpi", 36, 1_200, PictureSize::default().dpi),
        };
        let mut data: BTreeMap<String, StoredSql> =
            raw.data.into_iter().map(|(name, data)| (name, self.sql(&data.sql))).collect();
        if raw.chart.is_empty() {
            self.fault(0, "a report has at least one [[chart]]".to_owned());
        }
        let mut charts = Vec::new();
        for (number, chart) in raw.chart.into_iter().enumerate() {
            let (at, chart) = (chart.span().start, chart.into_inner());
            let data_name = match (&chart.data, &chart.sql) {
                (None, Some(sql)) => {
                    let own = format!("chart {}", number + 1);
                    data.insert(own.clone(), self.sql(sql));
                    own
                }
                (Some(name), None) => {
                    if !data.contains_key(name.get_ref()) {
                        let message = unknown("data", name.get_ref(), data.keys().map(String::as_str));
                        self.fault(name.span().start, message);
                    }
                    name.get_ref().clone()
                }
                _ => {
                    self.fault(at, "a chart has either `data`, the name of a [data.NAME], or `sql`".to_owned());
                    continue;
                }
            };
            charts.extend(self.chart(chart, data_name, at, &data));
        }
        Spec {
            name,
            file: self.file.to_owned(),
            title: raw.title,
            for_each: raw.for_each.as_ref().map(|sql| self.sql(sql)),
            range,
            schedule,
            keep,
            mail: self.mail(&raw.mail, schedule.is_some()),
            theme: raw.theme,
            size,
            data,
            charts,
        }
    }

    /// Outlets that are mail and may know patients: they are in the picture.
    fn mail(&mut self, names: &[Spanned<String>], is_scheduled: bool) -> Vec<String> {
        for name in names {
            let outlets = self.outlets.iter();
            let message = match outlets.clone().find(|outlet| outlet.name == *name.get_ref()) {
                None => unknown("outlet", name.get_ref(), outlets.map(|outlet| outlet.name.as_str())),
                Some(outlet) if !matches!(outlet.kind, OutletKind::Email { .. }) => {
                    format!("outlet \"{}\" is no mail; reports go by mail only", outlet.name)
                }
                Some(outlet) if !outlet.identify => {
                    format!(
                        "outlet \"{}\" is not told of patients (identify = false), and reports show them",
                        outlet.name
                    )
                }
                Some(_) if !is_scheduled => "mail is sent when a report was due; give it a schedule".to_owned(),
                Some(_) => continue,
            };
            self.fault(name.span().start, message);
        }
        names.iter().map(|name| name.get_ref().clone()).collect()
    }

    fn within(&mut self, given: Option<Spanned<u32>>, key: &str, least: u32, most: u32, usual: u32) -> u32 {
        let Some(given) = given else { return usual };
        if !(least..=most).contains(given.get_ref()) {
            self.fault(given.span().start, format!("{key} {} is not within {least} and {most}", given.get_ref()));
        }
        given.into_inner()
    }

    fn range(&mut self, raw: &RawSpec) -> Range {
        match (&raw.range, &raw.from, &raw.until) {
            (Some(range), None, None) => Range::Last(self.duration(range).unwrap_or(Duration::from_secs(3_600))),
            (None, Some(from), Some(until)) => {
                let (from_at, until_at) = (self.time(from), self.time(until));
                if from_at >= until_at && self.faults.is_empty() {
                    self.fault(until.span().start, "until is not after from".to_owned());
                }
                Range::Fixed(from_at, until_at)
            }
            _ => {
                self.fault(0, "a report has a range such as range = \"6h\", or from and until".to_owned());
                Range::Last(Duration::from_secs(3_600))
            }
        }
    }

    fn time(&mut self, text: &Spanned<String>) -> DateTime<Utc> {
        let found = DateTime::parse_from_rfc3339(text.get_ref()).map(|time| time.to_utc());
        let wrong = |_| format!("\"{}\" is no time; write 2026-01-01T00:00:00Z", text.get_ref());
        self.taken(text, found.map_err(wrong)).unwrap_or_default()
    }

    fn duration(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let found = humantime::parse_duration(text.get_ref()).ok().filter(|length| !length.is_zero());
        let wrong = format!("\"{}\" is no length of time; write a number and a unit: 30m, 6h, 7d", text.get_ref());
        self.taken(text, found.ok_or(wrong))
    }

    fn taken<T>(&mut self, at: &Spanned<String>, found: Result<T, String>) -> Option<T> {
        found.map_err(|message| self.fault(at.span().start, message)).ok()
    }

    /// The SELECT, with the line on which its first line stands in the file.
    fn sql(&self, sql: &Spanned<String>) -> StoredSql {
        let start = sql.span().start;
        let quoted = &self.text[start..];
        // A newline right behind the quotes is not part of the text.
        let on_next_line = ["'''\n", "\"\"\"\n"].iter().any(|open| quoted.starts_with(open));
        let line = place(self.text, start).0 + usize::from(on_next_line);
        StoredSql { file: self.file.to_owned(), line, text: sql.get_ref().clone() }
    }

    fn chart(
        &mut self,
        raw: RawChart,
        data: String,
        at: usize,
        known: &BTreeMap<String, StoredSql>,
    ) -> Option<ChartSpec> {
        let kind = raw.kind.get_ref().as_str();
        let Some((_, keys)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let message = unknown("kind", kind, KINDS.iter().map(|(name, _)| *name));
            self.fault(raw.kind.span().start, message);
            return None;
        };
        for key in raw.given().into_iter().filter(|key| !keys.contains(key)) {
            let hint = nearest(key, keys.iter().copied()).map(|near| format!("; did you mean \"{near}\"?"));
            self.fault(at, format!("a chart of kind \"{kind}\" has no key \"{key}\"{}", hint.unwrap_or_default()));
        }
        let limits = match &raw.limits {
            None => Limits::None,
            Some(RawLimits::Fixed([low, high])) => Limits::Fixed(*low, *high),
            Some(RawLimits::Of(vital)) if known.contains_key(LIMITS) => Limits::Of(vital.clone()),
            Some(RawLimits::Of(vital)) => {
                self.fault(at, format!("limits = \"{vital}\" takes rows of [data.limits], which is not there"));
                Limits::None
            }
        };
        let gap = raw.gap.as_ref().and_then(|gap| self.duration(gap));
        let line = place(self.text, at).0;
        let (title, unit) = (raw.title.clone(), raw.unit.clone());
        match raw.into_kind() {
            Ok(kind) => Some(ChartSpec { title, unit, kind, data, limits, gap, line }),
            Err(missing) => {
                self.fault(at, format!("this chart lacks the key \"{missing}\", which names a column"));
                None
            }
        }
    }
}

impl RawChart {
    /// The keys that were given, of those that only some kinds take.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            ("time", self.time.is_some()),
            ("until", self.until.is_some()),
            ("values", self.values.is_some()),
            ("value", self.value.is_some()),
            ("low", self.low.is_some()),
            ("high", self.high.is_some()),
            ("row", self.row.is_some()),
            ("text", self.text.is_some()),
            ("severity", self.severity.is_some()),
            ("steps", self.steps.is_some()),
            ("marks", self.marks.is_some()),
            ("bins", self.bins.is_some()),
            ("limits", self.limits.is_some()),
            ("gap", self.gap.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    /// Errors: the name of a key that the kind needs and that is not there.
    fn into_kind(self) -> Result<Kind, &'static str> {
        let time = self.time.ok_or("time");
        let value = self.value.ok_or("value");
        let row = self.row.ok_or("row");
        let steps = self.steps.unwrap_or_else(|| NEWS2.to_vec());
        Ok(match self.kind.get_ref().as_str() {
            "line" | "step" => Kind::Line {
                is_step: self.kind.get_ref() == "step",
                time: time?,
                values: self.values.filter(|values| !values.is_empty()).ok_or("values")?,
                band: match (self.low, self.high) {
                    (Some(low), Some(high)) => Some((low, high)),
                    (None, None) => None,
                    (Some(_), None) => return Err("high"),
                    (None, Some(_)) => return Err("low"),
                },
            },
            "range" => Kind::Range { time: time?, low: self.low.ok_or("low")?, high: self.high.ok_or("high")? },
            "strip" => Kind::Strip { time: time?, until: self.until, value: value?, text: self.text, steps },
            "timeline" => Kind::Timeline {
                time: time?,
                until: self.until.ok_or("until")?,
                severity: self.severity.ok_or("severity")?,
                text: self.text.ok_or("text")?,
            },
            "heatmap" => Kind::Heat { row: row?, time: time?, until: self.until, value: value?, steps },
            "histogram" => Kind::Histogram {
                value: value?,
                marks: self.marks.unwrap_or_default(),
                bins: self.bins.unwrap_or(40).clamp(1, 200),
            },
            "bars" => Kind::Bars { row: row?, value: value? },
            "sparkline" => Kind::Sparkline { row: row?, time: time?, value: value? },
            _ => Kind::Table,
        })
    }
}

fn schedule(text: &str) -> Result<Schedule, String> {
    let wrong = || format!("\"{text}\" is no schedule; write \"every 1h\" or \"daily 07:00\"");
    if let Some(length) = text.strip_prefix("every ") {
        let length = humantime::parse_duration(length.trim()).map_err(|_| wrong())?;
        return if length >= Duration::from_secs(10) { Ok(Schedule::Every(length)) } else { Err(wrong()) };
    }
    let time = text.strip_prefix("daily ").ok_or_else(wrong)?;
    NaiveTime::parse_from_str(time.trim(), "%H:%M").map(Schedule::Daily).map_err(|_| wrong())
}
