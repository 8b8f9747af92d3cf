//! Applications by the names that clients ask for.

use super::*;
use crate::engine::flow::{Flows, Shown};
use crate::engine::policy::{AppId, Application, Matcher};
use crate::plane::names::Names;
use crate::plane::packet::{Packet, SYN};
use outwork_engine::Time;

/// The record with a ClientHello that asks for a name, with so much of another extension before it.
fn hello(name: &str, padding: usize) -> Vec<u8> {
    let long = |octets: &[u8]| [&(octets.len() as u16).to_be_bytes()[..], octets].concat();
    let entry = [&[0][..], &long(name.as_bytes())].concat();
    let extensions = [&[0, 21][..], &long(&vec![0; padding]), &[0, 0], &long(&long(&entry))].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &long(&[0x13, 1]), &[1, 0], &long(&extensions)].concat();
    let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
    let message = [&[1, high, middle, low][..], &body].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}

fn matcher(names: &[&str]) -> Matcher {
    let one = |name: &&str| Application { names: vec![(*name).to_owned()], ports: vec![] };
    Matcher::compile(&[], &names.iter().map(one).collect::<Vec<_>>(), 1).unwrap()
}

struct Lab {
    names: Names,
    flows: Flows,
    matcher: Matcher,
    now: Time,
}

impl Lab {
    fn new(names: &[&str]) -> Lab {
        let (flows, now) = (Flows::new(1024), Time::from_secs(1));
        Lab { names: Names::default(), flows, matcher: matcher(names), now }
    }

    /// Passes a segment of the flow from this port; what its application is then.
    fn pass(&mut self, port: u16, flags: u8, sequence: u32, payload: &[u8]) -> Option<u16> {
        let mut plain = Plain::new(port.is_multiple_of(2), TCP);
        (plain.ports.0, plain.flags, plain.sequence, plain.payload) = (port, flags, sequence, payload.to_vec());
        let octets = plain.build();
        let packet = Packet::read(&octets).unwrap();
        let of = (self.now, packet.flow(None).hash(1));
        let found = self.names.application(&self.flows, &self.matcher, of, (&octets, &packet));
        found.map(|AppId(number)| number)
    }

    fn shown(&self, port: u16) -> Shown {
        let mut plain = Plain::new(port.is_multiple_of(2), TCP);
        plain.ports.0 = port;
        let hash = Packet::read(&plain.build()).unwrap().flow(None).hash(1);
        self.flows.of(hash).unwrap().shown(self.now, hash)
    }
}

#[test]
fn a_flow_is_of_the_application_whose_name_its_first_data_asks_for_from_that_on() {
    let mut lab = Lab::new(&["mail.test", "calls.test"]);
    for port in [1000, 1001] {
        assert_eq!(lab.pass(port, SYN, 99, b""), None);
        assert_eq!((lab.pass(port, ACK, 100, b""), lab.shown(port)), (None, Shown::Waits));
        assert_eq!(lab.pass(port, ACK | PUSH, 100, &hello("a.CALLS.test", 40)), Some(1));
        assert_eq!(lab.pass(port, ACK, 300, b"whatever follows"), Some(1));
        assert_eq!(lab.pass(port, ACK | FIN, 400, b""), Some(1));
    }
    // Another connection from the same port begins anew.
    lab.pass(1000, SYN, 7, b"");
    assert_eq!(lab.pass(1000, ACK, 8, &hello("mail.test", 0)), Some(0));
}

#[test]
fn a_name_that_comes_in_parts_is_put_together_and_repeated_parts_change_nothing() {
    let mut lab = Lab::new(&["calls.test"]);
    let octets = hello("calls.test", 1700);
    let first = u32::MAX - 200;
    lab.pass(1000, SYN, first.wrapping_sub(1), b"");
    assert_eq!(lab.pass(1000, ACK, first, &octets[..1200]), None);
    assert_eq!(lab.pass(1000, ACK, first, &octets[..1200]), None, "sent again");
    assert_eq!(lab.pass(1000, ACK, first.wrapping_add(1000), &octets[1000..1500]), None, "some of it is there");
    assert_eq!(lab.pass(1000, ACK | PUSH, first.wrapping_add(1500), &octets[1500..]), Some(0));
    assert_eq!(lab.names.given_up(), 0);
}

