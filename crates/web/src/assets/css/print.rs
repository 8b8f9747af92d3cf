//! Style sheets written again.

use oxc_sourcemap::Token as Mark;

use super::Sheet;
use super::faults;
use super::token::{Kind, Token, content, tokens, would_merge};
use super::value;
use crate::assets::fault::AssetFault;
use crate::assets::map::{Lines, Sink};

/// Blocks within blocks that are told apart. What lies deeper is left as it is.
const DEPTH: usize = 64;
/// Rules whose blocks hold rules or declarations (CSS Syntax section 8.1). What is in others is left as it is.
const BLOCKS: [&str; 17] = [
    "media",
    "supports",
    "layer",
    "container",
    "scope",
    "starting-style",
    "keyframes",
    "font-face",
    "page",
    "property",
    "counter-style",
    "font-palette-values",
    "view-transition",
    "position-try",
    "-webkit-keyframes",
    "-moz-keyframes",
    "-o-keyframes",
];

/// Where a token stands, which decides what white space means there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Selector,
    Prelude,
    Value,
    /// Nothing is changed but references.
    Raw,
}

/// Which strings and URLs refer to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urls {
    None,
    All,
    /// The first, string or URL: that of `@import`.
    First,
}

/// Sheets that an `@import` leads to.
type Imported<'a> = &'a dyn Fn(&str, &str) -> Option<Sheet<'a>>;

pub(super) struct Printer<'a, 'o> {
    resolve: &'o dyn Fn(&str, &str) -> Option<String>,
    minify: bool,
    pub(super) imported: Option<Imported<'a>>,
    out: Sink,
    /// What goes to the beginning.
    hoisted: String,
    sources: Vec<Sheet<'a>>,
    /// The sheets that it is in, one imported by the other.
    within: Vec<&'a str>,
    /// What was written last, and what has been left out since.
    last: Option<Kind>,
    white: bool,
    /// Something else that parted it from what comes next.
    gap: bool,
    /// A semicolon is due before the next thing.
    semicolon: bool,
}

/// The sheet that is being written.
struct Current<'a> {
    sheet: Sheet<'a>,
    source: u32,
    lines: Lines<'a>,
}

impl<'a, 'o> Printer<'a, 'o> {
    pub(super) fn new(resolve: &'o dyn Fn(&str, &str) -> Option<String>, minify: bool) -> Self {
        Self {
            resolve,
            minify,
            imported: None,
            out: Sink::default(),
            hoisted: String::new(),
            sources: Vec::new(),
            within: Vec::new(),
            last: None,
            white: false,
            gap: false,
            semicolon: false,
        }
    }

    /// The text, the sheets that it was made of, and its marks.
    pub(super) fn done(self) -> (String, Vec<Sheet<'a>>, Vec<Mark>) {
        let (text, marks) = self.out.done();
        if self.hoisted.is_empty() {
            return (text, self.sources, marks);
        }
        let down = |mark: Mark| {
            let (line, column) = (mark.get_src_line(), mark.get_src_col());
            Mark::new(mark.get_dst_line() + 1, mark.get_dst_col(), line, column, mark.get_source_id(), None)
        };
        (format!("{}\n{text}", self.hoisted), self.sources, marks.into_iter().map(down).collect())
    }

