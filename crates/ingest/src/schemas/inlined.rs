//! A schema of Avro that refers to others, as one that has them in it: decoders know no references.
//!
//! Source: Apache Avro 1.11, "Names" and "Schema Resolution": a name without a dot is of the namespace around it, and a type is known by
//! its name once it has been defined.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

/// `text` with each type that is only named in it defined where it is first named; `referred` are the schemas of such names.
///
/// # Errors
/// A schema is not valid JSON.
pub(super) fn inlined(text: &str, referred: &BTreeMap<String, String>) -> Result<String, String> {
    let read = |name: &str, text: &str| {
        serde_json::from_str::<Json>(text).map_err(|error| format!("the schema {name} is not valid JSON: {error}"))
    };
    let mut schema = read("itself", text)?;
    let referred = referred.iter().map(|(name, text)| Ok((name.clone(), read(name, text)?)));
    let mut inlining = Inlining { referred: referred.collect::<Result<_, String>>()?, defined: BTreeSet::new() };
    inlining.visit(&mut schema, "");
    Ok(schema.to_string())
}

struct Inlining {
    referred: BTreeMap<String, Json>,
    /// The full names of types that are defined before.
    defined: BTreeSet<String>,
}

const PRIMITIVE: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

impl Inlining {
    /// Looks at a schema within a namespace.
    fn visit(&mut self, schema: &mut Json, namespace: &str) {
        match schema {
            Json::String(name) if !PRIMITIVE.contains(&name.as_str()) => {
                let full = full_name(name, namespace);
                if self.defined.contains(&full) {
                    return;
                }
                let found = self.referred.get(&full).or_else(|| self.referred.get(name.as_str())).cloned();
                let Some(mut found) = found else { return };
                if let Some(definition) = found.as_object_mut().filter(|found| found.contains_key("name")) {
                    // Where it stands now, another namespace may be around it.
                    let own = definition.get("name").and_then(Json::as_str).is_some_and(|name| name.contains('.'));
                    if !own {
                        definition.entry("namespace").or_insert_with(|| Json::String(String::new()));
                    }
                }
                *schema = found;
                self.visit(schema, "");
            }
            Json::Array(union) => union.iter_mut().for_each(|one| self.visit(one, namespace)),
            Json::Object(definition) => {
                let text = |key: &str| definition.get(key).and_then(Json::as_str).map(str::to_owned);
                let inner = match text("name") {
                    Some(name) => {
                        let around = text("namespace").unwrap_or_else(|| namespace.to_owned());
                        let full = full_name(&name, &around);
                        let inner = full.rsplit_once('.').map_or(String::new(), |(inner, _)| inner.to_owned());
                        self.defined.insert(full);
                        inner
                    }
                    None => namespace.to_owned(),
                };
                let kind = text("type").unwrap_or_default();
                for key in ["items", "values"] {
                    if let Some(of) = definition.get_mut(key) {
                        self.visit(of, &inner);
                    }
                }
                if let Some(Json::Array(fields)) = definition.get_mut("fields") {
                    for of in fields.iter_mut().filter_map(|field| field.get_mut("type")) {
                        self.visit(of, &inner);
                    }
                }
                // { "type": "ward.Patient" } is the type of that name.
                const COMPLEX: [&str; 6] = ["record", "error", "enum", "fixed", "array", "map"];
                if let Some(of) = definition.get_mut("type").filter(|_| !COMPLEX.contains(&kind.as_str())) {
                    self.visit(of, &inner);
                }
            }
            _ => {}
        }
    }
}

/// A name with its namespace.
fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(referred: &[(&str, &str)], text: &str) -> String {
        let referred = referred.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        inlined(text, &referred).unwrap()
    }

    #[test]
    fn a_type_is_defined_where_it_is_first_named_and_only_there() {
        let patient =
            r#"{"type":"record","name":"Patient","namespace":"ward","fields":[{"name":"unit","type":"Unit"}]}"#;
        let unit = r#"{"type":"enum","name":"Unit","namespace":"ward","symbols":["ICU"]}"#;
        let text = r#"{"type":"record","name":"Reading","namespace":"ward","fields":[
            {"name":"patient","type":"Patient"}, {"name":"before","type":["null","ward.Patient"]},
            {"name":"units","type":{"type":"array","items":"Unit"}}, {"name":"hr","type":["null","double"]}]}"#;
        let told = of(&[("ward.Patient", patient), ("ward.Unit", unit)], text);
        assert_eq!(told.matches("\"name\":\"Patient\"").count(), 1, "{told}");
        assert_eq!(told.matches("\"name\":\"Unit\"").count(), 1, "{told}");
        assert!(told.contains(r#""type":["null","ward.Patient"]"#) && told.contains(r#""items":"Unit""#), "{told}");
        let mut schemas = arrow_avro::schema::SchemaStore::new();
        schemas.register(arrow_avro::schema::AvroSchema::new(told)).unwrap();
    }

    #[test]
    fn one_without_a_namespace_keeps_to_none_wherever_it_stands() {
        let bare = r#"{"type":"fixed","name":"Id","size":4}"#;
        let text = r#"{"type":"record","name":"R","namespace":"ward","fields":[{"name":"id","type":"Id"}]}"#;
        let told: Json = serde_json::from_str(&of(&[("Id", bare)], text)).unwrap();
        assert_eq!(told["fields"][0]["type"]["namespace"], "");
    }
}
