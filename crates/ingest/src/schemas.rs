//! The schemas of records that do not say themselves what they are: from a file, or a schema registry with Confluent's API.
//!
//! A record of the registry's begins with a zero byte and the schema's id. A schema never changes under its id, so each is asked for
//! once. A registry that does not answer is [`Away`]; what becomes of the record is then up to whoever asks.

mod inlined;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use serde_json::Value as Json;
use ureq::Agent;
use ureq::tls::{TlsConfig, TlsProvider};

use wardwatch_model::clock::Stopwatch;

/// The id of a schema in its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

/// The id with which a record begins, and what follows.
#[must_use]
pub fn id_and_rest(content: &[u8]) -> Option<(SchemaId, &[u8])> {
    let [0, a, b, c, d, rest @ ..] = content else { return None };
    Some((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), rest))
}

/// A schema.
#[derive(Debug)]
pub enum Schema {
    /// Of Avro, as JSON.
    Avro(String),
    /// A file of Protocol Buffers, with all that it imports.
    Protobuf(ProtoFile),
    /// Of JSON; records say themselves what they are.
    Json,
}

/// A file of Protocol Buffers.
#[derive(Debug)]
pub struct ProtoFile {
    pool: DescriptorPool,
    name: String,
}

impl ProtoFile {
    /// The file at a path; what it imports lies beside it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = ChainFileResolver::new();
        files.add(IncludeFileResolver::new(folder.to_owned()));
        files.add(GoogleFileResolver::new());
        Self::compile(name, files)
    }

    fn of_texts(name: &str, texts: BTreeMap<String, String>) -> Result<Self, String> {
        struct Texts(BTreeMap<String, String>);
        impl FileResolver for Texts {
            fn open_file(&self, name: &str) -> Result<File, protox::Error> {
                match self.0.get(name) {
                    // Some clients register the file's descriptor in place of its text.
                    Some(text) => match crate::decode::from_base64(text) {
                        Some(descriptor) => descriptor_of(name, &descriptor),
                        None => File::from_source(name, text),
                    },
                    None => Err(protox::Error::file_not_found(name)),
                }
            }
        }
        let mut files = ChainFileResolver::new();
        files.add(Texts(texts));
        files.add(GoogleFileResolver::new());
        Self::compile(name.to_owned(), files)
    }

    fn compile(name: String, files: impl FileResolver + 'static) -> Result<Self, String> {
        let mut compiler = Compiler::with_file_resolver(files);
        compiler.include_imports(true);
        compiler.open_file(&name).map_err(|error| error.to_string())?;
        Ok(Self { pool: compiler.descriptor_pool(), name })
    }

    /// The type of this name or, without one, the file's first.
    ///
    /// # Errors
    /// There is none, with those that there are.
    pub fn message(&self, name: Option<&str>) -> Result<MessageDescriptor, String> {
        let file = self.pool.get_file_by_name(&self.name);
        match name {
            None => file
                .and_then(|file| file.messages().next())
                .ok_or_else(|| format!("\"{}\" declares no message", self.name)),
            Some(name) => self.pool.get_message_by_name(name).ok_or_else(|| {
                let known: Vec<String> =
                    self.pool.all_messages().map(|message| message.full_name().to_owned()).collect();
                wardwatch_model::diagnostic::unknown("message", name, known.iter().map(String::as_str))
            }),
        }
    }

    /// The type that Confluent's message indexes at the start of `content` lead to, and what follows them.
    ///
    /// # Errors
    /// There is none.
    pub fn message_at<'a>(&self, content: &'a [u8]) -> Result<(MessageDescriptor, &'a [u8]), String> {
        let short = || "it ends within the indexes of its message".to_owned();
        let (count, mut rest) = zigzag(content).ok_or_else(short)?;
        if count < 0 {
            return Err(short());
        }
        // One index that is zero is written as no index.
        let mut indexes = vec![0];
        if count > 0 {
            indexes.clear();
            for _ in 0..count.min(64) {
                let (index, behind) = zigzag(rest).ok_or_else(short)?;
                indexes.push(usize::try_from(index).map_err(|_| short())?);
                rest = behind;
            }
        }
        let file = self.pool.get_file_by_name(&self.name);
        let mut found = file.and_then(|file| file.messages().nth(indexes[0]));
        for index in &indexes[1..] {
            found = found.and_then(|message| message.child_messages().nth(*index));
        }
        Ok((found.ok_or_else(|| format!("\"{}\" has no message {indexes:?}", self.name))?, rest))
    }
}

