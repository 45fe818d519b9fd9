//! `wardwatch gateway`: takes messages by MLLP, HTTP and MQTT for the job's topic.

use std::net::SocketAddr;
use std::time::Duration;

use wardwatch_config::MqttUrl;
use wardwatch_gateway::Gateway as Running;
use wardwatch_model::telemetry;

use super::arguments::JobFile;
use super::stop::Stop;

/// The arguments of `gateway`; what they say is in place of the job's `[gateway]`.
#[derive(Debug, clap::Args)]
pub(super) struct Gateway {
    #[command(flatten)]
    file: JobFile,
    /// Take HL7 v2 by MLLP here; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS")]
    mllp: Option<SocketAddr>,
    /// Take JSON, FHIR and anything by HTTP here, and give metrics
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Fetch from this broker of MQTT, with a filter of topics: mqtt://broker:1883/ward/+/vitals
    #[arg(long, value_name = "URL", value_parser = MqttUrl::parse)]
    mqtt: Option<MqttUrl>,
    /// What a sender by HTTP must know; without it nothing is taken by HTTP
    #[arg(long, value_name = "TOKEN", env = "WARDWATCH_GATEWAY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Put messages on this topic, where the job reads several
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
}

impl Gateway {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::init("info");
        let stop = Stop::on_signals()?;
        let job = wardwatch_config::load(&self.file.job)?;
        let mut spec = job.gateway.clone();
        // What is said here is all that is opened.
        if self.mllp.is_some() || self.http.is_some() || self.mqtt.is_some() {
            (spec.mllp, spec.http, spec.mqtt) = (self.mllp, self.http, self.mqtt);
        }
        spec.topic = self.topic.or(spec.topic);
        spec.token = self.token.filter(|token| !token.trim().is_empty()).or(spec.token);
        let running = Running::start(&job, &spec, &|| stop.is_asked())?;
        for address in running.mllp().into_iter().chain(running.http()).chain(spec.mqtt.map(|url| url.to_string())) {
            println!("{address}");
        }
        while !stop.is_asked() && !running.has_ended() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(running.stop()?)
    }
}
