//! The command line, tested as its users meet it: by the built binary's output, files and exit codes.

mod support;

mod cli {
    mod command;

    mod bad_input;
    mod bench;
    mod capacity;
    mod compare;
    mod exit_codes;
    mod files;
    mod held;
    mod help;
    mod hostile;
    mod json;
    mod limits;
    mod output;
    mod pauses;
    mod pipes;
    mod report;
    mod saving;
    mod scenario;
    mod secrets;
    mod signals;
    mod sink;
    mod untrusted;
}
