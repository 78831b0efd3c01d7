//! From places in files to functions, files and lines; and which frame of a stack a person would
//! go and fix.

mod blazesym;
mod debug_files;
mod demangle;
pub mod frame;
pub mod guilty;
mod jit;
mod mini_debug;
mod packed;
pub mod perf_map;
mod plumbing;
mod steady;

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use self::blazesym::ModuleSymbols;
pub use self::debug_files::DEBUG_DIRS;
pub use self::demangle::MAX_NAME_BYTES;
use self::frame::{Frame, Function, JIT_MODULE, Role, Unknown};
use self::jit::JitNames;
pub use self::jit::{MAX_ALL_PERF_MAPS_BYTES, MAX_PERF_MAP_BYTES};
use crate::target::modules::{FoundPerfMap, FrameAddress, Module, ModuleIndex, Modules};

/// Addresses whose functions are remembered; when there are more, all are forgotten.
pub const MAX_CACHED_ADDRESSES: usize = 1 << 17;
/// Modules whose symbols are held in memory at a time; when there are more, all are let go.
pub const MAX_HELD_MODULES: usize = 128;

/// Memory for copies of files that their owners could truncate; when it is full, all are let go.
pub const MAX_COPIED_BYTES: u64 = 1 << 30;

type Found = Result<Arc<[Function]>, Unknown>;

