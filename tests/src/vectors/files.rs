//! Everything that `tests/vectors` holds, but its README.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_proto::Rule;

use super::{
    Bad, Stage,
    accepted::accepted,
    bad,
    handshakes::handshakes,
    parts::parts,
    preludes::{peer_of, preludes},
    script::{Script, closed, expect, prelude_file, role_name, send_files},
    sequences::sequences,
    valid,
};

/// The files by their paths in `tests/vectors`, with their contents.
///
/// # Panics
/// Two vectors have the same name.
#[must_use]
pub fn files() -> BTreeMap<String, Vec<u8>> {
    let mut all = Files::default();
    for part in parts() {
        let file = format!("frames/{}", part.name);
        all.bytes(&file, part.bytes());
        all.json(&file, &part.json());
    }
    for prelude in preludes() {
        all.json(&format!("preludes/{}", prelude.name), &prelude.json());
    }
    for vector in valid() {
        all.vector("valid", vector.name, None, Some(vector.bytes()), &vector.json());
    }
    for vector in bad() {
        let prelude = vector.prelude();
        all.vector("bad", vector.name, Some(prelude), Some(vector.bytes.clone()), &with_steps(&vector));
    }
    for vector in handshakes() {
        let prelude = vector.prelude();
        all.vector("handshakes", vector.name, Some(prelude), Some(vector.bytes.clone()), &vector.json());
    }
    for vector in accepted() {
        let prelude = vector.prelude;
        all.vector("accepted", vector.name, Some(prelude), Some(vector.bytes.clone()), &vector.json());
    }
    for vector in sequences() {
        all.vector("sequences", vector.name, None, None, &vector.json());
    }
    let manifest = json!({ "format": 1, "protocol_version": 1, "vectors": all.vectors });
    all.json("manifest", &manifest);
    all.files
}

/// The description of a bad vector, as a script.
fn with_steps(vector: &Bad) -> Value {
    let prelude = vector.prelude();
    let file = format!("bad/{}.bin", vector.name);
    let steps = vec![send_files("A", &[file]), expect("A", vec![closed(vector.code)])];
    let script = Script { peer: peer_of(prelude), prelude: Some(prelude), steps };
    script.describe(vector.json())
}

impl Bad {
    /// The name of the script that comes before.
    fn prelude(&self) -> &'static str {
        match (self.stage, self.acceptor) {
            (Stage::Preface | Stage::Hello, true) if self.rule == Rule::Hs9 => "puller-known",
            (Stage::Preface | Stage::Hello, true) => "puller-connected",
            (Stage::Preface | Stage::Hello, false) => "pusher-greets",
            (Stage::Open(prelude), _) => prelude.script(role_name(self.to) == "pusher"),
        }
    }
}

#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    vectors: Vec<Value>,
}

impl Files {
    fn add(&mut self, path: String, content: Vec<u8>) {
        let taken = self.files.insert(path.clone(), content);
        assert!(taken.is_none(), "two files are called {path}");
    }

    fn bytes(&mut self, file: &str, bytes: Vec<u8>) {
        self.add(format!("{file}.bin"), bytes);
    }

    fn json(&mut self, file: &str, content: &Value) {
        self.add(format!("{file}.json"), format!("{content:#}\n").into_bytes());
    }

    /// Adds the files of a vector, and its line in the manifest.
    fn vector(
        &mut self,
        directory: &str,
        name: &str,
        prelude: Option<&str>,
        bytes: Option<Vec<u8>>,
        description: &Value,
    ) {
        let file = format!("{directory}/{name}");
        let kind = match directory {
            "handshakes" => "handshake",
            "sequences" => "sequence",
            other => other,
        };
        self.vectors.push(json!({
            "kind": kind, "name": name, "description": format!("{file}.json"),
            "bytes": bytes.is_some().then(|| format!("{file}.bin")), "prelude": prelude.map(prelude_file),
        }));
        self.json(&file, description);
        if let Some(bytes) = bytes {
            self.bytes(&file, bytes);
        }
    }
}
