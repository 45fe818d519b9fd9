//! Protocol Buffers to columns: messages of a type in a file, or of the registry's in Confluent's form. A message is read as its JSON (the
//! field names of the file, whole numbers as numbers). A field that cannot tell whether it was set has its default: a zero that was sent is
//! never taken for nothing.

use bumpalo::Bump;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};

use wardwatch_model::record::Item;

use super::avro::parse_written;
use super::json::JsonDecoder;
use super::parsed::{Parsed, RowOf};
use super::raw::RawRecords;
use super::schema::Layout;
use super::unwrap::{Unwrapped, Wrapping};
use crate::schemas::{ProtoFile, Schema, Schemas, id_and_rest};

/// Reads messages.
#[derive(Debug)]
pub(super) struct ProtobufReader {
    source: Source,
    json: JsonDecoder,
    wrapping: Wrapping,
}

/// Where types come from.
#[derive(Debug)]
pub(super) enum Source {
    /// All records have this one.
    File(Result<(ProtoFile, MessageDescriptor), String>),
    Registry(Schemas),
}

impl Source {
    pub(super) fn of_file(file: &std::path::Path, message: Option<&str>) -> Self {
        let wrong = |reason: String| format!("the schema \"{}\" cannot be read: {reason}", file.display());
        let read = ProtoFile::read(file).and_then(|proto| {
            let message = proto.message(message)?;
            Ok((proto, message))
        });
        Self::File(read.map_err(wrong))
    }
}

impl ProtobufReader {
    pub(super) fn new(source: Source, json: JsonDecoder, wrapping: Wrapping) -> Self {
        Self { source, json, wrapping }
    }

    /// Why nothing can be read, if so.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.source {
            Source::File(Err(reason)) => Some(reason.clone()),
            Source::File(Ok(_)) | Source::Registry(_) => None,
        }
    }

    pub(super) fn parse(&mut self, records: &RawRecords, layout: &Layout) -> Parsed {
        let (mut rejects, mut ignored, mut written) = (Vec::new(), 0, Vec::new());
        for record in 0..records.len() {
            let of = RowOf { record, item: Item(0) };
            let arena = Bump::new();
            match self.wrapping.open(records.payload(record), &arena) {
                Unwrapped::Nothing => ignored += 1,
                Unwrapped::Fault(reason) => rejects.push((of, reason)),
                Unwrapped::Content { content, .. } => match self.json_of(content) {
                    Ok(json) => written.push((record, json)),
                    Err(reason) => rejects.push((of, reason)),
                },
            }
        }
        let parsed = parse_written(&mut self.json, &written, layout);
        Parsed {
            rejects: rejects.into_iter().chain(parsed.rejects).collect(),
            ignored: ignored + parsed.ignored,
            ..parsed
        }
    }

    fn json_of(&self, content: &[u8]) -> Result<Vec<u8>, String> {
        let (message, content) = match &self.source {
            // No message begins with a zero byte, so it is a registry's.
            Source::File(Ok((file, _))) if content.first() == Some(&0) => {
                let (_, rest) = id_and_rest(content).ok_or_else(|| "it begins with a zero byte".to_owned())?;
                file.message_at(rest)?
            }
            Source::File(Ok((_, message))) => (message.clone(), content),
            Source::File(Err(reason)) => return Err(reason.clone()),
            Source::Registry(schemas) => {
                let Some((id, rest)) = id_and_rest(content) else {
                    return Err("it does not begin with a zero byte and the id of its schema".to_owned());
                };
                // The source has asked for it before; a record of a file is asked for here.
                schemas.look_up(id).map_err(|away| away.to_string())?;
                match &*schemas.get(id).unwrap_or_else(|| Err("its schema was asked for too long ago".to_owned()))? {
                    Schema::Protobuf(file) => file.message_at(rest)?,
                    Schema::Avro(_) => return Err(format!("its schema {} is of Avro, not Protobuf", id.0)),
                    Schema::Json => return Err(format!("its schema {} is of JSON, not Protobuf", id.0)),
                }
            }
        };
        let name = message.full_name().to_owned();
        let message = DynamicMessage::decode(message, content)
            .map_err(|error| format!("it is not a valid message \"{name}\": {error}"))?;
        let options = SerializeOptions::new()
            .stringify_64_bit_integers(false)
            .use_proto_field_name(true)
            .skip_default_fields(false);
        let mut json = Vec::new();
        let mut writer = serde_json::Serializer::new(&mut json);
        let done = message.serialize_with_options(&mut writer, &options);
        done.map(|()| json).map_err(|error| format!("the message \"{name}\" cannot be written as JSON: {error}"))
    }
}
