//! Which files are put together into which.

use super::super::config::{Assets, Bundle};
use super::super::fault::AssetFault;
use super::File;
use super::memory::Memory;
use super::node::{Files, Kind, Node, kind, outline, targets};

/// What is put together.
pub(super) fn nodes<'a>(
    files: &Files<'a>,
    settings: &Assets,
    memory: &mut Memory,
    faults: &mut Vec<AssetFault>,
) -> Vec<Node<'a>> {
    let concatenation = &settings.concatenation;
    let mut nodes: Vec<Node<'a>> = Vec::new();
    for bundle in concatenation.patterns.iter().filter(|_| concatenation.enabled) {
        let mut node = Node {
            path: bundle.path.clone(),
            kind: kind(&bundle.path),
            bundle: true,
            members: members(bundle, files, &concatenation.patterns, faults),
            outlines: Vec::new(),
            targets: Vec::new(),
        };
        if node.kind == Kind::Js {
            scripts(&mut node, memory, faults);
        }
        if node.members.is_empty() {
            let found = "there is nothing to put together";
            let help = format!("nothing is served there; {bundle} should name files that there are");
            faults.push(AssetFault::new(&bundle.path, found, help));
            continue;
        }
        node.targets = targets(&node, files, settings, memory);
        nodes.push(node);
    }
    nodes
}

/// Patterns in their order, what fits one by name, each file once.
fn members<'a>(bundle: &Bundle, files: &Files<'a>, all: &[Bundle], faults: &mut Vec<AssetFault>) -> Vec<&'a File> {
    let mut members: Vec<&File> = Vec::new();
    let wanted = kind(&bundle.path);
    for pattern in &bundle.members {
        let fitting = files.values().copied().filter(|file| {
            pattern.fits(&file.path)
                && kind(&file.path) == wanted
                && all.iter().all(|other| other.path != *file.path)
                && members.iter().all(|member| member.path != file.path)
        });
        let fitting: Vec<&File> = fitting.collect();
        if fitting.is_empty() && !pattern.to_string().contains('*') {
            let help = format!("{} does without it; there should be such a file", bundle.path);
            faults.push(AssetFault::new(&pattern.to_string(), "this file is not there, or it cannot be read", help));
        }
        for file in fitting {
            match file.text.is_some() {
                true => members.push(file),
                false => {
                    let help = format!("{} does without it", bundle.path);
                    faults.push(AssetFault::new(&file.path, "it is too large, or it is no UTF-8", help));
                }
            }
        }
    }
    members
}

/// Scripts that can be one. What cannot be read would take all others with it, and is left out.
fn scripts(node: &mut Node<'_>, memory: &mut Memory, faults: &mut Vec<AssetFault>) {
    let path = node.path.clone();
    let mut outlines = Vec::new();
    node.members.retain(|file| match outline(file, memory) {
        Ok(outline) if outline.is_module => {
            let found = "it is a module, and modules cannot be put together by writing one behind the other";
            let help = format!("{path} does without it; import it, or leave it out of the pattern");
            faults.push(AssetFault::new(&file.path, found, help));
            false
        }
        Ok(outline) => {
            outlines.push(outline);
            true
        }
        Err(fault) => {
            let help = format!("{path} does without it; mend it");
            faults.push(AssetFault { help, ..fault });
            false
        }
    });
    let strict = outlines.iter().filter(|outline| outline.is_strict).count();
    if strict > 0 && strict < outlines.len() {
        let found = "some of its files begin with \"use strict\" and some do not";
        let help = "none of it is strict; write the words into a function, or make two of it";
        faults.push(AssetFault::new(&path, found, help));
    }
    node.outlines = outlines;
}
