//! What the job file says of alerts: how they are cared for, and where people are told of them.

use std::collections::BTreeSet;
use std::time::Duration;

use minijinja::Environment;

use wardwatch_model::diagnostic::unknown;
use wardwatch_model::terms::Severity;

use super::checker::{Checker, identifier, not_empty, table_name};
use super::raw::{RawAlerts, RawOutlet, RawStep};
use super::spanned::Spanned;
use super::units::{Zero, duration};

/// How a job's alerts are cared for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSpec {
    /// After how long without a known sample an episode is stale, where its rule does not say.
    pub stale_after: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The reference table that tells in which ward each patient lies, and whether the job names it.
    pub patients: (String, bool),
    /// The reference table of alarm limits, which `wardwatch limits` adds to.
    pub limits: String,
    /// After how long a notice that nobody has taken has reached nobody.
    pub unreached_after: Duration,
    /// What to do while nobody acknowledges, soonest first.
    pub escalation: Vec<EscalationStep>,
}

/// A step of the escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationStep {
    /// How long after an episode has fired.
    pub after: Duration,
    /// The outlets that are told.
    pub to: Vec<String>,
    /// For episodes of at least this severity.
    pub severity: Severity,
}

/// Somewhere that people, or other systems, are told of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// Its name.
    pub name: String,
    /// Where it is and how it is spoken to.
    pub kind: OutletKind,
    /// It is told of episodes of at least this severity.
    pub severity: Severity,
    /// Whether it is told of every episode, or only of those that are escalated to it.
    pub when: When,
    /// Whether messages name the patient.
    pub identify: bool,
    /// A template for the line that a message begins with.
    pub subject: Option<String>,
    /// A template for its text.
    pub template: Option<String>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The longest time between two attempts.
    pub longest_backoff: Duration,
    /// For how long a message is tried again.
    pub give_up_after: Duration,
}

/// When an outlet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// As soon as an episode fires.
    Always,
    /// When a step of the escalation names it.
    Escalation,
}

/// How an outlet is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutletKind {
    /// A POST of Alertmanager's webhook form, version 4.
    Webhook {
        /// Where to.
        url: String,
        /// What signs the body, by HMAC-SHA256.
        secret: Option<String>,
    },
    /// Prometheus Alertmanager's own interface.
    Alertmanager {
        /// Its base, as `http://localhost:9093`.
        url: String,
        /// How often it hears that an alert still stands.
        resend: Duration,
    },
    /// Mail.
    Email {
        /// The server: `smtps://user:password@host`, or `smtp://host:port`, with `?tls=required` for STARTTLS.
        url: String,
        /// The sender.
        from: String,
        /// The recipients.
        to: Vec<String>,
    },
    /// ntfy, for telephones.
    Ntfy {
        /// The server, as `https://ntfy.sh`.
        url: String,
        /// The topic.
        topic: String,
        /// An access token.
        token: Option<String>,
        /// The topic by which the button of a message acknowledges, and what signs its presses.
        acknowledge: Option<(String, String)>,
    },
    /// A topic of the Kafka that the job reads from; records are keyed by patient.
    Kafka {
        /// The topic.
        topic: String,
    },
    /// The program's own log.
    Log,
    /// A dead man's switch: called while batches are committed, so that somebody notices when it is not.
    Heartbeat {
        /// What is called.
        url: String,
        /// How often.
        every: Duration,
    },
}

impl OutletKind {
    /// Its name in the job file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Email { .. } => "email",
            Self::Ntfy { .. } => "ntfy",
            Self::Kafka { .. } => "kafka",
            Self::Log => "log",
            Self::Heartbeat { .. } => "heartbeat",
        }
    }

    /// Whether people, or systems that call people, are behind it: what only stands in a log has reached nobody.
    #[must_use]
    pub fn reaches_people(&self) -> bool {
        !matches!(self, Self::Log | Self::Heartbeat { .. })
    }
}

