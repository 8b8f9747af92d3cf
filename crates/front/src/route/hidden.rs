//! Routes that never answer, because others stand before them.

use std::collections::HashMap;

use http::Method;

use super::{Conditions, HostPattern};

/// Routes that no request reaches, each with one that answers in its place; both by where they stand.
///
/// A route is hidden where, for each of its hosts, one before it has the same path, whatever the names in it, the same fields and all of
/// its methods. A route with more conditions is asked earlier, and hides nothing.
pub fn hidden(routes: &[Conditions]) -> Vec<(usize, usize)> {
    let mut before: HashMap<(Option<&HostPattern>, String), Vec<usize>> = HashMap::new();
    let mut found = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let shape = route.path.shape();
        let mut hides = None;
        let mut reached = false;
        let hosts = route.hosts.iter().map(Some).chain(route.hosts.is_empty().then_some(None));
        for host in hosts {
            let same = before.entry((host, shape.clone())).or_default();
            let answers = same.iter().find(|one| routes.get(**one).is_some_and(|one| answers_all_of(one, route)));
            match answers {
                Some(one) => hides = hides.or(Some(*one)),
                None => reached = true,
            }
            same.push(index);
        }
        found.extend(hides.filter(|_| !reached).map(|hides| (index, hides)));
    }
    found
}

/// Whether a route with the same host and path answers every request that another one would, and is asked before it.
fn answers_all_of(one: &Conditions, other: &Conditions) -> bool {
    let has =
        |method: &Method| one.methods.iter().any(|own| own == method || (own == Method::GET && method == Method::HEAD));
    let methods = one.methods.is_empty() == other.methods.is_empty() && other.methods.iter().all(has);
    let fields = one.fields.len() == other.fields.len() && one.fields.iter().all(|field| other.fields.contains(field));
    methods && fields
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn route(hosts: &[&str], path: &str, methods: &[Method], fields: &[(&'static str, &'static str)]) -> Conditions {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), Some(HeaderValue::from_static(value)))
        };
        Conditions {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            path: path.parse().unwrap(),
            methods: methods.to_vec(),
            fields: fields.iter().map(field).collect(),
        }
    }

    fn paths(paths: &[&str]) -> Vec<(usize, usize)> {
        hidden(&paths.iter().map(|path| route(&[], path, &[], &[])).collect::<Vec<_>>())
    }

    #[test]
    fn a_path_hides_the_same_path_whatever_its_names() {
        assert_eq!(paths(&["/a/{id}", "/b", "/a/{x}", "/a/{y}/*", "/a/{z}/*"]), [(2, 0), (4, 3)]);
        assert_eq!(paths(&["/*", "/", "/a", "/a/", "/a/*", "/{a}", "/{a}/{b}"]), []);
    }

    #[test]
    fn a_route_with_other_conditions_answers_something() {
        let get = [Method::GET];
        let both = [Method::GET, Method::POST];
        let of = |conditions: &[Conditions]| hidden(conditions);
        let plain = || route(&[], "/a", &[], &[]);
        assert_eq!(of(&[plain(), route(&[], "/a", &get, &[])]), [], "it is asked first");
        assert_eq!(of(&[plain(), route(&[], "/a", &[], &[("x-a", "1")])]), [], "it is asked first");
        assert_eq!(of(&[route(&[], "/a", &get, &[]), plain()]), [], "for what is no GET");
        assert_eq!(of(&[route(&[], "/a", &get, &[]), route(&[], "/a", &both, &[])]), [], "for POST");
        assert_eq!(of(&[route(&[], "/a", &both, &[]), route(&[], "/a", &[Method::HEAD], &[])]), [(1, 0)]);
        let fields = [("x-a", "1"), ("x-b", "2")];
        let turned = [fields[1], fields[0]];
        assert_eq!(of(&[route(&[], "/a", &[], &fields), route(&[], "/a", &[], &turned)]), [(1, 0)]);
        assert_eq!(of(&[route(&[], "/a", &[], &fields[..1]), route(&[], "/a", &[], &fields[1..])]), []);
    }

    #[test]
    fn a_route_is_hidden_where_each_of_its_hosts_is() {
        let of = |hosts: &[&[&str]]| {
            let routes: Vec<_> = hosts.iter().map(|hosts| route(hosts, "/a", &[], &[])).collect();
            hidden(&routes)
        };
        assert_eq!(of(&[&["a.example", "b.example"], &["A.example"]]), [(1, 0)]);
        assert_eq!(of(&[&["a.example"], &["a.example", "b.example"]]), []);
        assert_eq!(of(&[&["a.example"], &["b.example"], &["b.example", "a.example"]]), [(2, 1)]);
        assert_eq!(of(&[&[], &["a.example"], &["*.a.example"]]), [], "a host by name is asked first");
        assert_eq!(of(&[&["a.example"], &[]]), [], "for other hosts");
    }
}
