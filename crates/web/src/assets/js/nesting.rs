//! How deep a text is nested: a bound, found without descending. Whoever parses a text, or walks what was parsed, descends once for each bracket
//! and each operator, and a text that was made to be deep would take all of a thread's stack.

/// Where a text may first be more than so many levels deep; `None` where it never is.
pub(super) fn beyond(text: &str, most: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    // Operators since a statement or an element began, for each bracket that is open; and all of them together.
    let mut open: Vec<usize> = vec![0];
    let mut depth = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' | b'`' => at = string_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => at = until(bytes, at, b"\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => at = until(bytes, at + 2, b"*/"),
            b'(' | b'[' | b'{' => {
                open.push(0);
                depth += 1;
            }
            b')' | b']' | b'}' => {
                if open.len() > 1 {
                    // Another may follow, and whatever does then has this one in it: `f()()`, `if () {} else {}`.
                    depth -= open.pop().unwrap_or(0);
                    if let Some(count) = open.last_mut() {
                        *count += 1;
                    }
                }
                if *byte == b'}' && ends_statement(bytes.get(at + 1..).unwrap_or_default()) {
                    depth -= open.last_mut().map_or(0, std::mem::take);
                }
            }
            b';' | b',' => depth -= open.last_mut().map_or(0, std::mem::take),
            b'.' | b'?' | b':' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b'^' | b'!' | b'~' | b'=' | b'<'
            | b'>' => {
                if let Some(count) = open.last_mut() {
                    *count += 1;
                    depth += 1;
                }
            }
            _ => {}
        }
        if depth > most {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Whether what follows a brace begins anew.
fn ends_statement(rest: &[u8]) -> bool {
    let next = rest.trim_ascii_start();
    let goes_on = ["else", "catch", "finally", "while", "instanceof", "in ", "of "];
    next.first().is_none_or(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'}'))
        && !goes_on.iter().any(|word| next.starts_with(word.as_bytes()))
}

/// The last byte of a string.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let quote = bytes.get(start).copied();
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            // A quote that stood in a regular expression.
            b'\n' if quote != Some(b'`') => return at,
            byte if Some(*byte) == quote => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The last byte of what ends with these.
fn until(bytes: &[u8], start: usize, end: &[u8]) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    rest.windows(end.len()).position(|window| window == end).map_or(bytes.len(), |found| start + found + end.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_or_chained_is_deep_and_what_stands_side_by_side_is_not() {
        for deep in ["[".repeat(60), "1+".repeat(60), "!".repeat(60), "a?b:".repeat(30), "a.b(c,d)".repeat(60)] {
            assert!(beyond(&deep, 50).is_some(), "{deep}");
        }
        assert!(beyond(&"if(a){b;}else ".repeat(60), 50).is_some());
        for flat in [
            "a=b+c;".repeat(60),
            "[1,2,-3],".repeat(60),
            "function f(){a=1}".repeat(60),
            format!("'{}'", "+".repeat(60)),
            format!("/*{}*/", "+".repeat(60)),
            "//++++\n".repeat(60),
            "}".repeat(60),
        ] {
            assert_eq!(beyond(&flat, 50), None, "{flat}");
        }
    }
}
