//! The samples of a batch, patient by patient.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::lanes::{LaneNumbers, Placed};
use super::row::SampleRow;
use super::shape::SetId;
use crate::composed::parts::{Composed, Composition};
use crate::map::HashMap;
use crate::rule::Rule;

/// The samples of a batch, patient by patient in the order in which they came.
#[derive(Debug, Default)]
pub struct Samples {
    pub(crate) patients: HashMap<Arc<str>, SmallVec<[SampleRow; 1]>>,
    /// Where samples stand that are not in the first lane.
    pub(crate) placed: HashMap<(SetId, usize), Placed>,
    /// The samples with which their lane takes the place of the others of its device.
    pub(crate) leading: HashSet<(SetId, usize)>,
    /// The samples with which lanes of what had been kept count no longer.
    pub(crate) letting_go: HashMap<(SetId, usize), LaneNumbers>,
    /// The records without a value where each one before had one.
    pub(crate) gaps: HashSet<(SetId, usize)>,
    /// What rules of several vitals are judged on.
    composed: Vec<(Composition, Composed)>,
}

impl Samples {
    pub(crate) fn of_patient(&self, patient: &str) -> &[SampleRow] {
        self.patients.get(patient).map(SmallVec::as_slice).unwrap_or_default()
    }

    /// The records of each patient, in the order in which they came.
    pub(crate) fn patients(&self) -> &HashMap<Arc<str>, SmallVec<[SampleRow; 1]>> {
        &self.patients
    }

    pub(crate) fn add_composed(&mut self, composition: Composition, composed: Composed) {
        self.composed.push((composition, composed));
    }

    /// What a rule of several vitals is judged on.
    #[must_use]
    pub fn composed(&self, rule: &Rule) -> Option<&Composed> {
        let wanted = Composition::of(rule)?;
        self.composed.iter().find(|(known, _)| *known == wanted).map(|(_, composed)| composed)
    }

    /// Whether a record says that there is no value, for each one of its stream before it had one: a sensor is off. Where
    /// values come in some records only, the others say nothing of them.
    pub(crate) fn is_gap(&self, set: SetId, record: SampleRow) -> bool {
        self.gaps.contains(&(set, record.row))
    }

    /// Whether a sample's lane takes the place of the others of its device, whose clock was set.
    pub(crate) fn leads(&self, set: SetId, sample: SampleRow) -> bool {
        self.leading.contains(&(set, sample.row))
    }

    /// The lanes of a sample's device that count no longer with it.
    pub(crate) fn let_go(&self, set: SetId, sample: SampleRow) -> &[u32] {
        self.letting_go.get(&(set, sample.row)).map(SmallVec::as_slice).unwrap_or_default()
    }

    /// Where a row stands among the samples of a set.
    pub(crate) fn place(&self, set: SetId, sample: SampleRow) -> Placed {
        self.placed.get(&(set, sample.row)).copied().unwrap_or(Placed::Lane(0))
    }
}
