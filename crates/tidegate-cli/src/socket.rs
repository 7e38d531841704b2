//! What push and pull do alike with their endpoints: the token, and saying where they listen.

use std::path::Path;

use anyhow::{Context as _, bail};
use tidegate::Endpoint;

use crate::text;

/// The variable with the token, when no file is named.
pub(crate) const TOKEN_VARIABLE: &str = "TIDEGATE_TOKEN";

/// The token of a file or of the environment, if there is one. It is never an argument: everybody can see those.
///
/// # Errors
/// When the file cannot be read or holds no token. The token itself is never part of an error.
pub(crate) fn token(file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = file else {
        use std::os::unix::ffi::OsStringExt;
        return Ok(std::env::var_os(TOKEN_VARIABLE)
            .map(OsStringExt::into_vec)
            .filter(|token| !token.is_empty()));
    };
    let mut token = std::fs::read(file).with_context(|| format!("--token-file {}", file.display()))?;
    if token.ends_with(b"\n") {
        token.pop();
        if token.ends_with(b"\r") {
            token.pop();
        }
    }
    if token.is_empty() {
        bail!("--token-file {}: it is empty; one line with the token would be right", file.display());
    }
    Ok(Some(token))
}

/// Says on stderr where this process listens, with ports that were given as 0 filled in.
pub(crate) fn announce(endpoints: &[Endpoint], quiet: bool) {
    if !quiet {
        for endpoint in endpoints {
            text::say(format_args!("{LISTENING}{endpoint}"));
        }
    }
}

/// How the line of [`announce`] begins; the demonstration reads it.
pub(crate) const LISTENING: &str = "listening on ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_loses_its_newline_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        for (content, token_bytes) in
            [(&b"secret\n"[..], &b"secret"[..]), (b" a b \r\n", b" a b "), (b"x", b"x")]
        {
            std::fs::write(&file, content).unwrap();
            assert_eq!(token(Some(&file)).unwrap().as_deref(), Some(token_bytes));
        }
    }

    #[test]
    fn an_empty_or_missing_token_file_is_an_error_that_names_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        assert!(token(Some(&file)).unwrap_err().to_string().contains("--token-file"));
        std::fs::write(&file, "\n").unwrap();
        assert!(token(Some(&file)).unwrap_err().to_string().contains("empty"));
    }
}
