use super::*;

fn reader(bytes: &[u8]) -> FrameReader {
    let mut reader = FrameReader::new();
    reader.buffer().extend_from_slice(bytes);
    reader
}

fn framed(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&PREFACE[..], &length.to_be_bytes(), bytes].concat()
}

#[test]
fn fr_1_a_stream_with_another_beginning_is_refused_at_once() {
    // FR-1
    assert_eq!(reader(b"GET").next_frame().unwrap_err().code, Code::NotTidegate);
    assert_eq!(reader(&PREFACE[..7]).next_frame(), Ok(None));
}

#[test]
fn fr_2_a_length_of_0_is_refused() {
    // FR-2
    assert_eq!(reader(&framed(0, b"")).next_frame().unwrap_err().code, Code::Malformed);
}

#[test]
fn fr_3_a_length_over_its_limit_is_refused_before_the_frame_arrives() {
    // FR-3
    assert_eq!(reader(&framed(16_384, b"\x0a")).next_frame(), Ok(None));
    assert_eq!(reader(&framed(16_385, b"")).next_frame().unwrap_err().code, Code::TooLarge);
    let mut open = reader(&framed(300_000, b"\x12"));
    open.buf.advance(8);
    open.open(299_999);
    assert_eq!(open.next_frame().unwrap_err().code, Code::TooLarge);
    open.open(300_000);
    assert_eq!(open.next_frame(), Ok(None));
    assert!(open.buffer().capacity() <= 300_000, "no more than what arrived plus 262,144");
    let mut control = reader(&framed(65_537, b"\x1a"));
    control.buf.advance(8);
    control.open(300_000);
    assert_eq!(control.next_frame().unwrap_err().code, Code::TooLarge);
}

#[test]
fn lm_5_a_small_frame_of_messages_does_not_keep_a_large_buffer() {
    // LM-5
    let mut reader = reader(&PREFACE);
    (reader.read_size, reader.buf) = (MAX_READ, BytesMut::new());
    reader.open(1 << 20);
    let mut put = |length: usize, key: u8| {
        let at = reader.buffer().as_ptr();
        let buffer = reader.buffer();
        buffer.extend_from_slice(&(length as u32).to_be_bytes());
        buffer.extend_from_slice(&[key]);
        buffer.resize(4 + length, 0);
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(frame.len(), length);
        let there = at as usize..at as usize + MAX_READ;
        there.contains(&(frame.as_ptr() as usize))
    };
    assert!(!put(100, 0x12), "a copy");
    assert!(put(100, 0x1a), "an Ack is not kept");
    assert!(put(40_000, 0x12), "not copied");
}

/// Reads `count` frames of `length` bytes, in reads as large as the buffer admits.
fn read_frames(reader: &mut FrameReader, length: usize, count: usize, mut done: impl FnMut(Bytes)) {
    let stream = [&(length as u32).to_be_bytes()[..], &vec![0x12; length]].concat().repeat(count);
    let mut left = &stream[..];
    while !left.is_empty() {
        let buffer = reader.buffer();
        let part = left.len().min(buffer.capacity() - buffer.len()).min(MAX_SPARE);
        assert!(part > 0, "there is room to read into");
        buffer.extend_from_slice(&left[..part]);
        left = &left[part..];
        reader.filled(part);
        while let Some(frame) = reader.next_frame().unwrap() {
            assert_eq!(frame.len(), length);
            done(frame);
        }
    }
}

fn busy() -> FrameReader {
    let mut reader = reader(&PREFACE);
    assert_eq!(reader.next_frame(), Ok(None));
    reader.open(1 << 24);
    reader
}

#[test]
fn a_spent_buffer_is_read_into_again_when_its_frames_are_no_longer_held() {
    let (mut reader, mut held) = (busy(), Vec::new());
    read_frames(&mut reader, 65_600, 20, |frame| held.push(frame));
    assert!(reader.spent.iter_mut().all(|(buf, _)| !buf.try_reclaim(65_604)), "their frames are held");
    assert!(held.iter().all(|frame| frame.iter().all(|byte| *byte == 0x12)), "held frames do not change");
    held.clear();
    let (first, _) = reader.spent.front_mut().unwrap();
    assert!(first.try_reclaim(65_604));
    // The reader owns this memory, so the allocator cannot return it.
    let place = first.as_ptr();
    assert_eq!(reader.buffer().as_ptr(), place);
}

