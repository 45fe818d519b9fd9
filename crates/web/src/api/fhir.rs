//! A patient's vitals as FHIR R4 writes them: a bundle of `Observation`s, coded by LOINC, with units of UCUM.
//!
//! Source: HL7 FHIR R4, "Vital Signs Profiles" (hl7.org/fhir/R4/observation-vitalsigns.html): heart rate 8867-4, respiratory
//! rate 9279-1, oxygen saturation 2708-6 with 59408-5, body temperature 8310-5, blood pressure 85354-9 with the components
//! systolic 8480-6 and diastolic 8462-4.

use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::super::words::encoded;
use super::asked::{MOST, USUAL};
use super::patients::{Reading, edges, readings};
use crate::access::secret::digest;
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;

const LOINC: &str = "http://loinc.org";
const UCUM: &str = "http://unitsofmeasure.org";
const FHIR_JSON: &str = "application/fhir+json";

/// A vital by the name of its column: codes and what they are called, the unit as it is shown and as UCUM writes it.
struct Coding {
    column: &'static str,
    codes: &'static [(&'static str, &'static str)],
    unit: (&'static str, &'static str),
}

const CODINGS: [Coding; 5] = [
    Coding { column: "heart_rate", codes: &[("8867-4", "Heart rate")], unit: ("/min", "/min") },
    Coding { column: "respiratory_rate", codes: &[("9279-1", "Respiratory rate")], unit: ("/min", "/min") },
    Coding {
        column: "spo2",
        codes: &[
            ("2708-6", "Oxygen saturation in Arterial blood"),
            ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
        ],
        unit: ("%", "%"),
    },
    Coding { column: "temperature", codes: &[("8310-5", "Body temperature")], unit: ("°C", "Cel") },
    Coding { column: "pulse", codes: &[("8889-8", "Heart rate by Pulse oximetry")], unit: ("/min", "/min") },
];

const PRESSURE: (&str, &str) = ("85354-9", "Blood pressure panel with all children optional");
const SYSTOLIC: (&str, &str) = ("8480-6", "Systolic blood pressure");
const DIASTOLIC: (&str, &str) = ("8462-4", "Diastolic blood pressure");

/// What is searched for.
struct Search {
    patient: String,
    codes: Vec<String>,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    count: usize,
}

