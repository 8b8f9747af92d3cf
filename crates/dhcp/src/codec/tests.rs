use super::*;
use outwork_engine::{Rng, sim};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A BOOTREQUEST of an Ethernet client with these bytes as its options field.
fn packet(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..4].copy_from_slice(&[1, 1, 6, 1]);
    bytes[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    bytes[8..12].copy_from_slice(&[0, 7, 0x80, 0]);
    bytes[12..16].copy_from_slice(&[10, 0, 0, 1]);
    bytes[24..28].copy_from_slice(&[10, 0, 0, 2]);
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    bytes[236..240].copy_from_slice(&COOKIE);
    bytes.extend_from_slice(options);
    bytes
}

const DISCOVER: [u8; 3] = [53, 1, 1];

fn discover(options: &[u8]) -> Vec<u8> {
    let mut all = DISCOVER.to_vec();
    all.extend_from_slice(options);
    all.push(255);
    packet(&all)
}

fn tlv(code: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in value.chunks(255) {
        bytes.extend_from_slice(&[code, piece.len() as u8]);
        bytes.extend_from_slice(piece);
    }
    bytes
}

fn refused(bytes: &[u8]) -> Malformed {
    Message::decode(bytes).map(|_| ()).unwrap_err()
}

/// A reader of its own: every field, every piece, in RFC 3396's order. Panics where a client would be at a loss.
struct Parsed {
    options: BTreeMap<u8, Vec<u8>>,
    /// Codes of the options field itself, in order.
    order: Vec<u8>,
}

fn parse(bytes: &[u8]) -> Parsed {
    fn walk(mut field: &[u8], each: &mut dyn FnMut(u8, &[u8])) {
        loop {
            match field {
                [0, rest @ ..] => field = rest,
                [255, rest @ ..] => return assert!(rest.iter().all(|b| *b == 0), "bytes after END"),
                [code, len, rest @ ..] => {
                    let (value, rest) = rest.split_at(usize::from(*len));
                    each(*code, value);
                    field = rest;
                }
                _ => panic!("a field without END"),
            }
        }
    }
    let (mut options, mut order) = (BTreeMap::<u8, Vec<u8>>::new(), Vec::new());
    walk(&bytes[240..], &mut |code, value| {
        order.push(code);
        options.entry(code).or_default().extend_from_slice(value);
    });
    let overload = options.get(&52).map_or(0, |value| value[0]);
    for (bit, field) in [(1, &bytes[108..236]), (2, &bytes[44..108])] {
        if overload & bit != 0 {
            walk(field, &mut |code, value| options.entry(code).or_default().extend_from_slice(value));
        }
    }
    Parsed { options, order }
}

