//! Any bytes as an event record: decoded or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memprof::events::decode::decode;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = decode(data) {
        // Whole words, the time of the first: what the order of events rests on.
        assert_eq!(data.len() % 8, 0);
        let head = u64::from_le_bytes(data[..8].try_into().expect("eight bytes"));
        assert_eq!(event.time, memprof_common::event::time_ns(head));
    }
});
