//! The handshake: three functions without state, so that a stranger costs nothing (HS-2).
//!
//! ```text
//! connector: greet ──────► acceptor: accept ──────► connector: confirm
//! ```

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    identity::Resume,
    message::InstanceId,
    peer::Peer,
    shown::shown,
    tokens::Tokens,
    violation::{Code, Violation},
    wire::{self, Body, MAX_MAX_MESSAGE, MAX_TEXT, PREFACE, cut_reason, v1, v1::Role},
};

/// The version of the protocol that this crate speaks (HS-3).
pub const VERSION: u32 = 1;
/// The longest token, in bytes (HS-10).
pub const MAX_TOKEN: usize = 4_096;
/// The most features in a list, and the longest name of one (HS-10).
pub const MAX_FEATURES: (usize, usize) = (32, 64);
/// The range of the heartbeat interval (LV-1).
pub const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its role.
    pub role: Role,
    /// Its socket.
    pub instance: InstanceId,
    /// For people.
    pub name: String,
    /// The pipeline that it serves or asks for.
    pub pipeline: String,
    /// The connector's token, or those that an acceptor asks for.
    pub token: Option<Tokens>,
    /// See HS-7.
    pub max_message: u64,
    /// It promises to be heard this often.
    pub heartbeat: Duration,
    /// Features that it can use. What would change the meaning of a frame needs one (GR-2); there are none yet.
    pub offered: Vec<String>,
    /// Features that it cannot do without.
    pub required: Vec<String>,
}

impl Local {
    fn hello(&self) -> v1::Hello {
        v1::Hello {
            version_min: VERSION,
            version_max: VERSION,
            role: self.role.into(),
            instance: Bytes::copy_from_slice(&self.instance.0),
            name: cut_reason(&self.name).to_owned(),
            pipeline: self.pipeline.clone(),
            token: Bytes::new(),
            resume: Bytes::new(),
            generation: 0,
            max_message: self.max_message,
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
            offered: self.offered.clone(),
            required: self.required.clone(),
        }
    }
}

fn with_preface(body: v1::frame::Body) -> Bytes {
    let frame = wire::encode(body);
    let mut bytes = BytesMut::with_capacity(PREFACE.len() + frame.len());
    bytes.put_slice(&PREFACE);
    bytes.put_slice(&frame);
    bytes.freeze()
}

/// What a connector sends first: preface and `Hello` (HS-1). Without `resume` it is nobody who could come back (HS-9).
#[must_use]
pub fn greet(local: &Local, resume: Option<&Resume>, generation: u64) -> Bytes {
    let token = local.token.as_ref().and_then(Tokens::first).cloned().unwrap_or_default(); // HS-4: this way only
    let resume = resume.map(|resume| Bytes::copy_from_slice(resume.as_bytes())).unwrap_or_default();
    with_preface(v1::frame::Body::Hello(v1::Hello { token, resume, generation, ..local.hello() }))
}

/// What an acceptor sends to a stranger that it refuses: preface and `Close` (HS-2).
#[must_use]
pub fn refusal(violation: &Violation, retry_after: Duration) -> Bytes {
    with_preface(v1::frame::Body::Close(close(violation, retry_after)))
}

/// A `Close` that tells a violation.
#[must_use]
pub fn close(violation: &Violation, retry_after: Duration) -> v1::Close {
    v1::Close {
        code: violation.code.into(),
        reason: cut_reason(&violation.to_string()).to_owned(),
        retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
    }
}

/// An acceptor's decision: which of `locals` the connector gets, who it is, and the answer to send.
///
/// # Errors
/// The first check that fails, in the order of HS-2.
pub fn accept(frame: Bytes, locals: &[Local]) -> Result<(usize, Peer, Bytes), Violation> {
    accept_where(frame, locals, |_| true)
}

