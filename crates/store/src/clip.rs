//! Texts cut to what a table takes.

/// `text`, or its beginning and how long it is, where it has more than `most` bytes.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} … (the first {end} of {} bytes)", &text[..end], text.len())
}
