//! The schemas of records that do not say themselves what they are: from a file, or a schema registry with Confluent's API.
//!
//! A record of the registry's begins with a zero byte and the schema's id. A schema never changes under its id, so each is asked for
//! once. A registry that does not answer is [`Away`]; what becomes of the record is then up to whoever asks.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
                    Some(text) => File::from_source(name, text),
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

/// A number of variable length, whose lowest bit is its sign (as in Avro), and what follows.
fn zigzag(content: &[u8]) -> Option<(i64, &[u8])> {
    let length = content.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let bits = content[..length].iter().rev().fold(0_u64, |bits, byte| (bits << 7) | u64::from(byte & 0x7f));
    #[allow(clippy::cast_possible_wrap, reason = "so it is defined")]
    Some((((bits >> 1) as i64) ^ -((bits & 1) as i64), &content[length..]))
}

/// A registry that gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry at {url} does not answer: {reason}")]
pub struct Away {
    url: String,
    reason: String,
}

/// The schemas of a registry, as far as they have been asked for.
#[derive(Debug, Clone)]
pub struct Schemas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    agent: Agent,
    known: Mutex<HashMap<SchemaId, Known>>,
}

#[derive(Debug, Clone)]
enum Known {
    Schema(Arc<Schema>),
    /// The registry has none of this id, or one that cannot be used: so it was said then.
    Not(String, Stopwatch),
}

/// No question to the registry takes longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a registry did not know is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(60);

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
        Self(Arc::new(Inner { url: url.to_owned(), agent, known: Mutex::default() }))
    }

    /// A schema that has been asked for, or why there is none; `None` where it has not been, or not for long.
    #[must_use]
    pub fn get(&self, id: SchemaId) -> Option<Result<Arc<Schema>, String>> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&id)? {
            Known::Schema(schema) => Some(Ok(Arc::clone(schema))),
            Known::Not(reason, since) => (since.elapsed() < ASK_AGAIN).then(|| Err(reason.clone())),
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

    /// What the registry answers, or why it answers with nothing.
    fn ask(&self, path: &str) -> Result<Result<Json, String>, Away> {
        let away = |reason: String| Away { url: self.0.url.clone(), reason };
        let url = format!("{}/{path}", self.0.url);
        let mut response = self.0.agent.get(&url).call().map_err(|error| away(error.to_string()))?;
        let status = response.status();
        let text = response.body_mut().read_to_string().map_err(|error| away(error.to_string()))?;
        if status.is_server_error() || status.as_u16() == 429 || matches!(status.as_u16(), 401 | 403) {
            return Err(away(format!("it says {status}")));
        }
        let answer: Option<Json> = serde_json::from_str(&text).ok();
        if !status.is_success() {
            let said = answer.as_ref().and_then(|answer| answer["message"].as_str()).unwrap_or_default();
            return Ok(Err(format!("it says {status} {said}").trim().to_owned()));
        }
        answer.map(Ok).ok_or_else(|| away("its answer is not JSON".to_owned()))
    }

    fn schema(&self, answer: &Json) -> Result<Result<Schema, String>, Away> {
        let Some(text) = answer["schema"].as_str() else { return Ok(Err("its answer has no schema".to_owned())) };
        let references = answer["references"].as_array().cloned().unwrap_or_default();
        match answer["schemaType"].as_str().unwrap_or("AVRO") {
            "AVRO" if references.is_empty() => Ok(Ok(Schema::Avro(text.to_owned()))),
            "AVRO" => Ok(Err("it refers to other schemas, which is not read".to_owned())),
            "JSON" => Ok(Ok(Schema::Json)),
            "PROTOBUF" => {
                const NAME: &str = "schema.proto";
                let mut texts = BTreeMap::from([(NAME.to_owned(), text.to_owned())]);
                let mut open = references;
                while let Some(reference) = open.pop() {
                    let field = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
                    if texts.contains_key(&field("name")) {
                        continue;
                    }
                    let version = &reference["version"];
                    let referred = match self.ask(&format!("subjects/{}/versions/{version}", field("subject")))? {
                        Ok(referred) => referred,
                        Err(reason) => return Ok(Err(format!("it refers to \"{}\": {reason}", field("name")))),
                    };
                    texts.insert(field("name"), referred["schema"].as_str().unwrap_or_default().to_owned());
                    open.extend(referred["references"].as_array().cloned().unwrap_or_default());
                }
                Ok(ProtoFile::of_texts(NAME, texts).map(Schema::Protobuf))
            }
            other => Ok(Err(format!("it is of the type {other}, which is not read"))),
        }
    }
}
