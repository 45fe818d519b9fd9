//! What a sender of HL7 v2 is answered.
//!
//! Source: HL7 v2.5.1, chapter 2: original and enhanced mode (2.9), MSH (2.15.9), MSA (2.15.8), ERR (2.15.5), table 0008; chapter
//! 2.C.3 on which answers a sender wants.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use crate::door::Refusal;

/// What is read of a message to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    bar: char,
    /// Component, repetition, escape, subcomponent, as the sender writes them.
    marks: String,
    /// MSH-3 to MSH-6: application and facility of sender and receiver.
    parties: [String; 4],
    trigger: Option<String>,
    control_id: String,
    processing: String,
    version: String,
    accept: Wanted,
    application: Wanted,
    charset: Option<String>,
    /// Whether its characters are those of ISO 8859-1: it is no UTF-8, and its sender is to find its own bytes in the answer.
    is_latin: bool,
    /// Whether it names either.
    is_enhanced: bool,
}

/// The longest control id; the standard's is 199.
const LONGEST_ID: usize = 1_000;

/// When an answer is wanted (table 0155).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Always,
    Never,
    OnError,
    OnSuccess,
}

impl Wanted {
    fn of(code: &str) -> Self {
        match code {
            "NE" | "" => Self::Never,
            "ER" => Self::OnError,
            "SU" => Self::OnSuccess,
            // "AL"; and a sender whose word nobody knows would wait for ever without an answer.
            _ => Self::Always,
        }
    }

    fn is_when(self, refused: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::OnError => refused,
            Self::OnSuccess => !refused,
        }
    }
}

impl Header {
    /// That of the first message in `content`.
    ///
    /// Errors: why it is no HL7 v2.
    pub(crate) fn read(content: &[u8]) -> Result<Self, String> {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let mut lines = content.split(|byte| matches!(byte, b'\r' | b'\n')).map(<[u8]>::trim_ascii);
        let Some(first) = lines.clone().find(|line| !line.is_empty()) else { return Err("it is empty".to_owned()) };
        // What stands around several messages.
        let is_batch = first.starts_with(b"FHS") || first.starts_with(b"BHS");
        let line = match is_batch {
            true => lines.find(|line| line.starts_with(b"MSH")).ok_or("there is no message in it")?,
            false if first.starts_with(b"MSH") => first,
            false => return Err("it is not HL7 v2: it does not begin with \"MSH\"".to_owned()),
        };
        let (line, is_latin) = match std::str::from_utf8(line) {
            Ok(line) => (line.to_owned(), false),
            // Its characters have the places of Unicode's first 256.
            Err(_) => (line.iter().map(|byte| char::from(*byte)).collect(), true),
        };
        let rest = &line[3..];
        let bar = rest.chars().next().filter(|bar| !bar.is_alphanumeric()).ok_or("its MSH has no field separator")?;
        let fields: Vec<&str> = rest.split(bar).collect();
        // MSH-1 is the bar itself, so field n stands at n - 1, behind the nothing in front of the bar.
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
        let marks = field(2);
        let separators: BTreeSet<char> = marks.chars().chain([bar]).collect();
        let are_signs = separators.iter().all(|sign| !sign.is_alphanumeric() && !sign.is_control());
        if marks.chars().count() < 4 || separators.len() != marks.chars().count() + 1 || !are_signs {
            let shown: String = marks.chars().take(20).collect();
            return Err(format!("MSH-2 must name four separators that differ, as in MSH|^~\\&|, and is \"{shown}\""));
        }
        let id = field(10).chars().count();
        if id > LONGEST_ID {
            return Err(format!("its control id (MSH-10) has {id} characters; {LONGEST_ID} are allowed"));
        }
        let component = marks.chars().next().unwrap_or('^');
        Ok(Self {
            bar,
            marks: marks.to_owned(),
            parties: [field(3), field(4), field(5), field(6)].map(str::to_owned),
            trigger: field(9).split(component).nth(1).filter(|trigger| !trigger.is_empty()).map(str::to_owned),
            control_id: field(10).to_owned(),
            processing: Some(field(11)).filter(|id| !id.is_empty()).unwrap_or("P").to_owned(),
            version: Some(field(12)).filter(|version| !version.is_empty()).unwrap_or("2.5").to_owned(),
            accept: Wanted::of(field(15)),
            application: Wanted::of(field(16)),
            charset: Some(field(18)).filter(|charset| !charset.is_empty()).map(str::to_owned),
            is_latin,
            is_enhanced: !field(15).is_empty() || !field(16).is_empty(),
        })
    }

