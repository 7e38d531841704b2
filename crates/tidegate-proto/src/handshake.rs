//! The handshake: three functions without state, so that an unknown peer takes no memory (HS-2).
//!
//! ```text
//! connector: greet ──────► acceptor: accept ──────► connector: confirm
//! ```

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    link::{Peer, Resume},
    message::InstanceId,
    rule::Rule,
    shown::shown,
    tokens::Tokens,
    v1::{self, Role},
    violation::{Code, Violation},
    wire::{self, Body, MAX_COUNTER, MAX_MAX_MESSAGE, MAX_TEXT, PREFACE, cut_reason},
};

pub use crate::link::HEARTBEAT_RANGE;

/// The version of the protocol that this crate implements (HS-3).
pub const VERSION: u32 = 1;
/// The maximum length of a token, in bytes (HS-10).
pub const MAX_TOKEN: usize = 4_096;
/// The maximum number of features in a list, and the maximum length of a feature's name in bytes (HS-10).
pub const MAX_FEATURES: (usize, usize) = (32, 64);

/// What one side announces in its `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its role.
    pub role: Role,
    /// The instance of its socket (HS-8).
    pub instance: InstanceId,
    /// Its name, for logs and statistics.
    pub name: String,
    /// The pipeline that an acceptor serves, or that a connector requests (HS-5).
    pub pipeline: String,
    /// The token that a connector sends, or the tokens that an acceptor accepts; `None`: no token is sent or required
    /// (HS-4).
    pub token: Option<Tokens>,
    /// The largest message that it sends or accepts, in bytes (HS-7).
    pub max_message: u64,
    /// Its heartbeat interval (LV-1).
    pub heartbeat: Duration,
    /// Features that it supports (HS-10). A frame whose meaning changes needs one (GR-2). Version 1 defines none.
    pub offered: Vec<String>,
    /// Features that the peer must offer (HS-10).
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

/// Makes the first bytes of a connector: preface and `Hello` (HS-1). Without `resume`, the acceptor cannot recognize
/// the connector when it reconnects (HS-9).
#[must_use]
pub fn greet(local: &Local, resume: Option<&Resume>, generation: u64) -> Bytes {
    // HS-4: a token is sent from connector to acceptor only.
    let token = local.token.as_ref().and_then(Tokens::first).cloned().unwrap_or_default();
    let resume = resume.map(|resume| Bytes::copy_from_slice(resume.as_bytes())).unwrap_or_default();
    with_preface(v1::frame::Body::Hello(v1::Hello { token, resume, generation, ..local.hello() }))
}

/// Makes the bytes with which an acceptor refuses a connection: preface and `Close` (HS-2).
#[must_use]
pub fn refusal(violation: &Violation, retry_after: Duration) -> Bytes {
    with_preface(v1::frame::Body::Close(close(violation, retry_after)))
}

/// Makes the `Close` for a violation.
#[must_use]
pub fn close(violation: &Violation, retry_after: Duration) -> v1::Close {
    v1::Close {
        code: violation.code.into(),
        reason: cut_reason(&violation.to_string()).to_owned(),
        retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
    }
}

/// Checks a connector's `Hello` at the acceptor. Returns the index of the matching entry of `locals`, the peer, and the
/// bytes to answer with: preface and `Hello`.
///
/// # Errors
/// The first check that fails, in the order of HS-2.
pub fn accept(frame: Bytes, locals: &[Local]) -> Result<(usize, Peer, Bytes), Violation> {
    accept_where(frame, locals, |_| true)
}

