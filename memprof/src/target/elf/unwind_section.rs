//! The unwind information of an ELF file: the bytes of `.eh_frame`, where they are, and where code
//! is. Found by the section headers or, in a file without them, by the program header that
//! exception handling itself uses.

use std::ops::Range;

use gimli::{BaseAddresses, EhFrameHdr, Pointer};
use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::{ENDIAN, ElfError, Header, MAX_SECTIONS, parse_header};

/// An `.eh_frame` larger than this is not read. libLLVM's has 10 MiB, browsers' 20 MiB.
pub const MAX_UNWIND_BYTES: u64 = 256 << 20;
/// Executable segments that are looked at; linkers make one or two.
pub(super) const MAX_CODE_SEGMENTS: usize = 64;
/// Bytes of `.eh_frame_hdr` with the address of `.eh_frame`.
const HEADER_BYTES: u64 = 32;
const PAGE_BYTES: u64 = 4096;

/// Unwind information as it is in the file. All addresses are the file's, before relocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnwindSection<'data> {
    /// The contents of `.eh_frame`.
    pub bytes: &'data [u8],
    /// The address of the first of them.
    pub address: u64,
    /// The address of `.text`, which some encodings are relative to.
    pub text_address: Option<u64>,
    /// The address of `.got`, which some encodings are relative to.
    pub got_address: Option<u64>,
    /// The lowest address of the image, down to a page: pcs in tables are relative to it.
    pub image_address: u64,
    /// The executable segments.
    pub code: Vec<Range<u64>>,
    /// `bytes` end where the section ends; else only its terminator tells.
    pub exact: bool,
}

impl UnwindSection<'_> {
    /// What pointers in the section may be relative to.
    pub fn bases(&self) -> BaseAddresses {
        let mut bases = BaseAddresses::default().set_eh_frame(self.address);
        if let Some(text) = self.text_address {
            bases = bases.set_text(text);
        }
        if let Some(got) = self.got_address {
            bases = bases.set_got(got);
        }
        bases
    }
}

/// The unwind information of an x86-64 image in memory, such as the vdso; `None` if it has none.
pub fn unwind_section_of_image(image: &[u8]) -> Result<Option<UnwindSection<'_>>, ElfError> {
    let (header, data) = parse_header(image)?;
    find(header, data)
}

pub(super) fn find<'data, R: ReadRef<'data>>(
    header: &'data Header,
    data: R,
) -> Result<Option<UnwindSection<'data>>, ElfError> {
    if header.e_machine(ENDIAN) != elf::EM_X86_64 {
        return Err(ElfError::Unsupported("unwind information not of x86-64"));
    }
    let mut image_address = u64::MAX;
    let mut code = Vec::new();
    for segment in header.program_headers(ENDIAN, data)? {
        if segment.p_type(ENDIAN) != elf::PT_LOAD {
            continue;
        }
        let start = segment.p_vaddr(ENDIAN);
        image_address = image_address.min(start / PAGE_BYTES * PAGE_BYTES);
        if segment.p_flags(ENDIAN).contains(elf::PF_X) && code.len() < MAX_CODE_SEGMENTS {
            code.push(start..start.saturating_add(segment.p_memsz(ENDIAN)));
        }
    }
    let mut found = UnwindSection {
        image_address,
        code,
        ..UnwindSection::default()
    };
    if by_section(header, data, &mut found)? || by_segment(header, data, &mut found)? {
        return Ok(Some(found));
    }
    Ok(None)
}

