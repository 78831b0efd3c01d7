//! The text of `/proc/PID/smaps`, taken apart. Pure.
//!
//! Not by the procfs crate (0.18), for the reasons that `target/mappings.rs` gives: one path that isn't
//! UTF-8 would cost the whole list, and the target chooses its paths.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::model::Amounts;

/// Mappings that are kept one by one; the kernel's own limit (`vm.max_map_count`) is 65,530 unless raised.
const MAX_MAPPINGS: usize = 65_536;
/// Bytes of names that are kept: what has a name beyond that is only counted.
const MAX_NAME_BYTES: usize = 16 << 20;
/// Lines longer than this (a path of 4,096 bytes and what stands before it) are cut.
const MAX_LINE_BYTES: usize = 8192;

/// One mapping as smaps describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// `rwxp`, with `-` for what is not; `s` at the end where it is shared.
    pub permissions: [u8; 4],
    /// Whether there is a file behind it.
    pub has_inode: bool,
    /// Its path or the kernel's name for it, in lossy UTF-8; empty if there is none.
    pub name: Arc<str>,
    /// How much it holds.
    pub amounts: Amounts,
    /// Mapped without setting aside memory for it (`MAP_NORESERVE`).
    pub is_noreserve: bool,
    /// Has guards that are no mappings of their own (`MADV_GUARD_INSTALL`).
    pub has_guards: bool,
}

/// All mappings of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions {
    /// One by one, by address.
    pub kept: Vec<Region>,
    /// How many were only counted.
    pub beyond_count: u64,
    /// What these hold.
    pub beyond: Amounts,
    /// What all hold together.
    pub total: Amounts,
    /// Bytes of all that only the sum is wanted of.
    pub sums: Sums,
}

/// Further sums over all mappings, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub shared: u64,
    pub swap_pss: u64,
    pub hugetlb: u64,
    pub transparent_huge: u64,
    pub lazily_freed: u64,
}

/// Bounds of what is kept.
#[derive(Clone, Copy)]
struct Bounds {
    mappings: usize,
    name_bytes: usize,
}

/// Reads text as in `/proc/PID/smaps`. What is no such line is passed over.
///
/// # Errors
/// Those of `text`.
pub(crate) fn parse(text: impl BufRead) -> io::Result<Regions> {
    let bounds = Bounds {
        mappings: MAX_MAPPINGS,
        name_bytes: MAX_NAME_BYTES,
    };
    parse_within(text, bounds)
}

fn parse_within(mut text: impl BufRead, bounds: Bounds) -> io::Result<Regions> {
    let mut regions = Regions::default();
    let mut current: Option<Region> = None;
    let mut name_bytes = 0;
    let mut last_name: Arc<str> = Arc::from("");
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_LINE_BYTES as u64;
        if io::Read::take(&mut text, limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() == MAX_LINE_BYTES {
            text.skip_until(b'\n')?;
        }
        if line.first().is_some_and(u8::is_ascii_uppercase) {
            if let Some(region) = &mut current {
                attribute(&String::from_utf8_lossy(&line), region, &mut regions.sums);
            }
        } else if let Some(region) = head(&String::from_utf8_lossy(&line), &mut last_name) {
            let before = current.replace(region);
            regions.finish(before, bounds, &mut name_bytes);
        }
    }
    regions.finish(current, bounds, &mut name_bytes);
    Ok(regions)
}

impl Regions {
    fn finish(&mut self, region: Option<Region>, bounds: Bounds, name_bytes: &mut usize) {
        let Some(region) = region else { return };
        self.total.add(&region.amounts);
        // The names of neighbours are one.
        let is_new = self
            .kept
            .last()
            .is_none_or(|last| !Arc::ptr_eq(&last.name, &region.name));
        let needed = if is_new { region.name.len() } else { 0 };
        if self.kept.len() == bounds.mappings || *name_bytes + needed > bounds.name_bytes {
            self.beyond_count += 1;
            self.beyond.add(&region.amounts);
        } else {
            *name_bytes += needed;
            self.kept.push(region);
        }
    }
}

/// The first line of a mapping.
fn head(line: &str, last_name: &mut Arc<str>) -> Option<Region> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let permissions = fields.next()?.as_bytes().try_into().ok()?;
    let inode: u64 = fields.nth(2)?.parse().ok()?;
    // The kernel pads with spaces before the name, ends a line without one with a space, and escapes
    // newlines, nothing else.
    let name = fields.next().unwrap_or("").trim_start_matches(' ');
    let name = name.replace("\\012", "\n");
    if **last_name != *name {
        *last_name = Arc::from(name);
    }
    Some(Region {
        start,
        end,
        permissions,
        has_inode: inode != 0,
        name: Arc::clone(last_name),
        amounts: Amounts {
            size_bytes: end.checked_sub(start)?,
            ..Amounts::default()
        },
        is_noreserve: false,
        has_guards: false,
    })
}

