//! Selecting the inputs of the fuzzer that are kept in the repository: few, and those that reach the most
//! code.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{process, workspace::Workspace};

/// Maximum number of new inputs per target and run. Every `cargo test` runs the kept inputs, and people read
/// them.
const MAX_NEW: usize = 40;
/// An input must reach at least this much new code to be kept.
const MIN_REACHED: usize = 3;

/// Copies the best inputs that were found for a target to the kept ones.
pub(super) fn choose(workspace: &Workspace, target: &str) -> Result<()> {
    let kept = workspace.path("tests/fuzz/corpus").join(target);
    let control = workspace.built("fuzz").join(format!("{target}.merge"));
    let merged = workspace.built("fuzz/merged").join(target);
    for old in [&control, &merged] {
        // Files of an earlier run would be taken for a part of this one.
        let _ = if old.is_dir() { fs::remove_dir_all(old) } else { fs::remove_file(old) };
    }
    fs::create_dir_all(&merged).with_context(|| format!("cannot create {}", merged.display()))?;
    // libFuzzer records the code that each input reaches first, starting with the kept inputs.
    let mut command = super::cargo_fuzz(workspace, "run");
    command.arg(target).arg(merged).arg(&kept).arg(workspace.built("fuzz/corpus").join(target));
    command.args(["--", "-merge=1", "-use_counters=0", "-verbosity=0"]);
    command.arg(format!("-merge_control_file={}", control.display()));
    process::run(&mut command)?;
    let told = fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
    let best = best(&told, &kept).context("libFuzzer's merge control file has an unexpected format")?;
    for file in &best {
        let name = file.file_name().context("an input has a name")?;
        fs::copy(file, kept.join(name)).with_context(|| format!("cannot keep {}", file.display()))?;
    }
    writeln!(io::stdout(), "{target}: {} new inputs are kept", best.len())?;
    Ok(())
}

/// The files that reach the most code, without those in `kept`. The control file contains the number of
/// files, the number of files that need no merging, the names, one per line, and then for each file a line
/// with the code that it reaches first: `COV index edge edge ...`.
fn best(control: &str, kept: &Path) -> Option<Vec<PathBuf>> {
    let mut lines = control.lines();
    let count: usize = lines.next()?.parse().ok()?;
    lines.next()?;
    let files: Vec<PathBuf> = lines.by_ref().take(count).map(PathBuf::from).collect();
    let mut found = Vec::new();
    for line in lines {
        let Some(reached) = line.strip_prefix("COV ") else { continue };
        let mut words = reached.split(' ');
        let file = files.get(words.next()?.parse::<usize>().ok()?)?;
        let edges = words.filter(|word| !word.is_empty()).count();
        if edges >= MIN_REACHED && !file.starts_with(kept) {
            found.push((edges, file.clone()));
        }
    }
    found.sort_by_key(|(edges, _)| std::cmp::Reverse(*edges));
    Some(found.into_iter().take(MAX_NEW).map(|(_, file)| file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_inputs_that_reach_the_most_code_are_kept() {
        let control = "4\n0\nkept/a\nfound/b\nfound/c\nfound/d\nSTARTED 0 1\nFT 0 1\nCOV 0 1 2 3 4 5 6 7\nSTARTED 1 1\n\
            COV 1 8 9 10\nCOV 2 11\nCOV 3 12 13 14 15\n";
        let best = best(control, Path::new("kept")).unwrap();
        assert_eq!(best, ["found/d", "found/b"].map(PathBuf::from));
        assert_eq!(super::best("no number", Path::new("kept")), None);
    }
}