/// A file as its descriptor says it, under the name by which others know it.
fn descriptor_of(name: &str, descriptor: &[u8]) -> Result<File, protox::Error> {
    let mut file = prost_reflect::prost_types::FileDescriptorProto::decode(descriptor).map_err(protox::Error::new)?;
    file.name = Some(name.to_owned());
    Ok(File::from_file_descriptor_proto(file))
}

/// A number of variable length, whose lowest bit is its sign (as in Avro), and what follows.
fn zigzag(content: &[u8]) -> Option<(i64, &[u8])> {
    let length = content.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let bits = content[..length].iter().rev().fold(0_u64, |bits, byte| (bits << 7) | u64::from(byte & 0x7f));
    #[allow(clippy::cast_possible_wrap, reason = "so it is defined")]
    Some((((bits >> 1) as i64) ^ -((bits & 1) as i64), &content[length..]))
}

/// A registry that gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry at {url} does not answer with the schema: {reason}")]
pub struct Away {
    url: String,
    reason: String,
}

/// The schemas of a registry, as far as they have been asked for.
#[derive(Debug, Clone)]
pub struct Schemas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Without user and password, which nobody is to see.
    url: String,
    authorization: Option<String>,
    agent: Agent,
    known: Mutex<HashMap<SchemaId, Known>>,
}

#[derive(Debug, Clone)]
enum Known {
    Schema(Arc<Schema>),
    /// The registry has none of this id, or one that cannot be used: so it was said then.
    Not(String, Stopwatch),
    /// The registry has said so since then, and may know better soon: one that has just started, or copies another.
    NotYet(Stopwatch),
}

/// No question to the registry takes longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a registry did not know is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What a registry does not know is waited for as long, unless it was asked for something unknown within the last minute.
const NOT_YET: Duration = Duration::from_secs(5);
const LATELY: Duration = Duration::from_secs(60);

