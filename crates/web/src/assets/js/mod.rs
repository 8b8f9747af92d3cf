//! Scripts and modules: made smaller, joined, what they import followed. The parser and the minifier are oxc's.
//!
//! - `nesting`: how deep a text is nested, before anything descends into it.

mod nesting;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;

use oxc_allocator::Allocator;
use oxc_codegen::{Codegen, CodegenOptions, CommentOptions, LegalComment};
use oxc_compat::EngineTargets;
use oxc_minifier::{CompressOptions, Minifier, MinifierOptions};
use oxc_parser::{ParseOptions, Parser, ParserReturn};
use oxc_semantic::SemanticBuilder;
use oxc_span::{SourceType, Span};

use super::fault::{self, AssetFault};
use super::map::{self, Edit, Map, Moves};

/// Levels that a text may be nested. What reads it descends once for each.
const DEPTH: usize = 5000;
/// Memory that a thread needs to descend so far.
pub(crate) const STACK: usize = 512 << 20;

/// A script or a module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script<'a> {
    /// Its path below the folder.
    pub(crate) path: &'a str,
    /// Its name in a source map.
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) kind: Kind,
}

/// What a text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A module where it imports or exports, otherwise a script.
    Either,
    Script,
    Module,
}

impl Kind {
    /// Of a file by its name.
    pub(crate) fn of(path: &str) -> Self {
        if path.ends_with(".mjs") { Self::Module } else { Self::Either }
    }

    fn source_type(self) -> SourceType {
        match self {
            Self::Either => SourceType::unambiguous(),
            Self::Script => SourceType::script(),
            Self::Module => SourceType::mjs(),
        }
    }
}

/// What a text is, and what it imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    /// It is a module.
    pub(crate) is_module: bool,
    /// All of it is strict by its first statement.
    pub(crate) is_strict: bool,
    /// What it imports by a name that stands there.
    pub(crate) imports: Vec<Import>,
}

/// A name that something is imported by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// Where it stands, with its quotes.
    pub(crate) place: Range<usize>,
    pub(crate) name: String,
}

/// What is asked for.
pub(crate) struct Order<'a> {
    /// Make it smaller.
    pub(crate) minify: bool,
    /// Make a source map.
    pub(crate) map: bool,
    /// The map that the text came with.
    pub(crate) inner: Option<&'a Map>,
    /// What the name of an import is replaced with; `None` leaves it.
    pub(crate) resolve: &'a dyn Fn(&str) -> Option<String>,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) map: Option<Map>,
}

/// Reads a text.
///
/// # Errors
/// When a browser could not, or when it is nested too deep.
pub(crate) fn outline(script: &Script<'_>) -> Result<Outline, AssetFault> {
    guarded(script, || {
        let allocator = Allocator::default();
        let parsed = parse(&allocator, script, script.text)?;
        // A module's names are its own, a script's may be meant to be declared again in another.
        let semantic = SemanticBuilder::new().with_check_syntax_error(true).build(&parsed.program);
        faultless(script, semantic.diagnostics.errors().next())?;
        let record = &parsed.module_record;
        let asked = record.requested_modules.values().flatten().map(|request| request.span);
        let dynamic = record.dynamic_imports.iter().map(|import| import.module_request);
        let mut imports: Vec<Import> = asked.chain(dynamic).filter_map(|span| literal(script.text, span)).collect();
        imports.sort_by_key(|import| import.place.start);
        imports.dedup();
        Ok(Outline {
            is_module: parsed.program.source_type.is_module(),
            is_strict: parsed.program.directives.iter().any(|directive| directive.directive.as_str() == "use strict"),
            imports,
        })
    })
}

