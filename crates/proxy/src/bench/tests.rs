use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;

use super::*;

/// Sends back what it gets, over TCP and UDP at one port.
fn echo() -> SocketAddr {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
            break (listener, socket);
        }
    };
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(length) = stream.read(&mut buffer)
                    && length > 0
                    && stream.write_all(&buffer[..length]).is_ok()
                {}
            });
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    address
}

fn options(kind: Kind, protocol: Protocol, target: SocketAddr) -> Options {
    Options {
        kind,
        target,
        protocol,
        packet_size: 512,
        connections: 5,
        workers: 2,
        duration: Duration::from_millis(500),
        timeout: Duration::from_secs(5),
    }
}

#[test]
fn every_kind_of_load_over_both_protocols_says_what_came_of_it() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for kind in Kind::ALL {
            // Each has an echo of its own: what one load leaves in the queue of a socket would have no room for the first datagrams of the next.
            let report = run(options(*kind, protocol, echo())).unwrap();
            assert!(report.is_clean(), "{report:?}");
            assert!(report.opened >= 5, "{report}");
            match (kind, protocol) {
                (Kind::Throughput, _) => assert!(report.packets > 5 && report.received_bytes > 0, "{report}"),
                (Kind::Connections, Protocol::Tcp) => assert!(report.latency.count > 5, "{report}"),
                _ => assert!(report.exchanges > 5 && report.latency.p50 > 0.0, "{report}"),
            }
        }
    }
}

#[test]
fn a_load_that_nobody_answers_says_what_is_the_matter() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = run(options(Kind::Latency, Protocol::Tcp, closed)).unwrap();
    assert!(report.failures > 0 && !report.is_clean(), "{report:?}");
    assert!(report.hint().unwrap().starts_with("nobody accepts connections at 127.0.0.1:"), "{report:?}");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut silence = options(Kind::Latency, Protocol::Udp, silent.local_addr().unwrap());
    silence.timeout = Duration::from_millis(20);
    let report = run(silence).unwrap();
    assert!(report.lost > 0 && report.hint().unwrap().contains("sends nothing back"), "{report:?}");
}

#[test]
fn who_meets_the_limits_of_a_listener_hears_which_those_may_be() {
    let tally = Tally::default();
    tally.connections.store(500, Relaxed);
    tally.failures.store(20, Relaxed);
    *tally.first.lock() = Some("Connection reset by peer (os error 104)".to_owned());
    let of =
        |kind| Report::of(&options(kind, Protocol::Tcp, ([127, 0, 0, 1], 9).into()), &tally, Duration::from_secs(1));
    assert!(of(Kind::Connections).hint().unwrap().contains("max_connections_per_client"));
    *tally.first.lock() = Some("Connection refused (os error 111)".to_owned());
    assert_eq!(of(Kind::Connections).hint(), None);
}

#[test]
fn a_load_is_ended_before_its_time() {
    let long = Options { duration: Duration::from_secs(3600), ..options(Kind::Latency, Protocol::Tcp, echo()) };
    let mut load = Load::start(long).unwrap();
    assert!(!load.is_over());
    load.cancel();
    load.wait();
    assert!(load.is_over());
}

#[test]
fn an_option_out_of_bounds_is_refused_by_its_name() {
    let fine = options(Kind::Latency, Protocol::Udp, ([127, 0, 0, 1], 9).into());
    assert_eq!(fine.fault(), None);
    let fault = |options: Options| options.fault().unwrap().0;
    assert_eq!(fault(Options { packet_size: 65_508, ..fine.clone() }), "packet_size");
    assert_eq!(fault(Options { connections: 0, ..fine.clone() }), "connections");
    assert_eq!(fault(Options { workers: 65, ..fine.clone() }), "workers");
    assert_eq!(fault(Options { duration: Duration::ZERO, ..fine }), "duration");
}
