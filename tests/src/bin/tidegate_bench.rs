//! The program `tidegate-bench`. It is built here because cargo gives a test the path of a binary only in the same
//! package.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tidegate_bench::main()
}
