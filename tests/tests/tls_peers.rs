//! TLS between a pusher and a puller of the library: working links, and the reports of both sides for every kind of
//! invalid certificate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate::{Event, Events, Pull, Push, Tls, TlsConfig};
use tidegate_tests::certs::{Ca, Identity, expired, not_yet, only_for};

const LONG: Duration = Duration::from_secs(60);
/// The name in the pusher's certificate.
const NAME: &str = "pusher.test";

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

async fn reason(events: &mut Events, of: impl Fn(&Event) -> Option<String>) -> String {
    loop {
        if let Some(reason) = of(&within(events.recv()).await.unwrap()) {
            return reason;
        }
    }
}

/// The reasons that the listening pusher and the connecting puller report.
async fn both_say(server: TlsConfig, client: TlsConfig) -> (String, String) {
    let push =
        Push::builder().bind("tls://127.0.0.1:0").tls(Tls::load(server).unwrap()).build().await.unwrap();
    let mut push_events = push.events();
    let pull = Pull::builder()
        .connect(push.local_endpoints()[0].to_string())
        .tls(Tls::load(client.server_name(NAME)).unwrap())
        .build()
        .await
        .unwrap();
    let mut pull_events = pull.events();
    let client = reason(&mut pull_events, |event| match event {
        Event::ConnectFailed { reason, .. } => Some(reason.clone()),
        Event::Connected { .. } => panic!("a link opened"),
        _ => None,
    })
    .await;
    let server = reason(&mut push_events, |event| match event {
        Event::TlsFailed { reason, .. } => Some(reason.clone()),
        Event::Connected { .. } => panic!("a link opened"),
        _ => None,
    })
    .await;
    (server, client)
}

fn assert_says(what: &str, said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{what}: {part:?} is not in {said:?}");
    }
}

#[tokio::test]
async fn messages_of_all_sizes_are_delivered_and_acked_with_either_connector() {
    // TL-1, TL-2, TL-3, TL-4, FR-2
    let ca = Ca::new("test");
    let tls = |name: &str| {
        let config = ca.sign(&[name, "127.0.0.1"]).config().ca(ca.pem()).verify_clients(true);
        Tls::load(config).unwrap()
    };
    for push_listens in [true, false] {
        let (push, pull);
        if push_listens {
            push = Push::builder().bind("tls://127.0.0.1:0").tls(tls("Push.test")).build().await.unwrap();
            let at = push.local_endpoints()[0].to_string();
            assert!(at.starts_with("tls://127.0.0.1:"), "{at}");
            pull = Pull::builder().connect(at).tls(tls("pull.test")).build().await.unwrap();
        } else {
            pull = Pull::builder()
                .bind("tls://127.0.0.1:0")
                .expect(1)
                .tls(tls("pull.test"))
                .build()
                .await
                .unwrap();
            let at = pull.local_endpoints()[0].to_string();
            push = Push::builder().connect(at).tls(tls("Push.test")).build().await.unwrap();
        }
        let mut events = pull.events();
        let receiving = pull.clone();
        let received = tokio::spawn(async move {
            let mut sizes = Vec::new();
            while let Some(delivery) = receiving.recv().await.unwrap() {
                assert!(delivery.payload().iter().all(|byte| *byte == delivery.payload()[0]));
                assert_eq!((delivery.pipeline(), delivery.peer_names()), ("", &["push.test".to_owned()][..]));
                sizes.push(delivery.payload().len());
                delivery.ack();
            }
            sizes
        });
        let sizes: Vec<usize> = (0..60).map(|n| [1, 64, 1_000, 16_384, 70_000, 1_500_000][n % 6]).collect();
        for (n, size) in sizes.iter().enumerate() {
            within(push.send(vec![n as u8; *size])).await.unwrap();
        }
        let stats = within(push.finish(LONG)).await.unwrap();
        assert_eq!(stats.acked, sizes.len() as u64);
        assert_eq!(within(received).await.unwrap(), sizes);
        let names = loop {
            if let Event::Connected { peer, .. } = within(events.recv()).await.unwrap() {
                break (peer.names.clone(), peer.to_string());
            }
        };
        assert_eq!(names.0, ["push.test"], "in lower case, and without the common name");
        assert_says("the peer", &names.1, &["(certificate for push.test)"]);
    }
}

