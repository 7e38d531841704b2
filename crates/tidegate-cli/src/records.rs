//! Records: how one message is told from the next on stdin, stdout, in files and to workers.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes, BytesMut};

/// How much is read at a time. Records of one read share its memory.
const CHUNK: usize = 64 * 1024;
/// The octets of a length.
const PREFIX: usize = 4;

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A newline ends each record.
    Newline,
    /// A NUL byte ends each record.
    Null,
    /// A length of 4 bytes, big-endian, begins each record.
    LengthPrefixed,
}

impl Framing {
    /// What ends each record, if anything does.
    pub(crate) fn separator(self) -> Option<u8> {
        match self {
            Framing::Newline => Some(b'\n'),
            Framing::Null => Some(0),
            Framing::LengthPrefixed => None,
        }
    }

    /// Whether a reader gets `record` back as it is.
    pub fn carries(self, record: &[u8]) -> bool {
        match self.separator() {
            Some(separator) => memchr::memchr(separator, record).is_none(),
            None => u32::try_from(record.len()).is_ok(),
        }
    }

    /// What comes before and after a record of `length` bytes.
    ///
    /// # Errors
    /// When that is more than a length of 4 bytes can say.
    #[allow(dead_code, reason = "for records that are copied from files")]
    pub(crate) fn around(self, length: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
        match self.separator() {
            Some(separator) => Ok((Vec::new(), vec![separator])),
            None => Ok((self.length(length)?.to_be_bytes().to_vec(), Vec::new())),
        }
    }

