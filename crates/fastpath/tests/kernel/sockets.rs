//! Forwarding in user space, by the engine, on sockets of AF_XDP: real clients, real backends, the kernel's own ways.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use outwork_balance::Pool;
use outwork_fastpath::forward::Routes;
use outwork_fastpath::kernel::neighbours::resolve;
use outwork_fastpath::layout::FlowKey;
use outwork_fastpath::port::af_xdp::{AfXdp, Copying, PortError, PortSettings};
use outwork_fastpath::port::stack::Stack;
use outwork_fastpath::port::steering::{Frames, Steering};
use outwork_fastpath::port::ways::Ways;
use outwork_fastpath::port::{Pump, Pumped};
use outwork_fastpath::tables::Tables;
use outwork_fastpath::{Apply, Fastpath, Mode, Protocol, Registry, ServiceSettings, Tier, Vip};

use crate::lab::Lab;
use crate::site::{FAMILIES, Site, ask, exchange, pool_settings, settings};

/// Services and backends, as tables and as what is steered here.
fn tables() -> (Tables, Vec<Vip>) {
    let (mut registry, begin) = Registry::new(settings());
    let mut tables = Tables::new(&settings().sizes);
    begin.iter().for_each(|write| tables.apply(write).unwrap());
    let mut ours = vec![];
    for family in FAMILIES {
        let pool = Pool::new(pool_settings(family, &[0, 1, 2])).unwrap();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let vip = Vip::new(family.vip(), protocol);
            let address = |key: &str| key.parse().ok();
            let writes =
                registry.serve(vip, ServiceSettings::default(), &pool, address, Fastpath::kernel_time()).unwrap();
            writes.iter().for_each(|write| tables.apply(write).unwrap());
            ours.push(vip);
            ours.extend((0..3).map(|number| Vip::new(family.backend(number), protocol)));
        }
    }
    (tables, ours)
}

/// Forwards in the balancer's room while `work` goes on.
fn pumped(site: &Site, mode: Mode, work: impl FnOnce() + Send) -> Pumped {
    let (done, ready) = (AtomicBool::new(false), std::sync::mpsc::channel());
    std::thread::scope(|scope| {
        let (is_ready, ready) = ready;
        let (is_done, site) = (&done, &site);
        let pump = scope.spawn(move || {
            site.lab.within("balancer", || {
                let (mut tables, ours) = tables();
                let port_settings = PortSettings { frames: 1024, copying: Copying::Always, ..PortSettings::default() };
                let (mut ports, mut steered) = (vec![], vec![]);
                for interface in ["c0", "b1", "b2", "b3"] {
                    let mut steering = Steering::load(64).unwrap();
                    let port = AfXdp::open(interface, &port_settings).unwrap();
                    steering.steer(&ours.iter().map(|one| (*one, Frames::Ours)).collect()).unwrap();
                    steering.give(0, &port).unwrap();
                    steering.attach(interface, mode).unwrap();
                    ports.push(port);
                    steered.push(steering);
                }
                let (mut pump, ways) = (Pump::new(ports), Ways::open().unwrap());
                is_ready.send(()).unwrap();
                while !is_done.load(Ordering::Relaxed) {
                    if pump.turn(&mut tables, &ways, Fastpath::kernel_time()).unwrap() == 0 {
                        resolve(&tables.take_wanted()).unwrap();
                        std::thread::yield_now();
                    }
                }
                pump.pumped()
            })
        });
        // Where nobody gets ready, joining it says why.
        let work = || ready.recv().is_ok().then(work);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let pumped = pump.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        result.unwrap_or_else(|cause| std::panic::resume_unwind(cause)).unwrap();
        pumped
    })
}