impl Schemas {
    /// Those of the registry at `url`, of which none has been asked for.
    #[must_use]
    pub fn of_registry(url: &str) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).build();
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(tls)
            .user_agent(concat!("wardwatch/", env!("CARGO_PKG_VERSION")));
        let agent = config.build().into();
        let (url, authorization) = without_user(url);
        Self(Arc::new(Inner { url, authorization, agent, known: Mutex::default() }))
    }

    /// A schema that has been asked for, or why there is none; `None` where it has not been, or not for long.
    #[must_use]
    pub fn get(&self, id: SchemaId) -> Option<Result<Arc<Schema>, String>> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&id)? {
            Known::Schema(schema) => Some(Ok(Arc::clone(schema))),
            Known::Not(reason, since) => (since.elapsed() < ASK_AGAIN).then(|| Err(reason.clone())),
            Known::NotYet(_) => None,
        }
    }

    /// Asks for a schema, if nobody has.
    ///
    /// # Errors
    /// The registry does not answer. That it knows no such schema is an answer.
    pub fn look_up(&self, id: SchemaId) -> Result<(), Away> {
        if self.get(id).is_some() {
            return Ok(());
        }
        let found = match self.ask(&format!("schemas/ids/{}", id.0))? {
            Ok(answer) => self.schema(&answer)?,
            Err(reason) => Err(reason),
        };
        let found = match found {
            Ok(schema) => {
                tracing::info!(id = id.0, registry = self.0.url, "schema read");
                Known::Schema(Arc::new(schema))
            }
            Err(reason) if self.is_waited_for(id) => return Err(Away { url: self.0.url.clone(), reason }),
            Err(reason) => {
                tracing::warn!(id = id.0, registry = self.0.url, reason, "no schema");
                let reason =
                    format!("the schema registry at {} has no schema {} to read it by: {reason}", self.0.url, id.0);
                Known::Not(reason, Stopwatch::start())
            }
        };
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, found);
        Ok(())
    }

    /// Whether a schema that the registry does not know may still come.
    fn is_waited_for(&self, id: SchemaId) -> bool {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Records that are no records have many ids that nobody knows; not each is worth a wait.
        let is_lately = known.values().any(|known| matches!(known, Known::Not(_, since) if since.elapsed() < LATELY));
        match known.entry(id).or_insert_with(|| Known::NotYet(Stopwatch::start())) {
            Known::NotYet(since) => !is_lately && since.elapsed() < NOT_YET,
            Known::Not(..) | Known::Schema(_) => false,
        }
    }

    /// What the registry answers, or why it has no such schema, in its own words.
    fn ask(&self, path: &str) -> Result<Result<Json, String>, Away> {
        let away = |reason: String| Away { url: self.0.url.clone(), reason };
        let mut request = self.0.agent.get(format!("{}/{path}", self.0.url));
        if let Some(authorization) = &self.0.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.call().map_err(|error| away(error.to_string()))?;
        let status = response.status();
        let text = response.body_mut().read_to_string().map_err(|error| away(error.to_string()))?;
        let answer: Option<Json> = serde_json::from_str(&text).ok();
        // Who answers otherwise is not the registry, or not in its right mind.
        let is_unknown =
            answer.as_ref().and_then(|answer| answer["error_code"].as_i64()).is_some_and(|code| code / 100 == 404);
        match answer {
            Some(answer) if status.is_success() && answer["schema"].is_string() => Ok(Ok(answer)),
            Some(answer) if is_unknown => {
                let said = answer["message"].as_str().unwrap_or_default();
                Ok(Err(format!("it says {status} {said}").trim().to_owned()))
            }
            _ => Err(away(format!("it says {status}, and nothing of a schema"))),
        }
    }

    /// The schemas that an answer refers to, and those that they do, by the names by which they are referred to.
    fn referred(&self, answer: &Json) -> Result<Result<BTreeMap<String, String>, String>, Away> {
        let references = |of: &Json| of["references"].as_array().cloned().unwrap_or_default();
        let mut texts = BTreeMap::new();
        let mut open = references(answer);
        while let Some(reference) = open.pop() {
            let field = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
            if texts.contains_key(&field("name")) {
                continue;
            }
            let path = format!("subjects/{}/versions/{}", encoded(&field("subject")), reference["version"]);
            let referred = match self.ask(&path)? {
                Ok(referred) => referred,
                Err(reason) => return Ok(Err(format!("it refers to \"{}\": {reason}", field("name")))),
            };
            texts.insert(field("name"), referred["schema"].as_str().unwrap_or_default().to_owned());
            open.extend(references(&referred));
        }
        Ok(Ok(texts))
    }

    fn schema(&self, answer: &Json) -> Result<Result<Schema, String>, Away> {
        let Some(text) = answer["schema"].as_str() else { return Ok(Err("its answer has no schema".to_owned())) };
        let short = |reason: String| reason.chars().take(300).collect::<String>();
        match answer["schemaType"].as_str().unwrap_or("AVRO") {
            "AVRO" => Ok(match self.referred(answer)? {
                Ok(referred) if referred.is_empty() => Ok(Schema::Avro(text.to_owned())),
                Ok(referred) => inlined::inlined(text, &referred).map(Schema::Avro).map_err(short),
                Err(reason) => Err(reason),
            }),
            "JSON" => Ok(Ok(Schema::Json)),
            "PROTOBUF" => {
                const NAME: &str = "schema.proto";
                let mut texts = match self.referred(answer)? {
                    Ok(texts) => texts,
                    Err(reason) => return Ok(Err(reason)),
                };
                texts.insert(NAME.to_owned(), text.to_owned());
                Ok(ProtoFile::of_texts(NAME, texts).map(Schema::Protobuf).map_err(short))
            }
            other => Ok(Err(format!("it is of the type {other}, which is not read"))),
        }
    }
}

/// A URL without user and password, and what says who asks.
fn without_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        None => (url.to_owned(), None),
        Some((user, host)) => {
            let basic = base64::engine::general_purpose::STANDARD.encode(decoded(user));
            (format!("{scheme}://{host}{path}"), Some(format!("Basic {basic}")))
        }
    }
}

/// A part of a URL's path, with what has a meaning there percent-encoded (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The bytes that a percent-encoded text stands for.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password_and_the_password_is_decoded() {
        let (url, authorization) = without_user("https://ward:pa%20ss@host:8081/apis/v7");
        assert_eq!(url, "https://host:8081/apis/v7");
        // "ward:pa ss"
        assert_eq!(authorization.as_deref(), Some("Basic d2FyZDpwYSBzcw=="));
        assert_eq!(without_user("http://host"), ("http://host".to_owned(), None));
        assert_eq!(encoded("common/patient.proto"), "common%2Fpatient.proto");
    }
}
