//! What push and pull share for their endpoints: options, TLS, tokens, and the `listening on` lines.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tidegate::{Endpoint, Pem, Prepared, Tls, TlsConfig, Tokens};

use crate::append::WARN_AFTER;
use crate::args::{SecurityArgs, SocketArgs};
use crate::{text, token_file};

/// The variable with the token, if no token file is given.
pub(crate) const TOKEN_VARIABLE: &str = "TIDEGATE_TOKEN";

/// The TLS settings and tokens that a daemon has read from files.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) tls: Option<Tls>,
    pub(crate) tokens: Option<Tokens>,
    token_file: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Access {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// If a file cannot be used. An error never contains a token or a key.
    pub(crate) fn open(args: &SocketArgs) -> anyhow::Result<Self> {
        let security = &args.security;
        let tls = tls(args)?;
        let key = security.tls_key.clone().filter(|_| tls.is_some());
        if let Some(key) = &key {
            token_file::warn_if_readable("--tls-key", key);
        }
        Ok(Self {
            tls,
            key,
            tokens: tokens(security.token_file.as_deref())?,
            token_file: security.token_file.clone(),
        })
    }

    /// Reads the files as [`Self::open`] does, on another thread, because files may be slow, or named pipes.
    /// Tells the user if that takes long. If the future is dropped, the thread continues.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) async fn read(args: &SocketArgs, quiet: bool) -> anyhow::Result<Self> {
        let args = args.clone();
        let mut opening = tokio::task::spawn_blocking(move || Self::open(&args));
        let opened = match tokio::time::timeout(WARN_AFTER, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                text::note(
                    quiet,
                    format_args!("waiting for the files of --token-file and --tls-* to be read"),
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

    /// What [`Self::reload`] would read.
    pub(crate) fn files(&self) -> &'static str {
        match (&self.tls, &self.token_file) {
            (Some(_), None) => "the certificates",
            (None, _) => "the token file",
            (Some(_), Some(_)) => "the certificates and the token file",
        }
    }

    /// Reads the files again and checks them. Nothing changes until the caller uses the result.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) fn reload(&self) -> anyhow::Result<Reloaded> {
        let tokens = self.token_file.as_deref().map(token_file::read).transpose()?;
        let tls = self.tls.as_ref().map(Tls::prepare_reload).transpose()?;
        if let Some(key) = &self.key {
            token_file::warn_if_readable("--tls-key", key);
        }
        Ok(Reloaded { tokens, tls })
    }
}

/// The contents of the files, read and checked.
pub(crate) struct Reloaded {
    pub(crate) tokens: Option<Tokens>,
    pub(crate) tls: Option<Prepared>,
}

/// Whether [`Access::reload`] would read anything for these options.
pub(crate) fn reads_files(args: &SocketArgs) -> bool {
    has_tls(args) || args.security.token_file.is_some()
}

fn has_tls(args: &SocketArgs) -> bool {
    let mut all = args.bind.iter().chain(&args.connect);
    all.any(|endpoint| endpoint.to_string().starts_with("tls://"))
}

/// Sets the options that push and pull share on a builder of either.
macro_rules! with_socket_options {
    ($builder:expr, $args:expr, $access:expr) => {{
        let (mut builder, args, access) = ($builder, $args, $access);
        for endpoint in &args.bind {
            builder = builder.bind(endpoint.to_string());
        }
        for endpoint in &args.connect {
            builder = builder.connect(endpoint.to_string());
        }
        if let Some(links) = args.subset {
            builder = builder.subset(links as usize);
        }
        if let Some(index) = args.subset_index {
            builder = builder.subset_index(index as usize);
        }
        if let Some(name) = &args.name {
            builder = builder.name(name);
        }
        builder = builder.max_message(args.max_message).heartbeat(args.heartbeat);
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

/// The TLS settings, if an endpoint needs them.
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

/// The tokens of a file, or else the token in the environment. A token is never an argument, because every
/// user can see the arguments of a process.
fn tokens(file: Option<&Path>) -> anyhow::Result<Option<Tokens>> {
    use std::os::unix::ffi::OsStringExt;
    if let Some(file) = file {
        return token_file::read(file).map(Some);
    }
    let token = std::env::var_os(TOKEN_VARIABLE).map(OsStringExt::into_vec).filter(|token| !token.is_empty());
    if token.is_some() {
        // This process cannot remove the variable from its own environment.
        tracing::warn!(
            "the token comes from the variable {TOKEN_VARIABLE}, which every process of this user can read in \
             /proc/{}/environ, including the commands of --exec and --worker; --token-file is safer",
            std::process::id()
        );
    }
    Ok(token.map(Tokens::from))
}

/// Reports on stderr where this process listens, with the selected port instead of port 0.
pub(crate) fn announce(endpoints: &[Endpoint], quiet: bool) {
    if !quiet {
        for endpoint in endpoints {
            text::say(format_args!("{LISTENING}{endpoint}"));
        }
    }
}

/// The beginning of the lines of [`announce`]. The demo reads them.
pub(crate) const LISTENING: &str = "listening on ";