/// As [`accept`], for a connector that may use only those of `locals` for whose index `admits` says so (TL-5). To one that may
/// not, a pipeline looks as if it were not there.
///
/// # Errors
/// The first check that fails, in the order of HS-2.
pub fn accept_where(
    frame: Bytes,
    locals: &[Local],
    admits: impl Fn(usize) -> bool,
) -> Result<(usize, Peer, Bytes), Violation> {
    let hello = read(frame)?;
    let (low, high) = (hello.version_min, hello.version_max);
    if low > VERSION || high < VERSION || low > high {
        let detail = format!("the peer speaks versions {low} to {high}, this side {VERSION} to {VERSION}");
        return Err(Violation::new(Code::Version, "HS-3", detail));
    }
    // The token of the pipeline asked for; for one that is not there, any token of this port: who holds none
    // of them shall not learn which pipelines there are. All are compared always: nor shall the time tell.
    let (mut known, mut trusted_there, mut trusted_here) = (false, false, false);
    for local in locals {
        let (serves, matches) = (local.pipeline == hello.pipeline, token_matches(local, &hello.token));
        known |= serves;
        trusted_there |= serves & matches;
        trusted_here |= matches;
    }
    let trusted = if known { trusted_there } else { trusted_here };
    if !trusted {
        let detail = if hello.token.is_empty() { "a token is required" } else { "the token is wrong" };
        return Err(Violation::new(Code::Unauthorized, "HS-4", detail));
    }
    let serves = |(index, local): &(usize, &Local)| local.pipeline == hello.pipeline && admits(*index);
    let mut serving = locals.iter().enumerate().filter(serves).peekable();
    if serving.peek().is_none() {
        return Err(Violation::new(Code::NoPipeline, "HS-5", "no such pipeline, or not for you"));
    }
    let role = hello.role;
    let Some((index, local)) = serving.find(|(_, local)| complements(local.role, role)) else {
        return Err(wrong_role(role));
    };
    let peer = judge(hello, local, true)?;
    Ok((index, peer, with_preface(v1::frame::Body::Hello(local.hello()))))
}

/// The `Close` of a connector that gives up before its `Hello`: legal, and not answered (FR-5).
#[must_use]
pub fn farewell(frame: &Bytes) -> Option<v1::Close> {
    match wire::decode(frame.clone(), u64::MAX) {
        Ok(Body::Close(close)) => Some(close),
        _ => None,
    }
}

/// A connector's reading of the acceptor's answer.
///
/// # Errors
/// The acceptor's refusal is `Err(Ok(close))`; what is wrong with its answer is `Err(Err(violation))`.
pub fn confirm(frame: Bytes, local: &Local) -> Result<Peer, Result<v1::Close, Violation>> {
    if let Ok(Body::Close(close)) = wire::decode(frame.clone(), u64::MAX) {
        return Err(Ok(close));
    }
    let hello = read(frame).map_err(Err)?;
    let (low, high) = (hello.version_min, hello.version_max);
    if low != high || low != VERSION {
        let detail = format!("the acceptor chose version {low} to {high}, but this side speaks {VERSION}");
        return Err(Err(Violation::new(Code::Version, "HS-3", detail)));
    }
    if hello.pipeline != local.pipeline {
        let detail = "the acceptor answers for another pipeline";
        return Err(Err(Violation::new(Code::NoPipeline, "HS-5", detail)));
    }
    if !complements(local.role, hello.role) {
        return Err(Err(wrong_role(hello.role)));
    }
    judge(hello, local, false).map_err(Err)
}

fn complements(own: Role, peer: i32) -> bool {
    matches!((own, Role::try_from(peer)), (Role::Pusher, Ok(Role::Puller)) | (Role::Puller, Ok(Role::Pusher)))
}

fn wrong_role(peer: i32) -> Violation {
    let detail = match Role::try_from(peer) {
        Ok(Role::Pusher) => "both sides are pushers; a pusher needs a puller",
        Ok(Role::Puller) => "both sides are pullers; a puller needs a pusher",
        _ => "a role must be pusher or puller",
    };
    Violation::new(Code::Role, "HS-6", detail)
}

/// Whether the token is one that `local` asks for, if it asks for any (HS-4).
fn token_matches(local: &Local, given: &[u8]) -> bool {
    local.token.as_ref().is_none_or(|tokens| tokens.accept(given))
}

