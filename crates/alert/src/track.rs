//! What an episode knows of its condition in one stream: whether it is true there, since when, and until when that counts.

use chrono::{DateTime, TimeDelta, Utc};

use super::streams::id::StreamId;

/// A condition in one stream. Times are those of the stream's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The stream; `None` where it is not known any more, so that the next sample of the patient goes on with it.
    pub stream: Option<StreamId>,
    /// What the condition is.
    pub holds: Holds,
    /// Since when it is so.
    pub since: DateTime<Utc>,
    /// The last sample that says so.
    pub at: DateTime<Utc>,
    /// Until when that sample counts without a newer one.
    pub valid_until: DateTime<Utc>,
    /// Until when time may go on to hold it: as long as it is valid, or until a technical alert says that values mean nothing.
    pub holds_until: DateTime<Utc>,
    /// How far the stream has come, by samples or by time that passed.
    pub passed: DateTime<Utc>,
    /// How far the stream's clock lies behind Kafka's stamps.
    pub delay: TimeDelta,
}

/// What a condition is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// True.
    Yes,
    /// Not true, but not gone either, by `@clear_when`.
    Between,
    /// Gone.
    No,
}

impl Holds {
    const ALL: [Self; 3] = [Self::Yes, Self::Between, Self::No];

    fn letter(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Between => "between",
            Self::No => "no",
        }
    }
}

impl Track {
    /// Whether its last sample no longer counts when the stamps are at `stamped`, in microseconds.
    #[must_use]
    pub fn is_expired(&self, stamped: i64) -> bool {
        self.clock(stamped).is_none_or(|now| now >= self.valid_until)
    }

    /// What time it is by the stream's clock when the stamps are at `stamped`.
    #[must_use]
    pub fn clock(&self, stamped: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(stamped)?.checked_sub_signed(self.delay)
    }
}

/// The tracks of an episode as the store keeps them: a line each.
#[must_use]
pub fn write_tracks(tracks: &[Track]) -> String {
    let line = |track: &Track| {
        let (partition, lane, device) = match &track.stream {
            Some(stream) => (stream.partition.0.to_string(), stream.lane.to_string(), &*stream.device),
            None => ("-".to_owned(), "-".to_owned(), ""),
        };
        let times = [track.since, track.at, track.valid_until, track.holds_until, track.passed];
        let times = times.map(|time| time.timestamp_micros().to_string());
        let delay = track.delay.num_microseconds().unwrap_or(0);
        // The device is the last, for it may hold anything but a line's end.
        format!("{partition} {lane} {} {delay} {} {}", track.holds.letter(), times.join(" "), device.replace('\n', " "))
    };
    tracks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The tracks that [`write_tracks`] has written; `None` where the text is no such.
#[must_use]
pub fn read_tracks(text: &str) -> Option<Vec<Track>> {
    text.lines().map(read_track).collect()
}

fn read_track(line: &str) -> Option<Track> {
    let mut parts = line.splitn(10, ' ');
    let mut next = || parts.next();
    let (partition, lane) = (next()?, next()?);
    let holds = next()?;
    let holds = Holds::ALL.into_iter().find(|known| known.letter() == holds)?;
    let delay = TimeDelta::microseconds(next()?.parse().ok()?);
    let mut time = || DateTime::from_timestamp_micros(next()?.parse().ok()?);
    let (since, at, valid_until, holds_until, passed) = (time()?, time()?, time()?, time()?, time()?);
    let device = next().unwrap_or_default();
    let stream = match partition {
        "-" => None,
        number => Some(StreamId {
            partition: wardwatch_model::terms::Partition(number.parse().ok()?),
            device: device.into(),
            lane: lane.parse().ok()?,
        }),
    };
    Some(Track { stream, holds, since, at, valid_until, holds_until, passed, delay })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardwatch_model::terms::Partition;

    #[test]
    fn tracks_are_read_back_as_they_were_written() {
        let at = |second: i64| DateTime::from_timestamp(second, 0).expect("a time");
        let track = Track {
            stream: Some(StreamId { partition: Partition(3), device: "monitor 4 b".into(), lane: 2 }),
            holds: Holds::Between,
            since: at(1),
            at: at(2),
            valid_until: at(32),
            holds_until: at(30),
            passed: at(3),
            delay: TimeDelta::milliseconds(-1_500),
        };
        let former = Track { stream: None, holds: Holds::Yes, ..track.clone() };
        let tracks = vec![track, former];
        assert_eq!(read_tracks(&write_tracks(&tracks)), Some(tracks));
        assert_eq!(read_tracks(""), Some(Vec::new()));
        assert_eq!(read_tracks("3 x yes"), None);
    }
}
