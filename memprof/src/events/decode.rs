//! Bytes of a record to an [`Event`]. Total: any bytes give an event or an error, never a panic.

use memprof_common::event::{
    self, Kind, MAX_FRAMES, MapRequest, PAGE_BYTES, PageChange, PagesWords,
    STACK_COPY_HEADER_WORDS, STACK_COPY_PAGES, STACK_HEADER_WORDS, STACK_PAGE_BYTES, alloc_size,
    page_change, page_memory, page_toucher, stack_by_frame_pointer, stack_copy_frames,
    stack_copy_interrupted, stack_copy_pages, stack_end, stack_frames, time_ns,
};

use super::event::{
    CopiedRegisters, Event, MappingKind, Pid, RawStack, Remap, SpaceId, StackCopy, StackId,
    TouchHow, What,
};

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not a whole number of words, or fewer words than the kind has.
    WrongLength,
    /// A kind that this version does not know.
    UnknownKind,
}

/// Decodes one record.
///
/// # Errors
/// If the bytes are not laid out as `memprof_common::event` tables it.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (words, []) = bytes.as_chunks::<8>() else {
        return Err(DecodeError::WrongLength);
    };
    let word = |index: usize| {
        words
            .get(index)
            .map(|bytes| u64::from_le_bytes(*bytes))
            .ok_or(DecodeError::WrongLength)
    };
    let head = word(0)?;
    let kind = Kind::of(head).ok_or(DecodeError::UnknownKind)?;
    let (space, what) = match kind {
        Kind::Alloc => {
            let words = [head, word(1)?, word(2)?, word(3)?];
            let what = What::Alloc {
                address: event::address(words[1]),
                size: alloc_size(&words),
                stack: StackId(words[2]),
            };
            (event::space(words[3]), what)
        }
        Kind::Free | Kind::ResizeFree | Kind::ResizeFailed => {
            let address = event::address(word(1)?);
            let what = match kind {
                Kind::Free => What::Free { address },
                Kind::ResizeFree => What::ResizeFree { address },
                _ => What::ResizeFailed { address },
            };
            (event::space(word(2)?), what)
        }
        Kind::Map => {
            let (place, rest) = (word(1)?, word(3)?);
            let request = event::map_request(word(4)?);
            let what = What::Map {
                address: event::address(place),
                length: event::map_length(place, rest),
                stack: StackId(word(2)?),
                kind: mapping_kind(request),
                inner: request.inner,
            };
            (event::space(rest), what)
        }
        Kind::Unmap | Kind::UnmapFailed => {
            let (place, rest) = (word(1)?, word(3)?);
            let address = event::address(place);
            let length = event::map_length(place, rest);
            let what = match kind {
                Kind::Unmap => What::Unmap { address, length },
                _ => What::UnmapFailed { address, length },
            };
            (event::space(rest), what)
        }
        Kind::Remap => {
            let words = [head, word(1)?, word(2)?, word(3)?, word(4)?, word(5)?];
            let moved = event::remapping(&words);
            let remap = Remap {
                old_address: moved.old_address,
                old_length: moved.old_length,
                address: moved.address,
                length: moved.length,
                copies: moved.copies,
                stack: StackId(words[2]),
                inner: moved.inner,
            };
            (event::space(words[3]), What::Remap(Box::new(remap)))
        }
        Kind::Pages => {
            let words = [head, word(1)?, word(2)?, word(3)?, word(4)?];
            (event::space(words[3]), pages(&words)?)
        }
        Kind::Stack => {
            let shape = word(1)?;
            let frames = stack_frames(shape).min(MAX_FRAMES);
            let pcs = words
                .get(STACK_HEADER_WORDS..STACK_HEADER_WORDS + frames)
                .ok_or(DecodeError::WrongLength)?;
            let stack = RawStack {
                id: StackId(word(2)?),
                end: stack_end(shape),
                by_frame_pointer: stack_by_frame_pointer(shape),
                pcs: pcs.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
            };
            (event::space(shape), What::Stack(Box::new(stack)))
        }
        Kind::StackCopy => {
            let shape = word(1)?;
            let pages = stack_copy_pages(shape).min(STACK_COPY_PAGES);
            let bytes = bytes
                .get(STACK_COPY_HEADER_WORDS * 8..)
                .and_then(|rest| rest.get(..pages * STACK_PAGE_BYTES))
                .ok_or(DecodeError::WrongLength)?;
            let copy = StackCopy {
                id: StackId(word(2)?),
                frames: stack_copy_frames(shape),
                interrupted: stack_copy_interrupted(shape),
                registers: registers(words)?,
                start: word(3)?,
                bytes: bytes.to_vec(),
            };
            (event::space(shape), What::StackCopy(Box::new(copy)))
        }
        Kind::Fork | Kind::Exec | Kind::Exit | Kind::Appear => {
            let pids = word(1)?;
            let pid = Pid(pids as u32);
            let new_space = SpaceId(event::space(word(3)?));
            let what = match kind {
                Kind::Fork => What::Fork {
                    pid,
                    child: Pid((pids >> 32) as u32),
                    child_space: new_space,
                },
                Kind::Exec => What::Exec { pid, new_space },
                Kind::Appear => What::Appear { pid },
                _ => What::Exit { pid },
            };
            (event::space(word(2)?), what)
        }
    };
    Ok(Event {
        time: time_ns(head),
        space: SpaceId(space),
        what,
    })
}