fn read(frame: Bytes) -> Result<v1::Hello, Violation> {
    let hello = match wire::decode(frame, u64::MAX) {
        Ok(Body::Hello(hello)) => hello,
        Ok(_) => return Err(Violation::unexpected("the first frame is not a Hello")),
        Err(violation) => return Err(Violation { rule: "FR-4", code: Code::Malformed, ..violation }),
    };
    let (most, longest) = MAX_FEATURES;
    for (what, length, limit) in [
        ("name", hello.name.len(), MAX_TEXT),
        ("pipeline", hello.pipeline.len(), MAX_TEXT),
        ("token", hello.token.len(), MAX_TOKEN),
        ("list of offered features", hello.offered.len(), most),
        ("list of required features", hello.required.len(), most),
    ] {
        if length > limit {
            let detail = format!("the {what} has {length}, but at most {limit} are allowed");
            return Err(Violation::new(Code::Malformed, "HS-10", detail));
        }
    }
    if hello.offered.iter().chain(&hello.required).any(|feature| feature.len() > longest) {
        let detail = format!("a feature's name is longer than {longest}");
        return Err(Violation::new(Code::Malformed, "HS-10", detail));
    }
    Ok(hello)
}

/// The checks that follow on role: sizes, features, and the fields' own rules.
fn judge(hello: v1::Hello, local: &Local, from_connector: bool) -> Result<Peer, Violation> {
    let Ok(instance) = <[u8; 16]>::try_from(&hello.instance[..]) else {
        let detail = format!("instance has {} bytes, not 16", hello.instance.len());
        return Err(Violation::new(Code::Malformed, "HS-8", detail));
    };
    let role = if local.role == Role::Pusher { Role::Puller } else { Role::Pusher };
    let theirs = hello.max_message;
    if !(1..=MAX_MAX_MESSAGE).contains(&theirs) {
        let detail = format!("max_message is {theirs}, not 1 to {MAX_MAX_MESSAGE}");
        return Err(Violation::new(Code::Malformed, "HS-7", detail));
    }
    let (pusher, puller) =
        if role == Role::Pusher { (theirs, local.max_message) } else { (local.max_message, theirs) };
    if pusher > puller {
        let detail = format!(
            "the pusher may send messages of {pusher} bytes, but the puller takes at most {puller}: max_message must fit"
        );
        return Err(Violation::new(Code::MessageSize, "HS-7", detail));
    }
    let heartbeat = Duration::from_millis(hello.heartbeat_ms.into());
    if heartbeat < HEARTBEAT.0 || heartbeat > HEARTBEAT.1 {
        let detail = format!("heartbeat_ms is {}, not 100 to 60000", hello.heartbeat_ms);
        return Err(Violation::new(Code::Malformed, "LV-1", detail));
    }
    let missing =
        |wanted: &[String], offered: &[String]| wanted.iter().find(|f| !offered.contains(f)).cloned();
    if let Some(feature) =
        missing(&hello.required, &local.offered).or_else(|| missing(&local.required, &hello.offered))
    {
        let detail = format!("feature {} is required and not offered", shown(&feature));
        return Err(Violation::new(Code::Feature, "HS-10", detail));
    }
    if from_connector && hello.generation == 0 {
        return Err(Violation::new(Code::Malformed, "HS-9", "generation is 0, but begins at 1"));
    }
    let resume = match &hello.resume[..] {
        [] => None,
        // An acceptor has none to show: whatever it sends there says nothing.
        _ if !from_connector => None,
        shown => match <[u8; 16]>::try_from(shown) {
            Ok(secret) => Some(Resume::new(secret)),
            Err(_) => {
                let detail = format!("resume has {} bytes, not 16 or none", shown.len());
                return Err(Violation::new(Code::Malformed, "HS-9", detail));
            }
        },
    };
    if !from_connector && !hello.token.is_empty() {
        return Err(Violation::new(Code::Malformed, "HS-4", "an acceptor's Hello holds a token"));
    }
    Ok(Peer {
        role,
        instance: InstanceId(instance),
        name: hello.name,
        address: String::new(),
        pipeline: hello.pipeline,
        max_message: theirs,
        heartbeat,
        names: Vec::new(),
        generation: from_connector.then_some(hello.generation),
        resume,
        key: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// The connector's Hello, changed by `change`, as the acceptor `to` answers it.
    fn ask(to: &[Local], change: impl FnOnce(&mut v1::Hello)) -> Result<(usize, Peer, Bytes), Violation> {
        let mut hello = v1::Hello { generation: 1, ..local(Role::Puller).hello() };
        change(&mut hello);
        accept(wire::encode(v1::frame::Body::Hello(hello)).slice(4..), to)
    }

    fn code(to: &Local, change: impl FnOnce(&mut v1::Hello)) -> Code {
        ask(std::slice::from_ref(to), change).unwrap_err().code
    }

    #[test]
    fn hs_1_a_good_hello_is_answered_and_both_sides_know_each_other() {
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
    fn hs_9_resume_is_16_bytes_or_none_and_an_acceptor_has_none() {
        // HS-9
        let pusher = local(Role::Pusher);
        for length in [1, 15, 17, 32] {
            let violation =
                ask(std::slice::from_ref(&pusher), |h| h.resume = vec![7; length].into()).unwrap_err();
            assert_eq!((violation.code, violation.rule), (Code::Malformed, "HS-9"), "{length}");
        }
        let (_, peer, answer) = ask(std::slice::from_ref(&pusher), |_| ()).unwrap();
        assert_eq!((peer.resume, peer.generation), (None, Some(1)), "an empty one is legal");
        let (_, peer, _) = ask(std::slice::from_ref(&pusher), |h| h.resume = vec![7; 16].into()).unwrap();
        assert_eq!(peer.resume, Some(Resume::new([7; 16])));
        let Ok(Body::Hello(hello)) = wire::decode(answer.slice(12..), u64::MAX) else { panic!("no Hello") };
        assert_eq!((hello.resume.len(), hello.generation), (0, 0));
        // What an acceptor says there nevertheless is not looked at.
        for length in [0, 1, 16] {
            let odd = v1::Hello { resume: vec![7; length].into(), generation: 3, ..hello.clone() };
            let frame = wire::encode(v1::frame::Body::Hello(odd)).slice(4..);
            let peer = confirm(frame, &local(Role::Puller)).unwrap();
            assert_eq!((peer.resume, peer.generation), (None, None));
        }
    }

    #[test]
    fn hs_9_resume_is_never_shown() {
        // HS-9: in no form that a program could log.
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
    fn hs_2_checks_go_in_order_version_token_pipeline_role_size() {
        // HS-2, HS-3, HS-4, HS-5, HS-6, HS-7: each fault hides the ones after it.
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
    fn hs_4_the_token_travels_to_the_acceptor_only() {
        // HS-4
        let secret = Local { token: Some("secret".into()), ..local(Role::Pusher) };
        for wrong in ["", "secre", "secretx", "Secret"] {
            assert_eq!(code(&secret, |h| h.token = wrong.into()), Code::Unauthorized);
        }
        let (_, _, answer) = ask(std::slice::from_ref(&secret), |h| h.token = "secret".into()).unwrap();
        assert!(!answer.windows(6).any(|w| w == b"secret"));
        let leaked = v1::Hello { token: "x".into(), ..secret.hello() };
        let frame = wire::encode(v1::frame::Body::Hello(leaked)).slice(4..);
        assert_eq!(confirm(frame, &local(Role::Puller)).unwrap_err().unwrap_err().rule, "HS-4");
    }

    #[test]
    fn hs_4_any_of_several_tokens_opens_and_none_is_ever_shown() {
        // HS-4: in no form that a program could log.
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
        let shown = format!(
            "{secret:?} {hello:?} {hello:#?} {body:?} {frame:?} {decoded:?} {violation:?} {violation}"
        );
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("not shown"));
    }

    #[test]
    fn tl_5_a_peer_that_may_not_use_a_pipeline_is_told_what_a_stranger_to_it_is_told() {
        // TL-5, HS-2, HS-5: the token comes first, then the pipeline, and then the role.
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
            "the token first"
        );
        assert_eq!(ask("p", "two", |_| true).unwrap_err().code, Code::Unauthorized);
    }

    #[test]
    fn hs_5_a_stranger_cannot_tell_unknown_pipelines_from_forbidden_ones() {
        // HS-5: "p" asks for a token that the stranger does not have; "q" does not exist.
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
        assert_eq!(farewell(&ping), None);
        assert_eq!(accept(ping, &[local(Role::Pusher)]).unwrap_err().code, Code::Unexpected);
        // But for a Close.
        let close = v1::Close { code: Code::GoingAway.into(), ..v1::Close::default() };
        let frame = wire::encode(v1::frame::Body::Close(close.clone())).slice(4..);
        assert_eq!(farewell(&frame), Some(close));
    }
}
