//! Where in a function its entry probe sits, as the loader tells the programs: the probe's cookie.
//!
//! A probe need not sit on a function's first instruction: another one may cost the target far
//! less. The program then has to know how far in it is, what is on the stack by then, and where
//! the arguments have gone. All of it fits into the 64 bits that the kernel keeps with a probe;
//! 0 is the first instruction with everything in its place.
//!
//! | bits   | hold                                                        |
//! |--------|-------------------------------------------------------------|
//! | 0..16  | bytes from the function's first instruction to the probe    |
//! | 16..24 | words of 8 bytes that were pushed since                     |
//! | 24..39 | three arguments, 5 bits each: 0 where the convention has it, else 1 + the word of the saved registers (`pt_regs`) that holds it |
//! | 39     | the function jumps back to its own start                    |

/// Arguments that a cookie can describe: the first three.
pub const PLACED_ARGUMENTS: usize = 3;
/// Words of saved registers that an argument may be in.
pub const MAX_SAVED_WORDS: u8 = 30;

const OFFSET_BITS: u32 = 16;
const PUSHED_BITS: u32 = 8;
const ARGUMENT_BITS: u32 = 5;
const ARGUMENT_MASK: u64 = (1 << ARGUMENT_BITS) - 1;
const PUSHED_SHIFT: u32 = OFFSET_BITS;
const ARGUMENTS_SHIFT: u32 = PUSHED_SHIFT + PUSHED_BITS;
const RESTARTS_SHIFT: u32 = ARGUMENTS_SHIFT + PLACED_ARGUMENTS as u32 * ARGUMENT_BITS;

/// A probe's place in its function. The default is the first instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryPlace {
    /// Bytes from the function's first instruction to the probe.
    pub offset: u16,
    /// Words of 8 bytes between the stack pointer and the slot of the return address.
    pub pushed_words: u8,
    /// The word of the saved registers that holds each argument, at most [`MAX_SAVED_WORDS`];
    /// `None` where the calling convention put it.
    pub arguments: [Option<u8>; PLACED_ARGUMENTS],
    /// Whether the function may jump back to its own start, so that one call comes by twice.
    pub restarts: bool,
}

impl EntryPlace {
    /// The cookie that says so; `None` if a word is out of range.
    pub const fn pack(self) -> Option<u64> {
        let mut cookie = self.offset as u64
            | (self.pushed_words as u64) << PUSHED_SHIFT
            | (self.restarts as u64) << RESTARTS_SHIFT;
        let mut number = 0;
        while number < PLACED_ARGUMENTS {
            if let Some(word) = self.arguments[number] {
                if word > MAX_SAVED_WORDS {
                    return None;
                }
                let shift = ARGUMENTS_SHIFT + number as u32 * ARGUMENT_BITS;
                cookie |= (word as u64 + 1) << shift;
            }
            number += 1;
        }
        Some(cookie)
    }
}

/// Bytes from the function's first instruction to the probe.
#[inline(always)]
pub const fn offset(cookie: u64) -> u64 {
    cookie & ((1 << OFFSET_BITS) - 1)
}

/// Bytes between the stack pointer and the slot of the return address.
#[inline(always)]
pub const fn pushed_bytes(cookie: u64) -> u64 {
    (cookie >> PUSHED_SHIFT & ((1 << PUSHED_BITS) - 1)) * 8
}

/// Bytes from the start of the saved registers to the argument with this number (below
/// [`PLACED_ARGUMENTS`]); `None` if it is where the calling convention put it.
#[inline(always)]
pub const fn argument(cookie: u64, number: usize) -> Option<u64> {
    let word = cookie >> (ARGUMENTS_SHIFT + number as u32 * ARGUMENT_BITS) & ARGUMENT_MASK;
    if word == 0 {
        None
    } else {
        Some((word - 1) * 8)
    }
}