/// The contents of `.debug_frame`, which is not loaded with the program.
pub(super) fn debug_frame<'data, R: ReadRef<'data>>(
    header: &'data Header,
    data: R,
) -> Result<Option<&'data [u8]>, ElfError> {
    let sections = header.sections(ENDIAN, data)?;
    if sections.len() > MAX_SECTIONS {
        return Err(ElfError::Broken("too many sections".to_owned()));
    }
    let Some((_, section)) = sections.section_by_name(ENDIAN, b".debug_frame") else {
        return Ok(None);
    };
    let packed = section.sh_flags(ENDIAN).contains(elf::SHF_COMPRESSED);
    if packed || section.sh_type(ENDIAN) == elf::SHT_NOBITS {
        return Ok(None);
    }
    if section.sh_size(ENDIAN) > MAX_UNWIND_BYTES {
        return Err(ElfError::Broken(".debug_frame is too large".to_owned()));
    }
    Ok(Some(section.data(ENDIAN, data)?))
}

/// Fills in the section by its name; false if there is none with contents.
fn by_section<'data, R: ReadRef<'data>>(
    header: &'data Header,
    data: R,
    found: &mut UnwindSection<'data>,
) -> Result<bool, ElfError> {
    // A file without usable section headers still runs.
    let Ok(sections) = header.sections(ENDIAN, data) else {
        return Ok(false);
    };
    if sections.len() > MAX_SECTIONS {
        return Err(ElfError::Broken("too many sections".to_owned()));
    }
    let named = |name: &[u8]| Some(sections.section_by_name(ENDIAN, name)?.1);
    let address = |name: &[u8]| named(name).map(|section| section.sh_addr(ENDIAN));
    let Some(section) = named(b".eh_frame") else {
        return Ok(false);
    };
    // Without contents in a separate debug file. Compressed, it would be of no use to the program.
    let packed = section.sh_flags(ENDIAN).contains(elf::SHF_COMPRESSED);
    if packed || section.sh_type(ENDIAN) == elf::SHT_NOBITS || section.sh_size(ENDIAN) == 0 {
        return Ok(false);
    }
    if section.sh_size(ENDIAN) > MAX_UNWIND_BYTES {
        return Err(ElfError::Broken(".eh_frame is too large".to_owned()));
    }
    found.bytes = section.data(ENDIAN, data)?;
    found.address = section.sh_addr(ENDIAN);
    found.text_address = address(b".text");
    found.got_address = address(b".got");
    found.exact = true;
    Ok(true)
}

/// Fills in the section by `PT_GNU_EH_FRAME`, which has the address of `.eh_frame` (LSB Core,
/// "Exception Frame Header"); it is taken to last to the end of its segment.
fn by_segment<'data, R: ReadRef<'data>>(
    header: &'data Header,
    data: R,
    found: &mut UnwindSection<'data>,
) -> Result<bool, ElfError> {
    let segments = header.program_headers(ENDIAN, data)?;
    let Some(segment) = segments
        .iter()
        .find(|segment| segment.p_type(ENDIAN) == elf::PT_GNU_EH_FRAME)
    else {
        return Ok(false);
    };
    let size = segment.p_filesz(ENDIAN).min(HEADER_BYTES);
    let bytes = data
        .read_bytes_at(segment.p_offset(ENDIAN), size)
        .map_err(|()| ElfError::Broken("no bytes for .eh_frame_hdr".to_owned()))?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(segment.p_vaddr(ENDIAN));
    let parsed = EhFrameHdr::new(bytes, gimli::LittleEndian)
        .parse(&bases, 8)
        .map_err(|error| ElfError::Broken(format!(".eh_frame_hdr: {error}")))?;
    let Pointer::Direct(address) = parsed.eh_frame_ptr() else {
        return Ok(false);
    };
    for segment in segments {
        let within = address.wrapping_sub(segment.p_vaddr(ENDIAN));
        if segment.p_type(ENDIAN) != elf::PT_LOAD || within >= segment.p_filesz(ENDIAN) {
            continue;
        }
        let size = (segment.p_filesz(ENDIAN) - within).min(MAX_UNWIND_BYTES);
        let offset = segment.p_offset(ENDIAN).saturating_add(within);
        found.bytes = data
            .read_bytes_at(offset, size)
            .map_err(|()| ElfError::Broken("no bytes for .eh_frame".to_owned()))?;
        found.address = address;
        return Ok(true);
    }
    Ok(false)
}
