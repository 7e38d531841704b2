//! Appending to files, so that one whose disk was full can be read, and written on.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::records::Framing;

/// Opens `path` to append records, and makes it if it is not there. One that ends within a record gets its end first:
/// the next record would become a part of it.
///
/// # Errors
/// When the file cannot be opened, or that end cannot be written.
pub(crate) fn open(path: &Path, framing: Framing) -> io::Result<File> {
    let mut file = File::options().append(true).create(true).open(path)?;
    if let Some(separator) = framing.separator()
        && last_byte(&file, path).is_some_and(|last| last != separator)
    {
        write(&mut file, &[separator])?;
    }
    Ok(file)
}

/// Writes all of `bytes`. When that fails, a regular file is as long as before: what is appended later follows whole records.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let length = |file: &File| file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
    let before = length(file);
    let mut rest = bytes;
    let error = loop {
        if rest.is_empty() {
            return Ok(());
        }
        match file.write(rest) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
    };
    let written = (bytes.len() - rest.len()) as u64;
    // If somebody else has appended meanwhile, the end is not ours to cut off.
    if let Some(before) = before
        && length(file) == before.checked_add(written)
    {
        // The write's own error says more than one of this.
        let _ = file.set_len(before);
    }
    Err(error)
}

/// The last byte of a regular file that has one and may be read.
fn last_byte(file: &File, path: &Path) -> Option<u8> {
    file.metadata().ok().filter(|data| data.is_file() && data.len() > 0)?;
    let mut reading = File::open(path).ok()?;
    reading.seek(SeekFrom::End(-1)).ok()?;
    let mut last = [0];
    reading.read_exact(&mut last).ok()?;
    Some(last[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_ends_within_a_record_gets_the_end_of_it_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (framing, before, after) in [
            (Framing::Newline, &b"a\nb"[..], &b"a\nb\nc"[..]),
            (Framing::Newline, b"a\n", b"a\nc"),
            (Framing::Newline, b"", b"c"),
            (Framing::Null, b"a\n", b"a\n\0c"),
            (Framing::Null, b"a\0", b"a\0c"),
            (Framing::LengthPrefixed, b"a", b"ac"),
        ] {
            std::fs::write(&path, before).unwrap();
            write(&mut open(&path, framing).unwrap(), b"c").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), after);
        }
    }
}
