use super::*;

fn keep(_: &str, _: &str) -> Option<String> {
    None
}

fn minified(text: &str) -> String {
    let order = Order { minify: true, map: false, resolve: &keep };
    let made = sheet(&Sheet { path: "/a.css", name: "/a.css", text }, &order);
    assert_eq!(made.faults, [], "{text}");
    made.text
}

/// References with a hash in their names.
fn hashed(from: &str, reference: &str) -> Option<String> {
    reference.ends_with(".png").then(|| format!("/x/{from}-{reference}"))
}

#[test]
fn what_means_nothing_is_left_out() {
    for (text, short) in [
        ("a { color : red ; }\n\n b{}", "a{color:red}"),
        ("a{;}b{ ; c { } /* gone */ d{;} }e{f:g}", "e{f:g}"),
        ("/* gone */ a , b > c + d ~ e  f { x: 1 }", "a,b>c+d~e f{x:1}"),
        ("/*! stays */a{b:c}", "/*! stays */a{b:c}"),
        ("a{;b:c;;d:e;}", "a{b:c;d:e}"),
        ("a { color: #FFFFFF; margin: 0.50em 0px -0.0em }", "a{color:#fff;margin:.5em 0 -0em}"),
        ("#FFFFFF { flex: 1 1 0px }", "#FFFFFF{flex:1 1 0px}"),
        ("a { width: calc( 1px + 2px * ( 3 - 1 ) ) ! important }", "a{width:calc(1px + 2px * (3 - 1))!important}"),
        ("a :hover > b[ c = 'd' i ] {x:y}", "a :hover>b[c = 'd' i]{x:y}"),
        ("li:nth-child( 2n + 1 ) {x:y}", "li:nth-child(2n+ 1){x:y}"),
        ("@media screen and ( min-width : 10.0px ) { a { b : c } }", "@media screen and (min-width :10px){a{b:c}}"),
        ("@media (400px <= width) {a{b:c}} @layer x ;", "@media (400px<=width){a{b:c}}@layer x"),
        ("@import 'a.css' screen ; a{b:c}", "@import 'a.css' screen;a{b:c}"),
        ("@charset \"utf-8\"; a{b:c}", "a{b:c}"),
        (":root { --a : { x: y } ; --b: ; --c:  A  B /* c */ }", ":root{--a:{ x: y };--b: ;--c:A  B /* c */}"),
        ("a { b: c; &:hover { d: e } f: g }", "a{b:c;&:hover{d:e}f:g}"),
        (
            "a { *zoom: 1; filter: progid:X.Y( a = '#FFFFFFFF', b=#FFFFFF ) }",
            "a{*zoom:1;filter:progid:X.Y(a = '#FFFFFFFF',b=#FFFFFF)}",
        ),
        ("@font-face { unicode-range: U+0025-00FF , u+4?? }", "@font-face{unicode-range:U+0025-00FF,u+4??}"),
        ("a { background : url( 'a b.png' ) , url( c.png ) }", "a{background:url(\"a b.png\"),url(c.png)}"),
        ("@keyframes x { from { a: b } 50.0% { c: d } }", "@keyframes x{from{a:b}50.0%{c:d}}"),
        ("@unknown { any : thing ; }", "@unknown{ any : thing ; }"),
        ("a{b:1/**/2}", "a{b:1/**/2}"),
        ("a{b:1.0.5}", "a{b:1/**/.5}"),
        ("a{content:\"a\\\nb\"}", "a{content:\"a\\\nb\"}"),
        ("@page :first { margin: 1in }", "@page :first{margin:1in}"),
        ("@supports not ( display : grid ) { a { float : left } }", "@supports not (display :grid){a{float:left}}"),
        ("a{font:1em/1.50 x}", "a{font:1em/1.5 x}"),
        ("", ""),
    ] {
        assert_eq!(minified(text), short, "{text}");
        // What was made small is small.
        assert_eq!(minified(short), short);
    }
}

#[test]
fn what_a_browser_would_stumble_over_is_told_and_left_as_it_is() {
    let order = Order { minify: true, map: false, resolve: &keep };
    for (text, fault) in [
        ("a { b: c;\n d { e: 'f\n } }", "/a.css:2:9: a string is not closed in its line"),
        ("a { b: c }\n}", "/a.css:2:1: '}' closes nothing"),
        ("a { b: c", "/a.css:1:3: it is never closed"),
        ("a { b: url(x y) }", "/a.css:1:8: url() without quotes"),
    ] {
        let made = sheet(&Sheet { path: "/a.css", name: "", text }, &order);
        assert_eq!(made.text, text);
        assert!(made.faults[0].to_string().starts_with(fault), "{:?}", made.faults);
    }
}

