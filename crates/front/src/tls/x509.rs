//! What a certificate says of itself (RFC 5280): names, validity, serial number, as far as anyone here asks. No signature is
//! looked at: rustls does that with certificates of others, and ours are only shown.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is, as RFC 4514 writes it: `CN=www.example.org,O=Example`.
    pub subject: String,
    /// Who signed it, likewise.
    pub issuer: String,
    /// The common name of the subject, where it has one.
    pub common_name: Option<String>,
    /// The serial number: octets in network order.
    pub serial: Vec<u8>,
    /// From when on it is good.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// The DNS names of its `subjectAltName`, in small letters.
    pub names: Vec<String>,
    /// The addresses of its `subjectAltName`.
    pub addresses: Vec<IpAddr>,
    /// The key identifier of whoever signed it.
    pub authority_key: Option<Vec<u8>>,
    /// SHA-256 of all of it.
    pub fingerprint: [u8; 32],
    /// The encoded names, for telling whether one certificate follows another.
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
}

/// The certificate is not what RFC 5280 describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not an X.509 certificate")]
pub struct Malformed;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[3] EXPLICIT`: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[0] EXPLICIT`: the version.
const VERSION: u8 = 0xa0;

/// Object identifiers as they are encoded.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The names that RFC 4514 section 3 has for attribute types, and those in wide use.
const ATTRIBUTES: [(&[u8], &str); 11] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// Encoded values, one after the other (X.690, the distinguished encoding).
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag, its content, and all of it.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        // Tags of several octets occur nowhere in a certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some((tag, content, whole))
    }

    /// The content of the next value, which has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
    }

    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }
}

impl Facts {
    /// What people call it: its first name.
    pub(crate) fn name(&self) -> String {
        let address = || self.addresses.first().map(ToString::to_string);
        self.names.first().cloned().or_else(address).unwrap_or_else(|| self.subject.clone())
    }

    /// All names and addresses that it is for, as one text.
    pub(crate) fn all_names(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.names.iter().cloned().chain(addresses).collect::<Vec<_>>().join(" ")
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(certificate: &[u8]) -> Result<Self, Malformed> {
        Self::parse(certificate).ok_or(Malformed)
    }

    fn parse(certificate: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(certificate).take(SEQUENCE)?);
        let mut signed = Der(outer.take(SEQUENCE)?);
        if signed.peek() == Some(VERSION) {
            signed.next()?;
        }
        let serial = signed.take(INTEGER)?.to_vec();
        signed.take(SEQUENCE)?;
        let (_, issuer, issuer_der) = signed.next()?;
        let mut validity = Der(signed.take(SEQUENCE)?);
        let (_, subject, subject_der) = signed.next()?;
        let mut facts = Self {
            subject: distinguished_name(subject)?,
            issuer: distinguished_name(issuer)?,
            common_name: common_name(subject),
            serial,
            not_before: moment(validity.next()?)?,
            not_after: moment(validity.next()?)?,
            names: Vec::new(),
            addresses: Vec::new(),
            authority_key: None,
            fingerprint: Sha256::digest(certificate).into(),
            subject_der: subject_der.to_vec(),
            issuer_der: issuer_der.to_vec(),
        };
        // The public key, and identifiers that nobody uses any more.
        while signed.peek().is_some_and(|tag| tag != EXTENSIONS) {
            signed.next()?;
        }
        if signed.peek().is_some() {
            let mut extensions = Der(Der(signed.take(EXTENSIONS)?).take(SEQUENCE)?);
            while extensions.peek().is_some() {
                facts.extension(Der(extensions.take(SEQUENCE)?))?;
            }
        }
        Some(facts)
    }

    fn extension(&mut self, mut extension: Der<'_>) -> Option<()> {
        let identifier = extension.take(OBJECT)?;
        if extension.peek() == Some(BOOLEAN) {
            extension.next()?;
        }
        let mut value = Der(extension.take(OCTETS)?);
        if identifier == SUBJECT_ALT_NAME {
            let mut names = Der(value.take(SEQUENCE)?);
            while let Some((tag, content, _)) = names.next() {
                match tag {
                    0x82 => self.names.push(std::str::from_utf8(content).ok()?.to_ascii_lowercase()),
                    0x87 => self.addresses.push(address(content)?),
                    _ => {}
                }
            }
        } else if identifier == AUTHORITY_KEY {
            let mut parts = Der(value.take(SEQUENCE)?);
            if parts.peek() == Some(0x80) {
                self.authority_key = parts.take(0x80).map(<[u8]>::to_vec);
            }
        }
        Some(())
    }

