//! What a browser would stumble over, and recover from by leaving out more than was meant.

use super::Sheet;
use super::token::{Kind, Token, tokens};
use crate::assets::fault::AssetFault;

const HELP: &str = "the file is served as it is; browsers leave out what they cannot read";

/// The faults of a sheet, a few of them.
pub(super) fn of(sheet: &Sheet<'_>) -> Vec<AssetFault> {
    const MOST: usize = 5;
    let mut faults = Vec::new();
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut tell = |start: usize, found: String| {
        if faults.len() < MOST {
            faults.push(AssetFault::new(sheet.path, found, HELP).at(sheet.text, start));
        }
    };
    for Token { kind, start, open: is_open, .. } in tokens(sheet.text) {
        match kind {
            Kind::BadStr => tell(start, "a string is not closed in its line".to_owned()),
            Kind::BadUrl => tell(start, "url() without quotes holds a space, a quote or a parenthesis".to_owned()),
            Kind::Str | Kind::Url | Kind::Comment if is_open => tell(start, "it is never closed".to_owned()),
            Kind::Open(bracket) => open.push((bracket, start)),
            Kind::Function => open.push(('(', start)),
            Kind::Close(bracket) => {
                let wanted = match bracket {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                match open.last() {
                    Some((last, _)) if *last == wanted => drop(open.pop()),
                    _ => tell(start, format!("{bracket:?} closes nothing")),
                }
            }
            _ => {}
        }
    }
    for (_, start) in open.into_iter().take(MOST) {
        tell(start, "it is never closed".to_owned());
    }
    faults
}
