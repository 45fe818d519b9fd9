//! Times that a column says how to read, and texts of several places.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::*;

/// The event times of records, in microseconds since 2026-01-01T00:00:00Z, where they are stamped, or the reason.
fn times(event_time: &str, source: &str, fields: &[&str]) -> Vec<Result<i64, String>> {
    let columns = format!("patient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\", {event_time} }}");
    let mut decoder = decoder(&columns, &format!("max_skew = \"20000d\"\n{source}"));
    let one = |fields: &&str| {
        let record = format!(r#"{{"patient_id":"P1",{fields}}}"#);
        let decoded = decoder.decode(&records(&[record.as_bytes()]));
        match decoded.rejects.first() {
            Some(reject) => Err(reject.reason.clone()),
            None => {
                let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
                Ok(times.value(0) - 1_767_225_600_000_000)
            }
        }
    };
    fields.iter().map(one).collect()
}

#[test]
fn date_here_and_time_there_are_one_time_and_a_time_of_day_is_of_the_nearest_day() {
    let column = r#"from = ["{date} {time}", "device_time.sec", "time"], day = "@stamp",
        plus = { field = "device_time.nanosec", unit = "ns" }"#
        .replace('\n', " ");
    let found = times(
        &column,
        "",
        &[
            r#""date":"2026-01-01","time":"10:00:00""#,
            r#""device_time":{"sec":1767225601,"nanosec":250000000}"#,
            r#""time":"23:59:59""#,
            r#""time":"00:00:01.5""#,
            r#""time":"noon""#,
        ],
    );
    assert_eq!(found[..4], [Ok(36_000_000_000), Ok(1_250_000), Ok(-1_000_000), Ok(1_500_000)]);
    assert!(found[4].as_ref().is_err_and(|reason| reason.contains("\"noon\" is not a valid time")), "{found:?}");
}

#[test]
fn formats_and_counts_from_an_origin_are_read() {
    let found = times(
        r#"from = "t", time_format = ["%d.%m.%Y %H:%M", "%m/%d/%y %I:%M:%S %p"]"#,
        "time_zone = \"Europe/Berlin\"",
        &[r#""t":"01.01.2026 01:00""#, r#""t":"01/01/26 01:00:02 AM""#, r#""t":"2026-01-01T00:00:00Z""#],
    );
    assert_eq!(found, [Ok(0), Ok(2_000_000), Ok(0)]);
    let found = times(
        r#"from = "offset", count_in = "min", origin = "admitted""#,
        "",
        &[
            r#""offset":90,"admitted":"2026-01-01T00:00:00Z""#,
            r#""offset":-1.5,"admitted":1767225600"#,
            r#""offset":5"#,
            r#""offset":5,"admitted":"?""#,
        ],
    );
    assert_eq!(found[..2], [Ok(5_400_000_000), Ok(-90_000_000)]);
    assert!(
        found[2].as_ref().is_err_and(|reason| reason.contains("field \"admitted\", which has no value")),
        "{found:?}"
    );
    assert!(found[3].as_ref().is_err_and(|reason| reason.contains("which is not a valid time")), "{found:?}");
    assert_eq!(times("from = \"t\", count_in = \"ms\"", "", &[r#""t":1767225600250"#]), [Ok(250_000)]);
}

#[test]
fn years_of_two_digits_are_of_the_century_that_the_pivot_says() {
    let found = |pivot: &str, text: &str| {
        let column = format!(r#"from = "t", time_format = "%d.%m.%y %H:%M"{pivot}"#);
        times(&column, "", &[&format!(r#""t":"{text}""#)]).remove(0).map(|micros| micros / 86_400_000_000)
    };
    // Days from 2026-01-01 to the first of January of 1969, 2026, 2027 and 1927.
    assert_eq!(found("", "01.01.70 00:00"), Ok(-20_454));
    assert_eq!(found("", "01.01.27 00:00"), Ok(365));
    assert_eq!(found(", year_pivot = 27", "01.01.26 00:00"), Ok(0));
    assert_eq!(found(", year_pivot = 27", "01.01.27 00:00"), Ok(-36_160));
    assert_eq!(found(", year_pivot = 80", "01.01.70 00:00"), Ok(16_071));
    // A year of four digits is that one, whatever the pivot.
    let both = r#"from = "t", time_format = ["%d.%m.%Y %H:%M", "%d.%m.%y %H:%M"], year_pivot = 20"#;
    assert_eq!(times(both, "", &[r#""t":"01.01.2026 00:00""#]), [Ok(0)]);
    assert!(found(", year_pivot = 0", "29.02.00 00:00").is_err_and(|reason| reason.contains("is not a valid time")));
}

#[test]
fn formats_are_tried_in_turn_and_units_that_cannot_be_meant_are_refused() {
    let one = |column: &str, text: &str| times(column, "", &[&format!(r#""t":"{text}""#)]).remove(0);
    let two = r#"from = "t", time_format = ["%d.%m.%Y %H:%M:%S", "%d.%m.%y %H:%M:%S"]"#;
    assert_eq!(one(two, "01.01.26 00:00:05"), Ok(5_000_000));
    assert!(one(two, "noon").is_err_and(|reason| reason.contains("not written as \"%d.%m.%Y %H:%M:%S\" or")));
    // Seconds where the column says milliseconds, and the other way round.
    let reason = one(r#"from = "t", count_in = "ms""#, "1767225601");
    assert!(reason.is_err_and(|reason| reason.contains("to 1970-01-21T") && reason.contains("it is 2026-01-01T")));
    assert!(one(r#"from = "t", count_in = "s""#, "1767225601000").is_err());
    assert_eq!(one(r#"from = "t", day = "@stamp""#, "12:00:01 AM"), Ok(1_000_000));
    assert_eq!(one(r#"from = "t", day = "@stamp", time_format = "%Hh%M""#, "00h01"), Ok(60_000_000));
}

#[test]
fn the_stamp_counts_where_a_time_is_missing_illegible_or_too_far_off() {
    let columns = r#"
        patient_id = { type = "text" }
        event_time = { type = "time", from = "t", trust_stamp = "1h" }
        received_at = { type = "time", trust_stamp = true }
    "#;
    let payloads = [
        r#"{"patient_id":"P1","t":"2026-01-01T00:59:59Z"}"#,
        r#"{"patient_id":"P1","t":"1970-01-01T00:00:07Z"}"#,
        r#"{"patient_id":"P1","t":"2026-01-01T01:00:01Z"}"#,
        r#"{"patient_id":"P1","t":"no clock"}"#,
        r#"{"patient_id":"P1"}"#,
    ]
    .map(str::as_bytes);
    let decoded = decoder(columns, "max_skew = \"10000d\"").decode(&records(&payloads));
    let seconds = |name: &str| {
        let times = decoded.rows[name].as_primitive::<TimestampMicrosecondType>();
        times.iter().map(|time| time.map(|time| time / 1_000_000 - 1_767_225_600)).collect::<Vec<_>>()
    };
    assert_eq!(seconds("event_time"), [3_599, 0, 0, 0, 0].map(Some));
    assert_eq!(seconds("received_at"), [Some(0); 5]);
    let reasons: Vec<&str> = decoded.artefacts.iter().map(|artefact| artefact.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[..2].iter().all(|reason| reason.contains("too far from Kafka's stamp, 2026-01-01T00:00:00Z")));
    assert!(reasons[2].contains("is not a valid time"), "{reasons:?}");
}

#[test]
fn texts_of_several_places_are_put_together() {
    let columns = r#"
        patient_id = { type = "text", from = "{ward}-{bed.number}" }
        event_time = { type = "time" }
        last = { type = "text", from = "ref", split = "/", part = -1 }
    "#;
    let at = r#""event_time":"2026-01-01T00:00:00Z""#;
    let payloads = [
        format!(r#"{{{at},"ward":"ICU","bed":{{"number":4}},"ref":"http://h/fhir/Patient/p-17"}}"#),
        format!(r#"{{{at},"ward":"ICU","ref":"p-17"}}"#),
        format!(r#"{{{at}}}"#),
    ];
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    let decoded = decoder(columns, "").decode(&records(&payloads));
    let texts =
        |name: &str| decoded.rows[name].as_string_view().iter().map(Option::unwrap_or_default).collect::<Vec<_>>();
    assert_eq!((texts("patient_id"), texts("last")), (vec!["ICU-4"], vec!["p-17"]));
    assert_eq!(decoded.rejects.len(), 2, "a text of which a part is missing is none");
    assert!(decoded.rejects[0].reason.contains("column \"patient_id\" is required"));
}
