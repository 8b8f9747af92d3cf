//! Pages in the place of error answers of the real binary, whoever makes these.

use crate::binary::{Place, command, field, get, text, until};

/// A place whose folder `site` has pages, and whose configuration has these lines behind it; and where it serves.
fn place(lines: &str) -> (Place, String) {
    let place = Place::with(lines);
    let site = format!("http://{}:8080", place.host());
    std::fs::create_dir(place.path().join("site")).expect("a folder");
    for (name, page) in [("site/4xx.html", "<p>not for you"), ("site/5xx.html", "<p>sorry"), ("gone.html", "<p>gone")] {
        std::fs::write(place.path().join(name), page).expect("a file");
    }
    (place, site)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// The hash of a password.
fn hash(place: &Place) -> String {
    let file = place.path().join("password");
    std::fs::write(&file, "open sesame\n").expect("a file");
    let mut hash = command(place.path(), &["hash-password"]);
    let output = hash.stdin(std::fs::File::open(file).expect("the file")).output().expect("the binary runs");
    text(&output.stdout).trim().to_owned()
}

const FILES: &str = "files = { root = 'site', error_pages = { 4xx = '/4xx.html', 5xx = '/5xx.html' } }";

#[test]
fn what_refuses_a_request_before_files_are_looked_for_has_their_pages_and_keeps_its_fields() {
    let (mut place, site) = place(&format!(
        "[[front.listener]]\naddress = 'HOST:8080'\n\
         [[front.route]]\npath = '/members/*'\nbasic_auth = {{ realm = 'Cave', users = {{ ann = 'HASH' }} }}\ncors = {{ origins = ['https://a.example'] }}\n{FILES}\n\
         [[front.route]]\npath = '/closed/*'\nmaintenance = {{ retry_after = '5m' }}\n{FILES}\n\
         [[front.route]]\npath = '/elsewhere/*'\naddresses = {{ allow = ['192.0.2.0/24'] }}\n{FILES}\n\
         [[front.route]]\npath = '/seldom/*'\nrate_limit = [{{ limit = 1, window = '1h' }}]\n{FILES}\n\
         [[front.route]]\npath = '/plain/*'\nmaintenance = {{}}\nfiles = {{ root = 'site' }}\n"
    ));
    let hash = hash(&place);
    place.change(|before| before.replace("HASH", &hash));
    place.start();
    let asked = get(&format!("{site}/members/a"), &["-H", "Origin: https://a.example"]);
    assert_eq!((status(&asked), field(&asked, "content-type")), ("401", Some("text/html; charset=utf-8")));
    assert!(asked.ends_with("\r\n\r\n<p>not for you"), "{asked}");
    assert_eq!(field(&asked, "www-authenticate"), Some("Basic realm=\"Cave\", charset=\"UTF-8\""));
    assert_eq!(field(&asked, "access-control-allow-origin"), Some("https://a.example"));
    assert!(field(&asked, "x-request-id").is_some(), "{asked}");
    let wrong = get(&format!("{site}/members/a"), &["-u", "ann:open barley"]);
    assert!(status(&wrong) == "401" && wrong.ends_with("<p>not for you"), "{wrong}");
    let none = get(&format!("{site}/members/a"), &["-u", "ann:open sesame"]);
    assert!(status(&none) == "404" && none.ends_with("<p>not for you"), "{none}");
    let closed = get(&format!("{site}/closed/a"), &[]);
    assert_eq!((status(&closed), field(&closed, "retry-after")), ("503", Some("300")));
    assert!(closed.ends_with("<p>sorry"), "{closed}");
    let elsewhere = get(&format!("{site}/elsewhere/a"), &[]);
    assert!(status(&elsewhere) == "403" && elsewhere.ends_with("<p>not for you"), "{elsewhere}");
    get(&format!("{site}/seldom/a"), &[]);
    let often = get(&format!("{site}/seldom/a"), &[]);
    assert!(status(&often) == "429" && often.ends_with("<p>not for you"), "{often}");
    assert!(field(&often, "retry-after").is_some() && field(&often, "ratelimit-remaining") == Some("0"), "{often}");
    let plain = get(&format!("{site}/plain/a"), &[]);
    assert!(status(&plain) == "503" && plain.contains("This site is being worked on."), "{plain}");
}

#[test]
fn pages_for_every_route_stand_for_errors_of_queries_of_middleware_and_of_what_has_no_route() {
    let (mut place, site) = place(&format!(
        "[front]\nerror_pages = {{ 404 = 'gone.html', 5xx = 'site/5xx.html' }}\n[[front.listener]]\naddress = 'HOST:8080'\n\
         [[front.route]]\npath = '/rows'\nquery = {{ database = 'main', sql = 'select 1 as one where 1 = 0', rows = 'one' }}\ncache = {{ status_ttl = {{ 404 = '1h' }} }}\n\
         [[front.route]]\npath = '/closed'\nmaintenance = {{}}\nrespond = {{}}\n\
         [[front.route]]\npath = '/own'\nerror_pages = {{ 503 = 'site/4xx.html' }}\nmaintenance = {{}}\nrespond = {{}}\n\
         [[front.route]]\npath = '/said'\nrespond = {{ status = 404, body = 'as it is' }}\n\
         [[front.route]]\npath = '/files/*'\n{FILES}\n\
         [web.database.main]\nurl = 'sqlite:site.db'\n"
    ));
    std::fs::write(place.path().join("site.db"), "").expect("a file");
    place.start();
    let page = &["-H", "Accept: text/html,*/*;q=0.8"];
    let ends = |path: &str, more: &[&str], code: &str, end: &str| {
        let answer = get(&format!("{site}{path}"), more);
        assert!(status(&answer) == code && answer.ends_with(end), "{path}: {answer}");
        answer
    };
    let nowhere = ends("/nowhere", &[], "404", "\r\n\r\n<p>gone");
    assert!(field(&nowhere, "x-request-id").is_some(), "{nowhere}");
    for _ in 0..2 {
        let rows = ends("/rows", page, "404", "<p>gone");
        assert_eq!(field(&rows, "vary"), Some("accept"), "{rows}");
        let details = get(&format!("{site}/rows"), &[]);
        assert_eq!(field(&details, "content-type"), Some("application/problem+json"), "programs get these: {details}");
    }
    ends("/closed", &[], "503", "<p>sorry");
    ends("/own", &[], "503", "<p>not for you");
    ends("/said", &[], "404", "\r\n\r\nas it is");
    ends("/files/none", &[], "404", "<p>not for you");
    let json = get(&format!("{site}/closed"), &["-H", "Accept: application/json"]);
    assert_eq!((status(&json), field(&json, "content-type")), ("503", Some("application/problem+json")));

    std::fs::write(place.path().join("gone.html"), "<p>really gone").expect("a file");
    place.must(&["reload"]);
    ends("/nowhere", &[], "404", "<p>really gone");
    std::fs::remove_file(place.path().join("gone.html")).expect("it was there");
    let refused = text(&place.outwork(&["reload"]).stderr);
    assert!(refused.contains("front.error_pages.404: cannot read "), "{refused}");
    ends("/nowhere", &[], "404", "<p>really gone");
    place.hang_up();
    let log = place.path().join("log");
    until("the refusal in the log", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("configuration not reloaded"))
    });
}
