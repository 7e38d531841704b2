//! The program `tidegate-bench`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tidegate_bench::main()
}
