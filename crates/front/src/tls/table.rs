//! Which certificate a client gets: by the name it asks for (RFC 6066 section 3) or the address it has come to, and by what it can verify.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The longest name that is looked up (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

/// The certificates of a listener by name. Of several for one name, that of the first kind that the client can verify is
/// taken: one with an ECDSA key may stand before one with an RSA key.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Box<str>, Vec<usize>>,
    /// `*.example.org` under `example.org`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
    /// In the order of the configuration: whoever asks for nothing that is here gets the first.
    all: Vec<Arc<CertifiedKey>>,
    everyone: Vec<usize>,
    /// Those for addresses, which clients do not ask for: they come to one.
    address: HashMap<IpAddr, Vec<usize>>,
}

impl Table {
    /// Of these certificates.
    pub(crate) fn new<'c>(certificates: impl IntoIterator<Item = &'c Certificate>) -> Self {
        let mut table = Self::default();
        for (index, certificate) in certificates.into_iter().enumerate() {
            table.all.push(Arc::clone(&certificate.key));
            table.everyone.push(index);
            for address in &certificate.facts.addresses {
                table.address.entry(*address).or_default().push(index);
            }
            for name in &certificate.facts.names {
                let (of_kind, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                of_kind.entry(name.into()).or_default().push(index);
            }
        }
        table
    }

    /// Whether there is a certificate for this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    /// The certificate for a client that asks for `name` and can verify `schemes`.
    pub(crate) fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        self.among(name.and_then(|name| self.named(name)).unwrap_or(&self.everyone), schemes)
    }

    /// The certificate for a client that asks for no name and has come to this address, where it is not the one for everyone.
    pub(crate) fn at(&self, address: IpAddr, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let chosen = self.among(self.address.get(&address.to_canonical())?, schemes)?;
        Some(chosen).filter(|chosen| !self.choose(None, schemes).is_some_and(|usual| Arc::ptr_eq(usual, chosen)))
    }

    fn among(&self, candidates: &[usize], schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let mut keys = candidates.iter().filter_map(|index| self.all.get(*index));
        let first = keys.clone().next();
        keys.find(|certified| certified.key.choose_scheme(schemes).is_some()).or(first)
    }

    fn named(&self, name: &str) -> Option<&Vec<usize>> {
        let mut lower = [0; LONGEST];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).ok()?;
        // A wildcard stands for one label, and for the first only (RFC 9525 section 6.3).
        let parent = || name.split_once('.').map(|(_, parent)| parent);
        self.exact.get(name).or_else(|| self.wildcard.get(parent()?))
    }
}
