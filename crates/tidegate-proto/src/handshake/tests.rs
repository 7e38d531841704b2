//! The three steps together.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    link::{Peer, Resume},
    message::InstanceId,
    rule::Rule,
    v1::{self, Role},
    violation::{Code, Violation},
    wire::{self, Body, PREFACE},
};

fn local(role: Role) -> Local {
    Local {
        role,
        instance: InstanceId([role as u8; 16]),
        name: "test".into(),
        pipeline: "p".into(),
        token: None,
        max_message: 1_000,
        heartbeat: Duration::from_secs(2),
        offered: Vec::new(),
        required: Vec::new(),
    }
}

/// The answer of the acceptor `to` to a valid `Hello` that was changed by `change`.
fn ask(to: &[Local], change: impl FnOnce(&mut v1::Hello)) -> Result<(usize, Peer, Bytes), Violation> {
    let mut hello = v1::Hello { generation: 1, ..local(Role::Puller).hello() };
    change(&mut hello);
    accept(wire::encode(v1::frame::Body::Hello(hello)).slice(4..), to)
}

fn code(to: &Local, change: impl FnOnce(&mut v1::Hello)) -> Code {
    ask(std::slice::from_ref(to), change).unwrap_err().code
}

#[test]
fn hs_1_a_valid_hello_is_answered_and_both_sides_identify_each_other() {
    // HS-1, HS-9
    let (pusher, puller) = (local(Role::Pusher), local(Role::Puller));
    let resume = Resume::new([5; 16]);
    let greeting = greet(&puller, Some(&resume), 7);
    assert!(greeting.starts_with(&PREFACE));
    let (index, peer, answer) = accept(greeting.slice(12..), std::slice::from_ref(&pusher)).unwrap();
    assert_eq!((index, peer.role, peer.generation), (0, Role::Puller, Some(7)));
    assert_eq!((peer.resume, peer.key), (Some(resume), None));
    let peer = confirm(answer.slice(12..), &puller).unwrap();
    assert_eq!((peer.role, peer.instance, peer.generation), (Role::Pusher, pusher.instance, None));
    assert_eq!(peer.resume, None);
}

#[test]
fn hs_9_resume_is_empty_or_16_bytes_and_an_acceptor_sends_none() {
    // HS-9
    let pusher = local(Role::Pusher);
    for length in [1, 15, 17, 32] {
        let violation =
            ask(std::slice::from_ref(&pusher), |h| h.resume = vec![7; length].into()).unwrap_err();
        assert_eq!((violation.code, violation.rule), (Code::Malformed, Rule::Hs9), "{length}");
    }
    let (_, peer, answer) = ask(std::slice::from_ref(&pusher), |_| ()).unwrap();
    assert_eq!((peer.resume, peer.generation), (None, Some(1)), "an empty one is legal");
    let (_, peer, _) = ask(std::slice::from_ref(&pusher), |h| h.resume = vec![7; 16].into()).unwrap();
    assert_eq!(peer.resume, Some(Resume::new([7; 16])));
    let Ok(Body::Hello(hello)) = wire::decode(answer.slice(12..), u64::MAX) else { panic!("no Hello") };
    assert_eq!((hello.resume.len(), hello.generation), (0, 0));
    // A connector ignores what an acceptor sends in these fields.
    for length in [0, 1, 16] {
        let odd = v1::Hello { resume: vec![7; length].into(), generation: 3, ..hello.clone() };
        let frame = wire::encode(v1::frame::Body::Hello(odd)).slice(4..);
        let peer = confirm(frame, &local(Role::Puller)).unwrap();
        assert_eq!((peer.resume, peer.generation), (None, None));
    }
}