/// A further line of a mapping: `Rss:   8 kB`, `VmFlags: rd mr`.
fn attribute(line: &str, region: &mut Region, sums: &mut Sums) {
    let Some((key, value)) = line.split_once(':') else {
        return;
    };
    if key == "VmFlags" {
        region.is_noreserve = value.split_ascii_whitespace().any(|flag| flag == "nr");
        region.has_guards = value.split_ascii_whitespace().any(|flag| flag == "gu");
        return;
    }
    let number = value.split_ascii_whitespace().next();
    let Some(kib) = number.and_then(|number| number.parse::<u64>().ok()) else {
        return;
    };
    let bytes = kib.saturating_mul(1024);
    let amounts = &mut region.amounts;
    let place = match key {
        "Rss" => &mut amounts.rss_bytes,
        "Pss" => &mut amounts.pss_bytes,
        "Private_Clean" | "Private_Dirty" => &mut amounts.uss_bytes,
        "Swap" => &mut amounts.swap_bytes,
        "Shared_Clean" | "Shared_Dirty" => &mut sums.shared,
        "SwapPss" => &mut sums.swap_pss,
        "Shared_Hugetlb" | "Private_Hugetlb" => &mut sums.hugetlb,
        "AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped" => &mut sums.transparent_huge,
        "LazyFree" => &mut sums.lazily_freed,
        _ => return,
    };
    *place = place.saturating_add(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &[u8] = b"\
564c0c5f7000-564c0c5f9000 r--p 00000000 fe:00 247030                     /usr/bin/a b
Size:                  8 kB
Rss:                   8 kB
Pss:                   4 kB
Shared_Clean:          4 kB
Private_Clean:         4 kB
THPeligible:           0
VmFlags: rd mr mw me 
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 
Size:               1024 kB
Rss:                 512 kB
Pss:                 512 kB
Private_Dirty:       508 kB
Private_Clean:         4 kB
Swap:                 16 kB
SwapPss:              16 kB
AnonHugePages:         0 kB
VmFlags: rd wr mr mw me nr gu 
";

    #[test]
    fn every_mapping_has_what_smaps_says_of_it() {
        let regions = parse(SMALL).unwrap();
        assert_eq!(regions.kept.len(), 2);
        let [file, memory] = &regions.kept[..] else {
            panic!("two")
        };
        assert_eq!(&*file.name, "/usr/bin/a b");
        assert!(file.has_inode && !file.is_noreserve);
        assert_eq!(file.amounts.rss_bytes, 8192);
        assert_eq!(file.amounts.uss_bytes, 4096);
        assert_eq!(&memory.permissions, b"rw-p");
        assert!(memory.is_noreserve && memory.has_guards && !memory.has_inode);
        assert_eq!(memory.amounts.size_bytes, 1 << 20);
        assert_eq!(memory.amounts.uss_bytes, 512 << 10);
        assert_eq!(memory.amounts.swap_bytes, 16 << 10);
        assert_eq!(regions.total.rss_bytes, 520 << 10);
        assert_eq!(regions.sums.shared, 4096);
        assert_eq!(regions.sums.swap_pss, 16 << 10);
    }

    #[test]
    fn an_empty_list_is_no_mapping() {
        assert_eq!(parse(&b""[..]).unwrap(), Regions::default());
    }

    #[test]
    fn hostile_names_are_names_and_cost_no_other_mapping() {
        let mut text = Vec::new();
        let names: [&[u8]; 6] = [
            b"/tmp/\xff\xfe",
            b"/SYSV",
            b"/tmp/Rss: 5 kB",
            b"/tmp/a\\012b",
            b"[heap",
            b"/tmp/\x1b[2J (deleted)",
        ];
        for (at, name) in names.iter().enumerate() {
            text.extend(format!("{at}000-{}000 r--p 0 fe:00 9 ", at + 1).as_bytes());
            text.extend(*name);
            text.extend(b"\nRss: 4 kB\n");
        }
        let long = vec![b'x'; 3 * MAX_LINE_BYTES];
        text.extend(b"a000-b000 r--p 0 fe:00 9 /");
        text.extend(&long);
        text.extend(b"\nRss: 4 kB\ngarbage\n-\n9-1 rw-p 0 0:0 0 \nRss: x kB\nRss\n");
        text.extend(b"Rss: 99999999999999999999 kB\nRss: 18446744073709551615 kB\n");
        let regions = parse(&text[..]).unwrap();
        assert_eq!(regions.kept.len(), names.len() + 1);
        assert_eq!(&*regions.kept[0].name, "/tmp/\u{fffd}\u{fffd}");
        assert_eq!(&*regions.kept[3].name, "/tmp/a\nb");
        assert!(regions.kept[6].name.len() < MAX_LINE_BYTES);
        assert_eq!(regions.kept[5].amounts.rss_bytes, 4096);
        assert_eq!(regions.total.rss_bytes, u64::MAX, "no overflow");
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted() {
        let mut text = String::new();
        for at in 0..5000_u64 {
            let (start, end) = (at * 8192, at * 8192 + 4096);
            text += &format!("{start:x}-{end:x} rw-p 0 0:0 {at} /f{at}\nRss: 4 kB\n");
        }
        let whole = parse(text.as_bytes()).unwrap();
        assert_eq!((whole.kept.len(), whole.beyond_count), (5000, 0));
        for bounds in [
            Bounds {
                mappings: 1000,
                name_bytes: usize::MAX,
            },
            Bounds {
                mappings: usize::MAX,
                name_bytes: 3000,
            },
        ] {
            let cut = parse_within(text.as_bytes(), bounds).unwrap();
            assert!(cut.beyond_count >= 3500);
            assert_eq!(cut.kept.len() as u64 + cut.beyond_count, 5000);
            assert_eq!(cut.beyond.rss_bytes, cut.beyond_count * 4096);
            assert_eq!(cut.total, whole.total);
        }
    }
}
