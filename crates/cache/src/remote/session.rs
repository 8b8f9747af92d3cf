//! The thread that keeps the connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Pipeline, RedisError, RedisResult};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Shared;
use super::size::Size;
use super::telling::{CaughtUp, Heed, History, Message, RESET, TELL, Told};
use crate::behind::{Op, Taken};
use crate::codec;
use crate::local::Local;
use crate::metrics::{Behind as Below, PurgeOrigin};
use crate::purge::{BANS, Ban, Epoch, Purge};

/// How long the thread waits for an answer. Nobody waits for the thread.
const ANSWER: Duration = Duration::from_secs(1);
/// How long it waits for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long after a failure it tries again, while the breaker lets it.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it asks whether anything was told that it has not heard.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it asks for the size.
const SIZES: Duration = Duration::from_secs(5);
/// Bytes that are written at once.
const BATCH: usize = 256 << 10;
/// How long a close waits for what is still to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a session ended.
enum End {
    Closed,
    Lost(&'static str, RedisError),
}

struct Session {
    lookups: MultiplexedConnection,
    writes: MultiplexedConnection,
    messages: PubSubStream,
}

/// Starts the thread.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("cache-redis".to_owned()).spawn(move || {
        runtime.block_on(run(&shared));
        runtime.shutdown_timeout(Duration::ZERO);
    })
}

async fn run(shared: &Arc<Shared>) {
    while !shared.closed.load(Ordering::Acquire) {
        if !shared.fuse.admits() {
            idle(shared, shared.retry.min(PAUSE * 5)).await;
            continue;
        }
        let end = match open(shared).await {
            Ok(session) => session.serve(shared).await,
            Err(error) => End::Lost("connect to", error),
        };
        *shared.lookups.write() = None;
        *shared.size.lock() = None;
        if let End::Lost(action, error) = end {
            shared.failed(action, &error);
            idle(shared, PAUSE).await;
        }
    }
    give_up(shared, &shared.behind.take(usize::MAX));
    shared.behind.clear();
}

/// Waits, while there is no connection: what is to be written meanwhile is not.
async fn idle(shared: &Shared, pause: Duration) {
    let give_up = async {
        loop {
            give_up(shared, &shared.behind.take(BATCH));
            shared.behind.filled().await;
            if shared.behind.is_closed() {
                return;
            }
        }
    };
    // Either is the end of it.
    _ = timeout(pause, give_up).await;
}

/// Drops what cannot be written. Of what cannot be removed, Redis is told when it is back.
fn give_up(shared: &Shared, taken: &[Taken]) {
    for one in taken {
        match one.op {
            Op::Store(..) => shared.local.metrics.dropped.of(Below::L2).inc(),
            Op::Remove => drop(shared.tell(Told::Key(one.key))),
        }
    }
    shared.behind.done(taken);
}

/// Waits for an answer, not for ever.
async fn answer<T>(answer: impl Future<Output = RedisResult<T>>, patience: Duration) -> RedisResult<T> {
    match timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

async fn open(shared: &Shared) -> RedisResult<Session> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connect = async {
        let lookups = shared.client.get_multiplexed_async_connection_with_config(&config).await?;
        let writes = shared.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut messages = shared.client.get_async_pubsub().await?;
        messages.subscribe(channel(shared)).await?;
        Ok(Session { lookups, writes, messages: messages.into_on_message() })
    };
    answer(connect, CONNECT).await
}

/// Channels know no databases.
fn channel(shared: &Shared) -> String {
    format!("{}purges:{}", shared.prefix, shared.client.get_connection_info().redis_settings().db())
}

fn purges_key(shared: &Shared) -> String {
    format!("{}purges", shared.prefix)
}

impl Session {
    async fn serve(mut self, shared: &Arc<Shared>) -> End {
        match self.begin(shared).await {
            Ok(()) => {}
            Err(error) => return End::Lost("connect to", error),
        }
        shared.fuse.succeeded();
        *shared.lookups.write() = Some(self.lookups.clone());
        let mut writer = tokio::spawn(write(Arc::clone(shared), self.writes.clone()));
        let end = self.attend(shared, &mut writer).await;
        *shared.lookups.write() = None;
        if matches!(end, End::Closed) && !writer.is_finished() {
            // The queue is closed, so it ends when all is written, or Redis fails.
            _ = timeout(FAREWELL, &mut writer).await;
        }
        writer.abort();
        end
    }

    /// Learns what was told, and tells what is to be told.
    async fn begin(&mut self, shared: &Shared) -> RedisResult<()> {
        self.catch_up(shared).await?;
        self.tell(shared).await
    }

