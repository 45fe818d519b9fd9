//! What a reader of lines gives, and what all of them need.

use std::borrow::Cow;

/// What a record has: an item of which `text` tells each place that is read, or why there is none.
pub(super) enum Line<'t> {
    /// An item: its text at each place that the layout searches.
    Item(&'t dyn Fn(usize) -> Option<Cow<'t, str>>),
    /// Something that is no item, and why.
    Fault(String),
    /// One that another form reads.
    Other,
    /// Nothing of interest.
    Nothing,
}

/// The text of a record's content.
pub(super) fn utf8(content: &[u8]) -> Result<&str, String> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    std::str::from_utf8(content).map_err(|error| format!("it is not valid UTF-8 from byte {} on", error.valid_up_to()))
}
