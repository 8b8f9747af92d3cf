//! Backends that want to know whom they talk to.

use super::{body, site};
use crate::binary::{Place, get};
use crate::tls::Ca;

#[test]
fn a_backend_that_asks_for_a_certificate_is_shown_that_of_its_pool() {
    let mut server = Place::new();
    let ca = Ca::new(server.path());
    ca.sign(server.path(), "server", &["backend.test"], 90);
    ca.sign(server.path(), "proxy", &["proxy.test"], 90);
    server.change(|text| {
        format!(
            "{text}\n[[front.listener]]\naddress = '{}:8443'\n\
             tls = {{ certificate = 'server.pem', key = 'server.key', client_auth = {{ ca = 'root.pem' }} }}\n\
             [[front.route]]\npath = '/*'\nrespond = {{ body = 'known' }}\nclient_certificate = {{ subjects = ['CN=proxy.test'] }}\n",
            server.host()
        )
    });
    server.start();
    let mut place = Place::new();
    let dir = server.path().display().to_string();
    let configure = |place: &Place, more: &str| {
        place.change(|text| {
            let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
            let (host, backend) = (place.host(), server.host());
            format!(
                "{kept}# proxy\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
                 [proxy.pool.app]\nbackend = [{{ url = 'https://{backend}:8443' }}]\n\
                 tls = {{ ca = '{dir}/root.pem', name = 'backend.test'{more} }}\n"
            )
        });
    };
    let shown = format!(", certificate = '{dir}/proxy.pem', key = '{dir}/proxy.key'");
    configure(&place, &shown);
    place.start();
    assert_eq!(body(&get(&site(&place), &[])), "known");
    configure(&place, &format!("{shown}, http2 = false"));
    place.must(&["reload"]);
    assert_eq!(body(&get(&site(&place), &[])), "known");
    configure(&place, "");
    place.must(&["reload"]);
    let refused = get(&site(&place), &[]);
    assert!(refused.starts_with("HTTP/1.1 502 "), "nothing is shown, and no connection of before is used: {refused}");
}
