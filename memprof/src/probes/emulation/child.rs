//! The child that hits the probes: a fork that calls the functions, times them and exits.

use std::{
    io::{PipeReader, PipeWriter, Read as _, Write as _, pipe},
    os::fd::AsFd as _,
    process,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask},
        time::TimeValLike as _,
        wait::waitpid,
    },
    time::{ClockId, clock_gettime},
    unistd::{ForkResult, Pid, fork},
};

use super::{
    Timing,
    snippets::{KINDS, Snippets},
};

/// Bytes in which a timing is told.
const TOLD_BYTES: usize = 16;
/// Rounds of each kind; the median counts, so that an interrupted round does not.
const ROUNDS: usize = 7;
/// Calls a round.
const CALLS: u32 = 16;
/// A child that has not told its times by then never will.
const PATIENCE: Duration = Duration::from_secs(1);

/// A child that waits for its go; killed if it does not end by itself.
pub(super) struct Child {
    pid: Pid,
    go: Option<PipeWriter>,
    times: PipeReader,
}

impl Child {
    /// Forks it.
    pub(super) fn start(snippets: &Snippets) -> Result<Self> {
        let functions = snippets.functions();
        let (waits, go) = pipe()?;
        let (times, tells) = pipe()?;
        // A signal that came to the child would run handlers that are the parent's.
        let mut before = SigSet::empty();
        pthread_sigmask(
            SigmaskHow::SIG_SETMASK,
            Some(&SigSet::all()),
            Some(&mut before),
        )?;
        // SAFETY: the child takes no lock and no memory before it exits: it reads, reads the
        // clock, calls the functions, writes and exits.
        let forked = unsafe { fork() };
        if let Ok(ForkResult::Child) = forked {
            // Else the parent's end would never be seen.
            drop(go);
            hit_and_tell(waits, tells, functions);
        }
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        match forked.context("cannot fork")? {
            ForkResult::Parent { child } => Ok(Self {
                pid: child,
                go: Some(go),
                times,
            }),
            ForkResult::Child => process::abort(),
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Lets it run; what a call takes, by kind.
    pub(super) fn run(mut self) -> Result<[Timing; KINDS]> {
        if let Some(mut go) = self.go.take() {
            go.write_all(&[1])?;
        }
        let mut bytes = [0; KINDS * TOLD_BYTES];
        let deadline = Instant::now() + PATIENCE;
        wait_readable(&self.times, deadline)?;
        self.times
            .read_exact(&mut bytes)
            .context("the child ended early")?;
        let number = |index: usize| f64::from_le_bytes(bytes.as_chunks().0[index]);
        Ok(std::array::from_fn(|kind| Timing {
            ns: number(2 * kind),
            spread_ns: number(2 * kind + 1),
        }))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has nothing left to do, and may be stuck; its zombie is reaped either way.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

fn wait_readable(pipe: &PipeReader, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left)?;
    let mut waited = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    if poll(&mut waited, timeout)? == 0 {
        bail!("the child took too long");
    }
    Ok(())
}

/// What the child does.
fn hit_and_tell(
    mut waits: PipeReader,
    mut tells: PipeWriter,
    functions: [extern "C" fn(); KINDS],
) -> ! {
    let mut go = [0];
    if !matches!(waits.read(&mut go), Ok(1)) {
        exit(1);
    }
    let mut told = [0; KINDS * TOLD_BYTES];
    for (function, bytes) in functions.into_iter().zip(told.chunks_exact_mut(TOLD_BYTES)) {
        let Timing { ns, spread_ns } = timing(function);
        let (median, spread) = bytes.split_at_mut(TOLD_BYTES / 2);
        median.copy_from_slice(&ns.to_le_bytes());
        spread.copy_from_slice(&spread_ns.to_le_bytes());
    }
    let written = tells.write_all(&told);
    exit(i32::from(written.is_err()))
}

/// Ends the child at once: what the parent would do at its exit is not the child's to do.
fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// What one call takes.
fn timing(function: extern "C" fn()) -> Timing {
    let mut times = [0.0; ROUNDS];
    for time in &mut times {
        let start = now();
        for _ in 0..CALLS {
            function();
        }
        *time = (now() - start) / f64::from(CALLS);
    }
    times.sort_unstable_by(f64::total_cmp);
    Timing {
        ns: times[ROUNDS / 2],
        spread_ns: (times[ROUNDS * 3 / 4] - times[ROUNDS / 4]) / 2.0,
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`; not a number if the clock can't be read, which then is told.
fn now() -> f64 {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(time) => time.num_nanoseconds() as f64,
        Err(_) => f64::NAN,
    }
}
