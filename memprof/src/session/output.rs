//! Where a report goes: standard output, or a file that appears whole or not at all.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Result;
use tempfile::NamedTempFile;

use crate::{
    bad_input,
    config::Destination,
    export::{Format, Style},
};

/// Columns where nobody tells how many there are.
const DEFAULT_WIDTH: usize = 100;
/// Fewer columns than this hold no report.
const LEAST_WIDTH: usize = 40;

/// An open place for a report.
pub enum Output {
    /// Standard output: reports as they come.
    Standard,
    /// Beside the file that it will be.
    Pending {
        /// Taken when it is put in its place.
        file: Option<NamedTempFile>,
        /// Its place.
        path: PathBuf,
    },
    /// Nowhere: who wants the report takes it from the one who made it.
    Nowhere,
    /// A device or pipe, or a file of reports that are whole line by line: written as they come.
    Direct(File),
}

impl Output {
    /// Opens the destination, before anything is traced.
    ///
    /// # Errors
    /// Bad input if it cannot be written.
    pub fn open(destination: &Destination, format: Format) -> Result<Self> {
        let path = match destination {
            Destination::StandardOutput => return Ok(Self::Standard),
            Destination::File(path) => path,
        };
        let refused = |error: io::Error| {
            // The kind alone: the error itself may name the temporary file.
            let why = error.kind();
            bad_input!(
                "--output {}: {why}: give a path that can be written, or - for standard output",
                path.display()
            )
        };
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => Err(refused(io::ErrorKind::IsADirectory.into())),
            Ok(there) if there.file_type().is_char_device() || there.file_type().is_fifo() => {
                let file = OpenOptions::new().write(true).open(path);
                Ok(Self::Direct(file.map_err(refused)?))
            }
            _ if format.is_whole_by_line() => {
                Ok(Self::Direct(File::create(path).map_err(refused)?))
            }
            _ => {
                let directory = match path.parent() {
                    Some(parent) if parent != Path::new("") => parent,
                    _ => Path::new("."),
                };
                let file = tempfile::Builder::new()
                    .prefix(".memprof-")
                    .permissions(std::fs::Permissions::from_mode(0o666))
                    .tempfile_in(directory)
                    .map_err(refused)?;
                let path = path.clone();
                Ok(Self::Pending {
                    file: Some(file),
                    path,
                })
            }
        }
    }

    /// Whether somebody reads along, so that a report before the last makes sense.
    pub fn takes_intervals(&self) -> bool {
        matches!(self, Self::Standard | Self::Direct(_))
    }

    /// How text is to look there.
    pub fn style(&self) -> Style {
        let terminal = matches!(self, Self::Standard) && io::stdout().is_terminal();
        let columns = terminal
            .then(|| terminal_size::terminal_size_of(io::stdout()))
            .flatten()
            .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
        Style {
            // https://no-color.org: set and not empty.
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: columns.max(LEAST_WIDTH),
            unicode: is_utf8_locale(),
        }
    }

    /// Writes what `write` writes, through to whoever reads.
    ///
    /// # Errors
    /// Those of the destination.
    pub fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Standard => through(io::stdout().lock(), write),
            Self::Pending { file, .. } => match file {
                Some(file) => through(file.as_file(), write),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Self::Direct(file) => through(file, write),
            Self::Nowhere => Ok(()),
        }
    }

    /// Puts a file in its place, after the last write.
    ///
    /// # Errors
    /// If it can't be renamed.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Self::Pending { file, path } = self
            && let Some(file) = file.take()
        {
            file.persist(path)?;
        }
        Ok(())
    }
}

fn through(
    destination: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffered = io::BufWriter::new(destination);
    write(&mut buffered)?;
    buffered.flush()
}

/// Whether the locale's characters are UTF-8, by the variables in the order that POSIX gives them.
fn is_utf8_locale() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(std::env::var_os)
        .find(|value| !value.is_empty());
    set.is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}
