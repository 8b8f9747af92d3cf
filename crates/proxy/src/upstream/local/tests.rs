use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::BytesMut;
use futures_util::future::join_all;
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, yield_now};

use super::super::{h1, h2, on_a_thread};
use super::*;
use crate::config::{Pool as Settings, Proxy, ProxyVersion};
use crate::pool::Pools;
use crate::pool::orders::Orders;

const ASK: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HOUR: Duration = Duration::from_secs(3600);

/// Connections to a backend: all there have been, and those that are open.
#[derive(Default)]
struct Seen {
    opened: Cell<usize>,
    open: Cell<usize>,
}

/// A pool of one backend, and what this thread has of it.
struct World {
    seen: Rc<Seen>,
    pool: Arc<Pool>,
    snapshot: Arc<Snapshot>,
    local: Rc<Local>,
    id: MemberId,
    endpoint: Arc<Endpoint>,
}

impl World {
    async fn new(http2: bool, set: impl FnOnce(&mut Connections)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if http2 { "h2c" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Rc::<Seen>::default();
        spawn_local(serve(listener, Rc::clone(&seen), http2));
        Self::of(&url, seen, set)
    }

    fn of(url: &str, seen: Rc<Seen>, set: impl FnOnce(&mut Connections)) -> Self {
        let mut settings = Settings::of(url.parse().unwrap());
        set(&mut settings.connections);
        let proxy = Proxy { pool: BTreeMap::from([("app".to_owned(), settings)]), ..Proxy::default() };
        let pools = Pools::new([0; 16], Orders::default());
        pools.commit(pools.prepare(&proxy, &[]).unwrap());
        let pool = Arc::clone(&pools.all()["app"]);
        let snapshot = pool.snapshot();
        let id = snapshot.balance.slots()[0].member().id();
        let endpoint = Arc::clone(snapshot.endpoint(id).unwrap());
        // Pools of others have the same numbers, and may have been here before.
        drop(LOCAL.with_borrow_mut(|pools| pools.remove(&pool.number)));
        let local = Local::of(&pool);
        Self { seen, pool, snapshot, local, id, endpoint }
    }

    async fn try_link(&self) -> Result<(Link, bool), DialError> {
        let now = Instant::now();
        self.local.link(&self.pool, &self.snapshot, (self.id, &self.endpoint), Wanted::ANY, now).await
    }

    async fn link(&self, piped: bool, now: Instant) -> (Link, bool) {
        let wanted = Wanted { piped, ..Wanted::ANY };
        self.local.link(&self.pool, &self.snapshot, (self.id, &self.endpoint), wanted, now).await.unwrap()
    }

    /// A connection for a request of this client, who is announced.
    async fn link_of(&self, client: u16) -> (Link, bool) {
        let announced = Rc::new(announced(client));
        let wanted = Wanted { announced: Some(&announced), ..Wanted::ANY };
        self.local.link(&self.pool, &self.snapshot, (self.id, &self.endpoint), wanted, Instant::now()).await.unwrap()
    }

    /// A connection for a request alone.
    async fn connect(&self, now: Instant) -> Conn {
        match self.link(false, now).await.0 {
            Link::Http1(conn) => conn,
            other => panic!("{other:?}"),
        }
    }

    fn park(&self, conn: Conn) {
        self.local.park(self.id, &self.endpoint, conn, &self.snapshot);
    }

    /// Asks the backend, and keeps the connection, where that may be. Whether it was there before.
    async fn ask(&self, now: Instant) -> bool {
        let (link, was_there) = self.link(false, now).await;
        match link {
            Link::Http1(conn) => self.park(answered(conn, now).await),
            Link::Http2(session) => drop(begun(&session).await),
            other @ Link::Piped(_) => panic!("{other:?}"),
        }
        was_there
    }

    fn look(&self, now: Instant) {
        self.local.look(&Gone::of(&self.pool), now);
    }

    /// Connections that wait for a request.
    fn waiting(&self) -> usize {
        self.local.waiting(self.id)
    }

    /// Those that many share.
    fn shared(&self) -> usize {
        let sessions = self.local.sessions.borrow().get(&self.id).map_or(0, Vec::len);
        sessions + self.local.pipes.borrow().get(&self.id).map_or(0, Vec::len)
    }
}

/// Waits until something is so, which nobody tells.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now().await;
    }
}

async fn serve(listener: TcpListener, seen: Rc<Seen>, http2: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.opened.set(seen.opened.get() + 1);
        seen.open.set(seen.open.get() + 1);
        let seen = Rc::clone(&seen);
        spawn_local(async move {
            match http2 {
                true => serve_http2(stream).await,
                false => serve_http1(stream).await,
            }
            seen.open.set(seen.open.get() - 1);
        });
    }
}

