//! Files with secrets: reading token files, and warning if other users can read or change such a file.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use tidegate::Tokens;

use crate::text;

/// Maximum length of a token, in bytes (HS-10).
const MAX_TOKEN: usize = 4_096;
/// Maximum size of a token file, in bytes: enough for 256 tokens of the maximum length. The limit makes an
/// endless file, such as /dev/zero, an error.
const MAX_FILE: u64 = 1 << 20;
/// Maximum number of tokens in a file. Each handshake is compared with all of them.
const MAX_TOKENS: usize = 1_000;

/// Reads the tokens in a file, one per line. Blank lines and lines that begin with `#` are ignored.
///
/// # Errors
/// If the file cannot be read, contains no token, or contains one that is too long. An error never contains a
/// token.
pub(crate) fn read(path: &Path) -> anyhow::Result<Tokens> {
    let name = || text::visible(&format!("--token-file {}", path.display()));
    let mut content = Vec::new();
    let file = File::open(path).with_context(name)?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).with_context(name)?;
    if content.len() as u64 > MAX_FILE {
        bail!("{}: the file has more than {MAX_FILE} bytes; it must have one token per line", name());
    }
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let visible = line.trim_ascii();
        if visible.is_empty() || visible.starts_with(b"#") {
            continue;
        }
        if line.len() > MAX_TOKEN {
            let length = line.len();
            bail!("{}: line {number} has {length} bytes; a token has 1 to {MAX_TOKEN}", name());
        }
        tokens.push(line.to_vec());
    }
    if tokens.is_empty() {
        bail!(
            "{}: the file has no token; it must have one token per line \
             (blank lines and lines that begin with # are ignored)",
            name()
        );
    }
    if tokens.len() > MAX_TOKENS {
        bail!("{}: the file has {} tokens; the maximum is {MAX_TOKENS}", name(), tokens.len());
    }
    warn_if_readable("--token-file", path);
    Ok(Tokens::new(tokens))
}

/// Warns if other users can read or change a file with a secret.
pub(crate) fn warn_if_readable(option: &str, path: &Path) {
    // A missing file is reported when it is read.
    let Ok(metadata) = path.metadata() else { return };
    if let Some(who) = others(metadata.mode()).filter(|_| metadata.is_file()) {
        let path = path.display().to_string();
        tracing::warn!(
            "{option} {}: {who} can read or change this file (mode {:03o}); use chmod 600 to protect it",
            text::visible(&path),
            metadata.mode() & 0o777
        );
    }
}

fn others(mode: u32) -> Option<&'static str> {
    match (mode & 0o060 != 0, mode & 0o006 != 0) {
        (_, true) => Some("every user of this machine"),
        (true, false) => Some("its group"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn each_line_of_a_token_file_is_a_token_and_keeps_its_spaces() {
        for (content, first, count) in [
            (&b"secret\n"[..], &b"secret"[..], 1),
            (b" a b \r\n", b" a b ", 1),
            (b"x", b"x", 1),
            (b"new\n\nold\n", b"new", 2),
            (b"a#b\n", b"a#b", 1),
        ] {
            let (_dir, path) = file(content);
            let tokens = read(&path).unwrap();
            assert_eq!((tokens.first().map(|token| &token[..]), tokens.len()), (Some(first), count));
        }
    }

    #[test]
    fn blank_lines_and_comments_are_no_tokens() {
        let (_dir, path) = file(b"\n# the new one\n  \t\n\r\nnew\n  # old: until Friday\nold\n#\n");
        let tokens = read(&path).unwrap();
        assert_eq!((tokens.len(), tokens.first().map(|token| &token[..])), (2, Some(&b"new"[..])));
        for none in ["", " ", "  \t", "# the new one", "#", "  # old: until Friday"] {
            assert!(!tokens.accept(none.as_bytes()), "{none:?}");
        }
        assert!(tokens.accept(b"new") && tokens.accept(b"old"));
    }

    #[test]
    fn an_error_in_a_token_file_names_the_line_and_shows_no_token() {
        let long = format!("# one\nshort\n{}\n", "hush".repeat(2_000));
        let many = "hush\n".repeat(1_001);
        for (content, says) in [
            ("\n# only this\n \n", "the file has no token"),
            ("", "the file has no token"),
            (long.as_str(), "line 3 has 8000 bytes"),
            (many.as_str(), "1001 tokens"),
        ] {
            let (_dir, path) = file(content.as_bytes());
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(
                error.contains("--token-file") && error.contains(says) && !error.contains("hush"),
                "{error}"
            );
        }
        let error = format!("{:#}", read(Path::new("/dev/zero")).unwrap_err());
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        let (dir, _) = file(b"");
        let missing = format!("{:#}", read(&dir.path().join("missing")).unwrap_err());
        assert!(missing.contains("--token-file") && missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn a_secret_that_others_can_read_or_change_is_reported() {
        for (mode, who) in
            [(0o600, None), (0o100_400, None), (0o640, Some("its group")), (0o620, Some("its group"))]
        {
            assert_eq!(others(mode), who, "{mode:o}");
        }
        assert_eq!(others(0o644), Some("every user of this machine"));
        assert_eq!(others(0o602), Some("every user of this machine"));
    }
}
