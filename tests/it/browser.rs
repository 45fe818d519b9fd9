//! A real Chromium without a window, for what only a browser can tell of a page.

use std::path::Path;
use std::process::{Command, Stdio};

/// What the browser found.
pub struct Opened {
    /// What the console said, errors of loading included.
    pub console: Vec<String>,
    /// How many sheets of paper it takes.
    pub sheets: usize,
}

/// Whether there is a browser; where the suite fetches its own services, there is.
pub fn is_there() -> bool {
    let found = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    assert!(is_there || std::env::var_os("WARDWATCH_SERVICES").is_none(), "chromium is not there");
    if !is_there {
        println!("skipped: there is no chromium");
    }
    is_there
}

/// Opens a page from disk and prints it.
pub fn open(page: &Path) -> Opened {
    let profile = tempfile::tempdir().unwrap();
    let paper = profile.path().join("page.pdf");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--no-pdf-header-footer"])
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--print-to-pdf={}", paper.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let console = told.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    let bytes = std::fs::read(&paper).unwrap_or_else(|error| panic!("nothing was printed: {error}\n{told}"));
    let text = String::from_utf8_lossy(&bytes);
    // Each sheet is an object of its own; their root says how many there are.
    let sheets = text.matches("/Type /Page\n").count() + text.matches("/Type /Page ").count();
    Opened { console, sheets }
}
