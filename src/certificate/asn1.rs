//! ASN.1, element by element: read as leniently as it is written in the wild, written as DER.
//!
//! Read by hand, for the typed decoders of crates refuse what is in honest files: NSS and Bouncy Castle write lengths
//! that are not definite, and octets in pieces.

use zeroize::Zeroizing;

/// The bytes are not what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, around an element or in place of the tag of octets in pieces.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0]` in place of the tag of octets.
pub(super) const CONTEXT_0_OCTETS: u8 = 0x80;
/// `[1]` around an element.
pub(super) const CONTEXT_1: u8 = 0xa1;
/// `[1]` in place of the tag of bits.
pub(super) const CONTEXT_1_BITS: u8 = 0x81;
/// An element of no bytes that stands for absent parameters.
pub(super) const NULL: &[u8] = &[0x05, 0x00];

/// Of a tag: elements are inside.
const CONSTRUCTED: u8 = 0x20;
/// Of a tag: its number goes on in further bytes, as in none of the structures here.
const LONG_TAG: u8 = 0x1f;
/// What is nested deeper is no PFX: the deepest honest ones have half of it.
const DEEPEST: usize = 16;

/// A tag and what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// What is inside, without tag and length.
    pub(super) body: &'a [u8],
    /// Tag, length and body.
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The only element in some bytes.
    ///
    /// # Errors
    /// If there is none, or something after it.
    pub(super) fn only(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (element, rest) = element(bytes, DEEPEST)?;
        if rest.is_empty() { Ok(element) } else { Err(Malformed) }
    }

    /// The only element inside this one.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub(super) fn inside(self) -> Result<Self, Malformed> {
        Self::only(self.body)
    }

    /// The elements inside, if this one has the tag.
    ///
    /// # Errors
    /// If it has another.
    pub(super) fn elements(self, tag: u8) -> Result<Elements<'a>, Malformed> {
        if self.tag == tag { Ok(Elements(self.body)) } else { Err(Malformed) }
    }

    /// The bytes of an octet string, joined if it is in pieces.
    ///
    /// # Errors
    /// If a piece is none of an octet string.
    pub(super) fn octets(self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let mut octets = Zeroizing::new(Vec::with_capacity(self.body.len()));
        self.pieces(&mut octets, DEEPEST)?;
        Ok(octets)
    }

    fn pieces(self, octets: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        if self.tag & CONSTRUCTED == 0 {
            octets.extend_from_slice(self.body);
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let mut pieces = Elements(self.body);
        while !pieces.is_empty() {
            let piece = pieces.next()?;
            if piece.tag & !CONSTRUCTED != OCTET_STRING {
                return Err(Malformed);
            }
            piece.pieces(octets, depth)?;
        }
        Ok(())
    }

    /// The value of an integer that is not negative; one that is too large is the largest.
    ///
    /// # Errors
    /// If it is something else.
    pub(super) fn number(self) -> Result<u64, Malformed> {
        if self.tag != INTEGER || self.body.first().is_none_or(|first| *first >= 0x80) {
            return Err(Malformed);
        }
        let digits = without_zeros(self.body);
        let value = digits.iter().fold(0_u64, |value, digit| value << 8 | u64::from(*digit));
        Ok(if digits.len() > 8 { u64::MAX } else { value })
    }

    /// The bytes of a bit string of whole bytes.
    ///
    /// # Errors
    /// If it is something else.
    pub(super) fn bits(self) -> Result<&'a [u8], Malformed> {
        match (self.tag, self.body) {
            (BIT_STRING | CONTEXT_1_BITS, [0, bits @ ..]) => Ok(bits),
            _ => Err(Malformed),
        }
    }
}

/// Elements one after the other.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next one.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn next(&mut self) -> Result<Element<'a>, Malformed> {
        let (element, rest) = element(self.0, DEEPEST)?;
        self.0 = rest;
        Ok(element)
    }

    /// The next one, which has to have this tag.
    ///
    /// # Errors
    /// If there is none, or it has another.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        let element = self.next()?;
        if element.tag == tag { Ok(element) } else { Err(Malformed) }
    }

    /// The next one, which has to be an octet string, in pieces or not.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub(super) fn expect_octets(&mut self) -> Result<Element<'a>, Malformed> {
        let element = self.next()?;
        if element.tag & !CONSTRUCTED == OCTET_STRING { Ok(element) } else { Err(Malformed) }
    }

    /// The next one, if it has this tag.
    ///
    /// # Errors
    /// If it is broken.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }
}

/// An integer without the zeros in front, of which there may be one for its sign.
pub(super) fn without_zeros(mut digits: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = digits {
        digits = rest;
    }
    digits
}

