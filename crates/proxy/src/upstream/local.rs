//! What a thread that serves has of a pool: whose turn it is, and connections that wait for their next request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as Distant};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use outwork_balance::{MemberId, Picker};
use outwork_engine::Rng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::dial::{Agreed, DialError};
use super::h1::Conn;
use super::h1::pipe::Pipe;
use super::h2::Session;
use super::under_way::{Present, UnderWay};
use super::{Link, Version, Wanted};
use crate::address::Speech;
use crate::announce::Announced;
use crate::config::Connections;
use crate::limits::Room;
use crate::metrics::Absent;
use crate::pool::endpoint::Endpoint;
use crate::pool::gone::Gone;
use crate::pool::{Pool, Snapshot};

/// How often connections that wait are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether what takes long may go on, while there is such.
const BEAT: Duration = Duration::from_millis(100);
/// How long each request to a backend has a connection for itself that does not get along with several one behind the other.
const APART: Duration = Duration::from_secs(60);
/// How long it is taken for granted what a backend speaks.
const SPOKEN: Duration = Duration::from_secs(60);

thread_local! {
    static LOCAL: RefCell<HashMap<u64, Rc<Local>, FixedState>> = RefCell::default();
}

/// What this thread has of a pool.
#[derive(Debug)]
pub(crate) struct Local {
    pool: Distant<Pool>,
    pub(crate) picker: RefCell<Picker>,
    /// For another backend beside or after a first one, which is nobody's turn.
    pub(crate) aside: RefCell<Picker>,
    /// For what happens to a part of the requests.
    pub(crate) chance: RefCell<Rng>,
    idle: RefCell<HashMap<MemberId, Vec<Parked>, FixedState>>,
    /// Connections on which requests go out one behind the other.
    pipes: RefCell<HashMap<MemberId, Vec<Piped>, FixedState>>,
    /// Members that do not get along with that, and until when they are left alone with it.
    apart: RefCell<HashMap<MemberId, Instant, FixedState>>,
    /// Connections that many requests share.
    sessions: RefCell<HashMap<MemberId, Vec<Shared>, FixedState>>,
    /// Where somebody opens one that others may share.
    opening: RefCell<HashMap<Opened, Rc<Attempt>, FixedState>>,
    /// What members have turned out to speak that could have spoken either, and until when that is taken for granted.
    spoken: RefCell<HashMap<MemberId, (Agreed, Instant), FixedState>>,
    under_way: Rc<UnderWay>,
}

/// A connection that many share, and what it was opened as.
#[derive(Debug)]
struct Shared {
    session: Rc<Session>,
    endpoint: Arc<Endpoint>,
    /// Whose requests it carries, where the backend was told.
    announced: Option<Rc<Announced>>,
}

/// The same where requests go out one behind the other. It is nobody's in particular.
#[derive(Debug)]
struct Piped {
    pipe: Rc<Pipe>,
    endpoint: Arc<Endpoint>,
}

/// What a connection is that others may share: to whom, and whose, where that is told.
type Opened = (MemberId, Option<Rc<Announced>>);

/// What somebody opens, for those who wait for it.
#[derive(Debug, Default)]
struct Attempt {
    over: Notify,
    /// Why it has failed, if it has.
    failed: RefCell<Option<DialError>>,
}

/// Somebody opens a connection, as long as this is there.
struct Opening<'a> {
    local: &'a Local,
    opened: Opened,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.local.opening.borrow_mut().remove(&self.opened) {
            attempt.over.notify_waiters();
        }
    }
}

/// A connection that waits, and what it was opened as.
#[derive(Debug)]
struct Parked {
    conn: Conn,
    endpoint: Arc<Endpoint>,
}

impl Local {
    /// That of this thread, which is one that serves.
    pub(crate) fn of(pool: &Arc<Pool>) -> Rc<Self> {
        LOCAL.with_borrow_mut(|pools| {
            Rc::clone(pools.entry(pool.number).or_insert_with(|| {
                let seed = getrandom::u64().unwrap_or(pool.number);
                let local = Rc::new(Self {
                    pool: Arc::downgrade(pool),
                    picker: RefCell::new(Picker::new(Rng::new(seed))),
                    aside: RefCell::new(Picker::new(Rng::new(seed.rotate_left(16)))),
                    chance: RefCell::new(Rng::new(seed.rotate_left(32))),
                    idle: RefCell::default(),
                    pipes: RefCell::default(),
                    apart: RefCell::default(),
                    sessions: RefCell::default(),
                    opening: RefCell::default(),
                    spoken: RefCell::default(),
                    under_way: Rc::default(),
                });
                let wanted = [pool.shared.everywhere.eviction.listen(), pool.eviction.listen()];
                tokio::task::spawn_local(look_after(Rc::downgrade(&local), pool.number, wanted));
                local
            }))
        })
    }