/// The names that a template may use.
pub const TEMPLATE_NAMES: [&str; 19] = [
    "job",
    "kind",
    "rule",
    "patient",
    "ward",
    "severity",
    "state",
    "text",
    "peak",
    "episode",
    "started_at",
    "firing_at",
    "last_at",
    "cleared_at",
    "ended_at",
    "end_reason",
    "acknowledged_by",
    "note",
    "is_stale",
];

const KINDS: [&str; 7] = ["webhook", "alertmanager", "email", "ntfy", "kafka", "log", "heartbeat"];

impl Checker<'_> {
    /// What the job says of alerts and of those who are told of them.
    pub(super) fn alerts(
        &mut self,
        raw: RawAlerts,
        notify: Vec<Spanned<RawOutlet>>,
    ) -> Option<(AlertSpec, Vec<Outlet>)> {
        let mut outlets: Vec<Outlet> = Vec::new();
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut is_whole = true;
        for raw in notify {
            let place = raw.span();
            let raw = raw.into_inner();
            let named = raw.name.as_ref().map_or(place, Spanned::span);
            match self.outlet(raw, named.clone()) {
                Some(outlet) if names.insert(outlet.name.clone()) => outlets.push(outlet),
                Some(outlet) => {
                    is_whole = false;
                    self.refuse::<()>(named, format!("another outlet bears the name \"{}\"", outlet.name));
                }
                None => is_whole = false,
            }
        }
        let length = |text: &str| duration(text, Zero::Refused);
        let is_named = raw.patients.is_some();
        let spec = AlertSpec {
            stale_after: self.or_default(raw.stale_after, "30s", length)?,
            longest_pause: self.or_default(raw.longest_pause, "2m", length)?,
            patients: (self.or_default(raw.patients, "patients", table_name)?, is_named),
            limits: self.or_default(raw.limits, "limits", table_name)?,
            unreached_after: self.or_default(raw.unreached_after, "30s", length)?,
            // Without all outlets, nothing can be said of their names.
            escalation: if is_whole { self.escalation(raw.escalation, &outlets)? } else { Vec::new() },
        };
        is_whole.then_some((spec, outlets))
    }

    fn escalation(&mut self, raw: Vec<RawStep>, outlets: &[Outlet]) -> Option<Vec<EscalationStep>> {
        let told = |outlet: &&Outlet| !matches!(outlet.kind, OutletKind::Heartbeat { .. });
        let known = |name: &str| match outlets.iter().filter(told).any(|outlet| outlet.name == name) {
            true => Ok(name.to_owned()),
            false if outlets.is_empty() => {
                Err(format!("there is no outlet \"{name}\", and no other; a [[notify]] makes one"))
            }
            false => Err(unknown("outlet", name, outlets.iter().filter(told).map(|outlet| outlet.name.as_str()))),
        };
        let mut steps = Vec::new();
        let count = raw.len();
        for RawStep { after, to, severity } in raw {
            let place = to.span();
            let names: Vec<Option<String>> =
                to.into_inner().into_iter().map(|name| self.required(name, known)).collect();
            let names: Option<Vec<String>> = names.into_iter().collect();
            if names.as_ref().is_some_and(Vec::is_empty) {
                self.refuse::<()>(place, "a step of the escalation must tell somebody; name an outlet".to_owned());
                continue;
            }
            let after = self.required(after, |text| duration(text, Zero::Refused));
            let severity = self.or_default(severity, "low", severity_called);
            if let (Some(after), Some(to), Some(severity)) = (after, names, severity) {
                steps.push(EscalationStep { after, to, severity });
            }
        }
        steps.sort_by_key(|step| step.after);
        (steps.len() == count).then_some(steps)
    }

    fn outlet(&mut self, raw: RawOutlet, place: std::ops::Range<usize>) -> Option<Outlet> {
        let Some(kind) = raw.kind else {
            return self.refuse(place, format!("an outlet needs a kind: {}", KINDS.join(", ")));
        };
        let kind_place = kind.span();
        let kind = self.required(kind, |kind| match KINDS.contains(&kind) {
            true => Ok(kind.to_owned()),
            false => Err(unknown("kind of outlet", kind, KINDS.into_iter())),
        })?;
        let name = self.or_default(raw.name, &kind, identifier);
        let length = |text: &str| duration(text, Zero::Refused);
        let when = |text: &str| match text {
            "always" => Ok(When::Always),
            "escalation" => Ok(When::Escalation),
            _ => Err(unknown("when", text, ["always", "escalation"].into_iter())),
        };
        let common = (
            self.or_default(raw.severity, "technical", severity_called),
            self.or_default(raw.when, "always", when),
            self.optional(raw.subject, template),
            self.optional(raw.template, template),
            self.or_default(raw.timeout, "5s", length),
            self.or_default(raw.longest_backoff, "1m", length),
            self.or_default(raw.give_up_after, "1d", length),
        );
        let mut keys = Keys { kind: &kind, place: kind_place, left: Vec::new() };
        keys.note("url", raw.url.as_ref().map(Spanned::span));
        keys.note("secret", raw.secret.as_ref().map(Spanned::span));
        keys.note("resend", raw.resend.as_ref().map(Spanned::span));
        keys.note("from", raw.from.as_ref().map(Spanned::span));
        keys.note("to", raw.to.as_ref().map(Spanned::span));
        keys.note("topic", raw.topic.as_ref().map(Spanned::span));
        keys.note("token", raw.token.as_ref().map(Spanned::span));
        keys.note("acknowledge", raw.acknowledge.as_ref().map(Spanned::span));
        keys.note("every", raw.every.as_ref().map(Spanned::span));
        let (needed, allowed): (&[&str], &[&str]) = match kind.as_str() {
            "webhook" => (&["url"], &["secret"]),
            "alertmanager" => (&["url"], &["resend"]),
            "email" => (&["url", "from", "to"], &[]),
            "ntfy" => (&["url", "topic"], &["token", "acknowledge", "secret"]),
            "kafka" => (&["topic"], &[]),
            "heartbeat" => (&["url"], &["every"]),
            _ => (&[], &[]),
        };
        keys.check(self, needed, allowed)?;
        let kind = match kind.as_str() {
            "webhook" => OutletKind::Webhook {
                url: self.needed(raw.url, http_url)?,
                secret: self.optional(raw.secret, not_empty)?,
            },
            "alertmanager" => OutletKind::Alertmanager {
                url: self.needed(raw.url, http_url)?.trim_end_matches('/').to_owned(),
                resend: self.or_default(raw.resend, "1m", length)?,
            },
            "email" => OutletKind::Email {
                url: self.needed(raw.url, mail_url)?,
                from: self.needed(raw.from, address)?,
                to: self.addresses(raw.to?)?,
            },
            "ntfy" => {
                let secret = self.optional(raw.secret, not_empty)?;
                let button = raw.acknowledge.as_ref().map(Spanned::span);
                let acknowledge = match (self.optional(raw.acknowledge, not_empty)?, secret, button) {
                    (None, _, _) => None,
                    (Some(topic), Some(secret), _) => Some((topic, secret)),
                    (Some(_), None, place) => {
                        let message = "a button needs a secret that signs it, else anybody could press it; \
                                       secret = \"${NTFY_SECRET}\"";
                        return self.refuse(place.unwrap_or_default(), message.to_owned());
                    }
                };
                OutletKind::Ntfy {
                    url: self.needed(raw.url, http_url)?.trim_end_matches('/').to_owned(),
                    topic: self.needed(raw.topic, not_empty)?,
                    token: self.optional(raw.token, not_empty)?,
                    acknowledge,
                }
            }
            "kafka" => OutletKind::Kafka { topic: self.needed(raw.topic, not_empty)? },
            "heartbeat" => OutletKind::Heartbeat {
                url: self.needed(raw.url, http_url)?,
                every: self.or_default(raw.every, "1m", length)?,
            },
            _ => OutletKind::Log,
        };
        let (severity, when, subject, template, timeout, longest_backoff, give_up_after) = common;
        Some(Outlet {
            name: name?,
            kind,
            severity: severity?,
            when: when?,
            identify: raw.identify.unwrap_or(true),
            subject: subject?,
            template: template?,
            timeout: timeout?,
            longest_backoff: longest_backoff?,
            give_up_after: give_up_after?,
        })
    }

    fn addresses(&mut self, raw: Spanned<Vec<Spanned<String>>>) -> Option<Vec<String>> {
        let place = raw.span();
        let found: Vec<Option<String>> =
            raw.into_inner().into_iter().map(|text| self.required(text, address)).collect();
        if found.is_empty() {
            return self.refuse(place, "nobody would get the mail; name an address".to_owned());
        }
        found.into_iter().collect()
    }

    /// `Some(None)` where there is no value, `None` where there is a wrong one.
    #[allow(clippy::option_option, reason = "absent and wrong are two things")]
    fn optional<T>(
        &mut self,
        value: Option<Spanned<String>>,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match value {
            None => Some(None),
            Some(value) => self.required(value, convert).map(Some),
        }
    }

    /// A value that [`Keys::check`] has found to be there.
    fn needed<T>(&mut self, value: Option<Spanned<String>>, convert: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.required(value?, convert)
    }
}