/// Whether the function may jump back to its own start.
#[inline(always)]
pub const fn restarts(cookie: u64) -> bool {
    cookie >> RESTARTS_SHIFT & 1 != 0
}

/// Where a probe inside a function sits, and where the values are there.
///
/// | bits   | hold                                                              |
/// |--------|-------------------------------------------------------------------|
/// | 0..16  | bytes from the function's first instruction to the probe          |
/// | 16..24 | words of 8 bytes between the stack pointer and the return address |
/// | 24..29 | 1 + the word of the saved registers that holds the block          |
/// | 29..34 | 1 + the word that holds the size; 0 where it was noted before     |
/// | 34..39 | 1 + the word that the size is to be multiplied by; 0 for none     |
/// | 40..49 | 1 + words from the stack pointer to where the caller's frame pointer was saved; 0 where it still is in its register |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPlace {
    /// Bytes from the function's first instruction to the probe.
    pub offset: u16,
    /// Words of 8 bytes between the stack pointer and the slot of the return address.
    pub pushed_words: u8,
    /// The word of the saved registers that holds the block's address.
    pub result: u8,
    /// Where the size is.
    pub size: SizeAt,
    /// Words of 8 bytes from the stack pointer to where the caller's frame pointer was saved;
    /// `None` where it is in its register.
    pub frame: Option<u8>,
}

/// Where the size of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeAt {
    /// In this word of the saved registers.
    Word(u8),
    /// It is the product of these two words, which does not overflow where there is a block.
    Product(u8, u8),
    /// Noted by a probe before.
    Noted,
}

const WORD_BITS: u32 = 5;
const WORD_MASK: u64 = (1 << WORD_BITS) - 1;
const RESULT_SHIFT: u32 = PUSHED_SHIFT + PUSHED_BITS;
const SIZE_SHIFT: u32 = RESULT_SHIFT + WORD_BITS;
const FACTOR_SHIFT: u32 = SIZE_SHIFT + WORD_BITS;
const FRAME_SHIFT: u32 = 40;
const FRAME_MASK: u64 = (1 << 9) - 1;
const _: () = assert!(FACTOR_SHIFT + WORD_BITS <= FRAME_SHIFT);

impl InnerPlace {
    /// The cookie that says so; `None` if a word is out of range.
    pub const fn pack(self) -> Option<u64> {
        let (size, factor) = match self.size {
            SizeAt::Word(word) => (word.saturating_add(1), 0),
            SizeAt::Product(word, factor) => (word.saturating_add(1), factor.saturating_add(1)),
            SizeAt::Noted => (0, 0),
        };
        let most = MAX_SAVED_WORDS + 1;
        if self.result > MAX_SAVED_WORDS || size > most || factor > most {
            return None;
        }
        let frame = match self.frame {
            Some(words) => words as u64 + 1,
            None => 0,
        };
        Some(
            self.offset as u64
                | (self.pushed_words as u64) << PUSHED_SHIFT
                | (self.result as u64 + 1) << RESULT_SHIFT
                | (size as u64) << SIZE_SHIFT
                | (factor as u64) << FACTOR_SHIFT
                | frame << FRAME_SHIFT,
        )
    }
}

const fn saved_word(cookie: u64, shift: u32) -> Option<u64> {
    let word = cookie >> shift & WORD_MASK;
    if word == 0 {
        None
    } else {
        Some((word - 1) * 8)
    }
}

/// Bytes from the start of the saved registers to the block's address.
#[inline(always)]
pub const fn inner_result(cookie: u64) -> Option<u64> {
    saved_word(cookie, RESULT_SHIFT)
}

/// Bytes from the start of the saved registers to the size, or to its first factor; `None` where
/// it was noted.
#[inline(always)]
pub const fn inner_size(cookie: u64) -> Option<u64> {
    saved_word(cookie, SIZE_SHIFT)
}

/// Bytes from the start of the saved registers to what the size is to be multiplied by.
#[inline(always)]
pub const fn inner_factor(cookie: u64) -> Option<u64> {
    saved_word(cookie, FACTOR_SHIFT)
}

