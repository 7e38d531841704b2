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
    // A Hello holds a token and a message its content, which must never get into a log: their Debug is written by hand.
    let by_hand = [".tidegate.v1.Hello", ".tidegate.v1.Message", ".tidegate.v1.Header"];
    Config::new().bytes(["."]).skip_debug(by_hand).compile_fds(set)?;
    Ok(())
}
