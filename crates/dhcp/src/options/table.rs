//! The options of the IANA registry "BOOTP Vendor Extensions and DHCP Options", the relay agent's sub-options, and the
//! vendor spaces that everyone meets. Names are those of the registry's lower-case form that Kea established.
use super::definition::OptionDef;
use super::kind::Kind;
use super::kind::Scalar::{self, Binary, Bool, Fqdn, I32, Ipv4, Ipv6, Text, Tuple, U8, U16, U32};

/// The space of ordinary options.
pub(super) const DHCP4: &str = "dhcp4";
/// The relay agent's sub-options (option 82).
pub(super) const RELAY: &str = "dhcp-agent-options";
/// Sub-options of option 43 without a vendor's own space.
pub(super) const VENDOR: &str = "vendor-encapsulated-options";

const fn is(code: u8, name: &'static str, kind: Kind, rfc: u16) -> OptionDef {
    OptionDef::standard(code, name, kind, rfc)
}

const fn one(code: u8, name: &'static str, scalar: Scalar, rfc: u16) -> OptionDef {
    OptionDef::standard(code, name, Kind::One(scalar), rfc)
}

const fn many(code: u8, name: &'static str, scalar: Scalar, rfc: u16) -> OptionDef {
    OptionDef::standard(code, name, Kind::Array(scalar), rfc)
}

const fn space(code: u8, name: &'static str, rfc: u16) -> OptionDef {
    OptionDef::standard(code, name, Kind::Space(std::borrow::Cow::Borrowed(name)), rfc)
}

