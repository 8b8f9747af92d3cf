//! What a certificate is asked for with: a key, and a proof that who asks has the private one. For one authority and one purpose: nobody else can show it for another.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::message::Request;

/// What stands before what is signed.
const CONTEXT: &[u8] = b"outwork sdwan certificate 1\0";
/// Octets of a key (RFC 8032 section 5.1.5).
const KEY: usize = 32;

fn signed_part(network: &str, purpose: &str, key: &[u8]) -> Vec<u8> {
    [CONTEXT, network.as_bytes(), b"\0", purpose.as_bytes(), b"\0", key].concat()
}

impl Request {
    /// Asks the authority of `network` for a certificate for `key`; the purpose is the token that is shown, or the site that has one already.
    ///
    /// # Errors
    /// When the key refuses.
    pub fn new(key: &KeyPair, network: &str, purpose: &str) -> Result<Request, rcgen::Error> {
        let proof = key.sign(&signed_part(network, purpose, key.der_bytes()))?;
        Ok(Request { public_key: STANDARD.encode(key.der_bytes()), proof: STANDARD.encode(proof) })
    }

    /// The public key, if who asks has the private one, and asks for this.
    pub fn key(&self, network: &str, purpose: &str) -> Option<Vec<u8>> {
        let key = STANDARD.decode(&self.public_key).ok().filter(|key| key.len() == KEY)?;
        let proof = STANDARD.decode(&self.proof).ok()?;
        let signed = signed_part(network, purpose, &key);
        UnparsedPublicKey::new(&ED25519, &key).verify(&signed, &proof).ok()?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::PKCS_ED25519;

    use super::*;

    #[test]
    fn a_request_is_good_for_what_it_was_made_for_alone() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let request = Request::new(&key, "net", "token").unwrap();
        assert_eq!(request.key("net", "token").as_deref(), Some(key.der_bytes()));
        assert_eq!((request.key("other", "token"), request.key("net", "site")), (None, None));
    }

    #[test]
    fn nobody_asks_for_a_certificate_for_the_key_of_another() {
        let [own, other] = [0, 1].map(|_| KeyPair::generate_for(&PKCS_ED25519).unwrap());
        let request = Request::new(&own, "net", "token").unwrap();
        let stolen = Request { public_key: STANDARD.encode(other.der_bytes()), ..request };
        assert_eq!(stolen.key("net", "token"), None);
    }
}
