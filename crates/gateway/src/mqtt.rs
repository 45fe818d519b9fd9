//! Messages that a broker of MQTT has for the job: fetched by a lasting session, and acknowledged once Kafka has them.
//!
//! What a sender gives the broker with QoS 1 or 2 comes at least once, also when the gateway was away. What it gives with QoS 0 the
//! broker may drop: nobody can ask for it again.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Publish, QoS, TlsConfiguration, Transport};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use wardwatch_config::MqttUrl;

use crate::intake::{Arrived, Intake, Refusal, Via};

/// So many messages are on their way to Kafka at a time; the broker keeps the others.
const AT_A_TIME: usize = 64;

/// Acknowledgements and a subscription that wait to be sent.
const REQUESTS: usize = 2 * AT_A_TIME;

/// A longer packet ends the connection, and the broker would send it again for ever.
const LONGEST_PACKET: usize = 64 << 20;

/// How long is waited before the broker is tried again.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// Fetches messages until it is told to stop.
pub(crate) async fn fetch(
    broker: MqttUrl,
    job: String,
    intake: Arc<Intake>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut failures = 0;
    loop {
        // A new client each time: what the last one had not yet acknowledged comes again, with other numbers.
        let (client, events) = AsyncClient::new(options(&broker, &job, &intake), REQUESTS);
        let session = Session { broker: &broker, client, intake: &intake, is_connected: false };
        let ended = session.run(events, &mut stop).await;
        let Err(End { reason, was_connected }) = ended else { return Ok(()) };
        failures = if was_connected { 0 } else { failures + 1 };
        tracing::warn!(%broker, %reason, "the broker of MQTT is away");
        let pause = AGAIN[failures.min(AGAIN.len() - 1)];
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.changed() => return Ok(()),
        }
    }
}

fn options(broker: &MqttUrl, job: &str, intake: &Intake) -> MqttOptions {
    // The broker keeps messages for a client of this name while it is away.
    let mut options = MqttOptions::new(format!("wardwatch-gateway-{job}"), &broker.host, broker.port);
    options.set_clean_session(false);
    options.set_manual_acks(true);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(LONGEST_PACKET.max(2 * intake.longest()), 1 << 20);
    if let Some((name, password)) = &broker.login {
        options.set_credentials(name, password);
    }
    if broker.is_encrypted {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Native));
    }
    options
}

/// Why a session is over.
struct End {
    reason: String,
    was_connected: bool,
}

/// One connection to the broker.
struct Session<'s> {
    broker: &'s MqttUrl,
    client: AsyncClient,
    intake: &'s Arc<Intake>,
    is_connected: bool,
}

impl Session<'_> {
    /// Takes messages; `Ok` where it was told to stop.
    async fn run(mut self, mut events: EventLoop, stop: &mut watch::Receiver<bool>) -> Result<(), End> {
        let mut under_way = JoinSet::new();
        let ended = loop {
            let has_room = under_way.len() < AT_A_TIME;
            tokio::select! {
                // The broker is asked for more only while there is room; it counts what is not acknowledged.
                event = events.poll(), if has_room => match event {
                    Ok(event) => self.hear(event, &mut under_way).await,
                    Err(error) => break Err(error.to_string()),
                },
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
                _ = stop.changed() => break Ok(()),
            }
        };
        if self.is_connected {
            self.intake.metrics.disconnected(Via::Mqtt);
        }
        let was_connected = self.is_connected;
        if let Err(reason) = ended {
            // Their acknowledgements would be taken for those of other messages.
            under_way.abort_all();
            return Err(End { reason, was_connected });
        }
        // What is under way is acknowledged before the broker is left.
        while !under_way.is_empty() {
            tokio::select! {
                _ = under_way.join_next() => {}
                event = events.poll() => if event.is_err() { return Ok(()) },
            }
        }
        drop(self.client.try_disconnect());
        let left = async {
            while let Ok(event) = events.poll().await {
                if is_farewell(&event) {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(1), left).await);
        Ok(())
    }

    async fn hear(&mut self, event: Event, under_way: &mut JoinSet<()>) {
        match event {
            Event::Incoming(Incoming::ConnAck(_)) => {
                if !self.is_connected {
                    self.is_connected = true;
                    self.intake.metrics.connected(Via::Mqtt);
                }
                tracing::info!(broker = %self.broker, "fetching from MQTT");
                if let Err(error) = self.client.try_subscribe(&self.broker.filter, QoS::AtLeastOnce) {
                    tracing::error!(broker = %self.broker, %error, "cannot subscribe");
                }
            }
            Event::Incoming(Incoming::SubAck(answer)) => {
                let refused =
                    |code: &rumqttc::SubscribeReasonCode| matches!(code, rumqttc::SubscribeReasonCode::Failure);
                if answer.return_codes.iter().any(refused) {
                    tracing::error!(broker = %self.broker, "the broker lets nobody of this name fetch these topics");
                }
            }
            Event::Incoming(Incoming::Publish(publish)) if publish.retain => {
                // Kept from before, nobody knows since when: a value of yesterday must not look like one of now.
                self.intake.metrics.left_retained();
                drop(self.client.ack(&publish).await);
            }
            Event::Incoming(Incoming::Publish(publish)) => {
                let (client, intake) = (self.client.clone(), Arc::clone(self.intake));
                under_way.spawn(async move {
                    if take(&publish, &intake).await {
                        // Where the connection is gone, the message comes again.
                        drop(client.ack(&publish).await);
                    }
                });
            }
            _ => {}
        }
    }
}

fn is_farewell(event: &Event) -> bool {
    matches!(event, Event::Outgoing(rumqttc::Outgoing::Disconnect))
}

/// Puts a message on the topic, however long Kafka is away. Whether it is done with.
async fn take(publish: &Publish, intake: &Intake) -> bool {
    let arrived = Arrived {
        via: Via::Mqtt,
        key: None,
        sender: &publish.topic,
        headers: vec![("mqtt-topic", publish.topic.clone())],
        payload: &publish.payload,
    };
    let mut failures = 0;
    loop {
        let refusal = match intake.room(publish.payload.len()).await {
            Ok(_room) => match intake.put(&arrived).await {
                Ok(_) => return true,
                Err(refusal) => refusal,
            },
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::TooLong { longest } => {
                // It will never fit, and the broker would send it again and again.
                tracing::error!(
                    topic = publish.topic,
                    bytes = publish.payload.len(),
                    longest,
                    "message by MQTT is lost: it is too long"
                );
                return true;
            }
            Refusal::Unreadable(reason) => {
                tracing::error!(topic = publish.topic, reason, "message by MQTT is lost");
                return true;
            }
            Refusal::Full | Refusal::Unavailable if publish.qos == QoS::AtMostOnce && failures > 2 => {
                tracing::error!(
                    topic = publish.topic,
                    "message by MQTT is lost: it came with QoS 0, and Kafka does not answer"
                );
                return true;
            }
            Refusal::Full | Refusal::Unavailable => {
                sleep(AGAIN[failures.min(AGAIN.len() - 1)]).await;
                failures += 1;
            }
        }
    }
}
