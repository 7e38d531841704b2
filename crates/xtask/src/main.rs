//! The tasks of this project: `cargo xtask test`, `soak`, `fuzz` and more.

#![forbid(unsafe_code)]

mod args;
mod counts;
mod deny;
mod descriptor;
mod fuzz;
mod instructions;
mod mutants;
mod process;
mod python;
mod rules;
mod sbom;
mod soak;
mod steps;
mod workspace;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use crate::{args::Task, workspace::Workspace};

fn main() -> ExitCode {
    let task = match args::parse(env::args_os().skip(1)) {
        Ok(task) => task,
        Err(wrong) => {
            complain(&format!("{wrong}\n\n{}", args::help_text()));
            return ExitCode::from(2);
        }
    };
    let workspace = Workspace::new();
    let done = match task {
        Task::Help => args::help(),
        Task::Test(steps) => steps::run(&workspace, &steps),
        Task::Soak { minutes, parts } => soak::run(&workspace, minutes, &parts),
        Task::Fuzz(plan) => fuzz::run(&workspace, &plan, soak::seconds()),
        Task::Deny => deny::run(&workspace),
        Task::Sbom => sbom::write(&workspace),
        Task::Mutants(choice) => mutants::run(&workspace, &choice),
        Task::Descriptor => descriptor::write(&workspace),
        Task::Rules => rules::write(&workspace),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stderr. If that fails too, only the exit code is left to report the error.
fn complain(text: &str) {
    let _ = write!(io::stderr(), "xtask: {text}");
}
