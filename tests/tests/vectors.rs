//! The golden frames of `tests/vectors`: they are what the generator makes, the generated code and the hand-made path
//! read the valid ones alike, and the real handshake and machines answer the bad ones with the `Close` that is stated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use tidegate_proto::{
    Code, InstanceId, KeyMaker, LinkId, Machine, Message, Peer, PollBudget, Puller, PullerSettings, Pusher,
    PusherSettings, Resume, Role, Time, Verdict, Violation, Window,
    handshake::{self, Local},
    wire::{self, Body, FrameReader, PREFACE, v1},
};
use tidegate_testkit::{
    frame,
    frames::{as_generated, sent},
};
use tidegate_tests::vectors::{Bad, Prelude, Stage, bad, describe, files, run::run, valid};

const NOW: Time = Time(1_000_000);
/// The times of the vectors are for a machine that has nothing else to do.
const PATIENCE: u32 = 6;
/// Vectors that run at the same time.
const AT_ONCE: usize = 8;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The paths of all files below `directory` but the README, relative to `root`.
fn committed(directory: &Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            committed(&path, all);
        } else if !path.ends_with("README.md") {
            all.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn the_committed_files_are_what_the_generator_makes() {
    let files = files();
    let mut here = BTreeSet::new();
    committed(&root(), &mut here);
    if std::env::var_os("TIDEGATE_UPDATE_VECTORS").is_some_and(|value| value == "1") {
        for gone in here.iter().filter(|file| !files.contains_key(*file)) {
            fs::remove_file(root().join(gone)).unwrap();
        }
        for (file, content) in &files {
            let file = root().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        here.clear();
        committed(&root(), &mut here);
    }
    assert_eq!(here, files.keys().cloned().collect(), "set TIDEGATE_UPDATE_VECTORS=1 to rewrite");
    for (file, content) in &files {
        assert_eq!(
            &fs::read(root().join(file)).unwrap(),
            content,
            "{file}: set TIDEGATE_UPDATE_VECTORS=1 to rewrite"
        );
    }
}

fn manifest() -> Vec<Value> {
    let manifest: Value = serde_json::from_slice(&fs::read(root().join("manifest.json")).unwrap()).unwrap();
    manifest["vectors"].as_array().unwrap().clone()
}

#[test]
fn the_manifest_names_every_file_that_is_not_named_by_a_step() {
    let named: BTreeSet<_> = manifest()
        .iter()
        .flat_map(|vector| ["description", "bytes"].map(|field| vector[field].as_str().map(str::to_owned)))
        .flatten()
        .collect();
    let vectors = files().into_keys().filter(|file| {
        file != "manifest.json" && !file.starts_with("frames/") && !file.starts_with("preludes/")
    });
    assert_eq!(named, vectors.collect());
}

/// Runs all vectors of these kinds, a few at a time.
async fn run_all(kinds: &[&str]) {
    let vectors = manifest().into_iter().filter(|vector| kinds.iter().any(|kind| vector["kind"] == *kind));
    let mut waiting: Vec<String> =
        vectors.map(|vector| vector["description"].as_str().unwrap().to_owned()).collect();
    assert!(!waiting.is_empty());
    let (mut running, mut wrong) = (tokio::task::JoinSet::new(), Vec::new());
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < AT_ONCE
            && let Some(vector) = waiting.pop()
        {
            running.spawn(async move { run(&root(), &vector, PATIENCE).await });
        }
        wrong.extend(running.join_next().await.unwrap().unwrap().err());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_run_against_this_implementation() {
    // CR-1, CR-2, CR-5, CR-10, RC-1, RC-2, RC-4, DL-3, DL-7, OC-1, OC-3, OC-5, OC-6, OC-8, OC-9, RD-1, RD-3, RD-5,
    // RD-8, RD-9, HS-9, LV-3, ST-1, ST-2, ST-4, ST-6, ST-7
    run_all(&["sequence"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_answered_as_stated() {
    // HS-1, HS-2, HS-3, HS-4, HS-5, HS-7, HS-9, HS-10, LV-1, GR-1, FR-5
    run_all(&["handshake"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_be_accepted_leaves_the_link_open() {
    // GR-1, LV-4, ER-2, CR-1, CR-2, CR-8, DL-2, DL-5, DL-6, OC-3, OC-7, OC-13, RC-1, RC-2, ST-1, ST-7
    run_all(&["accepted"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bytes_are_refused_over_tcp_too() {
    // ER-1, ST-4
    run_all(&["bad"]).await;
}

#[tokio::test]
async fn a_runner_fails_where_a_peer_does_something_else() {
    // Without this, a runner that checks nothing would pass.
    let directory = tempfile::tempdir().unwrap();
    let absolute = |file: &Value| Value::from(root().join(file.as_str().unwrap()).to_str().unwrap());
    let good: Value =
        serde_json::from_slice(&fs::read(root().join("handshakes/pusher-connects.json")).unwrap()).unwrap();
    for (field, value, complaint) in [
        ("version_max", Value::from(1), None),
        ("version_max", Value::from(2), Some("instead of")),
        ("max_message", serde_json::json!({ "at_least": "1001" }), Some("instead of")),
    ] {
        let mut vector = good.clone();
        vector["prelude"] = absolute(&good["prelude"]);
        vector["steps"][0]["send"]["files"][0] = absolute(&good["steps"][0]["send"]["files"][0]);
        vector["steps"][1]["expect"]["events"][0]["hello"][field] = value;
        fs::write(directory.path().join("changed.json"), vector.to_string()).unwrap();
        let result = run(directory.path(), "changed.json", PATIENCE).await;
        match complaint {
            None => result.unwrap(),
            Some(complaint) => assert!(result.unwrap_err().contains(complaint), "{field}"),
        }
    }
}

#[test]
fn valid_frames_are_read_alike_by_both_decoders() {
    // FR-2, FR-4, DL-1, DL-2, DL-3, DL-5, GR-1
    for vector in valid() {
        let name = vector.name;
        let bytes = fs::read(root().join(format!("valid/{name}.bin"))).unwrap();
        let json = fs::read_to_string(root().join(format!("valid/{name}.json"))).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let frame = Bytes::from(bytes).slice(4..);
        let generated = v1::Frame::decode(frame.clone()).unwrap().body;
        let read = wire::decode(frame.clone(), 1_000).unwrap_or_else(|e| panic!("{name}: {e}"));
        let read = as_generated(read);
        assert_eq!(describe(generated.as_ref()), json["frame"], "{name}: the generated code");
        assert_eq!(describe(read.as_ref()), json["frame"], "{name}: the hand-made path");
        let again = v1::Frame { body: generated }.encode_to_vec();
        assert_eq!(again == frame, json["usual_encoding"] == true, "{name}: encoded again");
    }
}

#[test]
fn er_2_an_unknown_code_in_a_frame_is_internal() {
    // ER-2
    let bytes = fs::read(root().join("valid/close-unknown-code.bin")).unwrap();
    let Ok(Body::Close(close)) = wire::decode(Bytes::from(bytes).slice(4..), 1) else { panic!() };
    assert_eq!(Code::from_wire(close.code), Code::Internal);
}

/// Both sides as `tests/vectors/README.md` has them. The pusher connects.
fn local(role: Role) -> Local {
    let pusher = role == Role::Pusher;
    Local {
        role,
        instance: InstanceId(if pusher { [0x11; 16] } else { [0x22; 16] }),
        name: if pusher { "pusher" } else { "puller" }.into(),
        pipeline: "work".into(),
        token: Some("sesame".into()),
        max_message: if pusher { 600 } else { 1_000 },
        heartbeat: Duration::from_secs(2),
        offered: Vec::new(),
        required: Vec::new(),
    }
}

/// What a handshake has told the side with this role of the other one.
fn peer(of: Role, generation: u64) -> Peer {
    let (pusher, puller) = (local(Role::Pusher), local(Role::Puller));
    let greeting = handshake::greet(&pusher, Some(&resume()), generation);
    let (_, mut peer, answer) = handshake::accept(greeting.slice(12..), &[puller]).unwrap();
    keys().identify_connector(&mut peer);
    if of == Role::Puller { peer } else { handshake::confirm(answer.slice(12..), &pusher).unwrap() }
}

fn resume() -> Resume {
    Resume::new([0x33; 16])
}

fn keys() -> KeyMaker {
    KeyMaker::new([0x44; 16])
}

fn puller() -> Puller {
    let window = Window::fixed(4, 1_000);
    let mut settings = PullerSettings::default();
    (settings.window, settings.max_message) = (window, 1_000);
    Puller::new(settings).unwrap()
}

fn pusher() -> Pusher {
    let mut settings = PusherSettings::default();
    settings.max_message = 600;
    Pusher::new(settings, local(Role::Pusher).instance, 1).unwrap()
}

/// A puller, granted 4 messages and 1,000 bytes; deliveries 0 and 1 of 300 bytes have come and are being worked on.
fn puller_after(prelude: Prelude) -> (Box<dyn Machine>, LinkId) {
    let mut puller = puller();
    let link = puller.open(NOW, peer(Role::Puller, 6)).unwrap();
    let [Body::Ack(grant)] = &sent(&mut puller, NOW, link)[..] else { panic!("no grant") };
    assert_eq!((grant.message_limit, grant.byte_limit), (4, 1_000));
    let message = v1::Message { payload: vec![b'm'; 300].into(), ..Default::default() };
    let deliver = v1::Deliver { messages: vec![message; 2], ..Default::default() };
    puller.handle_frame(NOW, link, frame(v1::frame::Body::Deliver(deliver)));
    let taken = [puller.recv().unwrap(), puller.recv().unwrap()];
    match prelude {
        Prelude::Delivered => {}
        Prelude::Recalled => puller.leave(),
        Prelude::Ended => {
            for one in taken {
                puller.settle(&one, &Verdict::Ack);
            }
        }
    }
    let sent = sent(&mut puller, NOW, link);
    match (prelude, &sent[..]) {
        (Prelude::Delivered, []) => {}
        (Prelude::Recalled, [Body::Ack(ack)]) => assert!(ack.leaving),
        (Prelude::Ended, [Body::Ack(ack)]) => {
            assert!(!ack.outcomes.is_empty());
            puller.handle_frame(NOW, link, frame(v1::frame::Body::End(v1::End {})));
            assert!(puller.has_ended(link));
        }
        _ => panic!("{prelude:?}: {sent:?}"),
    }
    (Box::new(puller), link)
}

/// A pusher that was granted 4 messages and 1,000 bytes and has sent deliveries 0 and 1 of 300 bytes.
fn pusher_after(prelude: Prelude) -> (Box<dyn Machine>, LinkId) {
    let mut pusher = pusher();
    let link = pusher.open(NOW, peer(Role::Pusher, 6)).unwrap();
    let grant = v1::Ack { message_limit: 4, byte_limit: 1_000, ..Default::default() };
    pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ack(grant.clone())));
    for _ in 0..2 {
        pusher.send(Message::new(vec![b'm'; 300]), false).unwrap();
    }
    let [Body::Deliver(batch)] = &sent(&mut pusher, NOW, link)[..] else { panic!("no batch") };
    assert_eq!((batch.cursor.next_id(), batch.cursor.len()), (0, 2));
    match prelude {
        Prelude::Delivered => {}
        Prelude::Recalled => {
            let recall = v1::Ack { recall: true, ..grant };
            pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ack(recall)));
            let skip = v1::Skip { next_id: 4, bytes: 400 };
            assert_eq!(sent(&mut pusher, NOW, link), [Body::Skip(skip)]);
        }
        Prelude::Ended => panic!("pushers get no End"),
    }
    (Box::new(pusher), link)
}

fn machine_after(to: Role, prelude: Prelude) -> (Box<dyn Machine>, LinkId) {
    if to == Role::Pusher { pusher_after(prelude) } else { puller_after(prelude) }
}

/// Reads bytes as a driver does, and gives them to an open link; what is written then.
fn shown(to: Role, prelude: Prelude, bytes: &[u8]) -> Vec<Body> {
    let (mut machine, link) = machine_after(to, prelude);
    let mut reader = FrameReader::new();
    reader.open(machine.frame_limit());
    reader.buffer().extend_from_slice(bytes);
    machine.feed(NOW, link, &mut reader, &mut PollBudget::unlimited());
    sent(machine.as_mut(), NOW, link)
}

/// The handshake of the side that receives these bytes first.
fn greeted(vector: &Bad, bytes: &[u8]) -> Result<(), Violation> {
    let mut reader = FrameReader::new();
    reader.buffer().extend_from_slice(bytes);
    let Some(frame) = reader.next_frame()? else { return Ok(()) };
    let own = local(vector.to);
    if vector.acceptor {
        let (_, mut peer, _) = handshake::accept(frame, &[own])?;
        keys().identify_connector(&mut peer);
        // HS-9: this pusher is here already, with generation 5.
        let mut puller = puller();
        puller.open(NOW, self::peer(Role::Puller, 5)).unwrap();
        puller.open(NOW, peer).map(|_| ())
    } else {
        handshake::confirm(frame, &own).map(|_| ()).map_err(|wrong| wrong.expect_err("not a refusal"))
    }
}

fn close_of(vector: &Bad, bytes: &[u8]) -> Option<v1::Close> {
    if let Stage::Open(prelude) = vector.stage {
        let last = shown(vector.to, prelude, bytes).pop();
        return last.and_then(|body| if let Body::Close(close) = body { Some(close) } else { None });
    }
    let violation = greeted(vector, bytes).err()?;
    let refusal = handshake::refusal(&violation, Duration::ZERO);
    assert!(refusal.starts_with(&PREFACE), "HS-2: preface and Close");
    let Ok(Body::Close(close)) = wire::decode(refusal.slice(12..), 0) else { panic!("not a Close") };
    Some(close)
}

#[test]
fn bad_bytes_are_answered_with_the_close_that_is_stated() {
    // FR-1, FR-2, FR-3, FR-4, FR-5, HS-3, HS-4, HS-5, HS-6, HS-7, HS-8, HS-9, HS-10, LV-1, CR-3, DL-1, DL-2, DL-4,
    // DL-5, DL-6, OC-2, OC-10, RC-3, ST-7, ER-1
    let mut wrong = Vec::new();
    for vector in bad() {
        let bytes = fs::read(root().join(format!("bad/{}.bin", vector.name))).unwrap();
        match close_of(&vector, &bytes) {
            Some(close)
                if close.code() == vector.code && close.reason.starts_with(&format!("{}: ", vector.rule)) => {
            }
            other => {
                wrong.push(format!("{}: {} by {}, but {other:?}", vector.name, vector.code, vector.rule));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_surrounds_the_bad_bytes_is_good() {
    // Else the test above would show nothing: the same preludes and handshakes, with good bytes, give no Close.
    for (to, prelude) in [
        (Role::Puller, Prelude::Delivered),
        (Role::Puller, Prelude::Recalled),
        (Role::Puller, Prelude::Ended),
        (Role::Pusher, Prelude::Delivered),
        (Role::Pusher, Prelude::Recalled),
    ] {
        assert_eq!(shown(to, prelude, &[]), [], "{to:?} {prelude:?}");
    }
    for (name, to) in [("hello-connector", Role::Puller), ("hello-acceptor", Role::Pusher)] {
        let frame = fs::read(root().join(format!("valid/{name}.bin"))).unwrap();
        let vector = Bad { to, acceptor: to == Role::Puller, ..bad().remove(0) };
        assert_eq!(greeted(&vector, &[&PREFACE[..], &frame].concat()), Ok(()), "{name}");
    }
    // A batch and a Skip that use the credit up are as legal as the ones beyond it are not (CR-2, RC-1).
    let message = |size| v1::Message { payload: vec![b'm'; size].into(), ..Default::default() };
    let messages = vec![message(399), message(600)];
    let deliver = v1::Deliver { first_id: 2, first_number: 2, messages };
    let deliver = wire::encode(v1::frame::Body::Deliver(deliver));
    assert_eq!(shown(Role::Puller, Prelude::Delivered, &deliver), []);
    let skip = wire::encode(v1::frame::Body::Skip(v1::Skip { next_id: 4, bytes: 400 }));
    assert_eq!(shown(Role::Puller, Prelude::Recalled, &skip), []);
}

#[test]
fn gr_1_frames_of_a_later_version_change_nothing_on_an_open_link() {
    // GR-1
    for (name, answer) in [
        ("later-frame", None),
        ("later-field", Some(Body::Pong(v1::Pong { data: 0x0102 }))),
        ("later-around", None),
    ] {
        let bytes = fs::read(root().join(format!("valid/{name}.bin"))).unwrap();
        for to in [Role::Pusher, Role::Puller] {
            let expected: Vec<_> = answer.clone().into_iter().collect();
            assert_eq!(shown(to, Prelude::Delivered, &bytes), expected, "{name} to {to:?}");
        }
    }
}
