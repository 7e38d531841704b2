//! The packages of a binary, from three sources: `cargo tree` lists the packages and features that are built,
//! `cargo metadata` has their licences and repositories, and `Cargo.lock` has their checksums.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// A package of the binary or of its build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: String,
    pub(super) repository: Option<String>,
    /// SHA-256 of the archive. `None` for the packages of this workspace, which have none.
    pub(super) checksum: Option<String>,
    /// Whether it is linked into the binary, and not only needed for the build.
    pub(super) linked: bool,
    /// Its dependencies, as indices of [`Graph::packages`], in order.
    pub(super) needs: BTreeSet<usize>,
}

impl Package {
    /// Its package URL.
    pub(super) fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

/// All packages, sorted by name and version.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) platform: String,
    pub(super) packages: Vec<Package>,
}

/// Name and version.
type Key = (String, String);

/// A line of `cargo tree`.
struct Line {
    depth: usize,
    key: Key,
    is_macro: bool,
}

impl Graph {
    /// The graph of one package of the workspace, for the platform of this machine.
    ///
    /// # Errors
    /// If cargo fails, or its output cannot be parsed.
    pub(super) fn read(workspace: &Workspace, root: &str) -> Result<Self> {
        let all = tree(workspace, root, "normal,build")?;
        let linked = linked(&tree(workspace, root, "normal")?);
        let keys: BTreeSet<Key> = all.iter().map(|line| line.key.clone()).collect();
        let places: BTreeMap<&Key, usize> = keys.iter().zip(0..).collect();
        let mut packages = told(workspace, &keys)?;
        let checksums = checksums(workspace)?;
        for (package, key) in packages.iter_mut().zip(&keys) {
            package.checksum = checksums.get(key).cloned();
            package.linked = linked.contains(key);
        }
        for (from, to) in edges(&all) {
            if let Some(package) = packages.get_mut(places[from]) {
                package.needs.insert(places[to]);
            }
        }
        let output = output(Command::new("rustc").arg("-vV"))?;
        let platform = output.lines().find_map(|line| line.strip_prefix("host: "));
        Ok(Self { platform: platform.context("rustc does not report its platform")?.to_owned(), packages })
    }
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.output().context("cannot start cargo or rustc")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr).trim_end());
    Ok(String::from_utf8(done.stdout)?)
}

/// Runs `cargo tree`. Each line has a depth, a name, a version, and more in brackets. Dependencies that were
/// listed before are not repeated.
fn tree(workspace: &Workspace, root: &str, edges: &str) -> Result<Vec<Line>> {
    let mut command = workspace.cargo(["tree", "--locked", "--prefix", "depth", "--format", " {p}"]);
    let text = output(command.args(["-p", root, "-e", edges]))?;
    text.lines()
        .map(|line| read(line).with_context(|| format!("cargo tree: cannot parse {line:?}")))
        .collect()
}

fn read(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let depth = words.next()?.parse().ok()?;
    let key = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned());
    Some(Line { depth, key, is_macro: words.any(|word| word == "(proc-macro)") })
}

/// Pairs of a package and its dependency: each line is a dependency of the last line above it that is less
/// deep.
fn edges(lines: &[Line]) -> Vec<(&Key, &Key)> {
    let (mut above, mut edges) = (Vec::new(), Vec::new());
    for line in lines {
        above.truncate(line.depth);
        if let Some(parent) = above.last() {
            edges.push((*parent, &line.key));
        }
        above.push(&line.key);
    }
    edges
}

/// The packages that are reached without a procedural macro; macros run in the compiler.
fn linked(lines: &[Line]) -> BTreeSet<Key> {
    let macros: BTreeSet<&Key> = lines.iter().filter(|line| line.is_macro).map(|line| &line.key).collect();
    let mut needs: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for (from, to) in edges(lines) {
        needs.entry(from).or_default().push(to);
    }
    let mut found = BTreeSet::new();
    let mut next: Vec<&Key> = lines.first().map(|line| &line.key).into_iter().collect();
    while let Some(key) = next.pop() {
        if !macros.contains(key) && found.insert(key.clone()) {
            next.extend(needs.get(key).into_iter().flatten());
        }
    }
    found
}

/// The licences and repositories of the packages, in the order of `keys`.
fn told(workspace: &Workspace, keys: &BTreeSet<Key>) -> Result<Vec<Package>> {
    let text = output(&mut workspace.cargo(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let mut told = BTreeMap::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        let (Some(name), Some(version)) = (text("name"), text("version")) else { continue };
        told.insert((name, version), (text("license"), text("repository")));
    }
    let package = |key: &Key| {
        let Some((license, repository)) = told.remove(key) else {
            bail!("cargo metadata does not list {} {}", key.0, key.1);
        };
        let license = license.with_context(|| format!("{} {} has no licence", key.0, key.1))?;
        // Before SPDX expressions, `/` meant `OR`.
        let license = license.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
        let (name, version) = key.clone();
        Ok(Package { name, version, license, repository, ..Package::default() })
    };
    keys.iter().map(package).collect()
}

/// The checksums of `Cargo.lock`.
fn checksums(workspace: &Workspace) -> Result<BTreeMap<Key, String>> {
    let text = fs::read_to_string(workspace.path("Cargo.lock")).context("cannot read Cargo.lock")?;
    let lock: toml::Table = text.parse().context("Cargo.lock is not TOML")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let one = |package: &toml::Value| {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    Ok(packages.iter().filter_map(one).collect())
}
