//! Tokens to a compact tree: names resolved, types checked.
//!
//! Binding, loosest first: `or`, `and`, `not`, `==` `!=` `in`, `+`. One pass over both types (octets and conditions),
//! so a parenthesis needs no guess about what it holds.
use super::lexer::{Token, tokens};
use super::{Address, Bytes, Condition, ExprError, Field, MAX_DEPTH, MAX_NODES, MAX_TEXT, Prefixes};
use crate::options::{Definitions, Kind, OptionDef, Scalar};

pub(super) fn condition(text: &str, definitions: &Definitions) -> Result<(Condition, Vec<Box<str>>), ExprError> {
    let mut parser = Parser::new(text, definitions)?;
    let root = parser.any().and_then(|node| parser.as_condition(node))?;
    parser.finish()?;
    Ok((root, parser.classes))
}

pub(super) fn bytes(text: &str, definitions: &Definitions) -> Result<Bytes, ExprError> {
    let mut parser = Parser::new(text, definitions)?;
    let root = parser.any().and_then(|node| parser.as_bytes(node))?;
    parser.finish()?;
    Ok(root)
}

enum Tree {
    Condition(Condition),
    Bytes(Bytes),
}

/// A tree and where it begins.
type Node = (usize, Tree);

struct Parser<'a> {
    text: &'a str,
    definitions: &'a Definitions,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    nodes: usize,
    classes: Vec<Box<str>>,
}

const FUNCTIONS: &str = "substring, concat, ifelse, hexstring, split, lcase, ucase, addrtotext, int8totext, int16totext, \
     int32totext, uint8totext, uint16totext, uint32totext, member, match, starts_with";

impl<'a> Parser<'a> {
    fn new(text: &'a str, definitions: &'a Definitions) -> Result<Self, ExprError> {
        if text.len() > MAX_TEXT {
            return Err(ExprError::new(text, 0, format!("{} octets are too many, at most {MAX_TEXT} fit", text.len())));
        }
        let tokens = tokens(text)?;
        Ok(Self { text, definitions, tokens, next: 0, depth: 0, nodes: 0, classes: Vec::new() })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn fault<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, ExprError> {
        Err(ExprError::new(self.text, at, reason))
    }

    fn expected<T>(&self, what: &str) -> Result<T, ExprError> {
        self.fault(self.at(), format!("expected {what}, found {}", self.peek()))
    }

    fn accept(&mut self, mark: &'static str) -> bool {
        let found = *self.peek() == Token::Mark(mark);
        self.next += usize::from(found);
        found
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(found) if found == word);
        self.next += usize::from(found);
        found
    }

