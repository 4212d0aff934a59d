//! Help, version, completions and manual pages.

use super::command::{Ended, ended};

const COMMANDS: [&str; 10] =
    ["run", "probe", "sink", "report", "merge", "compare", "bench", "doctor", "completions", "man"];

/// The flags of `run` that scripts rely on.
const RUN_FLAGS: &str = "-R --rate -c --concurrency -d --duration -n --attempts -w --warmup -t --workers --arrival --mode \
                         --digest --verify --until --hold --close --source --connect-timeout --timeout --threshold \
                         --keep-going --engine --seed --share --start-at --label --attach -o --output -q --quiet \
                         --no-progress --color --json --allow-target";

#[track_caller]
fn printed(words: &str) -> String {
    let Ended { code, stdout, stderr } = ended(words);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words}");
    stdout
}

#[test]
fn help_fits_80_columns_and_describes_everything() {
    for words in COMMANDS.map(|command| format!("{command} --help")).iter().map(String::as_str).chain(["--help", "-h"])
    {
        let help = printed(words);
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{words}: {line}");
        }
        // Flags are indented by less than ten columns, and what they mean is to the right of them or below.
        let mut lines = help.lines().filter(|line| !line.trim().is_empty()).peekable();
        while let Some(line) = lines.next() {
            let text = line.trim_start();
            let is_flag = text.starts_with('-') && line.len() - text.len() < 10;
            let described = text.contains("  ") || lines.peek().is_some_and(|next| next.starts_with("          "));
            assert!(!is_flag || described, "{words}: {line} has no description");
        }
    }
}

#[test]
fn every_command_is_listed_with_its_own_description() {
    let help = printed("--help");
    for (command, begins) in [
        ("run", "Generate load"),
        ("probe", "Make one connection"),
        ("sink", "Run the built-in target"),
        ("report", "Render a saved result"),
        ("merge", "Merge the results"),
        ("compare", "Compare results"),
        ("bench", "Measure several targets in turn"),
        ("doctor", "Check whether this machine"),
        ("completions", "Print a completion script"),
        ("man", "Print a manual page"),
    ] {
        let listed = help.lines().any(|line| {
            line.trim_start().strip_prefix(command).is_some_and(|rest| rest.trim_start().starts_with(begins))
        });
        assert!(listed, "{command}: {help}");
        assert!(printed(&format!("{command} --help")).starts_with(begins), "{command}");
    }
}

#[test]
fn run_has_the_flags_that_scripts_use_and_names_its_exit_codes() {
    let help = printed("run --help");
    let words: Vec<&str> = help.split(|c: char| c.is_whitespace() || c == ',').collect();
    for flag in RUN_FLAGS.split_whitespace() {
        assert!(words.contains(&flag), "{flag} is not in {help}");
    }
    let codes = help.split("Exit codes:").nth(1).expect("exit codes are in the help");
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130, 143 "] {
        assert!(codes.lines().any(|line| line.trim_start().starts_with(code)), "{code}: {codes}");
    }
}

#[test]
fn version_shows_version_and_commit() {
    for flag in ["--version", "-V"] {
        let text = printed(flag);
        let rest = text.strip_prefix(concat!("shakedown ", env!("CARGO_PKG_VERSION"), " (")).expect(&text);
        let commit = rest.strip_suffix(")\n").expect(&text);
        assert!(
            commit == "unknown" || commit.chars().all(|c| c.is_ascii_hexdigit() || "+-dirty".contains(c)),
            "{text}"
        );
    }
}

#[test]
fn completions_are_scripts_that_their_shell_takes() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(printed(&format!("completions {shell}")).contains("shakedown"), "{shell}");
    }
    let checked = assert_cmd::Command::new("bash").arg("-n").write_stdin(printed("completions bash")).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let script = format!(
        "{}\nCOMP_WORDS=(shakedown run --thr) COMP_CWORD=2; _shakedown shakedown --thr run; echo \"${{COMPREPLY[@]}}\"",
        printed("completions bash")
    );
    let offered = assert_cmd::Command::new("bash").args(["--norc", "-s"]).write_stdin(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&offered.stdout), "--threshold\n");
}

#[test]
fn manual_pages_are_roff_with_every_flag() {
    let overview = printed("man");
    assert!(overview.contains(".TH shakedown 1") && overview.contains("shakedown\\-run(1)"), "{overview}");
    let page = printed("man run");
    assert!(page.contains(".TH shakedown-run 1"), "{page}");
    for flag in RUN_FLAGS.split_whitespace() {
        assert!(page.contains(&flag.replace('-', "\\-")), "{flag}");
    }
    for command in COMMANDS {
        assert!(printed(&format!("man {command}")).contains(&format!("shakedown\\-{command}")), "{command}");
    }
}

#[test]
fn the_help_of_run_says_how_conditions_are_written() {
    let help = printed("run --help");
    let conditions = help.split("Conditions are").nth(1).expect("a part on conditions");
    for part in ["[SCOPE.]", "[in WINDOW]", "outage<10s", "in 1m", "stage:NAME", "target:HOST", "client:NAME", "for 5s"]
    {
        assert!(conditions.contains(part), "{part}: {conditions}");
    }
}

#[test]
fn help_of_a_command_is_that_of_its_flag() {
    for command in COMMANDS {
        assert_eq!(printed(&format!("help {command}")), printed(&format!("{command} --help")), "{command}");
    }
    assert_eq!(printed("help"), printed("--help"));
}

/// Words that bash offers for what is typed, the last word of which is not complete.
fn offered(typed: &str) -> String {
    let words: Vec<&str> = typed.split(' ').collect();
    let (current, previous) = (words[words.len() - 1], words[words.len() - 2]);
    let script = format!(
        "{}\nCOMP_WORDS=({typed}) COMP_CWORD={}; _shakedown shakedown \"{current}\" {previous}; echo \"${{COMPREPLY[@]}}\"",
        printed("completions bash"),
        words.len() - 1
    );
    let output = assert_cmd::Command::new("bash").args(["--norc", "-s"]).write_stdin(script).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn completions_offer_clients_conditions_and_metrics() {
    for (typed, offers) in [
        ("shakedown run --client ff", "ffmpeg"),
        ("shakedown run --threshold response.p99", "response.p99 response.p99.9"),
        ("shakedown capacity --abort-if out", "outage"),
        ("shakedown report --metric s0", "s0s1"),
        ("shakedown help cap", "capacity"),
    ] {
        assert!(
            offered(typed).split(' ').any(|offer| offers.split(' ').any(|one| one == offer)),
            "{typed}: {}",
            offered(typed)
        );
    }
    // They are no limit.
    let ended = ended("run --engine sim -n 10 -q --client ffmpeg=2,obs --threshold failed<50%");
    assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
}

#[test]
fn manual_pages_keep_examples_and_tables_as_they_stand() {
    for command in ["run", "capacity", "compare", "bench"] {
        let help = printed(&format!("{command} --help"));
        let page = printed(&format!("man {command}"));
        let kept = page.split(".nf\n").skip(1).map(|block| block.split(".fi\n").next().expect("a block ends"));
        let kept: Vec<String> =
            kept.flat_map(str::lines).map(|line| line.replace("\\*(Aq", "'").replace('\\', "")).collect();
        let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  shakedown ")).collect();
        assert!(!examples.is_empty(), "{help}");
        for example in examples {
            assert!(kept.iter().any(|line| line == example), "{command}: {example} is not in {page}");
        }
        assert!(kept.iter().all(|line| line.chars().count() <= 80), "{page}");
    }
}
