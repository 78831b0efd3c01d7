//! A command as a target: started, and held where nothing has been allocated yet.
//!
//! At exec the libraries are not mapped, so there is nothing to probe; at the program's entry
//! point their constructors have run and allocated. Between the two the dynamic loader calls
//! `_dl_debug_state`, an empty function made for debuggers, when every library is mapped and none
//! has run: a breakpoint there, by ptrace, is where the target is held.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    errno::Errno,
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid as RawPid, User, initgroups, setgid, setuid},
};

use super::{
    elf::ElfReader,
    mappings::{Backing, Mappings},
};
use crate::{bad_input, identity::Pid};

/// The loader's hook for debuggers, in glibc and musl.
const LOADER_HOOK: &str = "_dl_debug_state";
/// glibc's state of the list of libraries.
const LOADER_STATE: &str = "_r_debug";
/// Offset of `r_state` in `struct r_debug`; 0 there is `RT_CONSISTENT` (`link.h`).
const STATE_OFFSET: u64 = 24;
/// Address of the program's entry point in the auxiliary vector (`elf.h`).
const AT_ENTRY: u64 = 9;
/// The breakpoint instruction of x86-64.
const BREAKPOINT: i64 = 0xcc;
/// Hits of the hook before the target is let go: the loader calls it twice.
const MAX_HOOK_HITS: u32 = 16;

/// Where the command's standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildOutput {
    /// Where memprof's own would.
    Inherited,
    /// To standard error, for memprof's report needs standard output.
    ToStandardError,
}

/// A command that is started and held.
///
/// Dropping it ends the command: what could not be probed is not run.
pub struct Held {
    child: Option<Child>,
    /// Whether its libraries' constructors have run already.
    pub constructors_ran: bool,
}

/// A command that runs.
pub struct Running {
    child: Child,
}

impl Running {
    /// Its exit status, if it has one by now.
    pub fn try_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// Starts `command` and holds it with its libraries mapped and nothing run yet.
///
/// # Errors
/// If there is no such command or user, or it ends before it can be held.
pub fn launch(command: &[OsString], user: Option<&str>, output: ChildOutput) -> Result<Held> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(bad_input!("no command to launch after --"));
    };
    let user = user.map(find_user).transpose()?;
    let mut starter = Command::new(program);
    starter.args(arguments);
    if output == ChildOutput::ToStandardError {
        let stderr = io::stderr();
        let stderr: OwnedFd = std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned()?;
        starter.stdout(Stdio::from(stderr));
    }
    // SAFETY: only calls that are allowed between fork and exec, on values made before the fork.
    unsafe {
        starter.pre_exec(move || {
            if let Some((user, name)) = &user {
                initgroups(name, user.gid)?;
                setgid(user.gid)?;
                setuid(user.uid)?;
            }
            Ok(ptrace::traceme()?)
        });
    }
    let child = starter.spawn().map_err(|error| {
        let name = program.to_string_lossy();
        match error.kind() {
            io::ErrorKind::NotFound => {
                bad_input!("there is no command {name:?}: give a path or a name on PATH")
            }
            _ => bad_input!("{name:?} can't be run: {error}"),
        }
    })?;
    hold(child)
}

fn find_user(name: &str) -> Result<(User, CString)> {
    let user = User::from_name(name)
        .with_context(|| format!("cannot look up the user {name:?}"))?
        .ok_or_else(|| bad_input!("there is no user {name:?}: see `getent passwd`"))?;
    let name = CString::new(user.name.as_str())?;
    Ok((user, name))
}

impl Held {
    /// The process.
    pub fn pid(&self) -> Pid {
        Pid(self.child.as_ref().map_or(0, Child::id))
    }

