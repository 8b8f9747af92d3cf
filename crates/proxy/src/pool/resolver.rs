//! Asks for the names of backends: the operating system, or name servers (RFC 1035), which say how long their answers hold.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::time::timeout;

use super::names::{Addresses, Question, Said, Target};
use crate::config::Resolver as Settings;

/// How long a look-up by the operating system may take.
const SYSTEM: Duration = Duration::from_secs(5);
/// Targets of a service that are looked up; the last ones are left out.
const TARGETS: usize = 512;
/// How many of them are looked up at once.
const AT_ONCE: usize = 16;

/// What is said of a name.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) said: Said,
    /// What could not be asked beside that, and why.
    pub(super) failed: Vec<String>,
    /// How long it holds, where somebody says so.
    pub(super) lasts: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("it has no address")]
    Nowhere,
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("{0}")]
    Dns(#[from] NetError),
    #[error("{0}")]
    Name(#[from] ProtoError),
    #[error("{0}")]
    Failed(String),
}

/// Looks a name up. Without settings, the operating system knows hosts, and the name servers that it asks know services.
pub(super) async fn resolve(question: &Question, settings: Option<&Settings>) -> Result<Answer, ResolveError> {
    let usual = Settings::default();
    let (name, settings) = match (question, settings) {
        (Question::Host(name), None) => return by_system(name).await,
        (Question::Host(name) | Question::Service(name), settings) => (name, settings.unwrap_or(&usual)),
    };
    let asking = Asking::new(settings)?;
    let (said, failed, until) = match question {
        Question::Host(_) => {
            let found = asking.host(name).await?;
            (Said::Host(found.addresses), found.failed, found.until)
        }
        Question::Service(_) => asking.service(name).await?,
    };
    let lasts = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
    // What is left of a second is none of the server's.
    let lasts = Duration::from_secs(lasts.as_secs_f64().round() as u64).clamp(settings.min_ttl, settings.max_ttl);
    Ok(Answer { said, failed, lasts: Some(lasts) })
}

/// Who is asked for a name, in words.
pub(super) fn asked(question: &Question, settings: Option<&Settings>) -> String {
    let servers = settings.map(|settings| &settings.servers).filter(|servers| !servers.is_empty());
    match (question, servers) {
        (_, Some(servers)) => servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        (Question::Host(_), None) if settings.is_none() => "the operating system".to_owned(),
        (_, None) => "the name servers of the operating system".to_owned(),
    }
}

async fn by_system(name: &str) -> Result<Answer, ResolveError> {
    let found = timeout(SYSTEM, tokio::net::lookup_host((name, 0))).await.map_err(|_| ResolveError::Late(SYSTEM))?;
    let (v4, v6): (Vec<_>, Vec<_>) = found?.map(|address| address.ip()).partition(IpAddr::is_ipv4);
    if v4.is_empty() && v6.is_empty() {
        return Err(ResolveError::Nowhere);
    }
    Ok(Answer { said: Said::Host(Addresses { v4: Some(v4), v6: Some(v6) }), failed: Vec::new(), lasts: None })
}

/// Who asks name servers. Made for each look-up: what the files of the system say may have changed, and what an answer holds for is counted by who asks.
struct Asking {
    resolver: TokioResolver,
    hosts: Hosts,
    /// What follows names that are not whole, the first first, and the dots from which on a name is taken to be whole before that.
    search: Vec<Name>,
    dots: usize,
}

/// What was found of a host.
#[derive(Default)]
struct Found {
    addresses: Addresses,
    /// What could not be asked, and why.
    failed: Vec<String>,
    until: Option<Instant>,
}

impl Asking {
    fn new(settings: &Settings) -> Result<Self, ResolveError> {
        let (config, of_system) = match settings.servers.is_empty() {
            true => system_conf::read_system_conf()?,
            false => {
                let servers = settings.servers.iter().map(|server| {
                    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                        connection.port = server.port();
                        connection
                    });
                    // Who does not know a name may be asked in vain though the next one would know.
                    NameServerConfig::new(server.ip(), false, connections.to_vec())
                });
                (ResolverConfig::from_parts(None, Vec::new(), servers.collect()), ResolverOpts::default())
            }
        };
        let search = config.domain().into_iter().chain(config.search()).cloned().collect();
        let dots = of_system.ndots;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        *options = of_system;
        options.timeout = settings.timeout;
        options.attempts = settings.attempts as usize - 1;
        options.use_hosts_file = ResolveHosts::Always;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.cache_size = 0;
        // Without the file, nobody is in it.
        Ok(Self { resolver: builder.build()?, hosts: Hosts::from_system().unwrap_or_default(), search, dots })
    }

    /// The names that a name may stand for, the first first.
    fn whole(&self, name: &str) -> Result<Vec<Name>, ResolveError> {
        let name = Name::from_utf8(name)?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let own = name.clone().append_domain(&Name::root())?;
        let mut found: Vec<Name> =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        found.dedup();
        let is_first = usize::from(name.num_labels()) > self.dots || name.is_localhost();
        found.insert(if is_first { 0 } else { found.len() }, own);
        Ok(found)
    }

    /// The addresses of a host: those of the first of its names that has any. Of one that has none, it is known only where nothing has failed.
    async fn host(&self, name: &str) -> Result<Found, ResolveError> {
        let mut unsure: Option<Found> = None;
        for name in self.whole(name)? {
            let found = self.addresses(&name).await;
            if found.addresses.known().next().is_some() {
                return Ok(found);
            }
            unsure = unsure.or((!found.failed.is_empty()).then_some(found));
        }
        match unsure {
            None => Err(ResolveError::Nowhere),
            Some(found) if found.addresses == Addresses::default() => {
                Err(ResolveError::Failed(found.failed.join("; ")))
            }
            Some(found) => Ok(found),
        }
    }

    /// The addresses of a host by its whole name, each family for itself. That there are none is an answer; that nobody says so is none.
    async fn addresses(&self, name: &Name) -> Found {
        let [v4, v6] = [RecordType::A, RecordType::AAAA];
        let of_file = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let mut found = Found::default();
        (found.addresses.v4, found.addresses.v6) = match (of_file(v4), of_file(v6)) {
            (None, None) => {
                let asked = |kind| self.resolver.lookup(name.clone(), kind);
                let (four, six) = tokio::join!(asked(v4), asked(v6));
                (found.take(name, v4, four), found.take(name, v6, six))
            }
            // A host that the file knows is nobody else's, whichever family it has there.
            (four, six) => {
                let mut of = |kind, lookup: Option<Lookup>| match lookup {
                    Some(lookup) => found.take(name, kind, Ok(lookup)),
                    None => Some(Vec::new()),
                };
                (of(v4, four), of(v6, six))
            }
        };
        found
    }

    /// The targets of a service and their addresses, what failed of that, and until when it holds. One target `.` says that nobody gives it.
    async fn service(&self, name: &str) -> Result<(Said, Vec<String>, Option<Instant>), ResolveError> {
        let found = self.resolver.srv_lookup(name).await?;
        let records: Vec<SRV> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(service) if !service.target.is_root() && service.port > 0 => Some(service.clone()),
                _ => None,
            })
            .collect();
        if records.len() > TARGETS {
            tracing::warn!(
                name,
                targets = records.len(),
                most = TARGETS,
                "a service has more targets than are looked up"
            );
        }
        let lookups = records.into_iter().take(TARGETS).map(|record| async move {
            let found = self.addresses(&record.target).await;
            (record, found)
        });
        let looked_up: Vec<(SRV, Found)> = stream::iter(lookups).buffer_unordered(AT_ONCE).collect().await;
        let (mut targets, mut failed, mut until) = (Vec::new(), Vec::new(), Some(found.valid_until()));
        for (SRV { priority, weight, port, target, .. }, found) in looked_up {
            if found.failed.is_empty() && found.addresses.known().next().is_none() {
                tracing::debug!(name, %target, "a target of a service has no address");
            }
            until = until.into_iter().chain(found.until).min();
            failed.extend(found.failed);
            let host = target.to_string().to_ascii_lowercase();
            targets.push(Target { host, priority, weight, port, addresses: found.addresses });
        }
        // A host with several ports is several targets.
        failed.sort_unstable();
        failed.dedup();
        Ok((Said::Service(targets), failed, until))
    }
}

impl Found {
    /// Takes in what was said of one family; `None` where nobody has said it.
    fn take(&mut self, name: &Name, kind: RecordType, said: Result<Lookup, NetError>) -> Option<Vec<IpAddr>> {
        match said {
            Ok(lookup) => {
                self.until = self.until.into_iter().chain([lookup.valid_until()]).min();
                Some(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
            }
            Err(error) if error.is_no_records_found() => Some(Vec::new()),
            Err(error) => {
                self.failed.push(format!("{kind} of {name}: {error}"));
                None
            }
        }
    }
}
