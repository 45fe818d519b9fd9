//! The words of a message: the job's templates, or our own, filled in with what is known of an episode.

use minijinja::{Environment, Value};

use wardwatch_alert::{Facts, Notification};
use wardwatch_config::Outlet;
use wardwatch_model::terms::Severity;

/// A notification in words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// What it is about.
    pub(super) notification: Notification,
    /// One line.
    pub(super) subject: String,
    /// The rest.
    pub(super) text: String,
}

impl Message {
    pub(super) fn facts(&self) -> &Facts {
        &self.notification.facts
    }

    pub(super) fn is_over(&self) -> bool {
        self.facts().kind == "resolved"
    }

    pub(super) fn severity(&self) -> Severity {
        Severity::from_name(&self.facts().severity).unwrap_or(Severity::High)
    }
}

const SUBJECT: &str = "\
{%- if kind == 'resolved' %}over: {{ peak }}\
{%- elif kind == 'reminder' %}still: {{ peak }}\
{%- elif kind == 'escalated' %}not acknowledged: {{ peak }}\
{%- else %}{{ text }}{% endif %} ({{ severity }}\
{%- if patient %}, patient {{ patient }}{% endif %}\
{%- if ward %}, {{ ward }}{% endif %})";

const TEXT: &str = "\
{{ rule }}, {{ severity }}, since {{ firing_at }}, worst {{ peak }}\
{%- if is_stale %}; no data since {{ last_at }}{% endif %}\
{%- if acknowledged_by %}; acknowledged by {{ acknowledged_by }}{% if note %}: {{ note }}{% endif %}{% endif %}\
{%- if ended_at %}; over at {{ ended_at }}, {{ end_reason }}{% endif %}; episode {{ episode }}";

/// The templates of an outlet.
#[derive(Debug)]
pub(super) struct Texts(Environment<'static>);

impl Texts {
    /// Those of `outlet`, which the job file's check has found to be right.
    pub(super) fn of(outlet: &Outlet) -> Self {
        let mut environment = Environment::new();
        let own = [("subject", outlet.subject.as_ref()), ("text", outlet.template.as_ref())];
        for (name, template) in own {
            if let Some(template) = template
                && let Err(error) = environment.add_template_owned(name, template.clone())
            {
                tracing::warn!(outlet = outlet.name, %error, "template not in use");
            }
        }
        for (name, template) in [("our subject", SUBJECT), ("our text", TEXT)] {
            if let Err(error) = environment.add_template(name, template) {
                panic!("our own template is wrong: {error}");
            }
        }
        Self(environment)
    }

    /// A notification in the outlet's words; where its template fails on these values, in ours.
    pub(super) fn message(&self, notification: Notification) -> Message {
        let facts = Value::from_serialize(&notification.facts);
        let fill = |name: &str| self.0.get_template(name).and_then(|template| template.render(&facts));
        let filled = |own: &str, ours: &str| fill(own).or_else(|_| fill(ours)).unwrap_or_default();
        // A line break in a subject would end the header of a mail.
        let subject = filled("subject", "our subject").split_whitespace().collect::<Vec<_>>().join(" ");
        Message { subject, text: filled("text", "our text"), notification }
    }
}

/// The last message of each episode, the worst first: what a person is told when much has come together.
pub(super) fn digest(messages: &[Message]) -> Vec<&Message> {
    let mut last: Vec<&Message> = Vec::new();
    for message in messages {
        last.retain(|known| known.facts().episode != message.facts().episode);
        last.push(message);
    }
    last.sort_by_key(|message| (message.is_over(), std::cmp::Reverse(message.severity())));
    last
}

/// One line over a digest: `7 alerts: 2 high, 1 technical; 4 over`.
pub(super) fn headline(digest: &[&Message]) -> String {
    let counts = Severity::ALL.iter().filter_map(|severity| {
        let count = digest.iter().filter(|message| !message.is_over() && message.severity() == *severity).count();
        (count > 0).then(|| format!("{count} {}", severity.name()))
    });
    let standing: Vec<String> = counts.collect();
    let over = digest.iter().filter(|message| message.is_over()).count();
    let mut parts = Vec::new();
    if !standing.is_empty() {
        parts.push(standing.join(", "));
    }
    if over > 0 {
        parts.push(format!("{over} over"));
    }
    format!("{} alerts: {}", digest.len(), parts.join("; "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use wardwatch_config::{OutletKind, When};

    pub(crate) fn outlet(kind: OutletKind) -> Outlet {
        let seconds = std::time::Duration::from_secs;
        Outlet {
            name: "test".to_owned(),
            kind,
            severity: Severity::Technical,
            when: When::Always,
            identify: true,
            subject: None,
            template: None,
            timeout: seconds(5),
            longest_backoff: seconds(60),
            give_up_after: seconds(3_600),
        }
    }

    pub(crate) fn notification(episode: &str, kind: &str, severity: &str) -> Notification {
        let facts = Facts {
            job: "test".to_owned(),
            kind: kind.to_owned(),
            episode: episode.to_owned(),
            rule: "tachycardia".to_owned(),
            patient: "P1".to_owned(),
            severity: severity.to_owned(),
            text: "HR 130 > 120".to_owned(),
            peak: "HR 140 > 120".to_owned(),
            firing_at: "2026-01-01T00:00:10Z".to_owned(),
            ..Facts::default()
        };
        Notification { id: format!("{episode}-1-test"), outlet: "test".to_owned(), number: 1, facts }
    }

    #[test]
    fn a_message_says_what_how_bad_and_who_and_a_template_of_the_job_says_it_otherwise() {
        let mut outlet = outlet(OutletKind::Log);
        let shown = |outlet: &Outlet, kind| Texts::of(outlet).message(notification("e1", kind, "high")).subject;
        assert_eq!(shown(&outlet, "firing"), "HR 130 > 120 (high, patient P1)");
        assert_eq!(shown(&outlet, "resolved"), "over: HR 140 > 120 (high, patient P1)");
        outlet.subject = Some("{{ rule|upper }}\n{{ text }}".to_owned());
        assert_eq!(shown(&outlet, "firing"), "TACHYCARDIA HR 130 > 120");
        outlet.subject = Some("{{ text|round }}".to_owned());
        assert_eq!(shown(&outlet, "firing"), "HR 130 > 120 (high, patient P1)", "a template that fails is not used");
    }

    #[test]
    fn a_digest_has_the_last_of_each_episode_the_worst_first() {
        let texts = Texts::of(&outlet(OutletKind::Log));
        let all = [("a", "firing", "low"), ("b", "firing", "high"), ("a", "resolved", "low"), ("c", "firing", "low")];
        let messages: Vec<Message> =
            all.iter().map(|(episode, kind, severity)| texts.message(notification(episode, kind, severity))).collect();
        let digest = digest(&messages);
        let order: Vec<&str> = digest.iter().map(|message| message.facts().episode.as_str()).collect();
        assert_eq!(order, ["b", "c", "a"]);
        assert_eq!(headline(&digest), "3 alerts: 1 high, 1 low; 1 over");
    }
}
