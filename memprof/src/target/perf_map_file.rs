//! The perf map of a process: `/tmp/perf-PID.map`, in which a just-in-time compiler lists the
//! functions that it has made (Linux, tools/perf/Documentation/jit-interface.txt). Found as the
//! process itself sees it, read bit by bit as it grows, to its end after the process has ended.
//!
//! The target chooses what lies under that name, so it is looked at before it is opened, and must
//! be a regular file of the target's user or root. (A filesystem in user space could keep us
//! waiting; but the kernel lets root into one only if its administrator has allowed that.)

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use procfs::process::{Process, Status};

use crate::identity::Pid;
use crate::target::mappings::reopen_regular;
use crate::target::part::FilePart;

/// The name of a [`PerfMapFile`] in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PerfMapIndex(pub u16);

/// Where a process's perf map is, or will be.
pub struct PerfMapFile {
    pid: Pid,
    /// What the kernel told the program at its start. Random addresses are in it, so no other
    /// program has the same, not even one that takes over the process or its id.
    program: Vec<u8>,
    /// The process's `/tmp`. Outlives the process, and its mount namespace.
    folder: Option<File>,
    /// In `folder`.
    name: String,
    /// As whom it may write files.
    users: [u32; 2],
    opened: Option<Opened>,
}

struct Opened {
    file: File,
    position: u64,
}

/// Who has the process id now.
#[derive(PartialEq, Eq)]
enum Holder {
    TheProgram,
    Nobody,
    Another,
}

impl PerfMapFile {
    /// Takes note of where the perf map of a living process would be; `None` if it is gone.
    pub fn of(pid: Pid) -> Option<Self> {
        let program = program_of(pid)?;
        let root = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(format!("/proc/{}/root", pid.0))
            .ok()?;
        let folder = handle(&root, "tmp", OFlag::O_DIRECTORY)?;
        let status = status_of(pid)?;
        // The last is the one by which the process knows itself.
        let own_pid = *status.nspid.as_ref()?.last()?;
        Some(Self {
            pid,
            program,
            folder: Some(folder),
            users: users_of(&status),
            name: format!("perf-{own_pid}.map"),
            opened: None,
        })
    }

    /// Whether there will never be more to read.
    pub fn is_over(&self) -> bool {
        self.folder.is_none()
    }

    /// Passes on what is new in the file, at most `most` bytes; how many these were.
    pub fn read_new(&mut self, most: u64, mut sink: impl FnMut(&[u8])) -> u64 {
        if self.is_over() {
            return 0;
        }
        let holder = self.holder();
        if holder == Holder::Another {
            // It may have begun to write to the same file.
            self.end();
            return 0;
        }
        if let Some(status) = status_of(self.pid).filter(|_| holder == Holder::TheProgram) {
            self.users = users_of(&status);
        }
        if self.opened.is_none() {
            self.opened = self.open().map(|file| Opened { file, position: 0 });
        }
        let count = self
            .opened
            .as_mut()
            .map_or(0, |opened| opened.read(most, &mut sink));
        let at_end = count < most;
        if at_end && holder == Holder::Nobody {
            self.end();
        } else if at_end && self.opened.as_ref().is_some_and(Opened::is_deleted) {
            // There may be another by now.
            self.opened = None;
        }
        count
    }

    fn end(&mut self) {
        self.folder = None;
        self.opened = None;
    }

    fn holder(&self) -> Holder {
        match program_of(self.pid) {
            None => Holder::Nobody,
            Some(program) if program == self.program => Holder::TheProgram,
            Some(_) => Holder::Another,
        }
    }

    fn open(&self) -> Option<File> {
        let file = handle(self.folder.as_ref()?, &self.name, OFlag::O_NOFOLLOW)?;
        let accepted = |owner| owner == 0 || self.users.contains(&owner);
        reopen_regular(&file, |found| accepted(found.uid())).ok()
    }
}

/// A handle that opens nothing, of what is under a name in a directory that is taken for the root.
fn handle(folder: &File, name: &str, more: OFlag) -> Option<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | more)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(folder, name, how).ok().map(File::from)
}

impl Opened {
    fn read(&mut self, most: u64, sink: &mut impl FnMut(&[u8])) -> u64 {
        let Ok(metadata) = self.file.metadata() else {
            return 0;
        };
        if metadata.len() < self.position {
            // Begun anew.
            self.position = 0;
        }
        let end = metadata.len().min(self.position.saturating_add(most));
        let mut part = FilePart::new(&self.file, self.position..end);
        let mut buffer = vec![0; 64 << 10];
        let mut total = 0;
        // An error is an end, too.
        while let Ok(count) = part.read(&mut buffer)
            && let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty())
        {
            sink(bytes);
            total += count as u64;
        }
        self.position += total;
        total
    }

    fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }
}