async fn serve_http1(mut stream: TcpStream) {
    let mut read = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut read).await {
        let asked = read[..length].windows(4).filter(|four| *four == b"\r\n\r\n").count();
        if stream.write_all(OK.repeat(asked).as_bytes()).await.is_err() {
            return;
        }
    }
}

fn announced(client: u16) -> Announced {
    let [source, destination] = [client, 443].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
    Announced { version: ProxyVersion::V1, source, destination, tls: None }
}

async fn serve_http2(mut stream: TcpStream) {
    let mut first = [0; 5];
    while stream.peek(&mut first).await.is_ok_and(|length| (1..5).contains(&length)) {
        yield_now().await;
    }
    if first == *b"PROXY" {
        while stream.read_u8().await.is_ok_and(|byte| byte != b'\n') {}
    }
    let Ok(mut connection) = ::h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let _ = respond.send_response(Response::new(()), true);
    }
}

/// A connection after a request and its answer, which ended at this moment.
async fn answered(conn: Conn, now: Instant) -> Conn {
    let mut exchange = h1::Exchange::new(conn, Method::GET, BytesMut::from(ASK), None, (false, false));
    poll_fn(|context| exchange.poll_reply(context)).await.unwrap();
    assert_eq!(exchange.take_rest().unwrap(), "ok");
    exchange.into_conn(now).unwrap()
}

/// A request that is under way until this goes.
async fn begun(session: &Rc<Session>) -> h2::Exchange {
    let request = Request::get("http://a/").body(()).unwrap();
    let mut exchange = h2::Exchange::begin(session, request, None).await.unwrap();
    poll_fn(|context| exchange.poll_reply(context)).await.unwrap();
    exchange
}

#[test]
fn a_connection_carries_one_request_after_the_other_unless_that_is_not_wanted() {
    on_a_thread(async {
        let now = Instant::now();
        for (http2, reuse) in [(false, true), (false, false), (true, true), (true, false)] {
            let world = World::new(http2, |connections| connections.reuse = reuse).await;
            let were_there = [world.ask(now).await, world.ask(now).await, world.ask(now).await];
            assert_eq!(were_there, [false, reuse, reuse], "HTTP/2: {http2}");
            assert_eq!(world.seen.opened.get(), if reuse { 1 } else { 3 }, "HTTP/2: {http2}");
        }
    });
}

#[test]
fn as_many_connections_wait_as_may_and_those_beyond_are_closed() {
    on_a_thread(async {
        let now = Instant::now();
        let world = World::new(false, |connections| connections.max_idle = 2).await;
        let mut conns = Vec::new();
        for _ in 0..4 {
            conns.push(world.connect(now).await);
        }
        for conn in conns {
            world.park(answered(conn, now).await);
        }
        assert_eq!(world.waiting(), 2);
        until(|| world.seen.open.get() == 2).await;
        assert_eq!(world.seen.opened.get(), 4);
    });
}

#[test]
fn a_connection_that_has_waited_for_too_long_is_not_used_and_is_let_go_of() {
    on_a_thread(async {
        let now = Instant::now();
        let world = World::new(false, |connections| connections.keep_alive = HOUR).await;
        assert!(!world.ask(now).await);
        assert!(world.ask(now + HOUR / 2).await);
        assert!(world.ask(now + HOUR).await, "it waits anew after each request");
        assert!(!world.ask(now + 2 * HOUR).await, "nobody has looked since");
        world.look(now + 2 * HOUR + HOUR / 2);
        assert_eq!(world.waiting(), 1);
        world.look(now + 3 * HOUR);
        assert_eq!(world.waiting(), 0);
        until(|| world.seen.open.get() == 0).await;
    });
}

#[test]
fn a_connection_is_used_for_so_long_at_most_however_busy_it_is() {
    on_a_thread(async {
        let now = Instant::now();
        let set = |connections: &mut Connections| {
            (connections.max_lifetime, connections.keep_alive) = (Some(HOUR), 24 * HOUR);
        };
        let world = World::new(false, set).await;
        assert!(!world.ask(now).await);
        assert!(world.ask(now + HOUR / 2).await);
        let late = now + 2 * HOUR;
        let conn = world.connect(now + HOUR / 2).await;
        world.park(answered(conn, late).await);
        assert_eq!(world.waiting(), 0, "its time was over with its last answer");
        assert!(!world.ask(now).await);
        assert!(!world.ask(late).await, "its time was over while it waited");
        assert!(!world.ask(now).await);
        world.look(now + HOUR / 2);
        assert_eq!(world.waiting(), 1);
        world.look(late);
        assert_eq!(world.waiting(), 0);
    });
}