#[test]
fn fr_3_a_reader_keeps_few_buffers_and_none_when_it_is_idle() {
    // FR-3
    let mut reader = busy();
    for length in [10, 5_000, 40_000, 65_600, 140_000, 300_000, 3_000_000, 70_000] {
        read_frames(&mut reader, length, 30, drop);
        let spent: usize = reader.spent.iter().map(|(_, room)| room).sum();
        assert!(spent <= MAX_SPENT_BYTES && reader.spent.len() <= MAX_SPENT, "{length}: {spent}");
    }
    let mut held = Vec::new();
    read_frames(&mut reader, 65_600, 30, |frame| held.push(frame));
    assert!(!reader.spent.is_empty());
    reader.buffer().extend_from_slice(&[0]);
    reader.release_memory();
    assert!(
        reader.spent.is_empty() && reader.progress().partial == 1,
        "a link that stops in a frame keeps that"
    );
    reader.buf.clear();
    while reader.read_size > MIN_READ {
        reader.filled(1);
    }
    assert!(reader.spent.is_empty(), "a slow link keeps none");
    reader.release_memory();
    assert_eq!(reader.buf.capacity(), 0, "an idle link keeps no buffer");
}

#[test]
fn a_read_that_fills_the_buffer_does_not_look_like_a_slow_link() {
    let mut reader = busy();
    read_frames(&mut reader, 65_600, 20, drop);
    let before = (reader.read_size, reader.spent.len());
    assert!(before.0 > MIN_READ && before.1 > 0);
    let frame = [&65_600_u32.to_be_bytes()[..], &[0x12; 65_600]].concat();
    let (most, last) = frame.split_at(frame.len() - 100);
    reader.buffer().extend_from_slice(most);
    reader.filled(most.len());
    let buffer = reader.buffer();
    assert_eq!(buffer.capacity() - buffer.len(), 100, "the buffer ends with the frame");
    buffer.extend_from_slice(last);
    reader.filled(100);
    assert_eq!((reader.read_size, reader.spent.len()), before);
    assert!(reader.next_frame().unwrap().is_some());
}

#[test]
fn a_large_frame_begins_a_buffer_after_one_of_the_same_size() {
    let mut reader = busy();
    read_frames(&mut reader, 100_000, 3, drop);
    let buffer = reader.buffer();
    assert!(buffer.is_empty() && (100_004..110_000).contains(&buffer.capacity()), "{}", buffer.capacity());
}

#[test]
fn fr_3_nothing_is_kept_of_a_stream_after_a_framing_error() {
    // FR-3
    let mut reader = reader(&framed(u32::MAX, b""));
    assert!(reader.next_frame().is_err());
    reader.discard_all();
    for _ in 0..100 {
        reader.buffer().extend_from_slice(&[0x12; 100_000]);
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.buf.is_empty() && reader.buf.capacity() < 2 * MAX_READ);
    }
}

#[test]
fn lm_4_a_skipped_frame_is_dropped_and_the_next_one_is_read() {
    // LM-4
    let mut reader = reader(&framed(100_000, b"\x12")[PREFACE.len()..]);
    reader.open(1 << 20);
    reader.buffer().extend_from_slice(&[0; 50_000]);
    assert_eq!(reader.next_frame(), Ok(None));
    reader.discard_frame();
    assert_eq!(reader.progress(), FrameProgress { frames: 1, partial: 0 });
    reader.buffer().extend_from_slice(&[0; 40_000]);
    assert_eq!(reader.next_frame(), Ok(None));
    assert!(reader.buf.is_empty());
    reader.buffer().extend_from_slice(&[0; 9_999]);
    reader.buffer().extend_from_slice(&[0, 0, 0, 1, 0x1a]);
    assert_eq!(reader.next_frame(), Ok(Some(Bytes::from_static(b"\x1a"))));
    reader.release_memory();
    assert_eq!(reader.buf.capacity(), 0, "an idle link keeps no buffer");
}

#[test]
fn frames_are_complete_however_the_stream_is_split() {
    let mut stream = framed(3, b"abc");
    stream.extend_from_slice(&[0, 0, 0, 2, b'd', b'e']);
    let mut reader = FrameReader::new();
    let mut out = Vec::new();
    for byte in stream {
        reader.buffer().extend_from_slice(&[byte]);
        while let Some(frame) = reader.next_frame().unwrap() {
            reader.open(1 << 20);
            out.push(frame);
        }
    }
    assert_eq!(out, ["abc", "de"]);
    assert_eq!(reader.progress(), FrameProgress { frames: 2, partial: 0 });
}
