use super::*;
use crate::options::OptionSpec;
use std::collections::BTreeMap;

struct Message {
    options: BTreeMap<u8, Vec<u8>>,
    mac: Vec<u8>,
    classes: Vec<&'static str>,
}

impl Fields for Message {
    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }
    fn mac(&self) -> &[u8] {
        &self.mac
    }
    fn htype(&self) -> u8 {
        1
    }
    fn address(&self, field: Address) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, field as u8)
    }
    fn message_type(&self) -> u8 {
        3
    }
    fn secs(&self) -> u16 {
        700
    }
    fn hops(&self) -> u8 {
        2
    }
    fn transaction_id(&self) -> u32 {
        0xdead_beef
    }
    fn interface(&self) -> &str {
        "eth1"
    }
    fn length(&self) -> usize {
        300
    }
    fn member(&self, class: &str) -> bool {
        self.classes.contains(&class)
    }
}

fn message() -> Message {
    Message {
        options: BTreeMap::from([
            (12, b"printer-7\0".to_vec()),
            (43, vec![6, 1, 8]),
            (50, vec![192, 0, 2, 7]),
            (60, b"PXEClient:Arch:00007:UNDI:003016".to_vec()),
            (80, vec![]),
            (82, b"\x01\x06port-1\x02\x02\xaa\xbb\x05\x04\x0a\x01\x00\x00".to_vec()),
            (93, vec![0, 7]),
            (124, b"\0\0\x11\x8b\x06docsis\0\0\x11\x8b\x03abc\0\0\0\x09\x05cisco".to_vec()),
            (125, b"\0\0\0\x09\x03\x01\x01x\0\0\x11\x8b\x06\x02\x04\x0a\0\0\x01".to_vec()),
        ]),
        mac: vec![0, 0x11, 0x22, 0x33, 0x44, 0x55],
        classes: vec!["KNOWN", "phones"],
    }
}

fn book() -> Definitions {
    let spec = OptionSpec { name: "my-opt".into(), code: 224, kind: "u8".into(), ..<_>::default() };
    Definitions::new(&[spec]).unwrap()
}

#[track_caller]
fn holds(text: &str) -> bool {
    Test::parse(text, &book()).unwrap_or_else(|fault| panic!("{text}: {fault}")).holds(&message())
}

