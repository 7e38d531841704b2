//! Names in certificates: which of them count, and what each is compared with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use rcgen::{GeneralSubtree, NameConstraints, SanType};
use tidegate::{Code, ConnectedError, Event, PeerIdentity, Pull, Push, Tls, TlsConfig};
use tidegate_tests::certs::{Ca, Identity};

const LONG: Duration = Duration::from_secs(60);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

/// A certificate with exactly these names, valid or not.
fn named(ca: &Ca, names: Vec<SanType>) -> Identity {
    ca.sign_with(&[], |params| params.subject_alt_names = names)
}

/// A pusher whose pipeline is restricted to these names.
async fn pusher(ca: &Ca, allowed: &[&str]) -> Push {
    let tls = Tls::load(ca.sign(&["127.0.0.1"]).config().ca(ca.pem()).verify_clients(true)).unwrap();
    Push::builder().bind("tls://127.0.0.1:0/p").tls(tls).allow("p", allowed).build().await.unwrap()
}

/// The names that the pusher sees for a worker with this certificate, or `None` if it is refused.
async fn admitted(push: &Push, ca: &Ca, identity: &Identity) -> Option<Vec<String>> {
    let mut events = push.events();
    let tls = Tls::load(identity.config().ca(ca.pem())).unwrap();
    let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).tls(tls).build().await.unwrap();
    match within(pull.connected(1)).await {
        Ok(()) => {}
        Err(ConnectedError::Refused(refusal)) => {
            assert_eq!(refusal.code, Code::NoPipeline);
            return None;
        }
        other => panic!("{other:?}"),
    }
    loop {
        if let Event::Connected { peer, .. } = within(events.recv()).await.unwrap() {
            assert!(!peer.to_string().chars().any(char::is_control));
            return Some(peer.names);
        }
    }
}

#[tokio::test]
async fn a_dns_name_is_not_satisfied_by_a_uri_nor_a_uri_by_a_dns_name() {
    // TL-4, TL-5
    let ca = Ca::new("test");
    let push = pusher(&ca, &["worker-1", "Host.Example.", "spiffe://test/worker-2"]).await;
    for (names, known) in [
        (vec![dns("worker-1")], &["worker-1"][..]),
        (vec![dns("WORKER-1")], &["worker-1"]),
        (vec![dns("host.example")], &["host.example"]),
        (vec![uri("spiffe://test/worker-2")], &["spiffe://test/worker-2"]),
        (vec![uri("worker-1"), dns("worker-1")], &["worker-1"]),
    ] {
        let seen = admitted(&push, &ca, &named(&ca, names)).await.unwrap();
        assert_eq!(seen, known);
    }
    for names in [
        vec![uri("worker-1")],
        vec![uri("WORKER-1")],
        vec![uri("//worker-1")],
        vec![uri("dns:worker-1")],
        vec![uri("host.example"), dns("other")],
        vec![uri("spiffe://test/WORKER-2")],
        vec![uri("spiffe://test/worker-2 ")],
        vec![uri("x:y, worker-1")],
        vec![dns("spiffe.test"), uri("spiffe://test/worker-2/more")],
        vec![SanType::Rfc822Name("worker-1".try_into().unwrap())],
        vec![dns("*.example")],
        vec![],
    ] {
        let identity = named(&ca, names.clone());
        assert_eq!(admitted(&push, &ca, &identity).await, None, "{names:?}");
    }
}

#[tokio::test]
async fn a_uri_does_not_evade_the_dns_name_constraint_of_a_ca() {
    // TL-4, TL-5
    let ca = Ca::new_with("constrained", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("inside.test".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    let push = pusher(&ca, &["worker.inside.test", "worker.outside.test"]).await;
    for (names, known) in [
        (vec![dns("worker.inside.test")], Some("worker.inside.test")),
        (vec![uri("worker.outside.test"), dns("worker.inside.test")], Some("worker.inside.test")),
        (vec![uri("worker.outside.test"), dns("other.inside.test")], None),
        (vec![uri("worker.outside.test")], None),
    ] {
        let seen = admitted(&push, &ca, &named(&ca, names.clone())).await;
        assert_eq!(seen, known.map(|name| vec![name.to_owned()]), "{names:?}");
    }
    // The constraint is in force: TLS itself refuses a DNS name outside.
    let mut events = push.events();
    let tls = Tls::load(named(&ca, vec![dns("worker.outside.test")]).config().ca(ca.pem())).unwrap();
    let at = push.local_endpoints()[0].to_string();
    let _pull = Pull::builder().connect(at).tls(tls).build().await.unwrap();
    loop {
        match within(events.recv()).await.unwrap() {
            Event::TlsFailed { .. } => break,
            Event::Connected { peer, .. } => panic!("{peer}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_can_have_is_an_error_when_the_socket_is_built() {
    // TL-5, LM-1
    let ca = Ca::new("test");
    for (name, says) in [
        ("10.0.0.7", "IP address"),
        ("fd00::7", "IP address"),
        (":7", "no URI"),
        ("worker 1", "neither a DNS name"),
        ("w\u{f6}rker", "xn--"),
        ("", "neither a DNS name"),
        ("spiffe://a b", "no spaces"),
    ] {
        let tls = Tls::load(ca.sign(&["127.0.0.1"]).config().ca(ca.pem()).verify_clients(true)).unwrap();
        let push = Push::builder().bind("tls://127.0.0.1:0/p").tls(tls).allow("p", ["worker-1", name]);
        let error = push.build().await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("\"p\""), "{name}: {error}");
        PeerIdentity::comparable(name).unwrap_err();
    }
    assert_eq!(PeerIdentity::comparable("Worker-1.").unwrap(), "worker-1");
}

#[tokio::test]
async fn a_server_is_recognized_only_by_a_name_of_the_expected_kind() {
    // TL-2
    let ca = Ca::new("test");
    for (names, expected, right) in [
        (vec![dns("pusher.test")], "pusher.test", true),
        (vec![dns("pusher.test")], "PUSHER.test.", true),
        (vec![dns("*.pushers.test")], "a.pushers.test", true),
        (vec![dns("*.pushers.test")], "a.b.pushers.test", false),
        (vec![uri("pusher.test")], "pusher.test", false),
        (vec![uri("dns:pusher.test")], "pusher.test", false),
        (vec![ip("10.0.0.7")], "10.0.0.7", true),
        (vec![dns("10.0.0.7")], "10.0.0.7", false),
        (vec![uri("10.0.0.7")], "10.0.0.7", false),
        (vec![ip("10.0.0.7")], "pusher.test", false),
    ] {
        let tls = Tls::load(named(&ca, names.clone()).config()).unwrap();
        let push = Push::builder().bind("tls://127.0.0.1:0").tls(tls).build().await.unwrap();
        let client = Tls::load(TlsConfig::new().ca(ca.pem()).server_name(expected)).unwrap();
        let at = push.local_endpoints()[0].to_string();
        let pull = Pull::builder().connect(at).tls(client).build().await.unwrap();
        let mut events = pull.events();
        let connected = loop {
            match within(events.recv()).await.unwrap() {
                Event::Connected { .. } => break true,
                Event::ConnectFailed { .. } => break false,
                _ => {}
            }
        };
        assert_eq!(connected, right, "{names:?} for {expected}");
    }
    for name in ["*.test", "spiffe://test/pusher", "pusher test", ""] {
        let error = Tls::load(TlsConfig::new().server_name(name)).unwrap_err().to_string();
        assert!(error.contains("neither a DNS name nor an IP address"), "{name}: {error}");
    }
}
