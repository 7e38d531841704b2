use super::*;

/// Returns its bytes in reads of at most `step` bytes.
struct Slowly<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Slowly<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let n = self.step.min(self.bytes.len()).min(room.len());
        room[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes = &self.bytes[n..];
        Ok(n)
    }
}

fn read_all(
    bytes: &[u8],
    step: usize,
    framing: Framing,
    limit: usize,
) -> (Vec<Vec<u8>>, Result<(), ReadError>) {
    let mut reader = RecordReader::new(Slowly { bytes, step }, framing, limit);
    let mut records = Vec::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                assert!(!batch.is_empty());
                records.extend(batch.into_iter().map(|r| r.to_vec()));
            }
            Ok(None) => return (records, Ok(())),
            Err(error) => return (records, Err(error)),
        }
    }
}

#[test]
fn lines_are_split_wherever_the_reads_end() {
    for step in [1, 2, 3, 1000] {
        let (records, result) = read_all(b"one\n\ntwo\nlast", step, Framing::Newline, 4);
        assert!(result.is_ok());
        assert_eq!(records, [&b"one"[..], b"", b"two", b"last"], "in steps of {step}");
    }
}

#[test]
fn an_empty_input_has_no_records_and_an_empty_line_is_one() {
    for framing in [Framing::Newline, Framing::Null, Framing::LengthPrefixed] {
        assert!(read_all(b"", 9, framing, 9).0.is_empty());
    }
    assert_eq!(read_all(b"\n", 9, Framing::Newline, 9).0, [b""]);
    assert_eq!(read_all(b"a\n", 9, Framing::Newline, 9).0, [b"a"]);
}

#[test]
fn null_framing_keeps_newlines() {
    assert_eq!(read_all(b"a\nb\0\0c", 2, Framing::Null, 9).0, [&b"a\nb"[..], b"", b"c"]);
}

#[test]
fn what_is_put_can_be_read() {
    let records = [&b"a\n\0b"[..], b"", &[7; 70_000], b"z"];
    let mut bytes = Vec::new();
    for record in records {
        Framing::LengthPrefixed.put(&mut bytes, record).unwrap();
    }
    for step in [1, 5, 65_536] {
        let (read, result) = read_all(&bytes, step, Framing::LengthPrefixed, 70_000);
        assert!(result.is_ok());
        assert_eq!(read, records);
    }
}

#[test]
fn long_lines_are_accepted_up_to_the_limit() {
    let mut bytes = vec![b'x'; 300_000];
    assert_eq!(read_all(&bytes, 1 << 20, Framing::Newline, 300_000).0, [&bytes[..]]);
    bytes.push(b'x');
    let (records, result) = read_all(&bytes, 1 << 20, Framing::Newline, 300_000);
    assert!(records.is_empty());
    assert!(matches!(result, Err(ReadError::TooLarge { record: 1, limit: 300_000, length: 300_001, .. })));
}

#[test]
fn a_line_that_is_too_long_is_reported_after_the_lines_before_it() {
    let (records, result) = read_all(b"a\nb\ntoo long\nc\n", 1000, Framing::Newline, 3);
    assert_eq!(records, [b"a", b"b"]);
    assert!(matches!(result, Err(ReadError::TooLarge { record: 3, limit: 3, length: 8, whole: true })));
    assert!(result.unwrap_err().to_string().contains("--max-message"));
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
    let (records, result) = read_all(b"\0\0\0\x01a\xff\xff\xff\xff", 1000, Framing::LengthPrefixed, 100);
    assert_eq!(records, [b"a"]);
    assert!(matches!(
        result,
        Err(ReadError::TooLarge { record: 2, limit: 100, length: 0xffff_ffff, whole: true })
    ));
}

#[test]
fn an_input_that_ends_within_a_record_is_an_error() {
    let (records, result) = read_all(b"\0\0\0\x01a\0\0\0\x05ab", 4, Framing::LengthPrefixed, 100);
    assert_eq!(records, [b"a"]);
    assert!(matches!(result, Err(ReadError::Truncated { record: 2, got: 2, of: Some(5) })));
    let (_, result) = read_all(b"\0\0", 4, Framing::LengthPrefixed, 100);
    assert!(matches!(result, Err(ReadError::Truncated { record: 1, got: 2, of: None })));
}

#[test]
fn a_framing_carries_payloads_without_its_separator() {
    assert!(Framing::Newline.carries(b"a\0b") && !Framing::Newline.carries(b"a\nb"));
    assert!(Framing::Null.carries(b"a\nb") && !Framing::Null.carries(b"a\0b"));
    assert!(Framing::LengthPrefixed.carries(b"a\n\0"));
}

