//! Dictionaries of structured field values (RFC 9651), as far as cache directives need them.

/// Members of a dictionary that are read at most; one with more is malformed.
const MEMBERS: usize = 64;

/// The value of a member. Its parameters are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Boolean(bool),
    /// Its digits, with their sign.
    Integer(&'a [u8]),
    /// What stands between the quotes, escapes as they are.
    String(&'a [u8]),
    /// A decimal, token, byte sequence, date or inner list: no cache directive has one of these.
    Other,
}

/// The members of a dictionary over all lines of its field; `None` where it is malformed (RFC 9651 section 4.2). Of a key that is there twice, the last counts.
pub(crate) fn dictionary<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(&'a [u8], Item<'a>)>> {
    let mut members: Vec<(&[u8], Item<'_>)> = Vec::new();
    for line in lines {
        let mut rest = Rest(line.trim_ascii());
        while !rest.0.is_empty() {
            let key = rest.key()?;
            let item = match rest.take(b'=') {
                true => rest.member()?,
                false => Item::Boolean(true),
            };
            rest.parameters()?;
            members.retain(|(known, _)| *known != key);
            members.push((key, item));
            if members.len() > MEMBERS {
                return None;
            }
            rest.space();
            if rest.0.is_empty() {
                break;
            }
            if !rest.take(b',') {
                return None;
            }
            rest.space();
            // A comma at the end parts nothing.
            if rest.0.is_empty() {
                return None;
            }
        }
    }
    Some(members)
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn space(&mut self) {
        while self.take(b' ') || self.take(b'\t') {}
    }

    /// As many bytes as fit.
    fn run(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !fits(*byte)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        if !first.is_ascii_lowercase() && first != b'*' {
            return None;
        }
        Some(self.run(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            while self.take(b' ') {}
            self.key()?;
            if self.take(b'=') {
                self.bare()?;
            }
        }
        Some(())
    }

    fn member(&mut self) -> Option<Item<'a>> {
        if !self.take(b'(') {
            return self.bare();
        }
        loop {
            while self.take(b' ') {}
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn bare(&mut self) -> Option<Item<'a>> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => {
                self.take(b'?');
                let value = self.take(b'1');
                (value || self.take(b'0')).then_some(Item::Boolean(value))
            }
            b':' => {
                self.take(b':');
                self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.take(b':').then_some(Item::Other)
            }
            b'@' => {
                self.take(b'@');
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.run(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    /// RFC 9651 section 4.2.4: 15 digits, or 12 and 3 behind a point.
    fn number(&mut self) -> Option<Item<'a>> {
        let whole = self.0;
        self.take(b'-');
        let digits = self.run(|byte| byte.is_ascii_digit()).len();
        if !self.take(b'.') {
            let length = whole.len() - self.0.len();
            return (1..=15).contains(&digits).then(|| Item::Integer(whole.get(..length).unwrap_or_default()));
        }
        let fraction = self.run(|byte| byte.is_ascii_digit()).len();
        ((1..=12).contains(&digits) && (1..=3).contains(&fraction)).then_some(Item::Other)
    }

    fn string(&mut self) -> Option<Item<'a>> {
        self.take(b'"');
        let inside = self.0;
        loop {
            self.run(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if self.0.first() == Some(&b'"') {
                let length = inside.len() - self.0.len();
                self.take(b'"');
                return inside.get(..length).map(Item::String);
            }
            if !self.take(b'\\') || !(self.take(b'"') || self.take(b'\\')) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Item<'_>)>> {
        let members = dictionary(std::iter::once(text.as_bytes()))?;
        Some(members.into_iter().map(|(key, item)| (String::from_utf8(key.to_vec()).unwrap(), item)).collect())
    }

    #[test]
    fn a_dictionary_has_members_of_every_type_with_parameters_or_without() {
        let text =
            "a, b=?0, c=60;x=1;y, d=\"a \\\"b\\\"\", e=tok/en;q=1.5, f=:aGk=:, g=(1 \"x\";p two), h=-7, i=1.25, j=@1";
        let members = read(text).unwrap();
        let items: Vec<Item<'_>> = members.into_iter().map(|(_, item)| item).collect();
        let expected = [
            Item::Boolean(true),
            Item::Boolean(false),
            Item::Integer(b"60"),
            Item::String(b"a \\\"b\\\""),
            Item::Other,
            Item::Other,
            Item::Other,
            Item::Integer(b"-7"),
            Item::Other,
            Item::Other,
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn what_is_malformed_anywhere_is_malformed_as_a_whole() {
        for text in [
            "a,",
            "a,,b",
            "A",
            "a=",
            "a=1 b",
            "a=\"x",
            "a=\"\\x\"",
            "a=(1",
            "a=(1\"x\")",
            "a=?2",
            "a=:x",
            "1",
            "=1",
            "a=1.",
            "a=1.2345",
            "a=1234567890123456",
            "a;=1",
            "a=@1.5",
            "a=\u{e9}",
            "a=60+30",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("a{number}")).collect();
        assert_eq!(read(&many.join(", ")), None);
    }

    #[test]
    fn the_last_of_a_key_counts_over_all_lines() {
        let lines: [&[u8]; 2] = [b"a=1, b", b"a=2"];
        let members = dictionary(lines.into_iter()).unwrap();
        assert_eq!(members, [(b"b".as_slice(), Item::Boolean(true)), (b"a", Item::Integer(b"2"))]);
        assert_eq!(read(""), Some(vec![]));
    }
}
