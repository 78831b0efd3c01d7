//! The control socket: listens for marks while a trace runs, for root alone, and goes with it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use nix::{
    sys::stat::{Mode, umask},
    unistd::getpid,
};

use super::collector::{Shared, monotonic};
use crate::{
    control::{DIRECTORY, MAX_LINE_BYTES, Request, owner_of, parse, socket_of},
    identity::{Nanoseconds, Pid, seconds_since},
};

/// Connections at one time; a further one is told so and closed.
const MAX_CONNECTIONS: usize = 16;
/// A connection's thread holds a line and little else.
const STACK_BYTES: usize = 128 << 10;

/// The socket of this process, for the way out on which nothing is dropped.
static OWN: OnceLock<PathBuf> = OnceLock::new();

/// The socket, which is there as long as this is.
pub struct Control(());

impl Control {
    /// Listens; `start` is when the trace began.
    ///
    /// # Errors
    /// If there can be no socket.
    pub fn open(shared: Shared, start: Nanoseconds, quiet: bool) -> io::Result<Self> {
        make_directory()?;
        remove_orphans();
        let path = OWN.get_or_init(|| socket_of(Pid(getpid().as_raw().cast_unsigned())));
        // Of a process that had this id before and was killed.
        let _ = fs::remove_file(path);
        let listener = bind(path)?;
        let control = Self(());
        let connections = Arc::new(AtomicUsize::new(0));
        thread::Builder::new()
            .name("control".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let server = Server {
                        shared: shared.clone(),
                        start,
                        quiet,
                        _place: match Place::take(&connections) {
                            Some(place) => place,
                            None => {
                                refuse(&stream);
                                continue;
                            }
                        },
                    };
                    // Without a thread to serve it, it is closed.
                    let _ = thread::Builder::new()
                        .name("mark".to_owned())
                        .stack_size(STACK_BYTES)
                        .spawn(move || server.serve(&stream));
                }
            })?;
        Ok(control)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        remove_own();
    }
}

/// Takes the socket of this process away, if there is one.
pub fn remove_own() {
    if let Some(path) = OWN.get() {
        // Gone already, or nobody's to remove any more.
        let _ = fs::remove_file(path);
    }
}

fn make_directory() -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(DIRECTORY) {
        // Whatever memprof's umask is.
        Ok(()) => fs::set_permissions(DIRECTORY, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the sockets of traces that were killed.
fn remove_orphans() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    for entry in entries.flatten() {
        let owner = entry.file_name().to_str().and_then(owner_of);
        if let Some(pid) = owner
            && !Path::new(&format!("/proc/{}", pid.0)).exists()
        {
            // Another memprof may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A socket that was never anyone else's to connect to: made with its mode, not given it later.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

fn refuse(mut stream: &UnixStream) {
    // It may have left.
    let _ = stream.write_all(b"error too many connections\n");
}

/// One of the connections that there may be.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(taken.clone());
        (taken.fetch_add(1, Ordering::AcqRel) < MAX_CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves one connection.
struct Server {
    shared: Shared,
    start: Nanoseconds,
    quiet: bool,
    _place: Place,
}

impl Server {
    fn serve(&self, mut stream: &UnixStream) {
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut lines).take(MAX_LINE_BYTES as u64);
            match limited.read_until(b'\n', &mut line) {
                Ok(read) if read > 0 => {}
                _ => return,
            }
            let at = monotonic();
            let whole = line.ends_with(b"\n") || line.len() < MAX_LINE_BYTES;
            let line = String::from_utf8_lossy(&line);
            let request = if whole {
                parse(&line)
            } else {
                Err("the line is too long".to_owned())
            };
            let answer = match request.and_then(|Request::Mark(label)| self.mark(at, label)) {
                Ok((number, seconds)) => format!("ok {number} {seconds:.3}\n"),
                Err(why) => format!("error {why}\n"),
            };
            if stream.write_all(answer.as_bytes()).is_err() || !whole {
                return;
            }
        }
    }

    fn mark(&self, at: Nanoseconds, label: String) -> Result<(usize, f64), String> {
        set_mark(&self.shared, at, self.start, self.quiet, |_| label)
            .ok_or_else(|| "there are too many marks".to_owned())
    }
}

/// Sets a mark and says so; its number and when it was set, in seconds from the start.
pub fn set_mark(
    shared: &Shared,
    at: Nanoseconds,
    start: Nanoseconds,
    quiet: bool,
    label: impl FnOnce(usize) -> String,
) -> Option<(usize, f64)> {
    let (number, seconds, label) = {
        let mut state = shared.lock();
        let (number, mark) = state.marks.set(at, label)?;
        let seconds = seconds_since(start, mark.at);
        (number, seconds, mark.label.clone())
    };
    if !quiet {
        eprintln!(
            "memprof: mark {number} at {}: {}",
            crate::units::format_seconds(seconds),
            crate::export::escape(&label, true)
        );
    }
    Some((number, seconds))
}