/// A patient's vital signs, the oldest first: of the last hour if no date is given.
#[utoipa::path(get, path = "/fhir/Observation", tag = "fhir", params(
    ("patient" = String, Query, min_length = 1, description = "the patient's id, with or without `Patient/`"),
    ("code" = Option<String>, Query, description = "LOINC codes with commas between them, with or without their system"),
    ("date" = Option<String>, Query, description = "a time with `ge`, `gt`, `le` or `lt` before it; may be given twice"),
    ("_count" = Option<usize>, Query, minimum = 1, maximum = 1000, description = "how many readings at the most"),
), responses(
    (status = 200, body = Object, content_type = "application/fhir+json", description = "a Bundle"),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Object, content_type = "application/fhir+json", description = "an OperationOutcome"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Object, content_type = "application/fhir+json", description = "an OperationOutcome"),
    (status = 503, body = Object, content_type = "application/fhir+json", description = "an OperationOutcome"),
))]
pub(super) async fn observations(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Response {
    match bundle(&app, &visitor, query.as_deref().unwrap_or_default()).await {
        Ok(bundle) => answer(StatusCode::OK, &bundle),
        Err(problem) => answer(problem.status(), &outcome(&problem)),
    }
}

fn answer(status: StatusCode, resource: &Value) -> Response {
    (status, [(CONTENT_TYPE, FHIR_JSON)], resource.to_string()).into_response()
}

fn outcome(problem: &Problem) -> Value {
    let code = match problem.status() {
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::BAD_REQUEST => "invalid",
        _ => "transient",
    };
    let issue = json!({ "severity": "error", "code": code, "diagnostics": problem.detail() });
    json!({ "resourceType": "OperationOutcome", "issue": [issue] })
}

async fn bundle(app: &App, visitor: &Visitor, query: &str) -> Result<Value, Problem> {
    let search = search(query)?;
    let (from, until) = edges(search.from, search.until)?;
    audit_view(app, visitor, &search.patient).await?;
    let mut readings = readings(app, &search.patient, (from, until), search.count + 1).await?;
    let has_more = readings.len() > search.count;
    readings.truncate(search.count);
    let is_wanted = |code: &str| search.codes.is_empty() || search.codes.iter().any(|wanted| wanted == code);
    let observations = readings.iter().flat_map(|reading| of_reading(&search.patient, reading, &is_wanted));
    let entries: Vec<Value> = observations
        .map(|resource| {
            // An absolute URL is wanted, and nobody can ask for one of them by its id.
            let url = format!("urn:uuid:{}", resource["id"].as_str().unwrap_or_default());
            json!({ "fullUrl": url, "resource": resource, "search": { "mode": "match" } })
        })
        .collect();
    let link = |relation: &str, from: &str| {
        let codes =
            if search.codes.is_empty() { String::new() } else { format!("&code={}", encoded(&search.codes.join(","))) };
        let url = format!(
            "Observation?patient={}{codes}&date={from}&date=le{}&_count={}",
            encoded(&search.patient),
            encoded(&instant(until)),
            search.count
        );
        json!({ "relation": relation, "url": url })
    };
    let own = link("self", &format!("ge{}", encoded(&instant(from))));
    let next =
        readings.last().filter(|_| has_more).map(|last| link("next", &format!("gt{}", encoded(&instant(last.at())))));
    let links: Vec<Value> = std::iter::once(own).chain(next).collect();
    Ok(json!({ "resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries }))
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn search(query: &str) -> Result<Search, Problem> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|error| Problem::wrong(&error.to_string()))?;
    let mut search = Search { patient: String::new(), codes: Vec::new(), from: None, until: None, count: USUAL };
    for (name, value) in pairs {
        match name.as_str() {
            "patient" | "subject" => search.patient = value.trim_start_matches("Patient/").to_owned(),
            "code" => {
                let codes = value.split(',').map(|code| code.rsplit('|').next().unwrap_or_default().to_owned());
                search.codes.extend(codes.filter(|code| !code.is_empty()));
            }
            "date" => limit(&mut search, &value)?,
            "_count" => {
                search.count = value
                    .parse()
                    .ok()
                    .filter(|count| (1..=MOST).contains(count))
                    .ok_or_else(|| Problem::wrong(&format!("_count is 1 to {MOST}, not \"{value}\"")))?;
            }
            _ => {
                let message = format!("unknown parameter \"{name}\"; there are patient, code, date and _count");
                return Err(Problem::wrong(&message));
            }
        }
    }
    if search.patient.is_empty() {
        return Err(Problem::wrong("name the patient: Observation?patient=ID"));
    }
    Ok(search)
}

/// Takes over what a `date` says. One without a prefix is a day, or an instant.
fn limit(search: &mut Search, value: &str) -> Result<(), Problem> {
    let wrong = || Problem::wrong(&format!("\"{value}\" is no date; write ge2026-01-01T00:00:00Z"));
    let (prefix, text) = match value.get(..2) {
        Some(prefix @ ("ge" | "gt" | "le" | "lt" | "eq")) => (prefix, &value[2..]),
        _ => ("eq", value),
    };
    let (first, last) = match DateTime::parse_from_rfc3339(text) {
        Ok(at) => (at.to_utc(), at.to_utc()),
        Err(_) => {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| wrong())?;
            let start = day.and_hms_opt(0, 0, 0).ok_or_else(wrong)?.and_utc();
            (start, start + TimeDelta::days(1) - TimeDelta::microseconds(1))
        }
    };
    let tick = TimeDelta::microseconds(1);
    match prefix {
        "ge" => search.from = Some(first),
        "gt" => search.from = last.checked_add_signed(tick),
        "le" => search.until = Some(last),
        "lt" => search.until = first.checked_sub_signed(tick),
        _ => (search.from, search.until) = (Some(first), Some(last)),
    }
    Ok(())
}

/// The observations of one reading; both pressures are one.
fn of_reading(patient: &str, reading: &Reading, is_wanted: &dyn Fn(&str) -> bool) -> Vec<Value> {
    let single =
        CODINGS.iter().filter(|coding| coding.codes.iter().any(|(code, _)| is_wanted(code))).filter_map(|coding| {
            let value = reading.value(coding.column)?;
            let mut observation = observation(patient, reading.at(), coding.codes);
            observation["valueQuantity"] = quantity(value, coding.unit);
            Some(observation)
        });
    let part = |(code, name): (&str, &str), column: &str| {
        let value = quantity(reading.value(column)?, ("mmHg", "mm[Hg]"));
        Some(json!({ "code": concept(&[(code, name)]), "valueQuantity": value }))
    };
    let is_pressure_wanted = [PRESSURE, SYSTOLIC, DIASTOLIC].iter().any(|(code, _)| is_wanted(code));
    let parts: Vec<Value> =
        [part(SYSTOLIC, "systolic_bp"), part(DIASTOLIC, "diastolic_bp")].into_iter().flatten().collect();
    let pressure = (is_pressure_wanted && !parts.is_empty()).then(|| {
        let mut observation = observation(patient, reading.at(), &[PRESSURE]);
        observation["component"] = Value::Array(parts);
        observation
    });
    single.chain(pressure).collect()
}

fn observation(patient: &str, at: DateTime<Utc>, codes: &[(&str, &str)]) -> Value {
    let code = codes.first().map_or("", |(code, _)| code);
    let id = digest(&format!("{patient}\n{code}\n{}", at.timestamp_micros()));
    let category = json!({ "coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs",
    }] });
    json!({
        "resourceType": "Observation",
        "id": uuid(&id),
        "meta": { "profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"] },
        "status": "final",
        "category": [category],
        "code": concept(codes),
        "subject": subject(patient),
        "effectiveDateTime": instant(at),
    })
}

