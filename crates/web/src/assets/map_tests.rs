use super::*;

const AT: Place<'_> = Place { base: "/", from: Some("/js/a.js.map") };

/// Where a line and a column come from: the source, its line and column.
fn origin(map: &Map, line: u32, column: u32) -> Option<(String, u32, u32)> {
    let token = map.lookup_token(&map.generate_lookup_table(), line, column)?;
    Some((map.get_source(token.get_source_id()?)?.to_owned(), token.get_src_line(), token.get_src_col()))
}

#[test]
fn text_is_marked_where_it_comes_from_with_columns_in_utf_16() {
    let source = "a\n😀b";
    let mut lines = Lines::new(source);
    assert_eq!([lines.at(0), lines.at(2), lines.at(6), lines.at(1)], [(0, 0), (1, 0), (1, 2), (0, 1)]);
    let mut sink = Sink::default();
    sink.push("x😀");
    sink.mark(0, lines.at(6));
    sink.push("b\ny");
    let (text, marks) = sink.done();
    assert_eq!(text, "x😀b\ny");
    assert_eq!(origin(&new(&[("s", source)], marks), 0, 3), Some(("s".into(), 1, 2)));
}

#[test]
fn maps_are_stacked_and_composed() {
    let whole = stacked(vec![(identity("a", "1\n2"), 0), (identity("b", "3"), 3)]);
    assert_eq!(origin(&whole, 1, 0), Some(("a".into(), 1, 0)));
    assert_eq!(origin(&whole, 3, 0), Some(("b".into(), 0, 0)));
    assert_eq!(whole.get_source_contents().collect::<Vec<_>>(), [Some("1\n2"), Some("3")]);
    // What is at 0:5 was at 1:4 of a file that came from 7:2 of another.
    let outer = new(&[("b.js", "")], vec![Token::new(0, 5, 1, 4, Some(0), None)]);
    let inner = new(&[("b.ts", "")], vec![Token::new(1, 4, 7, 2, Some(0), None)]);
    assert_eq!(origin(&composed(&outer, &inner), 0, 5), Some(("b.ts".into(), 7, 2)));
}

#[test]
fn the_sources_of_a_map_are_named_from_the_root() {
    let text = r#"{"version":3,"sourceRoot":"../src","sources":["a.ts","webpack:///b"],"names":[],"mappings":"AAAA"}"#;
    let map = read(text, &AT).unwrap();
    assert_eq!(map.get_sources().collect::<Vec<_>>(), ["/src/a.ts", "webpack:///b"]);
    let rootless = text.replace("\"sourceRoot\":\"../src\",", "");
    assert_eq!(read(&rootless, &AT).unwrap().get_sources().collect::<Vec<_>>(), ["/js/a.ts", "webpack:///b"]);
    for bad in ["", "{}", r#"{"version":3,"sources":[],"names":[],"mappings":"AAAA"}"#] {
        assert!(read(bad, &AT).is_err(), "{bad}");
    }
}

#[test]
fn the_comment_that_names_a_map_is_the_last_thing_in_a_file() {
    for (text, reference, place) in [
        ("a()\n//# sourceMappingURL=a.js.map\n", "a.js.map", 4..33),
        ("a{}/*# sourceMappingURL=a.css.map */", "a.css.map", 3..36),
        ("//@ sourceMappingURL=old.map", "old.map", 0..28),
    ] {
        assert_eq!(mentioned(text), Some((reference, place)), "{text}");
    }
    for text in [
        "//# sourceMappingURL=a.map\nb()",
        "x = '//# sourceMappingURL=a'",
        "# sourceMappingURL=a",
        "//# sourceMappingURL=",
    ] {
        assert_eq!(mentioned(text), None, "{text}");
    }
    assert_eq!(inline("data:application/json;charset=utf-8;base64,e30=").as_deref(), Some("{}"));
    assert_eq!(inline("a.map"), None);
}

#[test]
fn edits_move_what_follows_them_in_their_line() {
    let text = "a 'x' b 'y' c\nd";
    let edits = [(2..5, "'longer'"), (8..11, "''")].map(|(place, text)| Edit { place, text: text.to_owned() });
    assert_eq!(edited(text, &edits), "a 'longer' b '' c\nd");
    let moves = Moves::new(text, &edits);
    for (before, after) in [(0, 0), (6, 11), (12, 16)] {
        assert_eq!((moves.after(0, before), moves.before(0, after)), (after, before));
    }
    assert_eq!((moves.after(1, 0), moves.before(1, 0)), (0, 0));
}