    /// The serial number in hexadecimal, as `openssl x509 -serial` shows it.
    pub fn serial_hex(&self) -> String {
        let digits = self.serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(&self.serial);
        hex(digits)
    }

    /// The fingerprint in hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        hex(&self.fingerprint)
    }

    /// The whole time for which it is good.
    pub fn life(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

/// The public key of a certificate, with its algorithm (`SubjectPublicKeyInfo`, RFC 5280 section 4.1.2.7).
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut outer = Der(Der(certificate).take(SEQUENCE)?);
    let mut signed = Der(outer.take(SEQUENCE)?);
    if signed.peek() == Some(VERSION) {
        signed.next()?;
    }
    // Serial number, algorithm of the signature, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        signed.take(tag)?;
    }
    signed.next().filter(|(tag, ..)| *tag == SEQUENCE).map(|(_, _, whole)| whole)
}

/// Octets in hexadecimal, small letters.
pub(crate) fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

/// `UTCTime` and `GeneralizedTime` in the one form that RFC 5280 section 4.1.2.5 allows each.
fn moment((tag, content, _): (u8, &[u8], &[u8])) -> Option<SystemTime> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (GENERALIZED_TIME, 14) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with the leap day; an era is 400 years.
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + two(4)? * 3600 + two(6)? * 60 + two(8)?;
    match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    }
}

/// An attribute of a name: its type, and tag and content of its value.
type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// The attributes of a name, in groups.
fn attributes(name: &[u8]) -> Option<Vec<Vec<Attribute<'_>>>> {
    let (mut groups, mut all) = (Vec::new(), Der(name));
    while all.peek().is_some() {
        let (mut group, mut set) = (Vec::new(), Der(all.take(SET)?));
        while set.peek().is_some() {
            let mut pair = Der(set.take(SEQUENCE)?);
            let kind = pair.take(OBJECT)?;
            let (tag, value, _) = pair.next()?;
            group.push((kind, tag, value));
        }
        groups.push(group);
    }
    Some(groups)
}

fn common_name(name: &[u8]) -> Option<String> {
    let groups = attributes(name)?;
    let found = groups.into_iter().flatten().find(|(kind, ..)| *kind == COMMON_NAME)?;
    text(found.1, found.2)
}

/// A name as RFC 4514 writes it: the last part first.
fn distinguished_name(name: &[u8]) -> Option<String> {
    let groups = attributes(name)?;
    let group = |group: &Vec<(&[u8], u8, &[u8])>| {
        let pairs = group.iter().map(|(kind, tag, value)| {
            let known = ATTRIBUTES.iter().find(|(identifier, _)| identifier == kind);
            match (known, text(*tag, value)) {
                (Some((_, short)), Some(text)) => format!("{short}={}", escaped(&text)),
                (Some((_, short)), None) => format!("{short}=#{}", hex(value)),
                (None, Some(text)) => format!("{}={}", dotted(kind), escaped(&text)),
                (None, None) => format!("{}=#{}", dotted(kind), hex(value)),
            }
        });
        pairs.collect::<Vec<_>>().join("+")
    };
    Some(groups.iter().rev().map(group).collect::<Vec<_>>().join(","))
}

