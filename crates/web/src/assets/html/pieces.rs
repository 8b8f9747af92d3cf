//! A page in pieces, as the HTML standard's tokenizer parts it (html5gum), each with its place in the text.

use std::cell::RefCell;
use std::ops::Range;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Range<usize>),
    Start(Tag),
    End {
        name: String,
        place: Range<usize>,
    },
    /// Comments, declarations, and what is taken for one of them.
    Other(Range<usize>),
}

/// A start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// In small letters.
    pub(super) name: String,
    /// In their order, the first of each name, without escapes.
    pub(super) attributes: Vec<(String, String)>,
    /// It ends in a slash, which means something in SVG and MathML alone.
    pub(super) closed: bool,
    pub(super) place: Range<usize>,
}

impl Tag {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Reader {
    pieces: Vec<Piece>,
    tag: Option<Tag>,
}

impl Reader {
    fn hear(&mut self, event: CallbackEvent<'_>, span: Span) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag =
                    Some(Tag { name: text(name), attributes: Vec::new(), closed: false, place: span.start..span.end });
            }
            CallbackEvent::AttributeName { name } => {
                if let Some(tag) = &mut self.tag {
                    tag.attributes.push((text(name), String::new()));
                }
            }
            CallbackEvent::AttributeValue { value } => {
                if let Some((_, last)) = self.tag.as_mut().and_then(|tag| tag.attributes.last_mut()) {
                    last.push_str(&String::from_utf8_lossy(value));
                }
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some(mut tag) = self.tag.take() {
                    (tag.closed, tag.place.end) = (self_closing, span.end);
                    let mut seen: Vec<String> = Vec::new();
                    tag.attributes.retain(|(name, _)| {
                        let new = !seen.contains(name);
                        seen.push(name.clone());
                        new
                    });
                    self.pieces.push(Piece::Start(tag));
                }
            }
            CallbackEvent::EndTag { name } => {
                self.tag = None;
                self.pieces.push(Piece::End { name: text(name), place: span.start..span.end });
            }
            CallbackEvent::Comment { .. } | CallbackEvent::Doctype { .. } => {
                self.pieces.push(Piece::Other(span.start..span.end));
            }
            CallbackEvent::String { .. } | CallbackEvent::Error(_) => {}
        }
    }
}

/// The pieces of a page; the byte where that cannot be told apart.
pub(super) fn of(text: &str) -> Result<Vec<Piece>, usize> {
    let reader = RefCell::new(Reader::default());
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, span: Span| -> Option<()> {
        reader.borrow_mut().hear(event, span);
        None
    });
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(text, emitter).for_each(drop);
    let mut whole = Vec::new();
    let mut at = 0;
    for piece in reader.into_inner().pieces {
        let place = match &piece {
            Piece::Start(Tag { place, .. }) | Piece::End { place, .. } | Piece::Other(place) | Piece::Text(place) => {
                place.clone()
            }
        };
        // Everything relies on this, so it is looked at.
        let written = text.get(place.clone()).filter(|_| place.start >= at).ok_or(at)?;
        if !written.starts_with('<') || !written.ends_with('>') {
            return Err(place.start);
        }
        if place.start > at {
            whole.push(Piece::Text(at..place.start));
        }
        at = place.end;
        whole.push(piece);
    }
    if at < text.len() {
        whole.push(Piece::Text(at..text.len()));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_in_a_piece_and_every_tag_has_its_place() {
        let text = "<!DOCTYPE html>\n<p class='\u{fc} &amp; b' a A=1 b=2>t\u{e9}xt &lt;\u{1f600}<!-- c --><br/><script>if (a<b) '<p>'</script></p >";
        let pieces = of(text).unwrap();
        let mut whole = String::new();
        for piece in &pieces {
            let place = match piece {
                Piece::Start(Tag { place, .. })
                | Piece::End { place, .. }
                | Piece::Other(place)
                | Piece::Text(place) => place,
            };
            whole.push_str(&text[place.clone()]);
        }
        assert_eq!(whole, text);
        let Piece::Start(tag) = &pieces[2] else { panic!("{pieces:?}") };
        let attributes: Vec<_> = tag.attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(attributes, [("class", "\u{fc} & b"), ("a", ""), ("b", "2")]);
        assert!(
            pieces.iter().any(|piece| matches!(piece, Piece::Text(place) if &text[place.clone()] == "if (a<b) '<p>'"))
        );
        assert_eq!(of("<p>a <!-- never closed"), Err(5));
    }
}
