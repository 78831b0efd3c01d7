//! How long to wait between two looks at the rings: by how full they were found. Pure.
//!
//! Each look costs some microseconds whatever is there, so a target that allocates little is looked at
//! rarely; and where much comes, soon enough that a burst of several times as much still finds room.

use std::time::Duration;

/// The shortest pause: below it the looks would be the load.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest pause: what is shown is never older.
const LONGEST: Duration = Duration::from_millis(50);
/// Fuller rings than this share are looked at sooner …
const FULL: f64 = 1.0 / 8.0;
/// … and emptier ones later.
const EMPTY: f64 = 1.0 / 64.0;

/// The pause between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { pause: SHORTEST }
    }
}

impl Pace {
    /// How long to wait after a look that found the fullest ring filled to `share`.
    pub fn after(&mut self, share: f64) -> Duration {
        if share > FULL {
            self.pause = (self.pause / 2).max(SHORTEST);
        } else if share < EMPTY {
            self.pause = (self.pause * 2).min(LONGEST);
        }
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_rings_are_looked_at_ever_more_rarely_up_to_a_limit() {
        let mut pace = Pace::default();
        let pauses: Vec<Duration> = (0..10).map(|_| pace.after(0.0)).collect();
        assert!(pauses.is_sorted() && pauses[0] < LONGEST);
        assert_eq!(pauses[9], LONGEST);
    }

    #[test]
    fn at_a_steady_rate_the_pause_settles_with_room_to_spare() {
        let mut pace = Pace::default();
        // A ring that fills in so many seconds.
        for seconds in [0.02, 0.2, 2.0] {
            let mut pause = Duration::ZERO;
            let mut share = 0.0;
            for _ in 0..100 {
                pause = pace.after(share);
                share = pause.as_secs_f64() / seconds;
            }
            assert!(share <= 2.0 * FULL, "{share} full at {pause:?}");
            assert_eq!(pace.after(share), pause, "settled");
        }
    }

    #[test]
    fn a_burst_shortens_it_at_once() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.after(0.0);
        }
        assert!(pace.after(0.5) < LONGEST);
        for _ in 0..10 {
            pace.after(0.5);
        }
        assert_eq!(pace.after(0.5), SHORTEST);
    }
}
