//! Compiles the `.proto` file without `protoc`, and keeps its descriptor set for other languages.

use std::{env, error::Error, fs, path::PathBuf};

use prost_build::Config;

const ROOT: &str = "../../proto";
const FILE: &str = "tidegate/v1/tidegate.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}/{FILE}");
    println!("cargo::rerun-if-changed=build.rs");
    let set = protox::compile([FILE], [ROOT])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("tidegate.binpb"), protox::prost::Message::encode_to_vec(&set))?;
    // A Hello holds a token, which must never get into a log: its Debug is written by hand.
    Config::new().bytes(["."]).skip_debug([".tidegate.v1.Hello"]).compile_fds(set)?;
    Ok(())
}