    async fn attend(&mut self, shared: &Shared, writer: &mut tokio::task::JoinHandle<RedisError>) -> End {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sizes = interval(SIZES);
        sizes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            let attended = tokio::select! {
                message = self.messages.next() => match message {
                    Some(message) => self.message(shared, &message).await,
                    None => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
                },
                _ = period.tick() => self.catch_up(shared).await,
                _ = sizes.tick() => self.measure(shared, &mut seen).await,
                ended = &mut *writer => match shared.closed.load(Ordering::Acquire) {
                    true => Ok(()),
                    false => return End::Lost("write to", ended.unwrap_or_else(|error| io::Error::other(error).into())),
                },
                () = shared.wake.notified() => self.woken(shared).await,
            };
            if shared.closed.load(Ordering::Acquire) {
                return End::Closed;
            }
            if let Err(error) = attended {
                return End::Lost("listen to", error);
            }
        }
    }

    /// Asks for the size. Where Redis does not let this user know it, it is not known.
    async fn measure(&mut self, shared: &Shared, seen: &mut Option<Size>) -> RedisResult<()> {
        let mut ask = Pipeline::new();
        ask.cmd("INFO").arg("memory").cmd("INFO").arg("stats").cmd("DBSIZE");
        let asked = ask.query_async::<(String, String, u64)>(&mut self.lookups);
        let size = match answer(asked, ANSWER).await {
            Ok((memory, stats, keys)) => Size::read(&format!("{memory}{stats}"), keys),
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "Redis does not say how large it is");
                None
            }
        };
        if let Some(size) = size {
            // What it gave up before this instance came is not counted.
            let evictions = shared.local.metrics.evictions.of(crate::metrics::Tier::L2);
            size.count_evicted(&seen.replace(size).unwrap_or(size), evictions);
        }
        *shared.size.lock() = size;
        Ok(())
    }

    async fn woken(&mut self, shared: &Shared) -> RedisResult<()> {
        if shared.fuse.circuit() != crate::breaker::Circuit::Closed {
            return Err(io::Error::other("it has failed too often").into());
        }
        if shared.ask.swap(false, Ordering::AcqRel) {
            self.catch_up(shared).await?;
            *shared.lookups.write() = Some(self.lookups.clone());
        }
        self.tell(shared).await
    }

    /// Hears a message.
    async fn message(&mut self, shared: &Shared, message: &redis::Msg) -> RedisResult<()> {
        let Some(message) = std::str::from_utf8(message.get_payload_bytes()).ok().and_then(Message::decode) else {
            return self.catch_up(shared).await;
        };
        let heed = shared.heard.read().message(&message, shared.origin);
        match heed {
            Heed::Known => {}
            Heed::Purge(purge) => {
                purge.iter().for_each(|purge| purged(shared, purge, PurgeOrigin::Heard));
                keep(shared, message.epoch).await;
                shared.heard.write().note(message);
            }
            Heed::Ask => return self.catch_up(shared).await,
        }
        Ok(())
    }

    /// Asks for what was told and not heard.
    async fn catch_up(&mut self, shared: &Shared) -> RedisResult<()> {
        let mut all = shared.heard.read().epoch().is_none();
        loop {
            let from = if all { "-inf".to_owned() } else { shared.heard.read().known().count.to_string() };
            let mut ask = Pipeline::new();
            ask.atomic().cmd("GET").arg(&shared.epoch_key);
            ask.cmd("ZRANGEBYSCORE").arg(purges_key(shared)).arg(from).arg("+inf");
            let asked = ask.query_async::<(Option<String>, Vec<String>)>(&mut self.lookups);
            let (text, kept) = answer(asked, ANSWER).await?;
            let text = text.unwrap_or_default();
            let epoch = text.parse().unwrap_or_default();
            // What nobody of us has written leaves a gap.
            let kept: Vec<_> = kept.iter().filter_map(|text| Message::decode(text)).collect();
            let caught_up = shared.heard.read().catch_up(epoch, &kept, all, shared.origin);
            let history = match caught_up {
                CaughtUp::Known => return Ok(()),
                CaughtUp::AskForAll => {
                    all = true;
                    continue;
                }
                CaughtUp::First(history) => {
                    sweep(shared, &Purge::All, |local| _ = local.bans.add(Ban::Purge(Purge::All)));
                    history
                }
                CaughtUp::Purge(purges, history) => {
                    purges.iter().for_each(|purge| purged(shared, purge, PurgeOrigin::Heard));
                    history
                }
                CaughtUp::Lost(purges) => {
                    tracing::warn!("Redis has lost purges that it told before: what it holds is not used any more");
                    match purges {
                        Some(purges) => purges.iter().for_each(|purge| purged(shared, purge, PurgeOrigin::Heard)),
                        None => missed(shared),
                    }
                    let known = shared.heard.read().known();
                    let told = Told::Reset { known, seen: epoch };
                    match self.script(shared, RESET, &told, Some(&text)).await? {
                        Some(reset) => History::at(reset),
                        // Somebody has told something meanwhile.
                        None => continue,
                    }
                }
            };
            keep(shared, history.epoch()).await;
            shared.heard.write().replace(history);
            return Ok(());
        }
    }

    /// Tells what is to be told.
    async fn tell(&mut self, shared: &Shared) -> RedisResult<()> {
        loop {
            let Some(told) = shared.untold.lock().front().map(|untold| untold.told.clone()) else { return Ok(()) };
            self.script(shared, TELL, &told, None).await?;
            // It is to be known before anything is taken from Redis again.
            self.catch_up(shared).await?;
            let mut untold = shared.untold.lock();
            // While it was told, all that waits may have become one.
            if untold.front().is_some_and(|first| first.told == told)
                && let Some(first) = untold.pop_front()
            {
                shared.untold_count.store(untold.len(), Ordering::Release);
                // Who waited may have given up.
                first.waiting.into_iter().for_each(|waiting| _ = waiting.send(()));
            }
        }
    }

    /// Runs a script of `telling`, and gives the epoch that it makes; `seen` is the one that it expects, if it does.
    async fn script(
        &mut self,
        shared: &Shared,
        script: &str,
        told: &Told,
        seen: Option<&str>,
    ) -> RedisResult<Option<Epoch>> {
        let mark = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(2).arg(&shared.epoch_key).arg(purges_key(shared));
        command.arg(channel(shared)).arg(format!("{mark:016x}")).arg(shared.origin.to_string());
        command.arg(told.encode()).arg(BANS);
        if let Some(seen) = seen {
            command.arg(seen).arg(shared.heard.read().known().count);
        }
        let epoch = answer(command.query_async::<Option<String>>(&mut self.lookups), ANSWER).await?;
        Ok(epoch.and_then(|epoch| epoch.parse().ok()))
    }
}

