//! A door that answers everything with one small file. For looking at what a request costs: `cargo run --release --example door`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use outwork_front::door::{Bound, DoorMetrics, Options, Place, Serving};
use outwork_front::filter::Entry;
use outwork_front::message::{Answer, Body, Handler, ReadyHead, Request, Response};

struct One(Arc<ReadyHead>, bytes::Bytes);

impl Handler for One {
    fn handle(&self, _: Request) -> Answer {
        let mut response = Response::new(StatusCode::OK);
        response.ready = Some(Arc::clone(&self.0));
        response.body = Body::Full(self.1.clone());
        response.into()
    }
}

#[global_allocator]
static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let place = Place { address: (Ipv4Addr::LOCALHOST, 8090).into(), tls: None, backlog: 4096 };
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("content-type", "text/html"),
        ("etag", "\"abcdefgh\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("accept-ranges", "bytes"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    let size = std::env::args().nth(1).and_then(|size| size.parse().ok()).unwrap_or(612);
    let handler = One(ReadyHead::new(fields), vec![b'x'; size].into());
    let serving = Serving { options: Options::default(), handler: Box::new(handler), entry: Entry::default() };
    let _door = Bound::bind(&[place], 1).unwrap().serve(serving, &Arc::new(DoorMetrics::default())).unwrap();
    std::thread::sleep(Duration::from_secs(3600));
}
