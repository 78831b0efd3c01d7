//! Where a USDT probe's two arguments are, as the loader tells the programs: the probe's cookie, 32
//! bits for each, the first one's low.
//!
//! | bits   | hold                                                              |
//! |--------|-------------------------------------------------------------------|
//! | 0..2   | 0 for a constant, 1 for a register, 2 for memory behind a register |
//! | 2..7   | the word of the saved registers (`pt_regs`)                       |
//! | 7..9   | bytes of the value, as a power of two                             |
//! | 9      | the value has a sign                                              |
//! | 10..32 | the constant, or the bytes from the register to the memory; signed |

/// Arguments that a cookie describes.
pub const ARGUMENTS: usize = 2;

const KIND_BITS: u32 = 2;
const WORD_BITS: u32 = 5;
const WIDTH_BITS: u32 = 2;
const NUMBER_BITS: u32 = 22;
const WORD_SHIFT: u32 = KIND_BITS;
const WIDTH_SHIFT: u32 = WORD_SHIFT + WORD_BITS;
const SIGN_SHIFT: u32 = WIDTH_SHIFT + WIDTH_BITS;
const NUMBER_SHIFT: u32 = SIGN_SHIFT + 1;
const _: () = assert!(NUMBER_SHIFT + NUMBER_BITS == 32);

const IN_REGISTER: u32 = 1;
const IN_MEMORY: u32 = 2;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It always is this number.
    Constant(i32),
    /// In this word of the saved registers, below 32.
    Register(u8),
    /// In memory, so many bytes from where this word of the saved registers points.
    Memory(u8, i32),
}

/// One argument of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Where it is.
    pub place: Place,
    /// Its bytes, as a power of two: at most 3.
    pub width: u8,
    /// Whether it has a sign.
    pub signed: bool,
}

impl Argument {
    /// Half of a cookie; `None` if a number is out of range.
    pub const fn pack(self) -> Option<u32> {
        let (kind, word, number) = match self.place {
            Place::Constant(number) => (0, 0, number),
            Place::Register(word) => (IN_REGISTER, word, 0),
            Place::Memory(word, offset) => (IN_MEMORY, word, offset),
        };
        let packed = (number as u32) << NUMBER_SHIFT;
        if packed as i32 >> NUMBER_SHIFT != number
            || word >> WORD_BITS != 0
            || self.width >> WIDTH_BITS != 0
        {
            return None;
        }
        Some(
            packed
                | kind
                | (word as u32) << WORD_SHIFT
                | (self.width as u32) << WIDTH_SHIFT
                | (self.signed as u32) << SIGN_SHIFT,
        )
    }
}

/// The half of a cookie that describes the argument with this number, below [`ARGUMENTS`].
#[inline(always)]
pub const fn half(cookie: u64, number: usize) -> u32 {
    (cookie >> (number as u32 * 32)) as u32
}

/// Whether the argument is in a register.
#[inline(always)]
pub const fn is_in_register(half: u32) -> bool {
    half & ((1 << KIND_BITS) - 1) == IN_REGISTER
}

/// Whether the argument is in memory.
#[inline(always)]
pub const fn is_in_memory(half: u32) -> bool {
    half & ((1 << KIND_BITS) - 1) == IN_MEMORY
}

/// Bytes from the start of the saved registers to the argument's register.
#[inline(always)]
pub const fn register(half: u32) -> u64 {
    (half >> WORD_SHIFT & ((1 << WORD_BITS) - 1)) as u64 * 8
}

/// Bytes of the value, as a power of two.
#[inline(always)]
pub const fn width(half: u32) -> u32 {
    half >> WIDTH_SHIFT & ((1 << WIDTH_BITS) - 1)
}

/// The constant, or the bytes to add to the register; with its sign in all of the bits.
#[inline(always)]
pub const fn number(half: u32) -> u64 {
    (half as i32 >> NUMBER_SHIFT) as i64 as u64
}

/// `word` as a value of the argument's width and sign.
#[inline(always)]
pub const fn cut(half: u32, word: u64) -> u64 {
    let unused = 64 - (8 << width(half));
    if half >> SIGN_SHIFT & 1 != 0 {
        ((word << unused) as i64 >> unused) as u64
    } else {
        word << unused >> unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn argument(place: Place, width: u8, signed: bool) -> Argument {
        Argument {
            place,
            width,
            signed,
        }
    }

    #[test]
    fn what_was_packed_is_read_back() {
        for offset in [0, 8, -8, (1 << 21) - 1, -(1 << 21)] {
            let half = argument(Place::Memory(19, offset), 2, true).pack();
            let half = half.expect("it fits");
            assert!(is_in_memory(half) && !is_in_register(half));
            assert_eq!(number(half), i64::from(offset) as u64);
            assert_eq!((register(half), width(half)), (19 * 8, 2));
        }
        let half = argument(Place::Register(14), 3, false).pack();
        let half = half.expect("it fits");
        assert!(is_in_register(half) && !is_in_memory(half));
        assert_eq!((register(half), width(half)), (14 * 8, 3));
        let cookie = u64::from(half) << 32 | 7;
        assert_eq!([self::half(cookie, 0), self::half(cookie, 1)], [7, half]);
    }

    #[test]
    fn a_value_has_its_width_and_sign() {
        let cut = |width, signed, word| {
            let half = argument(Place::Register(0), width, signed).pack();
            cut(half.expect("it fits"), word)
        };
        assert_eq!(cut(3, false, u64::MAX), u64::MAX);
        assert_eq!(cut(2, false, u64::MAX), 0xffff_ffff);
        assert_eq!(cut(2, true, 0xffff_fffe), -2_i64 as u64);
        assert_eq!(cut(0, false, 0x1234), 0x34);
        assert_eq!(cut(1, true, 0x7fff), 0x7fff);
    }

    #[test]
    fn what_does_not_fit_is_no_cookie() {
        assert_eq!(argument(Place::Constant(1 << 21), 3, true).pack(), None);
        assert_eq!(argument(Place::Memory(32, 0), 3, true).pack(), None);
        assert_eq!(argument(Place::Register(0), 4, true).pack(), None);
    }
}
