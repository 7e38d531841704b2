//! Records: how messages are separated on stdin and stdout, in files and for workers.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes, BytesMut};

/// How much is read at a time, in bytes. The records of one read share its memory.
const CHUNK: usize = 64 * 1024;
/// The size of a length prefix, in bytes.
pub(crate) const PREFIX: usize = 4;

/// How records are separated.
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
    /// The byte that ends each record, if there is one.
    pub(crate) fn separator(self) -> Option<u8> {
        match self {
            Framing::Newline => Some(b'\n'),
            Framing::Null => Some(0),
            Framing::LengthPrefixed => None,
        }
    }

    /// Whether a reader of this framing gets `record` back unchanged.
    pub fn carries(self, record: &[u8]) -> bool {
        match self.separator() {
            Some(separator) => memchr::memchr(separator, record).is_none(),
            None => u32::try_from(record.len()).is_ok(),
        }
    }

    /// What comes before and after a record of `length` bytes.
    ///
    /// # Errors
    /// If a length prefix of 4 bytes cannot represent `length`.
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
    /// If the record is too long for a length prefix of 4 bytes. `out` is then unchanged.
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

/// Why reading stopped before the end of the input. Record numbers start at 1.
#[derive(Debug)]
pub enum ReadError {
    /// The input could not be read.
    Io(io::Error),
    /// A record is larger than a message may be.
    TooLarge {
        /// The number of the record.
        record: u64,
        /// The maximum size of a record, in bytes.
        limit: usize,
        /// The number of bytes of the record that are known.
        length: u64,
        /// Whether `length` is the size of the whole record.
        whole: bool,
    },
    /// The input ends within a length-prefixed record.
    Truncated {
        /// The number of the record.
        record: u64,
        /// The number of bytes that have arrived.
        got: usize,
        /// The size of the record. `None` if the length prefix is incomplete.
        of: Option<usize>,
    },
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "{error}"),
            ReadError::TooLarge { record, limit, length, whole } => {
                let least = if *whole { "" } else { "at least " };
                write!(
                    f,
                    "record {record} has {least}{length} bytes, more than the {limit} that --max-message allows; set a \
                     larger --max-message, or use --oversized skip or dead-letter"
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
                    "the input ends within the length of record {record} (--length-prefixed), \
                     after {got} of its {PREFIX} bytes"
                )
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// The beginning of a record that was incomplete when reading stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The number of the record.
    pub record: u64,
    /// The bytes that have been read.
    pub bytes: Bytes,
    /// The size of the whole record, if its length prefix has been read.
    pub of: Option<u64>,
    /// How many bytes of the length prefix have been read, if it is incomplete.
    pub prefix: usize,
}

/// Splits its input into records, several at a time, without copying them.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: R,
    framing: Framing,
    /// The maximum size of a record, in bytes.
    limit: usize,
    /// Whether a carriage return before the end of a record belongs to the separator.
    crlf: bool,
    buffer: BytesMut,
    /// The length of the part of `buffer` that contains no separator.
    searched: usize,
    /// Records returned so far.
    records: u64,
    ended: bool,
}

impl<R: Read> RecordReader<R> {
    /// Reads records of at most `limit` bytes from `input`.
    pub fn new(input: R, framing: Framing, limit: usize) -> Self {
        Self {
            input,
            framing,
            limit,
            crlf: false,
            buffer: BytesMut::new(),
            searched: 0,
            records: 0,
            ended: false,
        }
    }

    /// Sets whether lines may end with CR LF. If so, one carriage return before the end of a record is not
    /// part of the record.
    #[must_use]
    pub fn crlf(mut self, crlf: bool) -> Self {
        self.crlf = crlf;
        self
    }

