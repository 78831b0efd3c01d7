//! The hash of addresses: invertible, so that a table can store the hash in the address's place,
//! and seeded, so that a target can't choose addresses that collide.

/// Bits of a hash, and of a block number: an address below 2^48 that is a multiple of 8.
pub(super) const HASH_BITS: u32 = 45;
const MASK: u64 = (1 << HASH_BITS) - 1;
const FOLD: u32 = 22;

/// A bijection on numbers of [`HASH_BITS`] bits: multiply, fold the upper half down, multiply.
/// The first product alone is universal in its upper bits for a random odd factor (Dietzfelbinger
/// et al. 1997); the second round breaks up the arithmetic progressions that allocators lay out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    first: u64,
    second: u64,
    first_inverse: u64,
    second_inverse: u64,
}

impl Mix {
    pub(super) fn new(seed: u64) -> Self {
        let first = split_mix(seed) | 1;
        let second = split_mix(seed.wrapping_add(1)) | 1;
        Self {
            first,
            second,
            first_inverse: inverse(first),
            second_inverse: inverse(second),
        }
    }

    #[inline]
    pub(super) fn hash(&self, number: u64) -> u64 {
        let product = number.wrapping_mul(self.first) & MASK;
        (product ^ (product >> FOLD)).wrapping_mul(self.second) & MASK
    }

    /// Which of 2^`bits` parts a number falls into: by bits of its hash on which all of its own bear,
    /// and by which no table orders its entries. Every number has a part, of more bits than a hash too.
    #[inline]
    pub(super) fn part(&self, number: u64, bits: u32) -> usize {
        ((self.hash(number) >> (FOLD - bits)) & ((1 << bits) - 1)) as usize
    }

    #[inline]
    pub(super) fn number(&self, hash: u64) -> u64 {
        let folded = hash.wrapping_mul(self.second_inverse) & MASK;
        let product = folded ^ (folded >> FOLD) ^ (folded >> (2 * FOLD));
        product.wrapping_mul(self.first_inverse) & MASK
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): seeds that differ little give factors
/// that have nothing in common.
fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The inverse of an odd number modulo 2^64 by Newton's iteration: 3 right bits at the start,
/// twice as many after each step.
fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_from_its_hash() {
        for seed in 0..200 {
            let mix = Mix::new(seed);
            for number in [0, 1, 2, MASK, MASK - 1, 0x7fff_ffff_fff0 >> 3, 0x5555_5555] {
                let hash = mix.hash(number);
                assert!(hash <= MASK);
                assert_eq!(mix.number(hash), number, "seed {seed}");
            }
        }
    }

    #[test]
    fn parts_are_of_one_size_and_their_hashes_spread_as_all_do() {
        for seed in 0..50 {
            let mix = Mix::new(seed);
            for stride in [2, 4, 512, 1 << 20] {
                let mut counts = [[0u32; 16]; 8];
                for i in 0..128_000 {
                    let number = (0x5555_0000_0000 >> 3) + i * stride;
                    let hash = mix.hash(number) >> (HASH_BITS - 4);
                    counts[mix.part(number, 3)][hash as usize] += 1;
                }
                for part in counts {
                    let sum: u32 = part.iter().sum();
                    assert!((14_000..18_000).contains(&sum), "seed {seed}: {sum}");
                    let most = part.iter().max().copied().unwrap_or(0);
                    assert!(most < 1_500, "seed {seed} stride {stride}: {most} of 1000");
                }
            }
        }
        assert_eq!(Mix::new(1).part(u64::MAX, 0), 0);
    }

    #[test]
    fn blocks_in_a_row_spread_over_the_whole_range() {
        for seed in 0..50 {
            let mix = Mix::new(seed);
            for stride in [2, 4, 512, 1 << 20] {
                let mut counts = [0u32; 64];
                for i in 0..64_000 {
                    let hash = mix.hash((0x5555_0000_0000 >> 3) + i * stride);
                    counts[(hash >> (HASH_BITS - 6)) as usize] += 1;
                }
                let most = counts.iter().max().copied().unwrap_or(0);
                assert!(most < 1_500, "seed {seed} stride {stride}: {most} of 1000");
            }
        }
    }
}
