//! Where in a function a probe sits, as the loader tells the programs: the probe's cookie.
//!
//! An entry probe need not sit on a function's first instruction: another one may cost the target far
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
//! | 40     | its return is seen by its `ret` instructions, not by a return probe |

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
const BY_RET_SHIFT: u32 = RESTARTS_SHIFT + 1;

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
    /// Whether the call's return is seen by probes on `ret` instructions, so that its return slot
    /// stays as it is.
    pub by_ret: bool,
}

impl EntryPlace {
    /// The cookie that says so; `None` if a word is out of range.
    pub const fn pack(self) -> Option<u64> {
        let mut cookie = self.offset as u64
            | (self.pushed_words as u64) << PUSHED_SHIFT
            | (self.restarts as u64) << RESTARTS_SHIFT
            | (self.by_ret as u64) << BY_RET_SHIFT;
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

/// Whether the call's return is seen by probes on `ret` instructions.
#[inline(always)]
pub const fn by_ret(cookie: u64) -> bool {
    cookie >> BY_RET_SHIFT & 1 != 0
}

/// Where a probe inside a function sits, and where the values are there.
///
/// | bits   | hold                                                              |
/// |--------|-------------------------------------------------------------------|
/// | 0..12  | bytes from the function's first instruction to the probe          |
/// | 12..18 | words of 8 bytes between the stack pointer and the return address |
/// | 18..22 | the word of the saved registers that holds the block              |
/// | 22..27 | 1 + the word that holds the size; 0 where it was noted before     |
/// | 27..32 | 1 + the word that the size is to be multiplied by; 0 for none     |
/// | 32..62 | for each register that a call preserves, 5 bits: 1 + words from the stack pointer to where the caller's value was saved; 0 where it still is in its register |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPlace {
    /// Bytes from the function's first instruction to the probe, below 4,096.
    pub offset: u16,
    /// Words of 8 bytes between the stack pointer and the slot of the return address, below 64.
    pub pushed_words: u8,
    /// The word of the saved registers that holds the block's address, below 16.
    pub result: u8,
    /// Where the size is.
    pub size: SizeAt,
    /// Words of 8 bytes from the stack pointer to where the caller's value of each register that
    /// a call preserves was saved, below 31; `None` where it is in its register. In the order of
    /// [`Preserved`].
    pub preserved: [Option<u8>; PRESERVED_REGISTERS],
}

/// The registers that a call preserves, beside the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preserved {
    /// The frame pointer.
    Rbp,
    /// `rbx`.
    Rbx,
    /// `r12`.
    R12,
    /// `r13`.
    R13,
    /// `r14`.
    R14,
    /// `r15`.
    R15,
}

/// How many of them there are.
pub const PRESERVED_REGISTERS: usize = 6;

/// Where the size of a block is: words of the saved registers, below 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeAt {
    /// In this word.
    Word(u8),
    /// It is the product of these two words, which does not overflow where there is a block.
    Product(u8, u8),
    /// Noted by a probe before.
    Noted,
}

const INNER_OFFSET_BITS: u32 = 12;
const INNER_PUSHED_BITS: u32 = 6;
const RESULT_BITS: u32 = 4;
const WORD_BITS: u32 = 5;
const INNER_PUSHED_SHIFT: u32 = INNER_OFFSET_BITS;
const RESULT_SHIFT: u32 = INNER_PUSHED_SHIFT + INNER_PUSHED_BITS;
const SIZE_SHIFT: u32 = RESULT_SHIFT + RESULT_BITS;
const FACTOR_SHIFT: u32 = SIZE_SHIFT + WORD_BITS;
const PRESERVED_SHIFT: u32 = FACTOR_SHIFT + WORD_BITS;
const _: () = assert!(PRESERVED_SHIFT + PRESERVED_REGISTERS as u32 * WORD_BITS <= 64);

const fn field(cookie: u64, shift: u32, bits: u32) -> u64 {
    cookie >> shift & ((1 << bits) - 1)
}

/// 1 + a word, or 0 for none; `None` if it does not fit.
const fn optional_word(word: Option<u8>) -> Option<u64> {
    match word {
        None => Some(0),
        Some(word) if word < (1 << WORD_BITS) - 1 => Some(word as u64 + 1),
        Some(_) => None,
    }
}

const fn optional_bytes(field: u64) -> Option<u64> {
    if field == 0 {
        None
    } else {
        Some((field - 1) * 8)
    }
}

impl InnerPlace {
    /// The cookie that says so; `None` if something is out of range.
    pub const fn pack(self) -> Option<u64> {
        let (size, factor) = match self.size {
            SizeAt::Word(word) => (Some(word), None),
            SizeAt::Product(word, factor) => (Some(word), Some(factor)),
            SizeAt::Noted => (None, None),
        };
        let (Some(size), Some(factor)) = (optional_word(size), optional_word(factor)) else {
            return None;
        };
        if self.offset >> INNER_OFFSET_BITS != 0
            || self.pushed_words >> INNER_PUSHED_BITS != 0
            || self.result >> RESULT_BITS != 0
        {
            return None;
        }
        let mut cookie = self.offset as u64
            | (self.pushed_words as u64) << INNER_PUSHED_SHIFT
            | (self.result as u64) << RESULT_SHIFT
            | size << SIZE_SHIFT
            | factor << FACTOR_SHIFT;
        let mut number = 0;
        while number < PRESERVED_REGISTERS {
            let Some(word) = optional_word(self.preserved[number]) else {
                return None;
            };
            cookie |= word << (PRESERVED_SHIFT + number as u32 * WORD_BITS);
            number += 1;
        }
        Some(cookie)
    }
}

