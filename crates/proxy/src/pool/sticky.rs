//! Cookies that bring a client back to the backend that it had.
//!
//! A cookie holds a tag of the backend, when it ends, and a code (SipHash-2-4 with 128 bits under a key of this installation) over both and the pool's name. The
//! tag is such a code, too: nobody can tell from it where the backend is, nor name another one.

use std::collections::HashMap;
use std::hash::Hasher;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use outwork_engine::Unix;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::config::Sticky as Settings;

/// Bytes of a tag, of an end, and of a code.
const TAG: usize = 8;
const END: usize = 4;
const CODE: usize = 16;

/// What makes and reads the cookies of a pool.
#[derive(Debug)]
pub(crate) struct Sticky {
    pub(crate) cookie: String,
    lasts: u32,
    pool: String,
    secret: [u8; 16],
    /// The members, by their tags.
    members: HashMap<[u8; TAG], String>,
}

impl Sticky {
    pub(crate) fn new<'a>(
        settings: &Settings,
        pool: &str,
        secret: [u8; 16],
        members: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut sticky = Self {
            cookie: settings.cookie.clone(),
            lasts: u32::try_from(settings.ttl.as_secs()).unwrap_or(u32::MAX),
            pool: pool.to_owned(),
            secret,
            members: HashMap::new(),
        };
        sticky.members = members.map(|key| (sticky.tag(key), key.to_owned())).collect();
        sticky
    }

    /// The member that a cookie names, if it is one of ours and has not ended.
    pub(crate) fn member(&self, value: &[u8], now: Unix) -> Option<&str> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).ok()?;
        let (said, code) = bytes.split_last_chunk::<CODE>()?;
        let (tag, end) = said.split_first_chunk::<TAG>()?;
        let end = u32::from_be_bytes(end.try_into().ok()?);
        let expected = self.code(said);
        // In the same time, however much of it is right.
        let different = expected.iter().zip(code).fold(0, |different, (a, b)| different | (a ^ b));
        (different == 0 && now.0 < end).then(|| self.members.get(tag)).flatten().map(String::as_str)
    }

    /// Whether a cookie that names a member has more than half of its time left. Who comes back keeps its backend.
    pub(crate) fn is_fresh(&self, value: &[u8], now: Unix) -> bool {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).unwrap_or_default();
        let end = bytes.get(TAG..).and_then(<[u8]>::first_chunk::<END>);
        end.is_some_and(|end| u32::from_be_bytes(*end).saturating_sub(now.0) > self.lasts / 2)
    }

    /// The value of a cookie that names a member.
    pub(crate) fn value(&self, key: &str, now: Unix) -> String {
        let mut bytes = Vec::with_capacity(TAG + END + CODE);
        bytes.extend_from_slice(&self.tag(key));
        bytes.extend_from_slice(&now.0.saturating_add(self.lasts).to_be_bytes());
        let code = self.code(&bytes);
        bytes.extend_from_slice(&code);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The value of `Set-Cookie`.
    pub(crate) fn set_cookie(&self, key: &str, now: Unix, secure: bool) -> String {
        let (name, value, lasts) = (&self.cookie, self.value(key, now), self.lasts);
        let secure = if secure { "; Secure" } else { "" };
        format!("{name}={value}; Max-Age={lasts}; Path=/; HttpOnly; SameSite=Lax{secure}")
    }

    fn tag(&self, key: &str) -> [u8; TAG] {
        let code = self.hash(b"member", key.as_bytes());
        let mut tag = [0; TAG];
        tag.iter_mut().zip(code).for_each(|(to, from)| *to = from);
        tag
    }

    fn code(&self, said: &[u8]) -> [u8; CODE] {
        self.hash(b"cookie", said)
    }

    fn hash(&self, what: &[u8], text: &[u8]) -> [u8; CODE] {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        for part in [what, self.pool.as_bytes(), text] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish128().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Unix = Unix(1_800_000_000);

    fn sticky(pool: &str, secret: u8, members: &[&str]) -> Sticky {
        let settings = Settings { cookie: "B".into(), ttl: std::time::Duration::from_secs(60) };
        Sticky::new(&settings, pool, [secret; 16], members.iter().copied())
    }

    #[test]
    fn a_cookie_names_its_backend_until_it_ends() {
        let of = sticky("app", 1, &["http://a", "http://b"]);
        let value = of.value("http://b", NOW);
        assert_eq!(of.member(value.as_bytes(), NOW), Some("http://b"));
        assert_eq!(of.member(value.as_bytes(), Unix(NOW.0 + 59)), Some("http://b"));
        assert_eq!(of.member(value.as_bytes(), Unix(NOW.0 + 60)), None);
        assert!(of.set_cookie("http://b", NOW, true).ends_with("; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure"));
    }

    #[test]
    fn nobody_can_make_one_change_one_or_take_one_elsewhere() {
        let of = sticky("app", 1, &["http://a", "http://b"]);
        let value = of.value("http://b", NOW);
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(of.member(&bytes, NOW), None, "{at}");
        }
        assert_eq!(sticky("other", 1, &["http://b"]).member(value.as_bytes(), NOW), None, "another pool");
        assert_eq!(sticky("app", 2, &["http://b"]).member(value.as_bytes(), NOW), None, "another installation");
        for wrong in ["", "AAAA", "!", &value[..20]] {
            assert_eq!(of.member(wrong.as_bytes(), NOW), None, "{wrong}");
        }
    }

    #[test]
    fn a_backend_that_is_gone_is_named_by_no_cookie_any_more() {
        let value = sticky("app", 1, &["http://a", "http://b"]).value("http://b", NOW);
        assert_eq!(sticky("app", 1, &["http://a"]).member(value.as_bytes(), NOW), None);
        assert!(!value.contains("http"), "and it says nothing of where that is");
    }

    #[test]
    fn a_cookie_is_fresh_until_half_of_its_time_is_over() {
        let sticky = sticky("app", 1, &["a"]);
        let value = sticky.value("a", NOW);
        let fresh = |after| sticky.is_fresh(value.as_bytes(), Unix(NOW.0 + after));
        assert_eq!([0, 29, 30, 59, 90].map(fresh), [true, true, false, false, false]);
        assert!(!sticky.is_fresh(b"!", NOW) && !sticky.is_fresh(b"", NOW));
    }
}