/// The first digits of a digest, as UUIDs are written.
fn uuid(digest: &str) -> String {
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digest[part]).join("-")
}

/// A reference, where the id is one that FHIR allows; else what the patient is called.
fn subject(patient: &str) -> Value {
    let is_id = (1..=64).contains(&patient.len())
        && patient.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let identifier = json!({ "value": patient });
    if is_id {
        json!({ "reference": format!("Patient/{patient}"), "identifier": identifier })
    } else {
        json!({ "identifier": identifier })
    }
}

fn concept(codes: &[(&str, &str)]) -> Value {
    let coding = codes.iter().map(|(code, name)| json!({ "system": LOINC, "code": code, "display": name }));
    json!({ "coding": coding.collect::<Vec<_>>() })
}

fn quantity(value: f64, (shown, code): (&str, &str)) -> Value {
    json!({ "value": value, "unit": shown, "system": UCUM, "code": code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, f64)], is_wanted: &dyn Fn(&str) -> bool) -> Vec<Value> {
        of_reading("P 1", &Reading::new(DateTime::UNIX_EPOCH, values), is_wanted)
    }

    #[test]
    fn a_reading_is_an_observation_for_each_vital_and_one_for_both_pressures() {
        let values = [("heart_rate", 80.0), ("spo2", 97.0), ("systolic_bp", 120.0), ("diastolic_bp", 70.0)];
        let all = of(&values, &|_| true);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0]["valueQuantity"], json!({ "value": 80.0, "unit": "/min", "system": UCUM, "code": "/min" }));
        assert_eq!(all[1]["code"]["coding"][1]["code"], "59408-5");
        assert_eq!(all[2]["component"][0]["valueQuantity"]["code"], "mm[Hg]");
        assert_eq!(all[0]["subject"], json!({ "identifier": { "value": "P 1" } }));
        assert_eq!(all[0]["effectiveDateTime"], "1970-01-01T00:00:00Z");
        assert_eq!(of(&values, &|code| code == "8462-4").len(), 1);
        assert_eq!(of(&values, &|code| code == "8310-5").len(), 0);
    }

    #[test]
    fn dates_are_limits_with_prefixes_or_a_day() {
        let found = |query: &str| {
            search(query).map(|search| (search.from, search.until)).map_err(|problem| problem.detail().to_owned())
        };
        let at = |text: &str| Some(DateTime::parse_from_rfc3339(text).expect("a time").to_utc());
        let (from, until) = found("patient=P1&date=ge2026-01-01T00:00:00Z&date=lt2026-01-02T00:00:00Z").expect("right");
        assert_eq!((from, until), (at("2026-01-01T00:00:00Z"), at("2026-01-01T23:59:59.999999Z")));
        let (from, until) = found("patient=Patient/P1&date=2026-01-01").expect("right");
        assert_eq!((from, until), (at("2026-01-01T00:00:00Z"), at("2026-01-01T23:59:59.999999Z")));
        assert!(found("patient=P1&date=yesterday").is_err_and(|message| message.contains("\"yesterday\" is no date")));
        assert!(found("date=2026-01-01").is_err_and(|message| message.contains("name the patient")));
        assert!(found("patient=P1&pateint=P2").is_err_and(|message| message.contains("unknown parameter")));
    }
}