    /// Something that this member has, and that takes longer than a moment.
    pub(crate) fn enter(&self, id: MemberId) -> Present {
        self.under_way.enter(id)
    }

    /// A connection for a request that goes out now, and whether it was there already.
    pub(crate) async fn link(
        &self,
        pool: &Pool,
        snapshot: &Snapshot,
        (id, endpoint): (MemberId, &Arc<Endpoint>),
        wanted: Wanted<'_>,
        now: Instant,
    ) -> Result<(Link, bool), DialError> {
        let whose = wanted.announced.map(|announced| &**announced);
        let settings = &snapshot.settings.connections;
        let piped = wanted.piped && settings.pipeline > 1 && whose.is_none();
        if piped && let Some(pipe) = self.pipe(id, endpoint, settings, now) {
            return Ok((Link::Piped(pipe), true));
        }
        if let Some(conn) = self.take(id, endpoint, whose, settings, now) {
            // Of one that has answered nothing yet, nobody knows whether it goes on after that (RFC 9112 section 9.3.2).
            let link = match piped && conn.served > 0 && !self.is_apart(id) {
                true => Link::Piped(self.share(id, endpoint, conn)),
                false => Link::Http1(conn),
            };
            return Ok((link, true));
        }
        let shares = match endpoint.speech {
            Speech::Http1 | Speech::Tcp | Speech::Tls | Speech::Udp => false,
            Speech::Http2 => true,
            Speech::Https => wanted.version == Version::Any && snapshot.settings.tls.http2,
        };
        let opened: Opened = (id, wanted.announced.cloned());
        let mut opening = None;
        while shares && opening.is_none() && !self.is_of(id, Agreed::Http1) {
            if let Some(session) = self.session(id, endpoint, whose, settings, now) {
                return Ok((Link::Http2(session), true));
            }
            // What somebody opens is waited for: it may have room for all.
            let under_way = self.opening.borrow().get(&opened).cloned();
            match under_way {
                Some(attempt) => {
                    attempt.over.notified().await;
                    // It would have been the same for everybody.
                    if let Some(error) = &*attempt.failed.borrow() {
                        return Err(error.again());
                    }
                }
                None => {
                    let attempt = Rc::<Attempt>::default();
                    self.opening.borrow_mut().insert(opened.clone(), Rc::clone(&attempt));
                    opening = Some((Opening { local: self, opened: opened.clone() }, attempt));
                }
            }
        }
        // Rare, and large.
        let link = Box::pin(self.open(pool, snapshot, endpoint, wanted)).await.inspect_err(|error| {
            if let Some((_, attempt)) = &opening {
                *attempt.failed.borrow_mut() = Some(error.again());
            }
        })?;
        match &link {
            Link::Http2(session) if settings.reuse => {
                self.spoken.borrow_mut().retain(|known, (what, _)| *known != id || *what == Agreed::Http2);
                let announced = wanted.announced.cloned();
                let shared = Shared { session: Rc::clone(session), endpoint: Arc::clone(endpoint), announced };
                let mut sessions = self.sessions.borrow_mut();
                let sessions = sessions.entry(id).or_default();
                // It may wait, too, once its first request has ended.
                trim(sessions, (settings.max_idle as usize).saturating_sub(1), |shared| shared.session.idle_since());
                sessions.push(shared);
            }
            Link::Http1(_) if opening.is_some() => self.speaks(id, Agreed::Http1),
            _ => {}
        }
        Ok((link, false))
    }

    /// A member that could have spoken either has turned out to speak this.
    pub(crate) fn speaks(&self, id: MemberId, what: Agreed) {
        self.spoken.borrow_mut().insert(id, (what, Instant::now() + SPOKEN));
    }

    /// Whether a member speaks nothing but HTTP/2, as far as is known.
    pub(crate) fn is_of_http2(&self, id: MemberId) -> bool {
        self.is_of(id, Agreed::Http2)
    }

    fn is_of(&self, id: MemberId, what: Agreed) -> bool {
        let spoken = self.spoken.borrow();
        spoken.get(&id).is_some_and(|(spoken, until)| *spoken == what && Instant::now() < *until)
    }

    async fn open(
        &self,
        pool: &Pool,
        snapshot: &Snapshot,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
    ) -> Result<Link, DialError> {
        let room = self.room(pool, snapshot).await.map_err(DialError::Full)?;
        super::open(pool, room, snapshot, endpoint, wanted).await
    }

