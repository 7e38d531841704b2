//! The `tidegate` command.
fn main() -> std::process::ExitCode {
    tidegate_cli::main()
}