/// What a record of pages says.
fn pages(words: &PagesWords) -> Result<What, DecodeError> {
    let address = event::address(words[1]);
    let length = event::map_length(words[1], words[3]);
    let stack = StackId(words[2]);
    let by = page_toucher(words[4]);
    let touch = |how| What::Touch {
        address,
        pages: u32::try_from(length / PAGE_BYTES).unwrap_or(u32::MAX),
        stack,
        memory: page_memory(words[4]),
        by,
        how,
    };
    Ok(
        match page_change(words[4]).ok_or(DecodeError::UnknownKind)? {
            PageChange::Touched => touch(TouchHow::Counted),
            PageChange::TouchedSome => touch(TouchHow::Guessed),
            PageChange::Populated => touch(TouchHow::Populated),
            PageChange::Copied => What::CopyPage { address, stack, by },
            PageChange::GivenBack => What::GiveBack { address, length },
            PageChange::HeapGivenBack => What::GiveBackHeap { address },
        },
    )
}

/// What a range is that was mapped so.
fn mapping_kind(request: MapRequest) -> MappingKind {
    let has = |flag: i32| request.flags & flag as u32 != 0;
    if request.heap {
        MappingKind::Heap
    } else if !has(libc::MAP_ANONYMOUS) {
        MappingKind::File
    } else if has(libc::MAP_SHARED) {
        // The bit is also one of MAP_SHARED_VALIDATE's.
        MappingKind::Shared
    } else if has(libc::MAP_STACK) {
        MappingKind::ThreadStack
    } else if i32::from(request.protection) == libc::PROT_NONE {
        MappingKind::Reserved
    } else {
        MappingKind::Anonymous
    }
}

