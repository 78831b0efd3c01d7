//! The total over time, thinned: equally spaced samples, of which every second goes when there
//! are too many, so their spacing doubles with the length of the run.

/// The most samples; there are at least half as many once there were so many.
pub const MAX_SAMPLES: usize = 64;

/// Samples of a step function.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Values at the ends of strides.
    samples: Vec<f32>,
    stride: u32,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            samples: Vec::new(),
            stride: 1,
        }
    }
}

impl Totals {
    /// Notes that the total was `value` from the last noted tick until `until` (exclusive, counted
    /// from the series' beginning).
    pub fn hold(&mut self, until: u32, value: f64) {
        while (self.samples.len() as u64 + 1) * u64::from(self.stride) <= u64::from(until) {
            self.samples.push(value as f32);
            if self.samples.len() == MAX_SAMPLES {
                let mut seen = 0;
                self.samples.retain(|_| {
                    seen += 1;
                    seen % 2 == 0
                });
                self.stride *= 2;
            }
        }
    }

    /// Ticks between samples; the first sample is of the end of the first stride.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// The samples.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Heap bytes.
    pub fn memory_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_the_ends_of_strides_and_bounded() {
        let mut totals = Totals::default();
        for tick in 0..100_000 {
            totals.hold(tick + 1, f64::from(tick));
        }
        assert!((MAX_SAMPLES / 2..MAX_SAMPLES).contains(&totals.samples().len()));
        for (sample, number) in totals.samples().iter().zip(1..) {
            assert_eq!(*sample, (number * totals.stride() - 1) as f32);
        }
    }

    #[test]
    fn a_long_silence_is_filled_with_what_held() {
        let mut totals = Totals::default();
        totals.hold(10, 1.0);
        totals.hold(1_000_000, 7.0);
        assert!(totals.samples().len() >= MAX_SAMPLES / 2);
        assert!(totals.samples()[1..].iter().all(|sample| *sample == 7.0));
    }
}
