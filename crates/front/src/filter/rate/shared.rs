//! Counts in Redis, for several servers together.
//!
//! One thread speaks to Redis, for all workers: what they ask at the same time goes in one batch. A request waits for its answer no longer
//! than is allowed; where there is none in time, the counts of this process have to do. After some failures in a row Redis is left
//! alone for a while, so that its absence costs nothing.

use std::sync::Arc;
use std::time::Duration;

use outwork_cache::Circuit;
use outwork_cache::breaker::Fuse;
use outwork_cache::server::ServerError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{mpsc, oneshot};

use super::{Rate, Verdict};
use crate::filter::config::Redis as Settings;
use crate::filter::metrics::{FilterMetrics, Shared};
use crate::message::Local;

/// Questions that may wait to be sent.
const QUEUE: usize = 4096;
/// Questions of one batch.
const BATCH: usize = 256;

/// The generic cell rate, by the clock of Redis, in microseconds. What is kept is when all that was used will have come back; once it has,
/// there is nothing to keep.
const SCRIPT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local back = tonumber(redis.call('GET', KEYS[1]) or now)
if back < now then back = now end
local used = back + interval - now
if used > depth then return {0, 0, used - depth, back - now} end
redis.call('SET', KEYS[1], string.format('%.0f', back + interval), 'PX', math.ceil(used / 1000))
return {1, math.floor((depth - used) / interval), 0, used}";

/// A Redis server that can be used, or not.
#[derive(Debug)]
pub(crate) struct Counter {
    asks: mpsc::Sender<Ask>,
    prefix: String,
    timeout: Duration,
    state: Arc<State>,
}

/// What workers and the thread share.
#[derive(Debug)]
struct State {
    fuse: Fuse,
    metrics: Arc<FilterMetrics>,
}

#[derive(Debug)]
struct Ask {
    key: String,
    rate: Rate,
    answer: oneshot::Sender<Verdict>,
}

/// Why there can be no counting in Redis.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// It cannot be spoken to, whether it is there or not.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Its thread cannot be started.
    #[error("cannot start the thread that speaks to Redis: {0}")]
    Thread(std::io::Error),
}

impl Counter {
    /// Starts the thread. It connects when there is something to ask.
    pub(crate) fn start(settings: &Settings, metrics: &Arc<FilterMetrics>) -> Result<Arc<Self>, CounterError> {
        let client = settings.server().client()?;
        let (asks, questions) = mpsc::channel(QUEUE);
        let fuse = Fuse::new(settings.failures, settings.retry);
        let state = Arc::new(State { fuse, metrics: Arc::clone(metrics) });
        let (shared, timeout) = (Arc::clone(&state), settings.timeout);
        let thread = std::thread::Builder::new().name("front-redis".to_owned());
        thread
            .spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(drive(client, questions, timeout, &shared)),
                Err(error) => tracing::error!(%error, "the thread that speaks to Redis has no runtime"),
            })
            .map_err(CounterError::Thread)?;
        Ok(Arc::new(Self { asks, prefix: settings.prefix.clone(), timeout, state }))
    }

    /// Counts a request of `key`; `None` where Redis says nothing in time.
    pub(super) fn ask(&self, key: String, rate: Rate) -> Local<Option<Verdict>> {
        let metrics = &self.state.metrics;
        if !self.state.fuse.admits() {
            metrics.rate_shared.of(Shared::Paused).inc();
            return Box::pin(std::future::ready(None));
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask { key: format!("{}{key}", self.prefix), rate, answer };
        if self.asks.try_send(ask).is_err() {
            metrics.rate_shared.of(Shared::Full).inc();
            return Box::pin(std::future::ready(None));
        }
        let (state, timeout) = (Arc::clone(&self.state), self.timeout);
        Box::pin(async move {
            match tokio::time::timeout(timeout, answered).await {
                Ok(Ok(verdict)) => {
                    state.metrics.rate_shared.of(Shared::Answered).inc();
                    Some(verdict)
                }
                // The thread has counted and told this failure.
                Ok(Err(_)) => {
                    state.metrics.rate_shared.of(Shared::Failed).inc();
                    None
                }
                Err(_) => {
                    state.metrics.rate_shared.of(Shared::Late).inc();
                    None
                }
            }
        })
    }
}

/// A connection on which the script is known.
struct Link {
    connection: MultiplexedConnection,
    script: String,
}

impl Link {
    async fn open(client: &Client, timeout: Duration) -> Result<Self, RedisError> {
        // Connecting takes more than one round trip.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout.saturating_mul(4)))
            .set_response_timeout(Some(timeout));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let script = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await?;
        Ok(Self { connection, script })
    }

    /// Asks a batch; the answers come in its order.
    async fn ask(&mut self, asks: &[Ask]) -> Result<Vec<[u64; 4]>, RedisError> {
        let mut batch = redis::pipe();
        for ask in asks {
            let micros = |nanos: u64| nanos.div_ceil(1000);
            let interval = micros(ask.rate.interval);
            let depth = interval.saturating_mul(ask.rate.burst);
            batch.cmd("EVALSHA").arg(&self.script).arg(1).arg(&ask.key).arg(interval).arg(depth);
        }
        let answers: Vec<(u64, u64, u64, u64)> = batch.query_async(&mut self.connection).await?;
        Ok(answers.into_iter().map(|(allowed, left, retry, reset)| [allowed, left, retry, reset]).collect())
    }
}

/// Asks what is asked, until nobody can ask any more.
async fn drive(client: Client, mut questions: mpsc::Receiver<Ask>, timeout: Duration, state: &State) {
    let mut link = None;
    let mut batch = Vec::with_capacity(BATCH);
    while questions.recv_many(&mut batch, BATCH).await > 0 {
        // Nobody waits for an answer that would come too late.
        batch.retain(|ask| !ask.answer.is_closed());
        match answered(&client, &mut link, &batch, timeout).await {
            Ok(answers) => {
                state.succeeded();
                for (ask, [allowed, remaining, retry_after, reset]) in batch.drain(..).zip(answers) {
                    let nanos = |micros: u64| micros.saturating_mul(1000);
                    let (retry_after, reset) = (nanos(retry_after), nanos(reset));
                    // Who no longer waits has counted for itself.
                    let _ = ask.answer.send(Verdict { allowed: allowed == 1, remaining, retry_after, reset });
                }
            }
            Err(error) => {
                // The next batch begins with a connection of its own.
                link = None;
                state.failed(&error);
                batch.clear();
            }
        }
    }
}

async fn answered(
    client: &Client,
    link: &mut Option<Link>,
    batch: &[Ask],
    timeout: Duration,
) -> Result<Vec<[u64; 4]>, RedisError> {
    let mut open = match link.take() {
        Some(open) => open,
        None => Link::open(client, timeout).await?,
    };
    let answers = open.ask(batch).await?;
    *link = Some(open);
    Ok(answers)
}

impl State {
    fn succeeded(&self) {
        let was_away = self.fuse.circuit() == Circuit::HalfOpen;
        self.fuse.succeeded();
        if was_away {
            tracing::info!("rate limits are counted in Redis again");
        }
    }

    fn failed(&self, error: &RedisError) {
        let first = self.fuse.circuit() == Circuit::Closed;
        if self.fuse.failed() && first {
            tracing::warn!(%error, "Redis does not answer; rate limits are counted in this process meanwhile");
        }
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