/// The first element, and what is after it.
fn element(bytes: &[u8], depth: usize) -> Result<(Element<'_>, &[u8]), Malformed> {
    let (&tag, rest) = bytes.split_first().ok_or(Malformed)?;
    let (&length, rest) = rest.split_first().ok_or(Malformed)?;
    if tag & LONG_TAG == LONG_TAG {
        return Err(Malformed);
    }
    let (body, rest) = match length {
        0x80 if tag & CONSTRUCTED == 0 => return Err(Malformed),
        0x80 => up_to_the_end(rest, depth.checked_sub(1).ok_or(Malformed)?)?,
        0..0x80 => rest.split_at_checked(usize::from(length)).ok_or(Malformed)?,
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f)).ok_or(Malformed)?;
            let digits = without_zeros(digits);
            if digits.len() > 3 {
                return Err(Malformed);
            }
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            rest.split_at_checked(length).ok_or(Malformed)?
        }
    };
    let whole = bytes.get(..bytes.len() - rest.len()).ok_or(Malformed)?;
    Ok((Element { tag, body, whole }, rest))
}

/// The elements up to the mark of their end, and what is after it.
fn up_to_the_end(bytes: &[u8], depth: usize) -> Result<(&[u8], &[u8]), Malformed> {
    let mut left = bytes;
    loop {
        if let Some(rest) = left.strip_prefix(&[0, 0]) {
            return Ok((bytes.get(..bytes.len() - left.len()).ok_or(Malformed)?, rest));
        }
        (_, left) = element(left, depth)?;
    }
}

/// An element in DER: its parts one after the other.
pub(super) fn written(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let digits = length.to_be_bytes();
    let digits = without_zeros(&digits);
    let mut element = Zeroizing::new(Vec::with_capacity(length + digits.len() + 2));
    element.push(tag);
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        element.push(short);
    } else {
        element.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
        element.extend_from_slice(digits);
    }
    for part in parts {
        element.extend_from_slice(part);
    }
    element
}

/// A number in DER.
pub(super) fn number(value: u32) -> Zeroizing<Vec<u8>> {
    let digits = value.to_be_bytes();
    let digits = without_zeros(&digits);
    // The first bit is the sign, and no number has no digit.
    let sign: &[u8] = if digits.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    written(INTEGER, &[sign, digits])
}

/// A set in DER, which has them in order.
pub(super) fn set(mut elements: Vec<Zeroizing<Vec<u8>>>) -> Zeroizing<Vec<u8>> {
    elements.sort_by(|one, other| one.as_slice().cmp(other));
    written(SET, &elements.iter().map(|element| element.as_slice()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_that_are_not_definite_and_octets_in_pieces_are_read() {
        let bytes = [0x30, 0x80, 0x24, 0x80, 4, 2, 1, 2, 0x24, 3, 4, 1, 3, 0, 0, 2, 1, 5, 0, 0];
        let mut elements = Element::only(&bytes).unwrap().elements(SEQUENCE).unwrap();
        assert_eq!(elements.next().unwrap().octets().unwrap().as_slice(), [1, 2, 3]);
        assert_eq!(elements.next().unwrap().number(), Ok(5));
        assert!(elements.is_empty());
    }

    #[test]
    fn what_is_cut_short_or_nested_without_end_is_refused() {
        for bytes in [&[][..], &[0x30], &[0x30, 2, 0], &[0x30, 0x82, 1], &[0x04, 0x80, 0, 0], &[0x1f, 1, 0]] {
            assert!(Element::only(bytes).is_err(), "{bytes:?}");
        }
        assert!(Element::only(&[0x30, 0x80].repeat(100_000)).is_err());
        assert!(Element::only(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]).is_err());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 1, 127, 128, 255, 256, 2048, 100_000, u32::MAX] {
            assert_eq!(Element::only(&number(value)).unwrap().number(), Ok(u64::from(value)));
        }
        assert_eq!(number(128).as_slice(), [2, 2, 0, 128]);
        assert_eq!(Element::only(&[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap().number(), Ok(u64::MAX));
        assert_eq!(Element::only(&[2, 1, 0xff]).unwrap().number(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(size in prop_oneof![0..300_usize, 65_500..65_600_usize]) {
            let body = vec![7; size];
            let bytes = written(OCTET_STRING, &[&body]);
            let read = Element::only(&bytes).unwrap().octets().unwrap();
            prop_assert!(read.as_slice() == body.as_slice());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop::sample::select(&[0, 1, 4, 0x24, 0x30, 0x80, 0x82][..]), 0..64)) {
            if let Ok(element) = Element::only(&bytes) {
                let _ = (element.octets(), element.number(), element.bits());
            }
        }
    }
}