#[test]
fn hs_9_resume_is_never_shown() {
    // HS-9: not in any text that a program could log.
    let hush = Bytes::from_static(b"hush-hush-hush-h");
    let hello = v1::Hello { resume: hush.clone(), generation: 1, ..local(Role::Puller).hello() };
    let body = v1::frame::Body::Hello(hello.clone());
    let (_, peer, _) = ask(&[local(Role::Pusher)], |h| h.resume = hush).unwrap();
    let shown = format!("{hello:?} {hello:#?} {body:?} {peer:?} {peer:#?}");
    let digits = format!("{:?}", b"hush");
    assert!(!shown.contains("hush") && !shown.contains(digits.trim_matches(['[', ']'])), "{shown}");
    assert!(shown.contains("not shown"));
}

#[test]
fn hs_2_the_order_of_checks_is_version_token_pipeline_role_size() {
    // HS-2, HS-3, HS-4, HS-5, HS-6, HS-7: the first check that fails decides the code.
    let pusher = Local { token: Some("t".into()), max_message: 2_000, ..local(Role::Pusher) };
    let version = |h: &mut v1::Hello| (h.version_min, h.version_max) = (2, 3);
    let pipeline = |h: &mut v1::Hello| h.pipeline = "q".into();
    let role = |h: &mut v1::Hello| h.role = Role::Pusher.into();
    let token = |h: &mut v1::Hello| h.token = "t".into();
    assert_eq!(code(&pusher, |h| (version(h), pipeline(h), role(h)).0), Code::Version);
    assert_eq!(code(&pusher, |h| (pipeline(h), role(h)).0), Code::Unauthorized);
    assert_eq!(code(&pusher, |h| (token(h), pipeline(h), role(h)).0), Code::NoPipeline);
    assert_eq!(code(&pusher, |h| (token(h), role(h)).0), Code::Role);
    let violation = ask(&[pusher], token).unwrap_err();
    assert_eq!(violation.code, Code::MessageSize);
    assert!(violation.detail.contains("2000") && violation.detail.contains("1000"), "{violation}");
}

#[test]
fn hs_4_the_token_is_sent_to_the_acceptor_only() {
    // HS-4
    let secret = Local { token: Some("secret".into()), ..local(Role::Pusher) };
    for wrong in ["", "secre", "secretx", "Secret"] {
        assert_eq!(code(&secret, |h| h.token = wrong.into()), Code::Unauthorized);
    }
    let (_, _, answer) = ask(std::slice::from_ref(&secret), |h| h.token = "secret".into()).unwrap();
    assert!(!answer.windows(6).any(|w| w == b"secret"));
    let leaked = v1::Hello { token: "x".into(), ..secret.hello() };
    let frame = wire::encode(v1::frame::Body::Hello(leaked)).slice(4..);
    assert_eq!(confirm(frame, &local(Role::Puller)).unwrap_err().unwrap_err().rule, Rule::Hs4);
}

#[test]
fn hs_4_each_of_several_tokens_is_accepted_and_none_is_shown() {
    // HS-4: not in any text that a program could log.
    let tokens = Tokens::new(["hush-new", "hush-old"]);
    let secret = Local { token: Some(tokens), ..local(Role::Pusher) };
    for token in ["hush-new", "hush-old"] {
        assert!(ask(std::slice::from_ref(&secret), |h| h.token = token.into()).is_ok());
    }
    let hello = v1::Hello { token: "hush-new".into(), ..secret.hello() };
    let body = v1::frame::Body::Hello(hello.clone());
    let frame = v1::Frame { body: Some(body.clone()) };
    let decoded = wire::decode(wire::encode(body.clone()).slice(4..), u64::MAX).unwrap();
    let violation = ask(std::slice::from_ref(&secret), |h| h.token = "hush-x".into()).unwrap_err();
    let shown =
        format!("{secret:?} {hello:?} {hello:#?} {body:?} {frame:?} {decoded:?} {violation:?} {violation}");
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("not shown"));
}

