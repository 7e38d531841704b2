//! The mode of the files of unix sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{fs, os::unix::fs::PermissionsExt};

use common::within;
use tidegate::{BuildError, Pull, Push};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_unix_socket_has_the_mode_that_was_set_whatever_the_umask_and_peers_connect() {
    let dir = tempfile::tempdir().unwrap();
    for wanted in [0o600, 0o660, 0o666, 0o777] {
        let path = dir.path().join(format!("{wanted:o}.sock"));
        let address = format!("unix://{}", path.display());
        let push = Push::builder().bind(&address).unix_mode(wanted).build().await.unwrap();
        assert_eq!(mode(&path), wanted);
        let pull = Pull::builder().connect(&address).build().await.unwrap();
        push.send("x").await.unwrap();
        within(pull.recv()).await.unwrap().unwrap().ack();
    }
}

#[tokio::test]
async fn a_socket_file_that_a_dead_process_left_behind_is_replaced_by_one_with_the_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves its file
    let address = format!("unix://{}", path.display());
    let _push = Push::builder().bind(&address).unix_mode(0o640).build().await.unwrap();
    assert_eq!(mode(&path), 0o640);
}

#[tokio::test]
async fn sockets_that_share_a_file_agree_about_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let address = |pipeline: &str| format!("unix://{}#{pipeline}", dir.path().join("shared.sock").display());
    let _first = Push::builder().bind(address("a")).unix_mode(0o600).build().await.unwrap();
    let _same = Push::builder().bind(address("b")).unix_mode(0o600).build().await.unwrap();
    let _any = Push::builder().bind(address("c")).build().await.unwrap();
    let other = Push::builder().bind(address("d")).unix_mode(0o660).build().await;
    match other {
        Err(BuildError::Bind { source, .. }) => assert!(source.to_string().contains("660"), "{source}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mode_that_excludes_the_owner_or_has_no_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix://{}", dir.path().join("x.sock").display());
    for (builder, value) in [
        (Push::builder().bind(&address).unix_mode(0o060), "60"),
        (Push::builder().bind(&address).unix_mode(0o1777), "1777"),
        (Push::builder().bind("mem://no-file").unix_mode(0o660), "660"),
        (Push::builder().connect(&address).unix_mode(0o660), "660"),
    ] {
        let error = builder.build().await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, BuildError::Setting(_)) && text.contains("unix_mode") && text.contains(value),
            "{text}"
        );
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was left there");
}
