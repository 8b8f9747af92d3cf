//! Clients that take nothing: no more is taken from the backend for them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::binary::Place;

/// Bytes of an answer.
const LENGTH: usize = 256 << 20;
/// Bytes that sockets and windows on the way may hold at most, whatever the system lets them grow to.
const HELD: usize = LENGTH / 2;

/// A server of long answers, which tells how much was taken of each when nothing was for a while, or that all was.
fn backend(host: &str) -> (SocketAddr, Receiver<usize>) {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            std::thread::spawn(move || answer(stream, &tell));
        }
    });
    (address, told)
}

fn answer(mut stream: TcpStream, tell: &Sender<usize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend_from_slice(&byte);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is heard");
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let (part, mut taken, mut stood_still) = (vec![b'x'; 1 << 20], 0, false);
    while taken < LENGTH {
        match stream.write(&part[..part.len().min(LENGTH - taken)]) {
            Ok(written) => taken += written,
            Err(error) => {
                let is_full = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(is_full, "after {taken}: {error}");
                if !stood_still {
                    tell.send(taken).expect("somebody listens");
                }
                stood_still = true;
            }
        }
    }
    if !stood_still {
        tell.send(taken).expect("somebody listens");
    }
}

#[test]
fn a_client_that_takes_nothing_has_nothing_taken_for_it_and_all_of_it_comes_once_it_does() {
    let mut place = Place::new();
    let (address, told) = backend(place.host());
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'web' }}\n\
             [proxy.pool.web]\nbackend = [{{ url = 'http://{address}' }}]\n[proxy.pool.bare]\nbackend = [{{ url = 'tcp://{address}' }}]\n\
             [[proxy.listener]]\naddress = ['{host}:7000']\npool = 'bare'\n"
        )
    });
    place.start();
    for port in [8080_u16, 7000] {
        let mut client = TcpStream::connect((place.host(), port)).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it is heard");
        let taken = told.recv().expect("it stands still, or all is taken");
        assert!(taken < HELD, "port {port}: {taken} bytes were taken for a client that took none");
        let (mut come, mut some) = (0, vec![0; 1 << 20]);
        loop {
            match client.read(&mut some).expect("the rest") {
                0 => break,
                read => come += read,
            }
        }
        assert!((LENGTH..LENGTH + 1000).contains(&come), "port {port}: {come} bytes came");
    }
}
