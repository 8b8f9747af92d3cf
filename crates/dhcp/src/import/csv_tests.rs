use super::csv::*;
use std::net::Ipv4Addr;
use std::time::Duration;

const KEA_2_2: &str =
    "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n";

fn row(last: u8) -> LeaseRow {
    LeaseRow {
        address: Ipv4Addr::new(192, 0, 2, last),
        mac: vec![0, 0x11, 0x22, 0x33, 0x44, 0x55],
        client_id: vec![1, 0, 0x11, 0x22, 0x33, 0x44, 0x55],
        valid_lifetime: Duration::from_secs(3600),
        expires: Duration::from_secs(1_700_000_000),
        subnet_id: 7,
        fqdn_forward: true,
        fqdn_reverse: false,
        hostname: "printer.example.org".into(),
        state: LeaseState::Assigned,
        user_context: String::new(),
        pool_id: 0,
    }
}

fn read(text: &str) -> Vec<Result<LeaseRow, String>> {
    let rows = LeaseRows::new(text.as_bytes()).unwrap();
    rows.map(|row| row.map_err(|error| error.to_string())).collect()
}

#[test]
fn a_row_of_kea_2_2_is_read_whole() {
    let text = format!(
        "{KEA_2_2}192.0.2.9,00:11:22:33:44:55,01:00:11:22:33:44:55,3600,1700000000,7,1,0,printer.example.org,0,\n\
         192.0.2.10,,,4294967295,1700000000,7,0,0,a&#x2cb&#x26c&#x,1,{{ \"ISC\": 1&#x2c \"b\": 2 }}\r\n"
    );
    let rows = read(&text);
    assert_eq!(rows[0], Ok(row(9)));
    let declined = rows[1].as_ref().unwrap();
    assert_eq!((declined.hostname.as_str(), declined.state), ("a,b&c&#x", LeaseState::Declined));
    assert_eq!(declined.user_context, r#"{ "ISC": 1, "b": 2 }"#);
    assert_eq!((declined.mac.len(), declined.client_id.len()), (0, 0));
    assert_eq!(declined.valid_lifetime, Duration::from_secs(u32::MAX.into()));
}

#[test]
fn older_and_newer_headers_are_read() {
    let old = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname\n\
               192.0.2.9,00:11:22:33:44:55,01:00:11:22:33:44:55,3600,1700000000,7,1,0,printer.example.org\n";
    assert_eq!(read(old), [Ok(row(9))]);
    let new = format!(
        "{},pool_id\n192.0.2.9,00:11:22:33:44:55,01:00:11:22:33:44:55,3600,1700000000,7,1,0,printer.example.org,0,,5\n",
        KEA_2_2.trim()
    );
    assert_eq!(read(&new), [Ok(LeaseRow { pool_id: 5, ..row(9) })]);
}

#[test]
fn what_is_written_is_read_back() {
    let rows = [
        row(1),
        LeaseRow { hostname: "a,b&#x2c\n".into(), user_context: r#"{"a":1,"b":2}"#.into(), ..row(2) },
        LeaseRow { mac: vec![], client_id: vec![], state: LeaseState::Reclaimed, ..row(3) },
    ];
    let mut writer = LeaseWriter::new(Vec::new()).unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    let text = String::from_utf8(writer.finish().unwrap()).unwrap();
    assert!(text.starts_with(KEA_2_2));
    assert_eq!(read(&text), rows.map(Ok));
}

#[test]
fn the_later_row_wins_and_a_zero_lifetime_deletes() {
    let mut writer = LeaseWriter::new(Vec::new()).unwrap();
    for lease in [
        row(1),
        row(2),
        LeaseRow { hostname: "renamed".into(), ..row(1) },
        LeaseRow { valid_lifetime: Duration::ZERO, ..row(2) },
    ] {
        writer.write(&lease).unwrap();
    }
    let mut octets = writer.finish().unwrap();
    octets.extend(b"192.0.2.300,nonsense\n");
    let mut faults = Vec::new();
    let leases = latest(LeaseRows::new(&octets[..]).unwrap(), |fault| faults.push(fault.to_string())).unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[&Ipv4Addr::new(192, 0, 2, 1)].hostname, "renamed");
    assert_eq!(faults, ["line 6: expected 11 fields like the header, found 2"]);
}

#[test]
fn errors_name_the_line_the_column_and_what_was_expected() {
    let text =
        format!("{KEA_2_2}\n192.0.2.999,,,1,1,1,0,0,,0,\n192.0.2.9,zz,,1,1,1,0,0,,0,\n192.0.2.9,,,1,1,1,0,0,,9,\n");
    let faults: Vec<String> = read(&text).into_iter().map(Result::unwrap_err).collect();
    assert_eq!(faults[0], "line 3: address: expected an IPv4 address, found `192.0.2.999`");
    assert_eq!(faults[1], "line 4: hwaddr: expected octets like 00:11:22:33:44:55, found `zz`");
    assert_eq!(faults[2], "line 5: state: expected a state from 0 to 3, found `9`");
    let header = |text: &str| LeaseRows::new(text.as_bytes()).unwrap_err().to_string();
    assert!(header("address,duid,valid_lifetime\n").contains("DHCPv6"));
    assert!(header("address,colour\n").contains("`colour`"));
    assert!(header("address,hwaddr\n").contains("`client_id` is missing"));
    assert!(header("").contains("empty"));
}

#[test]
fn a_line_without_end_is_refused_and_ends_the_reading() {
    let text = format!("{KEA_2_2}{}", "x".repeat(MAX_LINE + 10));
    let rows = read(&text);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].as_ref().unwrap_err().contains("line 2: longer than"));
}
