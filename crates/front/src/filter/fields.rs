//! Changes to header fields: those that a configuration lists, and those that tell browsers to be careful.

use std::sync::Arc;

use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

use super::config::{FieldRules as Settings, SecurityHeaders};
use crate::message::{ReadyHead, Response};

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// What is done to the fields of a message.
#[derive(Debug)]
pub(crate) struct FieldRules {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldRules {
    /// As configured; `None` where nothing is changed.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        // Checked when the configuration was read.
        let field = |(name, value): (&String, &String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        let rules = Self {
            remove: settings.remove.iter().map(|name| name.name().clone()).collect(),
            set: settings.set.iter().filter_map(field).collect(),
            add: settings.add.iter().filter_map(field).collect(),
        };
        Some(rules).filter(|rules| !(rules.remove.is_empty() && rules.set.is_empty() && rules.add.is_empty()))
    }

    /// Changes those of a request.
    pub(crate) fn request(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        self.rest(headers);
    }

    /// Those that a request does not have from its client.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.remove.iter().chain(self.set.iter().map(|(name, _)| name))
    }

    /// Changes those of an answer.
    pub(crate) fn response(&self, response: &mut Response) {
        self.remove.iter().for_each(|name| response.remove_field(name));
        self.set.iter().for_each(|(name, _)| response.remove_field(name));
        self.rest(&mut response.headers);
    }

    /// Changes those of what is told before an answer: what the route takes out, or says itself, is not for anybody else to say. Nothing is added to it.
    pub(crate) fn told(&self, headers: &mut HeaderMap) {
        for name in self.remove.iter().chain(self.set.iter().map(|(name, _)| name)) {
            headers.remove(name);
        }
    }

