//! Checks that every rule of SPEC.md and docs/IMPLEMENTATION.md has a level, a role, code and a test.
//!
//! A rule has an id, such as **CR-2**, followed by its level and the role that needs it: `(MUST, pusher)`. Code that
//! enforces a rule names its id in a comment or a string, and so does a test that breaks the rule. Nothing else ties
//! the text to the program, so [`check`] allows no exceptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The documents that define rules.
const DOCUMENTS: [&str; 2] = ["SPEC.md", "docs/IMPLEMENTATION.md"];

/// A file, or the part of a file that counts as one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path for messages: relative to the root, with `/`.
    pub path: String,
    /// The text. Parts that count as another kind are blanked, so that line numbers stay right.
    pub text: String,
}

/// All files that may name rules.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The text of the documents that define rules.
    pub spec: String,
    /// Code that may enforce rules.
    pub code: Vec<Source>,
    /// Tests that may break rules.
    pub tests: Vec<Source>,
    /// Files that may only refer to rules: the .proto file and all documents.
    pub other: Vec<Source>,
}

/// The problems found. `Display` writes one line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of rules.
    pub rules: usize,
    /// Rules that are defined more than once.
    pub duplicates: Vec<String>,
    /// Rules without a level and a role.
    pub untagged: Vec<String>,
    /// Rules that no code names.
    pub without_code: Vec<String>,
    /// Rules that no test names.
    pub without_test: Vec<String>,
    /// Ids that no document defines, each with the first place that names it: `ID (crates/…/credit.rs:7)`.
    pub unknown: Vec<String>,
}

impl Findings {
    /// Whether there are rules and no problems.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rules > 0
            && [&self.duplicates, &self.untagged, &self.without_code, &self.without_test, &self.unknown]
                .iter()
                .all(|list| list.is_empty())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rules", self.rules)?;
        for (list, what) in [
            (&self.duplicates, "is defined more than once"),
            (&self.untagged, "has no level and role, such as (MUST, pusher)"),
            (&self.without_code, "is named by no code"),
            (&self.without_test, "is named by no test"),
            (&self.unknown, "is defined neither in SPEC.md nor in docs/IMPLEMENTATION.md"),
        ] {
            for id in list {
                writeln!(f, "{id} {what}")?;
            }
        }
        Ok(())
    }
}

/// Compares the rules with the code and the tests that name them.
#[must_use]
pub fn check(sources: &Sources) -> Findings {
    let mut count = BTreeMap::new();
    let mut untagged = BTreeSet::new();
    for (id, tagged) in defined(&sources.spec) {
        *count.entry(id).or_insert(0_u32) += 1;
        if !tagged {
            untagged.insert(id);
        }
    }
    let named = |list: &[Source]| -> BTreeSet<Id> {
        list.iter().flat_map(|source| mentioned(&source.text)).map(|(_, id)| id).collect()
    };
    let (code, tests) = (named(&sources.code), named(&sources.tests));
    let mut unknown = BTreeMap::new();
    for source in sources.code.iter().chain(&sources.tests).chain(&sources.other) {
        for (line, id) in mentioned(&source.text) {
            if !count.contains_key(&id) {
                unknown.entry(id).or_insert_with(|| format!("{id} ({}:{line})", source.path));
            }
        }
    }
    let rules = |wanted: &dyn Fn(&Id, u32) -> bool| -> Vec<String> {
        count.iter().filter(|(id, n)| wanted(id, **n)).map(|(id, _)| id.to_string()).collect()
    };
    Findings {
        rules: count.len(),
        duplicates: rules(&|_, n| n > 1),
        untagged: rules(&|id, _| untagged.contains(id)),
        without_code: rules(&|id, _| !code.contains(id)),
        without_test: rules(&|id, _| !tests.contains(id)),
        unknown: unknown.into_values().collect(),
    }
}

/// The id of a rule: two capital letters, `-`, a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    group: [char; 2],
    number: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.group;
        write!(f, "{first}{second}-{}", self.number)
    }
}

/// The ids that a document defines, each in bold at the start of a list item, and whether a level and a role follow.
fn defined(spec: &str) -> Vec<(Id, bool)> {
    let items = spec.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**"));
    items.filter_map(|(bold, rest)| Some((whole_id(bold)?, is_tagged(rest)))).collect()
}

/// Whether a text begins with a level and a role, such as ` (MUST, pusher) `.
fn is_tagged(text: &str) -> bool {
    let tag = text.strip_prefix(" (").and_then(|rest| rest.split_once(") "));
    tag.and_then(|(tag, _)| tag.split_once(", ")).is_some_and(|(level, role)| {
        ["MUST", "SHOULD", "MAY"].contains(&level) && ["pusher", "puller", "both"].contains(&role)
    })
}

/// The ids that a text mentions, each with its line number, from 1. An id within a longer word, such as the name of a
/// character encoding, does not count.
fn mentioned(text: &str) -> Vec<(usize, Id)> {
    let mut found = Vec::new();
    for (line, at) in text.lines().zip(1..) {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
        found.extend(words.filter_map(|word| Some((at, whole_id(word)?))));
    }
    found
}

fn whole_id(word: &str) -> Option<Id> {
    let (letters, number) = word.split_once('-')?;
    let mut letters = letters.chars();
    let group = [letters.next()?, letters.next()?];
    let plain = letters.next().is_none()
        && group.iter().all(char::is_ascii_uppercase)
        && number.chars().all(|c| c.is_ascii_digit());
    plain.then(|| number.parse().ok().map(|number| Id { group, number })).flatten()
}