#[test]
fn a_connection_carries_so_many_requests_at_most() {
    on_a_thread(async {
        let now = Instant::now();
        for http2 in [false, true] {
            let world = World::new(http2, |connections| connections.max_requests = Some(2)).await;
            let mut were_there = Vec::new();
            for _ in 0..5 {
                were_there.push(world.ask(now).await);
            }
            assert_eq!(were_there, [false, true, false, true, false], "HTTP/2: {http2}");
            until(|| world.seen.open.get() == 1).await;
            assert_eq!(world.seen.opened.get(), 3, "HTTP/2: {http2}");
        }
    });
}

#[test]
fn connections_are_there_before_they_are_needed_and_others_in_the_place_of_those_in_use() {
    on_a_thread(async {
        let world = World::new(false, |connections| connections.min_idle = 3).await;
        until(|| world.waiting() == 3).await;
        let (link, was_there) = world.link(false, Instant::now()).await;
        assert!(was_there && world.waiting() == 2);
        until(|| world.waiting() == 3 && world.seen.opened.get() == 4).await;
        drop(link);
    });
}

#[test]
fn a_session_is_let_go_of_once_nobody_has_used_it_for_too_long_or_it_is_too_old() {
    on_a_thread(async {
        let set = |connections: &mut Connections| {
            (connections.keep_alive, connections.max_lifetime) = (HOUR, Some(3 * HOUR));
        };
        let world = World::new(true, set).await;
        let (link, _) = world.link(false, Instant::now()).await;
        let Link::Http2(session) = link else { panic!("it speaks HTTP/2") };
        let under_way = begun(&session).await;
        world.look(Instant::now() + 2 * HOUR);
        assert_eq!(world.shared(), 1, "somebody uses it");
        drop(under_way);
        world.look(Instant::now() + HOUR / 2);
        assert_eq!(world.shared(), 1);
        world.look(Instant::now() + HOUR);
        assert_eq!(world.shared(), 0);
        drop(session);
        until(|| world.seen.open.get() == 0).await;
        let (link, was_there) = world.link(false, Instant::now()).await;
        let Link::Http2(session) = link else { panic!("it speaks HTTP/2") };
        let _under_way = begun(&session).await;
        assert!(!was_there && world.shared() == 1);
        world.look(Instant::now() + 3 * HOUR);
        assert_eq!(world.shared(), 0, "it ends with what is under way");
        assert!(!world.ask(Instant::now()).await);
        assert!(!world.ask(Instant::now() + HOUR).await, "nobody has looked since");
        assert_eq!(world.shared(), 1);
    });
}

#[test]
fn sessions_that_are_a_client_s_each_are_no_more_than_may_wait_and_the_last_that_were_used() {
    on_a_thread(async {
        let world = World::new(true, |connections| connections.max_idle = 2).await;
        for client in 1..=5 {
            let (link, was_there) = world.link_of(client).await;
            assert!(matches!(link, Link::Http2(_)) && !was_there, "{client}");
        }
        assert_eq!(world.shared(), 2);
        let mut under_way = Vec::new();
        for (client, expected) in [(5, true), (4, true), (3, false)] {
            let (link, was_there) = world.link_of(client).await;
            assert_eq!(was_there, expected, "{client}");
            let Link::Http2(session) = link else { panic!("it speaks HTTP/2") };
            under_way.push(begun(&session).await);
        }
        assert_eq!(world.shared(), 3, "those in use are in nobody's way");
        world.look(Instant::now());
        assert_eq!(world.shared(), 3);
        drop(under_way);
        world.look(Instant::now());
        assert_eq!(world.shared(), 2);
        until(|| world.seen.open.get() == 2).await;
    });
}

#[test]
fn what_is_opened_for_one_client_is_waited_for_by_nobody_else() {
    on_a_thread(async {
        let world = World::new(true, |_| {}).await;
        let of_another = (world.id, Some(Rc::new(announced(1))));
        world.local.opening.borrow_mut().insert(of_another.clone(), Rc::default());
        assert!(!world.link_of(2).await.1);
        world.local.opening.borrow_mut().remove(&of_another);
        assert!(!world.link_of(1).await.1);
    });
}

#[test]
fn who_waits_for_a_connection_that_fails_fails_with_it() {
    on_a_thread(async {
        let world = World::new(true, |_| {}).await;
        let opened: Opened = (world.id, None);
        let attempt = Rc::<Attempt>::default();
        world.local.opening.borrow_mut().insert(opened.clone(), Rc::clone(&attempt));
        let opening = Opening { local: &world.local, opened: opened.clone() };
        let fails = async {
            *attempt.failed.borrow_mut() = Some(DialError::Late);
            drop(opening);
        };
        let (answers, ()) = futures_util::join!(join_all((0..5).map(|_| world.try_link())), fails);
        assert!(answers.iter().all(|answer| matches!(answer, Err(DialError::Late))), "{answers:?}");
        assert_eq!(world.seen.opened.get(), 0, "nobody tries in vain what somebody has tried just now");
        assert!(world.try_link().await.is_ok());
    });
}

