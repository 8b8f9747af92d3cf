//! Asks for the names of backends: the operating system, or name servers (RFC 1035), which say how long their answers hold.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::{TokioResolver, system_conf};
use tokio::time::timeout;

use super::names::{self, Question, Spot, Target};
use crate::config::Resolver as Settings;

/// How long a look-up by the operating system may take.
const SYSTEM: Duration = Duration::from_secs(5);
/// Targets of a service that are looked up; the last ones are left out.
const TARGETS: usize = 512;
/// How many of them are looked up at once.
const AT_ONCE: usize = 16;

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) spots: Vec<Spot>,
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
    #[error("none of its targets has an address")]
    NoTarget,
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("{0}")]
    Dns(#[from] NetError),
}

/// Looks a name up. Without settings, the operating system knows hosts, and the name servers that it asks know services.
pub(super) async fn resolve(question: &Question, settings: Option<&Settings>) -> Result<Answer, ResolveError> {
    let usual = Settings::default();
    let (name, settings) = match (question, settings) {
        (Question::Host(name), None) => return by_system(name).await,
        (Question::Host(name) | Question::Service(name), settings) => (name, settings.unwrap_or(&usual)),
    };
    let resolver = resolver(settings)?;
    let (spots, until) = match question {
        Question::Host(_) => {
            let found = resolver.lookup_ip(name.as_str()).await?;
            (names::hosts(found.iter().collect()), found.valid_until())
        }
        Question::Service(_) => services(&resolver, name).await?,
    };
    let lasts = until.saturating_duration_since(Instant::now());
    // What is left of a second is none of the server's.
    let lasts = Duration::from_secs(lasts.as_secs_f64().round() as u64).clamp(settings.min_ttl, settings.max_ttl);
    Ok(Answer { spots, lasts: Some(lasts) })
}

async fn by_system(name: &str) -> Result<Answer, ResolveError> {
    let found = timeout(SYSTEM, tokio::net::lookup_host((name, 0))).await.map_err(|_| ResolveError::Late(SYSTEM))?;
    let spots = names::hosts(found?.map(|address| address.ip()).collect());
    if spots.is_empty() { Err(ResolveError::Nowhere) } else { Ok(Answer { spots, lasts: None }) }
}

/// Made for each look-up: what the files of the system say may have changed, and what an answer holds for is counted by who asks.
fn resolver(settings: &Settings) -> Result<TokioResolver, NetError> {
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
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    *options = of_system;
    options.timeout = settings.timeout;
    options.attempts = settings.attempts as usize - 1;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.cache_size = 0;
    builder.build()
}

/// The targets of a service and their addresses, and until when that holds. One target `.` says that nobody gives it.
async fn services(resolver: &TokioResolver, name: &str) -> Result<(Vec<Spot>, Instant), ResolveError> {
    let found = resolver.srv_lookup(name).await?;
    let records: Vec<SRV> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) if !service.target.is_root() && service.port > 0 => Some(service.clone()),
            _ => None,
        })
        .collect();
    if records.is_empty() {
        return Ok((Vec::new(), found.valid_until()));
    }
    if records.len() > TARGETS {
        tracing::warn!(name, targets = records.len(), most = TARGETS, "a service has more targets than are looked up");
    }
    let lookups = records.into_iter().take(TARGETS).map(|record| async move {
        let found = resolver.lookup_ip(record.target.clone()).await;
        let found = match found {
            Ok(found) => Some((found.iter().collect::<Vec<IpAddr>>(), found.valid_until())),
            // That there is no such host is an answer; that nobody says so is none.
            Err(error) if error.is_no_records_found() => None,
            Err(error) => return Err(error),
        };
        Ok((record, found))
    });
    let looked_up: Vec<Result<_, NetError>> = stream::iter(lookups).buffer_unordered(AT_ONCE).collect().await;
    let (mut targets, mut until) = (Vec::new(), found.valid_until());
    for target in looked_up {
        let (SRV { priority, weight, port, target, .. }, found) = target?;
        let Some((addresses, holds)) = found else {
            tracing::debug!(name, %target, "a target of a service has no address");
            continue;
        };
        until = until.min(holds);
        targets.push(Target { priority, weight, port, addresses });
    }
    let spots = names::service(&targets);
    if spots.is_empty() { Err(ResolveError::NoTarget) } else { Ok((spots, until)) }
}
