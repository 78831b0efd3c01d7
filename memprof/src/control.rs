//! The control socket of a running trace: where it is, and what is said over it. A line each way:
//!
//! ```text
//! mark LABEL        ok 3 12.504          the mark's number, and when it was set, in seconds
//!                   error WHY
//! ```

use std::path::PathBuf;

use crate::identity::Pid;

/// Where the sockets of all running traces are.
pub const DIRECTORY: &str = "/run/memprof";
/// The longest label, in bytes; a longer one is refused.
pub const MAX_LABEL_BYTES: usize = 128;
/// The longest line.
pub const MAX_LINE_BYTES: usize = MAX_LABEL_BYTES + 64;

const SUFFIX: &str = ".sock";

/// What can be asked of a running trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To set a point of this name.
    Mark(String),
}

/// The socket of the trace that this process makes.
pub fn socket_of(memprof: Pid) -> PathBuf {
    PathBuf::from(format!("{DIRECTORY}/{}{SUFFIX}", memprof.0))
}

/// The process whose socket has this file name.
pub fn owner_of(file_name: &str) -> Option<Pid> {
    let number = file_name.strip_suffix(SUFFIX)?;
    let is_plain = !number.starts_with(['+', '0']);
    number.parse().ok().filter(|_| is_plain).map(Pid)
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(line: &str) -> Result<Request, String> {
    match line.trim().split_once(' ') {
        Some(("mark", label)) => Ok(Request::Mark(check_label(label)?.to_owned())),
        _ if line.trim() == "mark" => Err("a mark needs a label".to_owned()),
        _ => Err("unknown request: there is mark LABEL".to_owned()),
    }
}

/// The label without spaces around it.
///
/// # Errors
/// Why it can't be one, in words.
pub fn check_label(label: &str) -> Result<&str, String> {
    let label = label.trim();
    if label.is_empty() {
        return Err("a label can't be empty".to_owned());
    }
    if label.contains(['\n', '\r']) {
        return Err("a label is one line".to_owned());
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(format!("a label has at most {MAX_LABEL_BYTES} bytes"));
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_has_a_label_of_one_line_and_some_length() {
        let mark = |label: &str| Ok(Request::Mark(label.to_owned()));
        assert_eq!(parse("mark request 7\n"), mark("request 7"));
        assert_eq!(parse("  mark   x \r\n"), mark("x"));
        assert!(parse("mark\n").is_err());
        assert!(parse("mark \n").is_err());
        assert!(parse("").is_err());
        assert!(parse("marker x").is_err());
        assert!(parse(&format!("mark {}", "x".repeat(128))).is_ok());
        assert!(parse(&format!("mark {}", "x".repeat(129))).is_err());
        assert!(check_label("a\nb").is_err());
    }

    #[test]
    fn a_socket_says_whose_it_is() {
        let name = socket_of(Pid(77));
        assert_eq!(name.to_str(), Some("/run/memprof/77.sock"));
        assert_eq!(owner_of("77.sock"), Some(Pid(77)));
        for other in ["77", ".sock", "x.sock", "+7.sock", "077.sock", "-1.sock"] {
            assert_eq!(owner_of(other), None, "{other}");
        }
    }
}
