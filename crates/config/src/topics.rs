//! Which topics a job reads.

use std::fmt;

use wardwatch_model::topics::Topics;

use super::pattern::Pattern;

/// The topics that a job reads: by name, or by a pattern which those of a later day may meet too.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSelection(Vec<Selected>);

/// One of them.
#[derive(Debug, Clone, PartialEq)]
enum Selected {
    Named(String),
    Pattern(Pattern),
}

/// The longest name that Kafka gives a topic.
const LONGEST_NAME: usize = 249;

impl TopicSelection {
    /// A topic alone.
    #[must_use]
    pub fn one(name: &str) -> Self {
        Self(vec![Selected::Named(name.to_owned())])
    }

    /// Those that `texts` name, one at least: a name, or a regular expression that begins with `^`.
    ///
    /// # Errors
    /// What is neither, and what is named twice.
    pub fn of(texts: Vec<String>) -> Result<Self, String> {
        let mut selected = Vec::new();
        for text in texts {
            let one = match text.starts_with('^') {
                true => Selected::Pattern(Pattern::new(&text)?),
                false => Selected::Named(topic_name(text)?),
            };
            if selected.contains(&one) {
                return Err(format!("\"{one}\" is named twice"));
            }
            selected.push(one);
        }
        Ok(Self(selected))
    }

    /// These, and those of others.
    ///
    /// # Errors
    /// What both name.
    pub fn and(&self, others: &Self) -> Result<Self, String> {
        match others.0.iter().find(|other| self.0.contains(other)) {
            Some(twice) => Err(twice.to_string()),
            None => Ok(Self(self.0.iter().chain(&others.0).cloned().collect())),
        }
    }

    /// These without the one of this name; `None` where there are no others.
    #[must_use]
    pub fn without(&self, topic: &str) -> Option<Self> {
        let is_other = |selected: &&Selected| !matches!(selected, Selected::Named(name) if name == topic);
        let others: Vec<Selected> = self.0.iter().filter(is_other).cloned().collect();
        (!others.is_empty() && others.len() < self.0.len()).then_some(Self(others))
    }

    /// The first of them; a pattern as if it were a name.
    #[must_use]
    pub fn first(&self) -> String {
        self.0.first().map(ToString::to_string).unwrap_or_default()
    }

    /// Whether `topic` is read. A pattern takes itself, which is no topic's name. Those that Kafka keeps for itself, and other tools for themselves, begin with two underscores and
    /// meet no pattern.
    #[must_use]
    pub fn takes(&self, topic: &str) -> bool {
        self.0.iter().any(|selected| match selected {
            Selected::Named(name) => name == topic,
            Selected::Pattern(pattern) => {
                pattern.0.as_str() == topic || (!topic.starts_with("__") && pattern.0.is_match(topic))
            }
        })
    }

    /// Whether there may be more than one.
    #[must_use]
    pub fn is_several(&self) -> bool {
        self.only().is_none()
    }

    /// The topic, where it is one by name.
    #[must_use]
    pub fn only(&self) -> Option<&str> {
        match &self.0[..] {
            [Selected::Named(name)] => Some(name),
            _ => None,
        }
    }

    /// Those that are named, each of which must exist.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().filter_map(|selected| match selected {
            Selected::Named(name) => Some(name.as_str()),
            Selected::Pattern(_) => None,
        })
    }

    /// Those of a job that no store knows: what is named, and a pattern as if it were a name.
    #[must_use]
    pub fn unnumbered(&self) -> Topics {
        let topics = Topics::default();
        for selected in &self.0 {
            topics.read(&selected.to_string());
        }
        topics
    }

    /// Whether topics are found by a pattern.
    #[must_use]
    pub fn has_pattern(&self) -> bool {
        self.0.iter().any(|selected| matches!(selected, Selected::Pattern(_)))
    }
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Pattern(pattern) => f.write_str(pattern.0.as_str()),
        }
    }
}

impl fmt::Display for TopicSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Selected::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

fn topic_name(text: String) -> Result<String, String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().find(|c| !is_of_name(*c)) {
        _ if text.trim().is_empty() => Err("this must not be empty".to_owned()),
        None if text == "." || text == ".." => Err(format!("\"{text}\" is no topic's name")),
        Some('*' | '+' | '[' | '(' | '\\') => {
            Err(format!("\"{text}\" is no topic's name; a pattern of names begins with ^: \"^vitals\\\\..*\""))
        }
        Some(odd) => {
            Err(format!("\"{text}\" is no topic's name: Kafka takes letters, digits, '.', '_' and '-', not {odd:?}"))
        }
        None if text.len() > LONGEST_NAME => {
            Err(format!("this is no topic's name: it has {} letters, and Kafka takes {LONGEST_NAME}", text.len()))
        }
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<TopicSelection, String> {
        TopicSelection::of(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn topics_are_selected_by_name_and_by_pattern() {
        let selection = of(&["fire", r"^ward\d+\."]).expect("a selection");
        let taken = ["fire", "ward3.vitals", "afire", "ward.vitals", "fire.old"].map(|topic| selection.takes(topic));
        assert_eq!(taken, [true, true, false, false, false]);
        assert_eq!(selection.to_string(), r"fire, ^ward\d+\.");
        assert_eq!(selection.names().collect::<Vec<_>>(), ["fire"]);
        assert!(selection.is_several() && selection.has_pattern());
        assert_eq!(of(&["vitals"]).expect("a selection").only(), Some("vitals"));
        assert!(!of(&["^.*"]).expect("a selection").takes("__consumer_offsets"));
    }

    #[test]
    fn what_is_no_name_and_no_pattern_is_told() {
        let told = |texts: &[&str]| of(texts).expect_err("it is none");
        assert_eq!(
            told(&["vitals.*"]),
            r#""vitals.*" is no topic's name; a pattern of names begins with ^: "^vitals\\..*""#
        );
        assert_eq!(
            told(&["my vitals"]),
            r#""my vitals" is no topic's name: Kafka takes letters, digits, '.', '_' and '-', not ' '"#
        );
        assert_eq!(told(&["a", "b", "a"]), r#""a" is named twice"#);
        assert!(told(&["^ward("]).contains("is not a regular expression"), "{}", told(&["^ward("]));
        assert!(told(&[&"v".repeat(250)]).contains("250 letters"));
    }
}