#[test]
fn the_fields_of_the_header_are_read_where_rfc_2131_puts_them() {
    let bytes = discover(&[]);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.kind(), Kind::Discover);
    assert_eq!((message.htype(), message.xid(), message.secs()), (1, [0xde, 0xad, 0xbe, 0xef], 7));
    assert!(message.broadcast());
    assert_eq!((message.ciaddr(), message.giaddr()), (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!((message.yiaddr(), message.siaddr()), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    assert_eq!(message.chaddr(), [2, 0, 0, 0, 0, 9]);
}

#[test]
fn anything_shorter_than_header_and_cookie_is_too_short() {
    let whole = discover(&[]);
    for len in 0..HEADER {
        assert_eq!(refused(&whole[..len]), Malformed::TooShort);
    }
}

#[test]
fn a_reply_is_not_a_request() {
    let mut bytes = discover(&[]);
    for op in [0, 2, 3, 255] {
        bytes[0] = op;
        assert_eq!(refused(&bytes), Malformed::NotRequest);
    }
}

#[test]
fn a_hardware_address_longer_than_chaddr_is_refused() {
    let mut bytes = discover(&[]);
    bytes[2] = 16;
    assert_eq!(Message::decode(&bytes).unwrap().chaddr().len(), 16);
    for hlen in [17, 128, 255] {
        bytes[2] = hlen;
        assert_eq!(refused(&bytes), Malformed::HardwareLength);
    }
}

#[test]
fn without_the_magic_cookie_there_are_no_options() {
    for at in 236..240 {
        let mut bytes = discover(&[]);
        bytes[at] ^= 1;
        assert_eq!(refused(&bytes), Malformed::Cookie);
    }
}

#[test]
fn an_option_that_runs_past_its_field_is_truncated() {
    for options in [&[12u8] as &[u8], &[12, 1], &[12, 5, b'h', b'o']] {
        let mut all = DISCOVER.to_vec();
        all.extend_from_slice(options);
        assert_eq!(refused(&packet(&all)), Malformed::TruncatedOption, "{options:?}");
    }
    // In sname it must not run on into file.
    let mut bytes = discover(&[52, 1, 2]);
    bytes[44..108].fill(0);
    bytes[106..108].copy_from_slice(&[12, 1]);
    assert_eq!(refused(&bytes), Malformed::TruncatedOption);
    bytes[106..108].copy_from_slice(&[0, 12]);
    assert_eq!(refused(&bytes), Malformed::TruncatedOption);
}

#[test]
fn a_missing_end_is_tolerated_and_what_follows_an_end_is_not_read() {
    let mut bytes = packet(&DISCOVER);
    assert!(Message::decode(&bytes).is_ok());
    bytes.extend_from_slice(&[0, 0, 255, 12, 200]);
    assert_eq!(Message::decode(&bytes).unwrap().option(code::HOST_NAME), None);
}

#[test]
fn more_different_options_than_anyone_sends_are_refused() {
    let options = |count: u8| (130..130 + count).flat_map(|code| [code, 0]).collect::<Vec<_>>();
    assert!(Message::decode(&discover(&options(95))).is_ok());
    assert_eq!(refused(&discover(&options(96))), Malformed::TooManyOptions);
    // The same few again and again are pieces, not many.
    let again: Vec<u8> = std::iter::repeat_n([12, 0], 400).flatten().collect();
    assert!(Message::decode(&discover(&again)).is_ok());
}

#[test]
fn the_message_type_must_be_there_once_and_one_byte_long() {
    assert_eq!(refused(&packet(&[255])), Malformed::MessageType);
    assert_eq!(refused(&packet(&[53, 0, 255])), Malformed::MessageType);
    assert_eq!(refused(&packet(&[53, 2, 1, 1, 255])), Malformed::MessageType);
    assert_eq!(refused(&packet(&[53, 1, 1, 53, 1, 3, 255])), Malformed::MessageType);
    assert_eq!(refused(&packet(&[53, 1, 0, 255])), Malformed::MessageType);
    assert_eq!(refused(&packet(&[53, 1, 200, 255])), Malformed::MessageType);
}

#[test]
fn what_only_servers_send_is_refused() {
    for kind in [2, 5, 6, 11, 12, 13] {
        assert_eq!(refused(&packet(&[53, 1, kind, 255])), Malformed::UnexpectedType);
    }
    for kind in [1, 3, 4, 7, 8, 10] {
        assert_eq!(Message::decode(&packet(&[53, 1, kind, 255])).unwrap().kind() as u8, kind);
    }
}

#[test]
fn a_relay_sub_option_that_runs_past_the_end_is_truncated() {
    for relay in [&[1u8] as &[u8], &[1, 4, 9], &[1, 1, 9, 2], &[1, 1, 9, 2, 200, 1]] {
        assert_eq!(refused(&discover(&tlv(82, relay))), Malformed::TruncatedRelay, "{relay:?}");
    }
    let bytes = discover(&tlv(82, &[1, 1, 9, 2, 0]));
    let message = Message::decode(&bytes).unwrap();
    let relay = message.relay().unwrap();
    assert_eq!((relay.get(1), relay.get(2), relay.get(3)), (Some(&[9u8][..]), Some(&[][..]), None));
}

#[test]
fn options_of_a_length_their_type_forbids_are_refused() {
    let bad: [&[u8]; 14] = [
        &[50, 3, 10, 0, 0],
        &[50, 5, 10, 0, 0, 1, 1],
        &[51, 2, 0, 1],
        &[54, 0],
        &[118, 3, 10, 0, 0],
        &[57, 1, 5],
        &[57, 3, 5, 0, 0],
        &[61, 0],
        &[52, 0],
        &[52, 1, 0],
        &[52, 1, 4],
        &[52, 2, 1, 1],
        &[82, 5, 5, 3, 10, 0, 0],
        &[82, 7, 11, 5, 10, 0, 0, 1, 1],
    ];
    for options in bad {
        assert_eq!(refused(&discover(options)), Malformed::OptionLength, "{options:?}");
    }
}

#[test]
fn a_client_identifier_is_never_cut_short() {
    let id: Vec<u8> = (0..255).collect();
    let bytes = discover(&tlv(61, &id));
    assert_eq!(Message::decode(&bytes).unwrap().option(61), Some(&id[..]));
    assert_eq!(refused(&discover(&tlv(61, &[7; 256]))), Malformed::OptionLength);
}

#[test]
fn every_reason_has_a_label_of_its_own() {
    let mut names: Vec<_> = Malformed::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Malformed::ALL.len());
}

#[test]
fn pieces_of_an_option_are_joined_though_others_stand_between_them() {
    let bytes = discover(&[&tlv(12, b"ho")[..], &tlv(60, b"v"), &tlv(12, b"st"), &[0, 0], &tlv(12, b"1")].concat());
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.option(12), Some(&b"host1"[..]));
    assert_eq!(message.option(60), Some(&b"v"[..]));
    assert_eq!(message.codes().collect::<Vec<_>>(), [53, 12, 60]);
}