#[test]
fn references_are_replaced_wherever_they_stand() {
    let text = "@import \"b.png\" print;\n@namespace url(n.png);\na { b: url(c.png), url( 'd.png' ) x; c: image-set(\"e.png\" 1x, 'f' 2x); --d: url(g.png); e: \"h.png\" }";
    let order = |minify| Order { minify, map: false, resolve: &hashed };
    let style = Sheet { path: "/a.css", name: "", text };
    let made = sheet(&style, &order(true)).text;
    assert_eq!(
        made,
        "@import \"/x//a.css-b.png\" print;@namespace url(n.png);a{b:url(/x//a.css-c.png),url(/x//a.css-d.png) x;\
         c:image-set(\"/x//a.css-e.png\" 1x,'f' 2x);--d:url(/x//a.css-g.png);e:\"h.png\"}"
    );
    let made = sheet(&style, &order(false)).text;
    assert!(
        made.starts_with("@import \"/x//a.css-b.png\" print;\n@namespace url(n.png);\na { b: url(/x//a.css-c.png),"),
        "{made}"
    );
    assert!(made.contains(" e: \"h.png\" }"), "{made}");
    let refers = references(&style);
    assert_eq!(
        refers,
        ["b.png", "c.png", "d.png", "g.png"],
        "in a set they are strings, which only the minifier parts"
    );
    assert_eq!(
        declarations(&Sheet { text: "color : red ; x: url(a.png) ;", ..style }, &order(true)),
        "color:red;x:url(/x//a.css-a.png)"
    );
}

fn join(members: &[(&'static str, &'static str)], all: &'static [(&'static str, &'static str)], minify: bool) -> Made {
    let sheets: Vec<Sheet<'_>> = members.iter().map(|(path, text)| Sheet { path, name: path, text }).collect();
    let imported = |_: &str, reference: &str| {
        all.iter().find(|(path, _)| path.trim_start_matches('/') == reference).map(|(path, text)| Sheet {
            path,
            name: path,
            text,
        })
    };
    // Lives as long as the sheets.
    let imported = Box::leak(Box::new(imported));
    joined(&sheets, imported, &Order { minify, map: true, resolve: &keep })
}

#[test]
fn joined_sheets_have_their_imports_in_place_or_at_the_beginning() {
    let members = [
        ("/a.css", "@charset 'utf-8'; @import 'c.css'; a{b:c}"),
        ("/b.css", "@import url(//fonts.example/x); @import 'c.css' print; @import url('c.css'); d{e:f"),
        ("/e.css", "g{h:i}"),
    ];
    let all = &[("/c.css", "@import 'a.css'; @import 'c.css'; c{c:c}"), ("/a.css", "a{b:c}")];
    let made = join(&members, all, true);
    assert_eq!(
        made.text,
        "@import url(//fonts.example/x);@import 'c.css' print;\n\
         c{c:c}a{b:c}\n  \n\na{b:c}  c{c:c} d{e:f}g{h:i}"
    );
    assert_eq!(made.faults.len(), 1);
    assert!(made.faults[0].to_string().starts_with("/b.css:1:79: it is never closed"), "{}", made.faults[0]);
    let plain = join(&[("/a.css", "a {\n b: c }"), ("/e.css", "/* d */ e { }\n")], &[], false);
    assert_eq!(plain.text, "a {\n b: c }\n/* d */ e { }\n");
}

#[test]
fn a_map_leads_from_what_was_made_to_where_it_was_written() {
    let made = join(&[("/a.css", "@import 'x://y';\na { b: c;\n  d: e }"), ("/b.css", "\n\nf { g: h }")], &[], true);
    assert_eq!(made.text, "@import 'x://y';\na{b:c;d:e}f{g:h}");
    let map = made.map.unwrap();
    let table = map.generate_lookup_table();
    for (column, source, line, from) in
        [(0, "/a.css", 1, 0), (6, "/a.css", 2, 2), (10, "/b.css", 2, 0), (12, "/b.css", 2, 4)]
    {
        let token = map.lookup_token(&table, 1, column).unwrap();
        let place =
            (map.get_source(token.get_source_id().unwrap()).unwrap(), token.get_src_line(), token.get_src_col());
        assert_eq!(place, (source, line, from), "{column}");
    }
    assert_eq!(map.get_source_content(1), Some("\n\nf { g: h }"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_printed_and_what_was_printed_stays_as_it_is(text in "[a-c0-1 .:;,{}()\\[\\]'\"@#/*!\\\\+>~\n-]{0,80}") {
        let order = Order { minify: true, map: false, resolve: &keep };
        let of = |text: &str| sheet(&Sheet { path: "/a.css", name: "", text }, &order);
        let once = of(&text);
        if once.faults.is_empty() {
            proptest::prop_assert_eq!(&of(&once.text).text, &once.text);
        }
    }
}