    fn mark(&mut self, mark: &'static str) -> Result<(), ExprError> {
        if self.accept(mark) { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }

    fn finish(&self) -> Result<(), ExprError> {
        match self.peek() {
            Token::End => Ok(()),
            _ => self.expected("`and`, `or`, a comparison or the end"),
        }
    }

    fn as_condition(&self, (at, tree): Node) -> Result<Condition, ExprError> {
        match tree {
            Tree::Condition(condition) => Ok(condition),
            Tree::Bytes(_) => self.fault(at, "expected a condition, found octets: compare them with `==`"),
        }
    }

    fn as_bytes(&self, (at, tree): Node) -> Result<Bytes, ExprError> {
        match tree {
            Tree::Bytes(bytes) => Ok(bytes),
            Tree::Condition(_) => self.fault(at, "expected octets, found a condition: `ifelse` makes octets of one"),
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ExprError>) -> Result<T, ExprError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fault(self.at(), format!("nested too deep: at most {MAX_DEPTH} levels"));
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    /// A whole expression of either type.
    fn any(&mut self) -> Result<Node, ExprError> {
        self.deeper(|parser| {
            parser.joined("or", Condition::Any, |parser| parser.joined("and", Condition::All, Self::negated))
        })
    }

    fn joined(
        &mut self,
        word: &str,
        join: fn(Box<[Condition]>) -> Condition,
        part: impl Fn(&mut Self) -> Result<Node, ExprError>,
    ) -> Result<Node, ExprError> {
        let first = part(self)?;
        if !matches!(self.peek(), Token::Word(found) if found == word) {
            return Ok(first);
        }
        let at = first.0;
        let mut parts = vec![self.as_condition(first)?];
        while self.accept_word(word) {
            let node = part(self)?;
            parts.push(self.as_condition(node)?);
        }
        Ok((at, Tree::Condition(join(parts.into_boxed_slice()))))
    }

    fn negated(&mut self) -> Result<Node, ExprError> {
        let at = self.at();
        if !self.accept_word("not") {
            return self.comparison();
        }
        let inner = self.deeper(Self::negated)?;
        Ok((at, Tree::Condition(Condition::Not(Box::new(self.as_condition(inner)?)))))
    }

    fn comparison(&mut self) -> Result<Node, ExprError> {
        let left = self.sum()?;
        let at = left.0;
        let equal = *self.peek() == Token::Mark("==");
        if equal || *self.peek() == Token::Mark("!=") {
            self.take();
            let left = self.as_bytes(left)?;
            let right = self.sum().and_then(|node| self.as_bytes(node))?;
            let condition = Condition::Equal(Box::new((left, right)));
            let condition = if equal { condition } else { Condition::Not(Box::new(condition)) };
            return Ok((at, Tree::Condition(condition)));
        }
        if self.accept_word("in") {
            let left = self.as_bytes(left)?;
            let prefixes = self.prefixes()?;
            return Ok((at, Tree::Condition(Condition::In(Box::new(left), prefixes))));
        }
        Ok(left)
    }

    /// `'00:11:22'`, or several parted by commas within the quotes.
    fn prefixes(&mut self) -> Result<Prefixes, ExprError> {
        let at = self.at();
        let Token::Text(text) = self.peek().clone() else {
            return self.expected("hardware address prefixes like '00:11:22'");
        };
        self.take();
        let parse = |prefix: &str| crate::options::parse_hex(prefix).filter(|octets| !octets.is_empty());
        match text.split(',').map(|prefix| parse(prefix).map(Vec::into_boxed_slice)).collect() {
            Some(prefixes) => Ok(prefixes),
            None => self.fault(at, format!("expected hardware address prefixes like '00:11:22', found '{text}'")),
        }
    }

    fn sum(&mut self) -> Result<Node, ExprError> {
        let first = self.primary()?;
        if *self.peek() != Token::Mark("+") {
            return Ok(first);
        }
        let at = first.0;
        let mut parts = vec![self.as_bytes(first)?];
        while self.accept("+") {
            let node = self.primary()?;
            parts.push(self.as_bytes(node)?);
        }
        Ok((at, Tree::Bytes(Bytes::Concat(parts.into_boxed_slice()))))
    }

    fn primary(&mut self) -> Result<Node, ExprError> {
        self.nodes += 1;
        let at = self.at();
        if self.nodes > MAX_NODES {
            return self.fault(at, format!("too long: at most {MAX_NODES} fields, literals and functions"));
        }
        let literal = |octets: Vec<u8>| Tree::Bytes(Bytes::Literal(octets.into_boxed_slice()));
        let tree = match self.peek().clone() {
            Token::Mark("(") => {
                self.take();
                let (_, tree) = self.any()?;
                self.mark(")")?;
                return Ok((at, tree));
            }
            Token::Text(text) => literal(text.into_bytes()),
            Token::Hex(octets) => literal(octets),
            Token::Address(address) => literal(address.octets().to_vec()),
            Token::Number(number) => match u32::try_from(number) {
                Ok(number) => literal(number.to_be_bytes().to_vec()),
                Err(_) => return self.expected("an integer from 0 to 4294967295"),
            },
            Token::Word(word) => {
                self.take();
                let tree = self.word(at, &word)?;
                return Ok((at, tree));
            }
            Token::Mark(_) | Token::End => return self.expected("a field, a literal or a function"),
        };
        self.take();
        Ok((at, tree))
    }

    fn word(&mut self, at: usize, word: &str) -> Result<Tree, ExprError> {
        match word {
            "option" => self.option(),
            "relay4" => {
                let name = self.bracketed(|parser| parser.named("dhcp-agent-options"))?;
                let kind = self.definitions.in_space("dhcp-agent-options", name).map(OptionDef::kind);
                let kind = kind.cloned();
                self.ending(Field::RelaySubOption(name), kind.as_ref())
            }
            "pkt4" | "pkt" => self.packet(word),
            "vendor" => self.vendor(),
            "vendor-class" => self.vendor_class(),
            _ if *self.peek() == Token::Mark("(") => self.function(at, word),
            _ => self.fault(
                at,
                format!("`{word}` is no field: expected option[..], relay4[..], pkt4, pkt, vendor[..], vendor-class[..], a literal or a function ({FUNCTIONS}); text stands in quotes"),
            ),
        }
    }

    fn bracketed<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ExprError>) -> Result<T, ExprError> {
        self.mark("[")?;
        let parsed = parse(self)?;
        self.mark("]")?;
        Ok(parsed)
    }

    /// An option of a space, by code or name.
    fn named(&mut self, space: &str) -> Result<u8, ExprError> {
        let at = self.at();
        match self.take() {
            Token::Number(code) => match u8::try_from(code) {
                Ok(code) => Ok(code),
                Err(_) => self.fault(at, format!("`{code}` is no option code: expected 0 to 255")),
            },
            Token::Word(name) => match self.definitions.code_in(space, &name) {
                Some(code) => Ok(code),
                None => {
                    let hint = self.definitions.hint(space, &name);
                    self.fault(at, format!("no option of space `{space}` is called `{name}`{hint}"))
                }
            },
            other => self.fault(at, format!("expected an option's code or name, found {other}")),
        }
    }

    /// `.hex`, `.text` or `.exists` after a field of this type.
    fn ending(&mut self, field: Field, kind: Option<&Kind>) -> Result<Tree, ExprError> {
        self.mark(".")?;
        if self.accept_word("exists") {
            return Ok(Tree::Condition(Condition::Exists(field)));
        }
        if self.accept_word("hex") {
            return Ok(Tree::Bytes(Bytes::Field(field)));
        }
        if self.accept_word("text") {
            let kind = kind.filter(|kind| !matches!(kind, Kind::One(Scalar::Text | Scalar::Binary)));
            return Ok(Tree::Bytes(Bytes::Text(field, kind.cloned().map(Box::new))));
        }
        self.expected("`hex`, `text` or `exists`")
    }

    fn option(&mut self) -> Result<Tree, ExprError> {
        let code = self.bracketed(|parser| parser.named("dhcp4"))?;
        let kind = self.definitions.by_code(code).map(OptionDef::kind).cloned();
        let sub = matches!(self.tokens.get(self.next + 1), Some((_, Token::Word(word))) if word == "option");
        if !sub {
            return self.ending(Field::Option(code), kind.as_ref());
        }
        self.mark(".")?;
        self.take();
        let space = match &kind {
            Some(Kind::Space(space)) => space.as_ref(),
            _ => "",
        };
        let sub_code = self.bracketed(|parser| parser.named(space))?;
        let kind = self.definitions.in_space(space, sub_code).map(OptionDef::kind).cloned();
        self.ending(Field::SubOption(code, sub_code), kind.as_ref())
    }

    fn packet(&mut self, of: &str) -> Result<Tree, ExprError> {
        self.mark(".")?;
        let at = self.at();
        let Token::Word(name) = self.take() else { return self.fault(at, "expected a field's name after the dot") };
        let field = match (of, name.as_str()) {
            ("pkt4", "mac") => Field::Mac,
            ("pkt4", "htype") => Field::HardwareType,
            ("pkt4", "hlen") => Field::HardwareLength,
            ("pkt4", "ciaddr") => Field::Address(Address::Client),
            ("pkt4", "giaddr") => Field::Address(Address::Relay),
            ("pkt4", "yiaddr") => Field::Address(Address::Your),
            ("pkt4", "siaddr") => Field::Address(Address::NextServer),
            ("pkt4", "msgtype") => Field::MessageType,
            ("pkt4", "secs") => Field::Seconds,
            ("pkt4", "hops") => Field::Hops,
            ("pkt4", "transid") => Field::TransactionId,
            ("pkt", "iface") => Field::Interface,
            ("pkt", "src") => Field::Address(Address::Source),
            ("pkt", "dst") => Field::Address(Address::Destination),
            ("pkt", "len") => Field::Length,
            ("pkt4", _) => {
                let fields = "mac, htype, hlen, ciaddr, giaddr, yiaddr, siaddr, msgtype, secs, hops or transid";
                return self.fault(at, format!("`pkt4` has no `{name}`: expected {fields}"));
            }
            _ => return self.fault(at, format!("`pkt` has no `{name}`: expected iface, src, dst or len")),
        };
        Ok(Tree::Bytes(Bytes::Field(field)))
    }

    /// `*` or an enterprise number.
    fn enterprise(&mut self) -> Result<Option<u32>, ExprError> {
        if self.accept("*") {
            return Ok(None);
        }
        let number = match self.peek() {
            Token::Number(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        match number {
            Some(number) => {
                self.take();
                Ok(Some(number))
            }
            None => self.expected("`*` or an enterprise number"),
        }
    }

    fn vendor(&mut self) -> Result<Tree, ExprError> {
        if self.accept(".") {
            return match self.accept_word("enterprise") {
                true => Ok(Tree::Bytes(Bytes::Field(Field::VendorEnterprise))),
                false => self.expected("`enterprise`"),
            };
        }
        let enterprise = self.bracketed(Self::enterprise)?;
        self.mark(".")?;
        if self.accept_word("exists") {
            return Ok(Tree::Condition(Condition::Exists(Field::Vendor(enterprise))));
        }
        if !self.accept_word("option") {
            return self.expected("`option[..]` or `exists`");
        }
        let space = enterprise.map(|number| format!("vendor-{number}")).unwrap_or_default();
        let code = self.bracketed(|parser| parser.named(&space))?;
        let kind = self.definitions.in_space(&space, code).map(OptionDef::kind).cloned();
        self.ending(Field::VendorOption(enterprise, code), kind.as_ref())
    }

    fn vendor_class(&mut self) -> Result<Tree, ExprError> {
        if self.accept(".") {
            return match self.accept_word("enterprise") {
                true => Ok(Tree::Bytes(Bytes::Field(Field::VendorClassEnterprise))),
                false => self.expected("`enterprise`"),
            };
        }
        let enterprise = self.bracketed(Self::enterprise)?;
        self.mark(".")?;
        if self.accept_word("exists") {
            return Ok(Tree::Condition(Condition::Exists(Field::VendorClass(enterprise, 0))));
        }
        if !self.accept_word("data") {
            return self.expected("`data` or `exists`");
        }
        let index = match *self.peek() == Token::Mark("[") {
            true => self.bracketed(|parser| parser.integer("an index from 0"))?,
            false => 0,
        };
        let index = usize::try_from(index).or_else(|_| self.expected("an index from 0"))?;
        Ok(Tree::Bytes(Bytes::Field(Field::VendorClass(enterprise, index))))
    }

    /// A number, which may stand in quotes.
    fn integer(&mut self, what: &str) -> Result<i64, ExprError> {
        let number = match self.peek() {
            Token::Number(number) => Some(*number),
            Token::Text(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => {
                self.take();
                Ok(number)
            }
            None => self.expected(what),
        }
    }

    fn argument(&mut self) -> Result<Bytes, ExprError> {
        let node = self.any()?;
        self.as_bytes(node)
    }

    fn pair(&mut self) -> Result<Box<(Bytes, Bytes)>, ExprError> {
        let first = self.argument()?;
        self.mark(",")?;
        Ok(Box::new((first, self.argument()?)))
    }

    fn quoted(&mut self, what: &str) -> Result<String, ExprError> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.take();
                Ok(text)
            }
            _ => self.expected(what),
        }
    }

    fn function(&mut self, at: usize, name: &str) -> Result<Tree, ExprError> {
        self.mark("(")?;
        let tree = match name {
            "member" => Tree::Condition(Condition::Member(self.class()?)),
            "match" => Tree::Condition(self.regex()?),
            "starts_with" => Tree::Condition(Condition::StartsWith(self.pair()?)),
            "concat" => {
                let pair = self.pair()?;
                Tree::Bytes(Bytes::Concat(Box::new([pair.0, pair.1])))
            }
            _ => Tree::Bytes(self.bytes_function(at, name)?),
        };
        self.mark(")")?;
        Ok(tree)
    }

    fn bytes_function(&mut self, at: usize, name: &str) -> Result<Bytes, ExprError> {
        let integer_text = |octets, signed| move |value| Bytes::IntegerText(value, octets, signed);
        let of_one: Box<dyn FnOnce(Box<Bytes>) -> Bytes> = match name {
            "substring" => return self.substring(),
            "ifelse" => {
                let condition = self.any().and_then(|node| self.as_condition(node))?;
                self.mark(",")?;
                let pair = self.pair()?;
                return Ok(Bytes::IfElse(Box::new((condition, pair.0, pair.1))));
            }
            "hexstring" => return Ok(Bytes::HexString(self.pair()?)),
            "split" => {
                let pair = self.pair()?;
                self.mark(",")?;
                let at = self.at();
                return match usize::try_from(self.integer("a part's number from 1")?) {
                    Ok(part) if part > 0 => Ok(Bytes::Split(pair, part)),
                    _ => self.fault(at, "expected a part's number from 1"),
                };
            }
            "lcase" => Box::new(Bytes::Lower),
            "ucase" => Box::new(Bytes::Upper),
            "addrtotext" => Box::new(Bytes::AddressText),
            "int8totext" => Box::new(integer_text(1, true)),
            "int16totext" => Box::new(integer_text(2, true)),
            "int32totext" => Box::new(integer_text(4, true)),
            "uint8totext" => Box::new(integer_text(1, false)),
            "uint16totext" => Box::new(integer_text(2, false)),
            "uint32totext" => Box::new(integer_text(4, false)),
            _ => return self.fault(at, format!("`{name}` is no function: expected one of {FUNCTIONS}")),
        };
        Ok(of_one(Box::new(self.argument()?)))
    }

    fn substring(&mut self) -> Result<Bytes, ExprError> {
        let of = Box::new(self.argument()?);
        self.mark(",")?;
        let start = self.integer("where the substring starts, an integer")?;
        self.mark(",")?;
        let length = match self.accept_word("all") {
            true => None,
            false => Some(self.integer("the substring's length, an integer or `all`")?),
        };
        Ok(Bytes::Substring(of, start, length))
    }

    fn class(&mut self) -> Result<Box<str>, ExprError> {
        let class = self.quoted("a class's name in quotes")?.into_boxed_str();
        if !self.classes.contains(&class) {
            self.classes.push(class.clone());
        }
        Ok(class)
    }

    /// `match('regex', x)`: true if the expression matches all of `x`.
    fn regex(&mut self) -> Result<Condition, ExprError> {
        const COMPILED_SIZE: usize = 1 << 20;
        let at = self.at();
        let pattern = self.quoted("a regular expression in quotes")?;
        self.mark(",")?;
        let build = |pattern: &str| {
            // Fields are octets, not characters.
            regex::bytes::RegexBuilder::new(pattern)
                .unicode(false)
                .dot_matches_new_line(true)
                .size_limit(COMPILED_SIZE)
                .dfa_size_limit(COMPILED_SIZE)
                .build()
        };
        // The bare pattern is built first: wrapping could make sense of what makes none by itself.
        match build(&pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z"))) {
            Ok(regex) => Ok(Condition::Match(Box::new((regex, self.argument()?)))),
            Err(fault) => {
                let fault = fault.to_string();
                let last = fault.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.fault(at, format!("'{pattern}' is no regular expression: {last}"))
            }
        }
    }
}
