//! A block in 16 bytes: hash of the address 45 bits, tick of birth 27, size 32, site 24, from the
//! top. Entries compare by their hashes; the number 0 is an empty slot.

use super::Block;
use super::mix::{HASH_BITS, Mix};
use crate::events::event::Nanoseconds;

/// A birth is kept in ticks of 2^24 ns, 16.8 ms: far below any age that matters to a leak.
pub const TICK_BITS: u32 = 24;
/// Bits of a birth's tick: they last for 26 days, after which births are taken for the last tick.
pub const BIRTH_BITS: u32 = 27;
const SIZE_BITS: u32 = 32;
const SITE_BITS: u32 = 24;
const ALIGN_BITS: u32 = 3;

const SIZE_SHIFT: u32 = SITE_BITS;
const BIRTH_SHIFT: u32 = SIZE_SHIFT + SIZE_BITS;
const HASH_SHIFT: u32 = BIRTH_SHIFT + BIRTH_BITS;
const LAST_TICK: u64 = (1 << BIRTH_BITS) - 1;

const _: () = assert!(HASH_SHIFT + HASH_BITS == 128);

/// A block with its address's hash.
pub(super) type Entry = u128;

/// A slot without a block.
pub(super) const EMPTY: Entry = 0;

/// The hash that an entry is ordered by; 0 for an empty slot and no other.
#[inline]
pub(super) fn hash_of(entry: Entry) -> u64 {
    (entry >> HASH_SHIFT) as u64
}

/// The number of an address: of at most [`HASH_BITS`] bits if an entry can hold it.
#[inline]
pub(super) fn number_of(address: u64) -> u64 {
    address.rotate_right(ALIGN_BITS)
}

/// The hash of an address, `None` for one that entries can't hold: not a multiple of 8, beyond
/// 2^48, or the one address whose hash stands for an empty slot.
#[inline]
pub(super) fn hash_of_address(mix: &Mix, address: u64) -> Option<u64> {
    let number = number_of(address);
    if number >> HASH_BITS != 0 {
        return None;
    }
    let hash = mix.hash(number);
    (hash != 0).then_some(hash)
}

/// The address behind an entry's hash.
#[inline]
pub(super) fn address_of(mix: &Mix, entry: Entry) -> u64 {
    mix.number(hash_of(entry)) << ALIGN_BITS
}

/// The tick of a birth.
#[inline]
pub(super) fn tick_of(start: Nanoseconds, birth: Nanoseconds) -> u64 {
    (birth.saturating_sub(start) >> TICK_BITS).min(LAST_TICK)
}

/// When a tick began.
#[inline]
pub(super) fn birth_of(start: Nanoseconds, tick: u64) -> Nanoseconds {
    start.saturating_add(tick << TICK_BITS)
}

/// The entry of a block, `None` if its size or its site needs more bits than there are.
#[inline]
pub(super) fn pack(hash: u64, start: Nanoseconds, block: &Block) -> Option<Entry> {
    if block.size >> SIZE_BITS != 0 || block.site >> SITE_BITS != 0 {
        return None;
    }
    Some(
        (u128::from(hash) << HASH_SHIFT)
            | (u128::from(tick_of(start, block.birth)) << BIRTH_SHIFT)
            | (u128::from(block.size) << SIZE_SHIFT)
            | u128::from(block.site),
    )
}

/// The block of an entry.
#[inline]
pub(super) fn unpack(entry: Entry, start: Nanoseconds) -> Block {
    Block {
        site: (entry as u32) & ((1 << SITE_BITS) - 1),
        size: (entry >> SIZE_SHIFT) as u64 & ((1 << SIZE_BITS) - 1),
        birth: birth_of(start, (entry >> BIRTH_SHIFT) as u64 & LAST_TICK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_block_that_fits_comes_back_and_the_next_is_refused() {
        let start = 1_000_000;
        let block = Block {
            site: (1 << 24) - 1,
            size: u64::from(u32::MAX),
            birth: start + (LAST_TICK << TICK_BITS),
        };
        let hash = (1 << HASH_BITS) - 1;
        let entry = pack(hash, start, &block).expect("fits");
        assert_eq!(hash_of(entry), hash);
        assert_eq!(unpack(entry, start), block);
        let larger = Block {
            size: 1 << 32,
            ..block
        };
        assert_eq!(pack(hash, start, &larger), None);
        let other = Block {
            site: 1 << 24,
            ..block
        };
        assert_eq!(pack(hash, start, &other), None);
    }

    #[test]
    fn births_before_the_start_and_after_the_last_tick_saturate() {
        assert_eq!(tick_of(100, 50), 0);
        assert_eq!(tick_of(0, u64::MAX), LAST_TICK);
        assert_eq!(birth_of(u64::MAX, 3), u64::MAX);
    }

    #[test]
    fn addresses_that_entries_cannot_hold_are_told_apart() {
        let mix = Mix::new(3);
        assert!(hash_of_address(&mix, 0x7fff_ffff_fff8).is_some());
        assert!(hash_of_address(&mix, 0x7fff_ffff_fff4).is_none());
        assert!(hash_of_address(&mix, 1 << 48).is_none());
        // The hash of number 0 is 0 under any seed.
        assert!(hash_of_address(&mix, 0).is_none());
    }
}