    /// Room for a new connection. Where there may be no more of them, those go that wait, of this thread first: one that is needed is worth more.
    pub(crate) async fn room(&self, pool: &Pool, snapshot: &Snapshot) -> Result<Room, Absent> {
        loop {
            let refused = match pool.room(snapshot) {
                Ok(room) => return Ok(room),
                Err(refused) => refused,
            };
            let is_left = match refused {
                Absent::ConnectionsEverywhere => LOCAL.with_borrow(|pools| pools.values().any(|local| local.let_go())),
                _ => self.let_go(),
            };
            if !is_left {
                return pool.make_room(snapshot, refused).await;
            }
        }
    }

    /// Lets go of a connection that waits for its next request, the one of its backend that has done so for longest; whether there was any.
    fn let_go(&self) -> bool {
        let has = self.leave_one();
        if has && let Some(pool) = self.pool.upgrade() {
            pool.metrics().connections_evicted.inc();
        }
        has
    }

    /// Whether there is one that waits.
    fn has_idle(&self) -> bool {
        self.idle.borrow().values().any(|parked| !parked.is_empty())
            || self.pipes.borrow().values().flatten().any(|Piped { pipe, .. }| pipe.idle_since().is_some())
            || self.sessions.borrow().values().flatten().any(|shared| shared.session.idle_since().is_some())
    }