/// Splits Rust code into the part that is always compiled and the part that only tests compile, which is the items
/// under `#[cfg(test)]`. Both parts keep their line numbers.
#[must_use]
pub fn split(text: &str) -> (String, String) {
    let only_tests = test_ranges(text);
    let half = |tests: bool| {
        let keep = |at: usize| only_tests.iter().any(|(from, to)| (*from..*to).contains(&at)) == tests;
        text.char_indices().map(|(at, c)| if c == '\n' || keep(at) { c } else { ' ' }).collect()
    };
    (half(false), half(true))
}

/// The byte ranges of items under `#[cfg(test)]`.
fn test_ranges(text: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let token = token(rest);
        if token.starts_with("#![cfg(test)]") {
            return vec![(0, text.len())];
        }
        let end = at + token.len();
        if token == "#[cfg(test)]" {
            let item = item_length(text.get(end..).unwrap_or_default());
            ranges.push((at, end + item));
            at = end + item;
        } else {
            at = end;
        }
    }
    ranges
}

/// The length of the item at the start of `text`, including further attributes: up to a `;`, or the `}` of its body.
fn item_length(text: &str) -> usize {
    let mut depth = 0_i32;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let token = token(rest);
        at += token.len();
        match token {
            "{" | "(" | "[" => depth += 1,
            "}" if depth <= 1 => return at,
            ")" | "]" | "}" => depth -= 1,
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// The first token of Rust code (never empty): a comment, a literal, the attribute `#[cfg(test)]`, a name, or one other
/// character. Braces and attributes within comments and literals do not count.
pub(crate) fn token(text: &str) -> &str {
    let upto = |length: Option<usize>| text.get(..length.unwrap_or(text.len())).unwrap_or(text);
    let after = |needle: &str, from: usize| {
        text.get(from..).and_then(|rest| rest.find(needle)).map(|at| from + at + needle.len())
    };
    for attribute in ["#[cfg(test)]", "#![cfg(test)]"] {
        if text.starts_with(attribute) {
            return attribute;
        }
    }
    if text.starts_with("//") {
        return upto(text.find('\n'));
    }
    if text.starts_with("/*") {
        return upto(block_comment(text));
    }
    if text.starts_with('"') {
        return upto(closing_quote(text, '"'));
    }
    if let Some(rest) = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix)) {
        let unhashed = rest.trim_start_matches('#');
        if unhashed.starts_with('"') {
            let close = format!("\"{}", "#".repeat(rest.len() - unhashed.len()));
            return upto(after(&close, text.len() - unhashed.len() + 1));
        }
    }
    let mut start = text.chars();
    if start.next() == Some('\'') {
        // A character in quotes. A quote before a name alone is a lifetime.
        match (start.next(), start.next()) {
            (Some('\\'), _) => return upto(closing_quote(text, '\'')),
            (Some(_), Some('\'')) => return upto(after("'", 1)),
            _ => {}
        }
    }
    // Take a name as a whole; otherwise an `r` at its end would look like the start of a raw string.
    let name = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    upto(Some(if name > 0 { name } else { text.chars().next().map_or(0, char::len_utf8) }))
}

/// The end of the literal at the start of `text`, which opens with a quote and in which `\` escapes.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return Some(at + c.len_utf8());
        }
        escaped = !escaped && c == '\\';
    }
    None
}

/// The end of the block comment at the start of `text`; block comments nest.
fn block_comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest.chars().next()?.len_utf8();
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The text of all documents that define rules.
///
/// # Errors
/// When one of them cannot be read.
pub fn rules(root: &Path) -> io::Result<String> {
    let texts: io::Result<Vec<String>> =
        DOCUMENTS.iter().map(|document| fs::read_to_string(root.join(document))).collect();
    Ok(texts?.join("\n"))
}

/// Reads the tree below `root` and sorts its files by kind.
///
/// # Errors
/// When a file cannot be read.
pub fn read(root: &Path) -> io::Result<Sources> {
    let mut sources = Sources { spec: rules(root)?, ..Sources::default() };
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    paths.sort();
    for path in paths {
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let below = path.strip_prefix(root).unwrap_or(&path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        sources.sort(&parts, text);
    }
    Ok(sources)
}

impl Sources {
    /// Adds one file; `parts` is its path below the root.
    pub fn sort(&mut self, parts: &[&str], text: String) {
        let path = parts.join("/");
        match kind(parts) {
            Kind::Code => {
                let (code, tests) = split(&text);
                self.code.push(Source { path: path.clone(), text: code });
                self.tests.push(Source { path, text: tests });
            }
            Kind::Test => self.tests.push(Source { path, text }),
            Kind::Other => self.other.push(Source { path, text }),
        }
    }
}

enum Kind {
    Code,
    Test,
    Other,
}

fn kind(parts: &[&str]) -> Kind {
    let name = parts.last().copied().unwrap_or_default();
    let rust = name.ends_with(".rs");
    match parts {
        ["crates", "tidegate" | "tidegate-proto" | "tidegate-cli", "src", below @ ..] if rust => {
            if name == "tests.rs" || below.contains(&"tests") { Kind::Test } else { Kind::Code }
        }
        ["crates", _, "tests", ..] | ["tests", "tests", ..] if rust => Kind::Test,
        ["examples", "python", ..] if name.starts_with("test_") && name.ends_with(".py") => Kind::Test,
        _ => Kind::Other,
    }
}

/// The files of the tree that may name rules, without build output and hidden directories.
fn walk(directory: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    const TEXT: [&str; 8] = ["rs", "py", "proto", "md", "toml", "txt", "json", "sh"];
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "target" && name != "__pycache__" && !name.starts_with('.') {
                walk(&path, into)?;
            }
        } else if path.extension().and_then(|end| end.to_str()).is_some_and(|end| TEXT.contains(&end)) {
            into.push(path);
        }
    }
    Ok(())
}
