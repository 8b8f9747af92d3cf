//! One thread of layer 4: what it listens on, what it is told, and its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_front::door::acceptor::Acceptor;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::connection::Accepting;
use super::crowd::Crowd;
use super::post::{Key, Sockets};
use super::relay::Desk;
use super::{Shared, udp};
use crate::config::Protocol;

/// How fine deadlines of draining are.
const BEAT: Duration = Duration::from_millis(200);

/// What threads are told.
pub(super) enum Order {
    /// Listen here, too, and there no longer. Without `stays` this thread ends with what it has then.
    Change { open: Vec<Sockets>, close: Vec<Key>, stays: bool },
    /// Accept no more, and end within this time.
    Stop(Duration),
}

/// What a thread's connections share.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) crowd: Rc<Crowd>,
    pub(super) desk: Desk,
    /// Where datagrams are received.
    pub(super) datagrams: udp::Desk,
}

/// Runs a thread until it is told to stop.
pub(super) fn run(shared: Arc<Shared>, orders: UnboundedReceiver<Order>, processor: Option<usize>) {
    if let Some(Err(error)) = processor.map(outwork_net::thread::pin) {
        tracing::warn!(%error, "a thread of layer 4 is not pinned");
    }
    // What goes through is short; a thread with short turns comes to its next one sooner. Where that is refused, nothing is lost.
    let _ = outwork_net::thread::take_short_turns();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a thread of layer 4 has no runtime"),
    };
    let local = tokio::task::LocalSet::new();
    let worker = Worker { shared, crowd: Rc::default(), desk: Desk::new(), datagrams: udp::Desk::default() };
    local.block_on(&runtime, serve(Rc::new(worker), orders));
}

/// A post at work.
struct Here {
    key: Key,
    accepting: Vec<(Rc<Accepting>, JoinHandle<()>)>,
    receiving: Vec<(Rc<udp::Face>, JoinHandle<()>)>,
}

impl Here {
    fn open(sockets: Sockets, worker: &Rc<Worker>) -> Self {
        let Sockets { key, rule, moved, gate, sockets } = sockets;
        let mut here = Self { key, accepting: Vec::new(), receiving: Vec::new() };
        for socket in sockets {
            match rule.load().settings.protocol {
                Protocol::Tcp => match Acceptor::new(socket.into()) {
                    Ok(acceptor) => {
                        let accepting = Accepting::new(acceptor, key, Arc::clone(&rule), Arc::clone(&gate), worker);
                        here.accepting.push((Rc::clone(&accepting), tokio::task::spawn_local(accepting.run())));
                    }
                    Err(error) => tracing::error!(%error, "a listening socket cannot be used"),
                },
                Protocol::Udp => match udp::Face::new(socket, key, Arc::clone(&rule), Arc::clone(&moved), worker) {
                    Ok(face) => {
                        here.receiving.push((Rc::clone(&face), tokio::task::spawn_local(face.run())));
                    }
                    Err(error) => tracing::error!(%error, "a socket of UDP cannot be used"),
                },
            }
        }
        here
    }

    /// Takes what waits to be accepted, and nothing after it. Nobody else will.
    fn close(self, worker: &Worker) {
        for (accepting, task) in self.accepting {
            task.abort();
            accepting.take_what_waits();
        }
        Self::leave(&self.receiving);
        worker.crowd.leave(self.key, Instant::now());
    }

    /// Hears nobody but those who have a session.
    fn leave(receiving: &[(Rc<udp::Face>, JoinHandle<()>)]) {
        for (face, task) in receiving {
            task.abort();
            face.leave();
        }
    }
}

async fn serve(worker: Rc<Worker>, mut orders: UnboundedReceiver<Order>) {
    let mut posts: Vec<Here> = Vec::new();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stays = true;
    let patience = loop {
        tokio::select! {
            _ = beat.tick() => worker.crowd.beat(Instant::now()),
            order = orders.recv() => match order {
                Some(Order::Change { open, close, stays: goes_on }) => {
                    let (gone, left): (Vec<_>, Vec<_>) = posts.into_iter().partition(|here| close.contains(&here.key));
                    posts = left;
                    gone.into_iter().for_each(|here| here.close(&worker));
                    posts.extend(open.into_iter().map(|sockets| Here::open(sockets, &worker)));
                    worker.crowd.turn_away(|client| worker.shared.guard.is_denied(client));
                    stays = goes_on;
                }
                Some(Order::Stop(patience)) => break patience,
                None => break Duration::ZERO,
            },
        }
        if !stays && worker.crowd.len() == 0 {
            return;
        }
    };
    // Somebody else may accept what comes from here on, or nobody.
    for here in &posts {
        here.accepting.iter().for_each(|(_, task)| task.abort());
        Here::leave(&here.receiving);
    }
    posts.clear();
    if !drain(&worker, &mut beat, patience).await {
        tracing::warn!(connections = worker.crowd.len(), "closing connections that did not end in time");
        worker.crowd.stop();
        // Each ends when it is looked at; what is left after that goes with the thread.
        tokio::task::yield_now().await;
    }
}

/// Waits for what is open to end; whether it has.
async fn drain(worker: &Worker, beat: &mut Interval, patience: Duration) -> bool {
    let drained = tokio::time::timeout(patience, async {
        while worker.crowd.len() > 0 {
            beat.tick().await;
            worker.crowd.beat(Instant::now());
        }
    });
    drained.await.is_ok()
}
