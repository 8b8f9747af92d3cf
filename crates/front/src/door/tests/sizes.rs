//! Sizes of what is received and sent.

use super::*;

/// How many contents there were, and their bytes, once every thread has ended.
pub(super) fn counted(mut running: Running) -> [(u64, u64); 2] {
    if let Some(door) = running.door.take() {
        door.stop(Farewell::Brief, Duration::from_secs(20));
    }
    let metrics = &running.metrics;
    [&metrics.request_body_size, &metrics.response_body_size].map(|sizes| {
        let sizes = sizes.snapshot();
        (sizes.count(), sizes.sum())
    })
}

#[test]
fn contents_are_counted_by_their_sizes_whatever_they_are_made_of() {
    let running = Running::new(Options { keep_alive: Duration::from_millis(100), ..Options::default() });
    let address = running.door.as_ref().unwrap().addresses()[0];
    running.ask(&[get("/now"), get("/now"), get("/gone"), get("/file"), get("/now")].concat());
    running.ask("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(over_http2(address, "/stream", || ()).unwrap(), "onetwosix");
    let sizes = [7, 7, 0, FILE - 20, 7, 0, 9];
    assert_eq!(counted(running), [(0, 0), (sizes.len() as u64, sizes.iter().sum())]);
}

#[test]
fn the_content_of_a_request_is_counted_once_as_far_as_it_came() {
    let running = Running::new(Options::default());
    let post = |path: &str, lines: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{lines}");
    let sized = post("/echo", "Content-Length: 5\r\n\r\nhello");
    let chunked = post("/echo", "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n4\r\nlo, \r\n0\r\n\r\n");
    let empty = post("/echo", "Content-Length: 0\r\n\r\n");
    // Nobody wants it; it is read for the sake of what follows.
    let unwanted = post("/now", "Content-Length: 4\r\n\r\n1234");
    running.ask(&[sized, chunked, empty, unwanted, get("/now")].concat());
    running.ask(&post("/echo", "Content-Length: 50\r\n\r\ncut"));
    assert_eq!(counted(running)[0], (4, 5 + 7 + 4 + 3));
}
