//! SenML (RFC 8428, section 4.6): a list of records of which each may change the base of those that follow, as records that stand for
//! themselves.

use serde_json::Value as Json;

use super::scan::Value;
use super::tree::Node;

/// The version of SenML that is read.
const VERSION: f64 = 10.0;

/// The resolved records, as a JSON list; `None` where `root` is no SenML. Each has its name as `n`, that with the base before it as
/// `name`, the base as `bn`, unit, value and time with their bases as `u`, `v` and `t`, and its other fields as they are.
///
/// Errors: what must be understood and is not.
pub(super) fn resolved(root: &Node<'_>) -> Result<Option<Vec<u8>>, String> {
    let records: Vec<&Node<'_>> = if root.is_object() { vec![root] } else { root.items().iter().collect() };
    let is_senml = |record: &&Node<'_>| record.field("n").is_some() || record.field("bn").is_some();
    if records.is_empty() || !records.iter().any(is_senml) {
        return Ok(None);
    }
    let (mut base_name, mut base_unit) = (String::new(), None::<Json>);
    let (mut base_time, mut base_value) = (0.0, None);
    let mut written = b"[".to_vec();
    for record in records {
        let number = |name: &str| match record.field(name).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(digits)) => {
                digits.parse::<f64>().map(Some).map_err(|_| format!("\"{name}\" of SenML is {digits}, not a number"))
            }
            Some(other) => Err(format!("\"{name}\" of SenML is {}, not a number", other.kind())),
        };
        let text =
            |name: &str| record.field(name).filter(|node| node.has_value()).map(|node| node.value.sent().into_owned());
        if let Some(name) = record.field_names().into_iter().find(|name| name.ends_with('_')) {
            return Err(format!("SenML's \"{name}\" must be understood, and is not"));
        }
        if number("bver")?.is_some_and(|version| version > VERSION) {
            return Err(format!("SenML of a version later than {VERSION} is not read"));
        }
        base_name = text("bn").unwrap_or(base_name);
        base_unit = text("bu").map(Json::from).or(base_unit);
        base_time = number("bt")?.unwrap_or(base_time);
        base_value = number("bv")?.or(base_value);
        let value = number("v")?;
        if !["v", "vs", "vb", "vd", "s"].iter().any(|name| record.field(name).is_some()) {
            continue; // it says what is common to those that follow
        }
        if written.len() > 1 {
            written.push(b',');
        }
        written.push(b'{');
        const RESOLVED: [&str; 10] = ["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "t"];
        for name in record.field_names().into_iter().filter(|name| !RESOLVED.contains(name)) {
            if let Some(node) = record.field(name) {
                written.extend_from_slice(Json::from(name).to_string().as_bytes());
                written.push(b':');
                written.extend_from_slice(node.raw);
                written.push(b',');
            }
        }
        let own = text("n").unwrap_or_default();
        let mut resolved = serde_json::Map::new();
        resolved.insert("name".to_owned(), Json::from(format!("{base_name}{own}")));
        resolved.insert("n".to_owned(), Json::from(own));
        resolved.insert("bn".to_owned(), Json::from(base_name.as_str()));
        if let Some(unit) = text("u").map(Json::from).or_else(|| base_unit.clone()) {
            resolved.insert("u".to_owned(), unit);
        }
        let raw_value = record.field("v").filter(|node| node.has_value()).map(|node| node.value.sent().into_owned());
        match (value, base_value) {
            (Some(value), Some(base)) => drop(resolved.insert("v".to_owned(), Json::from(base + value))),
            // Without a base, the digits stay as they were sent.
            (Some(_), None) => drop(resolved.insert("v".to_owned(), Json::from(raw_value))),
            (None, _) => {}
        }
        resolved.insert("t".to_owned(), Json::from(base_time + number("t")?.unwrap_or(0.0)));
        let resolved = Json::Object(resolved).to_string();
        written.extend_from_slice(&resolved.as_bytes()[1..]);
    }
    written.push(b']');
    Ok(Some(written))
}
