use super::*;

fn script(text: &str) -> Script<'_> {
    Script { path: "/a.js", name: "/a.js", text, kind: Kind::Either }
}

fn keep(_: &str) -> Option<String> {
    None
}

fn minified(text: &str) -> Made {
    let script = script(text);
    made(&script, &outline(&script).unwrap(), &Order { minify: true, map: true, inner: None, resolve: &keep }).unwrap()
}

#[test]
fn what_a_script_declares_keeps_its_name_and_stays_though_it_uses_it_nowhere() {
    let made = minified(
        "var count = 0;\nlet word = 'a';\nfunction add(first, second) {\n  const sum = first + second;\n  return sum * 2;\n}\nclass Thing {}\n",
    );
    for name in ["count", "word", "add", "Thing"] {
        assert!(made.text.contains(name), "{name}: {}", made.text);
    }
    assert!(!made.text.contains("second") && !made.text.contains("  "), "{}", made.text);
    // The names of a module are its own.
    let module = minified("const long = document.title;\nexport function shown() { return long + long }\n");
    assert!(!module.text.contains("long") && module.text.contains("shown"), "{}", module.text);
}

#[test]
fn a_licence_stays_and_nothing_comes_that_is_newer_than_es2015() {
    let made =
        minified("/*! (c) somebody */\nif (a === undefined || a === null) { a = b }\nx = x || y; debugger;\n// gone\n");
    assert!(made.text.contains("/*! (c) somebody */") && !made.text.contains("gone"), "{}", made.text);
    for newer in ["??", "||=", "?."] {
        assert!(!made.text.contains(newer), "{newer}: {}", made.text);
    }
    assert!(made.text.contains("debugger"));
}

#[test]
fn names_that_evaluated_code_could_use_stay() {
    let made = minified("function f(argument) { return eval('argument + 1') }");
    assert!(made.text.contains("f(argument)"), "{}", made.text);
}

#[test]
fn a_fault_has_its_place() {
    for (text, place) in
        [("a(\n  }", "/a.js:2:3: "), ("let a;\nlet a;", "/a.js:1:5: "), ("import 'a'; with (b) {}", "/a.js:1:13: ")]
    {
        let fault = outline(&script(text)).unwrap_err().to_string();
        assert!(fault.starts_with(place), "{fault}");
    }
    let deep = "[".repeat(20_000);
    assert!(outline(&script(&deep)).unwrap_err().to_string().contains("nested"));
}

#[test]
fn what_is_imported_is_known_and_replaced_where_its_name_stands_there() {
    let text = "import a from './a.js';\nexport * from \"../b.js\";\nimport('./c.js').then(a);\nimport(`./d.js`);\nimport(a + './e.js');\nimport './f\\x41.js';";
    let whole = script(text);
    let outline = outline(&whole).unwrap();
    assert!(outline.is_module && !outline.is_strict);
    let names: Vec<&str> = outline.imports.iter().map(|import| &*import.name).collect();
    assert_eq!(names, ["./a.js", "../b.js", "./c.js", "./d.js"]);
    let resolve = |name: &str| name.contains("/a.").then(|| "/x/a-1.js".to_owned());
    for minify in [false, true] {
        let made = made(&whole, &outline, &Order { minify, map: true, inner: None, resolve: &resolve }).unwrap();
        assert!(made.text.contains("\"/x/a-1.js\"") && made.text.contains("./c.js"), "{}", made.text);
        assert_eq!(made.map.unwrap().get_source_content(0), Some(text));
    }
    assert!(!super::outline(&script("import('./a.js')")).unwrap().is_module);
}

#[test]
fn a_map_leads_to_where_it_was_written() {
    let made = minified("// first\nfunction shown() {\n  return document.title.trim();\n}\n");
    let map = made.map.unwrap();
    let at = made.text.find("document").unwrap() as u32;
    let token = map.lookup_token(&map.generate_lookup_table(), 0, at).unwrap();
    assert_eq!((token.get_src_line(), token.get_src_col()), (2, 9), "{}", made.text);
    assert_eq!(map.get_source(0), Some("/a.js"));
}

#[test]
fn joined_scripts_do_not_run_into_each_other() {
    let pieces = ["var f = function () { return 1 }", "(function () { g = 2 })() // end", "var h = 3"];
    let piece = |text: &str| {
        let script = script(text);
        made(&script, &outline(&script).unwrap(), &Order { minify: false, map: true, inner: None, resolve: &keep })
            .unwrap()
    };
    let whole = joined("/b.js", pieces.map(piece).into()).0;
    assert_eq!(whole.text, pieces.join("\n;\n"));
    let map = whole.map.unwrap();
    let token = map.lookup_token(&map.generate_lookup_table(), 4, 0).unwrap();
    assert_eq!((token.get_source_id(), token.get_src_line()), (Some(2), 0));
    let twice = joined("/b.js", ["let a = 1", "let a = 2"].map(piece).into()).1.unwrap();
    assert!(twice.to_string().starts_with("/b.js:1:5: "), "{twice}");
}