/// Purges everything in this instance.
fn missed(shared: &Shared) {
    tracing::info!("purges were missed while Redis could not be reached: everything is purged");
    purged(shared, &Purge::All, PurgeOrigin::Missed);
}

/// Purges in this instance what another has purged.
fn purged(shared: &Shared, purge: &Purge, origin: PurgeOrigin) {
    sweep(shared, purge, |local| local.ban(purge, origin));
}

fn sweep(shared: &Shared, purge: &Purge, ban: impl FnOnce(&Local)) {
    ban(&shared.local);
    for part in 0..shared.local.memory.parts() {
        shared.local.sweep(part, purge);
    }
    if *purge == Purge::All
        && let Some(disk) = shared.disk.as_ref().filter(|disk| disk.entries() > 0)
    {
        disk.wipe();
    }
}

/// Has the disk keep what was told up to that epoch.
async fn keep(shared: &Shared, epoch: Epoch) {
    if let Some(disk) = &shared.disk {
        // Where it cannot, the writer tries again; after a restart it may be told once more.
        disk.keep_bans(Some(epoch)).await;
    }
}

/// Writes what waits, until Redis fails or all is closed.
async fn write(shared: Arc<Shared>, mut connection: MultiplexedConnection) -> RedisError {
    loop {
        let taken = shared.behind.take(BATCH);
        if taken.is_empty() {
            if shared.behind.is_closed() {
                return io::Error::other("the cache is closed").into();
            }
            shared.behind.filled().await;
            continue;
        }
        let batch = batch(&shared, &taken);
        let written = batch.query_async::<Vec<RedisResult<redis::Value>>>(&mut connection);
        match answer(written, ANSWER).await {
            Ok(answers) => {
                let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
                let count = refused.clone().count() as u64;
                if let Some(error) = refused.clone().next() {
                    // It answers, so it can be asked: it may be out of memory.
                    tracing::debug!(%error, "Redis has refused entries of the cache");
                }
                shared.local.metrics.errors.of(crate::metrics::Tier::L2).add(count);
                shared.local.metrics.written.of(Below::L2).add((answers.len() as u64).saturating_sub(count));
                shared.behind.done(&taken);
            }
            Err(error) => {
                give_up(&shared, &taken);
                return error;
            }
        }
    }
}

fn batch(shared: &Shared, taken: &[Taken]) -> Pipeline {
    let mut batch = Pipeline::new();
    batch.ignore_errors();
    let now = (shared.local.clock)();
    for one in taken {
        // First what is known, then whether this instance has banned the entry: so it has passed everything that is known.
        let epoch = shared.heard.read().epoch();
        let mut record = vec![];
        let written = match &one.op {
            Op::Store(entry, era) if entry.expires > now && !shared.local.bans.bars(*era, &one.key, entry) => {
                let left = entry.expires.left(now).min(shared.ttl);
                epoch
                    .and_then(|epoch| codec::encode(&one.key, epoch.stamp(), entry, now.after(left), &mut record).ok())
                    .map(|()| left.as_millis().max(1) as u64)
            }
            _ => None,
        };
        let key = shared.key(&one.key);
        match written {
            Some(millis) => batch.cmd("SET").arg(key).arg(record).arg("PX").arg(millis),
            None => batch.cmd("DEL").arg(key),
        };
    }
    batch
}
