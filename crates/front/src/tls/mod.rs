//! TLS: the certificates of listeners, chosen by name and replaced while serving.
//!
//! - [`certificate`](Certificate): a chain with its key, read and judged.
//! - `table`: which certificate a client gets.
//! - `profile`: what a listener speaks besides.
//! - `quic`: what QUIC needs besides.
//! - `client`: certificates of clients.
//! - `handshake`: from a connection to an encrypted one.
//! - [`stock`](Certificates): every certificate in use, where it comes from, and what becomes of it.
//! - `local`: an authority of our own, for development.
//! - `files`: small files that are replaced whole, for our eyes only.
//! - `metrics`: what all of it counts.
//! - [`api`]: what the admin API tells of it.
//! - `x509`: what a certificate says.

pub mod api;
mod certificate;
mod client;
pub(crate) mod files;
mod handshake;
mod local;
mod metrics;
mod profile;
mod provider;
mod quic;
mod stock;
mod table;
pub mod trust;
pub(crate) mod x509;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use certificate::{Certificate, Remark, TlsError, TlsFiles};
pub use client::{ClientAuth, ClientCertificate};
pub use handshake::{Accepted, Session, accept, refuse_name};
pub use metrics::TlsMetrics;
pub use profile::Profile;
pub use quic::Http3;
pub(crate) use quic::Quic;
pub use stock::{Certificates, Entry, OfferError, Prepared, Renewal, Source};
pub use x509::{Facts, Malformed};

use crate::acme::Challenges;
use crate::config::UnknownNames;
use profile::Tickets;
use table::Table;

/// What a listener offers: how it speaks, and where its certificates come from, the first of which is for clients that ask
/// for no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// How it speaks.
    pub profile: Profile,
    /// Where its certificates come from.
    pub sources: Vec<Source>,
}

impl From<TlsFiles> for Offer {
    fn from(files: TlsFiles) -> Self {
        Self { profile: Profile::default(), sources: vec![Source::Files(files)] }
    }
}

/// TLS of one listener. Connections that are open keep their certificate when another takes its place.
pub struct Tls {
    /// By name. A certificate that changes changes this alone.
    table: Arc<ArcSwap<Table>>,
    state: ArcSwap<State>,
    entries: Mutex<Vec<Arc<Entry>>>,
    challenges: Arc<Challenges>,
}

/// What is in force besides the certificates.
struct State {
    config: Arc<ServerConfig>,
    quic: Option<Arc<Quic>>,
    profile: Profile,
    tickets: Arc<Tickets>,
}

/// What a handshake goes on with.
pub(crate) enum Answer {
    /// The usual.
    Serve(Arc<ServerConfig>),
    /// An ACME server wants to see that this is the host it was told of, and nothing else (RFC 8737).
    Challenge(Arc<ServerConfig>),
    /// Nobody of that name is here.
    UnrecognizedName,
}

impl Tls {
    /// TLS with one certificate from files that nobody watches.
    ///
    /// # Errors
    /// When they cannot be read, or do not belong together.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let entry = Entry::new(Source::Files(files.clone()), Certificate::load(&files)?);
        Self::new(Profile::default(), vec![entry], Arc::default())
    }

    fn new(profile: Profile, entries: Vec<Arc<Entry>>, challenges: Arc<Challenges>) -> Result<Arc<Self>, TlsError> {
        let table = Arc::new(ArcSwap::default());
        let state = ArcSwap::from_pointee(State::new(profile, &table, None)?);
        let tls = Self { table, state, entries: Mutex::new(entries), challenges };
        tls.refresh();
        Ok(Arc::new(tls))
    }

    /// What this profile needs; nothing changes yet.
    fn with(&self, profile: Profile) -> Result<State, TlsError> {
        State::new(profile, &self.table, Some(&self.state.load()))
    }

    /// Speaks so from the next connection on.
    fn take_up(&self, state: State, entries: Vec<Arc<Entry>>) {
        *self.entries.lock() = entries;
        self.refresh();
        self.state.store(Arc::new(state));
    }

    /// Takes up the certificates that the entries have now.
    fn refresh(&self) {
        let certificates: Vec<_> = self.entries.lock().iter().map(|entry| entry.certificate()).collect();
        self.table.store(Arc::new(Table::new(certificates.iter().map(|certificate| &**certificate))));
    }

    /// The certificates' entries, the default first.
    fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().clone()
    }

    /// What rustls works with. Certificates change in it by themselves; what a reload changes of the rest is in another one.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state.load().config)
    }

    /// QUIC, where HTTP/3 is spoken.
    pub(crate) fn quic(&self) -> Option<Arc<Quic>> {
        self.state.load().quic.clone()
    }

    /// What clients of HTTP/1 and HTTP/2 are told of HTTP/3 at this port: the value of `Alt-Svc`.
    pub(crate) fn alt_svc(&self, port: u16) -> Option<HeaderValue> {
        self.state.load().quic.as_ref()?.http3.alt_svc(port)
    }

    /// What a handshake goes on with at this address of ours. Over QUIC, where that is not known, it has no part in the choice.
    pub(crate) fn answer(&self, hello: &ClientHello<'_>, address: IpAddr) -> Answer {
        if let Some(config) = self.challenges.alpn(hello) {
            return Answer::Challenge(config);
        }
        let state = self.state.load();
        let unknown = || hello.server_name().is_some_and(|name| !self.table.load().knows(name));
        match state.profile.unknown_names {
            UnknownNames::Refuse if unknown() => Answer::UnrecognizedName,
            // An address is no name that could be asked for (RFC 6066 section 3).
            _ if hello.server_name().is_none() => Answer::Serve(self.config_at(address, hello, &state.config)),
            _ => Answer::Serve(Arc::clone(&state.config)),
        }
    }
}

impl Tls {
    fn config_at(&self, address: IpAddr, hello: &ClientHello<'_>, usual: &Arc<ServerConfig>) -> Arc<ServerConfig> {
        let table = self.table.load();
        let Some(key) = table.at(address, hello.signature_schemes()) else { return Arc::clone(usual) };
        let mut config = (**usual).clone();
        config.cert_resolver = Arc::new(Chosen(Arc::clone(key)));
        Arc::new(config)
    }
}

impl State {
    fn new(profile: Profile, table: &Arc<ArcSwap<Table>>, before: Option<&Self>) -> Result<Self, TlsError> {
        let resolver = Arc::new(Resolver(Arc::clone(table)));
        let (config, tickets) = profile.config(resolver, before.map(|before| &before.tickets))?;
        let quic = Quic::new(&profile, &config, table, before.and_then(|before| before.quic.as_deref()))?;
        Ok(Self { config, quic: quic.map(Arc::new), profile, tickets })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("profile", &self.state.load().profile).finish_non_exhaustive()
    }
}

/// Looks certificates up for rustls.
struct Resolver(Arc<ArcSwap<Table>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

/// A certificate that was chosen already.
#[derive(Debug)]
struct Chosen(Arc<CertifiedKey>);

impl ResolvesServerCert for Chosen {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
pub(crate) mod tests;
