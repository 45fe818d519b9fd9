//! What Prometheus reads of the gateway, in the text format 0.0.4. No patient stands in it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::door::{Refusal, Via};

/// What is counted of one door.
#[derive(Debug, Default)]
struct Door {
    taken: AtomicU64,
    bytes: AtomicU64,
    rejected: AtomicU64,
    refused: [AtomicU64; Refusal::NAMES.len()],
    connections: AtomicU64,
    turned_away: AtomicU64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    doors: [Door; Via::ALL.len()],
    /// Messages of a broker of MQTT that it had kept from before, and that are of a filter of before.
    retained: AtomicU64,
    foreign: AtomicU64,
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
        self.door(via).refused[refusal.number()].fetch_add(1, Ordering::Relaxed);
    }

    /// A message that a broker of MQTT had kept from before.
    pub(crate) fn left_retained(&self) {
        self.retained.fetch_add(1, Ordering::Relaxed);
    }

    /// A message of a topic that nobody asked for this time.
    pub(crate) fn left_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// A sender for whom there is no connection left.
    pub(crate) fn turned_away(&self, via: Via) {
        self.door(via).turned_away.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self, via: Via) {
        self.door(via).connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self, via: Via) {
        self.door(via).connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// As text, with the bytes that messages take on their way in, and to Kafka.
    pub(crate) fn text(&self, (arriving, waiting): (usize, usize)) -> String {
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
        family("connections", "gauge", "Connections by MLLP, requests by HTTP, and by MQTT the broker", &|door| {
            read(&door.connections)
        });
        family("turned_away_total", "counter", "Connections for which there was no room", &|door| {
            read(&door.turned_away)
        });
        let _ = writeln!(
            text,
            "# HELP wardwatch_gateway_refused_total Messages that were not taken\n# TYPE wardwatch_gateway_refused_total counter"
        );
        for via in Via::ALL {
            for (at, reason) in Refusal::NAMES.iter().enumerate() {
                let count = read(&self.door(via).refused[at]);
                let _ = writeln!(
                    text,
                    "wardwatch_gateway_refused_total{{via=\"{}\",reason=\"{reason}\"}} {count}",
                    via.name()
                );
            }
        }
        let (retained, foreign) = (read(&self.retained), read(&self.foreign));
        let _ = writeln!(
            text,
            "# HELP wardwatch_gateway_retained_total Messages that a broker of MQTT had kept from before, and that were left\n\
             # TYPE wardwatch_gateway_retained_total counter\nwardwatch_gateway_retained_total {retained}\n\
             # HELP wardwatch_gateway_foreign_total Messages of topics that the filter does not name, and that were left\n\
             # TYPE wardwatch_gateway_foreign_total counter\nwardwatch_gateway_foreign_total {foreign}\n\
             # HELP wardwatch_gateway_arriving_bytes Room that is taken by long messages that have not come whole\n\
             # TYPE wardwatch_gateway_arriving_bytes gauge\nwardwatch_gateway_arriving_bytes {arriving}\n\
             # HELP wardwatch_gateway_waiting_bytes Room that is taken by messages on their way to Kafka\n\
             # TYPE wardwatch_gateway_waiting_bytes gauge\nwardwatch_gateway_waiting_bytes {waiting}"
        );
        text
    }
}