#[test]
fn a_split_option_without_a_byte_is_empty_not_absent() {
    let bytes = discover(&[12, 0, 60, 1, 7, 12, 0]);
    assert_eq!(Message::decode(&bytes).unwrap().option(12), Some(&[][..]));
}

#[test]
fn overloaded_fields_are_read_file_first_and_joined_with_the_options_field() {
    for overload in 1..=3u8 {
        let mut bytes = discover(&[&tlv(12, b"a")[..], &[52, 1, overload]].concat());
        bytes[108..114].copy_from_slice(&[12, 1, b'b', 60, 0, 255]);
        bytes[44..48].copy_from_slice(&[12, 1, b'c', 255]);
        let message = Message::decode(&bytes).unwrap();
        let expected: &[u8] = [b"ab" as &[u8], b"ac", b"abc"][usize::from(overload) - 1];
        assert_eq!(message.option(12), Some(expected), "overload {overload}");
        assert_eq!(message.option(60).is_some(), overload & 1 != 0);
    }
    let mut bytes = discover(&[]);
    bytes[108..111].copy_from_slice(&[12, 1, b'x']);
    assert_eq!(Message::decode(&bytes).unwrap().option(12), None, "a boot file's name is not an option");
}

#[test]
fn a_relay_option_that_was_split_is_one_option() {
    let relay: Vec<u8> = [&[1u8, 200][..], &[7; 200], &[2, 100], &[8; 100]].concat();
    let bytes = discover(&tlv(82, &relay));
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.relay().unwrap().get(2), Some(&[8u8; 100][..]));
}

fn reply(request: &[u8], options: &[(u8, Vec<u8>)], last: Option<&[u8]>) -> (Vec<u8>, u32) {
    let message = Message::decode(request).unwrap();
    let mut out = vec![1, 2, 3];
    let mut reply = Reply::new(&mut out, &message, Kind::Ack);
    if let Some(last) = last {
        reply.keep_room(last.len());
    }
    for (code, value) in options {
        reply.option(*code, value);
    }
    let dropped = reply.finish(last.map(|last| (code::RELAY_AGENT, last)));
    (out, dropped)
}

