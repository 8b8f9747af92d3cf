//! Headers as others write them, headers that nobody should, and whatever else bytes can be.

use proptest::prelude::*;

use super::*;

/// A header that is all there is.
fn whole(bytes: &[u8]) -> Header<'_> {
    let (header, length) = Header::read(bytes).unwrap().expect("a whole header");
    assert_eq!(length, bytes.len());
    header
}

fn internet(source: &str, destination: &str) -> Ends<'static> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Ends::Internet { transport: Transport::Stream, source, destination }
}

fn line(ends: &Ends<'_>) -> String {
    let mut out = Vec::new();
    write_v1(ends, &mut out);
    String::from_utf8(out).unwrap()
}

fn octets(ends: &Ends<'_>, extras: &Extras<'_>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write_v2(ends, extras, &mut out).unwrap();
    out.split_off(b"before".len())
}

/// A header of version 2 with this command, family and content.
fn raw(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

#[test]
fn a_line_tells_both_ends_or_that_they_are_not_known() {
    for (text, ends) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", internet("192.0.2.1:4711", "198.51.100.1:443")),
        ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", internet("255.255.255.255:65535", "0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", internet("[2001:db8::1]:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", Ends::Unknown),
    ] {
        assert_eq!(whole(text.as_bytes()), Header { ends, extras: Extras::default() });
        assert_eq!(line(&ends), text);
    }
    let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    assert_eq!(whole(longest.as_bytes()).ends, Ends::Unknown);
    let (header, length) =
        Header::read(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\nGET / HTTP/1.1\r\n").unwrap().unwrap();
    assert_eq!((header.ends, length), (internet("192.0.2.1:1", "198.51.100.1:2"), 39));
    assert_eq!(line(&internet("192.0.2.1:1", "[2001:db8::1]:2")), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
    for no_line in [
        Ends::Own,
        Ends::Unix { transport: Transport::Stream, source: b"", destination: b"/s" },
        Ends::Internet {
            transport: Transport::Datagram,
            source: "192.0.2.1:1".parse().unwrap(),
            destination: "192.0.2.2:2".parse().unwrap(),
        },
    ] {
        assert_eq!(line(&no_line), "PROXY UNKNOWN\r\n");
    }
}

#[test]
fn lines_that_could_be_read_in_two_ways_are_refused() {
    for text in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 5\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP4\t192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 ::1 ::1 4711 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP6 [::1] ::1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 04711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 \r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{e9} 198.51.100.1 4711 443\r\n",
    ] {
        assert!(matches!(Header::read(text.as_bytes()), Err(ProxyError::Malformed(_))), "{text}");
    }
    assert_eq!(Header::read(b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n").unwrap(), None, "the line goes on");
    let endless = [b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat();
    assert_eq!(Header::read(&endless[..106]).unwrap(), None);
    assert_eq!(Header::read(&endless), Err(ProxyError::TooLong));
    assert_eq!(Header::read(&[&endless[..105], b"\r\n"].concat()).unwrap().unwrap().1, 107);
    assert_eq!(Header::read(&[&endless[..106], b"\r\n"].concat()), Err(ProxyError::TooLong));
}

#[test]
fn what_begins_with_something_else_is_known_at_its_first_octet_that_differs() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXX",
        b"\x16\x03\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\nX",
        b"\r\n\r\n\0\r\nQUIT\r",
    ] {
        assert_eq!(Header::read(bytes), Err(ProxyError::Absent), "{bytes:?}");
    }
    for bytes in [
        &b""[..],
        b"P",
        b"PROXY",
        b"\r",
        b"\r\n\r\n\0\r\nQUIT",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
    ] {
        assert_eq!(Header::read(bytes), Ok(None), "{bytes:?}");
    }
}

#[test]
fn octets_tell_the_ends_and_what_else_is_known() {
    let ends = internet("127.0.0.1:43796", "127.0.0.1:8443");
    let extras = Extras {
        authority: Some(b"example.org"),
        unique_id: Some(b"id"),
        alpn: Some(b"h2"),
        tls: Some(true),
        checksum: true,
    };
    let written = octets(&ends, &extras);
    assert_eq!(written[..28], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x33\x7f\0\0\x01\x7f\0\0\x01\xab\x14\x20\xfb");
    assert_eq!(written[28..52], *b"\x01\x00\x02h2\x02\x00\x0bexample.org\x05\x00\x02id");
    assert_eq!(written[52..60], *b"\x20\x00\x05\x01\0\0\0\x01");
    assert_eq!(written[60..63], *b"\x03\x00\x04");
    assert_eq!(whole(&written), Header { ends, extras });
    let mut followed = written.clone();
    followed.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(Header::read(&followed).unwrap().unwrap().1, written.len());
    // But for the type of the checksum itself, which is then none.
    for at in (16..written.len()).filter(|at| *at != 60) {
        let mut changed = written.clone();
        changed[at] ^= 0x40;
        assert!(Header::read(&changed).is_err(), "the octet at {at}");
    }
}

#[test]
fn every_family_and_transport_comes_back_as_it_was_written() {
    for transport in [Transport::Stream, Transport::Datagram] {
        for (source, destination) in [("192.0.2.1:1", "192.0.2.2:2"), ("[2001:db8::1]:1", "[::1]:65535")] {
            let ends = Ends::Internet {
                transport,
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            };
            assert_eq!(whole(&octets(&ends, &Extras::default())).ends, ends);
        }
        let full = [b'x'; 108];
        let abstract_name = {
            let mut name = [0; 108];
            name[1] = b'a';
            name
        };
        for (source, destination) in [(&b""[..], &b"/run/s"[..]), (&full, &full), (&abstract_name, b"/s")] {
            let ends = Ends::Unix { transport, source, destination };
            assert_eq!(whole(&octets(&ends, &Extras { checksum: true, ..Extras::default() })).ends, ends);
        }
    }
    let mixed = octets(&internet("192.0.2.1:1", "[2001:db8::1]:2"), &Extras::default());
    assert_eq!(whole(&mixed).ends, internet("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"));
    for ends in [Ends::Own, Ends::Unknown] {
        assert_eq!(octets(&ends, &Extras { checksum: true, ..Extras::default() }).len(), 16);
        assert_eq!(whole(&octets(&ends, &Extras::default())).ends, ends);
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_may_say_anything_beside_that() {
    for (family, body) in [(0, &b""[..]), (0x11, &[0; 12]), (0xff, b"anything"), (0x11, b"\x03\x00\x04xxxx")] {
        assert_eq!(whole(&raw(0x20, family, body)).ends, Ends::Own);
    }
    assert_eq!(whole(&raw(0x21, 0, b"what nobody knows")).ends, Ends::Unknown);
}

#[test]
fn octets_that_the_protocol_does_not_have_are_refused() {
    let addresses = [0; 12];
    let with = |rest: &[u8]| raw(0x21, 0x11, &[&addresses, rest].concat());
    for wrong in [
        raw(0x11, 0x11, &addresses),
        raw(0x31, 0x11, &addresses),
        raw(0x22, 0x11, &addresses),
        raw(0x21, 0x10, &addresses),
        raw(0x21, 0x13, &addresses),
        raw(0x21, 0x01, &addresses),
        raw(0x21, 0x41, &[0; 300]),
        raw(0x21, 0x11, &[0; 11]),
        raw(0x21, 0x21, &[0; 35]),
        raw(0x21, 0x31, &[0; 215]),
        with(b"\x01"),
        with(b"\x01\x00\x02h"),
        with(b"\x03\x00\x03abc"),
        with(b"\x20\x00\x00"),
        with(&[b"\x05\x00\x81", &[b'x'; 129][..]].concat()),
        with(b"\x03\x00\x04\0\0\0\0\x03\x00\x04\0\0\0\0"),
    ] {
        let refused = Header::read(&wrong);
        assert!(matches!(refused, Err(ProxyError::Malformed(_) | ProxyError::Checksum)), "{wrong:?}: {refused:?}");
    }
    assert_eq!(Header::read(&with(b"\x03\x00\x04\0\0\0\0")), Err(ProxyError::Checksum));
    let known =
        whole(&with(b"\x04\x00\x03\0\0\0\x30\x00\x02ns\xe0\x00\x00\x01\x00\x02h2")).extras.alpn.map(<[u8]>::to_vec);
    assert_eq!(known.as_deref(), Some(&b"h2"[..]), "padding and what is private to others are passed over");
    // It is too long before all of it is there.
    assert_eq!(Header::read(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"), Err(ProxyError::TooLong));
    assert_eq!(Header::read(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x3f\xf1"), Err(ProxyError::TooLong));
    assert_eq!(Header::read(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x3f\xf0"), Ok(None));
}

#[test]
fn what_is_too_long_to_be_said_is_not_written() {
    let (ends, long) = (internet("192.0.2.1:1", "192.0.2.2:2"), vec![b'x'; 70_000]);
    let (some, path) = (&long[..LONGEST], &long[..109]);
    for (ends, extras) in [
        (ends, Extras { authority: Some(&long), ..Extras::default() }),
        (ends, Extras { authority: Some(some), ..Extras::default() }),
        (ends, Extras { unique_id: Some(&long[..129]), ..Extras::default() }),
        (Ends::Unix { transport: Transport::Stream, source: path, destination: b"" }, Extras::default()),
    ] {
        let mut out = b"before".to_vec();
        assert_eq!((write_v2(&ends, &extras, &mut out), &*out), (Err(ProxyError::TooLong), &b"before"[..]));
    }
}

fn end() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(|(address, port)| (address, port).into());
    let v6 = any::<([u8; 16], u16)>().prop_map(|(address, port)| (address, port).into());
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_its_beginnings_wait_for_more(
        source in end(), destination in end(), id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=128)),
        tls: Option<bool>, checksum: bool,
    ) {
        let ends = Ends::Internet { transport: Transport::Stream, source, destination };
        let extras = Extras { unique_id: id.as_deref(), tls, checksum, ..Extras::default() };
        let (source, destination) = of_one_family(source, destination);
        let read = Ends::Internet { transport: Transport::Stream, source, destination };
        let (line, octets) = (line(&ends), octets(&ends, &extras));
        prop_assert_eq!(whole(line.as_bytes()), Header { ends: read, extras: Extras::default() });
        prop_assert_eq!(whole(&octets), Header { ends: read, extras });
        for bytes in [line.as_bytes(), &octets] {
            for length in 0..bytes.len() {
                prop_assert_eq!(Header::read(&bytes[..length]), Ok(None));
            }
        }
    }

    #[test]
    fn more_bytes_change_nothing_of_what_is_said_of_those_before(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), signed: bool) {
        if signed {
            bytes.splice(0..0, *b"\r\n\r\n\0\r\nQUIT\n\x21");
        }
        let told = Header::read(&bytes);
        for length in 0..bytes.len() {
            match Header::read(&bytes[..length]) {
                Ok(None) => {}
                earlier => prop_assert_eq!(earlier, told),
            }
        }
    }
}