#[test]
fn who_opens_a_connection_in_vain_tells_those_who_wait_why() {
    on_a_thread(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("h2c://{}", listener.local_addr().unwrap());
        drop(listener);
        let world = World::of(&url, Rc::default(), |_| {});
        let look = async { world.local.opening.borrow().values().next().cloned() };
        let (first, attempt) = futures_util::join!(world.try_link(), look);
        assert!(matches!(first, Err(DialError::Connect(_))), "{first:?}");
        let attempt = attempt.unwrap();
        assert!(matches!(&*attempt.failed.borrow(), Some(DialError::Connect(_))), "{attempt:?}");
    });
}

#[test]
fn connections_on_which_requests_go_one_behind_the_other_are_no_more_than_may_wait() {
    on_a_thread(async {
        let now = Instant::now();
        let world = World::new(false, |connections| (connections.pipeline, connections.max_idle) = (8, 1)).await;
        for _ in 0..3 {
            let conn = answered(world.connect(now).await, now).await;
            world.local.share(world.id, &world.endpoint, conn);
        }
        assert_eq!(world.shared(), 3);
        world.look(now);
        assert_eq!(world.shared(), 1);
        until(|| world.seen.open.get() == 1).await;
    });
}

#[test]
fn a_request_goes_out_behind_the_fewest_others() {
    on_a_thread(async {
        let now = Instant::now();
        let world = World::new(false, |connections| connections.pipeline = 8).await;
        for conn in [world.connect(now).await, world.connect(now).await] {
            world.local.share(world.id, &world.endpoint, answered(conn, now).await);
        }
        let (mut under_way, mut behind) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let (link, was_there) = world.link(true, now).await;
            let Link::Piped(pipe) = link else { panic!("it is shared") };
            assert!(was_there);
            behind.push(pipe.load());
            let write = |out: &mut BytesMut| out.extend_from_slice(ASK.as_bytes());
            under_way.push(h1::pipe::Exchange::begin(&pipe, Method::GET, write));
        }
        assert_eq!(behind, [0, 0, 1, 1, 2, 2]);
    });
}

#[test]
fn what_is_too_old_takes_no_more_requests_though_nobody_has_looked() {
    on_a_thread(async {
        let set = |connections: &mut Connections| {
            (connections.max_lifetime, connections.keep_alive) = (Some(HOUR), 24 * HOUR);
        };
        let world = World::new(true, set).await;
        let now = Instant::now();
        let were_there = [world.ask(now).await, world.ask(now).await, world.ask(now + 2 * HOUR).await];
        assert_eq!(were_there, [false, true, false]);
    });
}

#[test]
fn a_pipe_is_let_go_of_once_it_waits_or_lives_too_long_or_has_carried_enough() {
    /// One that has carried two requests.
    async fn world(set: fn(&mut Connections)) -> World {
        let world = World::new(false, |connections| {
            (connections.pipeline, connections.keep_alive) = (8, 24 * HOUR);
            set(connections);
        });
        let world = world.await;
        let now = Instant::now();
        assert!(!world.ask(now).await);
        let (link, was_there) = world.link(true, now).await;
        let Link::Piped(pipe) = link else { panic!("it is shared") };
        let write = |out: &mut BytesMut| out.extend_from_slice(ASK.as_bytes());
        let mut exchange = h1::pipe::Exchange::begin(&pipe, Method::GET, write);
        poll_fn(|context| exchange.poll_reply(context)).await.unwrap();
        assert!(was_there);
        world
    }
    on_a_thread(async {
        let waits = world(|connections| connections.keep_alive = HOUR).await;
        waits.look(Instant::now() + HOUR / 2);
        assert_eq!(waits.shared(), 1);
        waits.look(Instant::now() + HOUR);
        assert_eq!(waits.shared(), 0);
        until(|| waits.seen.open.get() == 0).await;

        let unseen = world(|connections| connections.keep_alive = HOUR).await;
        let (link, was_there) = unseen.link(true, Instant::now() + HOUR).await;
        assert!(matches!(link, Link::Http1(_)) && !was_there, "{link:?}");

        let lives = world(|connections| connections.max_lifetime = Some(HOUR)).await;
        lives.look(Instant::now() + HOUR / 2);
        assert_eq!(lives.shared(), 1);
        lives.look(Instant::now() + HOUR);
        assert_eq!(lives.shared(), 0);

        let serves = world(|connections| connections.max_requests = Some(2)).await;
        let (link, was_there) = serves.link(true, Instant::now()).await;
        assert!(matches!(link, Link::Http1(_)) && !was_there, "{link:?}");
        assert_eq!(serves.shared(), 0);
        let looked_at = world(|connections| connections.max_requests = Some(2)).await;
        looked_at.look(Instant::now());
        assert_eq!(looked_at.shared(), 0);
    });
}
