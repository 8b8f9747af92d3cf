//! What a datagram is, and whether it is worth a handshake's arithmetic now (5.3).
//!
//! One gate stands before all peers of a static key, or of two while one takes over from the other. Transport messages pass it unread. A message of a handshake needs its mac1; while more of them come than the
//! gate is meant for, it needs a mac2 as well, and its address has a rate.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use outwork_engine::{Time, TokenBuckets};

use crate::mac::{Baker, Signer};
use crate::message::{COOKIE_REPLY, CookieReply, Malformed, Message, Response};
use crate::noise::{Heard, Noise, NoiseError};
use crate::{Entropy, Identity, Index, PublicKey};

/// How long the gate keeps asking for mac2 after the last second that was too much.
const CALM: Duration = Duration::from_secs(1);

/// What the gate is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages of handshakes in a second, from everybody. Above, mac2 is asked for.
    pub calm: u32,
    /// While it is: messages in a second from one address (of IPv6, from one /64).
    pub rate: u32,
    /// And how many of them at once.
    pub burst: u32,
    /// Addresses whose rate is kept, 16 octets each.
    pub addresses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { calm: 500, rate: 20, burst: 5, addresses: 4096 }
    }
}

/// What is to be done with a datagram.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// Somebody begins a handshake: for the peer with the key that it says.
    Initiation {
        /// By what they call the session.
        sender: Index,
        /// What they said.
        heard: Heard,
    },
    /// For the peer whose handshake has this index.
    Response(Response<'a>),
    /// For the peer whose message had this index.
    CookieReply(CookieReply<'a>),
    /// To be opened by who has this index.
    Transport(Index),
    /// To be sent back to where it came from.
    Busy(Box<[u8; COOKIE_REPLY]>),
    /// Nothing.
    Drop(Reason),
}

/// Why nothing is done. For a counter each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// No message.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// mac1 is wrong: whoever it is does not know our key.
    #[error("mac1 is not that of a message to us")]
    Mac1,
    /// Too many from this address, under load.
    #[error("more handshakes than an address may begin while there is load")]
    Rate,
    /// The handshake does not open.
    #[error("{0}")]
    Noise(#[from] NoiseError),
}

/// The gate of who is known by one static key, or by two.
#[derive(Debug)]
pub struct Gate {
    /// What messages to each key are signed with.
    signers: Vec<(PublicKey, Signer)>,
    baker: Baker,
    limits: Limits,
    rates: TokenBuckets,
    /// The second that is being counted, and what came in it.
    counted: (Time, u32),
    /// mac2 is asked for until then.
    busy: Option<Time>,
}

/// One that a rate is kept for.
fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

fn signers(local: &Identity) -> Vec<(PublicKey, Signer)> {
    local.keys().map(|key| (*key.public(), Signer::new(key.public()))).collect()
}

impl Gate {
    /// Before the peers of `local`; `None` without randomness.
    pub fn new(local: &Identity, limits: Limits, now: Time, entropy: &mut dyn Entropy) -> Option<Gate> {
        let seed = u64::from_le_bytes(crate::entropy::secret(entropy)?);
        Some(Gate {
            signers: signers(local),
            baker: Baker::new(now, entropy)?,
            limits,
            rates: TokenBuckets::new(limits.rate, limits.burst, limits.addresses, seed),
            counted: (now, 0),
            busy: None,
        })
    }

    /// We are known by these keys from now on. Cookies that were given stay good.
    pub fn be(&mut self, local: &Identity) {
        self.signers = signers(local);
    }

    /// Whether mac2 is asked for.
    pub fn busy(&self, now: Time) -> bool {
        self.busy.is_some_and(|until| now < until)
    }

    /// Looks at a datagram that came from `from`.
    pub fn judge<'a>(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &'a [u8],
        (local, noise): (&Identity, &dyn Noise),
        entropy: &mut dyn Entropy,
    ) -> Verdict<'a> {
        match Message::read(datagram) {
            Ok(Message::Transport(transport)) => Verdict::Transport(transport.receiver),
            Ok(Message::CookieReply(reply)) => Verdict::CookieReply(reply),
            Ok(Message::Initiation(initiation)) => {
                let to = match self.admit(now, from, initiation.sender, datagram, entropy) {
                    Ok(to) => to,
                    Err(verdict) => return verdict,
                };
                let Some(key) = local.find(&to) else { return Verdict::Drop(Reason::Mac1) };
                match noise.hear(key, initiation.noise, entropy) {
                    Ok(heard) => Verdict::Initiation { sender: initiation.sender, heard },
                    Err(error) => Verdict::Drop(error.into()),
                }
            }
            Ok(Message::Response(response)) => match self.admit(now, from, response.sender, datagram, entropy) {
                Ok(_) => Verdict::Response(response),
                Err(verdict) => verdict,
            },
            Err(error) => Verdict::Drop(error.into()),
        }
    }

    /// Which of our keys a message of a handshake is to that is let through, or what becomes of it.
    fn admit(
        &mut self,
        now: Time,
        from: SocketAddr,
        sender: Index,
        message: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<PublicKey, Verdict<'static>> {
        let Some(place) = self.signers.iter().position(|(_, signer)| signer.verify(message)) else {
            return Err(Verdict::Drop(Reason::Mac1));
        };
        self.count(now);
        let busy = self.busy(now);
        let Some((key, signer)) = self.signers.get(place) else { return Err(Verdict::Drop(Reason::Mac1)) };
        if !busy {
            return Ok(*key);
        }
        if !self.baker.verify(now, from, message, entropy) {
            let reply = self.baker.reply(now, from, (signer, sender), message, entropy);
            // An answer is shorter than what it answers: nobody is flooded by way of us.
            return Err(
                reply.map_or(Verdict::Drop(NoiseError::NoEntropy.into()), |reply| Verdict::Busy(Box::new(reply)))
            );
        }
        if self.rates.take(&network(from.ip()), now) { Ok(*key) } else { Err(Verdict::Drop(Reason::Rate)) }
    }

    /// Counts a message, in seconds that begin with the first one after the last.
    fn count(&mut self, now: Time) {
        if now.since(self.counted.0) >= Duration::from_secs(1) {
            self.counted = (now, 0);
        }
        self.counted.1 = self.counted.1.saturating_add(1);
        if self.counted.1 > self.limits.calm {
            self.busy = Some(now + CALM);
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::Rng;

    use super::*;
    use crate::mac::Jar;
    use crate::message::Initiation;
    use crate::noise::Snow;
    use crate::stamp::Tai64N;
    use crate::{PresharedKey, PrivateKey};

    struct Scene {
        gate: Gate,
        local: PrivateKey,
        remote: PrivateKey,
        rng: Rng,
    }

    impl Scene {
        fn new(calm: u32) -> Scene {
            let mut rng = Rng::new(3);
            let local = PrivateKey::generate(&mut rng).unwrap();
            let remote = PrivateKey::generate(&mut rng).unwrap();
            let gate =
                Gate::new(&local.clone().into(), Limits { calm, ..Limits::default() }, Time::ZERO, &mut rng).unwrap();
            Scene { gate, local, remote, rng }
        }

        fn initiation(&mut self, jar: &mut Jar, now: Time) -> [u8; 148] {
            let (psk, stamp) = (PresharedKey::default(), Tai64N::default());
            let begun = Snow.begin(&self.remote, self.local.public(), &psk, stamp, &mut self.rng).unwrap();
            let mut message = Initiation::write(Index(7), &begun.0);
            jar.sent(Signer::new(self.local.public()).sign(&mut message, jar.cookie(now)));
            message
        }

        fn judge<'a>(&mut self, now: Time, port: u16, datagram: &'a [u8]) -> Verdict<'a> {
            let from = SocketAddr::from(([192, 0, 2, 1], port));
            self.gate.judge(now, from, datagram, (&self.local.clone().into(), &Snow), &mut self.rng)
        }
    }

    #[test]
    fn who_knows_our_key_is_heard_and_who_does_not_is_not_answered() {
        let mut scene = Scene::new(10);
        let mut message = scene.initiation(&mut Jar::default(), Time::ZERO);
        let remote = *scene.remote.public();
        let verdict = scene.judge(Time::ZERO, 1, &message);
        assert!(matches!(verdict, Verdict::Initiation { sender: Index(7), heard } if heard.remote == remote));
        message[20] ^= 1;
        assert!(matches!(scene.judge(Time::ZERO, 1, &message), Verdict::Drop(Reason::Mac1)));
        assert!(matches!(scene.judge(Time::ZERO, 1, &[1, 0]), Verdict::Drop(Reason::Malformed(Malformed::Short))));
    }

    #[test]
    fn a_mac1_alone_opens_nothing() {
        let mut scene = Scene::new(10);
        let mut message = scene.initiation(&mut Jar::default(), Time::ZERO);
        message[60] ^= 1;
        Signer::new(scene.local.public()).sign(&mut message, None);
        let verdict = scene.judge(Time::ZERO, 1, &message);
        assert!(matches!(verdict, Verdict::Drop(Reason::Noise(NoiseError::Forged))));
    }

    #[test]
    fn under_load_who_shows_where_it_is_comes_through_and_others_do_not() {
        let (mut scene, mut jar, now) = (Scene::new(3), Jar::default(), Time::from_secs(9));
        let message = scene.initiation(&mut jar, now);
        for _ in 0..3 {
            assert!(matches!(scene.judge(now, 1, &message), Verdict::Initiation { .. }));
        }
        let Verdict::Busy(reply) = scene.judge(now, 1, &message) else { panic!("too much for the gate") };
        let Verdict::CookieReply(reply) = scene.judge(now, 1, reply.as_slice()) else { panic!() };
        assert_eq!(reply.receiver, Index(7));
        assert!(jar.take(now, &Signer::new(scene.local.public()), &reply));
        let message = scene.initiation(&mut jar, now);
        assert!(matches!(scene.judge(now, 2, &message), Verdict::Busy(_)), "the cookie is for another port");
        assert!(matches!(scene.judge(now, 1, &message), Verdict::Initiation { .. }));
        let passed = (0..20).filter(|_| matches!(scene.judge(now, 1, &message), Verdict::Initiation { .. })).count();
        assert_eq!(passed, 4, "an address has a burst of five");
        let plain = scene.initiation(&mut Jar::default(), now);
        let calm = now + CALM + Duration::from_millis(1);
        assert!(matches!(scene.judge(calm, 3, &plain), Verdict::Initiation { .. }), "the load is gone");
    }
}
