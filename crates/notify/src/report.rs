//! Reports by mail: the pictures stand in the letter, so that a phone shows them without opening anything.

use chrono::{DateTime, Utc};
use lettre::message::header::ContentType;
use lettre::message::{Attachment, MultiPart, SinglePart};

use wardwatch_config::Outlet;

use super::mail::Mail;
use super::sink::Undelivered;

/// A report on its way.
#[derive(Debug)]
pub struct ReportLetter<'a> {
    /// The report.
    pub report: &'a str,
    /// For when it was due.
    pub due: DateTime<Utc>,
    /// The subject.
    pub subject: String,
    /// What is to be said beside the pictures.
    pub text: String,
    /// The pictures, PNG, each with what it is of.
    pub pictures: Vec<(String, Vec<u8>)>,
}

/// Sends a report by an outlet that is mail. The same report bears the same Message-ID, however often it is sent.
///
/// # Errors
/// The server is not there, or refuses.
pub fn mail_report(outlet: &Outlet, job: &str, letter: &ReportLetter<'_>) -> Result<(), Undelivered> {
    let mut related = MultiPart::related().singlepart(SinglePart::html(html(letter)));
    for (number, (_, picture)) in letter.pictures.iter().enumerate() {
        let kind = ContentType::parse("image/png").map_err(|error| Undelivered::Refused(error.to_string()))?;
        related = related.singlepart(Attachment::new_inline(cid(number)).body(picture.clone(), kind));
    }
    let body = MultiPart::alternative().singlepart(SinglePart::plain(letter.text.clone())).multipart(related);
    let mail = Mail::new(outlet, job);
    let id = format!("{}.{}", letter.report, letter.due.timestamp());
    let letter = mail.head(&id, &letter.subject).multipart(body);
    mail.post(&letter.map_err(|error| Undelivered::Refused(error.to_string()))?)
}

fn cid(number: usize) -> String {
    format!("picture-{number}")
}

fn html(letter: &ReportLetter<'_>) -> String {
    let pictures = letter.pictures.iter().enumerate().map(|(number, (of, _))| {
        format!("<p><img src=\"cid:{}\" alt=\"{}\" style=\"max-width:100%\"></p>", cid(number), escaped(of))
    });
    format!("<p>{}</p>{}", escaped(&letter.text), pictures.collect::<String>())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
