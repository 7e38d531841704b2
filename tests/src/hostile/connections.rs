//! Attacks by the number of connections, and before the handshake is complete.

use tidegate_proto::wire::{
    self, PREFACE,
    v1::{self, frame::Body as Frame},
};

use super::{
    flood::Flood,
    raw::{Raw, resume},
};

pub(super) fn connects(flood: &mut Flood) {
    flood.churn(Flood::connect);
}

pub(super) fn silent(flood: &mut Flood) {
    flood.hold(1_000, Flood::connect, b"");
}

pub(super) fn slow(flood: &mut Flood) {
    // A frame whose length includes all of these bytes and more.
    let begin = [&PREFACE[..], &16_384u32.to_be_bytes(), b"\x0a"].concat();
    flood.hold(
        1_000,
        |flood| {
            let mut raw = flood.connect()?;
            raw.write(&begin).ok()?;
            Some(raw)
        },
        b"\x00",
    );
}

pub(super) fn http(flood: &mut Flood) {
    flood.churn(|flood| {
        let mut raw = flood.connect()?;
        raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        Some(raw)
    });
}

pub(super) fn hellos(flood: &mut Flood) {
    flood.churn(|flood| {
        let mut raw = flood.connect()?;
        let hello = v1::Hello { pipeline: "no such pipeline".to_owned(), ..flood.hello() };
        raw.write(&[&PREFACE[..], &wire::encode(Frame::Hello(hello))].concat()).ok()?;
        Some(raw)
    });
}

pub(super) fn links(flood: &mut Flood) {
    flood.hold(
        2_000,
        |flood| {
            let hello = flood.hello();
            flood.link(hello)
        },
        b"",
    );
}

pub(super) fn come_and_go(flood: &mut Flood) {
    flood.churn(|flood| {
        let hello = flood.hello();
        flood.link(hello)
    });
}

pub(super) fn replace(flood: &mut Flood) {
    let mut held: Option<Raw> = None;
    flood.churn(|flood| {
        let hello = v1::Hello { resume: resume(1), ..flood.hello() };
        let new = flood.link(hello);
        std::mem::replace(&mut held, new)
    });
}
