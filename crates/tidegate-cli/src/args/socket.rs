//! Options that push and pull share.

use std::time::Duration;

use clap::Args;
use tidegate::{DEFAULT_HEARTBEAT, DEFAULT_MAX_MESSAGE, Endpoint};

use super::{SecurityArgs, values};
use crate::records::Framing;

/// Endpoints, and settings of the socket.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("endpoints").args(["bind", "connect"]).required(true).multiple(true))]
pub(crate) struct SocketArgs {
    /// Listens at this endpoint, such as tcp://0.0.0.0:8433/pipeline (repeatable)
    ///
    /// Port 0 selects a free port and reports it on stderr.
    #[arg(long, value_name = "ENDPOINT", value_parser = values::endpoint)]
    pub(crate) bind: Vec<Endpoint>,
    /// Connects to this endpoint, and reconnects when the connection is lost (repeatable)
    ///
    /// The other side does not have to be running yet.
    #[arg(long, value_name = "ENDPOINT", value_parser = values::endpoint)]
    pub(crate) connect: Vec<Endpoint>,
    /// Connects to K of the --connect endpoints, instead of all; 20 is a good value
    ///
    /// Use it if hundreds of processes would otherwise connect to hundreds of others. Each process needs the
    /// same endpoints and a --subset-index of its own. Every endpoint then gets about the same number of links.
    #[arg(
        long, value_name = "K", requires = "subset_index", requires = "connect",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) subset: Option<u32>,
    /// Number of this process among those with the same --subset and endpoints, from 0
    ///
    /// Use 0, 1, 2 and so on, each once. A restarted process should use its number again.
    #[arg(long, value_name = "N", requires = "subset", value_parser = clap::value_parser!(u32).range(..=99_999))]
    pub(crate) subset_index: Option<u32>,
    /// Sets the mode of the socket files of --bind unix://, in octal [default: by the umask]
    ///
    /// For example 660. The mode is set before a peer can connect.
    #[arg(long, value_name = "MODE", value_parser = values::unix_mode, requires = "bind")]
    pub(crate) unix_mode: Option<u32>,
    /// Name of this process in the logs of its peers [default: none]
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) name: Option<String>,
    /// Maximum size of a message, in bytes or with a unit
    ///
    /// The size is that of payload and headers. A puller's maximum must not be below that of its pushers.
    #[arg(
        long, value_name = "SIZE", value_parser = values::message_size,
        default_value = values::size_text(DEFAULT_MAX_MESSAGE)
    )]
    pub(crate) max_message: usize,
    /// Heartbeat interval, from 100ms to 60s
    ///
    /// The peer closes the link after three missed intervals.
    #[arg(
        long, value_name = "DURATION", value_parser = values::heartbeat,
        default_value = values::duration_text(DEFAULT_HEARTBEAT)
    )]
    pub(crate) heartbeat: Duration,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

impl SocketArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(mode) = self.unix_mode
            && !self.bind.iter().any(|endpoint| endpoint.to_string().starts_with("unix://"))
        {
            return Err(format!("--unix-mode {mode:o}: no --bind endpoint is unix://"));
        }
        self.security.check(&self.bind, &self.connect)
    }
}

/// How records are separated.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FramingArgs {
    /// Separates records by NUL bytes instead of newlines
    #[arg(short = '0', long, conflicts_with = "length_prefixed")]
    null: bool,
    /// Begins each record with its length (4 bytes, big-endian); it may contain any bytes
    #[arg(long)]
    length_prefixed: bool,
}

impl FramingArgs {
    /// The selected framing.
    pub(crate) fn framing(self) -> Framing {
        match (self.null, self.length_prefixed) {
            (true, _) => Framing::Null,
            (_, true) => Framing::LengthPrefixed,
            _ => Framing::Newline,
        }
    }
}