/// Bytes from the stack pointer to the caller's frame pointer; `None` where it is in its register.
#[inline(always)]
pub const fn inner_frame(cookie: u64) -> Option<u64> {
    let words = cookie >> FRAME_SHIFT & FRAME_MASK;
    if words == 0 {
        None
    } else {
        Some((words - 1) * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_instruction_is_no_cookie_at_all() {
        assert_eq!(EntryPlace::default().pack(), Some(0));
        assert_eq!(offset(0), 0);
        assert_eq!(pushed_bytes(0), 0);
        assert_eq!([0, 1, 2].map(|number| argument(0, number)), [None; 3]);
        assert!(!restarts(0));
    }

    #[test]
    fn what_was_packed_is_read_back() {
        for offset_bytes in [0, 9, u16::MAX] {
            for pushed_words in [0, 3, u8::MAX] {
                for word in [None, Some(0), Some(14), Some(MAX_SAVED_WORDS)] {
                    for (number, again) in [(0, false), (1, true), (2, true)] {
                        let mut place = EntryPlace {
                            offset: offset_bytes,
                            pushed_words,
                            restarts: again,
                            ..EntryPlace::default()
                        };
                        place.arguments[number] = word;
                        let cookie = place.pack().expect("in range");
                        assert_eq!(offset(cookie), u64::from(offset_bytes));
                        assert_eq!(pushed_bytes(cookie), u64::from(pushed_words) * 8);
                        assert_eq!(restarts(cookie), again);
                        for other in 0..PLACED_ARGUMENTS {
                            let expected = if other == number { word } else { None };
                            let expected = expected.map(|word| u64::from(word) * 8);
                            assert_eq!(argument(cookie, other), expected);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_beyond_the_saved_registers_is_refused() {
        let place = EntryPlace {
            arguments: [None, Some(MAX_SAVED_WORDS + 1), None],
            ..EntryPlace::default()
        };
        assert_eq!(place.pack(), None);
    }

    #[test]
    fn an_inner_place_is_read_back() {
        let sizes = [
            SizeAt::Word(0),
            SizeAt::Word(MAX_SAVED_WORDS),
            SizeAt::Product(3, 14),
            SizeAt::Noted,
        ];
        for size in sizes {
            for (frame, result) in [(None, 10), (Some(0), 0), (Some(u8::MAX), MAX_SAVED_WORDS)] {
                let place = InnerPlace {
                    offset: 0x157,
                    pushed_words: u8::MAX,
                    result,
                    size,
                    frame,
                };
                let cookie = place.pack().expect("in range");
                assert_eq!(offset(cookie), 0x157);
                assert_eq!(pushed_bytes(cookie), 255 * 8);
                assert_eq!(inner_result(cookie), Some(u64::from(result) * 8));
                assert_eq!(inner_frame(cookie), frame.map(|words| u64::from(words) * 8));
                let (word, factor) = match size {
                    SizeAt::Word(word) => (Some(word), None),
                    SizeAt::Product(word, factor) => (Some(word), Some(factor)),
                    SizeAt::Noted => (None, None),
                };
                assert_eq!(inner_size(cookie), word.map(|word| u64::from(word) * 8));
                assert_eq!(inner_factor(cookie), factor.map(|word| u64::from(word) * 8));
            }
        }
    }

    #[test]
    fn an_inner_place_beyond_the_saved_registers_is_refused() {
        let place = InnerPlace {
            offset: 0,
            pushed_words: 0,
            result: MAX_SAVED_WORDS + 1,
            size: SizeAt::Noted,
            frame: None,
        };
        assert_eq!(place.pack(), None);
        let place = InnerPlace {
            result: 0,
            size: SizeAt::Product(0, MAX_SAVED_WORDS + 1),
            ..place
        };
        assert_eq!(place.pack(), None);
    }
}