    /// Reads once, or as often as necessary for a complete record, and returns all complete records. `None`
    /// at the end of the input.
    ///
    /// # Errors
    /// See [`ReadError`]. The records before the faulty one have been returned by then.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Bytes>>, ReadError> {
        let mut batch = Vec::new();
        loop {
            let faulty = self.split(&mut batch);
            if !batch.is_empty() {
                // The next call finds the fault again, and no record before it.
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

    /// Gives the record of a [`ReadError::TooLarge`] to `sink`, piece by piece, and skips it. Memory use does
    /// not depend on the length of the record. Adds the number of bytes that `sink` has taken to `length`.
    ///
    /// # Errors
    /// An error of `sink`, as [`ReadError::Io`], or a read error. The piece at which `sink` failed is skipped
    /// too.
    pub fn pass_over(
        &mut self,
        length: &mut u64,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ReadError> {
        let mut left = match self.framing.separator() {
            Some(_) => u64::MAX,
            None => self.take_prefix().unwrap_or_default(),
        };
        let of = usize::try_from(left).ok();
        loop {
            let (piece, whole) = match self.framing.separator() {
                Some(separator) => match memchr::memchr(separator, &self.buffer) {
                    Some(found) => (found, true),
                    None => (self.buffer.len(), self.ended),
                },
                None => {
                    let piece = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    (piece, piece as u64 == left)
                }
            };
            let piece = self.buffer.split_to(piece);
            self.searched = 0;
            let given = sink(&piece).map_err(ReadError::Io);
            if whole {
                // Also if `sink` has failed: what follows is not a part of this record.
                if self.framing.separator().is_some() && !self.buffer.is_empty() {
                    self.buffer.advance(1);
                }
                self.records += 1;
            }
            given?;
            *length += piece.len() as u64;
            left = left.saturating_sub(piece.len() as u64);
            if whole {
                return Ok(());
            }
            if self.ended {
                let got = usize::try_from(*length).unwrap_or(usize::MAX);
                return Err(ReadError::Truncated { record: self.records + 1, got, of });
            }
            drop(piece);
            self.read()?;
        }
    }

    fn take_prefix(&mut self) -> Option<u64> {
        let length = u32::from_be_bytes(*self.buffer.first_chunk::<PREFIX>()?);
        self.buffer.advance(PREFIX);
        Some(length.into())
    }

    /// What has been read and not returned, if reading stops before the end of the input: complete records of
    /// any length, and the beginning of an incomplete one.
    pub fn rest(&mut self) -> (Vec<Bytes>, Option<Partial>) {
        self.limit = usize::MAX;
        self.ended = false;
        let mut records = Vec::new();
        // This cannot fail: no record is too large now.
        let _ = self.split(&mut records);
        let record = self.number(&records);
        let mut bytes = std::mem::take(&mut self.buffer);
        self.searched = 0;
        if bytes.is_empty() {
            return (records, None);
        }
        let of = match (self.framing.separator(), bytes.first_chunk::<PREFIX>()) {
            (Some(_), _) => None,
            (None, Some(prefix)) => {
                let of = u32::from_be_bytes(*prefix);
                bytes.advance(PREFIX);
                Some(of.into())
            }
            (None, None) => {
                let prefix = bytes.len();
                return (records, Some(Partial { record, bytes: Bytes::new(), of: None, prefix }));
            }
        };
        (records, Some(Partial { record, bytes: bytes.freeze(), of, prefix: 0 }))
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
            let end = self.searched + found;
            let length = self.without_return(end);
            self.check(length, true, batch)?;
            batch.push(self.buffer.split_to(length).freeze());
            self.buffer.advance(end - length + 1);
            self.searched = 0;
        }
        self.searched = self.buffer.len();
        // The last line needs no newline.
        let length = self.without_return(self.searched);
        self.check(length, self.ended, batch)?;
        if self.ended && !self.buffer.is_empty() {
            batch.push(self.buffer.split_to(length).freeze());
            self.buffer.clear();
            self.searched = 0;
        }
        Ok(())
    }

    fn split_prefixed(&mut self, batch: &mut Vec<Bytes>) -> Result<(), ReadError> {
        while let Some(prefix) = self.buffer.first_chunk::<PREFIX>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            self.check(length, true, batch)?;
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

    /// The length of a record that ends at `end`, without its carriage return.
    fn without_return(&self, end: usize) -> usize {
        let last = end.checked_sub(1).and_then(|last| self.buffer.get(last));
        end - usize::from(self.crlf && last == Some(&b'\r'))
    }

    fn check(&self, length: usize, whole: bool, batch: &[Bytes]) -> Result<(), ReadError> {
        if length > self.limit {
            let (record, limit) = (self.number(batch), self.limit);
            return Err(ReadError::TooLarge { record, limit, length: length as u64, whole });
        }
        Ok(())
    }

    /// The number of the next record after those of `batch`.
    fn number(&self, batch: &[Bytes]) -> u64 {
        self.records + batch.len() as u64 + 1
    }
}

#[cfg(test)]
mod tests;
