//! A load of HTTP requests, and what a server bears.
//!
//! - `connection`: one connection over HTTP/1.1, HTTP/2 or HTTP/3, and a request on it.
//! - `lane`: requests one after the other, as fast as they are answered or at a rate.
//! - `report`: what came out.
//!
//! At a rate, a request that was due while the one before it was still under way counts from when it was due: a server that stalls does not
//! slow down who measures it. What was still not sent at the end is counted as missed. A request that the server says it has not begun with is made again, and its time goes on.

mod connection;
mod lane;
mod report;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use outwork_telemetry::Histogram;
use outwork_telemetry::process::Usage;

use connection::{Client, Slot};
use lane::{Lane, Schedule};
pub use report::Report;
use report::Tally;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time on each connection.
    Http1,
    /// HTTP/2, over TLS or in clear text.
    Http2,
    /// HTTP/3.
    Http3,
}

/// Whose certificate is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// That of the authorities which this machine trusts.
    System,
    /// That of the authorities in this file (PEM).
    File(PathBuf),
    /// Anyone's.
    Anyone,
}

/// A load.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is asked for: an http or https URL.
    pub url: Uri,
    /// The server's address.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// The method.
    pub method: Method,
    /// Fields beside those that every request has.
    pub fields: HeaderMap,
    /// The content of each request.
    pub content: Bytes,
    /// Connections, all of them open before the first request that is measured.
    pub connections: usize,
    /// Requests under way at a time on each of them.
    pub streams: usize,
    /// Requests a second; `None` for as fast as they are answered.
    pub rate: Option<f64>,
    /// For how long requests are made before they are measured.
    pub warm_up: Duration,
    /// For how long they are measured.
    pub duration: Duration,
    /// After how long a request is given up.
    pub timeout: Duration,
    /// Threads that make requests.
    pub threads: usize,
    /// Whose certificate is taken.
    pub trust: Trust,
}

/// Why there was no load.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The URL does not go with the protocol.
    #[error("{0}")]
    Url(&'static str),
    /// There is nobody to trust.
    #[error("{0}")]
    Trust(String),
    /// A thread could not work.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Loads a server.
///
/// # Errors
/// Where the options do not go together. A server that refuses is no error, but what came out.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let secure = match options.url.scheme_str() {
        Some("https") => true,
        Some("http") if options.protocol == Protocol::Http3 => {
            return Err(BenchError::Url("HTTP/3 is always encrypted: the URL has to begin with https"));
        }
        Some("http") => false,
        _ => return Err(BenchError::Url("the URL has to begin with http:// or https://")),
    };
    let client = Arc::new(Client::new(options, secure)?);
    let threads = options.threads.clamp(1, options.connections.max(1));
    let latency = Arc::<Histogram>::default();
    let begin = Instant::now();
    let began = Usage::read().cpu_seconds;
    let shares = (0..threads).map(|thread| {
        let connections = (thread..options.connections).step_by(threads).collect::<Vec<_>>();
        let (client, options) = (Arc::clone(&client), options.clone());
        let builder = std::thread::Builder::new().name(format!("load-{thread}"));
        let tally = Tally::new(&latency);
        builder.spawn(move || load(&client, &options, &connections, begin, tally)).map_err(BenchError::Thread)
    });
    let shares = shares.collect::<Result<Vec<_>, _>>()?;
    let mut tally = Tally::new(&latency);
    for share in shares {
        let share = share.join().unwrap_or_else(|_| Err(io::Error::other("it has panicked")));
        tally.add(share.map_err(BenchError::Thread)?);
    }
    let cpu = Usage::read().cpu_seconds.zip(began).map_or(0.0, |(after, before)| after - before);
    Ok(tally.finish(options, &client, cpu))
}

/// The share of one thread: its connections, by their numbers.
fn load(
    client: &Arc<Client>,
    options: &Options,
    connections: &[usize],
    begin: Instant,
    tally: Tally,
) -> io::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let streams = if options.protocol == Protocol::Http1 { 1 } else { options.streams.max(1) };
    let lanes = options.connections * streams;
    local.block_on(&runtime, async {
        let slots: Vec<_> = connections.iter().map(|_| Rc::new(Slot::new(Arc::clone(client)))).collect();
        // All are open before anything is measured, as far as the server lets them.
        futures_util::future::join_all(slots.iter().map(|slot| slot.open(options.timeout))).await;
        let begin = Instant::now().max(begin);
        let measure_from = begin + options.warm_up;
        let tally = Rc::new(RefCell::new(tally));
        let mut under_way = Vec::with_capacity(slots.len() * streams);
        for (slot, number) in slots.iter().zip(connections) {
            for stream in 0..streams {
                let schedule = options.rate.map(|rate| Schedule::new(rate, number * streams + stream, lanes));
                let (slot, tally) = (Rc::clone(slot), Rc::clone(&tally));
                let lane = Lane { slot, tally, schedule, begin, measure_from };
                under_way.push(tokio::task::spawn_local(lane.run(measure_from + options.duration, options.timeout)));
            }
        }
        for lane in under_way {
            lane.await.map_err(io::Error::other)?;
        }
        drop(slots);
        Rc::into_inner(tally).map(RefCell::into_inner).ok_or_else(|| io::Error::other("a request has not ended"))
    })
}
