//! Options that push and pull share.

use std::time::Duration;

use clap::Args;
use tidegate::Endpoint;

use super::{SecurityArgs, values};
use crate::records::Framing;

/// Where to listen and connect, and as whom.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("endpoints").args(["bind", "connect"]).required(true).multiple(true))]
pub(crate) struct SocketArgs {
    /// Listens there, such as tcp://0.0.0.0:8433/pipeline; port 0 takes a free one, which stderr tells (repeatable)
    #[arg(long, value_name = "ENDPOINT", value_parser = values::endpoint)]
    pub(crate) bind: Vec<Endpoint>,
    /// Connects there, and again whenever the connection is lost (repeatable; the other side need not be up yet)
    #[arg(long, value_name = "ENDPOINT", value_parser = values::endpoint)]
    pub(crate) connect: Vec<Endpoint>,
    /// Sets the mode of the socket files of --bind unix:// endpoints, in octal such as 660, before anyone can connect [default: by the umask]
    #[arg(long, value_name = "MODE", value_parser = values::unix_mode, requires = "bind")]
    pub(crate) unix_mode: Option<u32>,
    /// The name that the other side sees in its logs [default: none]
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) name: Option<String>,
    /// The largest message, payload and headers, in bytes or with a unit; a puller's must not be below its pushers' [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::message_size)]
    pub(crate) max_message: Option<usize>,
    /// How often this side promises to be heard; the other side takes it for dead after three times as long; 100ms to 60s [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = values::heartbeat)]
    pub(crate) heartbeat: Option<Duration>,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

impl SocketArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(mode) = self.unix_mode
            && !self.bind.iter().any(|endpoint| endpoint.to_string().starts_with("unix://"))
        {
            return Err(format!(
                "--unix-mode {mode:o}: no --bind endpoint is unix://, so there is no file to set it on"
            ));
        }
        self.security.check(&self.bind, &self.connect)
    }
}

/// How records are told apart.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FramingArgs {
    /// Ends each record with a NUL byte instead of a newline
    #[arg(short = '0', long, conflicts_with = "length_prefixed")]
    null: bool,
    /// Begins each record with its length as 4 bytes, big-endian, so that it may hold any bytes
    #[arg(long)]
    length_prefixed: bool,
}

impl FramingArgs {
    /// The framing that was asked for.
    pub(crate) fn framing(self) -> Framing {
        match (self.null, self.length_prefixed) {
            (true, _) => Framing::Null,
            (_, true) => Framing::LengthPrefixed,
            _ => Framing::Newline,
        }
    }
}
