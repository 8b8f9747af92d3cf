//! The cache's routes under `/api/v1/cache`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::HeaderName;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use outwork_cache::{Circuit, Purge, Purged, Reach, TierStats, Top};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Store;
use super::edge::{Edge, Told};
use super::metrics::Outcome;
use super::purging::Meant;
use super::serve::record;
use super::stored::Record;
use super::warm::{Address, Fate, Warmer};
use crate::api::{Json, Operator, Problem, Query, Role, Viewer};

/// URLs that one call may have fetched.
const MOST_URLS: usize = 10_000;
/// Entries that one call shows.
const MOST_TOP: usize = 1000;
/// How long a call waits to see what comes of the URLs that it has fetched.
const WATCH: Duration = Duration::from_secs(5);

/// What the routes work on.
pub struct Caching {
    /// What all routes share.
    pub store: Arc<Store>,
    /// What fetches before anybody asks.
    pub warmer: Warmer,
    /// The cache before this one.
    pub edge: Option<Edge>,
}

impl Caching {
    /// Throws out what is meant, here and in the caches around.
    pub async fn purge(&self, meant: &Meant) -> PurgeReport {
        // Who asks from now on does not get what is being fetched already.
        self.store.flights.leave_alone();
        let purges = meant.as_kept(&self.store.keys.lock());
        let mut purged = Purged { removed: 0, shared: Reach::Off, disk: Reach::Off };
        for purge in &purges {
            let Purged { removed, shared, disk } = self.store.tiers.purge(purge).await;
            purged.removed += removed;
            // What is to come of one is to come of all.
            let reach = |before, now| if before == Reach::Pending { before } else { now };
            (purged.shared, purged.disk) = (reach(purged.shared, shared), reach(purged.disk, disk));
        }
        let edge = self.edge.as_ref().map(|edge| match edge.purge(&meant.as_said()) {
            Told::Queued => EdgeReport::Queued,
            Told::Unsupported => EdgeReport::Unsupported,
            Told::Everything => EdgeReport::Everything,
        });
        PurgeReport {
            removed: purged.removed,
            shared: purged.shared.into(),
            disk: purged.disk.into(),
            edge: edge.unwrap_or(EdgeReport::Off),
        }
    }
}

/// The routes, to be nested under `/api/v1/cache`.
pub fn router(caching: Arc<Caching>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(summary))
        .routes(routes!(top))
        .routes(routes!(purge))
        .routes(routes!(warm))
        .with_state(caching)
}

/// What a tier holds and did.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierView {
    /// Its name: `l1`, `l2` or `l3`.
    tier: &'static str,
    /// Where its entries are.
    kind: &'static str,
    /// Entries; none where that is not known. Of Redis: the keys of its database, whoever wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    /// Bytes; none where that is not known. Of Redis: all of its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Bytes that it may hold; none where it does not say. Of Redis: its `maxmemory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Lookups that found something.
    hits: u64,
    /// Lookups that found nothing.
    misses: u64,
    /// The share of lookups that found something.
    #[serde(skip_serializing_if = "Option::is_none")]
    hit_rate: Option<f64>,
    /// Entries that made room for others.
    evictions: u64,
    /// Failures.
    errors: u64,
    /// Whether it is asked: `closed` yes, `open` not for a while, `half-open` to see whether it works again.
    circuit: &'static str,
}

impl TierView {
    fn new(tier: &'static str, kind: &'static str, stats: &TierStats) -> Self {
        let asked = stats.hits + stats.misses;
        Self {
            tier,
            kind,
            entries: stats.entries,
            bytes: stats.bytes,
            limit: stats.limit,
            hits: stats.hits,
            misses: stats.misses,
            hit_rate: (asked > 0).then(|| stats.hits as f64 / asked as f64),
            evictions: stats.evictions,
            errors: stats.errors,
            circuit: match stats.circuit {
                Circuit::Closed => "closed",
                Circuit::HalfOpen => "half-open",
                Circuit::Open => "open",
            },
        }
    }
}

/// How requests of routes that cache were answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestsView {
    hit: u64,
    stale: u64,
    stood_in: u64,
    revalidated: u64,
    miss: u64,
    collapsed: u64,
    pass: u64,
    only_if_cached: u64,
    /// The share that the handler had nothing to do for.
    #[serde(skip_serializing_if = "Option::is_none")]
    hit_rate: Option<f64>,
}

/// The cache in figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct CacheSummary {
    /// Its tiers, from the top.
    tiers: Vec<TierView>,
    /// Requests.
    requests: RequestsView,
    /// Answers that were stored.
    stored: u64,
    /// Fetches under way.
    fetches: i64,
    /// Purges that the cache before this one has yet to be told of.
    edge_waiting: i64,
    /// Whether it has yet to be told to throw out everything, because it was not told of a purge.
    edge_owed: bool,
    /// The cache before this one: the provider that `cache.cdn` names; null where there is none.
    edge: Option<String>,
}

