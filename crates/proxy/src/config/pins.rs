//! Where programs and tables of the kernel outlive the process.

use std::path::{Path, PathBuf};

use outwork_config::{Faults, Node, Setting, Value};
use serde_json::{Value as Json, json};

/// Where they do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pins {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In a directory of this server's own, where a BPF file system is by habit.
    Usual,
    /// In this directory.
    At(PathBuf),
}

impl Setting for Pins {
    fn expected() -> String {
        "true, false, or a path".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Bool(true) => return Some(Pins::Usual),
            Value::Bool(false) => return Some(Pins::Nowhere),
            _ => {}
        }
        match node.text() {
            Some(text) if !text.is_empty() && !text.contains('\0') => Some(Pins::At(text.into())),
            _ => faults.wrong(node),
        }
    }

    fn write(&self) -> Json {
        match self {
            Pins::Usual => true.into(),
            Pins::Nowhere => false.into(),
            Pins::At(path) => path.to_string_lossy().into(),
        }
    }

    fn schema() -> Json {
        json!({"type": ["boolean", "string"], "minLength": 1, "examples": [true, "/sys/fs/bpf/outwork"]})
    }

    fn place(&mut self, node: Option<&Node>, folder: &Path) {
        if let Pins::At(path) = self {
            path.place(node, folder);
        }
    }
}
