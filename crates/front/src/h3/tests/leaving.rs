//! Connections that the server ends: whatever a client asks before it knows of that is answered, or it is told that it is not (RFC 9114 section 5.2).

use std::thread::JoinHandle;

use h3::error::{Code, StreamError};

use super::*;

/// Of a GOAWAY that turns no request away yet.
const EVERY: u64 = (1 << 62) - 4;

fn stop(running: &mut Running) -> JoinHandle<()> {
    let door = running.door.take().unwrap();
    std::thread::spawn(move || door.stop(Farewell::Brief, Duration::from_secs(20)))
}

/// The numbers of so many GOAWAY frames, in their order; fewer where the connection ends before.
async fn goaways(control: &mut quinn::RecvStream, count: usize) -> Vec<u64> {
    let (mut frames, mut all) = (crate::h3::frame::Frames::default(), Vec::new());
    while all.len() < count {
        let Ok(Some(chunk)) = control.read_chunk(100, true).await else { break };
        frames.push(chunk.bytes);
        while let Ok(Some(part)) = frames.next(|_| Ok(crate::h3::frame::Use::Whole(100))) {
            if let crate::h3::frame::Part::Whole(crate::h3::frame::GOAWAY, number) = part {
                all.push(crate::h3::frame::integer(&mut &number[..]).unwrap());
            }
        }
    }
    all
}

/// The server's control stream behind its type.
async fn control(quic: &quinn::Connection) -> quinn::RecvStream {
    let mut control = quic.accept_uni().await.unwrap();
    assert_eq!(control.read_chunk(1, true).await.unwrap().unwrap().bytes, [0][..]);
    control
}

#[test]
fn a_connection_that_ends_says_so_and_which_request_was_the_last_before_it_is_gone() {
    let short = Duration::from_millis(100);
    for (options, requests, stops) in [
        (limits(), 1, true),
        (Options { keep_alive: short, ..limits() }, 1, false),
        (Options { requests_per_connection: 3, ..limits() }, 3, false),
    ] {
        let mut running = Running::new(options, 1);
        let stopping = run(async {
            let quic = running.quic(&endpoint()).await.unwrap();
            let mut control = control(&quic).await;
            for _ in 0..requests {
                assert_eq!(status(&exchange(&quic, &head(&[])).await.unwrap()), "200");
            }
            let stopping = stops.then(|| stop(&mut running));
            assert_eq!(goaways(&mut control, 3).await, [EVERY, 4 * requests]);
            assert_eq!(closed_with(&quic.closed().await), 0x100);
            stopping
        });
        stopping.into_iter().for_each(|stopping| stopping.join().unwrap());
    }
}

#[test]
fn what_is_asked_after_the_last_request_is_told_that_it_is_not_looked_at() {
    let mut running = Running::new(limits(), 1);
    let stopping = run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let mut control = control(&quic).await;
        let (mut first, mut answer) = quic.open_bi().await.unwrap();
        // It holds the connection for as long as its content is not whole.
        first.write_all(&head(&[(":method", "POST"), (":path", "/echo"), ("content-length", "1")])).await.unwrap();
        assert_eq!(status(&exchange(&quic, &head(&[])).await.unwrap()), "200");
        let stopping = stop(&mut running);
        assert_eq!(goaways(&mut control, 2).await, [EVERY, 8]);
        assert_eq!(exchange(&quic, &head(&[])).await, Err(0x10b));
        first.write_all(&frame(0, b"x")).await.unwrap();
        first.finish().unwrap();
        assert_eq!(status(&answer.read_to_end(1000).await.unwrap()), "200", "what was begun is ended");
        assert_eq!(closed_with(&quic.closed().await), 0x100);
        stopping
    });
    stopping.join().unwrap();
}

#[test]
fn clients_that_ask_until_they_hear_of_the_end_are_answered_or_told_to_ask_elsewhere() {
    let mut running = Running::new(limits(), 1);
    let stopping = run(async {
        let client = running.client().await;
        let answered = std::rc::Rc::new(std::cell::Cell::new(0));
        let asking: Vec<_> = (0..16)
            .map(|_| {
                let (mut requests, answered) = (client.requests.clone(), std::rc::Rc::clone(&answered));
                tokio::task::spawn_local(async move {
                    loop {
                        match ask(&mut requests, Method::GET, "/now", None).await {
                            Ok(answer) => assert_eq!(answer.text(), "at once"),
                            Err(StreamError::RemoteClosing { .. }) => return,
                            Err(StreamError::RemoteTerminate { code: Code::H3_REQUEST_REJECTED, .. }) => {}
                            Err(lost) => panic!("{lost}"),
                        }
                        answered.set(answered.get() + 1);
                    }
                })
            })
            .collect();
        while answered.get() < 100 {
            tokio::task::yield_now().await;
        }
        let stopping = stop(&mut running);
        for one in asking {
            one.await.unwrap();
        }
        stopping
    });
    stopping.join().unwrap();
}
