//! Both sides of the handshake, with any bytes and with mutated valid Hellos. An accepted Hello keeps every rule of
//! SPEC.md §3.

use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::{
    Code, InstanceId, Peer, Resume, Role, Rule, Violation,
    handshake::{self, Local, MAX_FEATURES, MAX_TOKEN},
    wire::{self, Body, MAX_MAX_MESSAGE, MAX_TEXT, PREFACE, v1},
};

use super::Input;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let own = local(&mut input);
    let second = Local { pipeline: "q".into(), token: Some("second".into()), ..own.clone() };
    let frame = match input.below(4) {
        0 => Bytes::copy_from_slice(input.rest()),
        1 => {
            // A valid Hello with some bytes changed.
            let mut bytes =
                handshake::greet(&mirror(&own), Some(&Resume::new([3; 16])), 1).slice(12..).to_vec();
            for _ in 0..input.below(8) {
                let at = usize::from(input.short()) % bytes.len();
                bytes[at] = input.byte();
            }
            bytes.into()
        }
        _ => wire::encode(v1::frame::Body::Hello(hello(&mut input, &own))).slice(4..),
    };
    let locals = [own, second];
    accept(&frame, &locals);
    confirm(&frame, &locals[0]);
}

fn local(input: &mut Input<'_>) -> Local {
    let flags = input.byte();
    let pick = |bit: u8, yes: &str| if flags & bit == 0 { Vec::new() } else { vec![yes.to_owned()] };
    Local {
        role: if flags & 1 == 0 { Role::Pusher } else { Role::Puller },
        instance: InstanceId([7; 16]),
        name: "own".into(),
        pipeline: if flags & 2 == 0 { String::new() } else { "p".into() },
        token: (flags & 4 != 0).then(|| "sesame".into()),
        max_message: if flags & 8 == 0 { 1_000 } else { 1 },
        heartbeat: Duration::from_secs(2),
        offered: pick(16, "zip"),
        required: pick(32, "zip"),
    }
}

/// Settings of a peer that `own` accepts.
fn mirror(own: &Local) -> Local {
    let role = if own.role == Role::Pusher { Role::Puller } else { Role::Pusher };
    Local { role, offered: vec!["zip".into()], required: Vec::new(), ..own.clone() }
}

fn hello(input: &mut Input<'_>, own: &Local) -> v1::Hello {
    let good = mirror(own);
    let odd = |input: &mut Input<'_>| input.byte() >= 0xe0;
    let features = |input: &mut Input<'_>| -> Vec<String> {
        match input.byte() {
            0..=0x7f => vec!["zip".into()],
            0x80..=0xbf => Vec::new(),
            0xc0..=0xdf => vec!["zip".into(), input.text(80)],
            0xe0..=0xef => vec![input.text(80)],
            _ => vec![String::new(); input.below(40)],
        }
    };
    v1::Hello {
        version_min: if odd(input) { input.number() as u32 } else { 1 },
        version_max: if odd(input) { input.number() as u32 } else { 1 },
        role: if odd(input) { input.number() as i32 } else { good.role.into() },
        instance: if odd(input) { vec![1; input.below(40)].into() } else { vec![1; 16].into() },
        name: if odd(input) { "n".repeat(240 + input.below(40)) } else { input.text(20) },
        pipeline: if odd(input) { "p".repeat(input.short() as usize % 300) } else { own.pipeline.clone() },
        token: match input.byte() {
            0..=0x5f => own.token.as_ref().and_then(|tokens| tokens.first().cloned()).unwrap_or_default(),
            0x60..=0x9f => Bytes::new(),
            0xa0..=0xcf => "second".into(),
            0xd0..=0xef => Bytes::copy_from_slice(input.some(8)),
            _ => vec![0; 4_090 + input.below(12)].into(),
        },
        resume: if odd(input) {
            vec![2; input.below(40)].into()
        } else {
            vec![2; 16 * input.below(2)].into()
        },
        generation: input.number(),
        max_message: if odd(input) { input.number() } else { own.max_message },
        heartbeat_ms: if odd(input) { input.number() as u32 } else { 2_000 },
        offered: features(input),
        required: if odd(input) { features(input) } else { Vec::new() },
    }
}

fn generated(frame: &Bytes) -> Option<v1::Hello> {
    match prost::Message::decode(frame.clone()).map(|frame: v1::Frame| frame.body) {
        Ok(Some(v1::frame::Body::Hello(hello))) => Some(hello),
        _ => None,
    }
}

