//! Routes that others answer before, for requests that they were made for.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, Request};

use super::path::NormalPath;
use super::{Conditions, HostPattern, Table};

/// A request that passes a route by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The route that answers it, by where it stands.
    pub by: usize,
    /// A host of such a request; empty where it is none of those that routes name.
    pub host: String,
    /// A path of such a request.
    pub path: String,
}

/// Asks routes for requests that are like those of other routes.
#[derive(Debug)]
pub struct Probes<'r> {
    routes: &'r [Conditions],
    table: Table<usize>,
}

impl<'r> Probes<'r> {
    /// Of these routes.
    pub fn new(routes: &'r [Conditions]) -> Self {
        let table = Table::new(routes.iter().cloned().enumerate().map(|(index, route)| (route, index)).collect());
        Self { routes, table }
    }

    /// What passes a route by: requests that its path fits, which a route with another path gets for the sake of their host; and where it ends in a slash,
    /// requests for what lies below.
    pub fn past(&self, index: usize) -> Vec<Passed> {
        let Some(route) = self.routes.get(index) else { return Vec::new() };
        let fitting = route.path.sample();
        let below = (!route.path.open && fitting.ends_with('/')).then(|| format!("{fitting}-"));
        let mut found: Vec<Passed> = Vec::new();
        for host in self.hosts_of(route) {
            for path in [Some(&fitting), below.as_ref()].into_iter().flatten() {
                let Some(by) = self.answers(route, &host, path).filter(|by| *by != index) else { continue };
                let is_other = self
                    .routes
                    .get(by)
                    .is_some_and(|by| by.path.shape() != route.path.shape() && (*path == fitting || by.path.open));
                if is_other && found.iter().all(|known| known.by != by) {
                    found.push(Passed { by, host: host.clone(), path: path.clone() });
                }
            }
        }
        found
    }

    /// Hosts that a route answers, one of each kind that routes tell apart.
    fn hosts_of(&self, route: &Conditions) -> Vec<String> {
        let mut hosts = vec![String::new()];
        hosts.extend(self.routes.iter().flat_map(|route| &route.hosts).map(|host| match host {
            HostPattern::Name(name) => name.to_string(),
            HostPattern::Below(suffix) => format!("-{suffix}"),
        }));
        let fits = |host: &String| route.hosts.is_empty() || route.hosts.iter().any(|own| own.fits(host));
        hosts.retain(fits);
        hosts
    }

    /// The route that answers a request which has everything that `route` asks for, at this host and path.
    fn answers(&self, route: &Conditions, host: &str, path: &str) -> Option<usize> {
        let path = NormalPath::new(path).ok()?;
        let head = head(route, host)?;
        self.table.find(&head, &path).ok().map(|found| *found.route)
    }
}

fn head(route: &Conditions, host: &str) -> Option<Parts> {
    let method = route.methods.first().cloned().unwrap_or(Method::GET);
    let (mut head, ()) = Request::builder().method(method).header(HOST, host).body(()).ok()?.into_parts();
    for (name, value) in &route.fields {
        head.headers.insert(name, value.clone().unwrap_or(HeaderValue::from_static("-")));
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who passes the last of these routes by, and for what.
    fn past(routes: &[(&str, &str)]) -> Vec<(usize, String)> {
        let route = |(host, path): &(&str, &str)| Conditions {
            hosts: host.split_whitespace().map(|host| host.parse().unwrap()).collect(),
            path: path.parse().unwrap(),
            methods: Vec::new(),
            fields: Vec::new(),
        };
        let routes: Vec<_> = routes.iter().map(route).collect();
        let passed = Probes::new(&routes).past(routes.len() - 1);
        passed.into_iter().map(|one| (one.by, format!("{}{}", one.host, one.path))).collect()
    }

    #[test]
    fn a_route_of_any_host_is_passed_by_where_a_route_of_the_host_has_a_path_that_fits() {
        assert_eq!(past(&[("www.a.example", "/*"), ("", "/img/*")]), [(0, "www.a.example/img/-".to_owned())]);
        assert_eq!(past(&[("*.a.example", "/*"), ("", "/img/*")]), [(0, "-.a.example/img/-".to_owned())]);
        let both = [("www.a.example", "/*"), ("*.a.example", "/img/*")];
        assert_eq!(past(&both), [(0, "www.a.example/img/-".to_owned())]);
    }

    #[test]
    fn a_route_is_not_passed_by_where_it_is_the_most_specific_or_the_other_has_its_path() {
        for routes in [
            [("", "/*"), ("", "/img/*")],
            [("www.a.example", "/*"), ("www.a.example", "/img/*")],
            [("www.a.example", "/img/*"), ("", "/img/*")],
            [("www.a.example", "/css/*"), ("", "/img/*")],
            [("www.a.example", "/*"), ("b.example", "/img/*")],
        ] {
            assert_eq!(past(&routes), [], "{routes:?}");
        }
    }

    #[test]
    fn what_lies_below_a_path_that_ends_in_a_slash_passes_it_by() {
        assert_eq!(past(&[("", "/*"), ("", "/admin/")]), [(0, "/admin/-".to_owned())]);
        assert_eq!(past(&[("", "/*"), ("", "/admin")]), []);
        assert_eq!(past(&[("", "/*"), ("", "/admin/*"), ("", "/admin/")]), [(1, "/admin/-".to_owned())]);
        assert_eq!(past(&[("", "/admin/{page}"), ("", "/admin/")]), [], "its path is told apart");
    }
}