/// Checks a connector's `Hello` as [`accept`] does, for a connector that may use only the entries of `locals` whose
/// index `admits` accepts (TL-5). A pipeline that the connector may not use is refused like an unknown one.
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
        let detail = format!(
            "the connector supports versions {low} to {high}; the acceptor supports {VERSION} to {VERSION}"
        );
        return Err(Violation::new(Code::Version, Rule::Hs3, detail));
    }
    // HS-5: for an unknown pipeline, any token of this port is enough to learn that the pipeline does not exist. A
    // connector without a valid token cannot find out which pipelines exist. All tokens are compared in any case, so
    // that the time does not reveal it either.
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
        return Err(Violation::new(Code::Unauthorized, Rule::Hs4, detail));
    }
    let serves = |(index, local): &(usize, &Local)| local.pipeline == hello.pipeline && admits(*index);
    let mut serving = locals.iter().enumerate().filter(serves).peekable();
    if serving.peek().is_none() {
        let detail = "the pipeline does not exist, or this peer may not use it";
        return Err(Violation::new(Code::NoPipeline, Rule::Hs5, detail));
    }
    let role = hello.role;
    let Some((index, local)) = serving.find(|(_, local)| complements(local.role, role)) else {
        return Err(wrong_role(role));
    };
    let peer = check_hello(hello, local, true)?;
    Ok((index, peer, with_preface(v1::frame::Body::Hello(local.hello()))))
}

/// Reads a first frame that is a `Close` instead of a `Hello`. This is legal, and is not answered (FR-5).
#[must_use]
pub fn early_close(frame: &Bytes) -> Option<v1::Close> {
    match wire::decode(frame.clone(), u64::MAX) {
        Ok(Body::Close(close)) => Some(close),
        _ => None,
    }
}

/// Checks the acceptor's answer at the connector.
///
/// # Errors
/// `Err(Ok(close))` if the acceptor refuses the connector; `Err(Err(violation))` if the answer breaks a rule.
pub fn confirm(frame: Bytes, local: &Local) -> Result<Peer, Result<v1::Close, Violation>> {
    if let Ok(Body::Close(close)) = wire::decode(frame.clone(), u64::MAX) {
        return Err(Ok(close));
    }
    let hello = read(frame).map_err(Err)?;
    let (low, high) = (hello.version_min, hello.version_max);
    if low != high || low != VERSION {
        let detail = format!(
            "the acceptor selected versions {low} to {high}; the connector supports {VERSION} to {VERSION}"
        );
        return Err(Err(Violation::new(Code::Version, Rule::Hs3, detail)));
    }
    if hello.pipeline != local.pipeline {
        let detail = "the acceptor's Hello has another pipeline than the requested one";
        return Err(Err(Violation::new(Code::NoPipeline, Rule::Hs5, detail)));
    }
    if !complements(local.role, hello.role) {
        return Err(Err(wrong_role(hello.role)));
    }
    check_hello(hello, local, false).map_err(Err)
}

fn complements(own: Role, peer: i32) -> bool {
    matches!((own, Role::try_from(peer)), (Role::Pusher, Ok(Role::Puller)) | (Role::Puller, Ok(Role::Pusher)))
}

fn wrong_role(peer: i32) -> Violation {
    let detail = match Role::try_from(peer) {
        Ok(Role::Pusher) => "both sides are pushers; a pusher needs a puller",
        Ok(Role::Puller) => "both sides are pullers; a puller needs a pusher",
        _ => "the role is neither pusher nor puller",
    };
    Violation::new(Code::Role, Rule::Hs6, detail)
}

/// Whether `local` requires no token, or `given` is one of its tokens (HS-4).
fn token_matches(local: &Local, given: &[u8]) -> bool {
    local.token.as_ref().is_none_or(|tokens| tokens.accept(given))
}