    fn enter(&mut self, sheet: &Sheet<'a>) -> Current<'a> {
        let known = self.sources.iter().position(|other| other.path == sheet.path);
        let source = known.unwrap_or_else(|| {
            self.sources.push(*sheet);
            self.sources.len() - 1
        });
        Current { sheet: *sheet, source: source as u32, lines: Lines::new(sheet.text) }
    }

    /// Writes one sheet.
    pub(super) fn sheet(&mut self, sheet: &Sheet<'a>) {
        let mut current = self.enter(sheet);
        let tokens = tokens(sheet.text);
        match self.minify {
            true => drop(self.items(&mut current, &tokens, 0, None)),
            false => self.verbatim(&mut current, &tokens),
        }
    }

    /// Writes the declarations of an attribute.
    pub(super) fn declarations(&mut self, sheet: &Sheet<'a>) {
        let mut current = self.enter(sheet);
        let tokens = tokens(sheet.text);
        match self.minify {
            true => drop(self.items(&mut current, &tokens, 0, Some(0))),
            false => self.verbatim(&mut current, &tokens),
        }
    }

    /// Writes a sheet behind others, so that neither changes what the other means.
    pub(super) fn join(&mut self, sheet: &Sheet<'a>, told: &mut Vec<AssetFault>) {
        let found = faults::of(sheet);
        let minify = self.minify;
        self.minify &= found.is_empty();
        told.extend(found);
        self.within.push(sheet.path);
        if !self.minify && !self.out.text().is_empty() {
            self.flush();
            self.out.push("\n");
        }
        let mut current = self.enter(sheet);
        let tokens = tokens(sheet.text);
        match self.minify {
            true => self.items_told(&mut current, &tokens, told),
            false => {
                self.verbatim_told(&mut current, &tokens, told);
                (self.last, self.white, self.gap) = (None, false, false);
            }
        }
        self.within.pop();
        self.minify = minify;
    }

    fn items_told(&mut self, current: &mut Current<'a>, tokens: &[Token<'_>], told: &mut Vec<AssetFault>) {
        let mut at = 0;
        while let Some(next) = self.item(current, tokens, at, None, told) {
            at = next;
        }
    }

