//! Every input below `fuzz/corpus`, through the reader that it is kept for: what fuzzing found once stays mended.

#[path = "../fuzz/src/lib.rs"]
mod readers;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[test]
fn every_reader_takes_its_corpus_and_nothing_at_all() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, reads) in readers::READERS {
        reads(b"");
        let inputs = inputs(&corpus.join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = fs::read(&input).expect("a readable file");
            assert!(catch_unwind(|| reads(&bytes)).is_ok(), "{name} panics at {}", input.display());
        }
    }
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let mut inputs: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a readable folder").path()).collect();
    inputs.sort();
    inputs
}
