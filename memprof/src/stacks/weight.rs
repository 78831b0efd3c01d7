//! What a sampled block stands for: itself and the blocks like it that were not taken.
//!
//! A block is taken with a probability that its size and the sampling give (`memprof_common::
//! sampling`); its inverse is the block's weight (Horvitz and Thompson, "A generalization of sampling
//! without replacement from a finite universe", 1952), with which sums over samples are unbiased.
//! Blocks are taken independently of one another, so the variance of a sum is a sum as well.

/// Bytes and blocks, in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes.
    pub bytes: u64,
    /// Blocks.
    pub count: u64,
}

impl Amount {
    /// One block of that size.
    pub fn of_block(size: u64) -> Self {
        Self {
            bytes: size,
            count: 1,
        }
    }
}

/// What one block stands for, in fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weight {
    /// Bytes.
    pub bytes: f64,
    /// Blocks.
    pub count: f64,
    /// What it adds to the variance of a sum of bytes.
    pub bytes_variance: f64,
}

impl Weight {
    /// Of a block of `size` bytes that was taken when samples were `mean_bytes` apart; 0: every
    /// block was.
    pub fn new(size: u64, mean_bytes: u64) -> Self {
        let bytes = size as f64;
        if mean_bytes == 0 {
            return Self {
                bytes,
                count: 1.0,
                bytes_variance: 0.0,
            };
        }
        // A block of no bytes counts as one when it is taken or not.
        let taken = -f64::exp_m1(-(size.max(1) as f64) / mean_bytes as f64);
        Self {
            bytes: bytes / taken,
            count: 1.0 / taken,
            bytes_variance: (1.0 - taken) * (bytes / taken).powi(2),
        }
    }
}

/// How far a sum of bytes may be off, because some of its blocks stand for others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Uncertainty {
    /// What of the sum such blocks stand for.
    bytes: f64,
    variance: f64,
    /// The most that one more block of their kind, which was not taken, would have added.
    largest: f64,
}

impl Uncertainty {
    /// One more block in the sum.
    pub fn add(&mut self, weight: Weight) {
        if weight.bytes_variance > 0.0 {
            self.bytes += weight.bytes;
            self.variance += weight.bytes_variance;
            self.largest = self.largest.max(weight.bytes_variance / weight.bytes);
        }
    }

    /// Another sum on top.
    pub fn join(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.variance += other.variance;
        self.largest = self.largest.max(other.largest);
    }

    /// Where the truth is in 95 of 100 cases or more, for a sum of `total` bytes; `None` if the sum is
    /// exact. The gamma interval for weighted sums of counts, which holds for few samples too (Fay
    /// and Feuer, "Confidence intervals for directly standardized rates", 1997).
    pub fn interval95(&self, total: u64) -> Option<[u64; 2]> {
        if self.variance <= 0.0 {
            return None;
        }
        let exact = (total as f64 - self.bytes).max(0.0);
        let low = gamma_quantile(self.bytes, self.variance, -Z_95);
        let high = gamma_quantile(
            self.bytes + self.largest,
            self.variance + self.largest.powi(2),
            Z_95,
        );
        Some([low, high].map(|bound| (exact + bound).round() as u64))
    }
}

/// The normal deviate that 95 of 100 lie within.
const Z_95: f64 = 1.96;

/// The quantile, given as a normal deviate, of the gamma distribution with this mean and variance, by
/// Wilson and Hilferty ("The distribution of chi-square", 1931).
fn gamma_quantile(mean: f64, variance: f64, deviate: f64) -> f64 {
    let degrees = 2.0 * mean.powi(2) / variance;
    let ninth = 2.0 / (9.0 * degrees);
    let root = (1.0 - ninth + deviate * ninth.sqrt()).max(0.0);
    mean * root.powi(3)
}

/// What is left of fractions after their whole parts were taken: so that a sum of whole numbers stays
/// within one of the sum of the fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Carry {
    bytes: f64,
    count: f64,
}

impl Carry {
    /// The whole part of a weight and of what was left before.
    pub fn whole(&mut self, weight: Weight) -> Amount {
        self.bytes += weight.bytes;
        self.count += weight.count;
        let amount = Amount {
            bytes: self.bytes as u64,
            count: self.count as u64,
        };
        self.bytes -= amount.bytes as f64;
        self.count -= amount.count as f64;
        amount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_sampling_a_block_stands_for_itself() {
        let mut carry = Carry::default();
        assert_eq!(carry.whole(Weight::new(100, 0)), Amount::of_block(100));
        assert_eq!(carry, Carry::default());
    }

    #[test]
    fn a_small_block_stands_for_the_distance_and_a_large_one_for_itself() {
        let small = Weight::new(16, 1 << 20);
        assert!(
            (small.bytes / f64::from(1 << 20) - 1.0).abs() < 1e-4,
            "{small:?}"
        );
        assert!((small.count * 16.0 / small.bytes - 1.0).abs() < 1e-12);
        let large = Weight::new(64 << 20, 1 << 20);
        assert!((large.count - 1.0).abs() < 1e-12 && large.bytes_variance < 1.0);
        let empty = Weight::new(0, 1000);
        assert_eq!((empty.bytes, empty.bytes_variance), (0.0, 0.0));
        assert!((empty.count / 1000.0 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_sum_of_whole_blocks_is_exact_and_one_sample_says_little() {
        let mut exact = Uncertainty::default();
        exact.add(Weight::new(100, 0));
        assert_eq!(exact.interval95(100), None);
        let mut one = Uncertainty::default();
        let weight = Weight::new(10, 1000);
        one.add(weight);
        let [low, high] = one.interval95(weight.bytes as u64).unwrap();
        // Of one event, the interval of its expected number is 0.025 to 5.57.
        assert!(
            (10..40).contains(&low) && (5500..5650).contains(&high),
            "{low} {high}"
        );
    }

    #[test]
    fn many_samples_say_much_and_what_is_exact_moves_the_interval() {
        let mut many = Uncertainty::default();
        for _ in 0..10_000 {
            many.add(Weight::new(10, 1000));
        }
        let [low, high] = many.interval95(10_050_083).unwrap();
        assert!((9_830_000..9_870_000).contains(&low), "{low}");
        assert!((10_230_000..10_270_000).contains(&high), "{high}");
        let [moved, _] = many.interval95(11_050_083).unwrap();
        assert_eq!(moved, low + 1_000_000);
    }

    #[test]
    fn whole_numbers_stay_within_one_of_what_they_stand_for() {
        let mut carry = Carry::default();
        let (mut whole, mut exact) = (Amount::default(), Weight::default());
        for size in 1..10_000 {
            let weight = Weight::new(size, 5000);
            let amount = carry.whole(weight);
            whole.bytes += amount.bytes;
            whole.count += amount.count;
            exact.bytes += weight.bytes;
            exact.count += weight.count;
        }
        assert!((whole.bytes as f64 - exact.bytes).abs() < 1.5);
        assert!((whole.count as f64 - exact.count).abs() < 1.5);
    }
}
