//! Whether one thread keeps up with what the rings bring: by how much comes, and whether anything was
//! left. Pure.

use super::event::Nanoseconds;

/// Events a millisecond that one thread is left alone with: a third of what it applies where blocks
/// are many, so that helpers come before rings fill.
const ALONE_UP_TO: u64 = 2_000;

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    looked_at: Nanoseconds,
}

impl Backlog {
    /// Whether one thread should have help with the events that are waiting at `now`, of which all
    /// came since the last call if the rings were `drained` then and are now.
    pub fn wants_help(&mut self, now: Nanoseconds, events: usize, drained: bool) -> bool {
        let elapsed_ms = now.saturating_sub(self.looked_at) / 1_000_000;
        self.looked_at = now;
        !drained || events as u64 > ALONE_UP_TO * elapsed_ms.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanoseconds = 1_000_000;

    #[test]
    fn help_is_wanted_for_a_high_rate_whatever_the_pause_and_for_what_is_left_behind() {
        for pause in [1, 50] {
            let mut backlog = Backlog::default();
            assert!(
                !backlog.wants_help(1_000 * MS, 1_000_000, true),
                "the first"
            );
            let after = |backlog: &mut Backlog, rate: u64, drained| {
                let now = backlog.looked_at + pause * MS;
                backlog.wants_help(now, (rate * pause) as usize, drained)
            };
            assert!(!after(&mut backlog, 1_500, true));
            assert!(after(&mut backlog, 3_000, true));
            assert!(!after(&mut backlog, 0, true));
            assert!(after(&mut backlog, 1, false));
        }
    }

    #[test]
    fn looks_in_quick_succession_are_no_rate() {
        let mut backlog = Backlog::default();
        backlog.wants_help(1_000 * MS, 0, true);
        assert!(!backlog.wants_help(1_000 * MS + 1, 100, true));
    }
}
