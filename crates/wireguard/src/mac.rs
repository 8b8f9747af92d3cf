//! mac1, mac2 and cookies (5.4.4, 5.4.7, 5.3).
//!
//! mac1 shows that who writes knows whom to; without it there is no answer at all. mac2 shows that who writes receives what is sent to the
//! address that it writes from; it is asked for under load, by a cookie, before a handshake's arithmetic is done.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use outwork_engine::Time;
use zeroize::Zeroizing;

use crate::entropy::secret;
use crate::keys::same;
use crate::message::{COOKIE_NONCE, COOKIE_REPLY, CookieReply, MAC};
use crate::{Entropy, Index, PublicKey, xchacha};

/// Nobody uses a cookie longer, and none is good for longer (6.6).
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(120);
/// So often secrets change. The last two are known: a cookie is good for a minute at least, and no more than two.
const SECRET_LIFETIME: Duration = Duration::from_secs(60);

/// What shows where somebody can be reached.
pub type Cookie = [u8; 16];

fn hash(label: &[u8; 8], key: &PublicKey) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(key.0).finalize().into()
}

/// Keyed BLAKE2s with 16 octets of output (5.4: MAC).
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC] {
    // A key is never longer than 32 octets, which is all that could go wrong.
    let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(key) else { return [0; MAC] };
    parts.iter().for_each(|part| Mac::update(&mut mac, part));
    mac.finalize().into_bytes().into()
}

/// Parts a message of a handshake: (before mac1, mac1, mac2).
fn parted(message: &[u8]) -> Option<(&[u8], &[u8; MAC], &[u8; MAC])> {
    let (rest, mac2) = message.split_last_chunk()?;
    let (rest, mac1) = rest.split_last_chunk()?;
    Some((rest, mac1, mac2))
}

/// What messages to a public key are signed with.
#[derive(Clone)]
pub struct Signer {
    mac1: [u8; 32],
    cookie: [u8; 32],
}

impl Signer {
    /// For messages to `remote`.
    pub fn new(remote: &PublicKey) -> Signer {
        Signer { mac1: hash(b"mac1----", remote), cookie: hash(b"cookie--", remote) }
    }

    /// Writes the macs into the last 32 octets of `message`: mac2 only with a cookie. Gives mac1.
    pub fn sign(&self, message: &mut [u8], cookie: Option<&Cookie>) -> [u8; MAC] {
        let Some((rest, macs)) = message.split_last_chunk_mut::<{ 2 * MAC }>() else { return [0; MAC] };
        let mac1 = mac(&self.mac1, &[rest]);
        let mac2 = cookie.map_or([0; MAC], |cookie| mac(cookie, &[rest, &mac1]));
        macs.copy_from_slice([mac1, mac2].as_flattened());
        mac1
    }

    /// Whether who wrote `message` knew whom to.
    pub fn verify(&self, message: &[u8]) -> bool {
        parted(message).is_some_and(|(rest, mac1, _)| same(mac1, &mac(&self.mac1, &[rest])))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

/// Who asks for cookies, and knows its own without remembering whom it gave them to.
pub struct Baker {
    secret: Zeroizing<[u8; 32]>,
    /// The one before: a cookie that was given just before a change is good for a while, too.
    previous: Zeroizing<[u8; 32]>,
    changes: Time,
}

impl fmt::Debug for Baker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baker").field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl Baker {
    /// One with secrets of its own; `None` without randomness.
    pub fn new(now: Time, entropy: &mut dyn Entropy) -> Option<Baker> {
        Some(Baker {
            secret: Zeroizing::new(secret(entropy)?),
            previous: Zeroizing::new(secret(entropy)?),
            changes: now + SECRET_LIFETIME,
        })
    }

    /// Takes a new secret when it is time. Without randomness, the old one serves on.
    fn refresh(&mut self, now: Time, entropy: &mut dyn Entropy) {
        while self.changes <= now {
            let Some(fresh) = secret(entropy) else { return };
            self.previous = std::mem::replace(&mut self.secret, Zeroizing::new(fresh));
            // After a long quiet, both are out of date.
            let late = now.since(self.changes) >= SECRET_LIFETIME;
            self.changes = if late { now } else { self.changes + SECRET_LIFETIME };
        }
    }

    fn cookie(secret: &[u8; 32], from: SocketAddr) -> Cookie {
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(ip) => mac(secret, &[&ip.octets(), &port]),
            IpAddr::V6(ip) => mac(secret, &[&ip.octets(), &port]),
        }
    }

