//! The rules that the documents define.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use crate::id::Id;

/// The documents that define rules, relative to the root.
const DOCUMENTS: [&str; 2] = ["SPEC.md", "docs/IMPLEMENTATION.md"];
/// What the line of retired ids starts with.
const RETIRED: &str = "Retired ids: ";

/// A rule: a list item that starts with an id in bold, such as `- **CR-2** (MUST, pusher) A pusher …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its id.
    pub id: Id,
    /// The path of the document, relative to the root.
    pub document: String,
    /// Its level and who needs it, if they follow the id.
    pub tag: Option<RuleTag>,
    /// The rest of the item, as one line, up to a list within the item.
    pub text: String,
}

/// The level of a rule, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTag {
    /// `MUST`, `SHOULD` or `MAY`.
    pub level: String,
    /// `pusher`, `puller` or `both`.
    pub needed_by: String,
}

/// The rules of all documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// All definitions, in the order of the documents.
    pub rules: Vec<Definition>,
    /// The ids that were defined once and must not be defined again.
    pub retired: BTreeSet<Id>,
}

impl Documents {
    /// Reads the documents below `root`.
    ///
    /// # Errors
    /// If one of them cannot be read. The error names it.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut documents = Self::default();
        for path in DOCUMENTS {
            let text = fs::read_to_string(root.join(path))
                .map_err(|error| io::Error::new(error.kind(), format!("cannot read {path}: {error}")))?;
            documents.add(path, &text);
        }
        Ok(documents)
    }

    /// Adds the rules and the retired ids of a document.
    pub fn add(&mut self, document: &str, text: &str) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some((_, ids)) = line.split_once(RETIRED) {
                self.retired.extend(ids.split([',', ' ', '.']).filter_map(Id::from_text));
            }
            let item = line.strip_prefix("- **").and_then(|line| line.split_once("**"));
            let Some((id, first)) = item.and_then(|(bold, rest)| Some((Id::from_text(bold)?, rest))) else {
                continue;
            };
            let (tag, first) = tag(first);
            let mut words = first.trim().to_owned();
            while let Some(more) = lines.next_if(|line| is_continued(line)) {
                words = words + " " + more.trim();
            }
            self.rules.push(Definition { id, document: document.to_owned(), tag, text: words });
        }
    }

    /// What makes the rules ambiguous, one sentence each: ids that are defined twice, or although they are retired;
    /// numbers that are skipped; rules without a level and a role.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut defined: BTreeMap<Id, &str> = BTreeMap::new();
        for Definition { id, document, tag, .. } in &self.rules {
            if let Some(first) = defined.insert(*id, document) {
                found.push(format!("{id} is defined more than once: in {first} and in {document}"));
            }
            if self.retired.contains(id) {
                found.push(format!("{id} is retired, but {document} defines it: take a new number"));
            }
            if tag.is_none() {
                found.push(format!("{id} has no level and role, such as (MUST, pusher)"));
            }
        }
        let gaps: BTreeSet<Id> = defined
            .keys()
            .flat_map(|id| id.before())
            .filter(|id| !defined.contains_key(id) && !self.retired.contains(id))
            .collect();
        found.extend(gaps.iter().map(|id| {
            format!("{id} is neither defined nor retired, but a higher number of its group is defined")
        }));
        found
    }
}

/// Splits a level and a role, such as ` (MUST, pusher) `, off the start of a text.
fn tag(text: &str) -> (Option<RuleTag>, &str) {
    let read = || {
        let (tag, rest) = text.strip_prefix(" (")?.split_once(") ")?;
        let (level, needed_by) = tag.split_once(", ")?;
        let known =
            ["MUST", "SHOULD", "MAY"].contains(&level) && ["pusher", "puller", "both"].contains(&needed_by);
        known.then(|| (RuleTag { level: level.to_owned(), needed_by: needed_by.to_owned() }, rest))
    };
    read().map_or((None, text), |(tag, rest)| (Some(tag), rest))
}

/// Whether a line continues the text of a list item, and is not an item of a list within it.
fn is_continued(line: &str) -> bool {
    let Some(text) = line.strip_prefix("  ") else { return false };
    !(text.trim().is_empty() || ["- ", "1. ", "|", "```"].iter().any(|start| text.starts_with(start)))
}
