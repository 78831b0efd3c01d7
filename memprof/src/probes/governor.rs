//! Keeps what tracing takes from the targets below a share of their processor time: first it has
//! blocks sampled, and if the traps alone are too much, the probes taken out. Pure.

/// How blocks are chosen when the governor begins to sample, bytes, unless the user said.
pub const DEFAULT_SAMPLE_BYTES: u64 = 512 << 10;
/// A share is taken over at least this time, seconds, since the last step: a burst is no rate.
const LEAST_SECONDS: f64 = 1.0;
/// And over at least this much of the targets' processor time, seconds: the kernel accounts for it in
/// steps of up to 10 ms.
const LEAST_CPU_SECONDS: f64 = 0.1;

/// Sums since the start, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// Time.
    pub at: f64,
    /// What tracing took from the targets, as estimated.
    pub tracing: f64,
    /// The targets' processor time, tracing included.
    pub cpu: f64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Sample blocks this many bytes apart on average.
    Sample(u64),
    /// Take the probes out.
    Detach,
}

/// A step that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// When, seconds from the start.
    pub at: f64,
    /// What.
    pub action: Action,
    /// The share of the targets' processor time that tracing had taken.
    pub share: f64,
}

/// The governor.
#[derive(Clone, Debug)]
pub struct Governor {
    most_share: f64,
    next: Option<Action>,
    since: Account,
}

impl Governor {
    /// Holds tracing to `most_share` of the targets' processor time. `is_sampled`: blocks are chosen
    /// already.
    pub fn new(most_share: f64, sample_bytes: u64, is_sampled: bool) -> Self {
        let first = if is_sampled {
            Action::Detach
        } else {
            Action::Sample(sample_bytes)
        };
        Self {
            most_share,
            next: Some(first),
            since: Account::default(),
        }
    }

    /// Looks at the sums so far, and says what has to be done now, if anything.
    pub fn look(&mut self, now: Account) -> Option<Step> {
        let action = self.next?;
        let cpu = now.cpu - self.since.cpu;
        if now.at - self.since.at < LEAST_SECONDS || cpu < LEAST_CPU_SECONDS {
            return None;
        }
        // More than all it can't be, but for what estimates count too much: the time of a program that
        // was preempted runs on.
        let share = ((now.tracing - self.since.tracing) / cpu).min(1.0);
        self.since = now;
        if share <= self.most_share {
            return None;
        }
        self.next = match action {
            Action::Sample(_) => Some(Action::Detach),
            Action::Detach => None,
        };
        Some(Step {
            at: now.at,
            action,
            share,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums at a time, if tracing takes `share` of one busy processor.
    fn account(at: f64, share: f64) -> Account {
        Account {
            at,
            tracing: share * at,
            cpu: at,
        }
    }

    #[test]
    fn what_stays_below_the_limit_is_left_alone() {
        let mut governor = Governor::new(0.05, 1024, false);
        for second in 1..100 {
            assert_eq!(governor.look(account(f64::from(second), 0.049)), None);
        }
    }

    #[test]
    fn too_much_is_sampled_first_and_detached_if_that_is_too_much_as_well() {
        let mut governor = Governor::new(0.05, 1024, false);
        let step = governor.look(account(1.0, 0.3)).unwrap();
        assert_eq!(step.action, Action::Sample(1024));
        assert!((step.share - 0.3).abs() < 1e-12);
        assert_eq!(governor.look(account(1.5, 0.3)), None, "too early to say");
        let step = governor.look(account(2.5, 0.3)).unwrap();
        assert_eq!(step.action, Action::Detach);
        assert_eq!(
            governor.look(account(9.0, 0.3)),
            None,
            "nothing is left to do"
        );
    }

    #[test]
    fn the_share_is_that_of_the_time_since_the_last_look() {
        let mut governor = Governor::new(0.05, 1024, false);
        assert_eq!(governor.look(account(100.0, 0.01)), None);
        let burst = Account {
            at: 101.0,
            tracing: 1.2,
            cpu: 101.0,
        };
        let step = governor.look(burst).unwrap();
        assert!((step.share - 0.2).abs() < 1e-9);
    }

    #[test]
    fn targets_that_sleep_are_no_ground_for_anything() {
        let mut governor = Governor::new(0.05, 1024, false);
        let asleep = Account {
            at: 100.0,
            tracing: 0.02,
            cpu: 0.02,
        };
        assert_eq!(governor.look(asleep), None);
    }

    #[test]
    fn a_run_that_is_sampled_already_has_one_step_left() {
        let mut governor = Governor::new(0.05, 1024, true);
        let step = governor.look(account(5.0, 0.5)).unwrap();
        assert_eq!(step.action, Action::Detach);
    }
}
