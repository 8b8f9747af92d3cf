//! Cryptography of listeners: aws-lc's, and AES by ring where that is faster.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, ring};

/// What a listener's handshakes and records are made with.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: suites(is_vaes_narrow()).to_vec(),
        // The hybrid with ML-KEM first: what is recorded today is not read by a quantum computer tomorrow.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn suites(is_vaes_narrow: bool) -> &'static [SupportedCipherSuite] {
    if is_vaes_narrow { ring::DEFAULT_CIPHER_SUITES } else { aws_lc_rs::DEFAULT_CIPHER_SUITES }
}

/// Whether the processor does AES on vectors of 256 bits and no wider, as AMD's Zen 3 does: ring uses those and needs half of the time there,
/// while aws-lc has code for 512 bits and for 128.
fn is_vaes_narrow() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("avx2")
        && !is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_offers_the_same_suites_in_the_same_order() {
        let names = |is_narrow| suites(is_narrow).iter().map(|suite| suite.suite()).collect::<Vec<_>>();
        assert_eq!(names(true), names(false));
        assert_eq!(provider().cipher_suites.len(), names(true).len());
    }
}