#[test]
fn a_reply_echoes_what_table_3_says_and_nothing_else() {
    let mut request = discover(&[]);
    request[44..236].fill(b'x');
    let (out, _) = reply(&request, &[], None);
    assert_eq!(out[0], 2);
    assert_eq!(out[1..3], request[1..3]);
    assert_eq!(out[3], 0, "hops");
    assert_eq!(out[4..8], request[4..8]);
    assert_eq!(out[8..10], [0, 0], "secs");
    assert_eq!(out[10..12], request[10..12]);
    assert_eq!(out[12..24], [0; 12]);
    assert_eq!(out[24..44], request[24..44]);
    assert_eq!(out[44..236], [0; 192]);
    assert_eq!(out[236..244], [99, 130, 83, 99, 53, 1, 5, 255]);
}

#[test]
fn a_reply_is_never_shorter_than_a_bootp_message() {
    let (out, _) = reply(&discover(&[]), &[], None);
    assert_eq!(out.len(), MINIMUM);
    let (out, _) = reply(&discover(&[]), &[(12, vec![7; 90])], None);
    assert_eq!(out.len(), HEADER + 3 + 92 + 1);
}

#[test]
fn option_82_comes_last_and_is_never_overloaded() {
    let relay = [&[1u8, 200][..], &[7; 200]].concat();
    let request = discover(&tlv(82, &relay));
    for size in 0..=250 {
        let (out, _) = reply(&request, &[(43, vec![9; size]), (15, vec![8; 60]), (66, vec![7; 40])], Some(&relay));
        let parsed = parse(&out);
        assert_eq!(parsed.order.last(), Some(&82));
        assert_eq!(parsed.options[&82], relay);
        assert!(out.len() <= 548, "{}", out.len());
    }
}

#[test]
fn an_option_82_that_does_not_fit_is_left_out_whole_and_counted() {
    let relay: Vec<u8> = [&[1u8, 200][..], &[7; 200], &[2, 200], &[8; 200]].concat();
    let (out, dropped) = reply(&discover(&tlv(82, &relay)), &[(51, vec![0, 0, 14, 16])], Some(&relay));
    let parsed = parse(&out);
    assert_eq!((dropped, parsed.options.get(&82), parsed.options[&51].len()), (1, None, 4));
}

#[test]
fn a_long_option_is_split_into_pieces_of_255() {
    let request = discover(&[57, 2, 5, 220]);
    let value: Vec<u8> = (0..600).map(|n| n as u8).collect();
    let (out, dropped) = reply(&request, &[(43, value.clone())], None);
    let parsed = parse(&out);
    assert_eq!((dropped, &parsed.options[&43]), (0, &value));
    assert_eq!(parsed.order.iter().filter(|code| **code == 43).count(), 3);
}

#[test]
fn what_does_not_fit_spills_into_file_then_sname_and_is_then_left_out() {
    let options: Vec<(u8, Vec<u8>)> = (0..6).map(|n| (200 + n, vec![n; 100])).collect();
    let (out, dropped) = reply(&discover(&[]), &options, None);
    let parsed = parse(&out);
    assert_eq!(parsed.options[&52], [1]);
    assert_eq!(out[108..110], [202, 100]);
    assert_eq!(dropped, 3, "two in the options field, one in file, none in sname: it is too small");
    let small: Vec<(u8, Vec<u8>)> = (0..7).map(|n| (200 + n, vec![n; 61])).collect();
    let (out, dropped) = reply(&discover(&[]), &small, None);
    let parsed = parse(&out);
    assert_eq!((parsed.options[&52].clone(), dropped), (vec![3], 0));
    assert_eq!(parsed.options.len(), 7 + 2);
}

#[test]
fn boot_names_keep_their_fields_and_are_cut_to_leave_a_nul() {
    let request = discover(&[]);
    let message = Message::decode(&request).unwrap();
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, &message, Kind::Offer);
    reply.file(&"f".repeat(200));
    reply.sname(&"s".repeat(63));
    for n in 0..4 {
        reply.option(200 + n, &[n; 100]);
    }
    assert_eq!(reply.finish(None), 2);
    assert_eq!(out[108..235], [b'f'; 127]);
    assert_eq!((out[235], out[107], parse(&out).options.get(&52)), (0, 0, None));
}

