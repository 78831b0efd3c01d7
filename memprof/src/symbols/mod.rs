//! From places in files to functions, files and lines; and which frame of a stack a person would
//! go and fix.

mod blazesym;
mod debug_files;
mod demangle;
pub mod frame;
pub mod guilty;
mod plumbing;
mod steady;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use self::blazesym::ModuleSymbols;
pub use self::debug_files::DEBUG_DIRS;
pub use self::demangle::MAX_NAME_BYTES;
use self::frame::{Frame, Function, Unknown};
use crate::target::modules::{FrameAddress, Module, ModuleIndex, Modules};

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
}

impl Default for Symbols {
    fn default() -> Self {
        Self::new(DEBUG_DIRS.map(PathBuf::from).to_vec())
    }
}

impl Symbols {
    /// Looks for separate debug files in `debug_dirs`, as in [`DEBUG_DIRS`]: directories that
    /// only the system writes to.
    pub fn new(debug_dirs: Vec<PathBuf>) -> Self {
        Self {
            debug_dirs,
            held: HashMap::new(),
            copied_bytes: 0,
            paths: HashMap::new(),
            cache: HashMap::new(),
        }
    }

    /// The frames of a stack, innermost first; inlined functions become frames of their own, so
    /// there are at least as many as `addresses`.
    pub fn symbolize(&mut self, modules: &Modules, addresses: &[FrameAddress]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(addresses.len());
        for address in addresses {
            self.frames_of(modules, address, &mut frames);
        }
        frames
    }

    fn frames_of(&mut self, modules: &Modules, address: &FrameAddress, out: &mut Vec<Frame>) {
        let mut frame = Frame {
            pc: address.pc,
            module: None,
            module_path: None,
            file_offset: None,
            function: Err(Unknown::of_place(address.place).unwrap_or(Unknown::NoMapping)),
        };
        let in_file = address.in_file();
        let Some((index, offset, module)) =
            in_file.and_then(|(index, offset)| Some((index, offset, modules.get(index)?)))
        else {
            out.push(frame);
            return;
        };
        frame.module = Some(index);
        frame.file_offset = Some(offset);
        let path = self.paths.entry(index);
        let path = path.or_insert_with(|| Arc::from(module.path()));
        frame.module_path = Some(Arc::clone(path));
        // The call is before the address to which it returns; the instruction after a call may
        // belong to another line, or even another function.
        let offset = offset.saturating_sub(u64::from(address.is_return_address));
        match self.functions_at(index, module, offset) {
            Ok(functions) => out.extend(functions.iter().map(|function| Frame {
                function: Ok(function.clone()),
                ..frame.clone()
            })),
            Err(why) => out.push(Frame {
                function: Err(why),
                ..frame
            }),
        }
    }

    fn functions_at(&mut self, index: ModuleIndex, module: &Module, offset: u64) -> Found {
        if let Some(found) = self.cache.get(&(index, offset)) {
            return found.clone();
        }
        let found = match self.hold(index, module) {
            Ok(symbols) => symbols.find(offset).map(Arc::from),
            Err(why) => Err(*why),
        };
        if self.cache.len() >= MAX_CACHED_ADDRESSES {
            self.cache.clear();
        }
        self.cache.insert((index, offset), found.clone());
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