/// The registers in the record of a stack's copy.
fn registers(words: &[[u8; 8]]) -> Result<CopiedRegisters, DecodeError> {
    let (call, rest) = words
        .get(4..)
        .and_then(|rest| rest.split_first_chunk::<8>())
        .ok_or(DecodeError::WrongLength)?;
    let broken = rest.first_chunk::<3>().ok_or(DecodeError::WrongLength)?;
    Ok(CopiedRegisters {
        call: call.map(u64::from_le_bytes),
        broken: broken.map(u64::from_le_bytes),
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memprof_common::event::{
        PageMemory, PageToucher, Remapping, STACK_COPY_WORDS, StackEnd, pack_alloc, pack_free,
        pack_map, pack_pages, pack_process, pack_remap, pack_stack_copy_head, pack_stack_head,
        pack_unmap, pages_word,
    };

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn changes_of_pages_come_back_whole() {
        let record = |length, change: PageChange| {
            let what = pages_word(change, PageMemory::Shared, 1);
            decode(&bytes(&pack_pages(9, 3, 0x7f00_0000_2000, length, 7, what))).unwrap()
        };
        let huge = record(2 << 20, PageChange::Touched);
        assert_eq!((huge.time, huge.space), (9, SpaceId(3)));
        assert_eq!(
            huge.what,
            What::Touch {
                address: 0x7f00_0000_2000,
                pages: 512,
                stack: StackId(7),
                memory: PageMemory::Shared,
                by: PageToucher::Kernel,
                how: TouchHow::Counted,
            }
        );
        assert_eq!(
            record(1 << 44, PageChange::GivenBack).what,
            What::GiveBack {
                address: 0x7f00_0000_2000,
                length: 1 << 44,
            }
        );
        let unknown = pack_pages(9, 3, 0, 0, 0, 15);
        assert_eq!(decode(&bytes(&unknown)), Err(DecodeError::UnknownKind));
    }

    #[test]
    fn frequent_records_come_back_whole() {
        let event = decode(&bytes(&pack_alloc(9, 3, 0x7f00_0000_1230, 4096, 0xabcd))).unwrap();
        assert_eq!(event.time, 9);
        assert_eq!(event.space, SpaceId(3));
        assert_eq!(
            event.what,
            What::Alloc {
                address: 0x7f00_0000_1230,
                size: 4096,
                stack: StackId(0xabcd)
            }
        );
        for (kind, what) in [
            (Kind::Free, What::Free { address: 64 }),
            (Kind::ResizeFree, What::ResizeFree { address: 64 }),
            (Kind::ResizeFailed, What::ResizeFailed { address: 64 }),
        ] {
            let event = decode(&bytes(&pack_free(kind, 10, 3, 64))).unwrap();
            assert_eq!((event.space, event.what), (SpaceId(3), what));
        }
    }

    #[test]
    fn mappings_come_back_by_what_they_are() {
        let kind = |flags: i32, protection: i32, heap: bool| {
            let request = MapRequest {
                flags: flags as u32,
                protection: protection as u8,
                inner: heap,
                heap,
            };
            let words = pack_map(3, 2, 0x7f00_0000_1000, 8192, 77, request);
            let event = decode(&bytes(&words)).unwrap();
            let What::Map {
                address,
                length,
                stack,
                kind,
                inner,
            } = event.what
            else {
                panic!("{event:?}");
            };
            assert_eq!((event.time, event.space), (3, SpaceId(2)));
            assert_eq!((address, length), (0x7f00_0000_1000, 8192));
            assert_eq!((stack, inner), (StackId(77), heap));
            kind
        };
        let (private, shared) = (libc::MAP_PRIVATE, libc::MAP_SHARED);
        let (memory, stack) = (libc::MAP_ANONYMOUS, libc::MAP_STACK);
        let write = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(kind(private | memory, write, false), MappingKind::Anonymous);
        assert_eq!(kind(private | memory, 0, false), MappingKind::Reserved);
        // glibc maps stacks without access first, if they have guards.
        let of_thread = private | memory | stack;
        assert_eq!(kind(of_thread, 0, false), MappingKind::ThreadStack);
        assert_eq!(kind(shared | memory, write, false), MappingKind::Shared);
        assert_eq!(kind(shared, write, false), MappingKind::File);
        assert_eq!(kind(private, libc::PROT_EXEC, false), MappingKind::File);
        assert_eq!(kind(0, 0, true), MappingKind::Heap);
    }

    #[test]
    fn ends_of_mappings_come_back() {
        let (address, length) = (0x7f00_0000_1000, 4096);
        for (kind, what) in [
            (Kind::Unmap, What::Unmap { address, length }),
            (Kind::UnmapFailed, What::UnmapFailed { address, length }),
        ] {
            let event = decode(&bytes(&pack_unmap(kind, 10, 3, address, length))).unwrap();
            assert_eq!((event.space, event.what), (SpaceId(3), what));
        }
        let moved = Remapping {
            old_address: 0x1000,
            old_length: 0x2000,
            address,
            length,
            copies: false,
            inner: true,
        };
        let event = decode(&bytes(&pack_remap(10, 3, 77, &moved))).unwrap();
        let expected = Remap {
            old_address: 0x1000,
            old_length: 0x2000,
            address,
            length,
            copies: false,
            stack: StackId(77),
            inner: true,
        };
        assert_eq!(event.space, SpaceId(3));
        assert_eq!(event.what, What::Remap(Box::new(expected)));
    }

    #[test]
    fn a_stack_comes_back_with_its_frames() {
        let mut words = pack_stack_head(1, 2, StackEnd::Broken as u64, 3, 0, 77).to_vec();
        words.extend([11, 12, 13]);
        let What::Stack(stack) = decode(&bytes(&words)).unwrap().what else {
            panic!("a stack");
        };
        assert_eq!(stack.pcs, [11, 12, 13]);
        assert_eq!((stack.id, stack.end), (StackId(77), StackEnd::Broken));
        words.pop();
        assert_eq!(decode(&bytes(&words)), Err(DecodeError::WrongLength));
    }

    #[test]
    fn a_copied_stack_comes_back_with_its_registers_and_the_pages_that_it_has() {
        let mut words = vec![0; STACK_COPY_WORDS];
        words[..4].copy_from_slice(&pack_stack_copy_head(1, 2, 3, 7, 1, 77, 0x7ff0_0000));
        for (index, word) in words[4..16].iter_mut().enumerate() {
            *word = 100 + index as u64;
        }
        words[16] = 0x0102_0304;
        words[16 + 3 * 512 - 1] = u64::MAX;
        let What::StackCopy(copy) = decode(&bytes(&words)).unwrap().what else {
            panic!("a copy");
        };
        assert_eq!(
            (copy.id, copy.frames, copy.interrupted),
            (StackId(77), 7, true)
        );
        assert_eq!(
            copy.registers.call,
            [100, 101, 102, 103, 104, 105, 106, 107]
        );
        assert_eq!(copy.registers.broken, [108, 109, 110]);
        assert_eq!(copy.start, 0x7ff0_0000);
        assert_eq!(copy.bytes.len(), 3 * 4096);
        assert_eq!(&copy.bytes[..8], &[4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(&copy.bytes[3 * 4096 - 8..], &[0xff; 8]);
        words.truncate(16 + 3 * 512 - 1);
        assert_eq!(decode(&bytes(&words)), Err(DecodeError::WrongLength));
    }

    #[test]
    fn process_events_come_back() {
        let event = decode(&bytes(&pack_process(Kind::Fork, 1, 10, 11, 4, 5))).unwrap();
        assert_eq!(event.space, SpaceId(4));
        assert_eq!(
            event.what,
            What::Fork {
                pid: Pid(10),
                child: Pid(11),
                child_space: SpaceId(5)
            }
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for length in 0..200 {
            for fill in [0u8, 1, 2, 8, 9, 12, 0x7f, 0xff] {
                let mut record = vec![fill; length];
                let _ = decode(&record);
                for kind in [5, 6, 8, 12, 14] {
                    if let Some(first) = record.first_mut() {
                        *first = kind;
                    }
                    let _ = decode(&record);
                }
            }
        }
        assert_eq!(decode(&[0; 8]), Err(DecodeError::UnknownKind));
        assert_eq!(decode(&[1; 7]), Err(DecodeError::WrongLength));
    }
}
