//! Regular expressions of a job file.

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(pub regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    /// The expression that `text` writes.
    ///
    /// # Errors
    /// Why it writes none.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        regex::Regex::new(text).map(Self).map_err(|error| {
            let last = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("\"{text}\" is not a regular expression: {last}")
        })
    }

    /// The names of its groups.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        self.0.capture_names().flatten().map(str::to_owned).collect()
    }
}
