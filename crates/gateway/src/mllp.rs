//! HL7 v2 by MLLP: each message stands between a vertical tab and a file separator, and the next one waits for the answer.
//!
//! Source: HL7's Transport Specification: MLLP, Release 1 (and the minimal form of it in v2.5.1, appendix C).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use wardwatch_listen::{Listener, Stream};
use wardwatch_model::clock::{Clock, SystemClock};

use crate::acknowledgement::Header;
use crate::intake::{Arrived, Intake, Refusal, Room, Via, sender};

/// What a message begins with.
const START: u8 = 0x0b;

/// What it ends with; a carriage return follows.
const END: u8 = 0x1c;

/// A message of at most so many bytes needs no room before it is known whole.
const SMALL: usize = 16 * 1024;

/// How long a sender may take for the rest of a message.
const REST_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take to hear an answer.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// Takes messages until it is told to stop.
pub(crate) async fn serve(listener: Listener, intake: Arc<Intake>, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let stopping = stop.clone();
    let take = move |stream, peer: SocketAddr| {
        let (intake, stop) = (Arc::clone(&intake), stopping.clone());
        async move {
            intake.metrics.connected(Via::Mllp);
            if let Err(error) = converse(stream, peer, &intake, stop).await {
                tracing::debug!(%peer, %error, "a connection of MLLP has ended");
            }
            intake.metrics.disconnected(Via::Mllp);
        }
    };
    listener.each_connection(stop, take).await
}

/// Takes one message after the other from a connection.
async fn converse(
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    intake: &Intake,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let sender = sender(peer.ip());
    let mut frames = Frames { stream, buffer: Vec::new(), room: None };
    loop {
        let frame = tokio::select! {
            frame = frames.next(intake) => frame?,
            _ = stop.changed() => return Ok(()),
        };
        let (content, failed) = match frame {
            Frame::Message(content) => (content, None),
            Frame::None => return Ok(()),
            Frame::Refused(refusal) => (Vec::new(), Some(refusal)),
        };
        let ends = failed.is_some();
        let (answer, refusal) = match failed {
            Some(refusal) => {
                intake.metrics.refused(Via::Mllp, &refusal);
                (Header::unknown().answer(Err(&refusal), "", SystemClock.now()), Some(refusal))
            }
            None => take(content, &sender, intake, &mut frames.room).await,
        };
        if let Some(refusal) = refusal {
            tracing::warn!(%peer, reason = %refusal, "message by MLLP refused");
        }
        if let Some(answer) = answer {
            frames.answer(&answer).await?;
        }
        frames.room = None;
        if ends {
            return Ok(());
        }
    }
}

/// What becomes of a message: the answer to it, if one is wanted, and why it was refused, if it was.
async fn take(
    content: Vec<u8>,
    sender: &str,
    intake: &Intake,
    room: &mut Option<Room>,
) -> (Option<String>, Option<Refusal>) {
    let header = match Header::read(&content) {
        Ok(header) => header,
        Err(reason) => {
            let refusal = Refusal::Unreadable(reason);
            intake.metrics.refused(Via::Mllp, &refusal);
            return (Header::unknown().answer(Err(&refusal), "", SystemClock.now()), Some(refusal));
        }
    };
    let answered = |outcome: Result<(), &Refusal>, note: &str| header.answer(outcome, note, SystemClock.now());
    if room.is_none() {
        match intake.room(content.len()).await {
            Ok(taken) => *room = Some(taken),
            Err(refusal) => {
                intake.metrics.refused(Via::Mllp, &refusal);
                return (answered(Err(&refusal), ""), Some(refusal));
            }
        }
    }
    let arrived = Arrived {
        via: Via::Mllp,
        key: None,
        sender,
        headers: vec![
            ("peer", sender.to_owned()),
            ("hl7-control-id", header.control_id().to_owned()),
            ("hl7-trigger", header.trigger().to_owned()),
        ],
        payload: &content,
    };
    match intake.put(&arrived).await {
        Ok(in_kafka) => {
            // It is in Kafka, and the sender has done what it can: what the job cannot read is told beside that.
            let note = in_kafka.will_be.filter(|will_be| will_be.rejected > 0).map(|will_be| {
                format!("taken; {} of it cannot be read: {}", will_be.rejected, will_be.reasons.join("; "))
            });
            (answered(Ok(()), &note.unwrap_or_default()), None)
        }
        Err(refusal) => (answered(Err(&refusal), ""), Some(refusal)),
    }
}

/// What comes on a connection.
struct Frames {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// Room for the message that is being read, or answered.
    room: Option<Room>,
}

/// What comes next.
enum Frame {
    Message(Vec<u8>),
    /// The sender has hung up.
    None,
    /// What came is no frame, too long, or does not end; nothing behind it can be read either.
    Refused(Refusal),
}

impl Frames {
    /// Waits for the next message, however long; once it has begun, for its end within a while.
    async fn next(&mut self, intake: &Intake) -> std::io::Result<Frame> {
        let mut deadline = None;
        let mut searched = 0;
        loop {
            // Between messages senders put carriage returns, and some of them blanks.
            if deadline.is_none() {
                let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace() && **byte != START).count();
                self.buffer.drain(..blank);
                match self.buffer.first() {
                    Some(&START) => {
                        deadline = Some(Instant::now() + REST_WITHIN);
                        searched = 1;
                    }
                    Some(byte) => {
                        return Ok(Frame::Refused(Refusal::Unreadable(format!(
                            "this is MLLP: a message begins with the byte 0x0B, and this began with 0x{byte:02X}"
                        ))));
                    }
                    None => {}
                }
            }
            if deadline.is_some() {
                if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == END) {
                    let mut message: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                    message.pop();
                    message.remove(0);
                    return Ok(Frame::Message(message));
                }
                searched = self.buffer.len();
                if self.buffer.len() > intake.longest() + 2 {
                    return Ok(Frame::Refused(Refusal::TooLong { longest: intake.longest() }));
                }
                if self.buffer.len() > SMALL && self.room.is_none() {
                    // For the longest that it may become: taken bit by bit, all might wait for the last bit.
                    match intake.room(intake.longest()).await {
                        Ok(room) => self.room = Some(room),
                        Err(refusal) => return Ok(Frame::Refused(refusal)),
                    }
                }
            }
            self.buffer.reserve(4_096);
            let read = match deadline {
                None => self.stream.read_buf(&mut self.buffer).await?,
                Some(deadline) => match timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await {
                    Ok(read) => read?,
                    Err(_) => {
                        let told = "the message has begun, and its end (0x1C 0x0D) does not come".to_owned();
                        return Ok(Frame::Refused(Refusal::Unreadable(told)));
                    }
                },
            };
            if read == 0 {
                if !self.buffer.is_empty() {
                    tracing::warn!(bytes = self.buffer.len(), "a sender by MLLP hung up in the middle of a message");
                }
                return Ok(Frame::None);
            }
        }
    }

    async fn answer(&mut self, answer: &str) -> std::io::Result<()> {
        let mut framed = Vec::with_capacity(answer.len() + 3);
        framed.push(START);
        framed.extend_from_slice(answer.as_bytes());
        framed.extend_from_slice(&[END, b'\r']);
        let heard = timeout(HEARD_WITHIN, async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        });
        heard.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}