#[test]
fn tl_5_a_forbidden_pipeline_is_refused_like_an_unknown_one() {
    // TL-5, HS-2, HS-5: the token is checked first, then the pipeline, then the role.
    let of = |pipeline: &str, token: &'static str| Local {
        pipeline: pipeline.into(),
        token: Some(token.into()),
        ..local(Role::Pusher)
    };
    let locals = [of("p", "one"), of("q", "two")];
    let ask = |pipeline: &str, token: &'static str, admits: fn(usize) -> bool| {
        let hello = v1::Hello {
            generation: 1,
            pipeline: pipeline.into(),
            token: token.into(),
            ..local(Role::Puller).hello()
        };
        accept_where(wire::encode(v1::frame::Body::Hello(hello)).slice(4..), &locals, admits)
    };
    assert_eq!(ask("q", "two", |index| index == 1).unwrap().0, 1);
    let forbidden = ask("p", "one", |index| index == 1).unwrap_err();
    assert_eq!(forbidden, ask("none", "one", |index| index == 1).unwrap_err());
    assert_eq!(forbidden.code, Code::NoPipeline);
    assert_eq!(
        ask("p", "two", |index| index == 1).unwrap_err().code,
        Code::Unauthorized,
        "the token is checked first"
    );
    assert_eq!(ask("p", "two", |_| true).unwrap_err().code, Code::Unauthorized);
}

#[test]
fn hs_5_a_peer_without_a_token_cannot_find_out_which_pipelines_exist() {
    // HS-5: "p" requires a token that the peer does not have; "q" does not exist.
    let secret = Local { token: Some("secret".into()), ..local(Role::Pusher) };
    let forbidden = ask(std::slice::from_ref(&secret), |h| h.token = "no".into()).unwrap_err();
    let unknown = |h: &mut v1::Hello| (h.token, h.pipeline) = ("no".into(), "q".into());
    assert_eq!(ask(&[secret], unknown).unwrap_err(), forbidden);
}

#[test]
fn hs_8_fields_outside_their_rules_are_malformed() {
    // HS-7, HS-8, HS-9, HS-10, LV-1
    let pusher = local(Role::Pusher);
    let malformed = |change: fn(&mut v1::Hello)| assert_eq!(code(&pusher, change), Code::Malformed);
    malformed(|h| h.instance = Bytes::from_static(b"short"));
    malformed(|h| h.generation = 0);
    malformed(|h| h.generation = 1 << 53);
    malformed(|h| h.max_message = 0);
    malformed(|h| h.max_message = u64::MAX);
    malformed(|h| h.heartbeat_ms = 99);
    malformed(|h| h.heartbeat_ms = 60_001);
    malformed(|h| h.name = "n".repeat(257));
    malformed(|h| h.pipeline = "n".repeat(257));
    malformed(|h| h.token = vec![0; 4_097].into());
    malformed(|h| h.offered = vec![String::new(); 33]);
    malformed(|h| h.required = vec!["f".repeat(65)]);
}

#[test]
fn hs_10_a_required_feature_must_be_offered_by_the_other_side() {
    // HS-10
    assert_eq!(code(&local(Role::Pusher), |h| h.required = vec!["zip".into()]), Code::Feature);
    let wants = Local { required: vec!["zip".into()], ..local(Role::Pusher) };
    assert_eq!(code(&wants, |_| ()), Code::Feature);
    let has = Local { offered: vec!["zip".into()], ..wants };
    let both = |h: &mut v1::Hello| (h.offered, h.required) = (vec!["zip".into()], vec!["zip".into()]);
    assert!(ask(&[has], both).is_ok());
}

#[test]
fn fr_5_the_first_frame_must_be_hello() {
    // FR-5
    let ping = wire::encode(v1::frame::Body::Ping(v1::Ping { data: 1 })).slice(4..);
    assert_eq!(early_close(&ping), None);
    assert_eq!(accept(ping, &[local(Role::Pusher)]).unwrap_err().code, Code::Unexpected);
    // A Close is the exception.
    let close = v1::Close { code: Code::GoingAway.into(), ..v1::Close::default() };
    let frame = wire::encode(v1::frame::Body::Close(close.clone())).slice(4..);
    assert_eq!(early_close(&frame), Some(close));
}
