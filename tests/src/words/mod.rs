//! Whether texts and commits are written as `CONTRIBUTING.md` says: banned words and phrases, the width of lines, and
//! the subjects of commits. `tests/words.toml` has the list and the exceptions.

mod phrase;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::spec::token;
use phrase::{Phrase, words};

/// The longest subject of a commit, in characters.
const MAX_SUBJECT: usize = 72;

/// What to check: `tests/words.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The widest line, in characters.
    pub width: usize,
    /// The commit after which subjects are checked.
    #[serde(default)]
    pub first_commit: String,
    /// Files, and directories with `/` at their end, that are not checked yet.
    #[serde(default)]
    pub pending: Vec<String>,
    /// Files that are not checked.
    #[serde(default)]
    pub skip: Vec<Skip>,
    /// Lines that may have a banned phrase.
    #[serde(default)]
    pub allow: Vec<Allow>,
    /// Banned phrases.
    #[serde(default)]
    pub ban: Vec<Ban>,
}

/// A file, or a directory with `/` at its end, that is not checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Why it is not checked.
    pub reason: String,
}

/// A line that may have a banned phrase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// The file, relative to the root.
    pub path: String,
    /// A part of the line.
    pub line: String,
    /// Why the phrase is right there.
    pub reason: String,
}

/// Phrases that have the same replacement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// The phrases; `tests/words.toml` describes how they are written.
    pub find: Vec<String>,
    /// What to write instead.
    pub instead: String,
}

/// A text to check.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// The content.
    pub text: String,
}

/// Something to change: where it is, what it is, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path, or the commit.
    pub place: String,
    /// The line, from 1; 0 for a commit.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.what),
            line => write!(f, "{}:{line}: {}", self.place, self.what),
        }
    }
}

/// Reads the list of the tree below `root`.
///
/// # Errors
/// If the list cannot be read or parsed.
pub fn read_list(root: &Path) -> io::Result<List> {
    toml::from_str(&fs::read_to_string(root.join("tests/words.toml"))?).map_err(io::Error::other)
}

