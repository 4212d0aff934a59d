//! The house rules that can be read off the source, checked by reading it: who may use whom, where `unsafe` and the
//! clock may appear, and that the documents name what exists. `CONTRIBUTING.md` gives each rule's reason.

mod architecture {
    pub mod documents;
    pub mod rules;
    pub mod source;
}

use std::path::{Path, PathBuf};

use architecture::documents::{commands, differences, layers_on, undocumented_dependencies, unknown_words};
use architecture::rules::{BANNED, LAYERS, banned_calls, forbidden_uses, leftovers, ranks};
use architecture::source::SourceFile;

#[test]
fn every_module_uses_only_lower_layers() {
    assert_none(source_files("src").iter().flat_map(|file| forbidden_uses(file, LAYERS)).collect());
}

#[test]
fn banned_calls_stay_where_they_are_allowed() {
    let files = ["src", "tests", "benches"].into_iter().flat_map(source_files);
    assert_none(files.flat_map(|file| banned_calls(&file, BANNED)).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    let files = ["src", "tests", "benches", "fuzz"].into_iter().flat_map(source_files);
    assert_none(files.flat_map(|file| leftovers(&file)).collect());
}

#[test]
fn every_dependency_says_what_it_is_for() {
    assert_none(undocumented_dependencies(&read("Cargo.toml")));
}

#[test]
fn readme_commands_exist_with_their_flags() {
    let readme = commands(&read("README.md"));
    assert!(!readme.is_empty(), "README.md shows no command");
    let help = |arguments: &[&str]| {
        let shakedown = std::process::Command::new(env!("CARGO_BIN_EXE_shakedown"));
        let output = { shakedown }.args(arguments).arg("--help").output().expect("the built binary starts");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_none(readme.iter().flat_map(|command| unknown_words(command, help)).collect());
}

#[test]
fn the_layers_on_the_architecture_page_are_those_that_are_checked() {
    let on_page = layers_on(&read("ARCHITECTURE.md"));
    assert_none(differences(("ARCHITECTURE.md", &on_page), ("LAYERS", &ranks(LAYERS))));
}

#[test]
fn every_layer_is_a_module_and_every_module_has_a_layer() {
    let layers: Vec<String> = ranks(LAYERS).into_iter().map(|(_, path)| path).collect();
    let (inner, top): (Vec<String>, Vec<String>) = layers.into_iter().partition(|path| path.contains("::"));
    assert_none(differences(("src", &modules_in("src")), ("LAYERS", &top)));
    let missing = inner.iter().filter(|path| {
        let (parent, name) = path.rsplit_once("::").expect("an inner module");
        !modules_in(&format!("src/{}", parent.replace("::", "/"))).iter().any(|module| module == name)
    });
    assert_none(missing.map(|path| format!("src lacks {path}")).collect());
}

/// The names of the modules that lie in `folder`.
fn modules_in(folder: &str) -> Vec<String> {
    let names =
        entries(&root().join(folder)).into_iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    names.filter(|name| name != "lib" && name != "mod").collect()
}

/// Fails with one violation a line.
fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// All Rust files below `folder`.
fn source_files(folder: &str) -> Vec<SourceFile> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source is readable UTF-8");
                let relative = path.strip_prefix(root()).expect("below the root").to_str().expect("UTF-8 path");
                files.push(SourceFile::new(relative, &text));
            }
        }
    }
    assert!(!files.is_empty(), "{folder} holds no Rust file");
    files
}

/// What lies in `folder`, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

/// The text of a file at the repository's root.
fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