    fn rest(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Takes a field out that only we may give, also where it is spelled so that programs may take it for the same: those that know fields by the names of
/// variables do not tell dashes from underscores (RFC 3875 section 4.1.18).
pub fn take_out(headers: &mut HeaderMap, own: &HeaderName) {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let reads_as_own = |name: &&HeaderName| {
        let (name, own) = (name.as_str(), own.as_str());
        name.len() == own.len() && name.bytes().map(plain).eq(own.bytes().map(plain))
    };
    let forged: Vec<HeaderName> = headers.keys().filter(reads_as_own).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Fields that a request of a route does not have from its client: they are taken out of its head, or given here. Whoever passes on what comes after its content
/// takes them out of that, too.
#[derive(Debug, Clone)]
pub struct Owned(Arc<[HeaderName]>);

impl Owned {
    /// These; `None` where there are none.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n HeaderName>) -> Option<Self> {
        let names: Arc<[HeaderName]> = names.cloned().collect();
        (!names.is_empty()).then_some(Self(names))
    }

    /// Takes them out, however they are spelled.
    pub fn take_out_of(&self, fields: &mut HeaderMap) {
        self.0.iter().for_each(|name| take_out(fields, name));
    }
}

/// Fields that every answer of a route gets which does not have them itself.
#[derive(Debug)]
pub(crate) struct Defaults(Arc<ReadyHead>);

impl Defaults {
    /// Those that tell browsers to be careful; `None` where there are none.
    pub(crate) fn security(settings: &SecurityHeaders) -> Option<Self> {
        if !settings.enabled {
            return None;
        }
        let policy = match settings.report_only {
            true => CONTENT_SECURITY_POLICY_REPORT_ONLY,
            false => CONTENT_SECURITY_POLICY,
        };
        let all = [
            (X_CONTENT_TYPE_OPTIONS, if settings.nosniff { "nosniff" } else { "" }),
            (X_FRAME_OPTIONS, &*settings.frame_options),
            (REFERRER_POLICY, &settings.referrer_policy),
            (OPENER_POLICY, &settings.opener_policy),
            (PERMISSIONS_POLICY, &settings.permissions_policy),
            (policy, &settings.content_security_policy),
        ];
        let given = all.into_iter().filter(|(_, value)| !value.is_empty());
        let fields: HeaderMap =
            given.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect();
        Some(Self(ReadyHead::new(fields))).filter(|ready| !ready.0.fields.is_empty())
    }

    /// Adds them. Where the answer has none of them, they are written as they lie there.
    pub(crate) fn add(&self, response: &mut Response) {
        let fields = &self.0.fields;
        let clear = response.also.is_none() && fields.keys().all(|name| response.field(name).is_none());
        if clear {
            response.also = Some(Arc::clone(&self.0));
            return;
        }
        for (name, value) in fields {
            if response.field(name).is_none() {
                response.headers.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::{CACHE_CONTROL, ETAG, SERVER};

    use super::*;

    fn ready(name: HeaderName, value: &'static str) -> Response {
        let mut response = Response::new(StatusCode::OK);
        response.ready = Some(ReadyHead::new(HeaderMap::from_iter([
            (name, HeaderValue::from_static(value)),
            (ETAG, HeaderValue::from_static("\"x\"")),
        ])));
        response
    }

    fn rules(text: [&[(&str, &str)]; 2], remove: &[&str]) -> FieldRules {
        let map = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let [set, add] = text;
        let remove = remove.iter().map(|name| name.parse().unwrap()).collect();
        FieldRules::new(&Settings { remove, set: map(set), add: map(add) }).unwrap()
    }

    #[test]
    fn fields_are_removed_then_set_then_added_wherever_they_are_kept() {
        let rules = rules([&[("cache-control", "no-store")], &[("x-a", "2")]], &["server"]);
        let mut response = ready(CACHE_CONTROL, "max-age=9");
        response.headers.insert(SERVER, HeaderValue::from_static("s"));
        response.headers.insert("x-a", HeaderValue::from_static("1"));
        rules.response(&mut response);
        assert_eq!(response.field(&CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(response.headers.get_all(CACHE_CONTROL).iter().count(), 1);
        assert!(response.ready.is_none() && response.field(&SERVER).is_none());
        assert_eq!(response.field(&ETAG).unwrap(), "\"x\"");
        let values: Vec<_> = response.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        let mut untouched = ready(HeaderName::from_static("x-b"), "1");
        rules.response(&mut untouched);
        assert!(untouched.ready.is_some(), "what has nothing to remove stays as it was made ready");
        assert!(FieldRules::new(&Settings::default()).is_none());
    }

    #[test]
    fn what_a_route_takes_out_or_sets_is_taken_out_of_whatever_else_comes_too() {
        let rules = rules([&[("x-user", "nobody")], &[("x-a", "2")]], &["x-gone"]);
        let owned = Owned::new(rules.owned()).unwrap();
        let came = ["x-user", "x_user", "x-gone", "x-a"];
        let mut fields: HeaderMap =
            came.into_iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        owned.take_out_of(&mut fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["x-a"], "what is added stands beside what the client says");
        assert!(Owned::new([].into_iter()).is_none());
    }

    #[test]
    fn browsers_are_told_to_be_careful_unless_the_handler_says_otherwise() {
        let careful = Defaults::security(&SecurityHeaders::default()).unwrap();
        let mut response = ready(HeaderName::from_static("x-b"), "1");
        careful.add(&mut response);
        assert_eq!(response.field(&X_CONTENT_TYPE_OPTIONS).unwrap(), "nosniff");
        assert_eq!(response.field(&X_FRAME_OPTIONS).unwrap(), "SAMEORIGIN");
        assert!(response.headers.is_empty(), "nothing is written twice");
        let mut own = ready(X_FRAME_OPTIONS, "DENY");
        careful.add(&mut own);
        assert_eq!(own.field(&X_FRAME_OPTIONS).unwrap(), "DENY");
        assert_eq!(own.field(&REFERRER_POLICY).unwrap(), "strict-origin-when-cross-origin");
        let settings = SecurityHeaders {
            frame_options: String::new(),
            content_security_policy: "default-src 'self'".to_owned(),
            report_only: true,
            referrer_policy: "no-referrer".to_owned(),
            opener_policy: "unsafe-none".to_owned(),
            permissions_policy: "usb=(self)".to_owned(),
            ..SecurityHeaders::default()
        };
        let mut response = Response::new(StatusCode::OK);
        Defaults::security(&settings).unwrap().add(&mut response);
        assert!(response.field(&X_FRAME_OPTIONS).is_none() && response.field(&CONTENT_SECURITY_POLICY).is_none());
        for (name, value) in [
            (CONTENT_SECURITY_POLICY_REPORT_ONLY, "default-src 'self'"),
            (REFERRER_POLICY, "no-referrer"),
            (OPENER_POLICY, "unsafe-none"),
            (PERMISSIONS_POLICY, "usb=(self)"),
        ] {
            assert_eq!(response.field(&name).unwrap(), value);
        }
        assert!(Defaults::security(&SecurityHeaders { enabled: false, ..settings }).is_none());
    }
}
