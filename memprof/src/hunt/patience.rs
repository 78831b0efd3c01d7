//! When a process that was looked at closely is looked at again.

use super::significance::Growth;

/// From a look that found nothing to the next; each further pause is twice as long.
const FIRST_PAUSE: f64 = 60.0;
/// The longest pause, seconds; of a leak that is known the first one.
const LONGEST_PAUSE: f64 = 3600.0;
/// What grows surely so many times as fast as when it was looked at has something new to show.
const CLEARLY_FASTER: f64 = 2.0;

/// What was done about a process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Patience {
    looks: u32,
    /// Not before this time, seconds.
    next: f64,
    /// How fast it grew when it was looked at, bytes per second.
    rate: f64,
    settled: bool,
}

impl Patience {
    /// How often it was looked at.
    pub fn looks(&self) -> u32 {
        self.looks
    }

    /// A look at a process that grew so fast has ended, and found nothing for sure.
    pub fn looked(&mut self, at: f64, rate: f64) {
        let pause = FIRST_PAUSE * 2f64.powi(self.looks.min(30).cast_signed());
        self.wait(at, pause.min(LONGEST_PAUSE), rate);
    }

    /// A look has found what leaks: it will go on, and hide what else there may be.
    pub fn found(&mut self, at: f64, rate: f64) {
        let pause = LONGEST_PAUSE * 2f64.powi(self.looks.min(30).cast_signed());
        self.wait(at, pause, rate);
    }

    fn wait(&mut self, at: f64, pause: f64, rate: f64) {
        self.looks += 1;
        self.next = at + pause;
        self.rate = rate;
    }

    /// There is nothing more to find out: the process can't be probed.
    pub fn settle(&mut self) {
        self.looks += 1;
        self.settled = true;
    }

    /// Whether a process that grows so may be looked at.
    pub fn allows(&self, at: f64, growth: &Growth) -> bool {
        let is_faster = growth.rate_ci95[0] > CLEARLY_FASTER * self.rate;
        !self.settled && (self.looks == 0 || at >= self.next || is_faster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(rate: f64) -> Growth {
        Growth {
            bytes: 1e7,
            seconds: 10.0,
            rate,
            rate_ci95: [0.9 * rate, 1.1 * rate],
        }
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let mut patience = Patience::default();
        let mut at = 0.0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(patience.allows(at, &growing(1e6)));
            patience.looked(at, 1e6);
            let begin = at;
            while !patience.allows(at, &growing(1e6)) {
                at += 1.0;
            }
            pauses.push(at - begin);
        }
        assert_eq!(pauses[..4], [60.0, 120.0, 240.0, 480.0]);
        assert_eq!(pauses[7..], [3600.0, 3600.0]);
    }

    #[test]
    fn what_grows_clearly_faster_does_not_wait() {
        let mut patience = Patience::default();
        patience.looked(10.0, 1e6);
        assert!(!patience.allows(11.0, &growing(1.5e6)));
        assert!(patience.allows(11.0, &growing(3e6)));
        patience.looked(12.0, 3e6);
        assert!(!patience.allows(13.0, &growing(3e6)));
    }

    #[test]
    fn what_is_known_to_leak_is_left_in_peace_ever_longer() {
        let mut patience = Patience::default();
        patience.found(0.0, 1e6);
        assert!(!patience.allows(3599.0, &growing(1e6)));
        assert!(patience.allows(3601.0, &growing(1e6)));
        patience.found(3601.0, 1e6);
        assert!(!patience.allows(3601.0 + 7000.0, &growing(1e6)));
        assert!(patience.allows(4000.0, &growing(9e6)), "another leak");
    }

    #[test]
    fn what_is_settled_is_never_looked_at_again() {
        let mut patience = Patience::default();
        patience.settle();
        assert!(!patience.allows(1e9, &growing(1e12)));
        assert_eq!(patience.looks(), 1);
    }
}
