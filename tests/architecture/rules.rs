//! The rules on code, as tables.

use super::source::{SourceFile, is_word, words};

/// A module of the table: its path from the crate's root, and the only modules it may use when being in a lower
/// row is not enough to be used by it.
pub struct Module {
    path: &'static str,
    only: Option<&'static [&'static str]>,
}

const fn any_lower(path: &'static str) -> Module {
    Module { path, only: None }
}

const fn only(path: &'static str, used: &'static [&'static str]) -> Module {
    Module { path, only: Some(used) }
}

/// Lowest row first: a module uses itself and modules of lower rows, never its own row's other modules.
/// A submodule with a row of its own (`io::ring`) does not count as its parent.
pub const LAYERS: &[&[Module]] = &[
    &[any_lower("base")],
    &[any_lower("protocol"), any_lower("load"), only("search", &["base"]), only("finding", &["base"])],
    &[any_lower("measure"), any_lower("io"), any_lower("inspect")],
    &[
        only("io::ring", &["base", "protocol", "io"]),
        only("io::sim", &["base", "protocol", "io"]),
        only("io::epoll", &["base", "protocol", "io"]),
        only("io::tls", &["base", "protocol", "io"]),
        any_lower("engine"),
    ],
    &[only("fleet", &["base", "measure", "io", "io::ring", "io::sim", "io::tls", "io::epoll", "engine"])],
    // `run` without a target starts the built-in sink, and its result has what was observed, so both lie below it.
    &[any_lower("sink"), any_lower("observe")],
    &[any_lower("host")],
    // A run that holds connections asks beforehand whether they fit.
    &[any_lower("doctor")],
    &[any_lower("run"), any_lower("probe")],
    &[any_lower("scenario")],
    // A search makes plans of its own, so it lies above what plans are made by.
    &[any_lower("capacity")],
    &[any_lower("compare")],
    &[any_lower("bench")],
    &[any_lower("report")],
    &[any_lower("cli")],
    &[any_lower("main")],
];

/// Each module of a table with the number of its row.
pub fn ranks(layers: &[&[Module]]) -> Vec<(usize, String)> {
    let rows = layers.iter().enumerate();
    rows.flat_map(|(rank, row)| row.iter().map(move |module| (rank, module.path.to_owned()))).collect()
}

/// A word or call that may appear only below the named paths.
pub struct Ban {
    what: &'static str,
    allowed: &'static [&'static str],
    /// Whether test code must keep to it as well.
    in_tests: bool,
    reason: &'static str,
}

const CLOCK: &[&str] = &["src/io/", "src/fleet/", "src/run/", "src/sink/", "src/probe/", "src/capacity/", "src/cli/"];
const CLOCK_REASON: &str = "state machines are given the time, they do not fetch it";
const RANDOM_REASON: &str = "all randomness comes from the plan's seed";
const OUTPUT_REASON: &str = "only the command line owns stdout and stderr";

