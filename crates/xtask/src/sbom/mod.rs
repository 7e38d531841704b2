//! `cargo xtask sbom`: the list of the packages in the `tidegate` binary, as CycloneDX 1.5 in JSON.
//!
//! The same sources give the same file on every machine: it contains no time, random serial number or path.
//! The output of cargo-cyclonedx contains all three, and is written beside each `Cargo.toml`. Therefore this
//! task generates the file from the output of cargo itself.

mod graph;

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::graph::{Graph, Package};
use crate::workspace::Workspace;

/// The path of the file, below `target`.
const FILE: &str = "sbom/tidegate.cdx.json";
/// The package of the binary.
const ROOT: &str = "tidegate-cli";

/// Writes the file.
///
/// # Errors
/// If cargo cannot list the packages, or the file cannot be written.
pub(crate) fn write(workspace: &Workspace) -> Result<ExitCode> {
    let graph = Graph::read(workspace, ROOT)?;
    let text = serde_json::to_string_pretty(&document(&graph))? + "\n";
    let file = workspace.built(FILE);
    let directory = file.parent().context("a file is in a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    writeln!(io::stdout(), "{}: {} packages for {}", file.display(), graph.packages.len(), graph.platform)?;
    Ok(ExitCode::SUCCESS)
}

fn document(graph: &Graph) -> Value {
    let packages = || graph.packages.iter();
    let own = |package: &&Package| package.name == ROOT;
    let described = packages().find(own).map(|package| {
        let mut described = component(package);
        described["type"] = "application".into();
        described
    });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": described,
            "properties": [{ "name": "cdx:rustc:sbom:target:triple", "value": graph.platform }],
        },
        "components": packages().filter(|package| !own(package)).map(component).collect::<Vec<_>>(),
        "dependencies": packages().map(|package| json!({
            "ref": package.purl(),
            "dependsOn": package.needs.iter().map(|at| graph.packages[*at].purl()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

/// Packages that are linked into the binary have the scope `required`; packages that only run during the
/// build have the scope `excluded`.
fn component(package: &Package) -> Value {
    let purl = package.purl();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "scope": if package.linked { "required" } else { "excluded" },
        "licenses": [{ "expression": package.license }],
        "purl": purl,
    });
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn made() -> Value {
        document(&Graph::read(&Workspace::new(), ROOT).unwrap())
    }

    /// Name and version of every package that cargo lists, parsed in another way than in the graph.
    fn named_by_cargo(edges: &str) -> BTreeSet<(String, String)> {
        let mut tree =
            Workspace::new().cargo(["tree", "-p", ROOT, "--locked", "--prefix", "none", "--no-dedupe"]);
        let output = tree.args(["-e", edges, "--format", "{p}"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let pair = |line: &str| {
            let mut words = line.split(' ');
            (words.next().unwrap().to_owned(), words.next().unwrap().trim_start_matches('v').to_owned())
        };
        lines.lines().map(pair).collect()
    }

    fn text<'a>(value: &'a Value, key: &str) -> &'a str {
        value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value}"))
    }

    #[test]
    fn it_names_every_package_with_version_licence_purl_and_checksum() {
        let bom = made();
        let lock = fs::read_to_string(Workspace::new().path("Cargo.lock")).unwrap();
        let mut seen = BTreeSet::new();
        let mut linked = BTreeSet::new();
        let components = bom["components"].as_array().unwrap();
        for one in components.iter().chain([&bom["metadata"]["component"]]) {
            let (name, version) = (text(one, "name"), text(one, "version"));
            assert!(seen.insert((name.to_owned(), version.to_owned())), "{name} occurs twice");
            if one["scope"] == "required" {
                linked.insert((name.to_owned(), version.to_owned()));
            }
            assert_eq!(text(one, "purl"), format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")));
            assert!(!text(&one["licenses"][0], "expression").is_empty(), "{one}");
            let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            let (_, entry) = lock.split_once(&locked).unwrap_or_else(|| panic!("{name} is not locked"));
            if entry.starts_with("source = ") {
                let content = text(&one["hashes"][0], "content");
                let checksum = format!("checksum = \"{content}\"");
                assert_eq!(content.len(), 64);
                assert_eq!(entry.lines().nth(1), Some(checksum.as_str()), "{name}");
            } else {
                assert!(name.starts_with("tidegate"), "{name} has no checksum");
            }
        }
        assert_eq!(seen, named_by_cargo("normal,build"));
        // `normal` also includes the dependencies of procedural macros, which are not linked.
        let normal = named_by_cargo("normal");
        assert!(linked.is_subset(&normal) && linked.len() < normal.len());
        for (name, is_linked) in
            [("tokio", true), ("tidegate-proto", true), ("protox", false), ("syn", false)]
        {
            let found = linked.iter().any(|(linked, _)| linked == name);
            assert_eq!(found, is_linked, "{name}");
        }
    }

    #[test]
    fn every_reference_has_a_target() {
        let bom = made();
        let mut needs = BTreeMap::new();
        for entry in bom["dependencies"].as_array().unwrap() {
            let all = entry["dependsOn"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
            needs.insert(text(entry, "ref"), all.collect::<Vec<_>>());
        }
        assert!(needs.values().flatten().all(|one| needs.contains_key(one)));
        // All packages are reachable from the binary.
        let mut reached = BTreeSet::new();
        let mut next = vec![text(&bom["metadata"]["component"], "bom-ref")];
        while let Some(one) = next.pop() {
            if reached.insert(one) {
                next.extend(&needs[one]);
            }
        }
        assert_eq!(reached.len(), needs.len());
        assert_eq!(reached.len(), bom["components"].as_array().unwrap().len() + 1);
    }

    #[test]
    fn it_does_not_depend_on_time_randomness_or_place() {
        let bom = made();
        assert_eq!(bom, made());
        assert!(bom.get("serialNumber").is_none() && bom["metadata"].get("timestamp").is_none());
        let root = Workspace::new().path("");
        assert!(!bom.to_string().contains(&*root.to_string_lossy()), "it contains {}", root.display());
    }
}
