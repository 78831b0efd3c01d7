//! Sampling of allocations by bytes: the samples are points of a Poisson process along the bytes that
//! a thread allocates, and a block is taken if one of them falls into it. So a block of `size` bytes
//! is taken with the probability `1 - exp(-size / mean)`, whatever came before it, and the inverse
//! of that is its weight (Horvitz and Thompson 1952; tcmalloc and Go sample their heaps so).

/// The mean distance of samples in bytes, and from when on it is another one; 0: every block.
///
/// The kernel side and the collector decide by the time that stands in a block's record, so that
/// both know of each block how it was chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The mean before `from`.
    pub before: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub from: u64,
    /// The mean since then.
    pub after: u64,
}

impl Schedule {
    /// The mean at a time.
    #[inline(always)]
    pub fn mean_at(&self, time: u64) -> u64 {
        if time < self.from {
            self.before
        } else {
            self.after
        }
    }
}

/// The longest mean distance, bytes: products with it stay below 2^64.
pub const MAX_MEAN: u64 = 1 << 40;

/// Where the next sample of a thread is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampler {
    /// The mean that `left` was drawn with.
    mean: u64,
    /// Bytes up to the next sample.
    left: u64,
}

impl Sampler {
    /// Whether the next block of the thread is taken. `random` gives uniform numbers.
    ///
    /// A block of no bytes counts as one: it takes memory all the same.
    #[inline(always)]
    pub fn takes(&mut self, size: u64, mean: u64, mut random: impl FnMut() -> u32) -> bool {
        if self.mean != mean {
            // The process has no memory, so it can begin anew at any point.
            self.mean = mean;
            self.left = exponential(mean, random());
        }
        let size = if size == 0 { 1 } else { size };
        if size <= self.left {
            self.left -= size;
            return false;
        }
        self.left = exponential(mean, random());
        true
    }
}

/// A distance with this mean, exponentially distributed, from a uniform number.
#[inline(always)]
pub fn exponential(mean: u64, random: u32) -> u64 {
    // -ln((random + 1) / 2^32) in units of 2^-16.
    let nats = ((32 << 30) - log2(u64::from(random) + 1)) as u64 >> 14;
    let nats = (nats * LN_2) >> 16;
    let mean = if mean > MAX_MEAN { MAX_MEAN } else { mean };
    (mean * nats) >> 16
}

/// The natural logarithm of 2 in units of 2^-16.
const LN_2: u64 = 45_426;

/// The binary logarithm of a number from 1 to 2^32, in units of 2^-30, to 10^-5.
#[inline(always)]
fn log2(number: u64) -> i64 {
    let exponent = 63 - number.leading_zeros();
    // The number's bits after its first one, in units of 2^-30.
    let fraction = (((number << (63 - exponent)) << 1) >> 34) as i64;
    // log2(1 + x) / x at the zeros of a Chebyshev polynomial, interpolated.
    const COEFFICIENTS: [i64; 6] = [
        1_549_067_431,
        -773_479_343,
        503_218_640,
        -323_881_347,
        155_124_658,
        -36_316_145,
    ];
    let mut sum = COEFFICIENTS[5];
    sum = COEFFICIENTS[4] + ((sum * fraction) >> 30);
    sum = COEFFICIENTS[3] + ((sum * fraction) >> 30);
    sum = COEFFICIENTS[2] + ((sum * fraction) >> 30);
    sum = COEFFICIENTS[1] + ((sum * fraction) >> 30);
    sum = COEFFICIENTS[0] + ((sum * fraction) >> 30);
    (i64::from(exponent) << 30) + ((sum * fraction) >> 30)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    /// Uniform numbers (SplitMix64).
    fn generator(mut state: u64) -> impl FnMut() -> u32 {
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (word >> 32) as u32
        }
    }

    #[test]
    fn the_logarithm_is_right_to_five_digits() {
        for number in (1..=1_u64 << 32)
            .step_by(997_331)
            .chain([2, 3, 255, 256, 1 << 32])
        {
            let exact = (number as f64).log2();
            let ours = log2(number) as f64 / f64::from(1 << 30);
            assert!(
                (ours - exact).abs() < 1.5e-5,
                "{number}: {ours} for {exact}"
            );
        }
    }

    #[test]
    fn distances_have_the_mean_and_the_tail_of_an_exponential_distribution() {
        let mut random = generator(1);
        let mean = 512 << 10;
        let draws: Vec<f64> = (0..200_000)
            .map(|_| exponential(mean, random()) as f64 / mean as f64)
            .collect();
        let average = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((average - 1.0).abs() < 0.01, "{average}");
        for beyond in [0.1, 1.0, 3.0] {
            let share = draws.iter().filter(|one| **one > beyond).count() as f64;
            let share = share / draws.len() as f64;
            assert!((share / f64::exp(-beyond) - 1.0).abs() < 0.03, "{share}");
        }
        assert!(exponential(u64::MAX, 0) < 23 * MAX_MEAN);
        assert_eq!(exponential(mean, u32::MAX), 0);
    }

    #[test]
    fn a_block_is_taken_as_often_as_its_size_says_whatever_came_before() {
        let mut random = generator(2);
        let mut sampler = Sampler::default();
        let mean = 4096;
        let sizes = [16, 100, 1000, 4096, 20_000];
        let mut taken = [0; 5];
        let rounds = 1_000_000;
        for _ in 0..rounds {
            for (size, taken) in sizes.iter().zip(&mut taken) {
                *taken += u32::from(sampler.takes(*size, mean, &mut random));
            }
        }
        for (size, taken) in sizes.iter().zip(taken) {
            let expected = 1.0 - f64::exp(-(*size as f64) / mean as f64);
            let share = f64::from(taken) / f64::from(rounds);
            let deviation = (expected / f64::from(rounds)).sqrt();
            assert!(
                (share - expected).abs() < 4.0 * deviation,
                "{size}: {share}, {expected}"
            );
        }
    }

    #[test]
    fn another_mean_begins_anew() {
        let mut sampler = Sampler::default();
        assert!(!sampler.takes(10, MAX_MEAN, || u32::MAX / 2));
        assert!(sampler.takes(10, 1, || u32::MAX / 2));
    }

    #[test]
    fn the_mean_changes_at_the_time_that_was_set() {
        let schedule = Schedule {
            before: 0,
            from: 100,
            after: 7,
        };
        assert_eq!((schedule.mean_at(99), schedule.mean_at(100)), (0, 7));
        assert_eq!(Schedule::default().mean_at(5), 0);
    }
}