/// Ascending by code. An RFC of 0 means the registry names none.
pub(super) static OPTIONS: [OptionDef; 157] = [
    one(1, "subnet-mask", Ipv4, 2132),
    one(2, "time-offset", I32, 2132),
    many(3, "routers", Ipv4, 2132),
    many(4, "time-servers", Ipv4, 2132),
    many(5, "name-servers", Ipv4, 2132),
    many(6, "domain-name-servers", Ipv4, 2132),
    many(7, "log-servers", Ipv4, 2132),
    many(8, "cookie-servers", Ipv4, 2132),
    many(9, "lpr-servers", Ipv4, 2132),
    many(10, "impress-servers", Ipv4, 2132),
    many(11, "resource-location-servers", Ipv4, 2132),
    one(12, "host-name", Text, 2132),
    one(13, "boot-size", U16, 2132),
    one(14, "merit-dump", Text, 2132),
    one(15, "domain-name", Text, 2132),
    one(16, "swap-server", Ipv4, 2132),
    one(17, "root-path", Text, 2132),
    one(18, "extensions-path", Text, 2132),
    one(19, "ip-forwarding", Bool, 2132),
    one(20, "non-local-source-routing", Bool, 2132),
    many(21, "policy-filter", Ipv4, 2132),
    one(22, "max-dgram-reassembly", U16, 2132),
    one(23, "default-ip-ttl", U8, 2132),
    one(24, "path-mtu-aging-timeout", U32, 2132),
    many(25, "path-mtu-plateau-table", U16, 2132),
    one(26, "interface-mtu", U16, 2132),
    one(27, "all-subnets-local", Bool, 2132),
    one(28, "broadcast-address", Ipv4, 2132),
    one(29, "perform-mask-discovery", Bool, 2132),
    one(30, "mask-supplier", Bool, 2132),
    one(31, "router-discovery", Bool, 2132),
    one(32, "router-solicitation-address", Ipv4, 2132),
    many(33, "static-routes", Ipv4, 2132),
    one(34, "trailer-encapsulation", Bool, 2132),
    one(35, "arp-cache-timeout", U32, 2132),
    one(36, "ieee802-3-encapsulation", Bool, 2132),
    one(37, "default-tcp-ttl", U8, 2132),
    one(38, "tcp-keepalive-interval", U32, 2132),
    one(39, "tcp-keepalive-garbage", Bool, 2132),
    one(40, "nis-domain", Text, 2132),
    many(41, "nis-servers", Ipv4, 2132),
    many(42, "ntp-servers", Ipv4, 2132),
    space(43, VENDOR, 2132),
    many(44, "netbios-name-servers", Ipv4, 2132),
    many(45, "netbios-dd-server", Ipv4, 2132),
    one(46, "netbios-node-type", U8, 2132),
    one(47, "netbios-scope", Text, 2132),
    many(48, "font-servers", Ipv4, 2132),
    many(49, "x-display-manager", Ipv4, 2132),
    one(50, "dhcp-requested-address", Ipv4, 2132),
    one(51, "dhcp-lease-time", U32, 2132),
    one(52, "dhcp-option-overload", U8, 2132),
    one(53, "dhcp-message-type", U8, 2132),
    one(54, "dhcp-server-identifier", Ipv4, 2132),
    many(55, "dhcp-parameter-request-list", U8, 2132),
    one(56, "dhcp-message", Text, 2132),
    one(57, "dhcp-max-message-size", U16, 2132),
    one(58, "dhcp-renewal-time", U32, 2132),
    one(59, "dhcp-rebinding-time", U32, 2132),
    one(60, "vendor-class-identifier", Text, 2132),
    one(61, "dhcp-client-identifier", Binary, 2132),
    one(62, "nwip-domain-name", Text, 2242),
    one(63, "nwip-suboptions", Binary, 2242),
    one(64, "nisplus-domain-name", Text, 2132),
    many(65, "nisplus-servers", Ipv4, 2132),
    one(66, "tftp-server-name", Text, 2132),
    one(67, "boot-file-name", Text, 2132),
    many(68, "mobile-ip-home-agent", Ipv4, 2132),
    many(69, "smtp-server", Ipv4, 2132),
    many(70, "pop-server", Ipv4, 2132),
    many(71, "nntp-server", Ipv4, 2132),
    many(72, "www-server", Ipv4, 2132),
    many(73, "finger-server", Ipv4, 2132),
    many(74, "irc-server", Ipv4, 2132),
    many(75, "streettalk-server", Ipv4, 2132),
    many(76, "streettalk-directory-assistance-server", Ipv4, 2132),
    // RFC 3004 wants tuples, but most clients (and dhclient, iPXE) send bare text, so the octets stand as they are.
    one(77, "user-class", Binary, 3004),
    is(78, "slp-directory-agent", Kind::record_repeating(&[Bool, Ipv4]), 2610),
    is(79, "slp-service-scope", Kind::record(&[Bool, Text]), 2610),
    is(80, "rapid-commit", Kind::Empty, 4039),
    is(81, "fqdn", Kind::record(&[U8, U8, U8, Fqdn]), 4702),
    space(82, RELAY, 3046),
    many(85, "nds-servers", Ipv4, 2241),
    one(86, "nds-tree-name", Text, 2241),
    one(87, "nds-context", Text, 2241),
    many(88, "bcms-controller-names", Fqdn, 4280),
    many(89, "bcms-controller-address", Ipv4, 4280),
    one(90, "authenticate", Binary, 3118),
    one(91, "client-last-transaction-time", U32, 4388),
    many(92, "associated-ip", Ipv4, 4388),
    many(93, "client-system", U16, 4578),
    is(94, "client-ndi", Kind::record(&[U8, U8, U8]), 4578),
    one(95, "ldap", Text, 3679),
    is(97, "uuid-guid", Kind::record(&[U8, Binary]), 4578),
    one(98, "uap-servers", Text, 2485),
    one(99, "geoconf-civic", Binary, 4776),
    one(100, "pcode", Text, 4833),
    one(101, "tcode", Text, 4833),
    one(108, "v6-only-preferred", U32, 8925),
    many(112, "netinfo-server-address", Ipv4, 3679),
    one(113, "netinfo-server-tag", Text, 3679),
    one(114, "v4-captive-portal", Text, 8910),
    one(116, "auto-config", U8, 2563),
    many(117, "name-service-search", U16, 2937),
    one(118, "subnet-selection", Ipv4, 3011),
    is(119, "domain-search", Kind::Domains, 3397),
    // An encoding octet says whether addresses or names follow.
    one(120, "sip-servers", Binary, 3361),
    is(121, "classless-static-route", Kind::Routes, 3442),
    one(122, "cablelabs-client-configuration", Binary, 3495),
    one(123, "geoconf", Binary, 6225),
    is(124, "vivco-suboptions", Kind::VendorClass, 3925),
    is(125, "vivso-suboptions", Kind::Vendors, 3925),
    // Codes 128 to 135 were PXE's before they were anyone else's (RFC 4578); their octets stand as they are.
    one(128, "pxe-128", Binary, 4578),
    one(129, "pxe-129", Binary, 4578),
    one(130, "pxe-130", Binary, 4578),
    one(131, "pxe-131", Binary, 4578),
    one(132, "pxe-132", Binary, 4578),
    one(133, "pxe-133", Binary, 4578),
    one(134, "pxe-134", Binary, 4578),
    one(135, "pxe-135", Binary, 4578),
    many(136, "pana-agent", Ipv4, 5192),
    one(137, "v4-lost", Fqdn, 5223),
    many(138, "capwap-ac-v4", Ipv4, 5417),
    one(139, "mos-address", Binary, 5678),
    one(140, "mos-fqdn", Binary, 5678),
    many(141, "sip-ua-cs-domains", Fqdn, 6011),
    one(142, "andsf-v4", Binary, 6153),
    one(143, "v4-sztp-redirect", Binary, 8572),
    one(144, "geoloc", Binary, 6225),
    many(145, "forcerenew-nonce-capable", U8, 6704),
    is(146, "rdnss-selection", Kind::record_repeating(&[U8, Ipv4, Ipv4, Fqdn]), 6731),
    one(147, "v4-dots-ri", Fqdn, 8973),
    many(148, "v4-dots-address", Ipv4, 8973),
    many(150, "tftp-server-address", Ipv4, 5859),
    is(151, "status-code", Kind::record(&[U8, Text]), 6926),
    one(152, "base-time", U32, 6926),
    one(153, "start-time-of-state", U32, 6926),
    one(154, "query-start-time", U32, 6926),
    one(155, "query-end-time", U32, 6926),
    one(156, "dhcp-state", U8, 6926),
    one(157, "data-source", U8, 6926),
    one(158, "v4-pcp-server", Binary, 7291),
    // Offset, prefix length and port set in bits (RFC 7618 section 9).
    is(159, "v4-portparams", Kind::record(&[U8, U8, U16]), 7618),
    // RFC 7710's captive portal, withdrawn by RFC 8910 in favour of 114; old clients still ask for it.
    one(160, "v4-captive-portal-old", Text, 7710),
    one(161, "mud-url", Text, 8520),
    one(162, "v4-dnr", Binary, 9463),
    one(175, "etherboot", Binary, 0),
    one(208, "pxelinux-magic", Binary, 5071),
    one(209, "pxelinux-config-file", Text, 5071),
    one(210, "pxelinux-path-prefix", Text, 5071),
    one(211, "pxelinux-reboot-time", U32, 5071),
    is(212, "option-6rd", Kind::record_repeating(&[U8, U8, Ipv6, Ipv4]), 5969),
    one(213, "v4-access-domain", Fqdn, 5986),
    one(220, "subnet-allocation", Binary, 6656),
    one(221, "virtual-subnet-selection", Binary, 6607),
    // Microsoft's older code for option 121, and the address of a proxy configuration file.
    is(249, "microsoft-classless-static-route", Kind::Routes, 0),
    one(252, "wpad-url", Text, 0),
];

