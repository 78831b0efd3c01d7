//! One function on a call stack.

use serde::{Deserialize, Serialize};

use super::HexAddress;

/// One frame of a stack. A function that was inlined is a frame of its own, `inlined`, with the
/// address of the code that it was inlined into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The function's demangled name.
    pub function: Option<String>,
    /// The name of the source file.
    pub file: Option<String>,
    /// The line in `file`.
    pub line: Option<u32>,
    /// The directory of `file`, as the compiler knew it.
    #[serde(default)]
    pub directory: Option<String>,
    /// The path of the mapped file that holds the code; `[vdso]`, or `[jit]` for a function that
    /// was made at run time.
    pub module: Option<String>,
    /// Where the code was in the process.
    pub address: Option<HexAddress>,
    /// Where the code is in `module`: an offset in the file.
    pub offset: Option<HexAddress>,
    /// What a symbolizer (`addr2line`, `llvm-symbolizer`) takes, given `module`: the virtual
    /// address before relocation, of the call where `address` is the one to which it returns.
    #[serde(default)]
    pub elf_address: Option<HexAddress>,
    /// The build id of `module`, in hexadecimal.
    pub build_id: Option<String>,
    /// Whether this function exists only inlined into the next frame.
    pub inlined: bool,
    /// Why there is no `function`: `stripped`, `jit`, `gone`, … `None` if there is one.
    pub unknown: Option<String>,
}
