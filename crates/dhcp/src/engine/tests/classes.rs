use super::*;

/// One subnet whose first pool is for members of `class`, its second for everybody.
fn guarded(class: &str) -> String {
    LAN.replace(
        "pools = [",
        &format!("pools = [{{ range = '192.0.2.100-192.0.2.109', allow_classes = ['{class}'] }}, "),
    )
}

fn classes(tables: &[(&str, &str)]) -> String {
    tables.iter().map(|(name, test)| format!("[[dhcp.class]]\nname = '{name}'\n{test}\n")).collect()
}

#[test]
fn the_class_of_a_vendor_exists_without_being_defined() {
    let mut server = Server::new("", &guarded("VENDOR_CLASS_docsis3.0 \"x\""));
    assert_eq!(server.offer(&discover(1).option(60, b"docsis3.0 \"x\"")), ip(100));
    for (client, vendor) in [(2, &b"docsis3.0"[..]), (3, b"docsis3.0 \"x\" "), (4, b"DOCSIS3.0 \"x\"")] {
        assert!(server.offer(&discover(client).option(60, vendor)) < ip(100), "{vendor:?}");
    }
    assert!(server.offer(&discover(5)) < ip(100));
}

#[test]
fn a_test_may_ask_for_the_class_of_a_vendor() {
    let tables = classes(&[("modem", "test = \"member('VENDOR_CLASS_docsis3.0')\"")]);
    let both = guarded("modem").replace("'modem'", "'modem', 'VENDOR_CLASS_docsis3.0'");
    for lan in [guarded("modem"), both] {
        let mut server = Server::new("", &format!("{tables}{lan}"));
        assert_eq!(server.offer(&discover(1).option(60, b"docsis3.0")), ip(100));
        assert!(server.offer(&discover(2).option(60, b"other")) < ip(100));
    }
}

#[test]
fn nobody_is_a_bootp_client_since_none_is_answered() {
    let tables = classes(&[("dhcp", "test = \"not member('BOOTP')\"")]);
    let mut server = Server::new("", &format!("{tables}{}", guarded("dhcp")));
    assert_eq!(server.offer(&discover(1)), ip(100));
    let mut server = Server::new("", &guarded("BOOTP"));
    assert!(server.offer(&discover(1)) < ip(100));
    let mut bytes = discover(1).bytes();
    bytes[240..243].copy_from_slice(&[0; 3]);
    assert!(Message::decode(&bytes).is_err(), "a message without option 53");
}

#[test]
fn a_reservation_may_bar_a_client_and_keep_it_from_dns() {
    let reserved = "reservation = [{ mac = '02:00:00:00:00:01', classes = ['DROP'] }, \
                    { mac = '02:00:00:00:00:02', classes = ['SKIP_DDNS'] }]\n";
    let mut server = Server::new("", &format!("{LAN}{reserved}"));
    assert_eq!(server.send(&discover(1)).silent(), Silence::DropClass);
    server.bind(&discover(2));
}

#[test]
fn tests_see_the_classes_that_a_reservation_puts_its_client_in() {
    let tables = classes(&[
        ("vip", ""),
        ("common", "test = \"not member('vip')\""),
        ("vip phone", "test = \"member('vip') and option[60].text == 'phone'\""),
    ]);
    let reserved = "reservation = [{ mac = '02:00:00:00:00:01', classes = ['vip'] }, { mac = '02:00:00:00:00:02' }]\n";
    let mut server = Server::new("", &format!("{tables}{}{reserved}", guarded("common")));
    assert!(server.offer(&discover(1)) < ip(100), "no common client");
    assert_eq!(server.offer(&discover(2)), ip(100), "a reservation without classes changes none");
    assert_eq!(server.offer(&discover(3)), ip(101));
    let mut server = Server::new("", &format!("{tables}{}{reserved}", guarded("vip phone")));
    assert_eq!(server.offer(&discover(1).option(60, b"phone")), ip(100));
    assert!(server.offer(&discover(2).option(60, b"phone")) < ip(100));
}
