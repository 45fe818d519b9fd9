//! What Prometheus reads: how the job stands, from what was committed, in the text format 0.0.4.
//!
//! It is read from the store at each scrape, so it tells of a job that stands still as well as of one that runs.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use wardwatch_alert::{Episode, Unjudged, Why, unjudged_patients};
use wardwatch_care::{Cause, Finding, findings, patience, store_away, unjudged};
use wardwatch_config::Job;
use wardwatch_model::health::Complaint;
use wardwatch_model::terms::Severity;
use wardwatch_store::{BatchSummary, Store, StoreError};

use super::services::Trouble;
use super::view::Ward;

/// The metrics of the store's job; `trouble` is what this process knows of its services.
pub(super) fn metrics(
    store: &mut Store,
    job: &Job,
    trouble: Option<&Trouble>,
    now: DateTime<Utc>,
) -> Result<String, StoreError> {
    let mut text = Text::default();
    let found = findings(store, job, patience(job), now)?;
    text.services(trouble, None, &found);
    let found: Vec<Finding> = trouble.and_then(Trouble::finding).into_iter().chain(found).collect();
    text.unwatched(&found);
    if !store.has_tables()? {
        return Ok(text.0);
    }
    let unreached = found.iter().filter(|finding| finding.cause == Cause::Unreached);
    let oldest = unreached.clone().filter_map(|finding| finding.since).min();
    text.family("notifications_unreached", "gauge", "Notices that have reached nobody for too long");
    text.sample("notifications_unreached", &[], unreached.count());
    text.family("notifications_unreached_seconds", "gauge", "For how long the oldest of them has; 0 without one");
    text.sample("notifications_unreached_seconds", &[], oldest.map_or(0, |oldest| (now - oldest).num_seconds().max(0)));
    let unjudged = unjudged(store, job, patience(job), trouble.and_then(Trouble::halt), now)?;
    let oldest = unjudged.iter().map(|unjudged| unjudged.since).min();
    let lasts = oldest.and_then(|oldest| u64::try_from((now - oldest).num_seconds()).ok());
    text.unjudged(unjudged_patients(&unjudged), lasts.unwrap_or(0));
    text.family("unjudged_patients_by_cause", "gauge", "The same, by why; a patient may be in several");
    for cause in Why::ALL {
        let of: Vec<Unjudged> = unjudged.iter().filter(|one| one.cause == cause).cloned().collect();
        text.sample("unjudged_patients_by_cause", &[("cause", cause.name())], unjudged_patients(&of));
    }
    let topics = store.topics(&job.source.topics)?;
    let status = store.status(&topics)?;
    let counters = [
        ("records", "Records that were read", status.records),
        ("rejects", "Records that could not become rows", status.rejects),
        ("artefacts", "Values that cannot be read or true", status.artefacts),
        ("ignored", "Records, and items of them, that are no rows on purpose", status.ignored),
        ("late_rows", "Rows that came too late for windows", status.late),
        ("duplicates", "Rows that had come before", status.duplicates),
        ("bad_rows", "Rows that no table takes", status.bad_rows),
        ("unattached", "Records that were nobody's when they were measured", status.unattached),
        ("attached_later", "Those of them that became somebody's later", status.attached_later),
    ];
    for (name, help, value) in counters {
        text.family(&format!("{name}_total"), "counter", help);
        text.sample(&format!("{name}_total"), &[], value);
    }
    if let Some(last) = &status.last {
        text.last_batch(last);
    }
    // A job of one topic has had no label of it.
    let of_topic = usize::from(topics.names().len() <= 1);
    text.family("next_offset", "gauge", "Where each partition goes on");
    for (partition, offset) in &status.positions {
        let (topic, number) = (topics.name_of(*partition), partition.number().to_string());
        let labels = [("topic", &*topic), ("partition", &*number)];
        text.sample("next_offset", &labels[of_topic..], offset);
    }
    text.family("watermark_timestamp_seconds", "gauge", "How far event time has got in each partition");
    for (partition, watermark) in &status.watermarks {
        let (topic, number) = (topics.name_of(*partition), partition.number().to_string());
        let labels = [("topic", &*topic), ("partition", &*number)];
        text.sample("watermark_timestamp_seconds", &labels[of_topic..], seconds(watermark.0));
    }
    text.open_episodes(&status.episodes);
    text.family("query_failing", "gauge", "How often in a row a query has failed; only those that fail");
    for query in &status.queries {
        text.sample("query_failing", &[("query", &query.query)], query.failures);
    }
    text.family("table_at_fault", "gauge", "1 for each table that does not take its rows");
    for fault in status.tables.iter().filter(|fault| fault.since.is_some()) {
        text.sample("table_at_fault", &[("table", &fault.table)], 1);
    }
    text.family("pending_rows", "gauge", "Rows that wait until their table takes them");
    for fault in &status.tables {
        text.sample("pending_rows", &[("table", &fault.table)], fault.pending.rows);
    }
    text.family("incomplete_rows", "gauge", "Rows that tables lack for good, because too many would have waited");
    for lost in &status.incomplete {
        let from = lost.from.to_string();
        text.sample("incomplete_rows", &[("table", &lost.table), ("from_batch", &from)], lost.rows);
    }
    text.family("edit_refused", "gauge", "1 while the newest edit of the queries is not in use");
    text.sample("edit_refused", &[], u8::from(status.refused_edit.is_some()));
    let reports = store.report_states()?;
    text.family("report_due_timestamp_seconds", "gauge", "For when a report was made last");
    for report in &reports {
        text.sample("report_due_timestamp_seconds", &[("report", &report.report)], seconds(report.due_at));
    }
    text.family("report_seconds", "gauge", "How long that took");
    for report in &reports {
        text.sample("report_seconds", &[("report", &report.report)], report.seconds);
    }
    text.family("report_failed_pages", "gauge", "How many of its pages could not be made then");
    for report in &reports {
        text.sample("report_failed_pages", &[("report", &report.report)], report.failed);
    }
    let outlets = store.outlet_states()?;
    text.family("notifications_waiting", "gauge", "Notifications that wait to be delivered");
    for outlet in &outlets {
        text.sample("notifications_waiting", &[("outlet", &outlet.outlet)], outlet.waiting);
    }
    text.family("notifications_given_up_total", "counter", "Notifications that were tried for long enough");
    for outlet in &outlets {
        text.sample("notifications_given_up_total", &[("outlet", &outlet.outlet)], outlet.given_up);
    }
    Ok(text.0)
}

