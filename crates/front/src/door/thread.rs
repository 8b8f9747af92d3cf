//! One thread of the door: what it listens on, what it is told, and its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::listener::Listening;
use super::places::{Key, Sockets, Way};
use super::worker::Worker;
use super::{DoorMetrics, Farewell, Open, Serving};
use crate::h3;
use crate::h3::listener::Connections;
use crate::h3::socket::Steered;

/// How fine deadlines are.
const BEAT: Duration = Duration::from_millis(200);
/// How long the last packets of QUIC connections may take.
const LAST_PACKETS: Duration = Duration::from_millis(200);
/// How long who is between two requests may take for one more, where the farewell is long.
const ONE_MORE: Duration = Duration::from_secs(5);

/// What threads are told.
pub(super) enum Order {
    /// Serve this, here too, and there no longer.
    Serve {
        serving: Arc<Serving>,
        open: Vec<Sockets>,
        close: Vec<Key>,
    },
    /// Another process reads the same sockets from now on, and passes on what it finds of ours.
    Successor(Vec<Way>),
    Stop(Farewell, Duration),
}

pub(super) type Shared = (Arc<Serving>, Arc<DoorMetrics>, Arc<Open>);

/// Runs a thread until it is told to stop.
pub(super) fn run(
    sockets: Vec<Sockets>,
    orders: UnboundedReceiver<Order>,
    shared: Shared,
    processor: Option<usize>,
    io: usize,
) {
    if let Some(processor) = processor
        && let Err(error) = outwork_net::thread::pin(processor)
    {
        tracing::warn!(%error, processor, "a thread of the front door is not pinned");
    }
    // Answers are short; a thread with short turns comes to its next one sooner. Where that is refused, nothing is lost.
    let _ = outwork_net::thread::take_short_turns();
    let beside = format!("{}-io", std::thread::current().name().unwrap_or("front"));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(io).thread_name(beside).build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a thread of the front door has no runtime"),
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(sockets, orders, shared));
}

/// A place at work.
struct Here {
    key: Key,
    tcp: Vec<(Rc<Listening>, JoinHandle<()>)>,
    quic: Option<Quic>,
}

/// The same of HTTP/3.
struct Quic {
    endpoint: Endpoint,
    socket: Arc<Steered>,
    connections: Rc<Connections>,
    accepting: JoinHandle<()>,
}

impl Here {
    fn open(sockets: Sockets, worker: &Rc<Worker>, open: &Arc<Open>) -> Self {
        let Sockets { key, place, tcp, quic } = sockets;
        let unusable = |error| tracing::error!(%error, "a listening socket cannot be used");
        let mut here = Self { key, tcp: Vec::with_capacity(tcp.len()), quic: None };
        if let (Some(udp), Some(tls)) = (quic, &place.tls) {
            match h3::listener::Listening::new(udp, tls, Rc::clone(worker), Arc::clone(open)) {
                Ok(listening) => {
                    let (endpoint, socket, connections) =
                        (listening.endpoint(), listening.socket(), listening.connections());
                    let accepting = tokio::task::spawn_local(listening.accept());
                    here.quic = Some(Quic { endpoint, socket, connections, accepting });
                }
                Err(error) => unusable(error),
            }
        }
        for socket in tcp {
            match Listening::new(socket, place.clone(), Rc::clone(worker), Arc::clone(open)) {
                Ok(listening) => {
                    let listening = Rc::new(listening);
                    here.tcp.push((Rc::clone(&listening), tokio::task::spawn_local(listening.accept())));
                }
                Err(error) => unusable(error),
            }
        }
        here
    }

    /// Takes what waits to be accepted, and nothing after it. Nobody else will.
    fn close(self) {
        for (listening, accepting) in self.tcp {
            accepting.abort();
            listening.accept_what_waits();
        }
        if let Some(Quic { endpoint, connections, accepting, .. }) = self.quic {
            accepting.abort();
            endpoint.set_server_config(None);
            connections.stop();
        }
    }

    /// Accepts no more; somebody else may.
    fn leave(&mut self, farewell: Farewell) {
        self.tcp.drain(..).for_each(|(_, accepting)| accepting.abort());
        if let Some(Quic { endpoint, socket, accepting, .. }) = &self.quic {
            accepting.abort();
            match farewell {
                // Who comes now gets no connection.
                Farewell::Brief => endpoint.set_server_config(None),
                Farewell::Long => socket.leave(),
            }
        }
    }
}

async fn serve(sockets: Vec<Sockets>, mut orders: UnboundedReceiver<Order>, shared: Shared) {
    let (serving, metrics, open) = shared;
    let worker = Worker::new(serving, metrics);
    let mut places: Vec<_> = sockets.into_iter().map(|sockets| Here::open(sockets, &worker, &open)).collect();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (farewell, patience) = loop {
        tokio::select! {
            _ = beat.tick() => worker.beat(),
            order = orders.recv() => match order {
                Some(Order::Serve { serving, open: opened, close }) => {
                    worker.replace(serving);
                    let (gone, stay): (Vec<_>, Vec<_>) = places.into_iter().partition(|here| close.contains(&here.key));
                    gone.into_iter().for_each(Here::close);
                    places = stay;
                    places.extend(opened.into_iter().map(|sockets| Here::open(sockets, &worker, &open)));
                }
                Some(Order::Successor(ways)) => {
                    for (key, way) in ways {
                        let quic = places.iter().find(|here| here.key == key).and_then(|here| here.quic.as_ref());
                        if let Some(Quic { socket, .. }) = quic {
                            socket.succeed_by(way);
                        }
                    }
                }
                Some(Order::Stop(farewell, patience)) => break (farewell, patience),
                None => break (Farewell::Brief, Duration::ZERO),
            },
        }
    };
    places.iter_mut().for_each(|here| here.leave(farewell));
    let until = Instant::now() + patience;
    if farewell == Farewell::Long {
        worker.pulses.retire();
        drain(&worker, &mut beat, until.min(Instant::now() + ONE_MORE)).await;
    }
    worker.pulses.stop();
    if !drain(&worker, &mut beat, until).await {
        tracing::warn!(connections = worker.pulses.len(), "closing connections that did not end in time");
        worker.pulses.kill();
        // Each notices when it is woken; what is left after that goes with the thread.
        tokio::task::yield_now().await;
    }
    // The end of a connection is a packet, too. A client that does not get it finds out by itself.
    let _ = tokio::time::timeout(LAST_PACKETS, async {
        for Quic { endpoint, .. } in places.iter().filter_map(|here| here.quic.as_ref()) {
            endpoint.wait_idle().await;
        }
    })
    .await;
}

/// Waits for the connections to end; whether they have.
async fn drain(worker: &Rc<Worker>, beat: &mut tokio::time::Interval, until: Instant) -> bool {
    let drained = tokio::time::timeout_at(until, async {
        while worker.pulses.len() > 0 {
            beat.tick().await;
            worker.beat();
        }
    });
    drained.await.is_ok()
}
