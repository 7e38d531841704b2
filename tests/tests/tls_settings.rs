//! TLS settings, tokens and access lists: valid and invalid values, and secrets that are never shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::{Code, Event, Pem, Pull, PullBuilder, Push, RecvError, Tls, TlsConfig, Tokens};
use tidegate_tests::certs::{Ca, Identity};

const LONG: Duration = Duration::from_secs(60);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

#[test]
fn every_error_in_a_file_is_reported_with_the_file() {
    let ca = Ca::new("test");
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = ca.sign(&["a"]).write(dir.path(), "a");
    let (other_certificate, other_key) = ca.sign(&["b"]).write(dir.path(), "b");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let text = file("text.pem", "not PEM at all\n");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = file("encrypted.pem", encrypted);
    let odd = file("odd.pem", "-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n");
    let cut = file("cut.pem", &fs::read_to_string(&certificate).unwrap()[..200]);
    let no_base64 = file("bad64.pem", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n");
    let no_x509 = file("x509.pem", "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n");
    let large = file("large.pem", &"x".repeat((4 << 20) + 1));
    let missing = dir.path().join("missing.pem");
    let identity =
        |certificate: &_, key: &_| TlsConfig::new().identity(Pem::file(certificate), Pem::file(key));
    for (config, says) in [
        (identity(&missing, &key), &["TLS certificate", "missing.pem", "cannot be read", "No such file"][..]),
        (identity(&certificate, &missing), &["TLS private key", "missing.pem", "cannot be read"]),
        (identity(&text, &key), &["text.pem", "no PEM at all", "BEGIN CERTIFICATE"]),
        (identity(&key, &key), &["a.key", "no certificate, but other PEM"]),
        (identity(&certificate, &certificate), &["a.crt", "no private key, but other PEM"]),
        (identity(&certificate, &text), &["text.pem", "no PEM at all", "BEGIN PRIVATE KEY"]),
        (identity(&certificate, &encrypted), &["encrypted.pem", "it is encrypted"]),
        (identity(&certificate, &odd), &["odd.pem", "cannot be used", "ECDSA"]),
        (identity(&cut, &key), &["cut.pem", "damaged", "the -----END line is missing"]),
        (identity(&no_base64, &key), &["bad64.pem", "damaged", "base64"]),
        (identity(&no_x509, &key), &["x509.pem", "damaged", "no X.509 certificate"]),
        (identity(&large, &key), &["large.pem", "more than 4194304 bytes"]),
        (identity(&certificate, &other_key), &["b.key", "does not match the certificate in", "a.crt"]),
        (identity(&other_certificate, &key), &["a.key", "does not match", "b.crt"]),
        (TlsConfig::new().ca(Pem::file(&missing)), &["TLS CA certificate", "missing.pem", "cannot be read"]),
        (TlsConfig::new().ca(Pem::file(&text)), &["TLS CA certificate", "text.pem", "no PEM at all"]),
        (TlsConfig::new().ca(Pem::file(&no_x509)), &["x509.pem", "no X.509 certificate"]),
        (TlsConfig::new().ca(Pem::bytes("nothing")), &["the TLS CA certificate holds no PEM"]),
        (TlsConfig::new().server_name("no name"), &["\"no name\"", "neither a DNS name nor an IP address"]),
        (identity(&certificate, &key).verify_clients(true), &["the CA that signs their certificates"]),
        (TlsConfig::new().ca(ca.pem()).verify_clients(true), &["needs a certificate"]),
    ] {
        let error = Tls::load(config).expect_err(says[0]).to_string();
        for part in says {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        assert!(!error.contains("bm9uc2Vuc2U"), "{error}");
    }
    Tls::load(identity(&certificate, &key)).unwrap();
}

#[test]
fn there_is_one_cryptographic_library_in_the_tree() {
    // With two, rustls panics at the first handshake that does not choose one.
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"ring\"") && !lock.contains("aws-lc"), "run `cargo tree -i aws-lc-rs`");
}

