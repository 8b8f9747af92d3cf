use super::super::message::next_message;
use super::*;
use crate::testing::Lab;

const FAMILY: u16 = 0x1d;

fn peer() -> Peer {
    let prefix = |address: &str, length| Prefix { address: address.parse().unwrap(), length };
    Peer {
        public_key: [7; 32],
        preshared_key: [9; 32],
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        keepalive: 25,
        networks: vec![prefix("10.1.0.0", 16), prefix("fd00::", 64)],
    }
}

/// The attributes of a request, behind its two headers.
fn body(request: Request) -> (u16, [u8; 4], Vec<u8>) {
    let octets = request.finish(5);
    let message = next_message(&mut &octets[..]).unwrap();
    let (head, attributes) = message.body.split_first_chunk::<4>().unwrap();
    (message.kind, *head, attributes.to_vec())
}

fn list(octets: &[u8]) -> Vec<(u16, &[u8])> {
    attributes(octets).collect()
}

#[test]
fn an_interface_is_written_as_the_header_of_the_kernel_says() {
    let device = Device { private_key: [3; 32], listen_port: 51820, mark: 0x10, peers: vec![] };
    let (kind, head, octets) = body(device_request(FAMILY, 4, &device));
    // WG_CMD_SET_DEVICE of version 1; WGDEVICE_A_IFINDEX, _PRIVATE_KEY, _LISTEN_PORT, _FWMARK.
    assert_eq!((kind, head), (FAMILY, [1, 1, 0, 0]));
    let port = 51_820_u16.to_ne_bytes();
    let expected: [(u16, &[u8]); 4] =
        [(1, &4u32.to_ne_bytes()), (3, &[3; 32]), (6, &port), (7, &0x10u32.to_ne_bytes())];
    assert_eq!(list(&octets), expected);
}

#[test]
fn a_peer_is_written_as_the_header_of_the_kernel_says_and_read_back() {
    let requests = peer_requests(FAMILY, 4, &peer());
    assert_eq!(requests.len(), 1);
    let (_, _, octets) = body(requests.into_iter().next().unwrap());
    let [(1, _), (8, peers)] = list(&octets)[..] else { panic!("{octets:?}") };
    let [(0, told)] = list(peers)[..] else { panic!("{peers:?}") };
    let kinds: Vec<u16> = list(told).iter().map(|(kind, _)| *kind).collect();
    // WGPEER_A_PUBLIC_KEY, _FLAGS, _PRESHARED_KEY, _PERSISTENT_KEEPALIVE_INTERVAL, _ENDPOINT, _ALLOWEDIPS.
    assert_eq!(kinds, [1, 3, 2, 5, 4, 9]);
    let of = |wanted: u16| list(told).into_iter().find(|(kind, _)| *kind == wanted).unwrap().1;
    assert_eq!((of(1), of(2)), (&[7; 32][..], &[9; 32][..]));
    // WGPEER_F_REPLACE_ALLOWEDIPS.
    assert_eq!((of(3), of(5)), (&2u32.to_ne_bytes()[..], &25u16.to_ne_bytes()[..]));
    // A `sockaddr_in`: its family, and port and address in network order.
    assert_eq!(of(4).len(), 16);
    assert_eq!((&of(4)[..2], &of(4)[2..8]), (&2u16.to_ne_bytes()[..], &[202, 108, 192, 0, 2, 1][..]));
    let [(0, first), (0, _)] = list(of(9))[..] else { panic!("{told:?}") };
    // WGALLOWEDIP_A_FAMILY, _IPADDR, _CIDR_MASK.
    let expected: [(u16, &[u8]); 3] = [(1, &2u16.to_ne_bytes()), (2, &[10, 1, 0, 0]), (3, &[16])];
    assert_eq!(list(first), expected);

    let read = read_peer(told).unwrap();
    let Peer { public_key, endpoint, networks, .. } = peer();
    let expected = PeerReport { public_key, endpoint, handshake: None, received: 0, sent: 0, networks };
    assert_eq!(read, expected);
}

#[test]
fn what_an_interface_counts_is_read_and_a_peer_without_a_key_is_none() {
    let with = |key: &[u8]| {
        let request = question(FAMILY, &structure(GET_DEVICE, VERSION)).nested(PEERS, |peers| {
            peers.nested(ENTRY, |peer| {
                let time = [1_700_000_000_u64.to_ne_bytes(), 5_u64.to_ne_bytes()].concat();
                peer.attribute(PEER_KEY, key)
                    .attribute(PEER_HANDSHAKE, &time)
                    .attribute(PEER_RECEIVED, &11_u64.to_ne_bytes())
                    .attribute(PEER_SENT, &12_u64.to_ne_bytes())
            })
        });
        let octets = request.finish(1);
        read_peers(next_message(&mut &octets[..]).unwrap().body)
    };
    let told = with(&[4; 32]);
    assert_eq!((told.len(), told[0].received, told[0].sent, told[0].public_key), (1, 11, 12, [4; 32]));
    assert_eq!(told[0].handshake, Some(Duration::new(1_700_000_000, 5)));
    assert_eq!(with(&[4; 31]), []);
    assert_eq!(read_time(&[0; 16]), None);
}

#[test]
fn one_that_goes_is_named_and_more_networks_than_fit_come_in_several_messages() {
    let (_, _, octets) = body(removal(FAMILY, 4, &[7; 32]));
    let [_, (8, peers)] = list(&octets)[..] else { panic!("{octets:?}") };
    // WGPEER_F_REMOVE_ME.
    assert_eq!(list(list(peers)[0].1)[1], (3, &1u32.to_ne_bytes()[..]));
    let networks = (0..1100u32).map(|number| Prefix::host(std::net::IpAddr::V4(number.into()))).collect();
    let requests = peer_requests(FAMILY, 4, &Peer { networks, ..peer() });
    assert_eq!(requests.len(), 3);
    let mut all = 0;
    for (request, flags) in requests.into_iter().zip([2u32, 0, 0]) {
        let (_, _, octets) = body(request);
        let [_, (8, peers)] = list(&octets)[..] else { panic!("{octets:?}") };
        let told = list(peers)[0].1;
        assert_eq!(list(told)[1], (3, &flags.to_ne_bytes()[..]));
        all += read_peer(told).unwrap().networks.len();
    }
    assert_eq!(all, 1100);
}

#[test]
fn a_kernel_without_wireguard_says_so_and_one_with_it_does_what_it_is_told() {
    let lab = Lab::new();
    let room = lab.namespace("host");
    let (control, made) = room.run(|| {
        let mut links = Connection::open().unwrap();
        (Control::open(), links.add_link("wg7", NAME).and_then(|()| links.link("wg7")))
    });
    let mut control = match control {
        Ok(control) => control,
        Err(error) => {
            assert!(error.is_missing() && error.to_string().contains("module wireguard"), "{error}");
            let refused = made.unwrap_err();
            assert!(refused.is_unknown() && refused.to_string().contains("module wireguard"), "{refused}");
            return;
        }
    };
    let link = made.unwrap().unwrap().index;
    let device = Device { private_key: [0x40; 32], listen_port: 51820, mark: 0, peers: vec![peer()] };
    control.set(link, &device).unwrap();
    let told = control.peers(link).unwrap();
    assert_eq!((told.len(), told[0].endpoint, &told[0].networks), (1, peer().endpoint, &peer().networks));
    control.set(link, &Device { peers: vec![], ..device }).unwrap();
    assert_eq!(control.peers(link).unwrap(), []);
}
