//! Any bytes as a perf map, in any pieces: no panic, no more memory than allowed, and each address
//! has the name of the last line that covers it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memprof::symbols::perf_map::PerfMap;

/// In longer lines, names may be cut.
const LONGEST_COMPARED: usize = 600;

fuzz_target!(|data: &[u8]| {
    let Some((&options, text)) = data.split_first() else {
        return;
    };
    let limit = if options & 0x80 == 0 { 1 << 20 } else { 1 << 9 };
    let mut map = PerfMap::default();
    for piece in text.chunks(usize::from(options & 0x7f) + 1) {
        map.read(piece, limit);
    }
    assert!(map.held_bytes() <= limit);
    if map.left_out() > 0 {
        return;
    }
    let lines = || {
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        lines.filter_map(|line| line.strip_suffix(b"\n"))
    };
    if lines().any(|line| line.len() > LONGEST_COMPARED) {
        return;
    }
    let lines: Vec<(u64, u64, String)> = lines().filter_map(plain_line).collect();
    for (start, end, _) in &lines {
        for address in [start.wrapping_sub(1), *start, end - 1, *end] {
            let covers = |line: &&(u64, u64, String)| (line.0..line.1).contains(&address);
            let expected = lines.iter().rev().find(covers).map(|line| &*line.2);
            assert_eq!(map.find(address).map(|name| &**name), expected);
        }
    }
});

fn plain_line(line: &[u8]) -> Option<(u64, u64, String)> {
    let text = String::from_utf8_lossy(line);
    let blank = [' ', '\t'];
    let (start, rest) = text.trim_start().split_once(blank)?;
    let (size, name) = rest.trim_start().split_once(blank)?;
    let number = |digits: &str| {
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    };
    let (start, size) = (number(start)?, number(size)?);
    let end = start.checked_add(size)?;
    (size > 0 && !name.trim().is_empty()).then(|| (start, end, name.trim().to_owned()))
}