fn read(frame: Bytes) -> Result<v1::Hello, Violation> {
    let hello = match wire::decode(frame, u64::MAX) {
        Ok(Body::Hello(hello)) => hello,
        Ok(_) => return Err(Violation::unexpected("the first frame is not a Hello")),
        Err(violation) => return Err(Violation { rule: Rule::Fr4, code: Code::Malformed, ..violation }),
    };
    let (max_features, max_name) = MAX_FEATURES;
    for (what, length, unit, limit) in [
        ("name", hello.name.len(), "bytes", MAX_TEXT),
        ("pipeline", hello.pipeline.len(), "bytes", MAX_TEXT),
        ("token", hello.token.len(), "bytes", MAX_TOKEN),
        ("list of offered features", hello.offered.len(), "names", max_features),
        ("list of required features", hello.required.len(), "names", max_features),
    ] {
        if length > limit {
            let detail = format!("the {what} has {length} {unit}; the maximum is {limit}");
            return Err(Violation::new(Code::Malformed, Rule::Hs10, detail));
        }
    }
    let lengths = hello.offered.iter().chain(&hello.required).map(String::len);
    if let Some(length) = lengths.max().filter(|length| *length > max_name) {
        let detail = format!("the name of a feature has {length} bytes; the maximum is {max_name}");
        return Err(Violation::new(Code::Malformed, Rule::Hs10, detail));
    }
    Ok(hello)
}

/// Makes the checks of HS-2 that follow the role, in their order.
fn check_hello(hello: v1::Hello, local: &Local, from_connector: bool) -> Result<Peer, Violation> {
    let Ok(instance) = <[u8; 16]>::try_from(&hello.instance[..]) else {
        let detail = format!("instance has {} bytes; it must have 16", hello.instance.len());
        return Err(Violation::new(Code::Malformed, Rule::Hs8, detail));
    };
    let role = if local.role == Role::Pusher { Role::Puller } else { Role::Pusher };
    let theirs = hello.max_message;
    if !(1..=MAX_MAX_MESSAGE).contains(&theirs) {
        let detail = format!("max_message is {theirs}; it must be between 1 and {MAX_MAX_MESSAGE}");
        return Err(Violation::new(Code::Malformed, Rule::Hs7, detail));
    }
    let (pusher, puller) =
        if role == Role::Pusher { (theirs, local.max_message) } else { (local.max_message, theirs) };
    if pusher > puller {
        let detail =
            format!("the pusher's max_message is {pusher} bytes; the puller accepts at most {puller}");
        return Err(Violation::new(Code::MessageSize, Rule::Hs7, detail));
    }
    let heartbeat = Duration::from_millis(hello.heartbeat_ms.into());
    if heartbeat < HEARTBEAT_RANGE.0 || heartbeat > HEARTBEAT_RANGE.1 {
        let detail = format!("heartbeat_ms is {}; it must be between 100 and 60000", hello.heartbeat_ms);
        return Err(Violation::new(Code::Malformed, Rule::Lv1, detail));
    }
    let missing =
        |wanted: &[String], offered: &[String]| wanted.iter().find(|f| !offered.contains(f)).cloned();
    if let Some(feature) =
        missing(&hello.required, &local.offered).or_else(|| missing(&local.required, &hello.offered))
    {
        let detail =
            format!("the feature {} is required, and the other side does not offer it", shown(&feature));
        return Err(Violation::new(Code::Feature, Rule::Hs10, detail));
    }
    if from_connector && !(1..=MAX_COUNTER).contains(&hello.generation) {
        let detail = format!("generation is {}; it must be between 1 and 2^53 - 1", hello.generation);
        return Err(Violation::new(Code::Malformed, Rule::Hs9, detail));
    }
    let resume = match &hello.resume[..] {
        [] => None,
        // HS-9: a connector ignores the resume of an acceptor.
        _ if !from_connector => None,
        shown => match <[u8; 16]>::try_from(shown) {
            Ok(secret) => Some(Resume::new(secret)),
            Err(_) => {
                let detail = format!("resume has {} bytes; it must be empty or have 16", shown.len());
                return Err(Violation::new(Code::Malformed, Rule::Hs9, detail));
            }
        },
    };
    if !from_connector && !hello.token.is_empty() {
        return Err(Violation::new(Code::Malformed, Rule::Hs4, "the acceptor's Hello contains a token"));
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
        let shown = format!(
            "{secret:?} {hello:?} {hello:#?} {body:?} {frame:?} {decoded:?} {violation:?} {violation}"
        );
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
}
