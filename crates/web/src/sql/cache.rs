//! Results that are kept, rendered: in memory, by what was asked for and the values that came with it.
//!
//! Each bears the tables that it was made of. When one changes, a ban keeps out what was being fetched at that time, too.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue};
use outwork_cache::config::{L1, L2, L3};
use outwork_cache::{CacheError, Clock, Decoded, Entry, Era, Flights, Key, Purge, Tiers, UnixMillis};
use outwork_config::ByteSize;
use outwork_front::conditional::{Representation, Validators};
use outwork_front::message::{Body, ReadyHead};
use outwork_telemetry::{Collect, Family};
use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

use super::config::{Caching, Format, QueryCache as Settings};
use super::error::QueryError;
use super::metrics::{Cause, SqlMetrics};
use super::parameter::Value;
use super::query::{Kept, Prepared};
use super::render::Form;
use super::source::Output;

/// An answer, ready to be sent as often as it is asked for.
#[derive(Debug)]
pub struct Answered {
    etag: HeaderValue,
    ready: Arc<ReadyHead>,
    again: Arc<ReadyHead>,
    /// The content; `None` says that there is no such row.
    body: Option<Bytes>,
}

/// What a fetch brings to all who wait for it.
pub type Landed = Result<Arc<Answered>, QueryError>;

impl Answered {
    /// An answer with the content that a query has given.
    pub fn new(query: &Prepared, form: Form, output: Output) -> Self {
        let Output { body, digest, .. } = output;
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        let mut again = HeaderMap::new();
        again.insert(ETAG, etag.clone());
        if query.format == Format::Auto {
            again.insert(VARY, HeaderValue::from_static("accept"));
        }
        if let Some(control) = &query.cache_control {
            again.insert(CACHE_CONTROL, control.clone());
        }
        let mut ready = again.clone();
        ready.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
        Self { etag, ready: ReadyHead::new(ready), again: ReadyHead::new(again), body }
    }

    /// Whether there is no such row.
    pub fn is_none(&self) -> bool {
        self.body.is_none()
    }
}

impl Representation for Answered {
    fn validators(&self) -> Validators<'_> {
        let length = self.body.as_ref().map_or(0, |body| body.len() as u64);
        Validators { etag: Some(&self.etag), modified: None, length }
    }

    fn ready(&self) -> &Arc<ReadyHead> {
        &self.ready
    }

    fn again(&self) -> &Arc<ReadyHead> {
        &self.again
    }

    fn part(&self, range: Range<u64>) -> Body {
        let body = self.body.clone().unwrap_or_default();
        let end = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
        Body::Full(body.slice(end(range.start).min(end(range.end))..end(range.end)))
    }

    fn boundary(&self) -> Option<String> {
        None
    }
}

/// A pattern of a rule.
///
/// # Errors
/// When it is no regular expression.
pub fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).case_insensitive(true).build()
}

/// How the results of a query are kept: as its route says, else as the first rule that fits its SQL says, else as is usual.
pub fn kept(cache: &Settings, own: &Caching, plain: &str) -> Option<Kept> {
    if !cache.enabled || !own.enabled {
        return None;
    }
    let fits = |rule: &&super::config::Rule| pattern(&rule.pattern).is_ok_and(|pattern| pattern.is_match(plain));
    let rule = cache.rules.iter().find(fits);
    let ttl = own.ttl.or(rule.map(|rule| rule.ttl)).or(cache.ttl).filter(|ttl| !ttl.is_zero())?;
    let max_entry = rule.and_then(|rule| rule.max_entry).unwrap_or(cache.max_entry);
    Some(Kept { ttl, max_entry: max_entry.as_usize() })
}

/// What a result is found by.
pub fn key(query: &Prepared, form: Form, values: &[Value]) -> Key {
    let mut flat = Vec::with_capacity(64);
    for value in values {
        let (tag, bytes): (u8, &[u8]) = match value {
            Value::Null => (0, &[]),
            Value::Integer(number) => (1, &number.to_le_bytes()),
            Value::Number(number) => (2, &number.to_le_bytes()),
            Value::Boolean(value) => (3, if *value { b"1" } else { b"0" }),
            Value::Text(text) => (4, text.as_bytes()),
            Value::Bytes(bytes) => (5, bytes),
        };
        flat.push(tag);
        flat.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        flat.extend_from_slice(bytes);
    }
    // Routes with the same SQL may write it differently; those that write it alike share it.
    let sql = query.statements.first().map_or("", |statement| &statement.sql);
    let names: Vec<u8> = query.bindings.iter().flatten().flat_map(|place| (*place as u64).to_le_bytes()).collect();
    let look = format!("{form:?} {:?} {:?} {:?} {:?}", query.format, query.bounds, query.json, query.cache_control);
    Key::of(&[query.database.as_bytes(), sql.as_bytes(), &names, look.as_bytes(), &flat])
}

