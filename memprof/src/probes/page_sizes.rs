//! In which sizes the kernel gives anonymous memory.

use std::{fs, io, path::Path};

/// What is said of each size of huge page (Documentation/admin-guide/mm/transhuge.rst); since 6.8.
const SIZES: &str = "/sys/kernel/mm/transparent_hugepage";
/// The one that every kernel with huge pages has.
const HUGE_PAGE: &str = "hugepages-2048kB";

/// Whether it comes in pages of 4 KiB and huge ones of 2 MiB alone; false if that can't be told.
pub fn are_two() -> bool {
    are_two_in(Path::new(SIZES)).unwrap_or(false)
}

fn are_two_in(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // No huge pages at all.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_other = name.as_encoded_bytes().starts_with(b"hugepages-") && name != HUGE_PAGE;
        if is_other && !fs::read_to_string(entry.path().join("enabled"))?.contains("[never]") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(sizes: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (size, enabled) in sizes {
            let size = folder.path().join(size);
            fs::create_dir(&size).unwrap();
            fs::write(size.join("enabled"), enabled).unwrap();
        }
        folder
    }

    #[test]
    fn other_sizes_count_only_where_they_may_be_given() {
        let huge = ("hugepages-2048kB", "always [inherit] madvise never\n");
        let never = ("hugepages-64kB", "always inherit madvise [never]\n");
        let some = ("hugepages-64kB", "always inherit [madvise] never\n");
        assert!(are_two_in(folder(&[huge, never]).path()).unwrap());
        assert!(!are_two_in(folder(&[huge, some]).path()).unwrap());
        assert!(are_two_in(Path::new("/no/such/folder")).unwrap());
    }
}
