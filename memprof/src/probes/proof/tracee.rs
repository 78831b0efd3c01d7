//! The child under breakpoints: every call of the subjects from its start to its return.

use std::collections::HashMap;

use libc::user_regs_struct;
use memprof_common::{
    allocator::Shape,
    placement::{PRESERVED_REGISTERS, SizeAt},
};
use nix::{
    Result as SystemResult,
    sys::{
        ptrace,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{Refusal, Subject};
use crate::probes::inner::{InnerSite, Task};

/// The instruction of a breakpoint.
const BREAKPOINT: u8 = 0xcc;
/// Stops after which a child is given up; a trial has about a thousand.
const MAX_STOPS: usize = 20_000;

/// What a breakpoint is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The start of a subject.
    Start(usize),
    /// A site of a subject.
    Site(usize, usize),
    /// Where the call under way returns to.
    Return,
}

struct Breakpoint {
    purpose: Purpose,
    replaced: u8,
}

/// A call under way.
struct Call {
    subject: usize,
    return_slot: u64,
    size: Option<u64>,
    preserved: [u64; PRESERVED_REGISTERS],
    noted: Option<u64>,
    given: Option<u64>,
}

/// The child; killed if it is still there.
struct Tracee {
    pid: Pid,
    breakpoints: HashMap<u64, Breakpoint>,
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // It has nothing left to do; its zombie is reaped either way.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
    }
}

/// Follows the child to its end.
pub(super) fn follow(pid: Pid, subjects: &[Subject]) -> Result<(), Refusal> {
    let mut tracee = Tracee {
        pid,
        breakpoints: HashMap::new(),
    };
    let system = |error: nix::Error| match error {
        nix::Error::EBUSY => Refusal::of_all("a probe of another tool is in it"),
        error => Refusal::of_all(format!("the trial failed: {error}")),
    };
    if !matches!(
        waitpid(pid, Some(WaitPidFlag::__WALL)).map_err(system)?,
        WaitStatus::Stopped(_, Signal::SIGSTOP)
    ) {
        return Err(Refusal::of_all("the trial's child could not be traced"));
    }
    for (number, subject) in subjects.iter().enumerate() {
        let start = (subject.start, Purpose::Start(number));
        let sites = subject.sites.iter().enumerate().map(|(site, place)| {
            let address = subject.start + u64::from(place.place.offset);
            (address, Purpose::Site(number, site))
        });
        for (address, purpose) in sites.chain([start]) {
            tracee.set(address, purpose).map_err(system)?;
        }
    }
    let mut trial = Trial {
        subjects,
        call: None,
        met: subjects
            .iter()
            .map(|subject| vec![0; subject.sites.len()])
            .collect(),
    };
    for _ in 0..MAX_STOPS {
        ptrace::cont(pid, None).map_err(system)?;
        match waitpid(pid, Some(WaitPidFlag::__WALL)).map_err(system)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            WaitStatus::Exited(_, 0) => return trial.finish(),
            other => {
                return Err(Refusal::of_all(format!(
                    "the trial's child ended by {other:?}"
                )));
            }
        }
        let mut registers = ptrace::getregs(pid).map_err(system)?;
        registers.rip -= 1;
        let Some(breakpoint) = tracee.breakpoints.get(&registers.rip) else {
            return Err(Refusal::of_all(
                "the trial's child met a breakpoint of others",
            ));
        };
        let purpose = breakpoint.purpose;
        trial.meet(&tracee, purpose, &registers)?;
        if let Purpose::Start(_) = purpose {
            let return_address = tracee.word(registers.rsp).map_err(system)?;
            tracee
                .set(return_address, Purpose::Return)
                .map_err(system)?;
        }
        ptrace::setregs(pid, registers).map_err(system)?;
        tracee.pass(registers.rip).map_err(system)?;
    }
    Err(Refusal::of_all("the trial's child does not end"))
}

impl Tracee {
    fn word(&self, address: u64) -> SystemResult<u64> {
        Ok(ptrace::read(self.pid, address as ptrace::AddressType)?.cast_unsigned())
    }

    /// Writes one byte of code; the one that was there.
    fn poke(&self, address: u64, byte: u8) -> SystemResult<u8> {
        let word = self.word(address)?;
        let new = (word & !0xff) | u64::from(byte);
        ptrace::write(self.pid, address as ptrace::AddressType, new.cast_signed())?;
        Ok(word as u8)
    }

    fn set(&mut self, address: u64, purpose: Purpose) -> SystemResult<()> {
        if let Some(known) = self.breakpoints.get_mut(&address) {
            known.purpose = purpose;
            return Ok(());
        }
        let replaced = self.poke(address, BREAKPOINT)?;
        if replaced == BREAKPOINT {
            // The kernel would take its stops for that probe's, and tell nobody else of them.
            return Err(nix::Error::EBUSY);
        }
        self.breakpoints
            .insert(address, Breakpoint { purpose, replaced });
        Ok(())
    }

