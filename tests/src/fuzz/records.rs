//! The daemons' record framing: the records do not depend on the sizes of reads, and written records are read back
//! unchanged.

use std::io::{self, Read};

use tidegate_cli::records::{Framing, ReadError, RecordReader};

use super::Input;

struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(room.len());
        room[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let framing = [Framing::Newline, Framing::Null, Framing::LengthPrefixed][input.below(3)];
    let step = 1 + usize::from(input.byte());
    let limit = usize::from(input.short());
    let stream = input.rest();
    let (slow, stopped) = read(stream, step, framing, limit);
    let (quick, stopped_too) = read(stream, usize::MAX, framing, limit);
    assert_eq!((&slow, stopped), (&quick, stopped_too), "the sizes of the reads change the records");
    assert!(slow.iter().all(|record| record.len() <= limit), "a record is larger than the limit");

    let mut again = Vec::new();
    for record in &slow {
        assert!(framing.carries(record));
        framing.put(&mut again, record).expect("the record is within the limit");
    }
    let whole = stopped.is_none();
    assert!(again.starts_with(stream) || (!whole && stream.starts_with(&again)), "bytes were lost or added");
    assert!(!whole || again.len() <= stream.len() + 1, "more than a final newline was added");
    assert_eq!(read(&again, step, framing, limit), (slow, None), "written records are read back changed");
}

/// The records, and the number of the record that stopped the reader before the end of the input.
fn read(stream: &[u8], step: usize, framing: Framing, limit: usize) -> (Vec<Vec<u8>>, Option<u64>) {
    let mut reader = RecordReader::new(Slowly(stream, step), framing, limit);
    let mut records: Vec<Vec<u8>> = Vec::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                assert!(!batch.is_empty());
                records.extend(batch.into_iter().map(|record| record.to_vec()));
            }
            Ok(None) => return (records, None),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let (ReadError::TooLarge { record, .. } | ReadError::Truncated { record, .. }) = error else {
                    panic!("unexpected error: {error}");
                };
                assert_eq!(record, records.len() as u64 + 1, "the error names the wrong record");
                return (records, Some(record));
            }
        }
    }
}
