//! Places that come and go, and doors that take over from others.

use super::*;

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// One request on a connection that may have served others.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(get("/now").as_bytes()).unwrap();
    let mut some = [0; 4096];
    let read = stream.read(&mut some).unwrap();
    String::from_utf8_lossy(&some[..read]).into_owned()
}

#[test]
fn a_place_is_listened_at_from_a_reload_on_and_another_no_longer_and_connections_stay() {
    let mut running = Running::new(Options::default());
    let door = running.door.take().unwrap();
    let first = door.addresses()[0];
    let mut kept = connect(first).unwrap();
    assert!(ask(&mut kept).contains("at once"));
    let both = door.prepare(&[place(), place()]).unwrap();
    let second = both.addresses()[1];
    assert!(both.addresses()[0] == first && second != first);
    door.replace(serving(Options::default(), Site), both);
    assert!(ask(&mut connect(second).unwrap()).contains("at once"));
    assert!(ask(&mut connect(first).unwrap()).contains("at once"));
    // Of two that are alike, the first stays.
    let one = door.prepare(&[place()]).unwrap();
    assert_eq!(one.addresses(), [first]);
    let mut waiting = connect(second).unwrap();
    let mut kept_there = connect(second).unwrap();
    assert!(ask(&mut kept_there).contains("at once"));
    door.replace(serving(Options::default(), Site), one);
    assert!(ask(&mut waiting).contains("at once"), "who came before is served");
    assert!(ask(&mut kept_there).contains("at once") && ask(&mut kept).contains("at once"));
    while connect(second).is_ok() {
        std::thread::yield_now();
    }
    door.stop(Farewell::Brief, Duration::from_secs(5));
}

#[test]
fn what_cannot_be_bound_changes_nothing() {
    let running = Running::new(Options::default());
    let door = running.door.as_ref().unwrap();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let refused = door.prepare(&[Place { address: taken.local_addr().unwrap(), ..place() }]);
    assert!(matches!(refused.map(|_| ()), Err(DoorError::Listen { .. })));
    assert!(running.ask(&get("/now")).contains("at once"));
}

#[test]
fn a_door_takes_the_sockets_of_another_over_and_refuses_nobody() {
    for threads in [1, 2, 3] {
        let mut before = Running::new(Options::default());
        let address = before.door.as_ref().unwrap().addresses()[0];
        let (mut idle, mut under_way) = (connect(address).unwrap(), connect(address).unwrap());
        assert!(ask(&mut idle).contains("at once"));
        // Whichever of the two has accepted it.
        let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhel";
        under_way.write_all(head).unwrap();
        let handed = before.door.as_ref().unwrap().hand_over().unwrap();
        let after = Running::open(Options::default(), Site, threads, handed);
        assert_eq!(after.door.as_ref().unwrap().addresses(), [address]);
        let door = before.door.take().unwrap();
        let leaving = std::thread::spawn(move || door.stop(Farewell::Long, Duration::from_secs(60)));
        // Once the threads have been told, the next answer says that it was the last.
        loop {
            let answer = ask(&mut idle);
            assert!(answer.contains("at once"), "{answer}");
            if answer.contains("connection: close") {
                break;
            }
        }
        // Whoever accepts: everybody is served, again and again.
        while after.metrics.connections.get() < 20 {
            assert!(ask(&mut connect(address).unwrap()).contains("at once"));
        }
        under_way.write_all(b"lo").unwrap();
        assert!(read(&mut under_way).ends_with("hello"));
        leaving.join().unwrap();
        assert!(ask(&mut connect(address).unwrap()).contains("at once"));
    }
}
