//! Which pages of other origins may read answers: the CORS protocol of the Fetch standard, section 3.2.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::config::{Cors as Settings, CorsOrigin};
use crate::message::Response;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What a configuration allows, with its answers made ready.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<CorsOrigin>,
    any: bool,
    methods: HeaderValue,
    /// None stands for whatever is asked for.
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
    credentials: bool,
    private_network: bool,
}

/// What the answer to a request tells its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// That it may read it: the origin, or any.
    Allowed(HeaderValue),
    /// Nothing.
    Nothing,
}

/// The method that a preflight asks about, if the request is one.
pub(crate) fn preflighted(head: &Parts) -> Option<&HeaderValue> {
    let is_preflight = head.method == Method::OPTIONS && head.headers.contains_key(ORIGIN);
    head.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| is_preflight)
}

impl Cors {
    /// As configured; `None` where it is off.
    pub(crate) fn new(settings: &Settings) -> Option<Arc<Self>> {
        if !settings.enabled {
            return None;
        }
        // Names are checked when the configuration is read.
        let list = |names: &[String]| HeaderValue::try_from(names.join(", ")).ok();
        let expose = Some(&settings.expose).filter(|names| !names.is_empty());
        Some(Arc::new(Self {
            any: settings.origins.contains(&CorsOrigin::Any),
            origins: settings.origins.clone(),
            methods: list(&settings.methods).unwrap_or_else(|| HeaderValue::from_static("GET")),
            headers: list(&settings.headers).filter(|_| !settings.headers.iter().any(|name| name == "*")),
            expose: expose.and_then(|names| list(names)),
            max_age: settings.max_age.as_secs().into(),
            credentials: settings.credentials,
            private_network: settings.private_network,
        }))
    }

    /// What the answer to this request tells; the pages of every origin hear the same where any is allowed.
    pub(crate) fn decide(&self, head: &Parts) -> Told {
        if self.any {
            return Told::Allowed(HeaderValue::from_static("*"));
        }
        let Some(origin) = head.headers.get(ORIGIN) else { return Told::Nothing };
        match origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            true => Told::Allowed(origin.clone()),
            false => Told::Nothing,
        }
    }

    fn allows(&self, origin: &str) -> bool {
        // Browsers write them in small letters.
        self.origins.iter().any(|allowed| match allowed {
            CorsOrigin::Any => true,
            CorsOrigin::Exactly(exactly) => **exactly == *origin,
            CorsOrigin::Below(scheme, below) => {
                let host = origin.strip_prefix(&**scheme).and_then(|rest| rest.strip_suffix(&**below));
                host.is_some_and(|label| !label.is_empty() && !label.contains(['/', ':', '@']))
            }
        })
    }

    /// The answer to a preflight, if the request is one. Without an allowance it has none of what the browser waits for.
    pub(crate) fn preflight(&self, head: &Parts, told: &Told) -> Option<Response> {
        let asked = |name: &HeaderName| head.headers.get(name);
        preflighted(head)?;
        let mut response = Response::new(StatusCode::NO_CONTENT);
        let fields = &mut response.headers;
        if matches!(told, Told::Allowed(_)) {
            fields.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            match &self.headers {
                Some(headers) if headers.is_empty() => {}
                Some(headers) => fields.extend([(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone())]),
                None => {
                    fields.extend(
                        asked(&ACCESS_CONTROL_REQUEST_HEADERS).map(|all| (ACCESS_CONTROL_ALLOW_HEADERS, all.clone())),
                    );
                    fields.append(VARY, HeaderValue::from_static("access-control-request-headers"));
                }
            }
            fields.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if self.private_network && asked(&REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
                fields.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
            }
        }
        Some(response)
    }

    /// Tells it. What depends on the origin says so, to caches.
    pub(crate) fn tell(&self, told: Told, response: &mut Response) {
        // It is said here who may read what, and by no handler.
        for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
            response.remove_field(&name);
        }
        let headers = &mut response.headers;
        if !self.any {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Told::Allowed(origin) = told {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if self.credentials {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            headers.extend(self.expose.as_ref().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn cors(origins: &[&str], with: impl FnOnce(&mut Settings)) -> Arc<Cors> {
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let mut settings = Settings { origins, ..Settings::default() };
        with(&mut settings);
        Cors::new(&settings).unwrap()
    }

    fn head(method: Method, fields: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::builder().method(method);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn told(cors: &Cors, origin: &str) -> HeaderMap {
        let mut response = Response::new(StatusCode::OK);
        cors.tell(cors.decide(&head(Method::GET, &[("origin", origin)])), &mut response);
        response.headers
    }

    #[test]
    fn an_origin_is_allowed_by_name_below_a_name_or_with_all_others() {
        let cors_named = cors(&["https://a.example", "https://*.b.example"], |_| ());
        for origin in ["https://a.example", "https://x.b.example", "https://x.y.b.example"] {
            let headers = told(&cors_named, origin);
            assert!(headers[ACCESS_CONTROL_ALLOW_ORIGIN] == origin && headers[VARY] == "origin", "{origin}");
        }
        for origin in [
            "http://a.example",
            "https://a.example:8443",
            "https://b.example",
            "https://evil.example/.b.example",
            "https://evilb.example",
            "null",
            "https://evil:x.b.example",
        ] {
            let headers = told(&cors_named, origin);
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && headers[VARY] == "origin", "{origin}");
        }
        let any = told(&cors(&["*"], |_| ()), "https://anybody.example");
        assert!(any[ACCESS_CONTROL_ALLOW_ORIGIN] == "*" && !any.contains_key(VARY));
    }

    #[test]
    fn a_preflight_hears_what_is_allowed_and_only_if_it_is() {
        let asked = |origin| {
            let fields = [
                ("origin", origin),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "x-a, x-b"),
                ("access-control-request-private-network", "true"),
            ];
            head(Method::OPTIONS, &fields)
        };
        let cors = cors(&["https://a.example"], |settings| {
            settings.methods = vec!["PUT".to_owned(), "GET".to_owned()];
            settings.headers = vec!["*".to_owned()];
            settings.private_network = true;
        });
        let answer = |head: &Parts| cors.preflight(head, &cors.decide(head));
        let allowed = answer(&asked("https://a.example")).unwrap();
        assert_eq!(allowed.status, StatusCode::NO_CONTENT);
        for (name, value) in [
            ("access-control-allow-methods", "PUT, GET"),
            ("access-control-allow-headers", "x-a, x-b"),
            ("access-control-max-age", "600"),
            ("access-control-allow-private-network", "true"),
        ] {
            assert_eq!(allowed.headers[name], value);
        }
        assert!(answer(&asked("https://b.example")).unwrap().headers.is_empty());
        assert!(answer(&head(Method::OPTIONS, &[("origin", "https://a.example")])).is_none(), "it is a plain OPTIONS");
        assert!(answer(&head(Method::GET, &[("origin", "https://a.example")])).is_none());
    }

    #[test]
    fn credentials_and_fields_to_read_are_told_with_the_answer() {
        let cors = cors(&["https://a.example"], |settings| {
            settings.credentials = true;
            settings.expose = vec!["x-total".to_owned(), "x-page".to_owned()];
        });
        let headers = told(&cors, "https://a.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], "x-total, x-page");
        assert!(Cors::new(&Settings { enabled: false, ..Settings::default() }).is_none());
    }
}
