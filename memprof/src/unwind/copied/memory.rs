//! The memory that a walk may read: the copied bytes, and nothing else.

/// Bytes of the target's stack, as they were.
#[derive(Clone, Copy, Debug)]
pub struct CopiedMemory<'a> {
    /// The address of the first.
    pub start: u64,
    /// From there up.
    pub bytes: &'a [u8],
}

impl CopiedMemory<'_> {
    /// The little-endian number of `size` bytes (at most 8) at `address`.
    pub(super) fn number(&self, address: u64, size: u8) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(offset..)?.get(..usize::from(size))?;
        let mut number = [0; 8];
        number.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(number))
    }

    /// The word at `address`.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        self.number(address, 8)
    }
}