/// Bytes from the function's first instruction to an inner probe.
#[inline(always)]
pub const fn inner_offset(cookie: u64) -> u64 {
    field(cookie, 0, INNER_OFFSET_BITS)
}

/// Bytes between the stack pointer and the slot of the return address at an inner probe.
#[inline(always)]
pub const fn inner_pushed_bytes(cookie: u64) -> u64 {
    field(cookie, INNER_PUSHED_SHIFT, INNER_PUSHED_BITS) * 8
}

/// Bytes from the start of the saved registers to the block's address.
#[inline(always)]
pub const fn inner_result(cookie: u64) -> u64 {
    field(cookie, RESULT_SHIFT, RESULT_BITS) * 8
}

/// Bytes from the start of the saved registers to the size, or to its first factor; `None` where
/// it was noted.
#[inline(always)]
pub const fn inner_size(cookie: u64) -> Option<u64> {
    optional_bytes(field(cookie, SIZE_SHIFT, WORD_BITS))
}

/// Bytes from the start of the saved registers to what the size is to be multiplied by.
#[inline(always)]
pub const fn inner_factor(cookie: u64) -> Option<u64> {
    optional_bytes(field(cookie, FACTOR_SHIFT, WORD_BITS))
}

/// Bytes from the stack pointer to where the caller's value of a register was saved; `None` where
/// it is in its register.
#[inline(always)]
pub const fn inner_preserved(cookie: u64, register: Preserved) -> Option<u64> {
    let shift = PRESERVED_SHIFT + register as u32 * WORD_BITS;
    optional_bytes(field(cookie, shift, WORD_BITS))
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
        assert!(!restarts(0) && !by_ret(0));
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
                            by_ret: !again,
                            ..EntryPlace::default()
                        };
                        place.arguments[number] = word;
                        let cookie = place.pack().expect("in range");
                        assert_eq!(offset(cookie), u64::from(offset_bytes));
                        assert_eq!(pushed_bytes(cookie), u64::from(pushed_words) * 8);
                        assert_eq!((restarts(cookie), by_ret(cookie)), (again, !again));
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
            SizeAt::Word(30),
            SizeAt::Product(3, 14),
            SizeAt::Noted,
        ];
        let preserved = [None, Some(0), Some(3), Some(30), None, Some(7)];
        for size in sizes {
            for (offset, pushed_words, result) in [(0, 0, 0), (0x157, 5, 10), (4095, 63, 15)] {
                let place = InnerPlace {
                    offset,
                    pushed_words,
                    result,
                    size,
                    preserved,
                };
                let cookie = place.pack().expect("in range");
                assert_eq!(inner_offset(cookie), u64::from(offset));
                assert_eq!(inner_pushed_bytes(cookie), u64::from(pushed_words) * 8);
                assert_eq!(inner_result(cookie), u64::from(result) * 8);
                let (word, factor) = match size {
                    SizeAt::Word(word) => (Some(word), None),
                    SizeAt::Product(word, factor) => (Some(word), Some(factor)),
                    SizeAt::Noted => (None, None),
                };
                assert_eq!(inner_size(cookie), word.map(|word| u64::from(word) * 8));
                assert_eq!(inner_factor(cookie), factor.map(|word| u64::from(word) * 8));
                let registers = [
                    Preserved::Rbp,
                    Preserved::Rbx,
                    Preserved::R12,
                    Preserved::R13,
                    Preserved::R14,
                    Preserved::R15,
                ];
                for (register, word) in registers.into_iter().zip(preserved) {
                    let bytes = word.map(|word| u64::from(word) * 8);
                    assert_eq!(inner_preserved(cookie, register), bytes);
                }
            }
        }
    }

    #[test]
    fn an_inner_place_that_does_not_fit_is_refused() {
        let place = InnerPlace {
            offset: 0,
            pushed_words: 0,
            result: 0,
            size: SizeAt::Noted,
            preserved: [None; PRESERVED_REGISTERS],
        };
        assert!(place.pack().is_some());
        let refused = [
            InnerPlace {
                offset: 4096,
                ..place
            },
            InnerPlace {
                pushed_words: 64,
                ..place
            },
            InnerPlace {
                result: 16,
                ..place
            },
            InnerPlace {
                size: SizeAt::Word(31),
                ..place
            },
            InnerPlace {
                size: SizeAt::Product(0, u8::MAX),
                ..place
            },
            InnerPlace {
                preserved: [Some(31); PRESERVED_REGISTERS],
                ..place
            },
        ];
        for place in refused {
            assert_eq!(place.pack(), None, "{place:?}");
        }
    }
}
