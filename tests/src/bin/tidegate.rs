//! The `tidegate` command, built here because a binary is at hand only to the tests of its own package.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tidegate_cli::main()
}
