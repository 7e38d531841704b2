//! `tidegate man`: manual pages.

use std::io::Write as _;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::{Cli, ManArgs};
use crate::exit::Exit;

/// Writes a page for each subcommand to a directory, or the main page to stdout.
pub(crate) fn run(args: &ManArgs) -> anyhow::Result<Exit> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("DIR {}: cannot create it", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .with_context(|| format!("DIR {}: cannot write the manual pages", dir.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            std::io::stdout().write_all(&page).context("cannot write the manual page to stdout")?;
        }
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subcommand_gets_a_page() {
        let dir = tempfile::tempdir().unwrap();
        run(&ManArgs { dir: Some(dir.path().join("man1")) }).unwrap();
        for page in ["tidegate.1", "tidegate-push.1", "tidegate-pull.1", "tidegate-bench-throughput.1"] {
            let text = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap();
            assert!(text.contains(".TH"), "{page}");
        }
    }
}