/// Makes one text.
///
/// # Errors
/// When the minifier has failed.
pub(crate) fn made(script: &Script<'_>, outline: &Outline, order: &Order<'_>) -> Result<Made, AssetFault> {
    let edit = |import: &Import| {
        let text = quoted(&(order.resolve)(&import.name)?);
        Some(Edit { place: import.place.clone(), text })
    };
    let edits: Vec<Edit> = outline.imports.iter().filter_map(edit).collect();
    let text = map::edited(script.text, &edits);
    let moves = Moves::new(script.text, &edits);
    if !order.minify {
        let map = || order.inner.cloned().unwrap_or_else(|| map::identity(script.name, script.text));
        let map = order.map.then(|| map::followed(map(), &moves));
        return Ok(Made { text, map });
    }
    guarded(script, || {
        let allocator = Allocator::default();
        let mut parsed = parse(&allocator, script, &text)?;
        let minifier = Minifier::new(options());
        let scoping = minifier.minify(&allocator, &mut parsed.program);
        let printed = Codegen::new()
            .with_options(CodegenOptions {
                minify: true,
                comments: CommentOptions { legal: LegalComment::Inline, ..CommentOptions::disabled() },
                source_map_path: order.map.then(|| PathBuf::from(script.name)),
                ..CodegenOptions::minify()
            })
            .with_scoping(scoping.scoping)
            .with_private_member_mappings(scoping.class_private_mappings)
            .build(&parsed.program);
        let map = printed.map.map(|map| map::unedited(map.into_owned(), &moves, script.text));
        let map = map.map(|map| order.inner.map_or_else(|| map.clone(), |inner| map::composed(&map, inner)));
        Ok(Made { text: printed.code, map })
    })
}

/// Scripts one behind the other, each with what was made of it, so that none runs into the next; and what is wrong with the whole: a name that
/// is declared twice, say.
pub(crate) fn joined(path: &str, pieces: Vec<Made>) -> (Made, Option<AssetFault>) {
    // A comment at the end of one, and a statement that has no semicolon at its end.
    const BETWEEN: &str = "\n;\n";
    let mut text = String::new();
    let mut maps = Vec::new();
    let mut line = 0;
    for piece in pieces {
        if !text.is_empty() {
            text.push_str(BETWEEN);
            line += 2;
        }
        text.push_str(&piece.text);
        maps.extend(piece.map.map(|map| (map, line)));
        line += piece.text.bytes().filter(|byte| *byte == b'\n').count() as u32;
    }
    let map = (!maps.is_empty()).then(|| map::stacked(maps));
    let fault = outline(&Script { path, name: path, text: &text, kind: Kind::Script }).err();
    (Made { text, map }, fault)
}

/// Names of scripts' variables stay, for others use them; nothing later than ECMAScript 2015 is written unless the author has written it.
fn options() -> MinifierOptions {
    static TARGET: LazyLock<EngineTargets> = LazyLock::new(|| EngineTargets::from_target("es2015").unwrap_or_default());
    let compress = CompressOptions { target: TARGET.clone(), drop_debugger: false, ..CompressOptions::smallest() };
    MinifierOptions { compress: Some(compress), ..MinifierOptions::default() }
}

fn parse<'a>(allocator: &'a Allocator, script: &Script<'_>, text: &'a str) -> Result<ParserReturn<'a>, AssetFault> {
    let options = ParseOptions { allow_return_outside_function: false, ..ParseOptions::default() };
    let parsed = Parser::new(allocator, text, script.kind.source_type()).with_options(options).parse();
    faultless(script, parsed.diagnostics.errors().next())?;
    Ok(parsed)
}

fn faultless(script: &Script<'_>, fault: Option<&oxc_diagnostics::OxcDiagnostic>) -> Result<(), AssetFault> {
    let Some(fault) = fault else { return Ok(()) };
    let help = fault.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
    let told = AssetFault::new(script.path, format!("{}{help}", fault.message), "the file is served as it is; mend it");
    let at = fault.labels.first().map(|label| label.span().start as usize);
    Err(match at {
        Some(at) => told.at(script.text, at),
        None => told,
    })
}

/// What stands at a place, where it is text alone.
fn literal(text: &str, span: Span) -> Option<Import> {
    let place = span.start as usize..span.end as usize;
    let written = text.get(place.clone())?;
    let quote = written.chars().next().filter(|quote| matches!(quote, '"' | '\'' | '`'))?;
    let name = written.strip_prefix(quote)?.strip_suffix(quote)?;
    let filled = quote == '`' && name.contains("${");
    (!filled && !name.contains(['\\', '\n', quote])).then(|| Import { place, name: name.to_owned() })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is done with a text that was written by others: nothing in it ends more than that.
fn guarded<T>(script: &Script<'_>, work: impl FnOnce() -> Result<T, AssetFault>) -> Result<T, AssetFault> {
    if let Some(offset) = nesting::beyond(script.text, DEPTH) {
        let found = format!("it is nested more than {DEPTH} levels deep");
        return Err(AssetFault::new(script.path, found, "the file is served as it is").at(script.text, offset));
    }
    fault::guarded(script.path, work)
}

#[cfg(test)]
mod tests;
