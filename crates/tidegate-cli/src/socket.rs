//! What push and pull do alike with their endpoints: options, TLS and tokens, and saying where they listen.

use std::path::Path;

use anyhow::{Context as _, bail};
use tidegate::{Endpoint, Pem, Tls, TlsConfig, Tokens};

use crate::append::SOON;
use crate::args::{SecurityArgs, SocketArgs};
use crate::text;

/// The variable with the token, when no file is named.
pub(crate) const TOKEN_VARIABLE: &str = "TIDEGATE_TOKEN";

/// What a daemon connects and listens with, as it was read from files.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) tls: Option<Tls>,
    pub(crate) tokens: Option<Tokens>,
    token_file: Option<std::path::PathBuf>,
}

impl Access {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// One cannot be used. A token or key is never part of an error.
    pub(crate) fn open(args: &SocketArgs) -> anyhow::Result<Self> {
        let security = &args.security;
        Ok(Self {
            tls: tls(args)?,
            tokens: tokens(security.token_file.as_deref())?,
            token_file: security.token_file.clone(),
        })
    }

    /// As [`Self::open`], on another thread: files may be slow, or named pipes. The user is told what is waited for. Cancelled, it
    /// leaves that thread behind.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn read(args: &SocketArgs, quiet: bool) -> anyhow::Result<Self> {
        let args = args.clone();
        let mut opening = tokio::task::spawn_blocking(move || Self::open(&args));
        let opened = match tokio::time::timeout(SOON, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                text::note(
                    quiet,
                    format_args!("waiting for the files of --token-file and --tls-... to be read"),
                );
                opening.await
            }
        };
        opened.context("cannot read the files")?
    }

    /// Whether [`Self::reload`] would read anything.
    pub(crate) fn has_files(&self) -> bool {
        self.tls.is_some() || self.token_file.is_some()
    }

    /// What it would read.
    pub(crate) fn files(&self) -> &'static str {
        match (&self.tls, &self.token_file) {
            (Some(_), None) => "the certificates",
            (None, _) => "the token file",
            (Some(_), Some(_)) => "the certificates and the token file",
        }
    }

    /// Reads the files again: TLS uses what they hold from now on, the tokens are given back. Nothing changes unless all can be used.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn reload(&self) -> anyhow::Result<Option<Tokens>> {
        let tokens = self.token_file.as_deref().map(read_tokens).transpose()?;
        if let Some(tls) = &self.tls {
            tls.reload()?;
        }
        Ok(tokens)
    }
}

/// Whether [`Access::reload`] would read anything for these options.
pub(crate) fn reads_files(args: &SocketArgs) -> bool {
    has_tls(args) || args.security.token_file.is_some()
}

fn has_tls(args: &SocketArgs) -> bool {
    let mut all = args.bind.iter().chain(&args.connect);
    all.any(|endpoint| endpoint.to_string().starts_with("tls://"))
}

/// Sets all options that push and pull share on a builder of either.
macro_rules! with_socket_options {
    ($builder:expr, $args:expr, $access:expr) => {{
        let (mut builder, args, access) = ($builder, $args, $access);
        for endpoint in &args.bind {
            builder = builder.bind(endpoint.to_string());
        }
        for endpoint in &args.connect {
            builder = builder.connect(endpoint.to_string());
        }
        if let Some(name) = &args.name {
            builder = builder.name(name);
        }
        if let Some(size) = args.max_message {
            builder = builder.max_message(size);
        }
        if let Some(interval) = args.heartbeat {
            builder = builder.heartbeat(interval);
        }
        if let Some(mode) = args.unix_mode {
            builder = builder.unix_mode(mode);
        }
        if let Some(tokens) = &access.tokens {
            builder = builder.tokens(tokens.clone());
        }
        if let Some(tls) = &access.tls {
            builder = builder.tls(tls.clone());
        }
        for allowed in &args.security.allow {
            builder = builder.allow(&allowed.pipeline, &allowed.names);
        }
        builder.require_tls(args.security.require_tls)
    }};
}
pub(crate) use with_socket_options;

/// The TLS settings, if an endpoint needs some.
fn tls(args: &SocketArgs) -> anyhow::Result<Option<Tls>> {
    if !has_tls(args) {
        return Ok(None);
    }
    let SecurityArgs { tls_ca, tls_cert, tls_key, tls_verify_client, tls_server_name, .. } = &args.security;
    let mut config = TlsConfig::new().verify_clients(*tls_verify_client);
    if let Some(file) = tls_ca {
        config = config.ca(Pem::file(file));
    }
    if let (Some(certificate), Some(key)) = (tls_cert, tls_key) {
        config = config.identity(Pem::file(certificate), Pem::file(key));
    }
    if let Some(name) = tls_server_name {
        config = config.server_name(name);
    }
    Ok(Some(Tls::load(config)?))
}

/// The tokens of a file, or the one of the environment, if there is any. None is ever an argument: everybody can see those.
fn tokens(file: Option<&Path>) -> anyhow::Result<Option<Tokens>> {
    use std::os::unix::ffi::OsStringExt;
    match file {
        Some(file) => read_tokens(file).map(Some),
        None => Ok(std::env::var_os(TOKEN_VARIABLE)
            .map(OsStringExt::into_vec)
            .filter(|token| !token.is_empty())
            .map(Tokens::from)),
    }
}

/// Each line is one.
fn read_tokens(file: &Path) -> anyhow::Result<Tokens> {
    let text = std::fs::read(file).with_context(|| format!("--token-file {}", file.display()))?;
    let lines = text.split(|octet| *octet == b'\n');
    let tokens = Tokens::new(lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
    if tokens.is_empty() {
        bail!("--token-file {}: it is empty; one line with the token would be right", file.display());
    }
    Ok(tokens)
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
    fn each_line_of_a_token_file_is_a_token_without_its_end_and_nothing_else_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        for (content, first, count) in [
            (&b"secret\n"[..], &b"secret"[..], 1),
            (b" a b \r\n", b" a b ", 1),
            (b"x", b"x", 1),
            (b"new\n\nold\n", b"new", 2),
        ] {
            std::fs::write(&file, content).unwrap();
            let tokens = tokens(Some(&file)).unwrap().unwrap();
            assert_eq!((tokens.first().map(|token| &token[..]), tokens.len()), (Some(first), count));
        }
    }

    #[test]
    fn an_empty_or_missing_token_file_is_an_error_that_names_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        assert!(tokens(Some(&file)).unwrap_err().to_string().contains("--token-file"));
        std::fs::write(&file, "\n").unwrap();
        assert!(tokens(Some(&file)).unwrap_err().to_string().contains("empty"));
    }
}
