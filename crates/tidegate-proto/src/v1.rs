//! The types that the build generates from `proto/tidegate/v1/tidegate.proto`. Field numbers are never reused (GR-3).

#![allow(missing_docs, clippy::all, unused_qualifications)]

include!(concat!(env!("OUT_DIR"), "/tidegate.v1.rs"));