    /// Lets it run, as if it had never been held.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn release(mut self) -> Result<Running> {
        let child = self.child.take().context("the command is released once")?;
        match ptrace::detach(RawPid::from_raw(child.id() as i32), None) {
            // Gone meanwhile, killed from outside: its status says so.
            Ok(()) | Err(Errno::ESRCH) => Ok(Running { child }),
            Err(error) => {
                self.child = Some(child);
                Err(error).context("cannot let the command run")
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It is gone either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Brings a child that is stopped at its exec to where its libraries are mapped.
fn hold(child: Child) -> Result<Held> {
    let pid = RawPid::from_raw(child.id() as i32);
    let mut held = Held {
        child: Some(child),
        constructors_ran: false,
    };
    match waitpid(pid, None).context("cannot wait for the command")? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
        other => bail!("the command did not stop at its exec: {other:?}"),
    }
    // Not to outlive a memprof that is killed while it holds the command.
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_EXITKILL)?;
    held.constructors_ran = run_to_libraries(pid)?;
    Ok(held)
}

/// Where to stop, and the word that tells whether the loader is done, if there is one.
struct Hook {
    address: u64,
    state: Option<u64>,
    constructors_ran: bool,
}

/// Runs the stopped process until its libraries are mapped; whether their constructors have run.
fn run_to_libraries(pid: RawPid) -> Result<bool> {
    let Some(hook) = find_hook(pid)? else {
        return Ok(false);
    };
    let address = hook.address as ptrace::AddressType;
    let original = ptrace::read(pid, address).context("cannot read the loader's code")?;
    for _ in 0..MAX_HOOK_HITS {
        ptrace::write(pid, address, (original & !0xff) | BREAKPOINT)?;
        run_to_trap(pid)?;
        ptrace::write(pid, address, original)?;
        let mut registers = ptrace::getregs(pid)?;
        registers.rip = hook.address;
        ptrace::setregs(pid, registers)?;
        let loaded = match hook.state {
            None => true,
            Some(state) => ptrace::read(pid, state as ptrace::AddressType)? as i32 == 0,
        };
        if loaded {
            return Ok(hook.constructors_ran);
        }
        ptrace::step(pid, None)?;
        expect_trap(pid, waitpid(pid, None)?)?;
    }
    Ok(false)
}

/// Lets the process run to the breakpoint; signals on the way are delivered.
fn run_to_trap(pid: RawPid) -> Result<()> {
    let mut signal = None;
    loop {
        ptrace::cont(pid, signal)?;
        let status = waitpid(pid, None)?;
        match status {
            WaitStatus::Stopped(_, other) if other != Signal::SIGTRAP => signal = Some(other),
            _ => return expect_trap(pid, status),
        }
    }
}

fn expect_trap(pid: RawPid, status: WaitStatus) -> Result<()> {
    match status {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => Ok(()),
        WaitStatus::Exited(_, code) => Err(bad_input!(
            "the command ended with status {code} before its libraries were loaded"
        )),
        WaitStatus::Signaled(_, signal, _) => Err(bad_input!(
            "the command was killed by {signal} before its libraries were loaded"
        )),
        other => Err(anyhow!("process {pid} stopped unexpectedly: {other:?}")),
    }
}

/// The place to stop at; `None` for a static program, which has no libraries to wait for.
fn find_hook(pid: RawPid) -> Result<Option<Hook>> {
    let program = File::open(format!("/proc/{pid}/exe")).context("cannot open the program")?;
    let facts = ElfReader::new(&program).facts()?;
    let Some(interpreter) = facts.interpreter else {
        return Ok(None);
    };
    Ok(Some(match loader_hook(pid, &interpreter)? {
        Some(hook) => hook,
        None => Hook {
            address: entry_point(pid)?,
            state: None,
            constructors_ran: true,
        },
    }))
}

fn loader_hook(pid: RawPid, interpreter: &str) -> Result<Option<Hook>> {
    let loader = File::open(format!("/proc/{pid}/root{interpreter}"))
        .with_context(|| format!("cannot open the loader {interpreter}"))?;
    let reader = ElfReader::new(&loader);
    let program = File::open(format!("/proc/{pid}/exe"))?;
    let program = std::os::unix::fs::MetadataExt::ino(&program.metadata()?);
    let mappings = Mappings::read(Pid(pid.as_raw() as u32))?;
    // The loader is the one file beside the program that the kernel maps at exec.
    let base = mappings.iter().find_map(|mapping| match &mapping.backing {
        Backing::File { id, .. } if id.inode != program && mapping.file_offset == 0 => {
            Some(mapping.start)
        }
        _ => None,
    });
    let Some(base) = base else {
        return Ok(None);
    };
    let first = reader.facts()?.segments.first().map_or(0, |s| s.address);
    let bias = base.wrapping_sub(first);
    let symbols = reader.symbols(&[LOADER_HOOK, LOADER_STATE])?;
    let address_of = |name: &str| {
        let symbol = symbols.iter().find(|symbol| symbol.name == name)?;
        Some(symbol.address.wrapping_add(bias))
    };
    Ok(address_of(LOADER_HOOK).map(|address| Hook {
        address,
        state: address_of(LOADER_STATE).map(|state| state.wrapping_add(STATE_OFFSET)),
        constructors_ran: false,
    }))
}

fn entry_point(pid: RawPid) -> Result<u64> {
    let process = procfs::process::Process::new(pid.as_raw())?;
    process
        .auxv()?
        .get(&AT_ENTRY)
        .copied()
        .ok_or_else(|| anyhow!("the kernel does not say where process {pid} begins"))
}