    fn leave_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if let Some(parked) = idle.values_mut().find(|parked| !parked.is_empty()) {
            parked.remove(0);
            return true;
        }
        drop(idle);
        for pipes in self.pipes.borrow_mut().values_mut() {
            if let Some(at) = pipes.iter().position(|Piped { pipe, .. }| pipe.idle_since().is_some()) {
                pipes.swap_remove(at);
                return true;
            }
        }
        for sessions in self.sessions.borrow_mut().values_mut() {
            if let Some(at) = sessions.iter().position(|Shared { session, .. }| session.idle_since().is_some()) {
                sessions.remove(at);
                return true;
            }
        }
        false
    }

    /// A connection on which one more request may go out behind others, the one where it waits behind the fewest: one slow answer holds up no more than it has to.
    fn pipe(&self, id: MemberId, endpoint: &Endpoint, settings: &Connections, now: Instant) -> Option<Rc<Pipe>> {
        let mut pipes = self.pipes.borrow_mut();
        let pipes = pipes.get_mut(&id)?;
        let (mut at, mut least): (usize, Option<(usize, Rc<Pipe>)>) = (0, None);
        while let Some(Piped { pipe, endpoint: opened_as }) = pipes.get(at) {
            let serves = is_unspent(pipe.served.get(), settings)
                && is_young(pipe.opened, settings, now)
                && is_wanted(pipe.idle_since(), settings, now);
            if pipe.is_over() || !serves {
                self.is_left(id, &pipes.swap_remove(at).pipe);
                continue;
            }
            let load = pipe.load();
            let is_better = least.as_ref().is_none_or(|(of_best, _)| load < *of_best);
            if is_better && pipe.has_room(settings.pipeline) && opened_as.is_reached_like(endpoint) {
                least = Some((load, Rc::clone(pipe)));
            }
            at += 1;
        }
        least.map(|(_, pipe)| pipe)
    }

    /// Has a connection carry many requests from here on.
    fn share(&self, id: MemberId, endpoint: &Arc<Endpoint>, conn: Conn) -> Rc<Pipe> {
        let pipe = Pipe::of(conn);
        let piped = Piped { pipe: Rc::clone(&pipe), endpoint: Arc::clone(endpoint) };
        self.pipes.borrow_mut().entry(id).or_default().push(piped);
        pipe
    }

    /// Whether requests to a member are not to go out one behind the other.
    fn is_apart(&self, id: MemberId) -> bool {
        self.apart.borrow().get(&id).is_some_and(|until| Instant::now() < *until)
    }

    /// A connection takes no more requests: what that says of the member.
    fn is_left(&self, id: MemberId, pipe: &Pipe) {
        if pipe.is_spoilt() {
            self.apart.borrow_mut().insert(id, Instant::now() + APART);
        }
    }

    /// A connection that has room for one more request.
    fn session(
        &self,
        id: MemberId,
        endpoint: &Endpoint,
        whose: Option<&Announced>,
        settings: &Connections,
        now: Instant,
    ) -> Option<Rc<Session>> {
        let mut sessions = self.sessions.borrow_mut();
        let sessions = sessions.get_mut(&id)?;
        // Who is let go of ends with its last request.
        sessions.retain(|Shared { session, .. }| {
            let serves = is_unspent(session.served.get(), settings) && is_young(session.opened, settings, now);
            serves && !session.is_gone() && is_wanted(session.idle_since(), settings, now)
        });
        let fits = |shared: &&Shared| {
            shared.announced.as_deref() == whose
                && shared.session.has_room()
                && shared.endpoint.is_reached_like(endpoint)
        };
        sessions.iter().find(fits).map(|shared| Rc::clone(&shared.session))
    }

    /// A connection that may carry a request of theirs, the one that was used last.
    fn take(
        &self,
        id: MemberId,
        endpoint: &Endpoint,
        whose: Option<&Announced>,
        settings: &Connections,
        now: Instant,
    ) -> Option<Conn> {
        let mut idle = self.idle.borrow_mut();
        let parked = idle.get_mut(&id)?;
        while let Some(at) = parked.iter().rposition(|parked| parked.conn.announced.as_deref() == whose) {
            let mut last = parked.remove(at);
            if may_wait(&last.conn, settings, now) && last.endpoint.is_reached_like(endpoint) && last.conn.is_quiet() {
                return Some(last.conn);
            }
        }
        None
    }

    /// Keeps a connection for the next request, where there is room for it.
    pub(crate) fn park(&self, id: MemberId, endpoint: &Arc<Endpoint>, conn: Conn, snapshot: &Snapshot) {
        let settings = &snapshot.settings.connections;
        // It waits from this moment on.
        let waits = may_wait(&conn, settings, conn.idle_since);
        if !settings.reuse || !waits || !is_unspent(conn.served, settings) {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let parked = idle.entry(id).or_default();
        // One that is somebody's is worth more than one whose client may have gone.
        if conn.announced.is_some() && parked.len() >= settings.max_idle as usize && !parked.is_empty() {
            parked.remove(0);
        }
        if parked.len() < settings.max_idle as usize {
            parked.push(Parked { conn, endpoint: Arc::clone(endpoint) });
        }
    }

    /// Lets go of what has waited for too long, has ended, or belongs to nobody any more. What is under way with who may not go on with it ends.
    fn look(&self, gone: &Gone, now: Instant) {
        self.under_way.end(|id| gone.stays(id).is_some());
        self.spoken.borrow_mut().retain(|id, (_, until)| now < *until && gone.stays(*id).is_some());
        let settings = &gone.snapshot.settings.connections;
        let mut idle = self.idle.borrow_mut();
        idle.retain(|id, parked| {
            let Some(current) = gone.stays(*id) else { return false };
            parked.retain_mut(|Parked { conn, endpoint }| {
                may_wait(conn, settings, now) && endpoint.is_reached_like(current) && conn.is_quiet()
            });
            !parked.is_empty()
        });
        drop(idle);
        self.look_at_pipes(gone, now);
        self.sessions.borrow_mut().retain(|id, sessions| {
            let Some(current) = gone.stays(*id) else { return false };
            sessions.retain(|Shared { session, endpoint, .. }| {
                let waits = is_wanted(session.idle_since(), settings, now);
                let lives = is_young(session.opened, settings, now);
                let serves = is_unspent(session.served.get(), settings);
                // Who is let go of ends with its last request.
                waits && lives && serves && !session.is_gone() && endpoint.is_reached_like(current)
            });
            trim(sessions, settings.max_idle as usize, |shared| shared.session.idle_since());
            !sessions.is_empty()
        });
    }

    fn look_at_pipes(&self, gone: &Gone, now: Instant) {
        let settings = &gone.snapshot.settings.connections;
        let since = |then: Instant| now.saturating_duration_since(then);
        self.pipes.borrow_mut().retain(|id, pipes| {
            let Some(current) = gone.stays(*id) else { return false };
            pipes.retain(|Piped { pipe, endpoint }| {
                // Who is late is told by those who wait; where they have all left, nobody tells.
                let moves = pipe.look(now).is_none_or(|stuck| since(stuck) < settings.response_timeout);
                let waits = is_wanted(pipe.idle_since(), settings, now);
                let lives = is_young(pipe.opened, settings, now);
                let serves = is_unspent(pipe.served.get(), settings);
                let fits = settings.pipeline > 1 && settings.reuse && endpoint.is_reached_like(current);
                let stays = moves && waits && lives && serves && fits && !pipe.is_over();
                if !stays {
                    self.is_left(*id, pipe);
                }
                stays
            });
            trim(pipes, settings.max_idle as usize, |piped| piped.pipe.idle_since());
            !pipes.is_empty()
        });
        self.apart.borrow_mut().retain(|_, until| now < *until);
    }

    /// How many connections wait for this member.
    fn waiting(&self, id: MemberId) -> usize {
        self.idle.borrow().get(&id).map_or(0, Vec::len)
    }
}