    /// Lets the child execute the instruction at `address`, which a breakpoint has replaced; that
    /// of a return is over then.
    fn pass(&mut self, address: u64) -> SystemResult<()> {
        let Some(breakpoint) = self.breakpoints.get(&address) else {
            return Ok(());
        };
        self.poke(address, breakpoint.replaced)?;
        if breakpoint.purpose == Purpose::Return {
            self.breakpoints.remove(&address);
            return Ok(());
        }
        ptrace::step(self.pid, None)?;
        match waitpid(self.pid, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            // Its time is up.
            _ => return Err(nix::Error::ETIMEDOUT),
        }
        self.poke(address, BREAKPOINT)?;
        Ok(())
    }
}

/// What the calls have shown so far.
struct Trial<'a> {
    subjects: &'a [Subject],
    call: Option<Call>,
    /// How often each site was met with a block.
    met: Vec<Vec<usize>>,
}

impl Trial<'_> {
    fn meet(
        &mut self,
        tracee: &Tracee,
        purpose: Purpose,
        registers: &user_regs_struct,
    ) -> Result<(), Refusal> {
        match purpose {
            Purpose::Start(subject) => self.start(subject, registers),
            Purpose::Site(subject, site) => self.site(tracee, subject, site, registers),
            Purpose::Return => self.returns(registers),
        }
    }

    fn start(&mut self, subject: usize, registers: &user_regs_struct) -> Result<(), Refusal> {
        if let Some(call) = &self.call {
            return Err(refuse(call.subject, "it calls an allocation function"));
        }
        let size = match self.subjects[subject].shape {
            Shape::Product => registers.rdi.checked_mul(registers.rsi),
            _ => Some(registers.rdi),
        };
        self.call = Some(Call {
            subject,
            return_slot: registers.rsp,
            size,
            preserved: preserved(registers),
            noted: None,
            given: None,
        });
        Ok(())
    }

    fn site(
        &mut self,
        tracee: &Tracee,
        subject: usize,
        site: usize,
        registers: &user_regs_struct,
    ) -> Result<(), Refusal> {
        let InnerSite { task, place, .. } = &self.subjects[subject].sites[site];
        let call = self.call.as_mut().filter(|call| call.subject == subject);
        let Some(call) = call else {
            return Err(refuse(subject, "a site was met without a call"));
        };
        if registers.rsp + u64::from(place.pushed_words) * 8 != call.return_slot {
            return Err(refuse(subject, "the return address is elsewhere"));
        }
        for (number, place) in place.preserved.iter().enumerate() {
            let value = match place {
                None => preserved(registers)[number],
                Some(words) => tracee
                    .word(registers.rsp + u64::from(*words) * 8)
                    .map_err(|error| Refusal::of_all(format!("the trial failed: {error}")))?,
            };
            if value != call.preserved[number] {
                return Err(refuse(subject, "a register of the caller's is elsewhere"));
            }
        }
        let size = match place.size {
            SizeAt::Word(word) => Some(saved(registers, word)),
            SizeAt::Product(word, factor) => {
                Some(saved(registers, word).wrapping_mul(saved(registers, factor)))
            }
            SizeAt::Noted => call.noted,
        };
        if *task == Task::NoteSize {
            call.noted = size;
            return Ok(());
        }
        let result = saved(registers, place.result);
        if result == 0 {
            return Ok(());
        }
        if call.given.is_some() {
            return Err(refuse(subject, "a block was met twice"));
        }
        if size.is_none() || size != call.size {
            return Err(refuse(subject, "the size is another one"));
        }
        call.given = Some(result);
        self.met[subject][site] += 1;
        Ok(())
    }

    fn returns(&mut self, registers: &user_regs_struct) -> Result<(), Refusal> {
        let Some(call) = self.call.take() else {
            return Err(Refusal::of_all("a return without a call"));
        };
        if registers.rsp != call.return_slot + 8 {
            return Err(refuse(call.subject, "a call returned out of order"));
        }
        if registers.rax != call.given.unwrap_or(0) {
            return Err(refuse(call.subject, "a block was not met, or another one"));
        }
        Ok(())
    }

    /// Whether every site that gives blocks has given one.
    fn finish(&self) -> Result<(), Refusal> {
        for (number, subject) in self.subjects.iter().enumerate() {
            for (site, met) in subject.sites.iter().zip(&self.met[number]) {
                if site.task == Task::Give && *met == 0 {
                    return Err(refuse(
                        number,
                        format!("no call came by +{:#x}", site.place.offset),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn refuse(subject: usize, reason: impl Into<String>) -> Refusal {
    Refusal {
        subject: Some(subject),
        reason: reason.into(),
    }
}

/// The registers that a call preserves, in the order of `memprof_common::placement::Preserved`.
fn preserved(registers: &user_regs_struct) -> [u64; PRESERVED_REGISTERS] {
    [
        registers.rbp,
        registers.rbx,
        registers.r12,
        registers.r13,
        registers.r14,
        registers.r15,
    ]
}

/// A register by its word in `struct pt_regs`, whose order `user_regs_struct` keeps.
fn saved(registers: &user_regs_struct, word: u8) -> u64 {
    let words = [
        registers.r15,
        registers.r14,
        registers.r13,
        registers.r12,
        registers.rbp,
        registers.rbx,
        registers.r11,
        registers.r10,
        registers.r9,
        registers.r8,
        registers.rax,
        registers.rcx,
        registers.rdx,
        registers.rsi,
        registers.rdi,
    ];
    words.get(usize::from(word)).copied().unwrap_or(0)
}