/// The text of the string types that names are made of.
fn text(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        // UTF8String, PrintableString, IA5String.
        0x0c | 0x13 | 0x16 => std::str::from_utf8(content).ok().map(str::to_owned),
        // TeletexString, which everyone takes for Latin 1.
        0x14 => Some(content.iter().map(|octet| char::from(*octet)).collect()),
        // BMPString: UTF-16.
        0x1e => {
            let units = content.chunks(2).map(|pair| pair.iter().fold(0, |unit, octet| unit << 8 | u16::from(*octet)));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// RFC 4514 section 2.4. What a terminal or a log would obey is escaped as well.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let at_edge = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', c]),
            _ if at_edge => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut octets = [0; 4];
                for octet in c.encode_utf8(&mut octets).bytes() {
                    out.push('\\');
                    out.push_str(&hex(&[octet]));
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// `2.5.4.3`.
fn dotted(identifier: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for octet in identifier {
        number = number.wrapping_shl(7) | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let first = numbers.first().copied().unwrap_or_default();
    let root = (first / 40).min(2);
    let texts =
        [root, first - root * 40].into_iter().chain(numbers.into_iter().skip(1)).map(|number| number.to_string());
    texts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SerialNumber};

    use super::*;

    fn at(unix: i64) -> SystemTime {
        match u64::try_from(unix) {
            Ok(after) => UNIX_EPOCH + Duration::from_secs(after),
            Err(_) => UNIX_EPOCH - Duration::from_secs(unix.unsigned_abs()),
        }
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let names = [
            "WWW.example.org".to_owned(),
            "*.example.net".to_owned(),
            "192.0.2.1".to_owned(),
            "2001:db8::1".to_owned(),
        ];
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_whose_it_is_for_which_names_and_how_long() {
        let der = made(|params| {
            params.not_before = at(1_700_000_000).into();
            params.not_after = at(4_107_542_400).into();
            params.serial_number = Some(SerialNumber::from_slice(&[0xca, 0xfe]));
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
            params.distinguished_name.push(DnType::CommonName, "#1 \u{1b}[2J\u{e9} ");
            params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 840, 113549, 7]), "x");
        });
        let facts = Facts::read(&der).unwrap();
        assert_eq!(facts.subject, "1.2.840.113549.7=x,CN=\\#1 \\1b[2J\u{e9}\\ ,O=Example\\, Inc.");
        assert_eq!(facts.common_name.as_deref(), Some("#1 \u{1b}[2J\u{e9} "));
        assert_eq!((facts.not_before, facts.not_after), (at(1_700_000_000), at(4_107_542_400)));
        assert_eq!(facts.names, ["www.example.org", "*.example.net"]);
        assert_eq!(facts.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!((facts.serial_hex().as_str(), facts.serial.as_slice()), ("cafe", &[0, 0xca, 0xfe][..]));
        assert_eq!(facts.subject_der, facts.issuer_der);
        assert_eq!(facts.fingerprint_hex().len(), 64);
    }

    #[test]
    fn unknown_extensions_are_passed_over_and_the_authority_is_found() {
        let der = made(|params| {
            params.use_authority_key_identifier_extension = true;
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0x0c, 0x00]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        });
        let facts = Facts::read(&der).unwrap();
        assert_eq!(facts.authority_key.map(|key| key.len()), Some(20));
        assert_eq!(facts.names.len(), 2);
    }

    #[test]
    fn moments_are_read_in_both_forms_and_in_no_other() {
        let moment = |tag, text: &str| moment((tag, text.as_bytes(), &[]));
        assert_eq!(moment(UTC_TIME, "000229000000Z"), Some(at(951_782_400)));
        assert_eq!(moment(UTC_TIME, "491231235959Z"), Some(at(2_524_607_999)));
        assert_eq!(moment(UTC_TIME, "500101000000Z"), Some(at(-631_152_000)));
        assert_eq!(moment(GENERALIZED_TIME, "21000301000000Z"), Some(at(4_107_542_400)));
        for (tag, text) in [
            (UTC_TIME, "20000229000000Z"),
            (UTC_TIME, "0002290000Z"),
            (UTC_TIME, "000229000000+0100"),
            (UTC_TIME, "001329000000Z"),
            (GENERALIZED_TIME, "21000301000000.5Z"),
            (0x0c, "000229000000Z"),
        ] {
            assert_eq!(moment(tag, text), None, "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_bent_anywhere_is_refused_or_read_and_never_ends_us() {
        let der = made(|params| params.use_authority_key_identifier_extension = true);
        for length in 0..der.len() {
            assert_eq!(Facts::read(&der[..length]), Err(Malformed), "{length} of {} octets", der.len());
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut bent = der.clone();
                bent[at] ^= 1 << bit;
                let _ = Facts::read(&bent);
            }
        }
        for junk in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x1f; 40]] {
            assert_eq!(Facts::read(junk), Err(Malformed));
        }
    }
}
