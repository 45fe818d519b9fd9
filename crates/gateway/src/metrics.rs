//! What Prometheus reads of the gateway, in the text format 0.0.4. No patient stands in it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::intake::{Refusal, Via};

/// Why a message was refused, by name.
const REFUSALS: [&str; 4] = ["too_long", "unreadable", "full", "unavailable"];

/// What is counted of one door.
#[derive(Debug, Default)]
struct Door {
    taken: AtomicU64,
    bytes: AtomicU64,
    rejected: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    connections: AtomicU64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    doors: [Door; Via::ALL.len()],
    retained: AtomicU64,
}

impl Metrics {
    fn door(&self, via: Via) -> &Door {
        &self.doors[via as usize]
    }

    pub(crate) fn took(&self, via: Via, bytes: usize, rejected: usize) {
        let door = self.door(via);
        door.taken.fetch_add(1, Ordering::Relaxed);
        door.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        door.rejected.fetch_add(rejected as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, via: Via, refusal: &Refusal) {
        if let Some(at) = REFUSALS.iter().position(|name| *name == refusal.name()) {
            self.door(via).refused[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A message that a broker of MQTT had kept from before.
    pub(crate) fn left_retained(&self) {
        self.retained.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self, via: Via) {
        self.door(via).connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self, via: Via) {
        self.door(via).connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// As text; `waiting` bytes wait for Kafka.
    pub(crate) fn text(&self, waiting: usize) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Door) -> u64| {
            let name = format!("wardwatch_gateway_{name}");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for via in Via::ALL {
                let _ = writeln!(text, "{name}{{via=\"{}\"}} {}", via.name(), value(self.door(via)));
            }
        };
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        family("messages_total", "counter", "Messages that Kafka has", &|door| read(&door.taken));
        family("bytes_total", "counter", "Bytes of them", &|door| read(&door.bytes));
        family("rejects_total", "counter", "What of them the job cannot read", &|door| read(&door.rejected));
        family("connections", "gauge", "Senders that are connected, and by MQTT the broker", &|door| {
            read(&door.connections)
        });
        let _ = writeln!(
            text,
            "# HELP wardwatch_gateway_refused_total Messages that were not taken\n# TYPE wardwatch_gateway_refused_total counter"
        );
        for via in Via::ALL {
            for (at, reason) in REFUSALS.iter().enumerate() {
                let count = read(&self.door(via).refused[at]);
                let _ = writeln!(
                    text,
                    "wardwatch_gateway_refused_total{{via=\"{}\",reason=\"{reason}\"}} {count}",
                    via.name()
                );
            }
        }
        let retained = read(&self.retained);
        let _ = writeln!(
            text,
            "# HELP wardwatch_gateway_retained_total Messages that a broker of MQTT had kept from before, and that were left\n\
             # TYPE wardwatch_gateway_retained_total counter\nwardwatch_gateway_retained_total {retained}\n\
             # HELP wardwatch_gateway_waiting_bytes Room that is taken by messages on their way to Kafka\n\
             # TYPE wardwatch_gateway_waiting_bytes gauge\nwardwatch_gateway_waiting_bytes {waiting}"
        );
        text
    }
}
