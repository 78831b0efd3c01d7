//! Which instructions the running kernel carries out itself where a probe sits on them: measured
//! at start, in a child of our own.
//!
//! A uprobe replaces an instruction by a breakpoint. What the kernel can't emulate, it lets the
//! thread execute elsewhere, one step, for two more exceptions: on Linux 6.18 some 9 µs a hit in
//! place of 0.7. Which instructions are emulated depends on the kernel's version and on what its
//! vendor put into it, so it is tried: each kind some hundred times, timed against two that no
//! kernel emulates. Whatever goes wrong, or is not clear, counts as "nothing is emulated": then
//! every function is probed at its first instruction, which always works.

#[cfg(target_arch = "x86_64")]
mod child;
pub mod empty_probes;
#[cfg(target_arch = "x86_64")]
mod snippets;

#[cfg(target_arch = "x86_64")]
use std::{
    ffi::{CStr, CString},
    os::unix::ffi::OsStringExt as _,
};
use std::{
    fmt,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Kinds of instruction that the running kernel emulates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emulated {
    /// `push` of a 64-bit register.
    pub push: bool,
    /// `nop` of one byte.
    pub nop: bool,
    /// `nop` of 3 to 8 bytes.
    pub long_nop: bool,
    /// `jmp` to a fixed place.
    pub jump: bool,
    /// A conditional jump.
    pub branch: bool,
    /// `call` of a fixed place.
    pub call: bool,
}

impl Emulated {
    /// No instruction at all: every probe sits on its function's first one.
    pub const NONE: Self = Self {
        push: false,
        nop: false,
        long_nop: false,
        jump: false,
        branch: false,
        call: false,
    };
}

impl fmt::Display for Emulated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.push, "push"),
            (self.jump, "jmp"),
            (self.branch, "jcc"),
            (self.call, "call"),
            (self.nop, "nop"),
            (self.long_nop, "long nop"),
        ];
        let names: Vec<&str> = kinds
            .iter()
            .filter_map(|(emulated, name)| emulated.then_some(*name))
            .collect();
        if names.is_empty() {
            return out.write_str("nothing");
        }
        out.write_str(&names.join(", "))
    }
}

/// A time as it was measured, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// The median of some rounds.
    pub ns: f64,
    /// Half the distance between their quartiles.
    pub spread_ns: f64,
}

/// What a hit of an empty probe takes from the target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrapCosts {
    /// On an instruction that is emulated.
    pub emulated: Timing,
    /// On one that is stepped.
    pub stepped: Timing,
    /// At a function's return, beyond the probe at its entry.
    pub returning: Timing,
}

/// Nanoseconds of one hit of an empty probe, by the instruction that it sits on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HitCosts {
    push: f64,
    nop: f64,
    long_nop: f64,
    jump: f64,
    branch: f64,
    call: f64,
    /// `mov` and `test` between registers, which no kernel emulates.
    stepped: [f64; 2],
}

/// A trap into the kernel and back takes longer than this on any machine, nanoseconds: below it
/// there was no probe.
const LEAST_TRAP_NS: f64 = 50.0;
/// By how much stepping must cost more for a choice of instructions to be worth anything.
const LEAST_GAIN: f64 = 1.5;
/// How far a time must be from the middle (the geometric mean of both kinds) to be clear.
const MARGIN: f64 = 1.2;

impl HitCosts {
    fn emulated_ns(&self) -> f64 {
        [
            self.push,
            self.nop,
            self.long_nop,
            self.jump,
            self.branch,
            self.call,
        ]
        .into_iter()
        .fold(f64::INFINITY, f64::min)
    }

    fn stepped_ns(&self) -> f64 {
        self.stepped[0].min(self.stepped[1])
    }

    /// What is clearly cheaper than stepping.
    ///
    /// # Errors
    /// If the times can't be those of probes, or nothing is cheaper.
    fn classify(&self) -> Result<Emulated> {
        let (fast, slow) = (self.emulated_ns(), self.stepped_ns());
        // Written so that a time that is no number fails.
        if !(fast >= LEAST_TRAP_NS && slow.is_finite()) {
            bail!("a probe was not hit");
        }
        if slow < fast * LEAST_GAIN {
            bail!("no instruction is much cheaper than another ({fast:.0} to {slow:.0} ns a hit)");
        }
        let middle = (fast * slow).sqrt();
        let is_emulated = |time: f64| time * MARGIN < middle;
        Ok(Emulated {
            push: is_emulated(self.push),
            nop: is_emulated(self.nop),
            long_nop: is_emulated(self.long_nop),
            jump: is_emulated(self.jump),
            branch: is_emulated(self.branch),
            call: is_emulated(self.call),
        })
    }
}

