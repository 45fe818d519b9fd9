//! The newest values of patients as bytes, as a snapshot keeps them beside streams.

use std::sync::Arc;

use wardwatch_model::terms::Partition;

use super::super::streams::saved::{Reader, list, number, text};
use super::parts::Composition;
use super::values::Value;
use super::{Combination, Composer, Known, Newest, Presence, Source};
use crate::map::HashMap;
use crate::streams::id::StreamId;

/// The form of the bytes. Another one is read as nothing.
const FORM: u8 = 1;

/// What stands for a source that there is none of.
const NONE: u32 = u32::MAX;

impl Composer {
    /// Everything that is known, as bytes.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut to = vec![FORM];
        list(&mut to, &self.0, |to, (composition, patients)| {
            list(to, &composition.columns, |to, name| text(to, name));
            list(to, &composition.valid_for, |to, length| number(to, *length));
            list(to, &patients.iter().collect::<Vec<_>>(), |to, (name, known)| {
                text(to, name);
                save_known(to, known);
            });
        });
        to
    }

    /// Goes on with what `bytes` hold of what rules need now; `false` where they are no such bytes.
    pub fn restore(&mut self, bytes: &[u8]) -> bool {
        let read = || {
            let mut from = Reader::new(bytes);
            if from.take::<1>()? != [FORM] {
                return None;
            }
            let all = from.list(|from| {
                let columns = from.list(|from| from.text().map(|name| name.as_ref().to_owned()))?;
                let composition = Composition { columns, valid_for: from.list(Reader::number)? };
                Some((composition, from.list(|from| Some((from.text()?, read_known(from)?)))?))
            })?;
            from.is_at_end().then_some(all)
        };
        let Some(all) = read() else { return false };
        for (composition, known) in all {
            if let Some((_, patients)) = self.0.iter_mut().find(|(wanted, _)| *wanted == composition) {
                *patients = HashMap::from_iter(known);
            }
        }
        true
    }
}

fn save_known(to: &mut Vec<u8>, known: &Known) {
    to.extend(known.next.to_le_bytes());
    list(to, &known.streams, |to, Presence { partition, device, records, vitals }| {
        to.extend(partition.to_le_bytes());
        text(to, device);
        to.extend(records.to_le_bytes());
        list(to, vitals, |to, (last, is_in_each)| {
            to.extend(last.to_le_bytes());
            to.push(u8::from(*is_in_each));
        });
    });
    list(to, &known.sources, |to, Source { number: id, stream, delay, strange, vitals }| {
        to.extend(id.to_le_bytes());
        to.extend(stream.partition.0.to_le_bytes());
        text(to, &stream.device);
        to.extend(stream.lane.to_le_bytes());
        number(to, *delay);
        to.push(*strange);
        list(to, vitals, |to, newest| {
            list(to, newest.as_slice(), |to, Newest { at, columns }| {
                number(to, *at);
                list(to, columns, save_value);
            });
        });
    });
    list(to, &known.combinations, |to, Combination { members, judged_to }| {
        list(to, members, |to, member| to.extend(member.unwrap_or(NONE).to_le_bytes()));
        number(to, *judged_to);
    });
}

fn save_value(to: &mut Vec<u8>, value: &Option<Value>) {
    match value {
        None => to.push(0),
        Some(Value::Float(value)) => {
            to.push(1);
            to.extend(value.to_le_bytes());
        }
        Some(Value::Whole(value)) => {
            to.push(2);
            number(to, *value);
        }
        Some(Value::Truth(value)) => to.extend([3, u8::from(*value)]),
        Some(Value::Text(value)) => {
            to.push(4);
            text(to, value);
        }
    }
}

fn read_known(from: &mut Reader<'_>) -> Option<Known> {
    let next = from.count()?;
    let streams = from.list(|from| {
        Some(Presence {
            partition: i32::from_le_bytes(from.take()?),
            device: from.text()?,
            records: u64::from_le_bytes(from.take()?),
            vitals: from.list(|from| Some((u64::from_le_bytes(from.take()?), from.truth()?)))?,
        })
    })?;
    let sources = from.list(|from| {
        Some(Source {
            number: from.count()?,
            stream: StreamId {
                partition: Partition(i32::from_le_bytes(from.take()?)),
                device: from.text()?,
                lane: from.count()?,
            },
            delay: from.number()?,
            strange: from.take::<1>()?[0],
            vitals: from.list(|from| {
                let newest =
                    from.list(|from| Some(Newest { at: from.number()?, columns: from.list(read_value)?.into() }))?;
                Some(newest.into_iter().next())
            })?,
        })
    })?;
    let combinations = from.list(|from| {
        let members = from.list(|from| from.count().map(|number| (number != NONE).then_some(number)))?;
        Some(Combination { members: members.into(), judged_to: from.number()? })
    })?;
    Some(Known { streams, sources, combinations, next })
}

fn read_value(from: &mut Reader<'_>) -> Option<Option<Value>> {
    Some(match from.take::<1>()? {
        [1] => Some(Value::Float(f64::from_le_bytes(from.take()?))),
        [2] => Some(Value::Whole(from.number()?)),
        [3] => Some(Value::Truth(from.truth()?)),
        [4] => Some(Value::Text(Arc::clone(&from.text()?))),
        _ => None,
    })
}
