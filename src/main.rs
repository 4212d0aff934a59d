//! The `shakedown` command.

fn main() -> std::process::ExitCode {
    shakedown::cli::main()
}
