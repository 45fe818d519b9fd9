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
use crate::door::{Refusal, Via};
use crate::intake::{Arrived, Intake, Room, SMALL, sender};

/// What a message begins with.
const START: u8 = 0x0b;

/// What it ends with; a carriage return follows.
const END: u8 = 0x1c;

/// What messages begin with behind that: there, a byte 0x0B is a new beginning, and elsewhere a part of the message.
const HEADS: [&[u8]; 3] = [b"MSH", b"FHS", b"BHS"];

/// How long a sender may take for the rest of a message.
const REST_WITHIN: Duration = Duration::from_secs(30);

/// Some senders leave out the carriage return behind the end; so long it is waited for.
const QUIET: Duration = Duration::from_millis(500);

/// Who connects and says nothing for so long is hung up on; who has sent a message may be silent for as long as it likes.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to hear an answer.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// Takes messages until it is told to stop.
pub(crate) async fn serve(listener: Listener, intake: Arc<Intake>, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let (stopping, counted) = (stop.clone(), Arc::clone(&intake));
    let full = move || counted.metrics.turned_away(Via::Mllp);
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
    listener.each_connection(stop, take, full).await
}

/// Takes one message after the other from a connection.
async fn converse(
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    intake: &Intake,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let sender = sender(peer.ip());
    let mut frames = Frames { stream, buffer: Vec::new(), room: None, has_sent: false };
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
            None => {
                // What waits for Kafka has room of its own, which is held until the sender has been told.
                match intake.room_to_wait(content.len()).await {
                    Ok(room) => {
                        frames.room = Some(room);
                        take(&content, &sender, intake).await
                    }
                    Err(refusal) => {
                        intake.metrics.refused(Via::Mllp, &refusal);
                        let header = Header::read(&content).unwrap_or_else(|_| Header::unknown());
                        (header.answer(Err(&refusal), "", SystemClock.now()), Some(refusal))
                    }
                }
            }
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
async fn take(content: &[u8], sender: &str, intake: &Intake) -> (Option<Vec<u8>>, Option<Refusal>) {
    let header = match Header::read(content) {
        Ok(header) => header,
        Err(reason) => {
            let refusal = Refusal::Unreadable(reason);
            intake.metrics.refused(Via::Mllp, &refusal);
            return (Header::unknown().answer(Err(&refusal), "", SystemClock.now()), Some(refusal));
        }
    };
    let answered = |outcome: Result<(), &Refusal>, note: &str| header.answer(outcome, note, SystemClock.now());
    let arrived = Arrived {
        via: Via::Mllp,
        key: None,
        sender,
        headers: vec![
            ("peer", sender.to_owned()),
            ("hl7-control-id", header.control_id().to_owned()),
            ("hl7-trigger", header.trigger().to_owned()),
        ],
        payload: content,
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

/// Where a message ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With this byte.
    At(usize),
    /// With the last byte, if nothing follows.
    Perhaps,
    /// It does not: another one begins at this byte.
    Broken(usize),
    None,
}

/// Looks for the end of the message that `buffer` begins with, from `searched` on. A byte 0x1C within a message is no end.
fn end_of(buffer: &[u8], searched: usize) -> End {
    for (at, byte) in buffer.iter().enumerate().skip(searched) {
        let behind = &buffer[at + 1..];
        match *byte {
            END if behind.is_empty() => return End::Perhaps,
            END if matches!(behind[0], b'\r' | b'\n' | START) => return End::At(at),
            START if HEADS.iter().any(|head| behind.starts_with(head)) => return End::Broken(at),
            _ => {}
        }
    }
    End::None
}

/// What comes on a connection.
struct Frames {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// Room for the message that is being read, or answered.
    room: Option<Room>,
    has_sent: bool,
}

/// What comes next.
enum Frame {
    Message(Vec<u8>),
    /// The sender has hung up.
    None,
    /// What came is no frame, too long, or did not end; nothing behind it can be read either.
    Refused(Refusal),
}

impl Frames {
    /// Waits for the next message, however long; once it has begun, for its end within a while.
    async fn next(&mut self, intake: &Intake) -> std::io::Result<Frame> {
        let mut deadline = None;
        let mut searched = 1;
        loop {
            // Between messages senders put carriage returns, and some of them blanks.
            if deadline.is_none() {
                let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace() && **byte != START).count();
                self.buffer.drain(..blank);
                match self.buffer.first() {
                    Some(&START) => deadline = Some(Instant::now() + REST_WITHIN),
                    Some(byte) => {
                        return Ok(Frame::Refused(Refusal::Unreadable(format!(
                            "this is MLLP: a message begins with the byte 0x0B, and this began with 0x{byte:02X}"
                        ))));
                    }
                    None => {}
                }
            }
            let mut may_be_whole = false;
            if deadline.is_some() {
                match end_of(&self.buffer, searched) {
                    End::At(at) => return Ok(self.cut(at)),
                    End::Perhaps => may_be_whole = true,
                    End::Broken(at) => {
                        tracing::warn!(
                            bytes = at,
                            "a sender by MLLP broke off in the middle of a message, and began again"
                        );
                        intake.metrics.refused(Via::Mllp, &Refusal::Unfinished("it broke off"));
                        self.buffer.drain(..at);
                        searched = 1;
                        continue;
                    }
                    End::None => {}
                }
                searched = self.buffer.len().saturating_sub(HEADS[0].len() + 1).max(1);
                if self.buffer.len() > intake.longest() + 2 {
                    return Ok(Frame::Refused(Refusal::TooLong { longest: intake.longest() }));
                }
                if self.buffer.len() > SMALL && self.room.is_none() {
                    // For the longest that it may become: taken bit by bit, all might wait for the last bit.
                    match intake.room_to_arrive(intake.longest()).await {
                        Ok(room) => self.room = room,
                        Err(refusal) => return Ok(Frame::Refused(refusal)),
                    }
                }
            }
            self.buffer.reserve(4_096);
            let wait = match deadline {
                Some(_) if may_be_whole => Some(Instant::now() + QUIET),
                Some(deadline) => Some(deadline),
                None if self.has_sent => None,
                None => Some(Instant::now() + FIRST_WITHIN),
            };
            let reading = self.stream.read_buf(&mut self.buffer);
            let read = match wait {
                None => reading.await?,
                Some(until) => match timeout_at(until, reading).await {
                    Ok(read) => read?,
                    Err(_) if may_be_whole => return Ok(self.cut(self.buffer.len() - 1)),
                    Err(_) if deadline.is_none() => return Ok(Frame::None),
                    Err(_) => {
                        let told = "the message has begun, and its end (0x1C 0x0D) does not come";
                        return Ok(Frame::Refused(Refusal::Unfinished(told)));
                    }
                },
            };
            if read == 0 {
                return Ok(match () {
                    () if may_be_whole => self.cut(self.buffer.len() - 1),
                    () if deadline.is_some() => {
                        Frame::Refused(Refusal::Unfinished("the message has begun, and its sender has ended"))
                    }
                    () => Frame::None,
                });
            }
        }
    }

    /// Takes the message that ends with the byte at `end`.
    fn cut(&mut self, end: usize) -> Frame {
        let mut message: Vec<u8> = self.buffer.drain(..=end).collect();
        message.pop();
        message.remove(0);
        // What it needed while it came in is free for others.
        self.room = None;
        self.has_sent = true;
        Frame::Message(message)
    }

    async fn answer(&mut self, answer: &[u8]) -> std::io::Result<()> {
        let mut framed = Vec::with_capacity(answer.len() + 3);
        framed.push(START);
        framed.extend_from_slice(answer);
        framed.extend_from_slice(&[END, b'\r']);
        let heard = timeout(HEARD_WITHIN, async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        });
        heard.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_both_bytes_stand_or_nothing_follows() {
        for (bytes, expected) in [
            (&b"\x0bMSH|a\x1c\r"[..], End::At(6)),
            (b"\x0bMSH|a\x1cb\rc\x1c\r", End::At(10)),
            (b"\x0bMSH|a\x1c", End::Perhaps),
            (b"\x0bMSH|a\x1c\x0bMSH|b\x1c\r", End::At(6)),
            (b"\x0bMSH|a\rPID\x0bMSH|b\x1c\r", End::Broken(10)),
            (b"\x0bMSH|a\x0bb", End::None),
        ] {
            assert_eq!(end_of(bytes, 1), expected, "{}", bytes.escape_ascii());
        }
    }
}
