//! The exit codes of all subcommands.

use std::process::ExitCode;

/// How a subcommand ended. The argument parser reports usage errors, with 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was acked.
    Success = 0,
    /// Something failed; stderr says what.
    Error = 1,
    /// Everything was settled, and some messages were rejected.
    Rejected = 3,
    /// The linger time expired with messages left, or a signal came before the end of the input.
    Lingered = 4,
    /// A second signal stopped the process at once.
    Aborted = 5,
}

impl Exit {
    /// The exit code of the process.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// The exit codes, for the help of every subcommand that moves messages.
pub(crate) const HELP: &str = "\
Exit codes:
  0  push: the whole input was acked; pull: it ended in order
  1  error; stderr says what failed
  2  the command line is wrong
  3  everything was settled, and some messages were rejected
  4  messages are left: the linger time expired, or a signal came before the
     end of push's input (the summary says how many messages were taken from it)
  5  aborted by a second signal";