/// Reads all text files below `root` that the list does not skip: the files of the git repository, tracked or new and
/// not ignored; without a repository, as in a source archive, all files outside build directories.
///
/// # Errors
/// If a directory or a file cannot be read.
pub fn read(root: &Path, list: &List) -> io::Result<Vec<Source>> {
    let paths = match in_repository(root) {
        true => git(root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]),
        false => None,
    };
    let paths = match paths {
        Some(paths) => paths.split_terminator('\0').map(str::to_owned).collect(),
        None => walk(root)?,
    };
    let mut sources = Vec::new();
    for path in paths.into_iter().filter(|path| !list.skips(path)) {
        let file = root.join(&path);
        // A deleted file may still be in the index. A link leads to a file that has its own path.
        if fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file())
            && let Some(text) = text_of(fs::read(&file)?)
        {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

/// The text of a file; `None` if it is binary data.
fn text_of(bytes: Vec<u8>) -> Option<String> {
    let is_text = |text: &String| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    String::from_utf8(bytes).ok().filter(is_text)
}

/// All files below `root`, relative to it, except build directories and hidden ones without text of ours.
fn walk(root: &Path) -> io::Result<Vec<String>> {
    let (mut paths, mut directories) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".github";
            if entry.file_type()?.is_dir() {
                if !hidden && !["target", "__pycache__", "artifacts"].contains(&name.as_str()) {
                    directories.push(path);
                }
            } else {
                paths.push(path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/"));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether `root` is the root of a git repository, rather than a directory inside another one.
fn in_repository(root: &Path) -> bool {
    let top = git(root, &["rev-parse", "--show-toplevel"]).map(|top| PathBuf::from(top.trim_end()));
    top.and_then(|top| top.canonicalize().ok()).is_some_and(|top| Some(top) == root.canonicalize().ok())
}

/// The output of git; `None` if there is no git or it fails.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // A hook that runs the tests has set these for its own repository.
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE")
        .output()
        .ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

impl List {
    fn skips(&self, path: &str) -> bool {
        let mut skipped = self.pending.iter().chain(self.skip.iter().map(|skip| &skip.path));
        skipped.any(|skip| path == skip || (skip.ends_with('/') && path.starts_with(skip.as_str())))
    }
}

/// Finds banned phrases in the texts and in the names of the files, documentation that only refers to another item,
/// lines that are too wide, and exceptions that nothing needs.
#[must_use]
pub fn check(list: &List, sources: &[Source]) -> Vec<Finding> {
    let bans: Vec<(Phrase, &str)> = list
        .ban
        .iter()
        .flat_map(|ban| ban.find.iter().map(|find| (Phrase::new(find), ban.instead.as_str())))
        .collect();
    let mut findings = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        let line_of = |number: usize| lines.get(number.saturating_sub(1)).copied().unwrap_or_default();
        let words = words(source);
        for (phrase, instead) in &bans {
            for (number, found) in phrase.find(&words) {
                let allowed = list.allow.iter().position(|allow| {
                    allow.path == source.path && number > 0 && line_of(number).contains(&allow.line)
                });
                match allowed {
                    Some(at) => _ = needed.insert(at),
                    None => findings.push(Finding {
                        place: source.path.clone(),
                        line: number,
                        what: format!("\"{found}\": write instead: {instead}"),
                    }),
                }
            }
        }
        findings.extend(too_wide(source, list.width));
        findings.extend(references(source));
    }
    findings.sort_by(|a, b| (&a.place, a.line).cmp(&(&b.place, b.line)));
    for (at, allow) in list.allow.iter().enumerate() {
        if !needed.contains(&at) && !list.skips(&allow.path) {
            let what =
                format!("nothing needs the exception for `{}` in {}: remove it", allow.line, allow.path);
            findings.push(Finding { place: "tests/words.toml".into(), line: 0, what });
        }
    }
    findings
}

/// Documentation whose first sentence only refers to another item.
fn references(source: &Source) -> Vec<Finding> {
    let is_doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let lines: Vec<&str> = source.text.lines().map(str::trim_start).collect();
    let before = [""].into_iter().chain(lines.iter().copied());
    let mut findings = Vec::new();
    for ((line, before), number) in lines.iter().zip(before).zip(1..) {
        if !is_doc(before) && (line.starts_with("/// As [") || line.starts_with("//! As [")) {
            let what = "\"As […]\": write instead: what the item does, then how it differs".to_owned();
            findings.push(Finding { place: source.path.clone(), line: number, what });
        }
    }
    findings
}

/// Lines of code and Markdown that are too wide.
fn too_wide(source: &Source, width: usize) -> Vec<Finding> {
    let extension = source.path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let markdown = extension == "md";
    // `.ci/run` ends like this, too.
    if !(markdown || ["rs", "py", "proto", "toml", "yml", "ci/run"].contains(&extension)) {
        return Vec::new();
    }
    let data = if extension == "rs" { data(&source.text) } else { Vec::new() };
    let mut in_code = false;
    let mut findings = Vec::new();
    let mut start = 0;
    for (whole, number) in source.text.split_inclusive('\n').zip(1..) {
        let line = whole.trim_end_matches('\n');
        let fence = markdown && line.trim_start().starts_with("```");
        in_code ^= fence;
        // Where the line gets too wide.
        let edge = start + line.char_indices().nth(width).map_or(line.len(), |(at, _)| at);
        start += whole.len();
        let exempt = (markdown && (in_code || fence || line.trim_start().starts_with('|')))
            || data.iter().any(|literal| literal.contains(&edge));
        let length = if markdown { without_targets(line) } else { line.chars().count() };
        if length > width && !exempt {
            let what = format!("{length} characters: wrap the line at {width}");
            findings.push(Finding { place: source.path.clone(), line: number, what });
        }
    }
    findings
}

/// Where the string literals of Rust code are that hold data rather than a sentence: raw ones, and those with escapes.
fn data(text: &str) -> Vec<Range<usize>> {
    let mut literals = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let token = token(rest);
        let quoted = token.starts_with('"') && token.replace("\\\n", "").contains('\\');
        let raw = token.starts_with(['r', 'b', 'c']) && token.contains('"');
        if quoted || raw {
            literals.push(at..at + token.len());
        }
        at += token.len();
    }
    literals
}

/// How many characters a line of Markdown has without the targets of links, which cannot be wrapped.
fn without_targets(line: &str) -> usize {
    let mut pieces = line.split("](");
    let mut length = pieces.next().map_or(0, |piece| piece.chars().count());
    for piece in pieces {
        length += 1 + piece.split_once(')').map_or(piece, |(_, rest)| rest).chars().count();
    }
    length
}

/// The subjects of the commits after `first_commit`.
///
/// # Errors
/// Why they cannot be listed: there is no repository, or its history does not reach back to `first_commit`.
pub fn read_subjects(root: &Path, first_commit: &str) -> Result<Vec<(String, String)>, String> {
    if !in_repository(root) {
        return Err("this is not a git repository".into());
    }
    if git(root, &["merge-base", "--is-ancestor", first_commit, "HEAD"]).is_none() {
        return Err(format!("the history does not reach back to {first_commit}"));
    }
    let range = format!("{first_commit}..HEAD");
    let log = git(root, &["log", "--no-merges", "--format=%h %s", &range]).ok_or("git log fails")?;
    let split = |line: &str| line.split_once(' ').map(|(commit, subject)| (commit.into(), subject.into()));
    Ok(log.lines().filter_map(split).collect())
}

/// What is wrong with the subject of a commit.
#[must_use]
pub fn check_subject(commit: &str, subject: &str) -> Vec<Finding> {
    let finding = |what| Finding { place: format!("commit {commit}"), line: 0, what };
    let mut findings = Vec::new();
    let length = subject.chars().count();
    if length > MAX_SUBJECT {
        findings.push(finding(format!("{length} characters, at most {MAX_SUBJECT}: {subject}")));
    }
    let is_area = |area: &str| {
        let first = area.chars().next();
        first.is_some_and(char::is_alphanumeric)
            && area.chars().all(|c| c.is_alphanumeric() || " ,./_-".contains(c))
            && area.split(' ').count() <= 3
    };
    if !subject.split_once(": ").is_some_and(|(area, what)| is_area(area) && !what.trim().is_empty()) {
        findings.push(finding(format!("the form is `area: what changes`: {subject}")));
    }
    findings
}
