//! Addresses of the kernel's own variables.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

/// Where the kernel lists its symbols: an address, a kind, a name, sometimes a module.
const KERNEL_SYMBOLS: &str = "/proc/kallsyms";

/// The address of the kernel's variable or function `name`; `None` if the kernel has none or hides where.
pub fn address_of(name: &str) -> Option<u64> {
    find(BufReader::new(File::open(KERNEL_SYMBOLS).ok()?), name)
}

fn find(symbols: impl BufRead, name: &str) -> Option<u64> {
    let line = symbols.lines().map_while(Result::ok).find(|line| {
        let mut words = line.split_ascii_whitespace().skip(2);
        words.next() == Some(name)
    })?;
    let address = u64::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok()?;
    // What is hidden is shown as 0.
    (address != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_found_by_its_whole_name_unless_it_is_hidden() {
        let symbols = "ffffffff81000000 T _text\n\
                       0000000000000000 t hidden\n\
                       ffffffff82001000 R __per_cpu_offset_old\n\
                       ffffffff82002000 R __per_cpu_offset\n";
        let found = |name| find(symbols.as_bytes(), name);
        assert_eq!(found("__per_cpu_offset"), Some(0xffff_ffff_8200_2000));
        assert_eq!(found("hidden"), None);
        assert_eq!(found("R"), None);
        assert_eq!(found("nothing"), None);
    }
}
