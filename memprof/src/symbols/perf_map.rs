//! The functions that a just-in-time compiler has listed in a perf map: lines of start, size (both
//! hexadecimal) and name. Such compilers use memory again, so a later line wins where it overlaps
//! an earlier one.
//!
//! The target writes the lines, as many and as long as it likes, and while they are read: what is
//! no such line is passed over, and there is a limit to what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::demangle::cut;

/// Bytes of a line that are looked at; the rest of a longer one is left out.
pub const MAX_LINE_BYTES: usize = 4096;
/// What a function takes, besides its name, in bytes: the tree's share and the name's counts.
const FUNCTION_BYTES: u64 = 96;

/// Functions by address. They never overlap.
#[derive(Debug, Default)]
pub struct PerfMap {
    functions: BTreeMap<u64, Function>,
    held_bytes: u64,
    left_out: u64,
    /// A line without its end, so far.
    line: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Function {
    end: u64,
    name: Arc<str>,
}

impl PerfMap {
    /// Reads on in the text, in any pieces. Functions for which there is no room in `limit` bytes
    /// are left out.
    pub fn read(&mut self, text: &[u8], limit: u64) {
        for piece in text.split_inclusive(|&byte| byte == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            let (content, ends) = match piece.split_last() {
                Some((b'\n', content)) => (content, true),
                _ => (piece, false),
            };
            let kept = content.get(..room).unwrap_or(content);
            self.line.extend_from_slice(kept);
            if ends {
                let line = std::mem::take(&mut self.line);
                self.read_line(&line, limit);
                self.line = line;
                self.line.clear();
            }
        }
    }

    fn read_line(&mut self, line: &[u8], limit: u64) {
        let text = String::from_utf8_lossy(line);
        let Some((start, end, name)) = parse(&text) else {
            return;
        };
        self.clear(start, end, limit);
        let name = Arc::from(cut(name));
        self.insert(start, Function { end, name }, limit);
    }

    /// Takes whatever is in a range out of it. What remains of a function before and behind the
    /// range stays: where a whole is listed before its parts, it is still the whole.
    fn clear(&mut self, start: u64, end: u64, limit: u64) {
        let before = self.functions.range(..start).next_back();
        let before = before.map(|(&first, function)| (first, function.clone()));
        if let Some((first, mut function)) = before.filter(|(_, function)| function.end > start) {
            self.remove(first);
            let whole = function.clone();
            function.end = start;
            self.insert(first, function, limit);
            if whole.end > end {
                self.insert(end, whole, limit);
            }
        }
        while let Some((&first, _)) = self.functions.range(start..end).next() {
            if let Some(function) = self.remove(first).filter(|function| function.end > end) {
                self.insert(end, function, limit);
            }
        }
    }

    fn insert(&mut self, start: u64, function: Function, limit: u64) {
        let held_bytes = self.held_bytes + cost(&function.name);
        if held_bytes > limit {
            self.left_out += 1;
            return;
        }
        self.held_bytes = held_bytes;
        self.functions.insert(start, function);
    }

    fn remove(&mut self, start: u64) -> Option<Function> {
        let removed = self.functions.remove(&start)?;
        self.held_bytes -= cost(&removed.name);
        Some(removed)
    }

    /// The function at an address.
    pub fn find(&self, address: u64) -> Option<&Arc<str>> {
        let (_, function) = self.functions.range(..=address).next_back()?;
        (address < function.end).then_some(&function.name)
    }