    /// Writes what is in a block that many blocks deep, or in the sheet itself; gives where it ends.
    fn items(&mut self, current: &mut Current<'a>, tokens: &[Token<'_>], at: usize, depth: Option<usize>) -> usize {
        let (mut at, mut told) = (at, Vec::new());
        while let Some(next) = self.item(current, tokens, at, depth, &mut told) {
            at = next;
        }
        at
    }

    /// Writes one rule or declaration; `None` at the end of the block.
    fn item(
        &mut self,
        current: &mut Current<'a>,
        tokens: &[Token<'_>],
        at: usize,
        depth: Option<usize>,
        told: &mut Vec<AssetFault>,
    ) -> Option<usize> {
        let token = tokens.get(at)?;
        match token.kind {
            Kind::White | Kind::Delim(';') => return Some(at + 1),
            Kind::Cdo | Kind::Cdc if depth.is_none() => return Some(at + 1),
            Kind::Close('}') if depth.is_some() => return None,
            Kind::Comment => {
                if is_legal(token.text) {
                    self.flush();
                    self.raw(token.text);
                    self.last = None;
                }
                return Some(at + 1);
            }
            Kind::At => return Some(self.at_rule(current, tokens, at, depth, told)),
            _ => {}
        }
        let custom = depth.is_some() && is_custom(tokens, at);
        let end = item_end(tokens, at, depth.is_some(), custom);
        if tokens.get(end).is_some_and(|token| token.kind == Kind::Open('{')) {
            return Some(self.rule(current, tokens, (at, end), depth));
        }
        let item = tokens.get(at..end).unwrap_or_default();
        self.begin(current, token);
        match depth.is_some() {
            true => self.declaration(current, item, custom),
            false => self.print(current, item, Context::Raw, Urls::None, ""),
        }
        self.semicolon = true;
        Some(end)
    }

    /// A rule with selectors. One that says nothing is left out.
    fn rule(
        &mut self,
        current: &mut Current<'a>,
        tokens: &[Token<'_>],
        (at, open): (usize, usize),
        depth: Option<usize>,
    ) -> usize {
        let depth = depth.map_or(0, |depth| depth + 1);
        if let Some(close) = hollow(tokens, open, depth) {
            return close + 1;
        }
        if let Some(first) = tokens.get(at) {
            self.begin(current, first);
        }
        self.print(current, tokens.get(at..open).unwrap_or_default(), Context::Selector, Urls::None, "");
        self.block(current, tokens, open, depth)
    }

    /// A block, from its brace to behind the one that closes it.
    fn block(&mut self, current: &mut Current<'a>, tokens: &[Token<'_>], open: usize, depth: usize) -> usize {
        self.raw("{");
        let close = match depth < DEPTH {
            true => self.items(current, tokens, open + 1, Some(depth)),
            false => {
                let close = block_end(tokens, open);
                self.print(current, tokens.get(open + 1..close).unwrap_or_default(), Context::Raw, Urls::All, "");
                close
            }
        };
        self.semicolon = false;
        self.raw("}");
        close + 1
    }

    fn at_rule(
        &mut self,
        current: &mut Current<'a>,
        tokens: &[Token<'_>],
        at: usize,
        depth: Option<usize>,
        told: &mut Vec<AssetFault>,
    ) -> usize {
        let Some(token) = tokens.get(at) else { return at };
        let name = token.text.trim_start_matches('@').to_ascii_lowercase();
        let end = prelude_end(tokens, at + 1, depth.is_some());
        let prelude = tokens.get(at + 1..end).unwrap_or_default();
        if depth.is_none() && name == "charset" {
            return end + 1;
        }
        if depth.is_none() && name == "import" && self.import(current, prelude, told) {
            return end + 1;
        }
        self.begin(current, token);
        self.put(Context::Prelude, Kind::At, token.text);
        let urls = if name == "import" { Urls::First } else { Urls::None };
        self.print(current, prelude, Context::Prelude, urls, "");
        if tokens.get(end).is_none_or(|token| token.kind != Kind::Open('{')) {
            self.semicolon = true;
            // What ends the block around it is not its own.
            return if tokens.get(end).is_some_and(|token| token.kind == Kind::Delim(';')) { end + 1 } else { end };
        }
        match BLOCKS.contains(&&*name) {
            true => self.block(current, tokens, end, depth.map_or(0, |depth| depth + 1)),
            false => self.block(current, tokens, end, DEPTH),
        }
    }

    /// What becomes of an `@import` where sheets are joined; false where they are not.
    fn import(&mut self, current: &Current<'a>, prelude: &[Token<'_>], told: &mut Vec<AssetFault>) -> bool {
        let Some(imported) = self.imported else { return false };
        let mut words = prelude.iter().filter(|token| !matches!(token.kind, Kind::White | Kind::Comment));
        let target = match (words.next(), words.next(), words.next()) {
            (Some(url), None, _) if matches!(url.kind, Kind::Str | Kind::Url) => Some(content(url)),
            (Some(url), Some(text), Some(close))
                if is_url(url)
                    && text.kind == Kind::Str
                    && close.kind == Kind::Close(')')
                    && words.next().is_none() =>
            {
                Some(content(text))
            }
            _ => None,
        };
        if let Some(sheet) = target.and_then(|target| imported(current.sheet.path, &target)) {
            // Round and round: a browser takes it the first time only, too.
            if !self.within.contains(&sheet.path) && self.within.len() < DEPTH {
                self.join(&sheet, told);
            }
            return true;
        }
        let mut printer = Printer::new(self.resolve, true);
        let mut inner = printer.enter(&current.sheet);
        printer.put(Context::Prelude, Kind::At, "@import");
        printer.white = true;
        printer.print(&mut inner, prelude, Context::Prelude, Urls::First, "");
        let rule = printer.done().0;
        if !self.hoisted.contains(&rule) {
            self.hoisted.push_str(&rule);
            self.hoisted.push(';');
        }
        true
    }

    /// A property and its value.
    fn declaration(&mut self, current: &mut Current<'a>, item: &[Token<'_>], custom: bool) {
        let Some(colon) = item.iter().position(|token| token.kind == Kind::Delim(':')) else {
            return self.print(current, item, Context::Raw, Urls::All, "");
        };
        let (name, value) = item.split_at(colon);
        let property: String = name.iter().filter(|token| token.kind == Kind::Ident).map(|token| token.text).collect();
        let property = property.to_ascii_lowercase();
        self.print(current, name, Context::Value, Urls::None, "");
        self.put(Context::Value, Kind::Delim(':'), ":");
        let value = value.get(1..).unwrap_or_default();
        if !custom {
            return self.print(current, value, Context::Value, Urls::All, &property);
        }
        // Scripts read it as it is written.
        let is_white = |token: &Token<'_>| token.kind == Kind::White;
        let from = value.iter().take_while(|token| is_white(token)).count();
        let to = value.len() - value.iter().rev().take_while(|token| is_white(token)).count();
        match value.get(from..to).filter(|value| !value.is_empty()) {
            Some(value) => self.print(current, value, Context::Raw, Urls::All, ""),
            None => self.raw(" "),
        }
    }

    /// Writes tokens one after the other.
    fn print(&mut self, current: &mut Current<'a>, tokens: &[Token<'_>], context: Context, urls: Urls, property: &str) {
        let mut open: Vec<(char, bool)> = Vec::new();
        let mut urls = urls;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.kind {
                Kind::White | Kind::Comment if context != Context::Raw => {
                    self.white |= token.kind == Kind::White;
                    self.gap = true;
                    continue;
                }
                Kind::Open(bracket) => open.push((closing(bracket), false)),
                Kind::Function => {
                    if let Some((text, length)) =
                        quoted_url(tokens.get(at..).unwrap_or_default()).filter(|_| is_url(token))
                    {
                        self.url(current, &content(text), context, &mut urls);
                        at += length;
                        continue;
                    }
                    let images = token.text.to_ascii_lowercase().ends_with("image-set(");
                    open.push((')', images));
                }
                Kind::Close(_) => drop(open.pop()),
                Kind::Url => {
                    self.url(current, &content(token), context, &mut urls);
                    continue;
                }
                Kind::Str => {
                    let reference =
                        urls == Urls::First || urls == Urls::All && open.last().is_some_and(|(_, images)| *images);
                    if reference && urls == Urls::First {
                        urls = Urls::None;
                    }
                    let resolved = reference.then(|| (self.resolve)(current.sheet.path, &content(token))).flatten();
                    let text = match (&resolved, token.open) {
                        (Some(resolved), _) => value::string(resolved),
                        (None, true) => value::string(&content(token)),
                        (None, false) => token.text.to_owned(),
                    };
                    self.put(context, Kind::Str, &text);
                    continue;
                }
                _ => {}
            }
            let text = match token.kind {
                _ if context != Context::Value && context != Context::Prelude => token.text.to_owned(),
                Kind::Number | Kind::Percentage if property != "unicode-range" => value::number(token.text),
                Kind::Dimension if property != "unicode-range" => {
                    let short = value::number(token.text);
                    if open.is_empty() { value::zero(property, &short).to_owned() } else { short }
                }
                Kind::Hash if context == Context::Value && !property.ends_with("filter") => value::colour(token.text),
                Kind::Comment if token.open => format!("{}*/", token.text),
                _ => token.text.to_owned(),
            };
            self.put(context, token.kind, &text);
            // `1.0.5` is two numbers, and `1.5` one.
            self.gap = text.len() < token.text.len();
        }
        // Only where the text ends before it should is anything left open.
        for (bracket, _) in open.iter().rev() {
            self.put(context, Kind::Close(*bracket), &bracket.to_string());
        }
        if context != Context::Raw {
            self.white = false;
        }
    }

    fn url(&mut self, current: &Current<'a>, reference: &str, context: Context, urls: &mut Urls) {
        let resolved = (*urls != Urls::None).then(|| (self.resolve)(current.sheet.path, reference)).flatten();
        if *urls == Urls::First {
            *urls = Urls::None;
        }
        self.put(context, Kind::Url, &value::url(resolved.as_deref().unwrap_or(reference)));
    }

    /// Writes a token, and before it what has to part it from the last.
    fn put(&mut self, context: Context, kind: Kind, text: &str) {
        if let Some(last) = self.last.filter(|_| context != Context::Raw) {
            let merges = self.gap && would_merge(last, kind);
            if merges || self.white && !is_idle(context, last, kind) {
                self.out.push(if self.white { " " } else { "/**/" });
            }
        }
        (self.white, self.gap) = (false, false);
        self.out.push(text);
        self.last = Some(kind);
    }

    /// Writes what parts by itself.
    fn raw(&mut self, text: &str) {
        self.out.push(text);
        (self.last, self.white, self.gap) = (None, false, false);
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.semicolon) {
            self.raw(";");
        }
    }

    /// A new rule or declaration begins here.
    fn begin(&mut self, current: &mut Current<'a>, token: &Token<'_>) {
        self.flush();
        (self.last, self.white, self.gap) = (None, false, false);
        self.out.mark(current.source, current.lines.at(token.start));
    }

    fn verbatim(&mut self, current: &mut Current<'a>, tokens: &[Token<'_>]) {
        self.verbatim_told(current, tokens, &mut Vec::new());
    }

    /// Writes everything as it is, but for references, and what has to be at the beginning of what is joined.
    fn verbatim_told(&mut self, current: &mut Current<'a>, tokens: &[Token<'_>], told: &mut Vec<AssetFault>) {
        let mut open: Vec<char> = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let name = (token.kind == Kind::At && open.is_empty()).then(|| token.text.to_ascii_lowercase());
            if let Some(name @ ("@import" | "@charset" | "@namespace")) = name.as_deref() {
                let end = prelude_end(tokens, at + 1, false);
                let prelude = tokens.get(at + 1..end).unwrap_or_default();
                let behind = end + usize::from(tokens.get(end).is_some_and(|token| token.kind == Kind::Delim(';')));
                let joining = self.imported.is_some();
                if joining && (name == "@charset" || name == "@import" && self.import(current, prelude, told)) {
                    at = behind;
                    continue;
                }
                self.begin(current, token);
                self.raw(token.text);
                let urls = if name == "@import" { Urls::First } else { Urls::None };
                self.print(current, prelude, Context::Raw, urls, "");
                self.raw(if behind > end || joining { ";" } else { "" });
                at = behind;
                continue;
            }
            if token.kind != Kind::White {
                self.begin(current, token);
            }
            let length = match token.kind {
                Kind::Function if is_url(token) => {
                    quoted_url(tokens.get(at + 1..).unwrap_or_default()).map_or(1, |(_, length)| length + 1)
                }
                _ => 1,
            };
            match token.kind {
                Kind::Open(bracket) => open.push(closing(bracket)),
                Kind::Function if length == 1 => open.push(')'),
                Kind::Close(bracket) if open.iter().rev().take(DEPTH).any(|other| *other == bracket) => {
                    while open.pop().is_some_and(|other| other != bracket) {}
                }
                _ => {}
            }
            // One piece at a time, so that brackets which close nothing stay what they are.
            match token.kind {
                Kind::Function if length > 1 => {
                    self.reference(current, tokens.get(at..at + length).unwrap_or_default())
                }
                Kind::Url => self.reference(current, std::slice::from_ref(token)),
                Kind::Str if self.imported.is_some() && token.open => self.raw(&value::string(&content(token))),
                Kind::Comment if self.imported.is_some() && token.open => self.raw(&format!("{}*/", token.text)),
                _ => self.raw(token.text),
            }
            at += length;
        }
        if self.imported.is_some() {
            for bracket in open.iter().rev() {
                self.raw(&bracket.to_string());
            }
        }
    }

    /// A URL that is left as it is written where it leads nowhere new.
    fn reference(&mut self, current: &Current<'a>, tokens: &[Token<'_>]) {
        let inner = tokens.iter().find(|token| matches!(token.kind, Kind::Url | Kind::Str));
        let resolved = inner.and_then(|token| (self.resolve)(current.sheet.path, &content(token)));
        match resolved {
            Some(resolved) => self.raw(&value::url(&resolved)),
            None => tokens.iter().for_each(|token| self.raw(token.text)),
        }
    }
}

