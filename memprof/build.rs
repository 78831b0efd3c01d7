//! Tells the collector where its eBPF object is, and says in one line how to make it if it isn't
//! there: it takes a toolchain of its own, so it is not built on the way.

use std::path::Path;

fn main() {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/memprof.bpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) => println!("cargo::rustc-env=MEMPROF_BPF_OBJECT={}", path.display()),
        Err(_) => println!("cargo::error=the eBPF object is missing: run `cargo xtask build-ebpf`"),
    }
}
