use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::Server;
use super::{Asked, until};
use crate::sql::metrics::Cause;

/// What stands between a client and a server, and can let connections go silent.
struct Wire {
    address: SocketAddr,
    /// How often they were cut. A connection bears only as long as that is what it was.
    cuts: Arc<AtomicUsize>,
}

impl Wire {
    fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self { address: listener.local_addr().unwrap(), cuts: Arc::default() };
        let cuts = Arc::clone(&wire.cuts);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(server).unwrap());
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let cuts = Arc::clone(&cuts);
                    std::thread::spawn(move || bear(from, to, &cuts));
                }
            }
        });
        wire
    }

    /// Swallows from now on what the connections that there are bear. None of them ends.
    fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

fn bear(mut from: TcpStream, mut to: TcpStream, cuts: &AtomicUsize) {
    let (before, mut bytes) = (cuts.load(Ordering::SeqCst), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if cuts.load(Ordering::SeqCst) == before && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // Nobody needs to be told.
    let _ = to.shutdown(Shutdown::Both);
}

#[tokio::test]
async fn who_listens_notices_that_the_connection_has_gone_silent_and_listens_again() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let option = format!("port={port}");
    let server = Server::new(&["listen_addresses=127.0.0.1", &option]);
    let wire = Wire::new(([127, 0, 0, 1], port).into());
    let site = Asked::new(&format!(
        "[web.database.main]\nurl = 'postgres://postgres@{}/postgres'\nmin_idle = 0\nlisten = 'changes'\n\
         health_check = '50ms'\nconnect_timeout = '1s'\n",
        wire.address
    ));
    let told = |cause| site.shared().metrics.invalidations.of(cause).get();
    until(async || told(Cause::Reconnected) == 1).await;
    wire.cut();
    server.must("notify changes");
    // What was told meanwhile is not known, and so all is forgotten.
    until(async || told(Cause::Reconnected) >= 2).await;
    assert_eq!(told(Cause::Notified), 0);
    server.must("notify changes");
    until(async || told(Cause::Notified) >= 1).await;
}
