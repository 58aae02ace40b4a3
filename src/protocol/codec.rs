//! Reads fields from untrusted bytes: packets, messages, journals, pasted addresses.
//!
//! [`Reader`] never reads past the end. A decoder whose layout must fill the bytes also checks
//! [`Reader::is_empty`]. Numbers are big-endian.

/// The bytes ended inside a field. The text names what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("truncated {0}")]
pub(crate) struct Truncated(pub &'static str);

/// Takes fields from the front. A method that fails returns [`Truncated`] and may have taken a part of its
/// field.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`. Errors name them `what`.
    pub(crate) const fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Reader { bytes, what }
    }

    /// Whether everything was read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes left.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(Truncated(self.what))?;
        self.bytes = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(Truncated(self.what))?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// Eight bytes, signed.
    pub(crate) fn i64(&mut self) -> Result<i64, Truncated> {
        self.array().map(i64::from_be_bytes)
    }

    /// A variable-length integer, below 2^62 (RFC 9000, section 16).
    pub(crate) fn varint(&mut self) -> Result<u64, Truncated> {
        let first = self.u8()?;
        let mut value = u64::from(first & 0x3f);
        for _ in 1..1usize << (first >> 6) {
            value = value << 8 | u64::from(self.u8()?);
        }
        Ok(value)
    }

    /// A 16-bit length and that many bytes.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Truncated> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    /// All remaining bytes.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }
}

/// Appends a 16-bit length and the bytes. Bytes that the length cannot express are cut off.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The number of bytes of a variable-length integer (RFC 9000, section 16).
pub(crate) const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends a variable-length integer. Values of 2^62 and more do not occur (packet counts, byte counts).
pub(crate) fn put_varint(buf: &mut Vec<u8>, value: u64) {
    match varint_len(value) {
        1 => buf.push(value as u8),
        2 => buf.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        4 => buf.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => buf.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}