#[test]
fn what_shows_no_name_that_counts_is_not_looked_at_again() {
    let (octets, other) = (hello("calls.test", 1700), hello("other.test", 0));
    let cases: [&[&[u8]]; 4] = [
        &[b"GET / HTTP/1.1\r\n"],
        &[&other],
        // A part of it is missing.
        &[&octets[..1000]],
        // It does not come at the beginning.
        &[b"x", &octets],
    ];
    for (port, case) in (2000..).zip(cases) {
        let mut lab = Lab::new(&["calls.test"]);
        lab.pass(port, SYN, 0, b"");
        let mut sequence = 1;
        for payload in case {
            assert_eq!(lab.pass(port, ACK, sequence, payload), None);
            sequence += payload.len() as u32;
        }
        assert_eq!(lab.pass(port, ACK, sequence + 9, &octets), None);
        assert_eq!(lab.shown(port), Shown::Nothing);
    }
    let mut lab = Lab::new(&["calls.test"]);
    assert_eq!(lab.pass(1, ACK, 1, &octets), None, "its beginning was not seen");
    lab.pass(3, SYN | ACK, 1, b"");
    assert_eq!(lab.pass(3, ACK, 2, &octets), None, "who answers asks for no name");
}

#[test]
fn answers_are_of_the_application_that_the_client_has_asked_for() {
    let (mut names, flows, matcher) = (Names::default(), Flows::new(64), matcher(&["calls.test"]));
    let now = Time::from_secs(1);
    let mut client = Plain::new(false, TCP);
    let heard = |client: &Plain, names: &mut Names| {
        let octets = client.build();
        let packet = Packet::read(&octets).unwrap();
        let of_answers = packet.flow(None).reversed();
        assert_eq!(of_answers.reversed(), packet.flow(None));
        names.application(&flows, &matcher, (now, of_answers.hash(1)), (&octets, &packet));
        of_answers.hash(1)
    };
    client.flags = SYN;
    let shown = |hash| flows.of(hash).unwrap().shown(now, hash);
    let hash = heard(&client, &mut names);
    assert_eq!(shown(hash), Shown::Waits);
    (client.flags, client.sequence, client.payload) = (ACK, client.sequence + 1, hello("calls.test", 0));
    // By whichever worker it came: another sends the answers.
    heard(&client, &mut Names::default());
    assert_eq!(shown(hash), Shown::Is(AppId(0)));
}

#[test]
fn so_many_flows_wait_for_their_names_and_no_more() {
    let mut lab = Lab::new(&["calls.test"]);
    let octets = hello("calls.test", 1700);
    for port in 1..=65 {
        lab.now = Time::from_secs(u64::from(port));
        lab.pass(port, SYN, 0, b"");
        assert_eq!(lab.pass(port, ACK, 1, &octets[..1000]), None);
    }
    assert_eq!((lab.shown(1), lab.shown(2), lab.names.given_up()), (Shown::Nothing, Shown::Waits, 1));
    for port in 2..=65 {
        assert_eq!(lab.pass(port, ACK, 1001, &octets[1000..]), Some(0), "{port}");
    }
    // What does not fit into the room of one is not waited for either.
    lab.pass(70, SYN, 0, b"");
    let long = hello("calls.test", 9000);
    assert_eq!(lab.pass(70, ACK, 1, &long[..5000]), None);
    assert_eq!((lab.shown(70), lab.names.given_up()), (Shown::Nothing, 1));
    // As one piece from the device it is read all the same.
    lab.pass(72, SYN, 0, b"");
    assert_eq!(lab.pass(72, ACK, 1, &long), Some(0));
}

#[test]
fn with_other_applications_flows_are_of_none_until_they_begin_anew() {
    let mut lab = Lab::new(&["mail.test", "calls.test"]);
    lab.pass(1000, SYN, 0, b"");
    assert_eq!(lab.pass(1000, ACK, 1, &hello("calls.test", 0)), Some(1));
    // Compiled again, the same ones are the same.
    lab.matcher = matcher(&["mail.test", "calls.test"]);
    assert_eq!(lab.pass(1000, ACK, 500, b"more"), Some(1));
    lab.matcher = matcher(&["calls.test"]);
    assert_eq!(lab.pass(1000, ACK, 504, b"more"), None);
    lab.pass(1000, SYN, 0, b"");
    assert_eq!(lab.pass(1000, ACK, 1, &hello("calls.test", 0)), Some(0));
    lab.matcher = matcher(&[]);
    assert_eq!(lab.pass(1000, ACK, 500, b"more"), None, "nothing has a name");
}
