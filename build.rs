//! Exports the commit that this build is of as `SHAKEDOWN_COMMIT`, so that a result names what produced it.
//!
//! The value is the short commit, followed by `+dirty` if tracked files differ from it, or `unknown` outside a git
//! work tree (a source archive, a machine without git).

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=SHAKEDOWN_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
    // The mark `+dirty` follows the sources; HEAD's log grows with every commit and checkout.
    for source in ["build.rs", "Cargo.toml", "Cargo.lock", "src"] {
        println!("cargo::rerun-if-changed={source}");
    }
    for name in ["HEAD", "logs/HEAD"] {
        // A path that does not exist would rerun this script on every build.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// The commit and whether the tree differs from it; none unless this package's folder is the root of a work tree,
/// for an archive unpacked inside another project's repository is not of that project's commit.
fn commit() -> Option<String> {
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { commit + "+dirty" })
}

/// What a git command prints, without the final newline; none if it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}