/// The cache in figures.
#[utoipa::path(get, path = "/", tag = "cache",
    responses((status = 200, body = CacheSummary), (status = 401, body = Problem)))]
async fn summary(_: Viewer, State(caching): State<Arc<Caching>>) -> Json<CacheSummary> {
    let store = &caching.store;
    let stats = store.tiers.stats();
    let mut tiers = vec![TierView::new("l1", "memory", &stats.l1)];
    tiers.extend(stats.l2.as_ref().map(|stats| TierView::new("l2", "redis", stats)));
    tiers.extend(stats.l3.as_ref().map(|stats| TierView::new("l3", "disk", stats)));
    let count = |outcome| store.metrics.requests.of(outcome).get();
    let spared = count(Outcome::Hit) + count(Outcome::Stale) + count(Outcome::Collapsed);
    let mut requests = RequestsView {
        hit: count(Outcome::Hit),
        stale: count(Outcome::Stale),
        stood_in: count(Outcome::StoodIn),
        revalidated: count(Outcome::Revalidated),
        miss: count(Outcome::Miss),
        collapsed: count(Outcome::Collapsed),
        pass: count(Outcome::Pass),
        only_if_cached: count(Outcome::OnlyIfCached),
        hit_rate: None,
    };
    let all = spared + requests.stood_in + requests.revalidated + requests.miss + requests.pass;
    requests.hit_rate = (all > 0).then(|| spared as f64 / all as f64);
    Json(CacheSummary {
        tiers,
        requests,
        stored: store.metrics.stored.get(),
        fetches: store.metrics.fetches.get(),
        edge_waiting: store.metrics.edge_waiting.get(),
        edge_owed: store.metrics.edge_owed.get() > 0,
        edge: caching.edge.as_ref().map(Edge::provider),
    })
}

/// How many entries to show.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct TopQuery {
    /// At most so many; 20 where nothing is said, and never more than 1000.
    limit: Option<usize>,
}

/// An entry that is asked for often.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopEntry {
    /// Its URL, or what else it is purged by. For viewers without its query, in which secrets may be.
    name: String,
    /// The coding of its content, by which variants of a URL mostly differ; none where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    /// The media type of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// Its status.
    status: u16,
    /// Its key, by which any two entries differ.
    key: String,
    /// Requests that it has answered out of memory.
    hits: u64,
    /// Its bytes.
    bytes: u64,
}

/// The entries in memory that are asked for most.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopList {
    items: Vec<TopEntry>,
}

/// The entries in memory that are asked for most.
#[utoipa::path(get, path = "/top", tag = "cache", params(TopQuery),
    responses((status = 200, body = TopList), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn top(
    Viewer(caller): Viewer,
    State(caching): State<Arc<Caching>>,
    Query(query): Query<TopQuery>,
) -> Result<Json<TopList>, Problem> {
    let limit = query.limit.unwrap_or(20).min(MOST_TOP);
    // What only leads to answers, or says that there are none to keep, is looked up, too, but is nobody's answer.
    let is_answer = |entry: &outwork_cache::Entry| matches!(record(entry), Some(Record::Response(_)));
    let work = move || caching.store.tiers.top(limit, is_answer);
    let items = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?;
    let name = |name: &str| match caller.role {
        Role::Viewer => name.split('?').next().unwrap_or_default().to_owned(),
        Role::Operator | Role::Admin => name.to_owned(),
    };
    let item = |Top { key, entry, hits, bytes }: &Top| {
        let Some(Record::Response(stored)) = record(entry) else { return None };
        let field = |name: HeaderName| Some(stored.fields().get(name)?.to_str().ok()?.to_owned());
        Some(TopEntry {
            name: name(&entry.name),
            encoding: field(CONTENT_ENCODING),
            media_type: field(CONTENT_TYPE),
            status: stored.status.as_u16(),
            key: key.to_string(),
            hits: *hits,
            bytes: *bytes,
        })
    };
    Ok(Json(TopList { items: items.iter().filter_map(item).collect() }))
}

/// What to throw out: exactly one of these.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PurgeRequest {
    /// What was answered to this URL, in all its variants.
    url: Option<String>,
    /// What was answered to URLs that begin so.
    prefix: Option<String>,
    /// What has this tag, by `Surrogate-Key` or `Cache-Tag`.
    tag: Option<String>,
    /// Everything.
    all: bool,
}

