//! Whether the services behind the page answer, as far as this process knows: by the job's own word where it runs here, and by
//! what the page's reader meets with.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use wardwatch_care::{Cause, Finding, Halt, STORE_REMEDY};
use wardwatch_model::clock::SystemClock;
use wardwatch_model::health::{Complaint, Health, Outage};
use wardwatch_store::StoreError;

use super::words::{length, sentence, time_of_day};

/// What is known of services.
#[derive(Debug, Clone)]
pub(super) struct Services {
    /// The job that runs in this process, if one does.
    job: Option<Health>,
    /// Whether the store answers the page.
    store: Health,
    /// Whether it answers with the ward: a table that is missing is an answer, and no ward.
    ward: Health,
}

/// Why a page may not show how the ward stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The store does not answer the job, which is why nobody is judged.
    Store(Outage),
    /// The store does not answer the page; of the job, nothing is known here.
    Page(Outage),
    /// The store answers the page, but the ward cannot be read.
    Ward(Outage),
    /// Kafka does not answer the job.
    Kafka(Outage),
}

impl Services {
    pub(super) fn new(job: Option<&Health>) -> Self {
        let unknown = || Health::new(Arc::new(SystemClock));
        Self { job: job.cloned(), store: unknown(), ward: unknown() }
    }

    /// Whether the store answers the page.
    pub(super) fn store(&self) -> &Health {
        &self.store
    }

    /// The ward is about to be read.
    pub(super) fn ward_is_asked_for(&self) {
        self.store.store_is_asked();
        self.ward.store_is_asked();
    }

    /// It was read, or a part of it.
    pub(super) fn ward_was_read(&self) {
        self.store.store_has_answered();
        self.ward.store_has_answered();
    }

    /// It could not be read.
    pub(super) fn ward_was_not_read(&self, error: &StoreError) {
        let (complaint, reason) = (error.complaint(), error.to_string());
        match error {
            StoreError::Unavailable(_) => self.store.store_has_failed(complaint, &reason),
            _ => self.store.store_has_answered(),
        }
        self.ward.store_has_failed(complaint, &reason);
    }

    /// What concerns most, if anything does.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let of_job = self.job.as_ref().and_then(Health::store_away);
        let of_kafka = || self.job.as_ref().and_then(Health::kafka_away).map(Trouble::Kafka);
        let of_page = || self.store.store_away().map(Trouble::Page);
        let of_ward = || self.ward.store_away().map(Trouble::Ward);
        of_job.map(Trouble::Store).or_else(of_page).or_else(of_kafka).or_else(of_ward)
    }
}

impl Trouble {
    /// The outage.
    pub(super) fn outage(&self) -> &Outage {
        match self {
            Self::Store(outage) | Self::Page(outage) | Self::Ward(outage) | Self::Kafka(outage) => outage,
        }
    }

    /// That nobody is watched because of it, where the store is the reason: of everything else, the store tells.
    pub(super) fn finding(&self) -> Option<Finding> {
        match self {
            Self::Store(_) | Self::Page(_) => self.finding_unread(),
            Self::Ward(_) | Self::Kafka(_) => None,
        }
    }

    /// The same where the store could not be read for whatever else there is to tell.
    pub(super) fn finding_unread(&self) -> Option<Finding> {
        let outage = match self {
            Self::Store(outage) | Self::Page(outage) | Self::Ward(outage) => outage,
            Self::Kafka(_) => return None,
        };
        let is = outage.complaint.is();
        let what = match self {
            Self::Store(_) => format!("{is}, as the job finds: nothing is stored and no alarm is judged"),
            _ => format!("{is}, as this page finds: new values and new alarms are not shown"),
        };
        let said = if outage.reason.is_empty() { "" } else { "; the log has what it said" };
        Some(Finding {
            cause: Cause::StoreAway,
            what: format!("{what}{said}"),
            since: Some(outage.since),
            remedy: STORE_REMEDY.to_owned(),
        })
    }

