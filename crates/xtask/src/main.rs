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
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser as _;

use crate::{
    args::{Arguments, Task},
    soak::Part,
    steps::Step,
    workspace::Workspace,
};

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let workspace = Workspace::new();
    let done = match task {
        Task::Test { only } => steps::run(&workspace, &Step::chosen(&only)),
        Task::Soak { minutes, only } => soak::run(&workspace, minutes, &Part::chosen(&only)),
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
