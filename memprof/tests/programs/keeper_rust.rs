//! keeper_rust COUNT SIZE: keeps blocks in a map, along a path of three functions; says so, and waits for
//! the end of its input.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _, stdin, stdout};

#[derive(Default)]
struct Ledger {
    entries: BTreeMap<u64, Vec<u8>>,
}

impl Ledger {
    #[inline(never)]
    fn enter(&mut self, key: u64, size: usize) {
        self.entries.insert(key, vec![7; size]);
    }

    #[inline(never)]
    fn fill(&mut self, count: u64, size: usize) {
        for key in 0..count {
            self.enter(key, size);
        }
    }
}

fn say(word: &str) {
    println!("{word}");
    stdout().flush().expect("somebody listens");
}

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .map(|word| word.parse().expect("a number"))
        .collect();
    let mut ledger = Ledger::default();
    // To be found before it begins.
    say("ready");
    let mut byte = [0];
    stdin().read_exact(&mut byte).expect("the go");
    ledger.fill(numbers[0], numbers[1] as usize);
    say("kept");
    let mut rest = Vec::new();
    stdin().read_to_end(&mut rest).expect("an end");
    assert_eq!(ledger.entries.len() as u64, numbers[0]);
}