/// Names the frames of stacks, and remembers what it has named. Belongs to the [`Modules`] of
/// one run.
pub struct Symbols {
    debug_dirs: Vec<PathBuf>,
    held: HashMap<ModuleIndex, Result<ModuleSymbols, Unknown>>,
    copied_bytes: u64,
    paths: HashMap<ModuleIndex, Arc<str>>,
    cache: HashMap<(ModuleIndex, u64), Found>,
    /// By file offset.
    signal_returns: HashMap<(ModuleIndex, u64), bool>,
    jit: JitNames,
    jit_module: Arc<str>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Symbols {
    /// Looks for separate debug files in `debug_dirs`, then in [`DEBUG_DIRS`].
    pub fn new(debug_dirs: &[PathBuf]) -> Self {
        let of_the_system = DEBUG_DIRS.iter().map(PathBuf::from);
        Self {
            debug_dirs: debug_dirs.iter().cloned().chain(of_the_system).collect(),
            held: HashMap::new(),
            copied_bytes: 0,
            paths: HashMap::new(),
            cache: HashMap::new(),
            signal_returns: HashMap::new(),
            jit: JitNames::default(),
            jit_module: Arc::from(JIT_MODULE),
        }
    }

    /// Adds perf maps that were found, in the order of their indices, and reads what is new in
    /// all of them, or a part of it.
    pub fn read_perf_maps(&mut self, found: Vec<FoundPerfMap>) {
        self.jit.add(found);
        self.jit.read();
    }

    /// As [`Self::read_perf_maps`], but all that is new; whether it was not too much.
    pub fn read_whole_perf_maps(&mut self, found: Vec<FoundPerfMap>) -> bool {
        self.jit.add(found);
        self.jit.read_all()
    }

    /// Functions in perf maps for which there was no room.
    pub fn perf_map_functions_left_out(&self) -> u64 {
        self.jit.left_out()
    }

    /// The frames of a stack, innermost first; inlined functions become frames of their own, so
    /// there are at least as many as `addresses`.
    pub fn symbolize(&mut self, modules: &Modules, addresses: &[FrameAddress]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(addresses.len());
        let mut interrupted = false;
        for address in addresses {
            let returns_from_signal =
                address.is_return_address && self.is_signal_return(modules, address);
            // Where a signal interrupts, and where its handler returns to, there is no call.
            let is_call = address.is_return_address && !interrupted && !returns_from_signal;
            self.frames_of(modules, address, is_call, &mut frames);
            interrupted = returns_from_signal;
        }
        frames
    }

    fn frames_of(
        &mut self,
        modules: &Modules,
        address: &FrameAddress,
        is_call: bool,
        out: &mut Vec<Frame>,
    ) {
        let mut frame = Frame {
            pc: address.pc,
            module: None,
            module_path: None,
            file_offset: None,
            elf_address: None,
            function: Err(Unknown::of_place(address.place).unwrap_or(Unknown::NoMapping)),
        };
        // The call is before the address to which it returns; the instruction after a call may
        // belong to another line, or even another function.
        let back = u64::from(is_call);
        let in_file = address.in_file();
        let Some((index, offset, module)) =
            in_file.and_then(|(index, offset)| Some((index, offset, modules.get(index)?)))
        else {
            self.name_by_perf_map(&mut frame, address, back);
            out.push(frame);
            return;
        };
        let facts = module.facts().and_then(|facts| facts.as_ref().ok());
        frame.module = Some(index);
        frame.file_offset = Some(offset);
        frame.elf_address = facts.and_then(|facts| facts.address_of(offset.checked_sub(back)?));
        let path = self.paths.entry(index);
        let path = path.or_insert_with(|| Arc::from(module.path()));
        frame.module_path = Some(Arc::clone(path));
        match self.functions_at(index, module, frame.elf_address) {
            Ok(functions) => out.extend(functions.iter().map(|function| Frame {
                function: Ok(function.clone()),
                ..frame.clone()
            })),
            Err(why) => {
                frame.function = Err(why);
                if why == Unknown::NotElf {
                    self.name_by_perf_map(&mut frame, address, back);
                }
                out.push(frame);
            }
        }
    }

    /// Whether the code at an address is what a signal handler returns to: a system call, by the
    /// same instructions in all C libraries, since unwinders know it by them (libgcc,
    /// `linux-unwind.h`).
    fn is_signal_return(&mut self, modules: &Modules, address: &FrameAddress) -> bool {
        // mov $15, %rax (rt_sigreturn); syscall
        const CODE: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
        let Some((index, offset)) = address.in_file() else {
            return false;
        };
        if self.signal_returns.len() >= MAX_CACHED_ADDRESSES {
            self.signal_returns.clear();
        }
        let known = self.signal_returns.entry((index, offset));
        *known.or_insert_with(|| {
            let mut code = [0; CODE.len()];
            let file = modules.get(index).and_then(Module::file);
            // A place that can't be read is not one.
            file.is_some_and(|file| file.read_exact_at(&mut code, offset).is_ok()) && code == CODE
        })
    }

    /// Names code that no ELF file has.
    fn name_by_perf_map(&self, frame: &mut Frame, address: &FrameAddress, back: u64) {
        let index = address.perf_map;
        let name = index.and_then(|index| self.jit.find(index, address.pc.checked_sub(back)?));
        if let Some(name) = name {
            frame.module_path = Some(Arc::clone(&self.jit_module));
            frame.file_offset = None;
            frame.module = None;
            frame.function = Ok(Function {
                name: Arc::clone(name),
                file: None,
                line: None,
                inlined: false,
                role: Role::Own,
            });
        }
    }

    fn functions_at(&mut self, index: ModuleIndex, module: &Module, address: Option<u64>) -> Found {
        // No segment has the place: the file is broken, if it is one at all.
        let key = (index, address.unwrap_or(u64::MAX));
        if let Some(found) = self.cache.get(&key) {
            return found.clone();
        }
        let found = match (self.hold(index, module), address) {
            (Ok(symbols), Some(address)) => symbols.find(address).map(Arc::from),
            (Ok(_), None) => Err(Unknown::NoSymbol),
            (Err(why), _) => Err(*why),
        };
        if self.cache.len() >= MAX_CACHED_ADDRESSES {
            self.cache.clear();
        }
        self.cache.insert(key, found.clone());
        found
    }

    /// The symbols of a module, opened if they are not. The limit on
    /// copies may be passed by the last one.
    fn hold(&mut self, index: ModuleIndex, module: &Module) -> &mut Result<ModuleSymbols, Unknown> {
        let full = self.held.len() >= MAX_HELD_MODULES || self.copied_bytes > MAX_COPIED_BYTES;
        if full && !self.held.contains_key(&index) {
            self.held.clear();
            self.copied_bytes = 0;
        }
        self.held.entry(index).or_insert_with(|| {
            let symbols = ModuleSymbols::open(module, &self.debug_dirs);
            self.copied_bytes += symbols.as_ref().map_or(0, ModuleSymbols::copied);
            symbols
        })
    }
}

#[cfg(test)]
mod tests;