/// The results that are kept.
pub struct QueryCache {
    tiers: Arc<Tiers>,
    clock: Clock,
    /// Queries under way whose results are to be kept.
    pub flights: Flights<Landed>,
    metrics: Arc<SqlMetrics>,
    /// Evictions that were counted.
    evicted: Mutex<u64>,
}

impl QueryCache {
    /// An empty one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(settings: &Settings, clock: Clock, metrics: Arc<SqlMetrics>) -> Result<Self, CacheError> {
        let l1 = L1 { size: settings.size, max_entry: settings.max_entry, ..L1::default() };
        let memory = outwork_cache::Settings { l1, l2: L2::default(), l3: L3::default(), queue: ByteSize::kib(64) };
        let tiers = Tiers::open(&memory, Arc::clone(&clock))?;
        let flights = Flights::new(settings.followers as usize);
        Ok(Self { tiers, clock, flights, metrics, evicted: Mutex::new(0) })
    }

    /// What time it is.
    pub fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// To be taken before a query runs: what changes from then on keeps its result out.
    pub fn era(&self) -> Era {
        self.tiers.era()
    }

    /// The answer that is kept.
    pub fn get(&self, key: &Key) -> Option<Arc<Answered>> {
        let entry = self.tiers.peek(key)?;
        entry.decoded.get_or_make(|| None::<Arc<Answered>>).and_then(Clone::clone)
    }

    /// Keeps an answer that was made since `era` of these tables.
    pub fn put(&self, key: Key, query: &Prepared, kept: Kept, answered: &Arc<Answered>, tables: &[String], era: Era) {
        let body = answered.body.clone().unwrap_or_default();
        if body.len() > kept.max_entry {
            return self.metrics.oversized.inc();
        }
        let database = &query.database;
        let tables = tables.iter().chain(&query.tables).map(|table| table_tag(database, table));
        let entry = Entry {
            name: format!("sql:{database}:{}", query.route).into(),
            // What is decoded of it is counted by this.
            meta: Bytes::copy_from_slice(answered.etag.as_bytes()),
            body,
            tags: tables.chain([database_tag(database)]).collect(),
            expires: self.now().after(kept.ttl),
            decoded: Decoded::of(Some(Arc::clone(answered))),
        };
        self.tiers.put_since(key, entry, era);
    }

    /// How many results are kept, and their bytes.
    pub fn kept(&self) -> (u64, u64) {
        let stats = self.tiers.stats().l1;
        (stats.entries.unwrap_or_default(), stats.bytes.unwrap_or_default())
    }

    /// Bytes that the results may have.
    pub fn limit(&self) -> Option<u64> {
        self.tiers.stats().l1.limit
    }

    /// Forgets what was made of these tables, and gives how many results that were.
    pub async fn forget_tables(&self, database: &str, tables: &[String], cause: Cause) -> u64 {
        let mut removed = 0;
        for table in tables {
            removed += self.tiers.purge(&Purge::Tag(table_tag(database, table))).await.removed;
        }
        self.metrics.invalidations.of(cause).add(tables.len() as u64);
        removed
    }

    /// Forgets all that was made of a database, and gives how many results that were.
    pub async fn forget_database(&self, database: &str, cause: Cause) -> u64 {
        let removed = self.tiers.purge(&Purge::Tag(database_tag(database))).await.removed;
        // Who sees it counted finds it forgotten.
        self.metrics.invalidations.of(cause).inc();
        removed
    }
}

fn table_tag(database: &str, table: &str) -> Box<str> {
    format!("table:{database}/{table}").into()
}

fn database_tag(database: &str) -> Box<str> {
    format!("database:{database}").into()
}

impl Collect for QueryCache {
    fn collect(&self, families: &mut Vec<Family>) {
        let stats = self.tiers.stats().l1;
        let signed = |amount: Option<u64>| i64::try_from(amount.unwrap_or_default()).unwrap_or(i64::MAX);
        self.metrics.kept_results.set(signed(stats.entries));
        self.metrics.kept.set(signed(stats.bytes));
        let mut counted = self.evicted.lock();
        self.metrics.evicted.add(stats.evictions.saturating_sub(*counted));
        *counted = stats.evictions;
        self.metrics.collect(families);
    }
}