    /// About how much memory it takes, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Functions for which there was no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn cost(name: &str) -> u64 {
    FUNCTION_BYTES + name.len() as u64
}

/// `START SIZE NAME`: start, end and name.
fn parse(line: &str) -> Option<(u64, u64, &str)> {
    let (start, rest) = line.trim_start().split_once([' ', '\t'])?;
    let (size, name) = rest.trim_start().split_once([' ', '\t'])?;
    let (start, size) = (hex(start)?, hex(size)?);
    let name = name.trim();
    let end = start.checked_add(size)?;
    (size > 0 && !name.is_empty()).then_some((start, end, name))
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    // `from_str_radix` takes a sign, too.
    let plain = digits.starts_with(|first: char| first.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: u64 = u64::MAX;

    fn map(text: &str) -> PerfMap {
        let mut map = PerfMap::default();
        map.read(text.as_bytes(), NO_LIMIT);
        map
    }

    fn name(map: &PerfMap, address: u64) -> Option<&str> {
        map.find(address).map(|name| &**name)
    }

    #[test]
    fn functions_are_found_from_their_first_byte_to_their_last() {
        let map = map("1000 10 JS:*add /srv/app.js:3:13\n0x2000 0x8 two\n");
        assert_eq!(name(&map, 0xfff), None);
        assert_eq!(name(&map, 0x1000), Some("JS:*add /srv/app.js:3:13"));
        assert_eq!(name(&map, 0x100f), Some("JS:*add /srv/app.js:3:13"));
        assert_eq!(name(&map, 0x1010), None);
        assert_eq!(name(&map, 0x2007), Some("two"));
        assert_eq!(name(&map, u64::MAX), None);
    }

    #[test]
    fn a_later_function_wins_over_those_that_it_overlaps() {
        let reused = map("1000 10 old\n1010 10 old too\n1008 10 new\n");
        assert_eq!(name(&reused, 0x1007), Some("old"));
        assert_eq!(name(&reused, 0x1008), Some("new"));
        assert_eq!(name(&reused, 0x1017), Some("new"));
        assert_eq!(name(&reused, 0x1018), Some("old too"));
        let whole_first = map("1000 100 whole\n1040 10 part\n");
        assert_eq!(name(&whole_first, 0x103f), Some("whole"));
        assert_eq!(name(&whole_first, 0x1040), Some("part"));
        assert_eq!(name(&whole_first, 0x1050), Some("whole"));
        let again = map("1000 10 one\n1000 20 two\n");
        assert_eq!(name(&again, 0x1000), Some("two"));
        assert_eq!(again.functions.len(), 1);
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        let map = map(
            "garbage\n\n1000\n1000 10\n1000 10 \nx000 10 x\n1000 0 empty\n\
            ffffffffffffffff 2 beyond\n+1000 10 sign\n1000 -10 sign\n2000 10 fine\r\n\u{0}\n",
        );
        assert_eq!(map.functions.len(), 1);
        assert_eq!(name(&map, 0x2000), Some("fine"));
    }

    #[test]
    fn the_pieces_in_which_a_text_comes_make_no_difference() {
        let text = "1000 10 größer\n1008 4 inner\n\n3000 1 x\nno line\n2000 10 last";
        let whole = map(text);
        for step in 1..12 {
            let mut pieces = PerfMap::default();
            for piece in text.as_bytes().chunks(step) {
                pieces.read(piece, NO_LIMIT);
            }
            for address in [0x1000, 0x1008, 0x100c, 0x3000, 0x2000] {
                assert_eq!(name(&pieces, address), name(&whole, address));
            }
        }
        // Its line has not ended yet.
        assert_eq!(name(&whole, 0x2000), None);
        assert_eq!(name(&whole, 0x1000), Some("größer"));
    }

    #[test]
    fn names_lines_and_the_whole_are_bounded() {
        let mut long = PerfMap::default();
        long.read(b"1000 10 ", NO_LIMIT);
        for _ in 0..1000 {
            long.read(&[b'n'; 10_000], NO_LIMIT);
        }
        long.read(b"\n2000 10 next\n\xff\xfe\n", NO_LIMIT);
        assert!(long.line.capacity() < 4 * MAX_LINE_BYTES);
        assert!(name(&long, 0x1000).unwrap().len() <= super::super::MAX_NAME_BYTES);
        assert_eq!(name(&long, 0x2000), Some("next"));

        let mut many = PerfMap::default();
        for index in 0..100_000 {
            many.read(
                format!("{:x} 10 function\n", index << 4).as_bytes(),
                1 << 20,
            );
        }
        assert!(many.held_bytes() <= 1 << 20 && many.left_out() > 80_000);
        assert_eq!(many.left_out() + many.functions.len() as u64, 100_000);
        // Parts of a whole would make ever more parts of the whole, too.
        let mut parts = PerfMap::default();
        parts.read(b"0 ffffffffffff whole\n", 1 << 20);
        for index in 0..20_000 {
            parts.read(format!("{:x} 1 p\n", index << 4).as_bytes(), 1 << 20);
        }
        assert!(parts.held_bytes() <= 1 << 20 && parts.left_out() > 0);
        // Where memory is used again, the old name is wrong even if there is no room for the new.
        many.read(format!("0 10 {}\n", "n".repeat(2000)).as_bytes(), 1 << 20);
        assert_eq!(name(&many, 0), None);
    }

    /// What the map would be if every address had an entry of its own.
    #[test]
    fn random_lines_name_what_a_plain_table_names() {
        // xorshift64 (Marsaglia 2003).
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..200 {
            let (mut map, mut plain) = (PerfMap::default(), vec![None; 96]);
            for turn in 0..40 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let (start, size) = (state % 64, state >> 32 & 31);
                map.read(format!("{start:x} {size:x} f{turn}\n").as_bytes(), NO_LIMIT);
                for place in start..start + size {
                    plain[place as usize] = Some(format!("f{turn}"));
                }
            }
            for (address, expected) in plain.iter().enumerate() {
                assert_eq!(name(&map, address as u64), expected.as_deref());
            }
            let held: u64 = map.functions.values().map(|f| cost(&f.name)).sum();
            assert_eq!(map.held_bytes(), held);
        }
    }
}
