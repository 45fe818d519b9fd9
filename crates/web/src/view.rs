//! What the page shows of the ward.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use wardwatch_alert::Episode;
use wardwatch_model::encounter::Encounters;
use wardwatch_store::BatchSummary;

use super::patient_state::{Number, Score, Trend};
use super::vitals::Vitals;

/// The ward at one time; pages are made of it.
#[derive(Debug, Default)]
pub(crate) struct Ward {
    /// The number of the event that tells of it.
    pub(super) sequence: u64,
    /// The last batch.
    pub(super) batch: Option<BatchSummary>,
    /// The patients in the order of their places.
    pub(super) beds: Vec<Arc<PatientView>>,
    /// The episodes that people are shown: the worst first, of these those that nobody has taken on, the oldest first.
    pub(super) episodes: Arc<Vec<Episode>>,
    /// The vitals that tiles show.
    pub(super) vitals: Option<Arc<Vitals>>,
}

/// One patient at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatientView {
    /// The patient's id.
    pub(super) id: String,
    /// Who and where.
    pub(super) person: Person,
    /// The time of the newest reading; `None` of who is here and has sent nothing yet.
    pub(super) newest: Option<DateTime<Utc>>,
    /// The numbers, as many as there are vitals.
    pub(super) numbers: Vec<Number>,
    /// The score, and where it has gone.
    pub(super) score: Option<(Score, Trend)>,
    /// Half an hour of each vital.
    pub(super) sparks: Arc<Vec<String>>,
}

/// What the table of patients says of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Person {
    /// The name.
    pub(super) name: String,
    /// The bed.
    pub(super) place: String,
    /// The ward.
    pub(super) ward: String,
    /// The age band whose limits hold.
    pub(super) age_band: String,
    /// The SpO₂ scale.
    pub(super) spo2_scale: String,
}

impl Ward {
    /// The patient of this id.
    pub(super) fn patient(&self, id: &str) -> Option<&Arc<PatientView>> {
        self.beds.iter().find(|bed| bed.id == id)
    }

    /// The worst episode of a patient.
    pub(super) fn worst(&self, patient: &str) -> Option<&Episode> {
        self.episodes.iter().find(|episode| *episode.patient == *patient)
    }
}

/// What an event tells of small lines, which are longer than all the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Numbers only.
    Numbers,
    /// Small lines too, where they have changed.
    Sparks,
}

/// Beds are in the order of their numbers: 2 before 12, 12A before 12B.
pub(crate) fn place_of(bed: &PatientView) -> (u64, &str, &str) {
    let place = if bed.person.place.is_empty() { &bed.id } else { &bed.person.place };
    let digits: String = place.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap_or(u64::MAX), place, &bed.id)
}

impl Person {
    /// The same where the encounters know better.
    pub(crate) fn with_encounter(self, encounters: &Encounters, patient: &str, now: DateTime<Utc>) -> Self {
        let or = |new: &str, old: String| if new.is_empty() { old } else { new.to_owned() };
        let name = encounters.details(patient).map_or("", |details| &details.name);
        let age_band = encounters.age_band(patient, now);
        let (ward, place) = match encounters.whereabouts(patient, now) {
            // The bed of before is not the bed of another ward.
            Some(lies) if !lies.ward.is_empty() => (lies.ward.clone(), lies.place.clone()),
            Some(lies) => (self.ward, or(&lies.place, self.place)),
            None => (self.ward, self.place),
        };
        Self { name: or(name, self.name), place, ward, age_band: or(age_band, self.age_band), ..self }
    }
}