fn accept(frame: &Bytes, locals: &[Local]) {
    match handshake::accept(frame.clone(), locals) {
        Ok((index, peer, answer)) => {
            let hello = generated(frame).expect("only a Hello is accepted");
            let own = &locals[index];
            kept(&hello, own, &peer);
            assert!(hello.version_min <= 1 && hello.version_max >= 1, "{}", Rule::Hs3);
            assert_eq!(hello.pipeline, own.pipeline, "{}", Rule::Hs5);
            assert!(
                own.token.as_ref().is_none_or(|tokens| tokens.first() == Some(&hello.token)),
                "{}",
                Rule::Hs4
            );
            assert_eq!(peer.generation, Some(hello.generation), "{}", Rule::Hs9);
            let resume = <[u8; 16]>::try_from(&hello.resume[..]).ok().map(Resume::new);
            assert!(resume.is_some() || hello.resume.is_empty(), "{}", Rule::Hs9);
            assert_eq!((peer.resume, peer.key), (resume, None), "{}", Rule::Hs9);
            assert!(hello.generation > 0, "{}", Rule::Hs9);
            // The peer accepts the answer, which does not contain the token.
            assert!(answer.starts_with(&PREFACE), "{}", Rule::Hs2);
            let Ok(Body::Hello(answered)) = wire::decode(answer.slice(12..), 0) else {
                panic!("{}", Rule::Hs2)
            };
            assert!(answered.token.is_empty(), "{}", Rule::Hs4);
            assert_eq!((answered.resume.len(), answered.generation), (0, 0), "{}", Rule::Hs9);
            let connector = Local {
                role: Role::try_from(hello.role).unwrap(),
                pipeline: hello.pipeline.clone(),
                max_message: hello.max_message,
                offered: hello.offered.clone(),
                required: hello.required.clone(),
                ..own.clone()
            };
            let peer = handshake::confirm(answer.slice(12..), &connector).expect("both sides agree");
            assert_eq!((peer.role, peer.instance), (own.role, own.instance));
        }
        Err(violation) => refused(frame, &violation),
    }
}

fn confirm(frame: &Bytes, own: &Local) {
    match handshake::confirm(frame.clone(), own) {
        Ok(peer) => {
            let hello = generated(frame).expect("only a Hello is accepted");
            kept(&hello, own, &peer);
            assert_eq!((hello.version_min, hello.version_max), (1, 1), "{}", Rule::Hs3);
            assert!(hello.token.is_empty(), "{}", Rule::Hs4);
            assert_eq!(hello.pipeline, own.pipeline, "{}", Rule::Hs5);
            assert_eq!((peer.generation, peer.resume), (None, None), "{}", Rule::Hs9);
        }
        Err(Ok(_)) => {}
        Err(Err(violation)) => refused(frame, &violation),
    }
}

/// Checks the rules that both sides enforce.
fn kept(hello: &v1::Hello, own: &Local, peer: &Peer) {
    assert_eq!(hello.role, i32::from(mirror(own).role), "{}", Rule::Hs6);
    assert_eq!(peer.role, mirror(own).role, "{}", Rule::Hs6);
    assert_eq!(hello.instance.len(), 16, "{}", Rule::Hs8);
    assert!((1..=MAX_MAX_MESSAGE).contains(&hello.max_message), "{}", Rule::Hs7);
    let (pusher, puller) = match own.role {
        Role::Pusher => (own.max_message, hello.max_message),
        _ => (hello.max_message, own.max_message),
    };
    assert!(pusher <= puller, "{}", Rule::Hs7);
    assert!((100..=60_000).contains(&hello.heartbeat_ms), "{}", Rule::Lv1);
    assert!(hello.name.len() <= MAX_TEXT && hello.pipeline.len() <= MAX_TEXT, "{}", Rule::Hs10);
    assert!(hello.token.len() <= MAX_TOKEN, "{}", Rule::Hs10);
    for list in [&hello.offered, &hello.required] {
        assert!(
            list.len() <= MAX_FEATURES.0 && list.iter().all(|f| f.len() <= MAX_FEATURES.1),
            "{}",
            Rule::Hs10
        );
    }
    assert!(hello.required.iter().all(|feature| own.offered.contains(feature)), "{}", Rule::Hs10);
    assert!(own.required.iter().all(|feature| hello.offered.contains(feature)), "{}", Rule::Hs10);
}

/// A refusal is a Close with a reason within its bounds (HS-2, OC-7). It never contains the token, except where the
/// peer sent the same text in a field that is no secret.
fn refused(frame: &Bytes, violation: &Violation) {
    let refusal = handshake::refusal(violation, Duration::from_millis(5));
    assert!(refusal.starts_with(&PREFACE) && refusal.len() < 1_000, "{}", Rule::Hs2);
    let Ok(Body::Close(close)) = wire::decode(refusal.slice(12..), 0) else { panic!("HS-2: no Close") };
    assert_eq!(close.code(), violation.code);
    assert!(close.reason.len() <= MAX_TEXT, "{}", Rule::Oc7);
    let said = generated(frame).is_some_and(|hello| {
        [&hello.offered[..], &hello.required[..], &[hello.name, hello.pipeline]]
            .concat()
            .concat()
            .contains("sesame")
    });
    assert!(said || !close.reason.contains("sesame"), "HS-4: {close:?}");
    assert_ne!(violation.code, Code::Internal);
}
