//! The entries of `.eh_frame`, walked by their lengths alone: what is in one can't hide the next.

pub(super) enum EntryKind {
    Terminator,
    Cie,
    Function,
    /// Its length leads beyond the section.
    Overlong,
}

/// An entry's kind and where the next one starts (LSB Core, "Exception Frames").
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    pub(super) end: usize,
}

impl Entry {
    /// `None` at the end of the section.
    pub(super) fn at(section: &[u8], offset: usize) -> Option<Self> {
        let rest = section.get(offset..).filter(|rest| !rest.is_empty())?;
        Some(Self::parse(rest, offset).unwrap_or(Self {
            kind: EntryKind::Overlong,
            end: section.len(),
        }))
    }

    fn parse(rest: &[u8], offset: usize) -> Option<Self> {
        let (head, length) = match u32::from_le_bytes(*rest.first_chunk()?) {
            0xffff_ffff => (12, u64::from_le_bytes(*rest.get(4..)?.first_chunk()?)),
            short => (4, u64::from(short)),
        };
        let body = rest.get(head..)?.get(..usize::try_from(length).ok()?)?;
        let kind = match body.first_chunk() {
            None if body.is_empty() => EntryKind::Terminator,
            Some([0, 0, 0, 0]) => EntryKind::Cie,
            // Shorter than a CIE pointer: found unreadable.
            _ => EntryKind::Function,
        };
        Some(Self {
            kind,
            end: offset + head + body.len(),
        })
    }
}
