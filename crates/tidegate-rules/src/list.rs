//! The generated list of the rules: `enum Rule` of tidegate-proto.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    documents::{Definition, Documents},
    id::Id,
};

/// The path of the generated file, relative to the root.
pub const FILE: &str = "crates/tidegate-proto/src/rule/list.rs";
/// The command that writes it.
const COMMAND: &str = "cargo xtask rules";
/// The widest line of a comment, as for all files.
const WIDTH: usize = 120;
/// The opening of a rule ends with the first sentence that brings it to this many characters.
const ENOUGH: usize = 60;

/// Checks that the generated file below `root` has the rules of the documents.
///
/// # Errors
/// What is wrong with the documents, or that the file differs from them, with the command to run.
pub fn check(root: &Path) -> Result<(), String> {
    let (generated, old) = generate(root)?;
    if generated == old {
        return Ok(());
    }
    Err(format!(
        "{FILE} differs from the rules of SPEC.md and docs/IMPLEMENTATION.md. To update it: {COMMAND}"
    ))
}

/// Writes the generated file below `root`, and returns the number of rules.
///
/// # Errors
/// What is wrong with the documents, or that a file cannot be read or written.
pub fn write(root: &Path) -> Result<usize, String> {
    let (generated, _) = generate(root)?;
    fs::write(root.join(FILE), &generated).map_err(|error| format!("cannot write {FILE}: {error}"))?;
    Ok(listed(&generated).len())
}

/// The text that the file should have, and the one that it has. A file that does not exist counts as empty.
fn generate(root: &Path) -> Result<(String, String), String> {
    let documents = Documents::read(root).map_err(|error| error.to_string())?;
    let old = fs::read_to_string(root.join(FILE)).unwrap_or_default();
    Ok((text(&documents, &listed(&old))?, old))
}

/// The ids of a generated file, which are those of its variants.
#[must_use]
pub fn listed(file: &str) -> BTreeSet<Id> {
    file.lines().filter_map(|line| Id::from_variant(line.strip_prefix("    ")?.strip_suffix(',')?)).collect()
}

/// Generates the file from the documents. `before` has the ids of the file that it replaces.
///
/// # Errors
/// All problems of the documents, a line each. A rule of `before` that is no longer defined must be retired.
pub fn text(documents: &Documents, before: &BTreeSet<Id>) -> Result<String, String> {
    let mut problems = documents.problems();
    if documents.rules.is_empty() {
        problems.push("no document defines a rule".to_owned());
    }
    let mut rules: Vec<&Definition> = documents.rules.iter().collect();
    rules.sort_by_key(|rule| rule.id);
    let defined: BTreeSet<Id> = rules.iter().map(|rule| rule.id).collect();
    problems.extend(
        before.difference(&defined).filter(|id| !documents.retired.contains(id)).map(|id| {
            format!("{id} is no longer defined: add it to the retired ids in docs/IMPLEMENTATION.md")
        }),
    );
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let mut variants = String::new();
    let mut arms = String::new();
    let mut all = String::new();
    for rule in rules {
        let (variant, id) = (rule.id.variant(), rule.id);
        let (level, needed_by) =
            rule.tag.as_ref().map_or(("", ""), |tag| (tag.level.as_str(), tag.needed_by.as_str()));
        let summary = format!("**{id}** ({level}, {needed_by}; {}). {}", rule.document, opening(&rule.text));
        variants += &format!("{}    {variant},\n", comment(&summary, "    /// "));
        let document = if rule.document == "SPEC.md" { "SPEC" } else { "IMPLEMENTATION" };
        let (level, needed_by) = (capitalized(level), needed_by.to_uppercase());
        arms +=
            &format!("            Self::{variant} => (\"{id}\", {document}, Level::{level}, {needed_by}),\n");
        all += &format!("        Self::{variant},\n");
    }
    Ok(HEAD.replace("COMMAND", COMMAND)
        + &variants
        + "}\n\nimpl Rule {\n    /// All rules, in their order.\n    pub const ALL: &'static [Self] = &[\n"
        + &all
        + "    ];\n\n    /// The id of the rule, its document, its level, and the roles that need it.\n"
        + "    pub(super) const fn facts(self) -> (&'static str, &'static str, Level, &'static [Role]) {\n"
        + "        match self {\n"
        + &arms
        + "        }\n    }\n}\n")
}

const HEAD: &str = "\
//! The rules of SPEC.md and docs/IMPLEMENTATION.md. Generated from them by `COMMAND`; do not edit.

use super::{BOTH, IMPLEMENTATION, Level, PULLER, PUSHER, SPEC};
use crate::v1::Role;

/// A rule of SPEC.md or docs/IMPLEMENTATION.md.
///
/// The name of a variant is the id without its hyphen, in camel case: `OC-10` is `Oc10`. Its `Display` text is the id.
/// Rules are ordered by the letters of their ids, then by number. The documentation of each variant has the level, who
/// needs the rule, its document, and how its text begins; the document has all of it.
///
/// ```
/// use tidegate_proto::{Level, Role, Rule};
///
/// let rule: Rule = \"OC-10\".parse()?;
/// assert_eq!((rule, rule.to_string()), (Rule::Oc10, \"OC-10\".to_owned()));
/// assert_eq!((rule.document(), rule.level()), (\"SPEC.md\", Level::Must));
/// assert!(rule.is_needed_by(Role::Puller));
/// # Ok::<(), tidegate_proto::UnknownRule>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
";

/// The first sentences of a rule. The reason in italics after a rule is not part of it.
fn opening(text: &str) -> &str {
    let mut end = 0;
    for (at, _) in text.match_indices(". ").chain([(text.len(), "")]) {
        end = (at + 1).min(text.len());
        let next = text.get(end..).unwrap_or_default().trim_start();
        let sentence = !next.starts_with(|c: char| c.is_lowercase());
        if sentence
            && (text.get(..end).is_some_and(|text| text.chars().count() >= ENOUGH) || next.starts_with('*'))
        {
            break;
        }
    }
    text.get(..end).unwrap_or(text).trim_end_matches(':')
}

/// Wraps a text at [`WIDTH`], each line after `prefix`.
fn comment(text: &str, prefix: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        // At the start of a line, these would begin a list, a quote or a heading.
        let glued = ["+", "-", "*", ">", "#"].contains(&word)
            || (word.ends_with('.') && word.trim_end_matches('.').chars().all(|c| c.is_ascii_digit()));
        match lines.last_mut() {
            Some(line) if glued || line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(prefix.to_owned() + word),
        }
    }
    lines.iter().map(|line| line.clone() + "\n").collect()
}

/// `Must` for `MUST`.
fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_owned() + &rest.to_lowercase()
}
