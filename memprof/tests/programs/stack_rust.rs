//! stack_rust TURNS: what Rust programs allocate with, as a release build inlines it: collections,
//! strings, iterators, generics, trait objects, closures, threads, and panics that unwind through
//! frames with blocks in hand.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;

trait Visit {
    fn visit(&self, depth: u32) -> String;
}

struct Leaf<T>(T);

impl<T: Display> Visit for Leaf<T> {
    fn visit(&self, depth: u32) -> String {
        format!("{} at {depth}", self.0)
    }
}

struct Node {
    children: Vec<Box<dyn Visit>>,
    index: BTreeMap<u32, Rc<str>>,
}

impl Visit for Node {
    fn visit(&self, depth: u32) -> String {
        let mut words: Vec<String> = self.children.iter().map(|c| c.visit(depth + 1)).collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.extend(self.index.values().map(|name| name.to_uppercase()));
        words.join(", ")
    }
}

fn build(depth: u32, fan: u32) -> Box<dyn Visit> {
    if depth == 0 {
        return match fan % 3 {
            0 => Box::new(Leaf(fan)),
            1 => Box::new(Leaf(format!("leaf {fan}"))),
            _ => Box::new(Leaf(f64::from(fan) / 3.0)),
        };
    }
    Box::new(Node {
        children: (0..fan).map(|child| build(depth - 1, child + 1)).collect(),
        index: (0..fan).map(|n| (n, Rc::from(format!("name {n}")))).collect(),
    })
}

/// Allocates when it is dropped, also while a panic passes.
struct Farewell(u32);

impl Drop for Farewell {
    fn drop(&mut self) {
        let counts: HashMap<u32, String> = (0..self.0).map(|n| (n, n.to_string())).collect();
        black_box(counts.len());
    }
}

fn fail(depth: u32) -> usize {
    let farewell = Farewell(depth);
    let held = vec![depth; 40];
    if depth == 0 {
        panic::panic_any(format!("the bottom, with {} in hand", held.len()));
    }
    let below = fail(depth - 1);
    black_box(farewell.0 as usize) + below + held.len()
}

fn turn(number: u32) -> usize {
    let text = build(3, 2 + number % 2).visit(0);
    let words: HashMap<&str, usize> = text.split(' ').fold(HashMap::new(), |mut words, word| {
        *words.entry(word).or_default() += 1;
        words
    });
    let caught = panic::catch_unwind(AssertUnwindSafe(|| fail(number % 6)));
    let message = caught.expect_err("it always fails");
    let message = message.downcast::<String>().expect("a String was thrown");
    black_box(words.len() + message.len())
}

fn main() {
    let turns = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let turns: u32 = turns.expect("stack_rust TURNS");
    // A message for each would be in another thread's way; the hook is boxed and called.
    panic::set_hook(Box::new(|information| {
        black_box(information.to_string());
    }));
    let sum: usize = thread::scope(|scope| {
        let other = scope.spawn(|| (0..turns).map(turn).sum::<usize>());
        (0..turns).map(turn).sum::<usize>() + other.join().expect("the thread ends well")
    });
    black_box(sum);
}
