//! Connections that the server ends: whatever a client asks before it knows of that is answered, or it is told that it is not (RFC 9113 section 6.8).

use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::door::{Farewell, Options};

/// Of a GOAWAY that turns no stream away yet.
const EVERY: u32 = (1 << 31) - 1;

fn stop(mut running: Running) -> JoinHandle<()> {
    let door = running.door.take().unwrap();
    std::thread::spawn(move || door.stop(Farewell::Brief, Duration::from_secs(20)))
}

/// A client that was answered once, and the mark that it is to give back when it has heard that the server stops.
fn told() -> (Client, [u8; 8], JoinHandle<()>) {
    let running = Running::new(Options::default());
    let mut client = Client::new(&running, &[]);
    client.say(&get(1, "/now"));
    assert_eq!(client.content(1), "at once");
    let stopping = stop(running);
    assert_eq!(client.hear(), Event::Goaway(Reason::NO_ERROR));
    let Event::Ping(mark) = client.hear() else { panic!("it is asked whether it has heard") };
    assert_eq!(client.last, [EVERY]);
    (client, mark, stopping)
}

#[test]
fn what_is_asked_before_a_client_has_heard_of_the_end_is_answered_and_what_comes_after_is_told_apart() {
    let (mut client, mark, stopping) = told();
    client.say(&get(3, "/now"));
    assert_eq!(client.content(3), "at once");
    client.say(&[get(5, "/later"), frame(kind::PING, flag::ACK, 0, &mark), get(7, "/now")].concat());
    let heard = client.wait(&Event::Closed);
    assert!(heard.contains(&Event::End(5)) && !heard.contains(&Event::Status(7, 200)), "{heard:?}");
    assert_eq!((heard.last(), &client.last[..]), (Some(&Event::Closed), &[EVERY, 5][..]));
    drop(client);
    stopping.join().unwrap();
}

#[test]
fn a_client_that_goes_on_about_windows_after_the_last_answer_is_not_reset() {
    let (mut client, mark, stopping) = told();
    client.say(&frame(kind::PING, flag::ACK, 0, &mark));
    assert_eq!(client.wait(&Event::Closed).last(), Some(&Event::Closed));
    // What it says here, the server has to take: a reset may overtake an answer that is still being read.
    for _ in 0..3 {
        client.stream.write_all(&window(0, 1)).unwrap();
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "this is the end of what the server says");
    }
    drop(client);
    stopping.join().unwrap();
}

#[test]
fn a_client_that_does_not_say_that_it_has_heard_is_told_what_was_the_last_all_the_same() {
    let (mut client, _, stopping) = told();
    client.say(&get(3, "/now"));
    assert_eq!(client.content(3), "at once");
    assert_eq!(client.wait(&Event::Closed).last(), Some(&Event::Closed));
    assert_eq!(client.last, [EVERY, 3]);
    drop(client);
    stopping.join().unwrap();
}
