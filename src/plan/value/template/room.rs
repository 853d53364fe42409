//! Where a rendered text goes: no more than there is room for, and nothing of it stays behind.

use std::io::{Error, ErrorKind, Result, Write};
use zeroize::Zeroizing;

/// Bytes that end at a bound.
pub(super) struct Room {
    bytes: Zeroizing<Vec<u8>>,
    most: usize,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Zeroizing::default(), most }
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}

impl Write for Room {
    fn write(&mut self, part: &[u8]) -> Result<usize> {
        let length = self.bytes.len().saturating_add(part.len());
        if length > self.most {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        if length > self.bytes.capacity() {
            // A vector that grows by itself leaves its bytes behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(length.saturating_mul(2).max(1024)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let mut room = Room::new(5);
        assert!(room.write_all(b"abc").is_ok());
        assert!(room.write_all(b"def").is_err());
        assert!(room.write_all(b"de").is_ok());
        assert_eq!(*room.into_bytes(), b"abcde");
    }
}