/// Whether a comment has to stay: a licence.
fn is_legal(text: &str) -> bool {
    text.starts_with("/*!") || text.contains("@license") || text.contains("@preserve")
}

/// Whether white space between two tokens means nothing.
fn is_idle(context: Context, before: Kind, after: Kind) -> bool {
    let either = |fits: &dyn Fn(Kind) -> bool| fits(before) || fits(after);
    if either(&|kind| matches!(kind, Kind::Delim(',' | ';') | Kind::Open('{') | Kind::Close('}'))) {
        return true;
    }
    if matches!(before, Kind::Function | Kind::Open(_)) || matches!(after, Kind::Close(_)) {
        return true;
    }
    match context {
        Context::Selector => either(&|kind| matches!(kind, Kind::Delim('>' | '+' | '~'))),
        Context::Prelude => before == Kind::Delim(':') || either(&|kind| matches!(kind, Kind::Delim('<' | '>' | '='))),
        Context::Value => either(&|kind| matches!(kind, Kind::Delim('!' | ':'))),
        Context::Raw => false,
    }
}

fn closing(bracket: char) -> char {
    match bracket {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

fn is_url(token: &Token<'_>) -> bool {
    token.kind == Kind::Function && token.text.eq_ignore_ascii_case("url(")
}

/// The string of a `url(` that stands before these tokens, and how many they are up to its parenthesis.
fn quoted_url<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(&'t Token<'a>, usize)> {
    let mut at = 0;
    let skip = |at: &mut usize| {
        *at += tokens.get(*at..).unwrap_or_default().iter().take_while(|token| token.kind == Kind::White).count();
    };
    skip(&mut at);
    let text = tokens.get(at).filter(|token| token.kind == Kind::Str)?;
    at += 1;
    skip(&mut at);
    let closed = tokens.get(at).is_some_and(|token| token.kind == Kind::Close(')'));
    (closed && !text.open).then_some((text, at + 1))
}

/// Whether a custom property begins here: `--x:`.
fn is_custom(tokens: &[Token<'_>], at: usize) -> bool {
    let mut rest = tokens.get(at..).unwrap_or_default().iter();
    rest.next().is_some_and(|token| token.kind == Kind::Ident && token.text.starts_with("--"))
        && rest.find(|token| token.kind != Kind::White).is_some_and(|token| token.kind == Kind::Delim(':'))
}

/// Where a declaration ends, or the prelude of a rule: at a semicolon or a brace.
fn item_end(tokens: &[Token<'_>], at: usize, nested: bool, custom: bool) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.kind {
            Kind::Open('{') if depth == 0 && !custom => return index,
            Kind::Delim(';') if depth == 0 && nested => return index,
            Kind::Close('}') if depth == 0 && nested => return index,
            Kind::Open(_) | Kind::Function => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tokens.len()
}

/// Where the prelude of an at-rule ends.
fn prelude_end(tokens: &[Token<'_>], at: usize, nested: bool) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.kind {
            Kind::Open('{') | Kind::Delim(';') if depth == 0 => return index,
            Kind::Close('}') if depth == 0 && nested => return index,
            Kind::Open(_) | Kind::Function => depth += 1,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tokens.len()
}

/// Where a block ends that says nothing, whatever rules of that kind are in it.
fn hollow(tokens: &[Token<'_>], open: usize, depth: usize) -> Option<usize> {
    let mut at = open + 1;
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::White | Kind::Delim(';') => at += 1,
            Kind::Comment if !is_legal(token.text) => at += 1,
            Kind::Close('}') => return Some(at),
            Kind::At | Kind::Comment => return None,
            _ if depth >= DEPTH => return None,
            _ => {
                let end = item_end(tokens, at, true, is_custom(tokens, at));
                tokens.get(end).filter(|token| token.kind == Kind::Open('{'))?;
                at = hollow(tokens, end, depth + 1)? + 1;
            }
        }
    }
    Some(tokens.len())
}

/// Where a block ends: at the brace that closes the one here.
fn block_end(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Open(_) | Kind::Function => depth += 1,
            Kind::Close(_) if depth == 1 => return index,
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tokens.len()
}