#[track_caller]
fn gives(text: &str) -> String {
    let identifier = Identifier::parse(text, &book()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    identifier.identify(&message()).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
}

fn fault(text: &str) -> String {
    Test::parse(text, &book()).unwrap_err().to_string()
}

#[test]
fn options_are_read_by_code_and_by_name() {
    assert!(holds("option[50].hex == 192.0.2.7"));
    assert!(holds("option[50].text == '192.0.2.7'"));
    assert!(holds("option[dhcp-requested-address].hex == 0xc0000207"));
    assert!(holds("substring(option[60].hex, 0, 9) == 'PXEClient'"));
    assert!(holds("substring(option[vendor-class-identifier].text,0,9)=='PXEClient'"));
    assert!(holds("option[host-name].text == 'printer-7'"));
    assert!(!holds("option[12].hex == 'printer-7'"));
    assert!(holds("option[93].hex == 0x0007"));
    assert!(holds("option[client-system].text == '7'"));
    assert!(holds("option[80].exists and not option[81].exists"));
    assert!(holds("option[81].hex == ''"));
    assert!(holds("not option[my-opt].exists"));
}

#[test]
fn sub_options_of_relays_and_vendors_are_read() {
    assert!(holds("option[82].option[1].hex == 'port-1'"));
    assert!(holds("option[82].option[circuit-id].text == 'port-1'"));
    assert!(holds("relay4[1].hex == 'port-1' and relay4[2].hex == 0xaabb"));
    assert!(holds("relay4[circuit-id].exists and not relay4[subscriber-id].exists"));
    assert!(holds("relay4[link-selection].text == '10.1.0.0'"));
    assert!(holds("option[43].option[6].hex == 0x08"));
    assert!(holds("vendor[*].exists and vendor[4491].exists and not vendor[3561].exists"));
    assert!(holds("vendor.enterprise == 9"));
    assert!(holds("vendor[4491].option[2].hex == 10.0.0.1"));
    assert!(holds("vendor[4491].option[tftp-servers].text == '10.0.0.1'"));
    assert!(holds("vendor[*].option[1].hex == 'x' and not vendor[*].option[7].exists"));
    assert!(holds("vendor-class[4491].exists and vendor-class.enterprise == 4491"));
    assert!(holds("vendor-class[4491].data == 'docsis' and vendor-class[4491].data[1] == 'abc'"));
    assert!(holds("vendor-class[*].data[2] == 'cisco' and vendor-class[9].data[5] == ''"));
}

#[test]
fn header_and_packet_fields_are_read() {
    assert!(holds("pkt4.mac == 0x001122334455 and pkt4.hlen == 6 and pkt4.htype == 1"));
    assert!(holds("pkt4.ciaddr == 10.0.0.0 and pkt4.yiaddr == 10.0.0.1 and pkt4.siaddr == 10.0.0.2"));
    assert!(holds("pkt4.giaddr == 10.0.0.3 and pkt.src == 10.0.0.4 and pkt.dst == 10.0.0.5"));
    assert!(holds("pkt4.msgtype == 3 and pkt4.transid == 0xdeadbeef and pkt4.transid == 3735928559"));
    assert!(holds("pkt.iface == 'eth1' and pkt.len == 300"));
}

#[test]
fn conditions_bind_like_kea_s() {
    let (t, f) = ("'a' == 'a'", "'a' == 'b'");
    assert!(holds(&format!("{t} or {f} and {f}")));
    assert!(!holds(&format!("({t} or {f}) and {f}")));
    assert!(holds(&format!("not {f} and {t}")));
    assert!(holds(&format!("not not {t}")));
    assert!(holds("'a' != 'b' and ('ab') == 'a' + 'b'"));
    assert!(holds("member('KNOWN') and not member('unknown-class')"));
    let test = Test::parse("member('a') and (member('b') or member('a'))", &book()).unwrap();
    assert_eq!(test.classes(), &[Box::<str>::from("a"), "b".into()]);
}

#[test]
fn functions_give_what_kea_s_manual_says() {
    assert_eq!(gives("substring('foobar', 0, 6)"), "foobar");
    assert_eq!(gives("substring('foobar', 3, 3)"), "bar");
    assert_eq!(gives("substring('foobar', 3, all)"), "bar");
    assert_eq!(gives("substring('foobar', 1, 4)"), "ooba");
    assert_eq!(gives("substring('foobar', -5, 4)"), "ooba");
    assert_eq!(gives("substring('foobar', -1, -3)"), "oba");
    assert_eq!(gives("substring('foobar', 4, -2)"), "ob");
    assert_eq!(gives("substring('foobar', 2, -9)"), "fo");
    assert_eq!(gives("substring('foobar', 10, 2)"), "");
    assert_eq!(gives("substring('foobar', -7, 2)"), "");
    assert_eq!(gives("concat('foo', 'bar')"), "foobar");
    assert_eq!(gives("'foo' + pkt.iface + 'bar'"), "fooeth1bar");
    assert_eq!(gives("ifelse(option[230].exists, option[230].hex, 'none')"), "none");
    assert_eq!(gives("hexstring(pkt4.mac, ':')"), "00:11:22:33:44:55");
    assert_eq!(gives("hexstring(0x0a0b, '')"), "0a0b");
    assert_eq!(gives("split('10.11.12', '.', 2)"), "11");
    assert_eq!(gives("split('a..b-c', '.-', 4) + split('a', '.', 9)"), "c");
    assert_eq!(gives("split('a..b', '.', 2)"), "");
    assert_eq!(gives("lcase('LoWeR') + ucase('uPPer')"), "lowerUPPER");
    assert_eq!(gives("addrtotext(192.10.0.1)"), "192.10.0.1");
    assert_eq!(gives("addrtotext(0x20010db8000000000000000000000001)"), "2001:db8::1");
    assert_eq!(gives("int8totext(0xff) + int16totext(0xffff) + int32totext(0xffffffff)"), "-1-1-1");
    assert_eq!(
        gives("uint8totext(0xff) + '.' + uint16totext(0xffff) + '.' + uint32totext(4294967295)"),
        "255.65535.4294967295"
    );
    assert_eq!(gives("uint8totext(0xffff)"), "");
}

#[test]
fn our_own_conditions_match_prefixes_and_patterns() {
    assert!(holds("pkt4.mac in '00:11:22'"));
    assert!(holds("pkt4.mac in 'aa-bb-cc, 0011'"));
    assert!(!holds("pkt4.mac in '00:11:23'"));
    assert!(holds("starts_with(option[60].hex, 'PXE')"));
    assert!(holds("match('PXEClient:Arch:0000[79]:.*', option[60].hex)"));
    assert!(!holds("match('PXE', option[60].hex)"));
    assert!(holds("match('(?i)ETH\\d+', pkt.iface) and match('.*', 0xff0aff)"));
}

#[test]
fn an_identifier_that_comes_out_empty_is_none() {
    let identifier = Identifier::parse("option[230].hex", &book()).unwrap();
    assert!(identifier.identify(&message()).is_none());
    assert_eq!(gives("relay4[1].hex + '/' + hexstring(relay4[2].hex, '')"), "port-1/aabb");
}

#[test]
fn errors_say_where_and_what_was_expected() {
    assert_eq!(fault("option[60].hax == 'a'"), "column 12: expected `hex`, `text` or `exists`, found `hax`");
    assert_eq!(fault("option[60].hex = 'a'"), "column 16: `=` compares nothing: write `==`");
    assert_eq!(fault("option[60].hex"), "column 1: expected a condition, found octets: compare them with `==`");
    assert_eq!(fault("'a' == 'a"), "column 8: this text has no closing '");
    assert_eq!(
        fault("option[hostname].exists"),
        "column 8: no option of space `dhcp4` is called `hostname`: did you mean `host-name`?"
    );
    assert_eq!(fault("'a' == 'a' and"), "column 15: expected a field, a literal or a function, found the end");
    assert_eq!(fault("'a' == 'a' 'b'"), "column 12: expected `and`, `or`, a comparison or the end, found 'b'");
    assert_eq!(
        fault("option[60].exists\n  and pkt4.mcs == 0"),
        "line 2, column 12: `pkt4` has no `mcs`: expected mac, htype, hlen, ciaddr, giaddr, yiaddr, siaddr, msgtype, secs, hops or transid"
    );
    assert!(fault("option[300].exists").contains("0 to 255"));
    assert!(fault("match('(', pkt.iface)").contains("no regular expression: unclosed group"));
    assert!(fault("match('a{1000}{1000}{1000}', pkt.iface)").contains("no regular expression"));
    assert!(fault("nonsense('a')").contains("expected one of substring"));
    assert!(fault("PXEClient == option[60].hex").contains("text stands in quotes"));
    assert!(fault("pkt4.mac in 'zz'").contains("like '00:11:22'"));
    assert!(fault("split('a', '.', 0) == 'a'").contains("from 1"));
    assert!(fault("1.2.3 == 'a'").contains("no IPv4 address"));
    assert!(fault("99999999999 == 'a'").contains("4294967295"));
    assert!(fault("('a' == 'a') == 'b'").contains("expected octets"));
    assert!(fault("").contains("found the end"));
}

#[test]
fn size_and_nesting_are_bounded() {
    let deep = format!("{}'a' == 'a'{}", "(".repeat(5000), ")".repeat(5000));
    assert!(fault(&deep).contains("nested too deep"));
    assert!(fault(&"not ".repeat(5000)).contains("nested too deep"));
    assert!(fault(&format!("'{}' == 'a'", "x".repeat(MAX_TEXT))).contains("too many"));
    let long = vec!["'a'"; MAX_NODES + 1].join("+");
    assert!(fault(&long).contains("too long"));
    let nested = (0..40).fold("pkt4.mac".to_owned(), |inner, _| format!("hexstring({inner}, '::::')"));
    assert!(gives(&nested).len() <= MAX_VALUE);
}

#[test]
fn a_thousand_alternatives_are_one_flat_list() {
    let text = (0..2000).map(|n| format!("pkt4.mac == 0x{n:012x}")).collect::<Vec<_>>().join(" or ");
    assert!(!holds(&text));
    assert!(holds(&format!("{text} or pkt4.mac == 0x001122334455")));
}

/// Random sequences of the language's own words: parsing must end in a tree or an error, evaluating in an answer.
#[test]
fn no_text_and_no_message_makes_it_panic() {
    const WORDS: [&str; 44] = [
        "option",
        "[",
        "]",
        ".",
        "hex",
        "text",
        "exists",
        "(",
        ")",
        ",",
        "==",
        "!=",
        "+",
        "not",
        "and",
        "or",
        "in",
        "'a'",
        "'00:11'",
        "0x0",
        "0xabc",
        "1",
        "-1",
        "255",
        "4491",
        "1.2.3.4",
        "relay4",
        "pkt4",
        "mac",
        "pkt",
        "len",
        "vendor",
        "vendor-class",
        "*",
        "enterprise",
        "data",
        "substring",
        "hexstring",
        "ifelse",
        "split",
        "all",
        "member",
        "match",
        "é",
    ];
    const SNIPPETS: [&str; 8] = [
        "option[60].hex",
        "vendor[*].option[1].text",
        "substring(option[82].hex, -2, all)",
        "hexstring(pkt4.mac, ':')",
        "'x'",
        "pkt4.giaddr",
        "split(option[12].text, '-', 2)",
        "vendor-class[*].data[1]",
    ];
    let book = book();
    let (mut parsed, mut state) = (0, 0x9e37_79b9_7f4a_7c15u64);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..random(12) + 1 {
            if random(3) == 0 {
                text.push_str(SNIPPETS[random(SNIPPETS.len())]);
            } else {
                text.push_str(WORDS[random(WORDS.len())]);
            }
            if random(2) == 0 {
                text.push(' ');
            }
        }
        let mut message = message();
        for data in message.options.values_mut() {
            let keep = random(data.len() + 1);
            data.truncate(keep);
            if keep > 0 {
                let at = random(keep);
                data[at] = random(256) as u8;
            }
        }
        if let Ok(test) = Test::parse(&text, &book) {
            test.holds(&message);
            parsed += 1;
        }
        if let Ok(identifier) = Identifier::parse(&text, &book) {
            assert!(identifier.identify(&message).is_none_or(|octets| octets.len() <= MAX_VALUE));
            parsed += 1;
        }
    }
    assert!(parsed > 200, "only {parsed} of the texts made sense: the words are badly chosen");
}