    /// Why the page, or the job, is not ready.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Store(outage) | Self::Page(outage) if outage.complaint != Complaint::Silent => outage.complaint.is(),
            Self::Store(_) => "the store does not answer the job",
            Self::Page(_) => "the store does not answer",
            Self::Ward(_) => "the ward's tables cannot be read",
            Self::Kafka(outage) if !outage.reason.is_empty() => "nothing can be read of Kafka",
            Self::Kafka(_) => "Kafka does not answer the job",
        }
    }

    /// What to tell people who look at a page whose numbers are of the time `known`, if there are any.
    pub(super) fn tell(&self, known: Option<DateTime<Utc>>, zone: Tz) -> String {
        let outage = self.outage();
        let lasts = length(chrono::TimeDelta::from_std(outage.lasts).unwrap_or_default());
        let since = time_of_day(outage.since, zone);
        let has_been = sentence(outage.complaint.has_been());
        let what = match self {
            Self::Store(_) => format!(
                "{has_been} for {lasts}, since {since}. Nothing is stored and no alarm is judged: watch the patients by \
                 their monitors."
            ),
            Self::Page(_) if outage.complaint == Complaint::Silent => format!(
                "{has_been} this page for {lasts}, since {since}. New values and new alarms are not shown: watch the patients \
                 by their monitors."
            ),
            Self::Page(_) => format!(
                "{has_been} for {lasts}, since {since}. New values and new alarms are not shown: watch the patients by their \
                 monitors."
            ),
            Self::Ward(_) => format!(
                "The ward's tables have not been readable for {lasts}, since {since}. New values and new alarms are not shown: \
                 watch the patients by their monitors. The page Job and the log say why."
            ),
            Self::Kafka(_) => {
                let what = match outage.reason.as_str() {
                    "" => format!("Kafka has not answered for {lasts}, since {since}"),
                    says => format!("Nothing has been read of Kafka for {lasts}, since {since}: {says}"),
                };
                format!("{what}. No new value comes, so no alarm is judged: watch the patients by their monitors.")
            }
        };
        format!("{what} {}", how_old(known, zone))
    }

    /// That the job commits nothing while this lasts, where that is so.
    pub(super) fn halt(&self) -> Option<Halt> {
        match self {
            Self::Store(outage) => Some(Halt { since: outage.since, why: outage.complaint.is().to_owned() }),
            Self::Page(_) | Self::Ward(_) | Self::Kafka(_) => None,
        }
    }
}

/// What to tell people while no batch is committed, so that the numbers of a page are of the last one.
pub(super) fn tell_halt(last: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> String {
    format!(
        "No batch has been committed for {}, since {}. No alarm is judged: watch the patients by their monitors. {}",
        length(now - last),
        time_of_day(last, zone),
        how_old(Some(last), zone)
    )
}

fn how_old(known: Option<DateTime<Utc>>, zone: Tz) -> String {
    match known {
        Some(known) => format!("What is shown here is old, of {}.", time_of_day(known, zone)),
        None => "Nothing has been read yet.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_told_says_since_when_what_it_means_and_of_when_the_numbers_are() {
        let at = |second: i64| DateTime::from_timestamp(1_767_261_852 + second, 0).expect("a time");
        let outage = |complaint| Outage {
            since: at(0),
            lasts: Duration::from_secs(130),
            complaint,
            reason: "10.0.0.7 refused".to_owned(),
        };
        let zone: Tz = "Europe/Berlin".parse().expect("a zone");
        assert_eq!(
            Trouble::Store(outage(Complaint::Silent)).tell(Some(at(-1)), zone),
            "The store has not answered for 2 m 10 s, since 11:04:12 CET. Nothing is stored and no alarm is judged: watch the \
             patients by their monitors. What is shown here is old, of 11:04:11 CET."
        );
        let told = Trouble::Page(outage(Complaint::Silent)).tell(None, zone);
        assert!(!told.contains("judged") && told.ends_with("Nothing has been read yet."), "{told}");
        for (complaint, expected) in [
            (Complaint::ReadOnly, "The store has been read-only for 2 m 10 s, since 11:04:12 CET. Nothing is stored"),
            (Complaint::Full, "The store has had no room left on its disk for 2 m 10 s, since"),
            (Complaint::Locked, "The store has been locked by others for 2 m 10 s, since"),
        ] {
            let told = Trouble::Store(outage(complaint)).tell(Some(at(-1)), zone);
            assert!(told.starts_with(expected) && !told.contains("10.0.0.7"), "{told}");
        }
        let gone = Outage { reason: "topic \"vitals\" does not exist".to_owned(), ..outage(Complaint::Silent) };
        let told = Trouble::Kafka(gone).tell(None, zone);
        assert!(told.contains("since 11:04:12 CET: topic \"vitals\" does not exist. No new value comes"), "{told}");
        assert_eq!(
            tell_halt(at(-1), at(99), zone),
            "No batch has been committed for 1 m 40 s, since 11:04:11 CET. No alarm is judged: watch the patients by their \
             monitors. What is shown here is old, of 11:04:11 CET."
        );
    }
}