#[test]
fn a_record_that_is_too_large_can_be_skipped_at_any_length() {
    for (framing, stream, long) in [
        (
            Framing::Newline,
            &b"a\ntoo long\n\nlast is too long"[..],
            &[&b"too long"[..], b"last is too long"][..],
        ),
        (Framing::Null, b"a\0too long\0\0", &[b"too long"]),
        (Framing::LengthPrefixed, b"\0\0\0\x01a\0\0\0\x08too long\0\0\0\0", &[b"too long"]),
    ] {
        for step in [1, 3, 1000] {
            let mut reader = RecordReader::new(Slowly { bytes: stream, step }, framing, 3);
            let (mut records, mut passed) = (Vec::new(), Vec::new());
            loop {
                match reader.next_batch() {
                    Ok(Some(batch)) => records.extend(batch),
                    Ok(None) => break,
                    Err(ReadError::TooLarge { record, .. }) => {
                        assert_eq!(record, (records.len() + passed.len()) as u64 + 1);
                        let (mut length, mut bytes) = (0, Vec::new());
                        let sink = |piece: &[u8]| {
                            bytes.extend_from_slice(piece);
                            Ok(())
                        };
                        reader.pass_over(&mut length, sink).unwrap();
                        assert_eq!(length, bytes.len() as u64);
                        passed.push(bytes);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(records, [&b"a"[..], b""], "{framing:?} in steps of {step}");
            assert_eq!(passed, long, "{framing:?} in steps of {step}");
        }
    }
}

#[test]
fn a_large_record_that_is_truncated_is_skipped_up_to_its_end() {
    let bytes = b"\0\0\0\x09too";
    let mut reader = RecordReader::new(&bytes[..], Framing::LengthPrefixed, 3);
    assert!(matches!(reader.next_batch(), Err(ReadError::TooLarge { length: 9, .. })));
    let mut length = 0;
    let error = reader.pass_over(&mut length, |_| Ok(())).unwrap_err();
    assert!(matches!(error, ReadError::Truncated { record: 1, got: 3, of: Some(9) }), "{error}");
    assert_eq!(length, 3);
}

#[test]
fn skipping_a_record_needs_memory_for_the_limit_and_one_read_only() {
    let mut reader = RecordReader::new(io::repeat(b'x').take(50 << 20), Framing::Newline, 100);
    assert!(matches!(reader.next_batch(), Err(ReadError::TooLarge { record: 1, whole: false, .. })));
    let (mut length, mut largest) = (0, 0);
    let sink = |piece: &[u8]| {
        largest = largest.max(piece.len());
        Ok(())
    };
    reader.pass_over(&mut length, sink).unwrap();
    assert_eq!(length, 50 << 20);
    assert!(largest <= 2 * CHUNK && reader.buffer.capacity() <= 4 * CHUNK);
}

#[test]
fn stopping_returns_complete_records_and_the_beginning_of_an_incomplete_one() {
    let partial = |record, bytes: &'static [u8], of, prefix| {
        Some(Partial { record, bytes: Bytes::from_static(bytes), of, prefix })
    };
    for (framing, stream, records, part) in [
        (Framing::Newline, &b"a\ntoo long\nb\nhal"[..], 2, partial(4, b"hal", None, 0)),
        (Framing::Newline, b"too long\nb\n", 2, None),
        (Framing::Newline, b"too long", 0, partial(1, b"too long", None, 0)),
        (Framing::Null, b"a\0too long\0b\0hal", 2, partial(4, b"hal", None, 0)),
        (Framing::LengthPrefixed, b"\0\0\0\x01a\0\0\0\x05hal", 0, partial(2, b"hal", Some(5), 0)),
        (Framing::LengthPrefixed, b"\0\0\0\x01a\0\0", 0, partial(2, b"", None, 2)),
    ] {
        let mut reader = RecordReader::new(stream, framing, 3);
        let first = reader.next_batch().ok().flatten().map_or(0, |batch| batch.len());
        assert_eq!(first, usize::from(stream.starts_with(b"a") || framing == Framing::LengthPrefixed));
        let (rest, left) = reader.rest();
        assert_eq!((rest.len(), left), (records, part), "{framing:?} {stream:?}");
    }
}

#[test]
fn a_carriage_return_before_the_end_of_a_line_is_dropped_with_crlf() {
    let bytes = b"one\r\n\r\n\rtwo\r\r\nthree\nlast\r";
    for step in [1, 2, 1000] {
        let mut reader = RecordReader::new(Slowly { bytes, step }, Framing::Newline, 5).crlf(true);
        let mut records = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            records.extend(batch);
        }
        assert_eq!(records, [&b"one"[..], b"", b"\rtwo\r", b"three", b"last"], "in steps of {step}");
    }
    let (records, result) = read_all(b"one\r\n", 9, Framing::Newline, 9);
    assert!(result.is_ok());
    assert_eq!(records, [b"one\r"], "without crlf it belongs to the record");
}