/// The keys of an outlet that not every kind has.
struct Keys<'a> {
    kind: &'a str,
    place: std::ops::Range<usize>,
    left: Vec<(&'static str, std::ops::Range<usize>)>,
}

impl Keys<'_> {
    fn note(&mut self, name: &'static str, place: Option<std::ops::Range<usize>>) {
        self.left.extend(place.map(|place| (name, place)));
    }

    fn check(self, checker: &mut Checker<'_>, needed: &[&str], allowed: &[&str]) -> Option<()> {
        let Self { kind, place, left } = self;
        let mut is_right = true;
        for name in needed.iter().filter(|name| !left.iter().any(|(found, _)| found == *name)) {
            is_right = false;
            checker.refuse::<()>(place.clone(), format!("an outlet of kind \"{kind}\" needs \"{name}\""));
        }
        for (name, place) in left {
            if !needed.contains(&name) && !allowed.contains(&name) {
                is_right = false;
                let known: Vec<&str> = needed.iter().chain(allowed).copied().collect();
                let more = if known.is_empty() { "nothing more".to_owned() } else { known.join(", ") };
                checker.refuse::<()>(place, format!("an outlet of kind \"{kind}\" has no \"{name}\"; it has {more}"));
            }
        }
        is_right.then_some(())
    }
}