    /// One to answer what is no message.
    pub(crate) fn unknown() -> Self {
        Self {
            bar: '|',
            marks: "^~\\&".to_owned(),
            parties: [const { String::new() }; 4],
            trigger: None,
            control_id: String::new(),
            processing: "P".to_owned(),
            version: "2.5".to_owned(),
            accept: Wanted::Never,
            application: Wanted::Never,
            charset: None,
            is_latin: false,
            is_enhanced: false,
        }
    }

    /// What its sender calls the message.
    pub(crate) fn control_id(&self) -> &str {
        &self.control_id
    }

    /// What kind of message it is, as in "ORU^R01"; empty where it does not say.
    pub(crate) fn trigger(&self) -> &str {
        self.trigger.as_deref().unwrap_or_default()
    }

    /// The answer, without a frame; `None` where the sender wants none. `note` is told beside it.
    pub(crate) fn answer(&self, outcome: Result<(), &Refusal>, note: &str, now: DateTime<Utc>) -> Option<Vec<u8>> {
        let refused = outcome.is_err();
        let kind = match (self.is_enhanced, self.application.is_when(refused), self.accept.is_when(refused)) {
            (false, ..) | (true, true, _) => 'A',
            (true, false, true) => 'C',
            (true, false, false) => return None,
        };
        let code = match outcome {
            Ok(()) => 'A',
            Err(refusal) if refusal.is_final() => 'R',
            Err(_) => 'E',
        };
        let text = match outcome {
            Ok(()) => note.to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        let text = self.escaped(&text);
        let (bar, marks) = (self.bar, &self.marks);
        let component = marks.chars().next().unwrap_or('^');
        let [their_app, their_place, our_app, our_place] = &self.parties;
        let at = now.format("%Y%m%d%H%M%S%.3f+0000");
        let mut answer = format!("MSH{bar}{marks}{bar}");
        let kind_of_message = match &self.trigger {
            Some(trigger) => format!("ACK{component}{trigger}{component}ACK"),
            None => "ACK".to_owned(),
        };
        let id = now.timestamp_micros();
        let fields = [our_app.as_str(), our_place, their_app, their_place].join(&bar.to_string());
        let _ = write!(
            answer,
            "{fields}{bar}{at}{bar}{bar}{kind_of_message}{bar}{id}{bar}{}{bar}{}",
            self.processing, self.version
        );
        if let Some(charset) = &self.charset {
            let _ = write!(answer, "{}{charset}", bar.to_string().repeat(6));
        }
        let _ = write!(answer, "\rMSA{bar}{kind}{code}{bar}{}", self.control_id);
        if !text.is_empty() {
            let _ = write!(answer, "{bar}{text}");
        }
        answer.push('\r');
        if refused {
            // ERR-3 is table 0357: 207 is an error of the application, 100 a wrong sequence of segments; ERR-4 its severity.
            let number = if code == 'R' { "100" } else { "207" };
            let bars = bar.to_string();
            let _ = write!(answer, "ERR{}{number}{bar}E{}{text}\r", bars.repeat(3), bars.repeat(4));
        }
        let as_latin = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
        Some(if self.is_latin { answer.chars().map(as_latin).collect() } else { answer.into_bytes() })
    }

    /// A text whose separators are written as escapes (2.7), on one line.
    fn escaped(&self, text: &str) -> String {
        let mut marks = self.marks.chars();
        let (component, repetition) = (marks.next(), marks.next());
        let (escape, sub) = (marks.next().unwrap_or('\\'), marks.next());
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            let code = match Some(c) {
                c if c == Some(self.bar) => "F",
                c if c == component => "S",
                c if c == repetition => "R",
                c if c == Some(escape) => "E",
                c if c == sub => "T",
                _ if c.is_control() => {
                    escaped.push(' ');
                    continue;
                }
                _ => {
                    escaped.push(c);
                    continue;
                }
            };
            escaped.extend([escape].into_iter().chain(code.chars()).chain([escape]));
        }
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "MSH|^~\\&|MON|ICU|WARD|HOSP|20260101000000||ORU^R01^ORU_R01|id1|P|2.6|||{accept}|{app}||UNICODE UTF-8\rPID|1\r";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600, 5_000_000).unwrap()
    }

    fn answer(accept: &str, app: &str, outcome: Result<(), &Refusal>) -> Option<String> {
        let message = MESSAGE.replace("{accept}", accept).replace("{app}", app);
        let answer = Header::read(message.as_bytes()).unwrap().answer(outcome, "", now());
        answer.map(|answer| String::from_utf8(answer).unwrap())
    }

    #[test]
    fn an_answer_turns_sender_and_receiver_round_and_names_the_message() {
        assert_eq!(
            answer("", "", Ok(())).unwrap(),
            "MSH|^~\\&|WARD|HOSP|MON|ICU|20260101000000.005+0000||ACK^R01^ACK|1767225600005000|P|2.6||||||UNICODE UTF-8\rMSA|AA|id1\r"
        );
        let told = answer("", "", Err(&Refusal::Unreadable("a | and a ^".to_owned()))).unwrap();
        assert!(told.contains("\rMSA|AR|id1|a \\F\\ and a \\S\\\r"), "{told}");
        assert!(told.ends_with("ERR|||100|E||||a \\F\\ and a \\S\\\r"), "{told}");
        assert!(answer("", "", Err(&Refusal::Unavailable)).unwrap().contains("\rMSA|AE|id1|Kafka did not take it"));
    }

    #[test]
    fn in_enhanced_mode_a_sender_gets_the_answer_that_it_wants() {
        let code = |accept: &str, app: &str, outcome: Result<(), &Refusal>| {
            answer(accept, app, outcome).map(|answer| answer.split("\rMSA|").nth(1).unwrap()[..2].to_owned())
        };
        assert_eq!(code("AL", "NE", Ok(())).as_deref(), Some("CA"));
        assert_eq!(code("NE", "AL", Ok(())).as_deref(), Some("AA"));
        assert_eq!(code("NE", "NE", Ok(())), None);
        assert_eq!(code("ER", "NE", Ok(())), None);
        assert_eq!(code("ER", "NE", Err(&Refusal::Full)).as_deref(), Some("CE"));
        assert_eq!(code("SU", "", Err(&Refusal::Full)), None);
        assert_eq!(code("AL", "", Err(&Refusal::TooLong { longest: 9 })).as_deref(), Some("CR"));
    }

    #[test]
    fn an_answer_has_the_bytes_of_the_senders_own_character_set() {
        let message = b"\xef\xbb\xbfMSH|^~\\&|MON|K\xd6LN|||20260101||ORU^R01|K\xd6NIG-7|P|2.5||||||8859/1\r";
        let answer =
            Header::read(message).unwrap().answer(Err(&Refusal::Unreadable("\u{201c}x".to_owned())), "", now());
        let answer = answer.unwrap();
        let has = |bytes: &[u8]| answer.windows(bytes.len()).any(|found| found == bytes);
        assert!(has(b"\rMSA|AR|K\xd6NIG-7|?x\r") && has(b"|MON|K\xd6LN|") && has(b"8859/1\r"), "{answer:?}");
        let long = format!("MSH|^~\\&|A|B|C|D|||ORU|{}|P|2.5\r", "9".repeat(1_001));
        assert!(Header::read(long.as_bytes()).unwrap_err().contains("has 1001 characters"));
    }

    #[test]
    fn what_is_no_message_is_named_and_separators_are_the_senders() {
        for (content, expected) in [
            ("", "it is empty"),
            ("GET / HTTP/1.1", "does not begin with \"MSH\""),
            ("MSH", "no field separator"),
            ("MSH|^~", "must name four separators"),
            ("MSH|^^^^|", "four separators that differ"),
            ("MSH|^~\\a|", "four separators that differ"),
            ("BHS|^~\\&|A\rBTS|0", "no message in it"),
        ] {
            let told = Header::read(content.as_bytes()).unwrap_err();
            assert!(told.contains(expected), "{content}: {told}");
        }
        let other = Header::read(b"BHS$!~\\%$A\nMSH$!~\\%$A$B$C$D$$$ORU!R01$7\n").unwrap();
        let told = String::from_utf8(other.answer(Ok(()), "3 rows", now()).unwrap()).unwrap();
        assert!(told.starts_with("MSH$!~\\%$C$D$A$B$"), "{told}");
        assert!(told.contains("$ACK!R01!ACK$") && told.contains("\rMSA$AA$7$3 rows\r"), "{told}");
    }
}