    /// Whether `message` bears a mac2 of a cookie that was sent to `from`.
    pub fn verify(&mut self, now: Time, from: SocketAddr, message: &[u8], entropy: &mut dyn Entropy) -> bool {
        self.refresh(now, entropy);
        let Some((rest, mac1, mac2)) = parted(message) else { return false };
        let good = |secret| same(mac2, &mac(&Baker::cookie(secret, from), &[rest, mac1]));
        good(&self.secret) | good(&self.previous)
    }

    /// The answer to `message`, which is signed by `signer` and whose sender calls itself `sender`: come again with this.
    pub fn reply(
        &mut self,
        now: Time,
        from: SocketAddr,
        (signer, sender): (&Signer, Index),
        message: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Option<[u8; COOKIE_REPLY]> {
        self.refresh(now, entropy);
        let (_, mac1, _) = parted(message)?;
        let nonce: [u8; COOKIE_NONCE] = secret(entropy)?;
        let sealed = xchacha::seal(&signer.cookie, &nonce, mac1, &Baker::cookie(&self.secret, from))?;
        Some(CookieReply { receiver: sender, nonce: &nonce, sealed: &sealed }.write())
    }
}

/// The cookie that a peer gave us, and what it has to be an answer to.
#[derive(Default)]
pub struct Jar {
    cookie: Option<(Cookie, Time)>,
    /// mac1 of the last message; taken by the first reply that opens.
    asked: Option<[u8; MAC]>,
}

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar").field("since", &self.cookie.map(|(_, since)| since)).finish_non_exhaustive()
    }
}

impl Jar {
    /// The cookie, while it is good.
    pub fn cookie(&self, now: Time) -> Option<&Cookie> {
        self.cookie.as_ref().filter(|(_, since)| now.since(*since) < COOKIE_LIFETIME).map(|(cookie, _)| cookie)
    }

    /// A message with this mac1 was sent.
    pub fn sent(&mut self, mac1: [u8; MAC]) {
        self.asked = Some(mac1);
    }