/// The auxiliary vector of a process, which is its program's alone; `None` if it has ended.
fn program_of(pid: Pid) -> Option<Vec<u8>> {
    let vector = fs::read(format!("/proc/{}/auxv", pid.0)).ok()?;
    (!vector.is_empty()).then_some(vector)
}

fn status_of(pid: Pid) -> Option<Status> {
    let process = Process::new(i32::try_from(pid.0).ok()?).ok()?;
    process.status().ok()
}

fn users_of(status: &Status) -> [u32; 2] {
    [status.ruid, status.euid]
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// A process that may have a perf map, and that file's name. Both end with the test.
    struct Jit {
        child: Child,
        path: PathBuf,
    }

    impl Jit {
        fn start() -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "echo; read line; exec sleep 60"]);
            let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = pipes.spawn().unwrap();
            // It runs what it should by then.
            let mut ready = [0];
            let mut output = child.stdout.take().unwrap();
            output.read_exact(&mut ready).unwrap();
            let path = PathBuf::from(format!("/tmp/perf-{}.map", child.id()));
            Self { child, path }
        }

        fn file(&self) -> PerfMapFile {
            PerfMapFile::of(Pid(self.child.id())).unwrap()
        }

        fn append(&self, text: &str) {
            let mut options = OpenOptions::new();
            let mut file = options.create(true).append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn end(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    impl Drop for Jit {
        fn drop(&mut self) {
            // Either may fail if it has ended already, or has no file.
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir(&self.path);
        }
    }

    fn read(file: &mut PerfMapFile, most: u64) -> String {
        let mut text = Vec::new();
        let count = file.read_new(most, |part| text.extend_from_slice(part));
        assert_eq!(count, text.len() as u64);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_new_is_read_as_it_comes() {
        let jit = Jit::start();
        let mut file = jit.file();
        assert_eq!(read(&mut file, 100), "");
        jit.append("1000 10 one\n");
        assert_eq!(read(&mut file, 5), "1000 ");
        assert_eq!(read(&mut file, 100), "10 one\n");
        assert_eq!(read(&mut file, 100), "");
        jit.append("2000 10 two\n");
        assert_eq!(read(&mut file, 100), "2000 10 two\n");
        // Begun anew, then replaced.
        fs::write(&jit.path, "3\n").unwrap();
        assert_eq!(read(&mut file, 100), "3\n");
        fs::remove_file(&jit.path).unwrap();
        assert_eq!(read(&mut file, 100), "");
        jit.append("4000 10 four\n");
        assert_eq!(read(&mut file, 100), "4000 10 four\n");
        assert!(!file.is_over());
    }

    #[test]
    fn what_was_written_before_the_end_is_read_after_it() {
        let mut jit = Jit::start();
        let (mut opened, mut unopened) = (jit.file(), jit.file());
        jit.append("1000 10 one\n");
        assert_eq!(read(&mut opened, 100), "1000 10 one\n");
        jit.append("2000 10 two\n");
        jit.end();
        assert_eq!(read(&mut unopened, 5), "1000 ");
        assert!(!unopened.is_over());
        assert_eq!(read(&mut unopened, 100), "10 one\n2000 10 two\n");
        fs::remove_file(&jit.path).unwrap();
        assert_eq!(read(&mut opened, 100), "2000 10 two\n");
        assert!(opened.is_over() && unopened.is_over());
        assert!(PerfMapFile::of(Pid(jit.child.id())).is_none());
    }

    #[test]
    fn the_next_program_of_a_process_is_another() {
        let mut jit = Jit::start();
        let mut file = jit.file();
        jit.append("1000 10 one\n");
        assert_eq!(read(&mut file, 100), "1000 10 one\n");
        jit.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let name = format!("/proc/{}/comm", jit.child.id());
        while fs::read_to_string(&name).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        jit.append("2000 10 of another program\n");
        assert_eq!(read(&mut file, 100), "");
        assert!(file.is_over());
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let jit = Jit::start();
        let started = Instant::now();
        let target = Path::new("/tmp").join(format!("memprof-test-{}", jit.child.id()));
        fs::write(&target, "1000 10 elsewhere\n").unwrap();
        let fifo = |path: &Path| {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        let hostile: [&dyn Fn(); 5] = [
            &|| symlink(&target, &jit.path).unwrap(),
            &|| symlink("/dev/zero", &jit.path).unwrap(),
            &|| symlink("/proc/self/fd/0", &jit.path).unwrap(),
            &|| fifo(&jit.path),
            &|| fs::create_dir(&jit.path).unwrap(),
        ];
        for make in hostile {
            make();
            assert_eq!(read(&mut jit.file(), 100), "");
            let _ = fs::remove_file(&jit.path);
            let _ = fs::remove_dir(&jit.path);
        }
        fs::remove_file(&target).unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
