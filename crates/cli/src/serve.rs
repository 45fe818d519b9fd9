//! `wardwatch serve`: the live page from the store, beside the job or anywhere else.

use std::net::SocketAddr;
use std::time::Duration;

use wardwatch_model::telemetry;

use super::arguments::JobFile;
use super::stop::Stop;

/// The arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: JobFile,
    /// Where, in place of the job's `[dashboard] listen`; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::init("info");
        let stop = Stop::on_signals()?;
        let job = wardwatch_config::load(&self.file.job)?;
        let Some(listen) = self.listen.or(job.dashboard.listen) else {
            anyhow::bail!("say where: --listen 127.0.0.1:8080, or [dashboard] listen in the job file");
        };
        let page = wardwatch_web::serve(&job, listen, None)?;
        println!("{}", page.address());
        while !stop.is_asked() && !page.has_ended() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(page.stop()?)
    }
}