    /// Takes the cookie out of an answer to the last message. False, and nothing changes, when it is none.
    pub fn take(&mut self, now: Time, signer: &Signer, reply: &CookieReply<'_>) -> bool {
        let Some(asked) = self.asked else { return false };
        let Some(cookie) = xchacha::open(&signer.cookie, reply.nonce, &asked, reply.sealed) else { return false };
        self.cookie = Some((cookie, now));
        self.asked = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::Rng;

    use super::*;
    use crate::message::Message;

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    const LOCAL: PublicKey = PublicKey([7; 32]);

    /// A message of a handshake, a signer, a jar that it was noted in, and who bakes.
    fn sent() -> ([u8; 148], Signer, Jar, Baker, Rng) {
        let (mut rng, signer, mut jar) = (Rng::new(1), Signer::new(&LOCAL), Jar::default());
        let baker = Baker::new(Time::ZERO, &mut rng).unwrap();
        let mut message = [3; 148];
        jar.sent(signer.sign(&mut message, None));
        (message, signer, jar, baker, rng)
    }

    fn take(jar: &mut Jar, now: Time, signer: &Signer, reply: &[u8]) -> bool {
        let Ok(Message::CookieReply(reply)) = Message::read(reply) else { panic!() };
        jar.take(now, signer, &reply)
    }

    #[test]
    fn the_hash_is_blake2s() {
        // RFC 7693 appendix B.
        let expected = [
            0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b, 0xa3, 0x4e, 0xeb, 0x45, 0x2f, //
            0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6, 0x3a, 0x29, 0x4d, 0x99, 0x9b, 0x4c, 0x86, 0x67, 0x59, 0x82,
        ];
        assert_eq!(<[u8; 32]>::from(Blake2s256::digest(b"abc")), expected);
    }

    #[test]
    fn mac1_is_over_all_before_it_and_mac2_is_zero_without_a_cookie() {
        let (mut message, signer, ..) = sent();
        assert!(signer.verify(&message));
        assert_eq!(message[132..], [0; 16]);
        assert!(!Signer::new(&PublicKey([8; 32])).verify(&message), "written to somebody else");
        for at in 0..132 {
            message[at] ^= 1;
            assert!(!signer.verify(&message), "octet {at}");
            message[at] ^= 1;
        }
        assert!(!signer.verify(&message[..20]));
    }

    #[test]
    fn a_cookie_makes_a_mac2_that_is_good_from_that_address_alone() {
        let (mut message, signer, mut jar, mut baker, mut rng) = sent();
        assert!(!baker.verify(Time::ZERO, from(1), &message, &mut rng));
        let reply = baker.reply(Time::ZERO, from(1), (&signer, Index(9)), &message, &mut rng).unwrap();
        assert!(take(&mut jar, Time::ZERO, &signer, &reply));
        signer.sign(&mut message, jar.cookie(Time::ZERO));
        assert!(signer.verify(&message));
        assert!(baker.verify(Time::ZERO, from(1), &message, &mut rng));
        assert!(!baker.verify(Time::ZERO, from(2), &message, &mut rng), "another port");
        message[147] ^= 1;
        assert!(!baker.verify(Time::ZERO, from(1), &message, &mut rng));
    }

    #[test]
    fn a_cookie_is_used_for_two_minutes_and_known_for_no_more_and_for_one_at_least() {
        for given in [0, 1, 59, 60, 119] {
            let (mut message, signer, mut jar, mut baker, mut rng) = sent();
            let given = Time::from_secs(given);
            let reply = baker.reply(given, from(1), (&signer, Index(9)), &message, &mut rng).unwrap();
            assert!(take(&mut jar, given, &signer, &reply));
            signer.sign(&mut message, jar.cookie(given));
            let last = given + COOKIE_LIFETIME - Duration::from_nanos(1);
            assert!(jar.cookie(last).is_some() && jar.cookie(given + COOKIE_LIFETIME).is_none());
            let sure = given + SECRET_LIFETIME;
            assert!(baker.verify(sure, from(1), &message, &mut rng), "given at {given:?}");
            assert!(!baker.verify(given + COOKIE_LIFETIME, from(1), &message, &mut rng), "given at {given:?}");
        }
    }

    #[test]
    fn after_a_long_quiet_no_old_cookie_is_known() {
        let (mut message, signer, mut jar, mut baker, mut rng) = sent();
        let reply = baker.reply(Time::ZERO, from(1), (&signer, Index(9)), &message, &mut rng).unwrap();
        assert!(take(&mut jar, Time::ZERO, &signer, &reply));
        signer.sign(&mut message, jar.cookie(Time::ZERO));
        assert!(!baker.verify(Time::from_secs(1000), from(1), &message, &mut rng));
        assert!(!baker.verify(Time::from_secs(1001), from(1), &message, &mut rng));
    }

    #[test]
    fn a_reply_that_answers_nothing_of_ours_is_not_taken() {
        let (message, signer, mut jar, mut baker, mut rng) = sent();
        let reply = baker.reply(Time::ZERO, from(1), (&signer, Index(9)), &message, &mut rng).unwrap();
        let mut forged = reply;
        forged[40] ^= 1;
        assert!(!take(&mut jar, Time::ZERO, &signer, &forged));
        assert!(!take(&mut Jar::default(), Time::ZERO, &signer, &reply), "nothing was asked");
        assert!(take(&mut jar, Time::ZERO, &signer, &reply), "the forged one took nothing away");
        assert!(!take(&mut jar, Time::ZERO, &signer, &reply), "once is enough");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (_, signer, mut jar, baker, _) = sent();
        jar.cookie = Some(([0xab; 16], Time::ZERO));
        let shown = format!("{signer:?} {jar:?} {baker:?}");
        assert_eq!(shown, "Signer(..) Jar { since: Some(Time(0)), .. } Baker { changes: Time(60000000000), .. }");
    }
}
