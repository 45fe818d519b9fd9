//! Somebody who is told of alerts over HTTP, and behaves well, badly or not at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// 200.
    Well,
    /// 500.
    Failing,
    /// Never, for as long as the other side waits.
    Hanging,
    /// Half a reply, then nothing.
    BreakingOff,
    /// 400, where the body has this text; 200 otherwise.
    Refusing(&'static str),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// How it was answered.
    pub manner: Manner,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn is_taken(&self) -> bool {
        match self.manner {
            Manner::Well => true,
            Manner::Refusing(text) => !self.body.contains(text),
            _ => false,
        }
    }
}

/// A receiver on a port of its own.
pub struct Receiver {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    manner: Arc<Mutex<Manner>>,
    reply: Arc<Mutex<String>>,
    stopped: Arc<AtomicBool>,
}

impl Receiver {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            manner: Arc::new(Mutex::new(manner)),
            reply: Arc::default(),
            stopped: Arc::default(),
        };
        let (requests, manner) = (Arc::clone(&receiver.requests), Arc::clone(&receiver.manner));
        let (reply, stopped) = (Arc::clone(&receiver.reply), Arc::clone(&receiver.stopped));
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let (requests, manner, reply) = (Arc::clone(&requests), Arc::clone(&manner), Arc::clone(&reply));
                std::thread::spawn(move || serve(stream, &requests, &manner, &reply));
            }
        });
        receiver
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What it says to a GET.
    pub fn say(&self, reply: &str) {
        *self.reply.lock().unwrap() = reply.to_owned();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The POSTs that it took.
    pub fn taken(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.line.starts_with("POST") && request.is_taken()).collect()
    }

    /// The alerts of webhooks that it took: episode, status and id of the notification, in their order.
    pub fn alerts(&self) -> Vec<(String, String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = self.taken().into_iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
        alerts
            .map(|alert| {
                let (labels, annotations) = (&alert["labels"], &alert["annotations"]);
                (text(&labels["episode"]), text(&alert["status"]), text(&annotations["notification"]))
            })
            .collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Answers requests on one connection until the other side closes it.
fn serve(mut stream: TcpStream, requests: &Mutex<Vec<Request>>, manner: &Mutex<Manner>, reply: &Mutex<String>) {
    let mut bytes = Vec::new();
    while let Some(request) = read(&mut stream, &mut bytes, manner) {
        let get = request.line.starts_with("GET");
        requests.lock().unwrap().push(request.clone());
        let said = if get { reply.lock().unwrap().clone() } else { "{}".to_owned() };
        let answer = match request.manner {
            Manner::Failing => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Manner::BreakingOff => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned(),
            Manner::Hanging => {
                // The other side gives up; a read then finds its end.
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            Manner::Refusing(_) if !request.is_taken() => {
                "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nnot valid.".to_owned()
            }
            Manner::Well | Manner::Refusing(_) => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len())
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() || request.manner == Manner::BreakingOff {
            return;
        }
    }
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>, manner: &Mutex<Manner>) -> Option<Request> {
    let mut buffer = [0; 16_384];
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
            let mut lines = text.lines();
            let line = lines.next()?.to_owned();
            let headers: Vec<(String, String)> =
                lines.filter_map(|line| line.split_once(": ")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            if bytes.len() >= head + 4 + length {
                let body = String::from_utf8_lossy(&bytes[head + 4..head + 4 + length]).into_owned();
                bytes.drain(..head + 4 + length);
                let manner = *manner.lock().unwrap();
                return Some(Request { line, headers, body, manner });
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