#[test]
fn a_client_that_takes_more_gets_more_and_one_that_takes_less_gets_what_all_must_take() {
    let options = vec![(43, vec![1; 250]), (44, vec![2; 250]), (45, vec![3; 250])];
    for (asked, limit) in [(0u16, 548), (300, 548), (576, 548), (577, 549), (1000, 972), (1500, 1472), (65535, 1472)] {
        let request = discover(&[&[57, 2][..], &asked.to_be_bytes()].concat());
        let (out, _) = reply(&request, &options, None);
        assert!(out.len() <= limit, "{asked}: {}", out.len());
        assert_eq!(parse(&out).options.contains_key(&45), limit > 1000, "{asked}");
    }
}

#[test]
fn room_is_used_to_the_last_byte_and_not_beyond() {
    // Header, type, END; 4 for option 52 and END are kept back, then 2 for the option's own code and length.
    let exact = 548 - HEADER - 3 - 4 - 2 - 2;
    let value = |len: usize| vec![(43, vec![5; len])];
    let (out, dropped) = reply(&discover(&[]), &value(exact), None);
    assert_eq!((out.len(), dropped), (545, 0), "option 52 was not needed");
    let (_, dropped) = reply(&discover(&[]), &value(exact + 1), None);
    assert_eq!(dropped, 1);
    let relay = [1, 2, 3, 4];
    let request = discover(&tlv(82, &relay));
    let mut options = value(exact - 6);
    options.push((15, vec![1; 4]));
    let (out, dropped) = reply(&request, &options, Some(&relay));
    assert_eq!((out.len(), dropped), (548, 0), "with option 52 and option 82 it is full");
    assert_eq!(parse(&out).options[&15], [1; 4]);
}

#[test]
fn any_reply_reads_back_as_what_was_put_in_or_says_how_much_it_left_out() {
    sim::seeds(3000, |rng: &mut Rng| {
        let bytes = |rng: &mut Rng, most: u64| {
            let mut value = vec![0; rng.below(most) as usize];
            rng.fill(&mut value);
            value
        };
        let mut options = BTreeMap::new();
        for _ in 0..rng.below(14) {
            let code = 54 + rng.below(150) as u8;
            let most = if rng.chance(0.2) { 700 } else { 80 };
            options.insert(code, bytes(rng, most));
        }
        options.remove(&82);
        let relay = rng.chance(0.5).then(|| [tlv(1, &bytes(rng, 200)), tlv(2, &bytes(rng, 200))].concat());
        let mut all = [&[57, 2][..], &(rng.below(2000) as u16).to_be_bytes()].concat();
        all.extend(relay.iter().flat_map(|relay| tlv(82, relay)));
        let request = discover(&all);
        let asked = u16::from_be_bytes([all[2], all[3]]);
        let limit = usize::from(asked).saturating_sub(28).clamp(548, 1472);
        let given: Vec<(u8, Vec<u8>)> = options.clone().into_iter().collect();
        let (out, dropped) = reply(&request, &given, relay.as_deref());
        assert!((MINIMUM..=limit).contains(&out.len()));
        let mut parsed = parse(&out).options;
        assert_eq!(parsed.remove(&53), Some(vec![5]));
        parsed.remove(&52);
        let mut wanted = options;
        wanted.extend(relay.map(|relay| (82, relay)));
        let missing = wanted.keys().filter(|code| !parsed.contains_key(code)).count();
        assert_eq!(missing, dropped as usize);
        for (code, value) in parsed {
            assert_eq!(wanted.get(&code), Some(&value), "option {code}");
        }
    });
}

#[test]
fn decoding_joins_what_encoding_split_over_the_fields() {
    let options = vec![(43, vec![1; 400]), (12, b"host".to_vec()), (61, vec![3; 120]), (60, vec![4; 60])];
    let (mut out, dropped) = reply(&discover(&[57, 2, 3, 0]), &options, None);
    assert_eq!(dropped, 0);
    out[0] = 1;
    let at = out.windows(3).position(|w| w == [53, 1, 5]).unwrap();
    out[at + 2] = 3;
    let message = Message::decode(&out).unwrap();
    for (code, value) in &options {
        assert_eq!(message.option(*code), Some(&value[..]), "option {code}");
    }
}
