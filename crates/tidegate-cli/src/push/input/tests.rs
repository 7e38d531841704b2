use std::io::Read as _;
use std::os::fd::AsRawFd as _;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn reading(files: Vec<PathBuf>, limit: usize) -> Reading {
    Reading {
        files,
        framing: Framing::Newline,
        limit,
        oversized: Oversized::Stop,
        crlf: false,
        follow: false,
        quiet: true,
    }
}

async fn records(input: &mut Input) -> anyhow::Result<Option<Vec<Bytes>>> {
    Ok(input.next().await?.map(|read| match read {
        Read::Records(records) => records,
        Read::Oversized(record) => panic!("{record:?}"),
    }))
}

#[test]
fn records_of_different_files_are_not_joined() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    std::fs::write(&a, "1\n2").unwrap();
    std::fs::write(&b, "").unwrap();
    std::fs::write(&c, "3\n").unwrap();
    let mut input = Input::start(reading(vec![a, b, c], 10)).unwrap();
    let all = on_runtime(async {
        let mut all = Vec::new();
        while let Some(batch) = records(&mut input).await.unwrap() {
            all.extend(batch);
        }
        all
    });
    assert_eq!(all, [&b"1"[..], b"2", b"3"]);
}

#[test]
fn many_batches_arrive_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("numbers");
    let numbers: Vec<String> = (0..200_000).map(|n: u32| n.to_string()).collect();
    std::fs::write(&file, numbers.join("\n")).unwrap();
    let mut input = Input::start(reading(vec![file], 10)).unwrap();
    on_runtime(async {
        let mut at = 0;
        while let Some(batch) = records(&mut input).await.unwrap() {
            for record in batch {
                assert_eq!(record, numbers[at].as_bytes());
                at += 1;
            }
        }
        assert_eq!(at, numbers.len());
    });
}

#[test]
fn stopping_returns_what_was_read_with_the_beginning_of_an_incomplete_record() {
    let (reader, mut writer) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let mut input = Input::start(reading(vec![path], 10)).unwrap();
    on_runtime(async {
        writer.write_all(b"1\n2\nhal").unwrap();
        assert_eq!(records(&mut input).await.unwrap().unwrap(), [&b"1"[..], b"2"]);
        writer.write_all(b"f\n3\nx").unwrap();
        let rest = input.stop(LONG).await;
        // This depends on whether the thread had read it before the stop.
        match rest.records.len() {
            0 => assert_eq!(rest.incomplete.unwrap().bytes, b"hal"[..]),
            _ => {
                assert_eq!(rest.records, [&b"half"[..], b"3"]);
                assert_eq!(rest.incomplete.unwrap().bytes, b"x"[..]);
            }
        }
        assert!(input.stop(LONG).await.records.is_empty());
    });
}

#[test]
fn a_pipe_in_non_blocking_mode_is_waited_for() {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let mut input = Input::start(reading(vec![path], 10)).unwrap();
    on_runtime(async {
        let mut next = std::pin::pin!(records(&mut input));
        tokio::time::timeout(Duration::from_millis(20), &mut next).await.unwrap_err();
        writer.write_all(b"1\n").unwrap();
        assert_eq!(next.await.unwrap().unwrap(), [&b"1"[..]]);
    });
}

#[test]
fn records_after_one_that_is_too_large_are_returned_or_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "a\nxxxxx\r\nb\r\n").unwrap();
    on_runtime(async {
        let mut input = Input::start(reading(vec![file.clone()], 3)).unwrap();
        assert_eq!(records(&mut input).await.unwrap().unwrap(), [&b"a"[..]]);
        let error = format!("{:#}", input.next().await.unwrap_err());
        assert!(error.contains("record 2 has 6 bytes") && error.contains("--oversized"), "{error}");
        assert_eq!(input.stop(LONG).await.records, [&b"xxxxx\r"[..], b"b\r"]);
        for (oversized, kept) in [(Oversized::Skip, None), (Oversized::DeadLetter, Some(b"xxxxx\r"))] {
            let reading = Reading { oversized, crlf: true, ..reading(vec![file.clone()], 3) };
            let mut input = Input::start(reading).unwrap();
            assert_eq!(records(&mut input).await.unwrap().unwrap(), [&b"a"[..]]);
            let Some(Read::Oversized(record)) = input.next().await.unwrap() else { panic!("the second") };
            assert_eq!((record.record, record.length), (2, 5));
            let bytes = record.kept.map(|mut file| {
                let mut bytes = Vec::new();
                io::Seek::rewind(&mut file).unwrap();
                file.read_to_end(&mut bytes).unwrap();
                bytes
            });
            assert_eq!(bytes.as_deref(), kept.map(|bytes| &bytes[..]));
            assert_eq!(records(&mut input).await.unwrap().unwrap(), [&b"b"[..]]);
            assert!(input.next().await.unwrap().is_none() && input.is_at_end());
        }
    });
}

#[test]
fn an_error_names_its_input_and_comes_after_what_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "ok\ntoo long for this\n").unwrap();
    let missing = dir.path().join("missing");
    let mut input = Input::start(reading(vec![file, missing.clone()], 5)).unwrap();
    on_runtime(async {
        assert_eq!(records(&mut input).await.unwrap().unwrap(), [&b"ok"[..]]);
        let error = format!("{:#}", input.next().await.unwrap_err());
        assert!(error.contains("file") && error.contains("record 2"), "{error}");
        let mut input = Input::start(reading(vec![missing], 5)).unwrap();
        assert!(format!("{:#}", input.next().await.unwrap_err()).contains("missing"));
    });
}