/// What the measurement found.
pub struct Emulation {
    /// What is emulated.
    pub emulated: Emulated,
    /// What a hit takes; `None` if it could not be measured.
    pub costs: Option<TrapCosts>,
    /// How long the measurement took.
    pub took: Duration,
    /// Why it counts as "nothing".
    pub failure: Option<String>,
    /// What the kernel takes its time to take out again.
    probes: Vec<OwnedFd>,
}

impl Emulation {
    /// Nothing is known, so nothing is emulated.
    pub fn unknown() -> Self {
        Self {
            emulated: Emulated::NONE,
            costs: None,
            took: Duration::ZERO,
            failure: None,
            probes: Vec::new(),
        }
    }

    /// Measures it, in some 15 ms.
    pub fn measure() -> Self {
        let start = Instant::now();
        let mut emulation = Self::unknown();
        match measure(&mut emulation.probes) {
            Ok((hits, costs)) => {
                emulation.costs = Some(costs);
                match hits.classify() {
                    Ok(emulated) => emulation.emulated = emulated,
                    Err(error) => emulation.failure = Some(format!("{error:#}")),
                }
            }
            Err(error) => emulation.failure = Some(format!("{error:#}")),
        }
        emulation.took = start.elapsed();
        emulation
    }

    /// Takes the measurement's probes out, in the background: it takes the kernel up to 0.1 s
    /// each, in which no other can be attached. The process that they were for is gone.
    pub fn clean_up(&mut self) {
        let probes = std::mem::take(&mut self.probes);
        if !probes.is_empty() {
            // Without a thread they are closed here and now.
            let _ = thread::Builder::new()
                .name("clean-up".to_owned())
                .spawn(move || drop(probes));
        }
    }
}

impl fmt::Display for Emulation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "this kernel emulates {} under a probe", self.emulated)?;
        if let Some(costs) = &self.costs {
            write!(
                out,
                ": {:.0} ns a hit, others {:.0} ns, returns {:.0} ns",
                costs.emulated.ns, costs.stepped.ns, costs.returning.ns
            )?;
        }
        if let Some(failure) = &self.failure {
            write!(out, ": {failure}")?;
        }
        write!(
            out,
            " (measured in {:.0} ms)",
            self.took.as_secs_f64() * 1e3
        )
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn measure(_probes: &mut Vec<OwnedFd>) -> Result<(HitCosts, TrapCosts)> {
    bail!("this architecture needs no choice of instructions");
}

#[cfg(target_arch = "x86_64")]
fn measure(probes: &mut Vec<OwnedFd>) -> Result<(HitCosts, TrapCosts)> {
    measure_with(empty_probes::attach, probes)
}

/// How probes are attached: file, offsets, what is probed there, process.
#[cfg(target_arch = "x86_64")]
type Attach = fn(&CStr, &[u64], empty_probes::At, u32) -> Result<Vec<OwnedFd>>;