const fn shipped(what: &'static str, allowed: &'static [&'static str], reason: &'static str) -> Ban {
    Ban { what, allowed, in_tests: false, reason }
}

/// Everything that has its place.
pub const BANNED: &[Ban] = &[
    shipped("unsafe", &["src/io/"], "only the I/O backends hand memory to the kernel"),
    shipped("Instant::now", CLOCK, CLOCK_REASON),
    shipped("SystemTime::now", CLOCK, CLOCK_REASON),
    shipped("clock_gettime", CLOCK, CLOCK_REASON),
    shipped("rand::rng", &["src/base/random.rs"], RANDOM_REASON),
    shipped("thread_rng", &["src/base/random.rs"], RANDOM_REASON),
    shipped("rand::random", &["src/base/random.rs"], RANDOM_REASON),
    shipped("println!", &["src/cli/"], OUTPUT_REASON),
    shipped("eprintln!", &["src/cli/"], OUTPUT_REASON),
    shipped("print!", &["src/cli/"], OUTPUT_REASON),
    shipped("eprint!", &["src/cli/"], OUTPUT_REASON),
    shipped("clap", &["src/cli/"], "flags are one way to a plan; nothing below the command line knows them"),
    Ban { what: "thread::sleep", allowed: &[], in_tests: true, reason: "wait for the event, with a deadline" },
];

/// Paths of `file` that lead to its own layer or above.
pub fn forbidden_uses(file: &SourceFile, layers: &[&[Module]]) -> Vec<String> {
    let path = file.module();
    // The crate's root declares the modules; it uses none.
    if path.is_empty() {
        return Vec::new();
    }
    let Some((own_rank, own)) = module_of(&path, layers) else {
        return vec![format!("{}: module `{}` has no layer; give it a row in LAYERS", file.path, path[0])];
    };
    let mut found = Vec::new();
    for (offset, used_path) in paths_out_of(file, layers) {
        let used_path: Vec<&str> = used_path.iter().map(String::as_str).collect();
        let Some((rank, used)) = module_of(&used_path, layers) else {
            let name = used_path.join("::");
            found.push(format!("{}: `{}` uses `{name}`, which has no layer in LAYERS", file.place(offset), own.path));
            continue;
        };
        let rule = match own.only {
            _ if used.path == own.path => continue,
            Some(only) if !only.contains(&used.path) => format!("may use only {}", only.join(", ")),
            None if rank == own_rank => format!("is in the same layer ({rank})"),
            None if rank > own_rank => format!("is in layer {own_rank}, below layer {rank}"),
            _ => continue,
        };
        found.push(format!("{}: `{}` uses `{}`, but `{}` {rule}", file.place(offset), own.path, used.path, own.path));
    }
    found
}

/// The paths that leave a file: those from the root, and those into a submodule that has a row of its own.
fn paths_out_of(file: &SourceFile, layers: &[&[Module]]) -> Vec<(usize, Vec<String>)> {
    let mut paths = file.crate_paths();
    let own = file.module().join("::");
    let submodules: Vec<&str> = layers
        .iter()
        .copied()
        .flatten()
        .filter_map(|module| module.path.strip_prefix(&own)?.strip_prefix("::"))
        .collect();
    for (offset, word) in words(&file.shipped) {
        let (before, after) = (&file.shipped[..offset], &file.shipped[offset + word.len()..]);
        if submodules.contains(&word) && after.starts_with("::") && !before.ends_with("::") {
            paths.push((offset, format!("{own}::{word}").split("::").map(str::to_owned).collect()));
        }
    }
    paths
}

/// The row and the entry of the longest module of the table that `path` begins with.
fn module_of<'a>(path: &[&str], layers: &'a [&'a [Module]]) -> Option<(usize, &'a Module)> {
    let entries = layers.iter().enumerate().flat_map(|(rank, row)| row.iter().map(move |module| (rank, module)));
    entries
        .filter(|(_, module)| {
            let names: Vec<&str> = module.path.split("::").collect();
            path.starts_with(&names)
        })
        .max_by_key(|(_, module)| module.path.len())
}

/// Banned words of `file` outside the places where they are allowed.
pub fn banned_calls(file: &SourceFile, bans: &[Ban]) -> Vec<String> {
    let applying = bans.iter().filter(|ban| !ban.allowed.iter().any(|place| file.path.starts_with(place)));
    let found = applying.flat_map(|ban| {
        let code = if ban.in_tests { &file.code } else { &file.shipped };
        whole_words(code, ban.what).map(move |offset| {
            let places = if ban.allowed.is_empty() { "nowhere".to_owned() } else { ban.allowed.join(", ") };
            format!("{}: `{}` is allowed only in {places}: {}", file.place(offset), ban.what, ban.reason)
        })
    });
    found.collect()
}

/// Marks of unfinished work, in code or in comments.
pub fn leftovers(file: &SourceFile) -> Vec<String> {
    // Spelled in halves, for this file is read too.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let calls = [concat!("to", "do!"), concat!("unimplem", "ented!"), concat!("db", "g!")];
    let in_text = marks.iter().flat_map(|mark| whole_words(&file.text, mark).map(move |offset| (offset, mark)));
    let in_code = calls.iter().flat_map(|call| whole_words(&file.code, call).map(move |offset| (offset, call)));
    in_text.chain(in_code).map(|(offset, mark)| format!("{}: {mark} is left", file.place(offset))).collect()
}

/// Offsets of `what` where it is not a part of a longer word.
fn whole_words<'a>(code: &'a str, what: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(what).map(|(offset, _)| offset).filter(move |&offset| {
        let after = &code[offset + what.len()..];
        !code[..offset].ends_with(is_word) && (what.ends_with('!') || !after.starts_with(is_word))
    })
}