fn everything_arrives(mode: Mode) {
    let site = Site::new(Tier::Xdp(mode));
    let pumped = pumped(&site, mode, || {
        for family in FAMILIES {
            let mut connections: Vec<(TcpStream, usize)> = (0..24).map(|_| site.connect(family)).collect();
            let met: BTreeSet<usize> = connections.iter().map(|(_, who)| *who).collect();
            assert_eq!(met, BTreeSet::from([0, 1, 2]), "{mode:?} {family:?}");
            connections.iter_mut().for_each(|(stream, _)| exchange(stream, 10_000));
            exchange(&mut connections[0].0, 1 << 20);
            let met: BTreeSet<usize> = (0..24u8).map(|flow| ask(&site.socket(family), &[flow; 1000])).collect();
            assert_eq!(met, BTreeSet::from([0, 1, 2]), "{mode:?} {family:?}");
        }
    });
    assert!(pumped.received > 3000 && pumped.sent > 3000, "{pumped:?}");
}

#[test]
fn everything_arrives_by_sockets_of_af_xdp_in_the_driver() {
    everything_arrives(Mode::Native);
}

#[test]
fn everything_arrives_by_sockets_of_af_xdp_after_the_driver() {
    everything_arrives(Mode::Skb);
}

#[test]
fn a_port_copies_where_the_driver_cannot_do_without_and_says_so() {
    let lab = Lab::new(&["here", "there"]);
    lab.cable(("here", "h0"), ("there", "t0"));
    lab.within("here", || {
        let port = AfXdp::open("h0", &PortSettings::default()).unwrap();
        assert!(port.copied_because().unwrap().contains("the driver cannot do without"), "{:?}", port.copied_because());
        let busy = AfXdp::open("h0", &PortSettings::default()).unwrap_err();
        assert!(busy.is_busy(), "who has the queue is not waited for: {busy}");
        drop(port);
        let never = PortSettings { copying: Copying::Never, ..PortSettings::default() };
        let error = AfXdp::open("h0", &never).unwrap_err();
        assert!(error.to_string().starts_with("queue 0 of `h0` gives no frames to a socket: the queue"), "{error}");
        let odd = PortSettings { frames: 1000, ..PortSettings::default() };
        assert!(matches!(AfXdp::open("h0", &odd), Err(PortError::Frames(1000))));
        assert!(matches!(AfXdp::open("nowhere", &never), Err(PortError::Unknown(_))));
    });
}

#[test]
fn a_frame_that_is_given_back_goes_on_as_if_it_had_come_in() {
    let lab = Lab::new(&["here", "there"]);
    lab.cable(("here", "h0"), ("there", "t0"));
    lab.ip("here", "addr add 10.3.0.1/24 dev h0");
    lab.ip("here", "link set h0 address 02:00:00:00:00:02");
    let index = lab.index("here", "h0");
    lab.within("here", || {
        let socket = std::net::UdpSocket::bind("10.3.0.1:53").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let spec = crate::frames::Spec::new("10.3.0.2:5353".parse().unwrap(), "10.3.0.1:53".parse().unwrap(), None);
        let mut frame = spec.build();
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        let stack = Stack::open().unwrap();
        stack.give(&frame, index, 0).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 2048]).unwrap();
        assert_eq!(from, "10.3.0.2:5353".parse().unwrap());
        assert!(stack.give(&frame, 9999, 0).is_err(), "no such interface");
    });
}

#[test]
fn the_kernel_is_asked_which_connections_its_sockets_have() {
    let lab = Lab::new(&["here"]);
    lab.within("here", || {
        let ways = Ways::open().unwrap();
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let service = listener.local_addr().unwrap();
            let client = TcpStream::connect(service).unwrap();
            let key = |from: SocketAddr| FlowKey {
                source: from.ip().into(),
                destination: service.ip().into(),
                source_port: from.port().to_be_bytes(),
                destination_port: service.port().to_be_bytes(),
                protocol: 6,
                zero: [0; 3],
            };
            assert!(ways.has_socket(&key(client.local_addr().unwrap())), "it is about to be accepted");
            let (accepted, peer) = listener.accept().unwrap();
            assert!(ways.has_socket(&key(peer)));
            assert!(!ways.has_socket(&key(SocketAddr::new(peer.ip(), 1))), "somebody only listens for it");
            rustix::net::sockopt::set_socket_linger(&accepted, Some(std::time::Duration::ZERO)).unwrap();
            drop(accepted);
            drop(client);
            assert!(!ways.has_socket(&key(peer)), "it was broken off");
        }
    });
}
