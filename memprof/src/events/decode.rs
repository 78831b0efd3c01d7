//! Bytes of a record to an [`Event`]. Total: any bytes give an event or an error, never a panic.

use memprof_common::event::{
    self, Kind, MAX_FRAMES, STACK_HEADER_WORDS, alloc_size, stack_by_frame_pointer, stack_end,
    stack_frames, time_ns,
};

use super::event::{Event, Pid, RawStack, SpaceId, StackId, What};

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
        Kind::Fork | Kind::Exec | Kind::Exit => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use memprof_common::event::{StackEnd, pack_alloc, pack_free, pack_process, pack_stack_head};

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
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
        for length in 0..80 {
            for fill in [0u8, 1, 2, 8, 9, 0x7f, 0xff] {
                let mut record = vec![fill; length];
                let _ = decode(&record);
                if let Some(first) = record.first_mut() {
                    *first = 8;
                }
                let _ = decode(&record);
            }
        }
        assert_eq!(decode(&[0; 8]), Err(DecodeError::UnknownKind));
        assert_eq!(decode(&[1; 7]), Err(DecodeError::WrongLength));
    }
}
