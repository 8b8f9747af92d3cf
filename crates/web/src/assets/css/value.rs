//! Values in their shortest form.

use super::token::is_white;

/// A number, with whatever unit it has.
pub(super) fn number(text: &str) -> String {
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign = text.get(..text.len() - unsigned.len()).unwrap_or_default();
    let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, unit) = unsigned.split_at(digits);
    // What has an exponent is short already.
    let exponent = unit
        .strip_prefix(['e', 'E'])
        .is_some_and(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest).starts_with(|c: char| c.is_ascii_digit()));
    if exponent {
        return text.to_owned();
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    match (whole, fraction) {
        ("", "") => format!("{sign}0{unit}"),
        (whole, "") => format!("{sign}{whole}{unit}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}{unit}"),
    }
}

/// A length of nothing without its unit, for the properties where that is the same.
pub(super) fn zero<'a>(property: &str, text: &'a str) -> &'a str {
    const UNITS: [&str; 13] =
        ["0px", "0em", "0rem", "0ex", "0ch", "0vw", "0vh", "0vmin", "0vmax", "0cm", "0mm", "0in", "0pt"];
    const PROPERTIES: [&str; 5] = ["margin", "padding", "inset", "border-radius", "border-width"];
    const SIDES: [&str; 4] = ["top", "right", "bottom", "left"];
    let family = PROPERTIES
        .iter()
        .any(|name| property.strip_prefix(name).is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'-'))));
    match UNITS.iter().any(|unit| text.eq_ignore_ascii_case(unit)) && (family || SIDES.contains(&property)) {
        true => "0",
        false => text,
    }
}

/// A colour by its digits.
pub(super) fn colour(text: &str) -> String {
    let digits = text.trim_start_matches('#');
    let is_colour = matches!(digits.len(), 3 | 4 | 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_colour {
        return text.to_owned();
    }
    let small = digits.to_ascii_lowercase();
    let pairs = small.as_bytes().chunks(2);
    match digits.len() > 4 && pairs.clone().all(|pair| pair.first() == pair.last()) {
        true => std::iter::once('#').chain(pairs.filter_map(|pair| pair.first().copied().map(char::from))).collect(),
        false => format!("#{small}"),
    }
}

/// A URL, without quotes where it can do without.
pub(super) fn url(content: &str) -> String {
    let plain = |byte: u8| !is_white(byte) && !matches!(byte, b'"' | b'\'' | b'(' | b')' | b'\\' | 0..=0x1f | 0x7f);
    match !content.is_empty() && content.bytes().all(plain) {
        true => format!("url({content})"),
        false => format!("url({})", string(content)),
    }
}

/// A string in quotes.
pub(super) fn string(content: &str) -> String {
    let quote = if content.contains('"') && !content.contains('\'') { '\'' } else { '"' };
    let mut out = String::from(quote);
    for character in content.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            control if control.is_control() => out.push_str(&format!("\\{:x} ", u32::from(control))),
            character if character == quote => out.extend(['\\', quote]),
            character => out.push(character),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_colours_lose_what_says_nothing() {
        for (text, short) in [
            ("0.50", ".5"),
            ("-0.5em", "-.5em"),
            ("+00.10%", "+.1%"),
            ("10.0px", "10px"),
            ("0.0", "0"),
            ("100", "100"),
            ("1.50e3", "1.50e3"),
            ("1.5em", "1.5em"),
            ("-0", "-0"),
        ] {
            assert_eq!(number(text), short);
        }
        for (text, short) in [("#FFFFFF", "#fff"), ("#ffffff80", "#ffffff80"), ("#AABBCCDD", "#abcd"), ("#id", "#id")] {
            assert_eq!(colour(text), short);
        }
        assert_eq!(
            [zero("margin-top", "0px"), zero("flex", "0px"), zero("top", "0em"), zero("margin", "0s")],
            ["0", "0px", "0", "0s"]
        );
        assert_eq!([url("a.png"), url("a b.png"), url("a\"b")], ["url(a.png)", "url(\"a b.png\")", "url('a\"b')"]);
    }
}
