//! A proxy before MySQL that sees each command of a client and decides what becomes of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The server never sees it, and the connection is cut.
    CutBefore,
    /// The server does it, but the reply is lost, and the connection is cut.
    CutAfter,
}

type Judge = Box<dyn FnMut(&[u8]) -> Verdict + Send>;

/// The database's URL with the proxy in its place. `judge` gets each command without its length and number; the first
/// byte says of what kind it is (3 is a query, 0x16 prepares, 0x17 executes).
pub fn before(url: &str, judge: impl FnMut(&[u8]) -> Verdict + Send + 'static) -> String {
    let server = url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = url.replace(&server, &listener.local_addr().unwrap().to_string());
    let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(judge)));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, judge) = (client.unwrap(), Arc::clone(&judge));
            if let Ok(server) = TcpStream::connect(&server) {
                forward(client, server, judge);
            }
        }
    });
    url
}

fn forward(client: TcpStream, server: TcpStream, judge: Arc<Mutex<Judge>>) {
    let mute = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let muted = Arc::clone(&mute);
    std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            // A command is a packet of its own, numbered 0; the client waits for the reply before it sends the next.
            let command = bytes[..count].get(4..).filter(|_| bytes[3] == 0);
            match command.map_or(Verdict::Pass, |command| judge.lock().unwrap()(command)) {
                Verdict::Pass => {}
                Verdict::CutBefore => {
                    let _ = from.shutdown(Shutdown::Both);
                    break;
                }
                Verdict::CutAfter => muted.store(true, Ordering::SeqCst),
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let (mut from, mut to) = (server, client);
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if mute.load(Ordering::SeqCst) || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

/// The database's URL behind a network that is gone while the flag is set: connections stay, and nothing comes through.
pub fn that_can_vanish(url: &str) -> (String, Arc<AtomicBool>) {
    let server = url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = url.replace(&server, &listener.local_addr().unwrap().to_string());
    let is_gone = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&is_gone);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let (other_client, other_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            for (mut from, mut to) in [(client, server), (other_server, other_client)] {
                let gone = Arc::clone(&gone);
                std::thread::spawn(move || {
                    let mut bytes = [0; 65_536];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        while gone.load(Ordering::SeqCst) {
                            std::thread::sleep(std::time::Duration::from_millis(20));
                        }
                        if to.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (url, is_gone)
}
