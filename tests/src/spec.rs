//! Checks that every rule of SPEC.md and docs/IMPLEMENTATION.md has a level, a role, code and a test.
//!
//! A rule has an id, such as **CR-2**, followed by its level and the role that needs it: `(MUST, pusher)`. Code that
//! enforces a rule names its id in a comment or as a variant of `Rule`, and so does a test that breaks the rule.
//! Nothing else ties the text to the program, so [`check`] allows no exceptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use tidegate_rules::{Documents, Id};

/// The generated list of all rules. It names every rule, so that it counts neither as code nor as a test.
const LIST: &str = tidegate_rules::FILE;
/// Rust code that may have ids in strings: the list, what reads and tests it, and the tasks, which do not depend on
/// tidegate-proto.
const WITH_STRINGS: [&str; 3] =
    ["crates/tidegate-proto/src/rule/", "crates/tidegate-rules/", "crates/xtask/"];

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
    /// The rules.
    pub documents: Documents,
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
    /// What is wrong with the documents: see [`Documents::problems`].
    pub ambiguous: Vec<String>,
    /// Rules that no code names.
    pub without_code: Vec<String>,
    /// Rules that no test names.
    pub without_test: Vec<String>,
    /// Ids that no document defines, each with the first place that names it: `ID (crates/…/credit.rs:7)`.
    pub unknown: Vec<String>,
    /// String literals that have an id where Rust code should use `Rule`: `ID (crates/…/credit.rs:7)`.
    pub in_strings: Vec<String>,
}

impl Findings {
    /// Whether there are rules and no problems.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rules > 0
            && [&self.ambiguous, &self.without_code, &self.without_test, &self.unknown, &self.in_strings]
                .iter()
                .all(|list| list.is_empty())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rules", self.rules)?;
        for problem in &self.ambiguous {
            writeln!(f, "{problem}")?;
        }
        for (list, what) in [
            (&self.without_code, "is named by no code"),
            (&self.without_test, "is named by no test"),
            (&self.unknown, "is defined neither in SPEC.md nor in docs/IMPLEMENTATION.md"),
            (&self.in_strings, "is in a string; use `Rule`"),
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
    let defined: BTreeSet<Id> = sources.documents.rules.iter().map(|rule| rule.id).collect();
    let named = |list: &[Source]| -> BTreeSet<Id> {
        list.iter().flat_map(|source| mentioned(&source.text)).map(|(_, id)| id).collect()
    };
    let (code, tests) = (named(&sources.code), named(&sources.tests));
    let mut unknown = BTreeMap::new();
    for source in sources.code.iter().chain(&sources.tests).chain(&sources.other) {
        for (line, id) in mentioned(&source.text) {
            if !defined.contains(&id) {
                unknown.entry(id).or_insert_with(|| format!("{id} ({}:{line})", source.path));
            }
        }
    }
    let mut in_strings = Vec::new();
    for (sources, is_code) in [(&sources.code, true), (&sources.tests, false), (&sources.other, false)] {
        for source in sources {
            in_strings.extend(stringed(source, is_code));
        }
    }
    let without = |named: &BTreeSet<Id>| defined.difference(named).map(Id::to_string).collect();
    Findings {
        rules: defined.len(),
        ambiguous: sources.documents.problems(),
        without_code: without(&code),
        without_test: without(&tests),
        unknown: unknown.into_values().collect(),
        in_strings,
    }
}

/// The ids that a text mentions, each with its line number, from 1: as `CR-2`, or as a variant of `Rule` in code. An id
/// within a longer word, such as the name of a character encoding, does not count.
fn mentioned(text: &str) -> Vec<(usize, Id)> {
    let mut found = Vec::new();
    for (line, at) in text.lines().zip(1..) {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
        found.extend(words.filter_map(|word| Some((at, Id::from_text(word)?))));
        found.extend(line.split("Rule::").skip(1).filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            Some((at, Id::from_variant(rest.get(..end)?)?))
        }));
    }
    found
}

/// The ids in string literals of Rust code. In code that is always compiled, a text takes them from `Rule`. Elsewhere
/// they may be a part of a text, such as an expected one, but not all of it.
fn stringed(source: &Source, is_code: bool) -> Vec<String> {
    let mut found = Vec::new();
    if !source.path.ends_with(".rs") || WITH_STRINGS.iter().any(|path| source.path.starts_with(path)) {
        return found;
    }
    let (mut rest, mut line) = (source.text.as_str(), 1);
    while !rest.is_empty() {
        let token = token(rest);
        if token.contains('"') && !token.starts_with('/') {
            let text = token.trim_start_matches(['b', 'c', 'r', '#']).trim_matches(['#', '"']);
            found.extend(
                mentioned(text)
                    .into_iter()
                    .filter(|(_, id)| is_code || text == id.to_string())
                    .map(|(at, id)| format!("{id} ({}:{})", source.path, line + at - 1)),
            );
        }
        line += token.matches('\n').count();
        rest = rest.get(token.len()..).unwrap_or_default();
    }
    found
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

/// Reads the tree below `root` and sorts its files by kind.
///
/// # Errors
/// When a file cannot be read.
pub fn read(root: &Path) -> io::Result<Sources> {
    let mut sources = Sources { documents: Documents::read(root)?, ..Sources::default() };
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
        _ if parts.join("/") == LIST => Kind::Other,
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