#[test]
fn a_use_of_the_same_or_a_higher_layer_is_found() {
    let violations = |path, text| forbidden_uses(&SourceFile::new(path, text), LAYERS);
    let upward = violations("src/protocol/client.rs", "use crate::base::Time;\n\npub use crate::{base, io::Op};\n");
    assert_eq!(upward, ["src/protocol/client.rs:3: `protocol` uses `io`, but `protocol` is in layer 1, below layer 2"]);
    let sideways = violations("src/measure/mod.rs", "fn f() -> crate::io::Op {}");
    assert_eq!(sideways, ["src/measure/mod.rs:1: `measure` uses `io`, but `measure` is in the same layer (2)"]);
    let narrow = violations("src/io/ring/mod.rs", "use super::op::Op;\nuse crate::load::Share;");
    assert_eq!(
        narrow,
        ["src/io/ring/mod.rs:2: `io::ring` uses `load`, but `io::ring` may use only base, protocol, io"]
    );
    assert_eq!(violations("src/io/mod.rs", "pub mod ring;\npub use ring::Ring;").len(), 1);
    assert_eq!(violations("src/io/op.rs", "use super::sim::Network;").len(), 1);
    assert_eq!(violations("src/novel/mod.rs", "").len(), 1);
    assert_eq!(violations("src/run/mod.rs", "use crate::novel::X;").len(), 1);
    assert_eq!(violations("src/run/mod.rs", "use crate::{sink, fleet::Fleet};").len(), 0);
    assert_eq!(violations("src/engine/mod.rs", "#[cfg(test)]\nmod tests { use crate::io::sim::Network; }").len(), 0);
}

#[test]
fn a_banned_call_is_found_outside_its_place() {
    let violations = |path, text| banned_calls(&SourceFile::new(path, text), BANNED);
    assert_eq!(
        violations("src/engine/worker.rs", "fn f() {\n    std::time::Instant::now();\n}"),
        [format!("src/engine/worker.rs:2: `Instant::now` is allowed only in {}: {CLOCK_REASON}", CLOCK.join(", "))]
    );
    assert_eq!(violations("src/io/ring/mod.rs", "unsafe { f(Instant::now()) }").len(), 0);
    assert_eq!(violations("src/load/mod.rs", "unsafe { f() }").len(), 1);
    assert_eq!(violations("src/load/mod.rs", "#![forbid(unsafe_code)] // unsafe\nlet s = \"unsafe\";").len(), 0);
    assert_eq!(violations("src/run/mod.rs", "eprintln!(\"x\")").len(), 1);
    assert_eq!(violations("tests/x.rs", "fn f() { println!(\"x\"); std::thread::sleep(d) }").len(), 1);
}

#[test]
fn unfinished_work_is_found() {
    let mark = concat!("// TO", "DO: later\nfn f() { to", "do!() }");
    assert_eq!(leftovers(&SourceFile::new("src/x.rs", mark)).len(), 2);
    assert_eq!(leftovers(&SourceFile::new("src/x.rs", "// TODOS are words too")).len(), 0);
}