impl PurgeRequest {
    fn meant(&self) -> Result<Meant, Problem> {
        match (self.url.as_deref(), self.prefix.as_deref(), self.tag.as_deref(), self.all) {
            (Some(text), None, None, false) => {
                text.parse().map(Meant::Url).map_err(|error| Problem::invalid("url", error))
            }
            (None, Some(text), None, false) => {
                text.parse().map(Meant::Prefix).map_err(|error| Problem::invalid("prefix", error))
            }
            (None, None, Some(tag), false) if !tag.is_empty() => Ok(Meant::Tag(tag.into())),
            (None, None, None, true) => Ok(Meant::All),
            _ => Err(Problem::invalid("", "say what to purge: exactly one of url, prefix, tag and all")),
        }
    }
}

/// How far a purge came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReachReport {
    /// There is no such tier.
    Off,
    /// All the way.
    Done,
    /// It could not be told yet; it is not asked until it has been.
    Pending,
}

impl From<Reach> for ReachReport {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Off => Self::Off,
            Reach::Done => Self::Done,
            Reach::Pending => Self::Pending,
        }
    }
}

/// What became of a purge at the cache before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EdgeReport {
    /// There is none.
    Off,
    /// It is on its way.
    Queued,
    /// It knows no such purge.
    Unsupported,
    /// Too many wait already: it will be told to throw out everything.
    Everything,
}

/// What a purge did.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PurgeReport {
    /// Entries that left memory.
    pub removed: u64,
    /// Redis, and with it the other instances.
    pub shared: ReachReport,
    /// The disk.
    pub disk: ReachReport,
    /// The cache before this one.
    pub edge: EdgeReport,
}

/// Throw out what is cached.
#[utoipa::path(post, path = "/purge", tag = "cache", request_body = PurgeRequest,
    responses((status = 200, body = PurgeReport), (status = 400, body = Problem), (status = 403, body = Problem)))]
async fn purge(
    Operator(caller): Operator,
    State(caching): State<Arc<Caching>>,
    Json(request): Json<PurgeRequest>,
) -> Result<Json<PurgeReport>, Problem> {
    let meant = request.meant()?;
    let (kind, target) = match meant.as_said() {
        Purge::Name(name) => ("url", name.to_string()),
        Purge::Prefix(prefix) => ("prefix", prefix.to_string()),
        Purge::Tag(tag) => ("tag", tag.to_string()),
        Purge::All => ("all", String::new()),
    };
    caller.does("cache.purge", target.as_str(), kind);
    let report = caching.purge(&meant).await;
    caller.does("cache.purge", target, format!("{kind}: {} entries left memory", report.removed));
    Ok(Json(report))
}

/// What to fetch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmRequest {
    /// URLs.
    urls: Vec<String>,
}

/// What is fetched.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarmReport {
    /// So many URLs.
    queued: usize,
    /// So many of them are in the cache.
    stored: usize,
    /// So many are still to be fetched: the call waits a few seconds. What comes of them is in the log, where it is not what was meant.
    pending: usize,
    /// Those that are not in the cache, and why.
    unstored: Vec<UnstoredUrl>,
}

/// A URL that was fetched, and is not in the cache.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnstoredUrl {
    /// It.
    url: String,
    /// The status of its answer, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why.
    why: String,
}

/// Fetch URLs before anybody asks for them.
#[utoipa::path(post, path = "/warm", tag = "cache", request_body = WarmRequest,
    responses((status = 200, body = WarmReport), (status = 400, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
async fn warm(
    Operator(caller): Operator,
    State(caching): State<Arc<Caching>>,
    Json(request): Json<WarmRequest>,
) -> Result<Json<WarmReport>, Problem> {
    let queued = request.urls.len();
    caller.does("cache.warm", "", format!("{queued} {}", if queued == 1 { "URL" } else { "URLs" }));
    if queued > MOST_URLS {
        return Err(Problem::invalid("urls", format!("there are {queued}; at most {MOST_URLS} at once")));
    }
    let read = |(index, text): (usize, &String)| {
        text.parse::<Address>().map_err(|error| Problem::invalid(format!("urls[{index}]"), error))
    };
    let addresses = request.urls.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut told = caching.warmer.warm(addresses).map_err(Problem::unavailable)?;
    let mut report = WarmReport { queued, stored: 0, pending: queued, unstored: Vec::new() };
    let watch = async {
        // It ends once all is told.
        while let Some((index, Fate { status, unstored })) = told.recv().await {
            report.pending = report.pending.saturating_sub(1);
            match (unstored, request.urls.get(index)) {
                (Some(why), Some(url)) => {
                    let status = status.map(|status| status.as_u16());
                    report.unstored.push(UnstoredUrl { url: url.clone(), status, why });
                }
                _ => report.stored += 1,
            }
        }
    };
    // Those that take longer are pending.
    _ = tokio::time::timeout(WATCH, watch).await;
    Ok(Json(report))
}
