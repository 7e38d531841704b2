//! Writes the descriptor set of the protocol to stdout, for tools that cannot compile the `.proto` file.

#![forbid(unsafe_code)]

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(tidegate_proto::DESCRIPTOR_SET)
}
