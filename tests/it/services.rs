//! Services of a test's own, which it may kill and start again.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::fixtures::{repository, wait_until};

/// A Kafka broker or a MySQL server in a temporary folder.
pub struct OwnService {
    name: &'static str,
    cache: String,
    folder: TempDir,
    /// Its address, as `KAFKA_BROKERS` or `MYSQL_URL` would have it.
    pub address: String,
}

impl OwnService {
    /// `None` where the services are the user's.
    pub fn start(name: &'static str) -> Option<Self> {
        let cache = std::env::var("WARDWATCH_SERVICES").ok()?;
        let folder = tempfile::tempdir().unwrap();
        let address = start(name, &cache, folder.path());
        Some(Self { name, cache, folder, address })
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let pid = self.signal("KILL");
        wait_until("the service is gone", || !Path::new(&format!("/proc/{pid}")).exists());
    }

    /// SIGKILL to one of its processes.
    pub fn kill_member(&self, member: &str) {
        let pid = self.signal_member(member, "KILL");
        wait_until("the member is gone", || !Path::new(&format!("/proc/{pid}")).exists());
    }

    /// Sends it a signal, and returns its process id.
    pub fn signal(&self, signal: &str) -> String {
        self.signal_member(self.name, signal)
    }

    fn signal_member(&self, member: &str, signal: &str) -> String {
        let pid = std::fs::read_to_string(self.folder.path().join(format!("{member}.pid"))).unwrap();
        let sent = Command::new("kill").args([format!("-{signal}").as_str(), pid.trim()]).status().unwrap();
        assert!(sent.success());
        pid.trim().to_owned()
    }

    /// On the same port, with the same data.
    pub fn start_again(&self) {
        assert_eq!(start(self.name, &self.cache, self.folder.path()), self.address);
    }
}

fn start(name: &str, cache: &str, folder: &Path) -> String {
    let printed = folder.join("addresses");
    // Its output goes to a file: the service would hold a pipe open.
    let started = Command::new(repository().join("tests/services/start"))
        .args([Path::new(cache), folder, Path::new(name)])
        .stdout(std::fs::File::create(&printed).unwrap())
        .status()
        .unwrap();
    assert!(started.success());
    let printed = std::fs::read_to_string(printed).unwrap();
    let first = printed.lines().next().expect("an address");
    first.split_once('=').expect("an address").1.to_owned()
}

impl Drop for OwnService {
    fn drop(&mut self) {
        let script = repository().join("tests/services/stop");
        let _ = Command::new(script).args([Path::new(&self.cache), self.folder.path()]).status();
    }
}