/// Runs every kind of instruction in a child, with a probe on each that `attach` puts there.
#[cfg(target_arch = "x86_64")]
fn measure_with(attach: Attach, probes: &mut Vec<OwnedFd>) -> Result<(HitCosts, TrapCosts)> {
    use empty_probes::At;
    use snippets::{Kind, Snippets};

    let snippets = Snippets::new()?;
    let child = child::Child::start(&snippets)?;
    let path = CString::new(snippets.path().into_os_string().into_vec())?;
    let offsets = snippets.offsets();
    let (instructions, returns) = offsets.split_at(Kind::Return as usize);
    *probes = attach(&path, instructions, At::Instruction, child.pid())?;
    probes.extend(attach(&path, returns, At::Return, child.pid())?);
    let times = child.run()?;
    let time = |kind: Kind| times[kind as usize].ns;
    let hits = HitCosts {
        push: time(Kind::Push),
        nop: time(Kind::Nop),
        long_nop: time(Kind::LongNop),
        jump: time(Kind::Jump),
        branch: time(Kind::Branch),
        call: time(Kind::Call),
        stepped: [time(Kind::Move), time(Kind::Test)],
    };
    // A function that is probed at its return alone has a probe at its entry, to catch the return.
    let (entry, both) = (times[Kind::Nop as usize], times[Kind::Return as usize]);
    let costs = TrapCosts {
        emulated: entry,
        stepped: times[Kind::Move as usize],
        returning: Timing {
            ns: (both.ns - entry.ns).max(0.0),
            spread_ns: both.spread_ns + entry.spread_ns,
        },
    };
    Ok((hits, costs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18 in a virtual machine, as measured.
    const LINUX_6_18: HitCosts = HitCosts {
        push: 578.7,
        nop: 622.1,
        long_nop: 633.7,
        jump: 509.7,
        branch: 593.5,
        call: 588.2,
        stepped: [11_235.1, 11_261.3],
    };

    #[test]
    fn what_is_far_cheaper_than_stepping_is_emulated() {
        let emulated = LINUX_6_18.classify().unwrap();
        assert_eq!(emulated.to_string(), "push, jmp, jcc, call, nop, long nop");
        let older = HitCosts {
            push: 10_900.0,
            long_nop: 13_000.0,
            ..LINUX_6_18
        };
        let emulated = older.classify().unwrap();
        assert_eq!(emulated.to_string(), "jmp, jcc, call, nop");
    }

    #[test]
    fn a_machine_where_stepping_is_cheap_is_told_apart_all_the_same() {
        let bare_metal = HitCosts {
            push: 300.0,
            nop: 310.0,
            long_nop: 820.0,
            jump: 305.0,
            branch: 320.0,
            call: 330.0,
            stepped: [850.0, 900.0],
        };
        let emulated = bare_metal.classify().unwrap();
        assert!(emulated.push && emulated.branch && !emulated.long_nop);
    }

    #[test]
    fn a_time_between_both_kinds_counts_as_not_emulated() {
        let disturbed = HitCosts {
            push: 2_500.0,
            ..LINUX_6_18
        };
        let emulated = disturbed.classify().unwrap();
        assert!(!emulated.push && emulated.jump);
    }

    #[test]
    fn times_that_no_probe_has_are_refused() {
        let missed = HitCosts {
            call: 2.0,
            ..LINUX_6_18
        };
        assert!(missed.classify().unwrap_err().to_string().contains("hit"));
        let unknown = HitCosts {
            stepped: [f64::NAN; 2],
            ..LINUX_6_18
        };
        unknown.classify().unwrap_err();
    }

    #[test]
    fn where_all_cost_alike_there_is_nothing_to_choose() {
        let alike = HitCosts {
            stepped: [650.0, 700.0],
            ..LINUX_6_18
        };
        assert!(
            alike
                .classify()
                .unwrap_err()
                .to_string()
                .contains("cheaper")
        );
    }

    #[test]
    fn no_instruction_reads_as_nothing() {
        assert_eq!(Emulated::NONE.to_string(), "nothing");
    }

    /// The kernel's own choice, by both ways to attach: what one of them calls emulated, the other
    /// does too.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_ways_to_attach_measure_the_same() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: only root may attach probes");
            return;
        }
        let (one_by_one, costs) = measure_with(empty_probes::one_by_one, &mut Vec::new()).unwrap();
        let emulated = one_by_one.classify().unwrap();
        // The kernel comes by once more.
        assert!(costs.returning.ns > LEAST_TRAP_NS, "{costs:?}");
        // Every kernel since 3.16.
        assert!(
            emulated.jump && emulated.branch && emulated.call,
            "{one_by_one:?}"
        );
        let at_once = |path: &CStr, offsets: &[u64], at, pid| {
            Ok(vec![empty_probes::all_at_once(path, offsets, at, pid)?])
        };
        match measure_with(at_once, &mut Vec::new()) {
            Ok((hits, _)) => assert_eq!(hits.classify().unwrap(), emulated, "{hits:?}"),
            Err(error) => eprintln!("SKIPPED: this kernel attaches one by one: {error:#}"),
        }
        let emulation = Emulation::measure();
        assert_eq!(emulation.emulated, emulated, "{emulation}");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_measurement_without_probes_says_so() {
        let none = |_: &CStr, _: &[u64], _, _| Ok(Vec::new());
        let (hits, _) = measure_with(none, &mut Vec::new()).unwrap();
        hits.classify().unwrap_err();
        let refused = |_: &CStr, _: &[u64], _, _| Err(anyhow::anyhow!("no"));
        measure_with(refused, &mut Vec::new()).unwrap_err();
    }
}