#[test]
fn a_directory_is_not_accepted_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tls::load(TlsConfig::new().ca(Pem::file(dir.path()))).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn settings_that_do_not_match_the_endpoints_are_reported_when_the_socket_is_built() {
    // LM-1, TL-4, TL-5
    let ca = Ca::new("test");
    let server = || Tls::load(ca.sign(&["127.0.0.1"]).config()).unwrap();
    let mutual = || Tls::load(ca.sign(&["127.0.0.1"]).config().ca(ca.pem()).verify_clients(true)).unwrap();
    let client = || Tls::load(TlsConfig::new().ca(ca.pem())).unwrap();
    let any = "tls://127.0.0.1:0/p";
    for (builder, says) in [
        (Push::builder().bind(any), "needs a certificate and its key"),
        (Push::builder().bind(any).tls(client()), "needs a certificate and its key"),
        (Push::builder().connect("tls://not a name/p").tls(client()), "neither a DNS name"),
        (Push::builder().require_tls(true).bind("tcp://127.0.0.1:0"), "tcp://127.0.0.1:0 is plain TCP"),
        (Push::builder().require_tls(true).connect("tcp://h:1/p"), "tcp://h:1/p is plain TCP"),
        (
            Push::builder().bind(any).tls(mutual()).allow("q", ["n"]),
            "no endpoint with this pipeline is bound",
        ),
        (Push::builder().bind(any).tls(server()).allow("p", ["n"]), "only if clients are verified"),
        (
            Push::builder().bind(any).bind("mem://tls-settings#p").tls(mutual()).allow("p", ["n"]),
            "names only on tls:// endpoints",
        ),
        (Push::builder().bind(any).tls(server()).token(""), "token is empty"),
    ] {
        let error = builder.build().await.expect_err(says).to_string();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    }
    // Endpoints within the machine need no encryption.
    let _push = Push::builder()
        .require_tls(true)
        .bind("mem://tls-settings")
        .bind(any)
        .tls(server())
        .build()
        .await
        .unwrap();
}

#[tokio::test]
async fn one_address_has_one_certificate() {
    let ca = Ca::new("test");
    let tls = Tls::load(ca.sign(&["127.0.0.1"]).config()).unwrap();
    let push = Push::builder().bind("tls://127.0.0.1:0/a").tls(tls.clone()).build().await.unwrap();
    let at = push.local_endpoints()[0].to_string().replace("/a", "/b");
    let other = Tls::load(ca.sign(&["127.0.0.1"]).config()).unwrap();
    let error = Push::builder().bind(&at).tls(other).build().await.unwrap_err().to_string();
    assert!(error.contains("clones of one Tls"), "{error}");
    Push::builder().bind(&at).tls(tls).build().await.unwrap();
}

