//! Who helps the collector's thread where it can't keep up: as many threads as leave the targets at
//! least half of the machine, started when they are first needed.

use std::thread::available_parallelism;

use crate::{
    live::{Division, MAX_PART_BITS},
    pipeline::Workers,
    priority::hurry,
};

/// The most threads that help: there is one part of a table for each, and one for the collector's own.
const MOST: usize = (1 << MAX_PART_BITS) - 1;

/// The threads, once there are any.
pub struct Helpers {
    threads: usize,
    started: Option<Workers>,
}

impl Helpers {
    /// As many as suit the CPUs that memprof may use; none are started.
    pub fn for_this_machine() -> Self {
        Self {
            threads: threads_on(cpus()),
            started: None,
        }
    }

    /// The threads; `None` if one thread is all that the machine has for memprof.
    pub fn call(&mut self) -> Option<&mut Workers> {
        if self.started.is_none() && self.threads > 0 {
            self.started = Workers::start(self.threads, hurry);
            if self.started.is_none() {
                // Refused once, it would be refused at every look.
                self.threads = 0;
            }
        }
        self.started.as_mut()
    }

    /// How many have had something to do.
    pub fn used(&self) -> usize {
        self.started.as_ref().map_or(0, Workers::used)
    }
}

/// How live tables are divided, so that the threads can share them.
pub fn division_for_this_machine() -> Division {
    Division::into_parts(part_bits_on(cpus()))
}

fn cpus() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn threads_on(cpus: usize) -> usize {
    (cpus / 2).min(MOST)
}

/// Two parts for each thread, as far as there are so many: one that has less to do than another takes
/// a second one.
fn part_bits_on(cpus: usize) -> u32 {
    match threads_on(cpus) {
        0 => 0,
        helpers => (2 * (helpers + 1)).ilog2().min(MAX_PART_BITS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_keep_half_of_the_machine_and_one_cpu_is_not_divided() {
        let on = |cpus| (threads_on(cpus), 1 << part_bits_on(cpus));
        assert_eq!(on(1), (0, 1));
        assert_eq!(on(2), (1, 4));
        assert_eq!(on(4), (2, 4));
        assert_eq!(on(8), (4, 8));
        assert_eq!(on(32), (7, 8));
    }
}