fn severity_called(text: &str) -> Result<Severity, String> {
    Severity::from_name(text)
        .ok_or_else(|| unknown("severity", text, Severity::ALL.iter().map(|severity| severity.name())))
}

/// A URL may hold a password, so it is not quoted.
fn http_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("this is no URL; write \"https://host/path\"".to_owned()),
    }
}

fn mail_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("smtp" | "smtps", rest)) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("this is no mail server; write \"smtps://user:password@host\" or \"smtp://host:25\"".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    text.parse::<lettre::message::Mailbox>()
        .map(|_| text.to_owned())
        .map_err(|_| format!("\"{text}\" is no mail address; write \"Ward 3 <ward3@example.org>\""))
}

/// A template that can be filled in.
fn template(text: &str) -> Result<String, String> {
    let environment = Environment::new();
    let template = environment.template_from_str(text).map_err(|error| {
        let line = error.line().map(|line| format!(" (line {line} of it)")).unwrap_or_default();
        format!("the template is wrong{line}: {}", error.detail().unwrap_or("it cannot be read"))
    })?;
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.sort();
    match names.iter().find(|name| !TEMPLATE_NAMES.contains(&name.as_str())) {
        Some(wrong) => Err(unknown("name in the template", wrong, TEMPLATE_NAMES.into_iter())),
        None => Ok(text.to_owned()),
    }
}
