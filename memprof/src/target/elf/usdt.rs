//! The USDT probes of a file: notes of the type `stapsdt`, as `<sys/sdt.h>` leaves one at each of them.

use object::read::elf::{NoteIterator, SectionHeader as _};

use super::{ENDIAN, ElfFacts, Header, Sections, bounded::Bounded};

/// Notes of one file that are looked at; a database has some hundreds.
pub const MAX_USDT_NOTES: usize = 1 << 16;
/// Probes of the wanted names that are kept.
pub const MAX_USDT_PROBES: usize = 1024;
/// The longest description of a probe's arguments that is taken, bytes: there may be 12.
const MAX_ARGUMENTS_BYTES: usize = 512;
const NT_STAPSDT: u32 = 3;
/// Location, base and semaphore: 8 bytes each.
const NUMBERS_BYTES: usize = 24;

/// One place in the code with a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsdtProbe {
    /// Who made up the name.
    pub provider: String,
    /// What happens there.
    pub name: String,
    /// Where its instruction is in the file, bytes; `None` if it is not in the file.
    pub offset: Option<u64>,
    /// Where its semaphore is, the 16-bit count of those who look at the probe.
    pub semaphore: Semaphore,
    /// What its arguments are, as the assembler wrote it: `8@%rdi -4@-20(%rbp)`.
    pub arguments: String,
}

/// The count of those who look at a probe; while it is 0 the program may pass the probe by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semaphore {
    /// There is none: the probe is always passed.
    None,
    /// Where it is in the file, bytes.
    At(u64),
    /// It is not in the file.
    Lost,
}

/// The numbers and strings of one note.
struct Note<'data> {
    location: u64,
    base: u64,
    semaphore: u64,
    provider: &'data [u8],
    name: &'data [u8],
    arguments: &'data [u8],
}

/// The probes whose provider and name `wanted` takes, in the order of the file.
pub(super) fn probes<'a, 'file>(
    sections: &Sections<'a, 'file>,
    data: Bounded<'a, 'file>,
    facts: &ElfFacts,
    wanted: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Vec<UsdtProbe> {
    let named = |name: &[u8]| {
        let mut all = sections.iter();
        all.find(|section| sections.section_name(ENDIAN, section) == Ok(name))
    };
    // Where the linker put it; `prelink` moves it with the rest of the file.
    let base = named(b".stapsdt.base").map(|section| section.sh_addr(ENDIAN));
    let Some(section) = named(b".note.stapsdt") else {
        return Vec::new();
    };
    let Ok(Some(notes)) = section.notes(ENDIAN, data) else {
        return Vec::new();
    };
    read(notes, base, facts, wanted)
}

fn read(
    mut notes: NoteIterator<'_, Header>,
    base: Option<u64>,
    facts: &ElfFacts,
    wanted: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Vec<UsdtProbe> {
    let mut found = Vec::new();
    for _ in 0..MAX_USDT_NOTES {
        let Ok(Some(note)) = notes.next() else {
            break;
        };
        if note.name() != b"stapsdt" || note.n_type(ENDIAN).0 != NT_STAPSDT {
            continue;
        }
        if let Some(note) = Note::parse(note.desc())
            && wanted(note.provider, note.name)
            && found.len() < MAX_USDT_PROBES
        {
            found.push(note.probe(base, facts));
        }
    }
    found
}

impl<'data> Note<'data> {
    fn parse(description: &'data [u8]) -> Option<Self> {
        let (numbers, strings) = description.split_at_checked(NUMBERS_BYTES)?;
        let number = |at: usize| {
            let bytes = numbers.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let mut strings = strings.split(|byte| *byte == 0);
        let note = Self {
            location: number(0)?,
            base: number(8)?,
            semaphore: number(16)?,
            provider: strings.next()?,
            name: strings.next()?,
            arguments: strings.next()?,
        };
        // Each of the three ends with a zero, so that something is left behind the last.
        strings.next()?;
        (note.arguments.len() <= MAX_ARGUMENTS_BYTES).then_some(note)
    }

    fn probe(&self, base: Option<u64>, facts: &ElfFacts) -> UsdtProbe {
        let moved = base.map_or(0, |base| base.wrapping_sub(self.base));
        let offset_of = |address: u64| facts.file_offset_of(address.wrapping_add(moved));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        UsdtProbe {
            provider: text(self.provider),
            name: text(self.name),
            offset: offset_of(self.location),
            semaphore: match self.semaphore {
                0 => Semaphore::None,
                address => offset_of(address).map_or(Semaphore::Lost, Semaphore::At),
            },
            arguments: text(self.arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::LoadSegment;
    use super::*;

    fn description(numbers: [u64; 3], strings: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.extend(strings);
        bytes
    }

    fn facts() -> ElfFacts {
        ElfFacts {
            segments: vec![LoadSegment {
                file_offset: 0x1000,
                file_size: 0x1000,
                address: 0x40_1000,
                executable: true,
            }],
            ..ElfFacts::default()
        }
    }

    #[test]
    fn a_note_as_sdt_h_writes_it_is_read() {
        let bytes = description([0x40_1008, 0, 0], b"otel_memory\0alloc\08@%rdi 8@%rsi\0");
        let probe = Note::parse(&bytes).unwrap().probe(None, &facts());
        assert_eq!(probe.provider, "otel_memory");
        assert_eq!(probe.name, "alloc");
        assert_eq!(probe.arguments, "8@%rdi 8@%rsi");
        assert_eq!(probe.offset, Some(0x1008));
        assert_eq!(probe.semaphore, Semaphore::None);
    }

    #[test]
    fn a_note_moves_with_its_base_and_its_semaphore_with_it() {
        let bytes = description([0x1008, 0x9000, 0x1800], b"p\0n\0\0");
        let probe = Note::parse(&bytes)
            .unwrap()
            .probe(Some(0x40_9000), &facts());
        assert_eq!(probe.offset, Some(0x1008));
        assert_eq!(probe.semaphore, Semaphore::At(0x1800));
        let lost = Note::parse(&bytes).unwrap().probe(Some(0x9000), &facts());
        assert_eq!((lost.offset, lost.semaphore), (None, Semaphore::Lost));
    }

    #[test]
    fn a_note_that_is_cut_short_is_none() {
        let whole = description([1, 2, 3], b"p\0n\08@%rdi\0");
        for bytes in 0..whole.len() {
            assert!(Note::parse(&whole[..bytes]).is_none(), "{bytes}");
        }
        let long = description(
            [1, 2, 3],
            &[b"p\0n\0".as_slice(), &[b'8'; 600], b"\0"].concat(),
        );
        assert!(Note::parse(&long).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(note) = Note::parse(&bytes) {
                note.probe(Some(u64::MAX), &facts());
            }
        }
    }
}
