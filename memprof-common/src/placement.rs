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
}