/// Sub-options of option 82, ascending by code.
static RELAY_OPTIONS: [OptionDef; 19] = [
    one(1, "circuit-id", Binary, 3046),
    one(2, "remote-id", Binary, 3046),
    one(4, "docsis-device-class", U32, 3256),
    one(5, "link-selection", Ipv4, 3527),
    one(6, "subscriber-id", Text, 3993),
    one(7, "radius", Binary, 4014),
    one(8, "authentication", Binary, 4030),
    one(9, "vendor-specific", Binary, 4243),
    one(10, "relay-flags", U8, 5010),
    one(11, "server-id-override", Ipv4, 5107),
    one(12, "relay-id", Binary, 6925),
    many(13, "access-technology-type", U16, 7839),
    one(14, "access-network-name", Text, 7839),
    one(15, "access-point-name", Text, 7839),
    one(16, "access-point-bssid", Binary, 7839),
    one(17, "operator-id", Binary, 7839),
    one(18, "operator-realm", Text, 7839),
    is(19, "relay-port", Kind::Empty, 8357),
    one(151, "virtual-subnet-selection", Binary, 6607),
];

/// PXE's sub-options of option 43 (Intel PXE specification 2.1, table 2-1).
static PXE: [OptionDef; 12] = [
    one(1, "mtftp-ip", Ipv4, 0),
    one(2, "mtftp-cport", U16, 0),
    one(3, "mtftp-sport", U16, 0),
    one(4, "mtftp-tmout", U8, 0),
    one(5, "mtftp-delay", U8, 0),
    one(6, "discovery-control", U8, 0),
    one(7, "discovery-mcast-addr", Ipv4, 0),
    one(8, "boot-servers", Binary, 0),
    one(9, "boot-menu", Binary, 0),
    is(10, "menu-prompt", Kind::record(&[U8, Text]), 0),
    many(11, "mcast-addrs-alloc", Ipv4, 0),
    is(71, "boot-item", Kind::record(&[U16, U16]), 0),
];

/// Microsoft's sub-options of option 43 (MS-DHCPE section 2.2.2).
static MICROSOFT: [OptionDef; 3] =
    [one(1, "disable-netbios", U32, 0), one(2, "release-on-shutdown", U32, 0), one(3, "default-metric-base", U32, 0)];

/// CableLabs' sub-options of option 125 (enterprise 4491, CL-SP-CANN-DHCP).
static CABLELABS: [OptionDef; 3] =
    [many(1, "oro", U8, 0), many(2, "tftp-servers", Ipv4, 0), many(3, "erouter-containers", Tuple, 0)];

/// The spaces known without being defined, by name.
pub(super) static SPACES: [(&str, &[OptionDef]); 5] =
    [(RELAY, &RELAY_OPTIONS), (VENDOR, &[]), ("PXE", &PXE), ("MSFT", &MICROSOFT), ("vendor-4491", &CABLELABS)];

/// The standard option of this code.
pub(super) fn standard(code: u8) -> Option<&'static OptionDef> {
    let index = OPTIONS.binary_search_by_key(&code, |option| option.code()).ok()?;
    OPTIONS.get(index)
}
