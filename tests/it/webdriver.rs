//! A real Chromium that is driven by the WebDriver protocol (w3.org/TR/webdriver2), as far as tests need it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixtures::wait_until;

/// The key under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window and a profile of its own.
pub struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

/// On what the page is looked at.
#[derive(Clone, Copy)]
pub enum Screen {
    Wall,
    Phone,
}

/// A driver and its port; `None` where it has ended without one.
fn start_driver() -> Option<(std::process::Child, String)> {
    let mut command = Command::new("chromedriver");
    let mut driver = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    });
    // Whatever it says later is not to block it.
    std::thread::spawn(move || lines.for_each(drop));
    match port {
        Some(port) => Some((driver, port)),
        None => {
            driver.wait().unwrap();
            None
        }
    }
}

impl Browser {
    pub fn start(screen: Screen) -> Self {
        Self::start_in(screen, "light")
    }

    /// The same on a system that prefers light or dark.
    pub fn start_in(screen: Screen, scheme: &str) -> Self {
        // The port that it finds free by IPv6 may be taken by IPv4; then it ends, and is started again.
        let (driver, port) = (0..5).find_map(|_| start_driver()).expect("chromedriver tells its port");
        let profile = tempfile::tempdir().unwrap();
        let dark = if scheme == "dark" { "--force-dark-mode" } else { "--lang=en" };
        let mut options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--autoplay-policy=no-user-gesture-required", "--window-size=1400,860", dark,
            format!("--user-data-dir={}", profile.path().display()),
        ] });
        if matches!(screen, Screen::Phone) {
            options["mobileEmulation"] =
                json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2.0, "touch": true } });
        }
        let base = format!("http://127.0.0.1:{port}/session");
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let begun = send("POST", &base, &wanted).unwrap_or_else(|error| panic!("no browser: {error}"));
        let session = format!("{base}/{}", begun["sessionId"].as_str().unwrap());
        Self { driver, session, _profile: profile }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        send(method, &format!("{}/{path}", self.session), body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Runs a script in every page before its own.
    pub fn run_before_pages(&self, script: &str) {
        let wanted = json!({ "cmd": "Page.addScriptToEvaluateOnNewDocument", "params": { "source": script } });
        self.ask("POST", "goog/cdp/execute", &wanted);
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.ask("POST", "window/rect", &json!({ "width": width, "height": height }));
    }

    pub fn open(&self, address: &str) {
        self.ask("POST", "url", &json!({ "url": address }));
    }

    /// The value of an expression in the page.
    pub fn eval(&self, expression: &str) -> Value {
        self.ask("POST", "execute/sync", &json!({ "script": format!("return ({expression});"), "args": [] }))
    }

    /// What a script hands to its last argument, which is called `done` in it.
    pub fn eval_later(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.ask("POST", "execute/async", &json!({ "script": script, "args": [] }))
    }

    /// The text that one sees of the first element, or nothing.
    pub fn text(&self, css: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(css)));
        text.as_str().unwrap().to_owned()
    }

    pub fn count(&self, css: &str) -> u64 {
        self.eval(&format!("document.querySelectorAll({}).length", json!(css))).as_u64().unwrap()
    }

    pub fn wait_for(&self, what: &str, expression: &str) {
        wait_until(what, || self.eval(expression).as_bool() == Some(true));
    }

    fn find(&self, css: &str) -> String {
        let found = self.ask("POST", "element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks where the element is seen, as a person does.
    pub fn click(&self, css: &str) {
        let element = self.find(css);
        self.ask("POST", &format!("element/{element}/click"), &json!({}));
    }

    pub fn type_into(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.ask("POST", &format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys one after the other, wherever the focus is.
    pub fn press(&self, keys: &[&str]) {
        let strokes = keys
            .iter()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]);
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>() }]);
        self.ask("POST", "actions", &json!({ "actions": actions }));
    }

    /// Moves the pointer to a place within an element, from its middle.
    pub fn point_at(&self, css: &str, (x, y): (i64, i64)) {
        let origin = json!({ ELEMENT: self.find(css) });
        let step = json!({ "type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": origin });
        let actions =
            json!([{ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": [step] }]);
        self.ask("POST", "actions", &json!({ "actions": actions }));
    }

    /// Keeps a picture of what is seen, for people to look at.
    pub fn picture(&self, file: &Path) {
        let picture = self.ask("GET", "screenshot", &Value::Null);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, from_base64(picture.as_str().unwrap())).unwrap();
    }

    /// What the console has said since it was asked last: faults of scripts, what the policy refused, what did not load.
    pub fn console(&self) -> Vec<String> {
        let lines = self.ask("POST", "se/log", &json!({ "type": "browser" }));
        let lines = lines.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned());
        lines.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = send("DELETE", &self.session, &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn send(method: &str, address: &str, body: &Value) -> Result<Value, String> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .new_agent();
    let answer = match method {
        "POST" => agent.post(address).send_json(body),
        "DELETE" => agent.delete(address).call(),
        _ => agent.get(address).call(),
    };
    let answer: Value = answer.map_err(|error| error.to_string())?.body_mut().read_json().map_err(|e| e.to_string())?;
    match answer["value"]["error"].as_str() {
        Some(error) => Err(format!("{error}: {}", answer["value"]["message"].as_str().unwrap_or_default())),
        None => Ok(answer["value"].clone()),
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=').collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 6 | value(*byte)) << (6 * (4 - chunk.len()));
        bits.to_be_bytes()[1..chunk.len()].to_vec()
    });
    bytes.collect()
}
