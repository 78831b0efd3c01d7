//! From places in files to functions, files and lines; and which frame of a stack a person would
//! go and fix.

mod blazesym;
mod debug_files;
mod demangle;
pub mod frame;
pub mod guilty;
mod plumbing;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use self::blazesym::ModuleSymbols;
pub use self::debug_files::DEBUG_DIRS;
pub use self::demangle::MAX_NAME_BYTES;
use self::frame::{Frame, Function, Unknown};
use crate::target::modules::{AddressSpaces, FrameAddress, Module, ModuleIndex};

/// Addresses whose functions are remembered; when there are more, all are forgotten.
pub const MAX_CACHED_ADDRESSES: usize = 1 << 17;
/// Modules whose symbols are held in memory at a time; when there are more, all are let go.
pub const MAX_HELD_MODULES: usize = 128;

type Found = Result<Arc<[Function]>, Unknown>;

/// Names the frames of stacks, and remembers what it has named. Belongs to one [`AddressSpaces`].
pub struct Symbols {
    debug_dirs: Vec<PathBuf>,
    held: HashMap<ModuleIndex, Result<ModuleSymbols, Unknown>>,
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
            paths: HashMap::new(),
            cache: HashMap::new(),
        }
    }

    /// The frames of a stack, innermost first; inlined functions become frames of their own, so
    /// there are at least as many as `addresses`.
    pub fn symbolize(&mut self, spaces: &AddressSpaces, addresses: &[FrameAddress]) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(addresses.len());
        for address in addresses {
            self.frames_of(spaces, address, &mut frames);
        }
        frames
    }

    fn frames_of(&mut self, spaces: &AddressSpaces, address: &FrameAddress, out: &mut Vec<Frame>) {
        let mut frame = Frame {
            pc: address.pc,
            module: None,
            module_path: None,
            file_offset: None,
            function: Err(Unknown::of_place(address.place).unwrap_or(Unknown::NoMapping)),
        };
        let in_file = address.in_file();
        let Some((index, offset, module)) =
            in_file.and_then(|(index, offset)| Some((index, offset, spaces.module_at(index)?)))
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
        if self.held.len() >= MAX_HELD_MODULES && !self.held.contains_key(&index) {
            self.held.clear();
        }
        let symbols = self.held.entry(index);
        let symbols = symbols.or_insert_with(|| ModuleSymbols::open(module, &self.debug_dirs));
        let found = match symbols {
            Ok(symbols) => symbols.find(offset).map(Arc::from),
            Err(why) => Err(*why),
        };
        if self.cache.len() >= MAX_CACHED_ADDRESSES {
            self.cache.clear();
        }
        self.cache.insert((index, offset), found.clone());
        found
    }
}