async fn outcome(pull: PullBuilder) -> Result<Vec<u8>, (Code, String)> {
    let pull = pull.build().await.unwrap();
    match within(pull.recv()).await {
        Ok(delivery) => {
            let delivery = delivery.unwrap();
            let payload = delivery.payload().to_vec();
            delivery.ack();
            Ok(payload)
        }
        Err(RecvError::Refused(refusal)) => Err((refusal.code, refusal.reason)),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_pipeline_serves_the_peers_on_its_list_and_looks_unknown_to_others() {
    // TL-4, TL-5, HS-2, HS-5
    let ca = Ca::new("test");
    let tls = Tls::load(ca.sign(&["127.0.0.1"]).config().ca(ca.pem()).verify_clients(true)).unwrap();
    let push = Push::builder()
        .bind("tls://127.0.0.1:0/secret")
        .tls(tls.clone())
        .token("t")
        .allow("secret", ["Worker-1.test", "spiffe://test/worker-2"])
        .build()
        .await
        .unwrap();
    let at = |pipeline: &str| push.local_endpoints()[0].to_string().replace("/secret", pipeline);
    let public = Push::builder().bind(at("/public")).tls(tls).token("t").build().await.unwrap();
    let worker = |names: &[&str], pipeline: &str, token: &'static str| {
        let tls = Tls::load(ca.sign(names).config().ca(ca.pem())).unwrap();
        Pull::builder().connect(at(pipeline)).tls(tls).token(token)
    };
    for _ in 0..3 {
        push.send("secret").await.unwrap();
        public.send("public").await.unwrap();
    }
    for names in [&["worker-1.test"][..], &["other", "WORKER-1.TEST"], &["spiffe://test/worker-2"]] {
        assert_eq!(outcome(worker(names, "/secret", "t")).await.unwrap(), b"secret", "{names:?}");
    }
    let unknown = outcome(worker(&["worker-1.test"], "/nowhere", "t")).await.unwrap_err();
    assert_eq!(unknown.0, Code::NoPipeline);
    for names in
        [&["worker-3.test"][..], &[], &["spiffe://test/WORKER-2"], &["*.test"], &["worker-1.test.evil"]]
    {
        assert_eq!(outcome(worker(names, "/secret", "t")).await.unwrap_err(), unknown, "{names:?}");
        assert_eq!(outcome(worker(names, "/public", "t")).await.as_deref(), Ok(&b"public"[..]), "{names:?}");
        public.send("public").await.unwrap();
    }
    // The token is checked first, for peers on the list and for others.
    for names in [&["worker-1.test"][..], &["worker-3.test"]] {
        let refused = outcome(worker(names, "/secret", "wrong")).await.unwrap_err();
        assert_eq!(refused.0, Code::Unauthorized, "{names:?}");
    }
}

#[tokio::test]
async fn the_programs_own_check_sees_names_and_pipeline_and_decides() {
    // TL-5
    let ca = Ca::new("test");
    let tls = Tls::load(ca.sign(&["127.0.0.1"]).config().ca(ca.pem()).verify_clients(true)).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let push = Push::builder()
        .bind("tls://127.0.0.1:0/jobs")
        .tls(tls)
        .authorize(move |peer, pipeline| {
            asked.lock().unwrap().push((peer.names.clone(), pipeline.to_owned()));
            peer.address.starts_with("127.0.0.1:") && peer.names.iter().any(|name| name.ends_with(".inside"))
        })
        .build()
        .await
        .unwrap();
    push.send("m").await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let worker = |names: &[&str]| {
        let tls = Tls::load(ca.sign(names).config().ca(ca.pem())).unwrap();
        Pull::builder().connect(&at).tls(tls)
    };
    assert_eq!(outcome(worker(&["a.outside"])).await.unwrap_err().0, Code::NoPipeline);
    assert_eq!(outcome(worker(&["b.inside"])).await.unwrap(), b"m");
    let of = |name: &str| (vec![name.to_owned()], "jobs".to_owned());
    assert_eq!(*seen.lock().unwrap(), [of("a.outside"), of("b.inside")]);
}

#[tokio::test]
async fn tokens_can_be_changed_while_links_stay() {
    // HS-4
    let push = Push::builder().bind("tcp://127.0.0.1:0").token("old").build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let connect =
        async |token: &'static str| Pull::builder().connect(&at).token(token).build().await.unwrap();
    let first = connect("old").await;
    within(first.connected(1)).await.unwrap();
    assert!(
        push.set_tokens(Tokens::new(Vec::<String>::new())).is_err(),
        "an empty list would refuse every peer"
    );
    push.set_tokens(Tokens::new(["new", "old"])).unwrap();
    for token in ["old", "new"] {
        within(connect(token).await.connected(1)).await.unwrap();
    }
    push.set_tokens("new".into()).unwrap();
    let error = within(connect("old").await.recv()).await.unwrap_err().to_string();
    assert!(error.contains("UNAUTHORIZED") && error.contains("the token is wrong"), "{error}");
    // The connecting side sends the first of its tokens, and a new one at the next attempt.
    let pull = Pull::builder().connect(&at).tokens(Tokens::new(["new", "x"])).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    push.send("m").await.unwrap();
    assert!(first.link_stats().len() == 1, "the existing link stays");
}

#[tokio::test]
async fn no_secret_is_shown_by_anything_that_a_program_could_log() {
    // HS-4
    let ca = Ca::new("test");
    let Identity { certificate, key } = ca.sign(&["127.0.0.1"]);
    let config = TlsConfig::new()
        .identity(Pem::bytes(certificate), Pem::bytes(key.clone()))
        .ca(ca.pem())
        .verify_clients(true);
    let tls = Tls::load(config.clone()).unwrap();
    let token = "hush-hush";
    let pushing = Push::builder().bind("tls://127.0.0.1:0").tls(tls.clone()).token(token);
    let pulling = Pull::builder().tls(tls.clone()).tokens(Tokens::new([token]));
    let mut shown = format!("{config:?} {tls:?} {pushing:#?} {pulling:#?} {:?}", Tokens::from(token));
    let push = pushing.build().await.unwrap();
    let mut events = push.events();
    let at = push.local_endpoints()[0].to_string();
    let pull = pulling.clone().connect(&at).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    let wrong = Pull::builder().connect(&at).tls(tls).token("hush-hush-hush").build().await.unwrap();
    let error = within(wrong.recv()).await.unwrap_err();
    shown += &format!("{push:?} {pull:?} {error} {error:?} {:?} {:?}", push.stats(), push.link_stats());
    loop {
        let event = within(events.recv()).await.unwrap();
        shown += &format!("{event} {event:?}");
        if matches!(event, Event::RefusedPeer { .. }) {
            break;
        }
    }
    let bytes = format!("{:?}", token.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    let secret_line = key.lines().nth(1).unwrap();
    for secret in ["hush", bytes, secret_line] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("not shown") && shown.contains("UNAUTHORIZED"), "{shown}");
}