/// What is known while the store cannot be asked: that it is away, whom nobody judges, and how the ward stood last.
pub(super) fn without_store(
    ward: &Ward,
    trouble: Option<&Trouble>,
    complaint: Complaint,
    now: DateTime<Utc>,
) -> String {
    let mut text = Text::default();
    text.services(trouble, Some(complaint), &[]);
    let away = trouble.and_then(Trouble::finding_unread);
    text.unwatched(&[away.unwrap_or_else(|| store_away(complaint, ""))]);
    // What the job does cannot be told here, where it does not run; nobody sees what it finds, at any rate.
    let seconds = trouble.map_or(0, |trouble| trouble.outage().lasts.as_secs());
    text.unjudged(ward.beds.len(), seconds);
    if let Some(last) = &ward.batch {
        text.last_batch(last);
        text.family("ward_age_seconds", "gauge", "How old what is known of the ward is");
        text.sample("ward_age_seconds", &[], (now - last.now).num_seconds().max(0));
    }
    text.open_episodes(&ward.episodes);
    text.0
}

#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double")]
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1_000.0
}

/// The text format: a family's help and type, then its samples.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    /// Whether the services do what they must, as far as this process knows.
    /// `complaint` is of who asks just now.
    fn services(&mut self, trouble: Option<&Trouble>, complaint: Option<Complaint>, found: &[Finding]) {
        let away = trouble.filter(|trouble| match trouble {
            Trouble::Store(_) | Trouble::Page(_) => true,
            Trouble::Ward(_) => complaint.is_some(),
            Trouble::Kafka(_) => false,
        });
        let complaint = away.map(|trouble| trouble.outage().complaint).or(complaint);
        self.family(
            "store_up",
            "gauge",
            "0 while the store does not answer, the page or the job, or takes nothing; what is told then is of memory",
        );
        self.sample("store_up", &[], u8::from(complaint.is_none()));
        self.family("store_away_seconds", "gauge", "For how long it has not; 0 while it does");
        self.sample("store_away_seconds", &[], away.map_or(0, |trouble| trouble.outage().lasts.as_secs()));
        self.family("store_complaint", "gauge", "1 for what it says of itself while it does not");
        for known in Complaint::ALL {
            let is_so = complaint == Some(known);
            self.sample("store_complaint", &[("complaint", known.name())], u8::from(is_so));
        }
        let is_kafka_away = found.iter().any(|finding| finding.cause == Cause::KafkaAway);
        self.family("kafka_up", "gauge", "0 while Kafka does not answer the job");
        self.sample("kafka_up", &[], u8::from(!is_kafka_away && !matches!(trouble, Some(Trouble::Kafka(_)))));
    }

    fn unwatched(&mut self, found: &[Finding]) {
        self.family("unwatched", "gauge", "What is not being watched, by cause; `wardwatch status` tells what it is");
        for cause in Cause::ALL {
            let of = found.iter().filter(|finding| finding.cause == cause).count();
            self.sample("unwatched", &[("cause", cause.name())], of);
        }
    }

    fn unjudged(&mut self, patients: usize, seconds: u64) {
        self.family(
            "unjudged_patients",
            "gauge",
            "Patients whom a rule does not judge, or of whose alarms nobody is told",
        );
        self.sample("unjudged_patients", &[], patients);
        self.family("unjudged_seconds", "gauge", "For how long the first of them has not been; 0 without one");
        self.sample("unjudged_seconds", &[], seconds);
    }

    fn last_batch(&mut self, last: &BatchSummary) {
        self.family("batches_total", "counter", "Batches that were committed");
        self.sample("batches_total", &[], last.batch.0);
        self.family("last_batch_timestamp_seconds", "gauge", "The frozen time of the last batch");
        self.sample("last_batch_timestamp_seconds", &[], seconds(last.now));
    }

    fn open_episodes(&mut self, episodes: &[Episode]) {
        self.family("open_episodes", "gauge", "Episodes that fire, recover or are latched");
        for severity in Severity::ALL {
            let open = episodes.iter().filter(|episode| episode.severity == severity && episode.state.is_shown());
            self.sample("open_episodes", &[("severity", severity.name())], open.count());
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP wardwatch_{name} {help}.\n# TYPE wardwatch_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("wardwatch_{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_as_the_format_wants_it() {
        let mut text = Text::default();
        text.sample("x", &[("query", "a\"b\\c\nd")], 1);
        assert_eq!(text.0, "wardwatch_x{query=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