#[tokio::test]
async fn a_wrong_certificate_of_the_server_is_named_by_both_sides() {
    // TL-2
    let (ca, other) = (Ca::new("test"), Ca::new("other"));
    let impostor = Ca::new("test");
    for (what, identity, client_says, server_says) in [
        (
            "expired",
            ca.sign_with(&[NAME], expired),
            &["the server's certificate for pusher.test has expired", "valid until 2020-01-02 00:00:00 UTC"]
                [..],
            "the client reports that our certificate has expired",
        ),
        (
            "not yet valid",
            ca.sign_with(&[NAME], not_yet),
            &["is not valid yet: it becomes valid at 2999-01-02"],
            "or is not valid yet",
        ),
        (
            "another name",
            ca.sign(&["elsewhere.test"]),
            &["the server's certificate is for elsewhere.test, not for \"pusher.test\""],
            "it is for another name, or damaged",
        ),
        ("no name", ca.sign(&[]), &["is without a name, not for \"pusher.test\""], "for another name"),
        (
            "unknown CA",
            other.sign(&[NAME]),
            &["for pusher.test is signed by an unknown CA"],
            "does not trust the CA of our certificate",
        ),
        ("self-signed", Identity::self_signed(&[NAME]), &["is self-signed"], "does not trust the CA"),
        (
            "a CA of the same name",
            impostor.sign(&[NAME]),
            &["another CA of the same name"],
            "ended the TLS handshake",
        ),
        (
            "made for clients",
            ca.sign_with(&[NAME], only_for(true)),
            &["issued for another purpose", "that of a server"],
            "was issued for another purpose",
        ),
        (
            "a CA's",
            ca.sign_with(&[NAME], |params| {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }),
            &["is a CA certificate"],
            "does not accept our certificate",
        ),
    ] {
        let (server, client) = both_say(identity.config(), TlsConfig::new().ca(ca.pem())).await;
        assert_says(what, &client, client_says);
        assert_says(what, &server, &[server_says]);
    }
}

#[tokio::test]
async fn a_wrong_certificate_of_the_client_is_named_by_both_sides() {
    // TL-4
    let (ca, other) = (Ca::new("test"), Ca::new("other"));
    let trusting = || TlsConfig::new().ca(ca.pem());
    for (what, client, server_says, client_says) in [
        (
            "none",
            trusting(),
            "the client presented no certificate, but one is required",
            "requires a client certificate",
        ),
        (
            "expired",
            ca.sign_with(&["worker.test"], expired).config().ca(ca.pem()),
            "the client's certificate for worker.test has expired: it was valid until 2020-01-02",
            "the server reports that our certificate has expired",
        ),
        (
            "not yet valid",
            ca.sign_with(&["worker.test"], not_yet).config().ca(ca.pem()),
            "is not valid yet: it becomes valid at 2999-01-02",
            "or is not valid yet",
        ),
        (
            "not trusted",
            other.sign(&["worker.test"]).config().ca(ca.pem()),
            "the client's certificate for worker.test is signed by an unknown CA",
            "the server does not trust the CA of our certificate",
        ),
        (
            "self-signed",
            Identity::self_signed(&["worker.test"]).config().ca(ca.pem()),
            "is self-signed",
            "does not trust the CA",
        ),
        (
            "made for servers",
            ca.sign_with(&["worker.test"], only_for(false)).config().ca(ca.pem()),
            "its extended key usage does not include that of a client",
            "was issued for another purpose",
        ),
    ] {
        let server = ca.sign(&[NAME]).config().ca(ca.pem()).verify_clients(true);
        let (server, client) = both_say(server, client).await;
        assert_says(what, &server, &[server_says]);
        assert_says(what, &client, &[client_says]);
    }
}

#[tokio::test]
async fn an_address_is_a_name_too_and_the_host_of_the_endpoint_counts_by_default() {
    // TL-2
    let ca = Ca::new("test");
    let push = Push::builder()
        .bind("tls://127.0.0.1:0")
        .tls(Tls::load(ca.sign(&["127.0.0.1", "::1"]).config()).unwrap())
        .build()
        .await
        .unwrap();
    let at = push.local_endpoints()[0].to_string();
    let tls = Tls::load(TlsConfig::new().ca(ca.pem())).unwrap();
    let pull = Pull::builder().connect(&at).tls(tls.clone()).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    let port = at.rsplit(':').next().unwrap();
    let pull = Pull::builder().connect(format!("tls://localhost:{port}")).tls(tls).build().await.unwrap();
    let mut events = pull.events();
    let said = reason(&mut events, |event| match event {
        Event::ConnectFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    })
    .await;
    assert_says("localhost", &said, &["not for \"localhost\""]);
}

#[tokio::test]
async fn without_settings_a_connector_trusts_the_cas_of_the_system_and_not_ours() {
    // TL-2
    let ca = Ca::new("test");
    let push = Push::builder()
        .bind("tls://127.0.0.1:0")
        .tls(Tls::load(ca.sign(&["127.0.0.1"]).config()).unwrap())
        .build()
        .await
        .unwrap();
    match Pull::builder().connect(push.local_endpoints()[0].to_string()).build().await {
        Ok(pull) => {
            let mut events = pull.events();
            let said = reason(&mut events, |event| match event {
                Event::ConnectFailed { reason, .. } => Some(reason.clone()),
                _ => None,
            })
            .await;
            assert_says("the system's CAs", &said, &["is signed by an unknown CA"]);
        }
        // This machine has no CA certificates.
        Err(error) => assert_says("no CAs", &error.to_string(), &["tls://127.0.0.1", "no CA certificates"]),
    }
}
