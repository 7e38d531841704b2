//! The words of a text, and phrases of them.

use super::Source;

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// In lower case.
    word: String,
    line: usize,
    /// Whether nothing but blanks, `-` and `_` is between it and the word before it.
    joined: bool,
    /// Whether it begins a name in capitals of several words.
    constant: bool,
}

/// The words of the name of a file, as line 0, and of its text.
pub(super) fn words(source: &Source) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut joined = false;
    add_words(&mut tokens, &source.path, 0, &mut joined);
    let mut was_comment = false;
    for (line, number) in source.text.lines().zip(1..) {
        let trimmed = line.trim();
        let text = trimmed.trim_start_matches(['/', '!', '#', '>', '*']);
        // A phrase goes on in the next line, but not from code into a comment, or into another paragraph.
        let is_comment = text.len() < trimmed.len();
        joined &= number > 1 && is_comment == was_comment && !text.is_empty();
        was_comment = is_comment;
        // A `\` at the end continues a string.
        add_words(&mut tokens, text.strip_suffix('\\').unwrap_or(text), number, &mut joined);
    }
    tokens
}

/// Adds the words of a line. `joined`: whether a phrase may go on from the line before, and into the next one.
fn add_words(tokens: &mut Vec<Token>, text: &str, line: usize, joined: &mut bool) {
    let mut word = String::new();
    let (mut before, mut before_word) = (' ', ' ');
    let mut chars = text.chars().chain([' ']).peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() {
            if word.is_empty() {
                before_word = before;
            }
            word.push(c);
        }
        let hump = c.is_lowercase() && chars.peek().is_some_and(|next| next.is_uppercase());
        if (hump || !c.is_alphanumeric()) && !word.is_empty() {
            let constant = c == '_' && before_word != '_' && !word.chars().any(char::is_lowercase);
            tokens.push(Token { word: word.to_lowercase(), line, joined: *joined, constant });
            word.clear();
            *joined = true;
        }
        if !(c.is_alphanumeric() || c.is_whitespace() || c == '_' || c == '-') {
            *joined = false;
        }
        // The letter of an escape, as in `\n`, belongs to no word.
        before = if c == '\\' { chars.next().unwrap_or(c) } else { c };
    }
}

/// A banned phrase.
pub(super) struct Phrase {
    words: Vec<Vec<String>>,
    /// Words that must not follow.
    except: Vec<String>,
    constant: bool,
}

impl Phrase {
    pub(super) fn new(text: &str) -> Self {
        let one_of = |word: &str| word.split('|').map(str::to_lowercase).collect::<Vec<_>>();
        let (words, except) = text.split_once(" !").unwrap_or((text, ""));
        let prefix = words.strip_suffix('_').filter(|prefix| !prefix.chars().any(char::is_lowercase));
        Self {
            words: prefix.unwrap_or(words).split_whitespace().map(one_of).collect(),
            except: if except.is_empty() { Vec::new() } else { one_of(except) },
            constant: prefix.is_some(),
        }
    }

    /// Each place where the phrase is, with its line.
    pub(super) fn find(&self, tokens: &[Token]) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in 0..tokens.len() {
            let rest = tokens.get(at..).unwrap_or_default();
            let Some((here, next)) = rest.split_at_checked(self.words.len()) else { break };
            let matches = here.iter().zip(&self.words).enumerate().all(|(nth, (token, words))| {
                (nth == 0 || token.joined) && words.iter().any(|word| is_word(word, &token.word))
            });
            let excepted =
                next.first().is_some_and(|token| token.joined && self.except.contains(&token.word));
            if let Some(first) = here.first()
                && matches
                && !excepted
                && (first.constant || !self.constant)
            {
                let text: Vec<&str> = here.iter().map(|token| token.word.as_str()).collect();
                found.push((first.line, text.join(" ")));
            }
        }
        found
    }
}

fn is_word(pattern: &str, word: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == word, |prefix| word.starts_with(prefix))
}
