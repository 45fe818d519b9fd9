//! Messages that a broker of MQTT has for the job: fetched by a lasting session, and acknowledged once Kafka has them.
//!
//! What a sender gives the broker with QoS 1 or 2 comes at least once, also when the gateway was away. What it gives with QoS 0 the
//! broker may drop: nobody can ask for it again.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Publish, QoS, SubscribeReasonCode,
    TlsConfiguration, Transport,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use wardwatch_config::MqttUrl;

use crate::door::{Refusal, Via};
use crate::intake::{Arrived, Intake};

/// So many messages are on their way to Kafka at a time; the broker keeps the others.
const AT_A_TIME: usize = 256;

/// As many messages as a broker may have sent without an answer (MQTT 3.1.1, 2.3.1), so no acknowledgement waits for room.
const REQUESTS: usize = 1 << 16;

/// A longer packet ends the connection, and the broker would send it again for ever.
const LONGEST_PACKET: usize = 64 << 20;

/// A session that lasted shorter is a failure: the broker does not let us stay.
const LASTING: Duration = Duration::from_secs(30);

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
        let began = Instant::now();
        let session =
            Session { broker: &broker, client, intake: &intake, is_connected: false, has_told_foreign: false };
        let Err(reason) = session.run(events, &mut stop).await else { return Ok(()) };
        failures = if began.elapsed() >= LASTING { 0 } else { failures + 1 };
        let pause = AGAIN[failures.min(AGAIN.len() - 1)];
        tracing::warn!(%broker, %reason, retry_seconds = pause.as_secs_f64(), "nothing is fetched from MQTT");
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.changed() => return Ok(()),
        }
    }
}

fn options(broker: &MqttUrl, job: &str, intake: &Intake) -> MqttOptions {
    // The broker keeps messages for a client of this name while it is away.
    let mut options = MqttOptions::new(client_name(job), &broker.host, broker.port);
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

fn client_name(job: &str) -> String {
    format!("wardwatch-gateway-{job}")
}

/// What became of a message: `None` where it is done with, else why nothing more is taken.
type Fate = Option<String>;

/// One connection to the broker.
struct Session<'s> {
    broker: &'s MqttUrl,
    client: AsyncClient,
    intake: &'s Arc<Intake>,
    is_connected: bool,
    has_told_foreign: bool,
}

impl Session<'_> {
    /// Takes messages; `Ok` where it was told to stop.
    ///
    /// Errors: why it is over. What was not acknowledged comes again, in its order.
    async fn run(mut self, mut events: EventLoop, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
        let mut under_way: JoinSet<Fate> = JoinSet::new();
        let ended = loop {
            let has_room = under_way.len() < AT_A_TIME;
            tokio::select! {
                biased;
                _ = stop.changed() => break Ok(()),
                // One that Kafka did not take comes again, and those behind it too, or they would overtake it.
                Some(fate) = under_way.join_next() => if let Ok(Some(reason)) = fate { break Err(reason) },
                // The broker is asked for more only while there is room; it counts what is not acknowledged.
                event = events.poll(), if has_room => match event {
                    Ok(event) => if let Err(reason) = self.hear(event, &mut under_way).await { break Err(reason) },
                    Err(error) => break Err(in_words(&error, self.is_connected)),
                },
            }
        };
        if self.is_connected {
            self.intake.metrics.disconnected(Via::Mqtt);
        }
        if let Err(reason) = ended {
            // Their acknowledgements would be taken for those of other messages.
            under_way.abort_all();
            return Err(reason);
        }
        // What is under way is acknowledged before the broker is left. Kafka's client waits no longer than its patience.
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

    async fn hear(&mut self, event: Event, under_way: &mut JoinSet<Fate>) -> Result<(), String> {
        match event {
            Event::Incoming(Incoming::ConnAck(_)) => {
                let asked = self.client.try_subscribe(&self.broker.filter, QoS::AtLeastOnce);
                asked.map_err(|error| error.to_string())
            }
            Event::Incoming(Incoming::SubAck(answer)) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err("the broker lets nobody of this name fetch these topics".to_owned());
                }
                if !self.is_connected {
                    self.is_connected = true;
                    self.intake.metrics.connected(Via::Mqtt);
                    tracing::info!(broker = %self.broker, "fetching from MQTT");
                }
                Ok(())
            }
            Event::Incoming(Incoming::Publish(publish)) => self.take(publish, under_way).await,
            Event::Incoming(Incoming::Disconnect) => Err("the broker has ended the session".to_owned()),
            _ => Ok(()),
        }
    }

    /// Hands a message over, in the order in which they come; what becomes of it is waited for beside.
    async fn take(&mut self, publish: Publish, under_way: &mut JoinSet<Fate>) -> Result<(), String> {
        let done = |publish: &Publish| {
            // There is room for as many as there can be.
            self.client.try_ack(publish).map_err(|error| error.to_string())
        };
        if publish.retain {
            // Kept from before, nobody knows since when: a value of yesterday must not look like one of now.
            self.intake.metrics.left_retained();
            return done(&publish);
        }
        if !rumqttc::matches(&publish.topic, &self.broker.filter) {
            self.intake.metrics.left_foreign();
            if !self.has_told_foreign {
                self.has_told_foreign = true;
                tracing::warn!(
                    topic = publish.topic,
                    filter = self.broker.filter,
                    "the broker still sends topics of another filter, which are left out; it forgets them with the session of this client"
                );
            }
            return done(&publish);
        }
        if publish.payload.is_empty() {
            self.intake.metrics.refused(Via::Mqtt, &Refusal::Unreadable("it is empty".to_owned()));
            return done(&publish);
        }
        let room = self.intake.room_to_wait(publish.payload.len()).await.map_err(|refusal| refusal.to_string())?;
        let arrived = Arrived {
            via: Via::Mqtt,
            key: None,
            sender: &publish.topic,
            headers: vec![("mqtt-topic", publish.topic.clone())],
            payload: &publish.payload,
        };
        let sent = match self.intake.send(&arrived).await {
            Ok(sent) => sent,
            Err(refusal) if refusal.is_final() => {
                // It will never be taken, and the broker would send it again and again.
                let bytes = publish.payload.len();
                tracing::error!(topic = publish.topic, bytes, %refusal, "message by MQTT is lost");
                return done(&publish);
            }
            Err(refusal) => return Err(refusal.to_string()),
        };
        let (client, intake) = (self.client.clone(), Arc::clone(self.intake));
        under_way.spawn(async move {
            let outcome = intake.outcome(sent).await;
            drop(room);
            match outcome {
                Err(refusal) if !refusal.is_final() => {
                    if publish.qos == QoS::AtMostOnce {
                        tracing::error!(topic = publish.topic, "message by MQTT is lost: it came with QoS 0, and Kafka does not answer");
                    }
                    Some(refusal.to_string())
                }
                outcome => {
                    if let Err(refusal) = outcome {
                        tracing::error!(topic = publish.topic, bytes = publish.payload.len(), %refusal, "message by MQTT is lost");
                    }
                    client.try_ack(&publish).err().map(|error| error.to_string())
                }
            }
        });
        Ok(())
    }
}

/// Why a connection has ended.
fn in_words(error: &ConnectionError, was_connected: bool) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => format!("the broker does not let us in: {code:?}"),
        _ if was_connected => {
            format!("{error}; where another client has this one's name, each ends the other's session")
        }
        other => other.to_string(),
    }
}

fn is_farewell(event: &Event) -> bool {
    matches!(event, Event::Outgoing(rumqttc::Outgoing::Disconnect))
}
