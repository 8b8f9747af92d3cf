//! Style sheets: made smaller, joined, their references followed.
//!
//! - `token`: the text in pieces, as CSS Syntax Level 3 has them.
//! - `print`: the pieces written again, with what they refer to replaced, and without what means nothing.
//! - `value`: numbers, colours and URLs in their shortest form.
//! - `faults`: what a browser would stumble over.
//!
//! What a property means is not looked at: declarations stay in their order and number, whatever they are, so that what a later standard brings,
//! or what only an old browser understands, comes through.

mod faults;
mod print;
mod token;
mod value;

use super::fault::AssetFault;
use super::map::{self, Map};
use print::Printer;

/// A style sheet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sheet<'a> {
    /// Its path below the folder.
    pub(crate) path: &'a str,
    /// Its name in a source map.
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

/// What is asked for.
pub(crate) struct Order<'a> {
    /// Leave out what means nothing.
    pub(crate) minify: bool,
    /// Make a source map.
    pub(crate) map: bool,
    /// What a reference in a sheet of this path is replaced with; `None` leaves it.
    pub(crate) resolve: &'a dyn Fn(&str, &str) -> Option<String>,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) map: Option<Map>,
    pub(crate) faults: Vec<AssetFault>,
}

/// Makes one sheet.
pub(crate) fn sheet(sheet: &Sheet<'_>, order: &Order<'_>) -> Made {
    let faults = faults::of(sheet);
    let mut printer = Printer::new(order.resolve, order.minify && faults.is_empty());
    printer.sheet(sheet);
    made(printer, order, faults)
}

/// Joins sheets. `imported` gives the sheet that an `@import` in one of this path leads to: it is put in the place of the rule, as a browser
/// does it. Where that is not possible, the rule goes to the beginning, where alone it counts (CSS Cascade Level 5 section 2).
pub(crate) fn joined<'a>(
    sheets: &[Sheet<'a>],
    imported: &'a dyn Fn(&str, &str) -> Option<Sheet<'a>>,
    order: &Order<'_>,
) -> Made {
    let mut told = Vec::new();
    let mut printer = Printer::new(order.resolve, order.minify);
    printer.imported = Some(imported);
    for sheet in sheets {
        printer.join(sheet, &mut told);
    }
    made(printer, order, told)
}

/// What a sheet refers to, as it is written there.
pub(crate) fn references(sheet: &Sheet<'_>) -> Vec<String> {
    let found = std::cell::RefCell::new(Vec::new());
    let collect = |_: &str, reference: &str| {
        found.borrow_mut().push(reference.to_owned());
        None
    };
    Printer::new(&collect, false).sheet(sheet);
    found.into_inner()
}

/// The declarations of a `style` attribute.
pub(crate) fn declarations(sheet: &Sheet<'_>, order: &Order<'_>) -> String {
    let mut printer = Printer::new(order.resolve, order.minify && faults::of(sheet).is_empty());
    printer.declarations(sheet);
    printer.done().0
}

fn made(printer: Printer<'_, '_>, order: &Order<'_>, mut faults: Vec<AssetFault>) -> Made {
    let (text, sources, marks) = printer.done();
    let sources: Vec<_> = sources.iter().map(|sheet| (sheet.name, sheet.text)).collect();
    faults.sort();
    faults.dedup();
    Made { text, map: order.map.then(|| map::new(&sources, marks)), faults }
}

#[cfg(test)]
mod tests;
