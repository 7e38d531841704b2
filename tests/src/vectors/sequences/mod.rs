//! Whole links, step by step.

mod pullers;
mod pushers;

use serde_json::{Value, json};
use tidegate_proto::{Code, Rule};

use super::{
    ids,
    script::{Script, closed, expect, expect_nothing, wait},
};

/// A script, and who needs to pass it.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) name: &'static str,
    /// The profiles of SPEC.md that it is for.
    profiles: &'static [&'static str],
    rules: &'static [Rule],
    about: &'static str,
    script: Script,
}

impl Sequence {
    pub(super) fn json(&self) -> Value {
        self.script
            .describe(json!({ "profiles": self.profiles, "rules": ids(self.rules), "about": self.about }))
    }
}

/// How long nothing must happen.
const QUIET: u64 = 300;

pub(super) fn sequences() -> Vec<Sequence> {
    let mut all = pushers::sequences();
    all.extend(pullers::sequences());
    all
}

fn sequence(
    name: &'static str,
    profiles: &'static [&'static str],
    rules: &'static [Rule],
    about: &'static str,
    peer: Value,
    steps: Vec<Value>,
) -> Sequence {
    Sequence { name, profiles, rules, about, script: Script { peer, prelude: None, steps } }
}

/// Three intervals of 500 ms without a byte.
fn silence() -> Vec<Value> {
    vec![expect_nothing("A", 1_000), wait(6_000), expect("A", vec![closed(Code::Silent)])]
}
