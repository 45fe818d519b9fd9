//! What the job file says of the live page: where it is served, to whom, and what it shows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::checker::{Checker, not_empty, table_name};
use super::raw::RawDashboard;
use super::spanned::Spanned;
use super::units::{Zero, duration};

/// The live page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardSpec {
    /// Where it is served while the job runs, if it is.
    pub listen: Option<SocketAddr>,
    /// How it is kept from being read on the way.
    pub privacy: Privacy,
    /// Its heading.
    pub title: String,
    /// A patient without a reading for so long is stale.
    pub stale_after: Duration,
    /// The table with a score of each patient and minute; shown where the store has it.
    pub score: String,
    /// The most connections at a time; more are told to come again.
    pub max_connections: usize,
    /// After so long one must log in again.
    pub session: Duration,
}

/// How pages are kept from being read on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privacy {
    /// They are not: for loopback, or networks that nobody else is in.
    Plain,
    /// TLS, by this certificate and its key.
    Tls {
        /// The certificate, and those that lead to it, as PEM.
        certificate: PathBuf,
        /// Its key, as PEM.
        key: PathBuf,
    },
    /// A proxy in front speaks TLS, and its `X-Forwarded-For` is believed.
    Proxy,
}

impl Checker<'_> {
    pub(super) fn dashboard(&mut self, raw: RawDashboard) -> Option<DashboardSpec> {
        let listen = raw.listen.map(|listen| self.required(listen, address));
        let privacy = match self.certificate(raw.certificate, raw.key) {
            Some(None) if raw.behind_proxy => Some(Privacy::Proxy),
            Some(None) => Some(Privacy::Plain),
            Some(Some((certificate, key))) => Some(Privacy::Tls { certificate, key }),
            None => None,
        };
        let max_connections = self.count_or(raw.max_connections, 1_000, "connections");
        let title = self.text_or(raw.title, "Ward");
        Some(DashboardSpec {
            listen: match listen {
                None => None,
                Some(listen) => Some(listen?),
            },
            privacy: privacy?,
            title,
            stale_after: self.or_default(raw.stale_after, "5s", |text| duration(text, Zero::Refused))?,
            score: self.or_default(raw.score, "news2_1m", table_name)?,
            max_connections: max_connections?,
            session: self.or_default(raw.session, "12h", |text| duration(text, Zero::Refused))?,
        })
    }

    /// The files of a certificate and its key, if they are named.
    pub(super) fn certificate(
        &mut self,
        certificate: Option<Spanned<String>>,
        key: Option<Spanned<String>>,
    ) -> Option<Option<(PathBuf, PathBuf)>> {
        match (certificate, key) {
            (None, None) => Some(None),
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (self.required(certificate, not_empty), self.required(key, not_empty));
                certificate.zip(key).map(|(certificate, key)| Some((self.relative(&certificate), self.relative(&key))))
            }
            (Some(certificate), None) => {
                self.refuse(certificate.span(), "a certificate needs its key: key = \"key.pem\"".to_owned())
            }
            (None, Some(key)) => {
                self.refuse(key.span(), "a key needs its certificate: certificate = \"certificate.pem\"".to_owned())
            }
        }
    }
}

/// An address with a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no address with a port; write \"127.0.0.1:8080\""))
}
