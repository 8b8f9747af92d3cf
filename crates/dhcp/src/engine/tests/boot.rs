use super::*;

/// Boot loaders by what a client says of itself, as a site has them.
const LOADERS: &str = "[[dhcp.class]]\nname = 'http'\ntest = \"substring(option[60].hex, 0, 10) == 'HTTPClient'\"\n\
    boot_file = 'http://192.0.2.5/boot.efi'\n\
    [[dhcp.class]]\nname = 'uefi'\ntest = \"option[93].hex == 0x0007 and substring(option[60].hex, 0, 9) == 'PXEClient'\"\n\
    boot_file = 'snponly.efi'\nnext_server = '192.0.2.6'\n";
/// The client machine identifier: type 0 and a GUID.
const MACHINE: [u8; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn loaders() -> Server {
    Server::new("", &format!("{LOADERS}{LAN}boot_file = 'pxelinux.0'\nnext_server = '192.0.2.5'\n"))
}

/// A client of an architecture (RFC 4578 section 2.1), as firmware sends it.
fn firmware(client: u8, vendor: &str, arch: u8) -> Packet {
    let class = format!("{vendor}:Arch:{arch:05}:UNDI:003016");
    discover(client)
        .option(60, class.as_bytes())
        .option(93, &[0, arch])
        .option(94, &[1, 3, 16])
        .option(97, &MACHINE)
        .list(&[1, 2, 3, 6, 12, 13, 43, 54, 60, 66, 67, 97])
}

/// As text, up to its NUL.
fn file(heard: &Heard) -> &str {
    let field = &heard.bytes[108..236];
    std::str::from_utf8(field.split(|octet| *octet == 0).next().unwrap()).unwrap()
}

#[test]
fn a_pxe_client_gets_its_loader_by_architecture_and_hears_which_machine_it_is_in_offer_and_ack() {
    let mut server = loaders();
    for (client, arch, loader, next) in [(1, 0, "pxelinux.0", 5), (2, 7, "snponly.efi", 6)] {
        let booting = firmware(client, "PXEClient", arch);
        let offer = server.send(&booting).heard(Kind::Offer);
        let asking = Packet { kind: Kind::Request, ..booting.ask(offer.address).server(US) };
        let ack = server.send(&asking).heard(Kind::Ack);
        for heard in [offer, ack] {
            assert_eq!((file(&heard), &heard.bytes[20..24]), (loader, &[192, 0, 2, next][..]));
            assert_eq!(heard.options[&97], MACHINE, "RFC 4578 section 2.3");
            assert!(!heard.options.contains_key(&60), "it was given no value");
        }
    }
}

#[test]
fn the_machine_identifier_is_echoed_unasked_and_only_to_who_sent_it() {
    let mut server = Server::lan();
    assert_eq!(server.send(&discover(1).option(97, &MACHINE)).heard(Kind::Offer).options[&97], MACHINE);
    assert!(!server.send(&discover(2).list(&[97])).heard(Kind::Offer).options.contains_key(&97));
}

#[test]
fn a_client_that_boots_over_http_is_told_unasked_that_the_offer_is_for_it() {
    let mut server = loaders();
    for unasked in [false, true] {
        let mut booting = firmware(1, "HTTPClient", 16);
        if unasked {
            booting.options.retain(|(option, _)| *option != 55);
        }
        let offer = server.send(&booting).heard(Kind::Offer);
        assert_eq!((file(&offer), offer.text(60)), ("http://192.0.2.5/boot.efi", "HTTPClient"));
        assert_eq!(offer.options[&97], MACHINE);
    }
    let by_option = "options = { boot-file-name = 'HTTPS://boot.example.net/grub.efi' }";
    let mut server = Server::new(by_option, LAN);
    let offer = server.send(&firmware(1, "HTTPClient", 16)).heard(Kind::Offer);
    assert_eq!((offer.text(67), offer.text(60)), ("HTTPS://boot.example.net/grub.efi", "HTTPClient"));
    assert!(!server.send(&firmware(2, "PXEClient", 7)).heard(Kind::Offer).options.contains_key(&60));
}

#[test]
fn option_60_to_http_clients_is_what_the_configuration_says_of_it() {
    let uri = "boot_file = 'http://192.0.2.5/boot.efi'\n";
    let told = |settings: &str| {
        let mut server = Server::new(settings, LAN);
        server.send(&firmware(1, "HTTPClient", 16)).heard(Kind::Offer).options.get(&60).cloned()
    };
    assert_eq!(
        told(&format!("{uri}options = {{ vendor-class-identifier = 'HTTPClient:site' }}")).unwrap(),
        b"HTTPClient:site"
    );
    assert_eq!(told(&format!("{uri}options = {{ vendor-class-identifier = {{ never_send = true }} }}")), None);
    assert_eq!(told("boot_file = 'boot.efi'"), None, "not a URI that it could fetch");
}

#[test]
fn vendor_options_come_as_they_were_written() {
    let settings = "options = { vendor-encapsulated-options = 'hex:0601080a04c0000205', \
         vivco-suboptions = 'hex:00000dde0401020304', vivso-suboptions = 'hex:00000dde0501036f6e65' }";
    let mut server = Server::new(settings, LAN);
    let offer = server.send(&firmware(1, "PXEClient", 7).list(&[43, 124, 125])).heard(Kind::Offer);
    assert_eq!(
        offer.options[&43],
        [6, 1, 8, 10, 4, 192, 0, 2, 5],
        "discovery control, and a menu prompt of one server"
    );
    assert_eq!(offer.options[&124], [0, 0, 0x0d, 0xde, 4, 1, 2, 3, 4]);
    assert_eq!(offer.options[&125], [0, 0, 0x0d, 0xde, 5, 1, 3, b'o', b'n', b'e']);
}