/// Lets go of those that have waited for longest, where more wait than may.
fn trim<T>(shared: &mut Vec<T>, most: usize, idle_since: impl Fn(&T) -> Option<Instant>) {
    if shared.len() <= most {
        return;
    }
    let mut waiting: Vec<Instant> = shared.iter().filter_map(&idle_since).collect();
    waiting.sort_unstable();
    let mut beyond = waiting.len().saturating_sub(most);
    let Some(last) = beyond.checked_sub(1).and_then(|last| waiting.get(last).copied()) else { return };
    shared.retain(|one| {
        let goes = beyond > 0 && idle_since(one).is_some_and(|since| since <= last);
        beyond -= usize::from(goes);
        !goes
    });
}

/// Whether a connection that waits for its next request may do so any longer.
fn may_wait(conn: &Conn, settings: &Connections, now: Instant) -> bool {
    is_wanted(Some(conn.idle_since), settings, now) && is_young(conn.opened, settings, now)
}

/// Whether a connection may go on that was opened then.
fn is_young(opened: Instant, settings: &Connections, now: Instant) -> bool {
    settings.max_lifetime.is_none_or(|most| now.saturating_duration_since(opened) < most)
}

/// Whether a connection that many share is to stay open, which nobody has used since then.
fn is_wanted(idle_since: Option<Instant>, settings: &Connections, now: Instant) -> bool {
    idle_since.is_none_or(|then| now.saturating_duration_since(then) < settings.keep_alive)
}

/// Whether a connection that has carried so many requests may carry another.
fn is_unspent(served: u32, settings: &Connections) -> bool {
    settings.max_requests.is_none_or(|most| served < most)
}

/// Looks after the connections of a thread for as long as the pool is there.
async fn look_after(local: Weak<Local>, number: u64, [mut everywhere, mut of_pool]: [watch::Receiver<()>; 2]) {
    let Some(under_way) = local.upgrade().map(|local| Rc::clone(&local.under_way)) else { return };
    let mut look = tokio::time::interval(LOOK);
    let mut ahead: Option<JoinHandle<()>> = None;
    loop {
        // Who is told by nobody any more hears of it where it looks for the pool.
        let needed = tokio::select! {
            _ = look.tick() => None,
            () = under_way.beat(BEAT) => {
                let Some(pool) = local.upgrade().and_then(|local| local.pool.upgrade()) else { return };
                let gone = Gone::of(&pool);
                under_way.end(|id| gone.stays(id).is_some());
                continue;
            }
            told = everywhere.changed() => told.is_ok().then_some(Absent::ConnectionsEverywhere),
            told = of_pool.changed() => told.is_ok().then_some(Absent::Connections),
        };
        let Some(local) = local.upgrade() else { return };
        let Some(pool) = local.pool.upgrade() else {
            LOCAL.with_borrow_mut(|pools| pools.remove(&number));
            return;
        };
        if let Some(needed) = needed {
            // Another thread may have been faster.
            if local.has_idle() && pool.eviction(needed).claim() {
                local.let_go();
            }
            continue;
        }
        let gone = Gone::of(&pool);
        local.look(&gone, Instant::now());
        // Who cannot be connected to is waited for, and nothing else is meanwhile.
        let is_asked_for = gone.snapshot.settings.connections.min_idle > 0;
        if is_asked_for && ahead.as_ref().is_none_or(JoinHandle::is_finished) {
            ahead = Some(tokio::task::spawn_local(open_ahead(local, pool, gone.snapshot)));
        }
    }
}

/// Opens connections before they are needed, where that is asked for.
async fn open_ahead(local: Rc<Local>, pool: Arc<Pool>, snapshot: Arc<Snapshot>) {
    let least = snapshot.settings.connections.min_idle as usize;
    for slot in snapshot.balance.slots() {
        let id = slot.member().id();
        let usable = slot.standing(pool.now(), true) == outwork_balance::Standing::Usable;
        let Some(endpoint) = snapshot.endpoint(id).filter(|_| usable) else { continue };
        // Many share one of HTTP/2, and the first that needs it opens it.
        if endpoint.speech == Speech::Http2 {
            continue;
        }
        for _ in local.waiting(id)..least {
            // What nobody needs yet takes room from nobody, and whoever needs one finds out why there is none.
            let Ok(room) = pool.room(&snapshot) else { break };
            let Ok(Link::Http1(conn)) = super::open(&pool, room, &snapshot, endpoint, Wanted::ANY).await else { break };
            local.park(id, endpoint, conn, &snapshot);
        }
    }
}

#[cfg(test)]
mod tests;
