//! What was said by mistake, or is known better now: details, what is taken back, and two ids of one patient.

use std::sync::Arc;

use super::request::Request;
use super::{Attachment, ENDLESS, Encounters, Span, without};

impl Encounters {
    pub(super) fn update(&mut self, request: &Request, at: i64) -> Result<String, String> {
        let details = request.given.details();
        if details.is_empty() {
            return Err("it changes nothing: name a name, a day of birth or an age band".to_owned());
        }
        let (_, known) = self.patient(&request.patient);
        known.learn(at, &details);
        Ok(String::new())
    }

    /// Takes back the stay that has begun last by then.
    pub(super) fn cancel_admit(&mut self, request: &Request, at: i64) -> Result<String, String> {
        let (patient, known) = self.known(&request.patient)?;
        let Some(stay) = known.stays.iter().rfind(|stay| stay.from <= at && stay.from < stay.until).copied() else {
            return Err(format!("{patient} has not come by then"));
        };
        known.stays.retain(|other| *other != stay);
        // Who is judged until then was never here, and has left.
        if known.stays.is_empty() {
            known.stays.push(Span { from: stay.from, until: stay.from });
        }
        known.places.retain(|(since, _)| !stay.holds(*since));
        self.let_go(&patient, stay);
        Ok(String::new())
    }

    /// Takes back the last move by then; where the patient lies now may be said beside.
    pub(super) fn cancel_move(&mut self, request: &Request, at: i64) -> Result<String, String> {
        self.must_be_here(&request.patient, at)?;
        let (patient, known) = self.known(&request.patient)?;
        let stay = known.stay_at(at).unwrap_or(Span { from: i64::MIN, until: ENDLESS });
        let last = known.places.iter().rposition(|(since, _)| *since <= at && *since > stay.from);
        match last {
            Some(last) => drop(known.places.remove(last)),
            None if request.given.is_empty() => return Err(format!("{patient} has not moved by then")),
            None => {}
        }
        known.learn(at, &request.given);
        let rest = Span { from: at, until: stay.until };
        if !request.given.device.is_empty() {
            self.let_go(&patient, rest);
        }
        Ok(self.attach(&patient, &request.given, rest))
    }

    /// Opens the stay again that has ended last by then.
    pub(super) fn cancel_discharge(&mut self, request: &Request, at: i64) -> Result<String, String> {
        let (patient, known) = self.known(&request.patient)?;
        if known.stay_at(at).is_some() {
            return Err(format!("{patient} is here"));
        }
        let Some(last) = known.stays.iter().rfind(|stay| stay.until <= at).copied() else {
            return Err(format!("{patient} has not left by then"));
        };
        let next = known.stays.iter().map(|stay| stay.from).filter(|from| *from > at).min();
        known.stay(Span { from: last.from, until: next.unwrap_or(ENDLESS) });
        known.learn(at, &request.given);
        let span = Span { from: last.until, until: next.unwrap_or(ENDLESS) };
        Ok(self.attach(&patient, &request.given, span))
    }

    /// Has all that was said of another id be said of this one, from then on; what has been told by the other id stays told by it.
    pub(super) fn merge(&mut self, request: &Request, at: i64) -> Result<String, String> {
        if request.merged.is_empty() || request.merged == request.patient {
            return Err("it names no other id that is the same patient's".to_owned());
        }
        let Some(other) = self.patients.get(request.merged.as_str()).cloned() else {
            let (_, known) = self.patient(&request.patient);
            known.learn(at, &request.given.details());
            return Ok(format!("nobody spoke of {} before", request.merged));
        };
        let (patient, known) = self.patient(&request.patient);
        for stay in other.stays.iter().filter(|stay| stay.from < stay.until) {
            known.stay(*stay);
        }
        for (since, place) in &other.places {
            if !known.places.iter().any(|(own, _)| own == since) {
                known.places.push((*since, place.clone()));
            }
        }
        known.places.sort_by_key(|(since, _)| *since);
        for (since, band) in &other.bands {
            if !known.bands.iter().any(|(own, _)| own == since) {
                known.bands.push((*since, band.clone()));
            }
        }
        known.bands.sort_by_key(|(since, _)| *since);
        let or_other = |own: &mut String, other: &str| {
            if own.is_empty() {
                other.clone_into(own);
            }
        };
        or_other(&mut known.details.name, &other.details.name);
        or_other(&mut known.details.born, &other.details.born);
        or_other(&mut known.details.age_band, &other.details.age_band);
        known.learn(at, &request.given.details());
        let rest = Span { from: at, until: ENDLESS };
        for attachments in self.devices.values_mut() {
            if attachments.iter().any(|attachment| *attachment.patient == *request.merged) {
                let moved = attachments.iter().flat_map(|attachment| {
                    if *attachment.patient != *request.merged {
                        return vec![attachment.clone()];
                    }
                    let from = attachment.span.from.max(at);
                    let later = Span { from, until: attachment.span.until };
                    let later =
                        (later.from < later.until).then(|| Attachment { patient: Arc::clone(&patient), span: later });
                    attachment.without(rest).into_iter().chain(later).collect()
                });
                *attachments = moved.collect();
            }
        }
        if let Some(gone) = self.patients.get_mut(request.merged.as_str()) {
            gone.stays = gone.stays.iter().flat_map(|stay| without(*stay, rest)).collect();
            if gone.stays.is_empty() {
                gone.stays.push(Span { from: at, until: at });
            }
        }
        Ok(String::new())
    }
}