    fn length(self, length: u64) -> io::Result<u32> {
        u32::try_from(length).map_err(|_| {
            let what = format!("a record of {length} bytes does not fit --length-prefixed");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }

    /// Appends `record` to `out`.
    ///
    /// # Errors
    /// When the record is longer than a length of 4 bytes can say; `out` is unchanged.
    pub fn put(self, out: &mut Vec<u8>, record: &[u8]) -> io::Result<()> {
        match self.separator() {
            Some(separator) => {
                out.extend_from_slice(record);
                out.push(separator);
            }
            None => {
                let length = self.length(record.len() as u64)?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(record);
            }
        }
        Ok(())
    }
}

/// Why reading stopped before the end of the input. Records are counted from 1.
#[derive(Debug)]
pub enum ReadError {
    /// The operating system said no.
    Io(io::Error),
    /// A record is larger than a message may be.
    TooLarge {
        /// Which one.
        record: u64,
        /// The room for it, in bytes.
        limit: usize,
    },
    /// The input ends within a length-prefixed record.
    Truncated {
        /// Which one.
        record: u64,
        /// How many bytes of it are there.
        got: usize,
        /// How many there should be; `None` if not even its length is whole.
        of: Option<usize>,
    },
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "{error}"),
            ReadError::TooLarge { record, limit } => {
                write!(
                    f,
                    "record {record} is larger than {limit} bytes, the room that --max-message leaves; give a larger one"
                )
            }
            ReadError::Truncated { record, got, of: Some(of) } => {
                write!(
                    f,
                    "the input ends within record {record} (--length-prefixed), after {got} of its {of} bytes"
                )
            }
            ReadError::Truncated { record, got, of: None } => {
                write!(
                    f,
                    "the input ends within the length of record {record} (--length-prefixed), after {got} of its {PREFIX} bytes"
                )
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// Splits what it reads into records, several at a time, without copying them.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: R,
    framing: Framing,
    /// The largest record that is taken, in bytes.
    limit: usize,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no separator.
    searched: usize,
    /// Records given out so far.
    records: u64,
    ended: bool,
}

impl<R: Read> RecordReader<R> {
    /// Reads records of at most `limit` bytes from `input`.
    pub fn new(input: R, framing: Framing, limit: usize) -> Self {
        Self { input, framing, limit, buffer: BytesMut::new(), searched: 0, records: 0, ended: false }
    }

    /// The records that are complete after one more read, at least one; `None` at the end of the input.
    ///
    /// # Errors
    /// See [`ReadError`]. Records before the faulty one have been given out by then.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Bytes>>, ReadError> {
        let mut batch = Vec::new();
        loop {
            let faulty = self.split(&mut batch);
            if !batch.is_empty() {
                // A fault comes up again with the next call, which finds no record before it.
                self.records += batch.len() as u64;
                return Ok(Some(batch));
            }
            faulty?;
            if self.ended {
                return Ok(None);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), ReadError> {
        let held = self.buffer.len();
        self.buffer.resize(held + CHUNK, 0);
        let result = loop {
            let room = self.buffer.get_mut(held..).unwrap_or_default();
            match self.input.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(held + result.as_ref().copied().unwrap_or(0));
        self.ended = result.map_err(ReadError::Io)? == 0;
        Ok(())
    }

    /// Moves complete records from the buffer to the batch.
    fn split(&mut self, batch: &mut Vec<Bytes>) -> Result<(), ReadError> {
        match self.framing.separator() {
            Some(separator) => self.split_at(separator, batch),
            None => self.split_prefixed(batch),
        }
    }

    fn split_at(&mut self, separator: u8, batch: &mut Vec<Bytes>) -> Result<(), ReadError> {
        while let Some(found) =
            self.buffer.get(self.searched..).and_then(|rest| memchr::memchr(separator, rest))
        {
            let length = self.searched + found;
            self.check(length, batch)?;
            batch.push(self.buffer.split_to(length).freeze());
            self.buffer.advance(1);
            self.searched = 0;
        }
        self.searched = self.buffer.len();
        self.check(self.searched, batch)?;
        if self.ended && !self.buffer.is_empty() {
            // The last line counts without its newline.
            batch.push(self.buffer.split().freeze());
            self.searched = 0;
        }
        Ok(())
    }

    fn split_prefixed(&mut self, batch: &mut Vec<Bytes>) -> Result<(), ReadError> {
        while let Some(prefix) = self.buffer.first_chunk::<PREFIX>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            self.check(length, batch)?;
            if self.buffer.len() - PREFIX < length {
                break;
            }
            self.buffer.advance(PREFIX);
            batch.push(self.buffer.split_to(length).freeze());
        }
        if self.ended && !self.buffer.is_empty() {
            let record = self.number(batch);
            let got = self.buffer.len();
            return Err(match self.buffer.first_chunk::<PREFIX>() {
                Some(prefix) => ReadError::Truncated {
                    record,
                    got: got - PREFIX,
                    of: Some(u32::from_be_bytes(*prefix) as usize),
                },
                None => ReadError::Truncated { record, got, of: None },
            });
        }
        Ok(())
    }

    fn check(&self, length: usize, batch: &[Bytes]) -> Result<(), ReadError> {
        if length > self.limit {
            return Err(ReadError::TooLarge { record: self.number(batch), limit: self.limit });
        }
        Ok(())
    }

    /// The number of the next record after those of `batch`.
    fn number(&self, batch: &[Bytes]) -> u64 {
        self.records + batch.len() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in reads of at most `step`.
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
    fn lines_come_apart_wherever_the_reads_end() {
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
    fn null_leaves_newlines_alone() {
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
    fn long_lines_are_taken_up_to_the_limit() {
        let mut bytes = vec![b'x'; 300_000];
        assert_eq!(read_all(&bytes, 1 << 20, Framing::Newline, 300_000).0, [&bytes[..]]);
        bytes.push(b'x');
        let (records, result) = read_all(&bytes, 1 << 20, Framing::Newline, 300_000);
        assert!(records.is_empty());
        assert!(matches!(result, Err(ReadError::TooLarge { record: 1, limit: 300_000 })));
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_those_before_it_are_given_out() {
        let (records, result) = read_all(b"a\nb\ntoo long\nc\n", 1000, Framing::Newline, 3);
        assert_eq!(records, [b"a", b"b"]);
        assert!(matches!(result, Err(ReadError::TooLarge { record: 3, limit: 3 })));
        assert!(result.unwrap_err().to_string().contains("--max-message"));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_are_waited_for() {
        let (records, result) = read_all(b"\0\0\0\x01a\xff\xff\xff\xff", 1000, Framing::LengthPrefixed, 100);
        assert_eq!(records, [b"a"]);
        assert!(matches!(result, Err(ReadError::TooLarge { record: 2, limit: 100 })));
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
    fn what_a_framing_carries() {
        assert!(Framing::Newline.carries(b"a\0b") && !Framing::Newline.carries(b"a\nb"));
        assert!(Framing::Null.carries(b"a\nb") && !Framing::Null.carries(b"a\0b"));
        assert!(Framing::LengthPrefixed.carries(b"a\n\0"));
    }
}
