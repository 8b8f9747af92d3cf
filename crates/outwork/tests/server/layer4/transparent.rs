//! Connections and sessions whose backends see the client's own address, in network namespaces: a client, a router that is the proxy, and a backend.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use outwork_net::testing::Lab;

use crate::binary::Place;

#[test]
fn backends_see_the_address_of_the_client_and_what_is_diverted_is_accepted_whatever_it_is_for() {
    let lab = Lab::new();
    let (client, proxy, backend) = (lab.namespace("client"), lab.namespace("proxy"), lab.namespace("backend"));
    lab.veth((&client, "eth0"), (&proxy, "clients"));
    lab.veth((&backend, "eth0"), (&proxy, "backends"));
    for (namespace, address) in [(&client, "10.0.1.2/24 dev eth0"), (&backend, "10.0.2.2/24 dev eth0")] {
        namespace.ip(&format!("addr add {address}"));
    }
    proxy.ip("addr add 10.0.1.1/24 dev clients");
    proxy.ip("addr add 10.0.2.1/24 dev backends");
    client.ip("route add default via 10.0.1.1");
    backend.ip("route add default via 10.0.2.1");
    // What clients send to a service elsewhere, and what backends answer, is for this machine.
    proxy.ip("rule add iif clients to 192.0.2.0/24 lookup 100");
    proxy.ip("rule add iif backends lookup 100");
    proxy.ip("route add local default dev lo table 100");
    let mut place = Place::with(
        "[proxy.pool.tcp]\nbackend = [{ url = 'tcp://10.0.2.2:9000' }]\n\
         [proxy.pool.udp]\nbackend = [{ url = 'udp://10.0.2.2:9000' }]\n\
         [[proxy.listener]]\nname = 'tcp'\naddress = ['0.0.0.0:9000']\npool = 'tcp'\ntransparent = true\nsend_proxy = 'v1'\n\
         [[proxy.listener]]\nname = 'udp'\naddress = ['0.0.0.0:9000']\nprotocol = 'udp'\npool = 'udp'\ntransparent = true\n",
    );
    let (tcp, udp) = backend.run(|| {
        let tcp = TcpListener::bind("10.0.2.2:9000").expect("a port");
        (tcp, UdpSocket::bind("10.0.2.2:9000").expect("a port"))
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            let peer = stream.peer_addr().expect("a peer").ip();
            let mut line = vec![0; 200];
            let length = stream.read(&mut line).expect("a line");
            line.truncate(length);
            let _ = stream.write_all(&[format!("{peer} ").as_bytes(), &line].concat());
        }
    });
    std::thread::spawn(move || {
        let mut heard = [0; 100];
        while let Ok((_, from)) = udp.recv_from(&mut heard) {
            let _ = udp.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
    proxy.run(|| place.start());
    let (line, said, from) = client.run(|| {
        let mut stream = TcpStream::connect("192.0.2.80:9000").expect("it is diverted");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut line = String::new();
        stream.read_to_string(&mut line).expect("a line");
        let socket = UdpSocket::bind("10.0.1.2:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        socket.send_to(b"?", "192.0.2.80:9000").expect("it is sent");
        let mut said = [0; 100];
        let (length, from) = socket.recv_from(&mut said).expect("an answer");
        (line, String::from_utf8_lossy(&said[..length]).into_owned(), from)
    });
    assert!(line.starts_with("10.0.1.2 PROXY TCP4 10.0.1.2 192.0.2.80 "), "{line}");
    assert_eq!((said.as_str(), from.to_string().as_str()), ("10.0.1.2", "192.0.2.80:9000"));
}
