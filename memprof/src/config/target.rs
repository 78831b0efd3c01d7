//! Whom to trace: from the options that name targets to one kind of target.

use std::ffi::OsString;

use anyhow::Result;
use memprof_common::settings::MAX_SCOPE_ENTRIES;

use crate::{
    bad_input,
    cli::{ScopeArgs, TargetArgs},
    identity::Pid,
    target::{
        cgroups::Cgroup,
        scope::{ProcessName, WideScope},
    },
};

/// Whom to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetChoice {
    /// Running processes, at least one.
    Pids(Vec<Pid>),
    /// Processes that are found by what they are, now and as they come.
    Wide(WideScope),
    /// A command to launch, its name first.
    Command {
        /// Program and arguments.
        words: Vec<OsString>,
        /// Who runs it, if not the user of memprof.
        user: Option<String>,
    },
}

impl TargetChoice {
    /// Whether processes are found by what they are: there may be none now, and some later.
    pub fn is_wide(&self) -> bool {
        matches!(self, Self::Wide(_))
    }
}

/// Whether processes are named that run already.
pub(super) fn attaches(who: &ScopeArgs) -> bool {
    !who.pid.is_empty() || is_wide(who)
}

/// Whether processes are named by what they are.
fn is_wide(who: &ScopeArgs) -> bool {
    who.all || !who.comm.is_empty() || !who.cgroup.is_empty()
}

/// The one kind of target that was given.
///
/// # Errors
/// Bad input if there is none, or several, or one that makes no sense.
pub(super) fn target(who: TargetArgs) -> Result<TargetChoice> {
    let is_wide = is_wide(&who.scope);
    let kinds = [is_wide, !who.scope.pid.is_empty(), !who.command.is_empty()];
    match kinds.into_iter().filter(|given| *given).count() {
        0 => {
            return Err(bad_input!(
                "nothing to trace: give --pid PID, -- COMMAND, --comm NAME, --cgroup PATH or --all"
            ));
        }
        1 => {}
        _ => {
            return Err(bad_input!(
                "--pid, -- COMMAND and --comm, --cgroup or --all are kinds of target: give one of them"
            ));
        }
    }
    if who.user.is_some() && who.command.is_empty() {
        return Err(bad_input!(
            "--user is for a launched command: give -- COMMAND, or leave --user out"
        ));
    }
    if is_wide {
        return wide(&who.scope).map(TargetChoice::Wide);
    }
    if !who.command.is_empty() {
        return Ok(TargetChoice::Command {
            words: who.command,
            user: who.user,
        });
    }
    let mut all = Vec::new();
    for text in &who.scope.pid {
        let pid = pid(text)?;
        if !all.contains(&pid) {
            all.push(pid);
        }
    }
    Ok(TargetChoice::Pids(all))
}

fn wide(who: &ScopeArgs) -> Result<WideScope> {
    if who.all && !(who.comm.is_empty() && who.cgroup.is_empty()) {
        return Err(bad_input!(
            "--all is everything that --comm and --cgroup choose from: leave it out, or them"
        ));
    }
    if who.comm.len().max(who.cgroup.len()) > MAX_SCOPE_ENTRIES {
        return Err(bad_input!(
            "too many to choose from: give at most {MAX_SCOPE_ENTRIES} of --comm and of --cgroup"
        ));
    }
    let names = who.comm.iter().map(|name| ProcessName::new(name));
    let cgroups = who.cgroup.iter().map(|path| Cgroup::find(path));
    Ok(WideScope {
        names: names.collect::<Result<_>>()?,
        cgroups: cgroups.collect::<Result<_>>()?,
    })
}

/// A process id.
///
/// # Errors
/// Bad input for anything else.
pub(super) fn pid(text: &str) -> Result<Pid> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(Pid(number)),
        _ => Err(bad_input!("--pid {text:?} is no process id: see `ps -e`")),
    }
}
