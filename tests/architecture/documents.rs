//! The rules on the manifest and the pages beside the code.

/// Dependencies without a comment above them or above their group.
pub fn undocumented_dependencies(manifest: &str) -> Vec<String> {
    let mut in_dependencies = false;
    let mut explained = false;
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if depth == 0 {
            if line.starts_with('[') {
                in_dependencies = line.trim_matches(['[', ']']).ends_with("dependencies");
                explained = false;
                continue;
            }
            match line.chars().next() {
                None => explained = false,
                Some('#') => explained = true,
                Some(_) if in_dependencies && !explained => {
                    let name = line.split(['=', '.']).next().unwrap_or(line).trim();
                    found.push(format!("Cargo.toml:{}: `{name}` has no comment that says what it is for", index + 1));
                }
                Some(_) => {}
            }
        }
        depth = (depth + line.matches(['[', '{']).count()).saturating_sub(line.matches([']', '}']).count());
    }
    found
}

/// The arguments of every `shakedown` command in a page's ```sh blocks.
pub fn commands(page: &str) -> Vec<Vec<String>> {
    let mut in_shell = false;
    let mut joined = String::new();
    let mut found = Vec::new();
    for line in page.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            in_shell = !in_shell && language.trim() == "sh";
            continue;
        }
        if !in_shell {
            continue;
        }
        joined.push_str(line.trim().trim_start_matches("$ "));
        if joined.ends_with('\\') {
            joined.pop();
            continue;
        }
        let command = std::mem::take(&mut joined);
        let arguments = ["cargo run --release -- ", "shakedown "].iter().find_map(|start| command.strip_prefix(start));
        found.extend(arguments.map(shell_words));
    }
    found
}

/// Words of a command up to a pipe, a redirection, a further command or a comment; quotes are honoured.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None => match c {
                '\'' | '"' => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                '|' | '>' | '<' | '&' | ';' => break,
                '#' if word.is_none() => break,
                c if c.is_whitespace() => words.extend(word.take()),
                c => word.get_or_insert_default().push(c),
            },
        }
    }
    words.extend(word);
    words
}

/// Subcommand and flags of `command` that its help does not name; `help` is none where there is no such subcommand.
pub fn unknown_words(command: &[String], help: impl Fn(&[&str]) -> Option<String>) -> Vec<String> {
    let shown = format!("README.md: `shakedown {}`", command.join(" "));
    let subcommand: Vec<&str> =
        command.first().map(String::as_str).into_iter().filter(|word| !word.starts_with('-')).collect();
    let Some(help) = help(&subcommand) else { return vec![format!("{shown}: no such subcommand")] };
    let known: Vec<&str> = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let flags = command.iter().take_while(|word| *word != "--").filter_map(|word| {
        let name = word.split('=').next().unwrap_or(word);
        match name.strip_prefix('-') {
            Some(long) if long.starts_with('-') => Some(name),
            Some(short) if short.starts_with(|c: char| c.is_ascii_alphabetic()) => name.get(..2),
            _ => None,
        }
    });
    flags.filter(|flag| !known.contains(flag)).map(|flag| format!("{shown}: no flag {flag}")).collect()
}

/// The modules of a page's table of layers, `| layer | module, ... | ... |`, each with its layer.
pub fn layers_on(page: &str) -> Vec<(usize, String)> {
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|');
        let rank = cells.next()?.trim().parse().ok()?;
        Some((rank, cells.next()?))
    });
    rows.flat_map(|(rank, modules)| modules.split('`').skip(1).step_by(2).map(move |name| (rank, name.to_owned())))
        .collect()
}

/// What only one of two places has, either way.
pub fn differences<T: Ord + std::fmt::Debug>(here: (&str, &[T]), there: (&str, &[T])) -> Vec<String> {
    let missing = |(_, all): (&str, &[T]), (name, others): (&str, &[T])| -> Vec<String> {
        let lacking = all.iter().filter(|item| !others.contains(item));
        lacking.map(|item| format!("{name} lacks {item:?}")).collect()
    };
    [missing(here, there), missing(there, here)].concat()
}

#[test]
fn an_unexplained_dependency_is_found() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\n# Why.\na = \"1\"\nb = { version = \"1\", features = [\n  \
                    \"c\",\n] }\n\nd = \"1\"\n[dev-dependencies]\ne.workspace = true\n";
    assert_eq!(
        undocumented_dependencies(manifest),
        [
            "Cargo.toml:11: `d` has no comment that says what it is for",
            "Cargo.toml:13: `e` has no comment that says what it is for"
        ]
    );
}

#[test]
fn readme_commands_are_read_as_a_shell_would() {
    let page = "shakedown prose\n```toml\nshakedown = 1\n```\n```sh\n$ shakedown run 'a b' \\\n    -R 20k # fast\n\
                cargo run --release -- probe x | head\ncargo build\n```\n";
    assert_eq!(commands(page), [vec!["run", "a b", "-R", "20k"], vec!["probe", "x"]]);
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let help = |words: &[&str]| (words == ["run"]).then(|| "  -R, --rate <RATE>  per second".to_owned());
    let unknown = |words: &[&str]| unknown_words(&words.iter().map(|word| word.to_string()).collect::<Vec<_>>(), help);
    assert!(unknown(&["run", "host:1935", "-R", "5", "--rate=5"]).is_empty());
    assert_eq!(unknown(&["ran"]), ["README.md: `shakedown ran`: no such subcommand"]);
    assert_eq!(
        unknown(&["run", "--rates", "-d", "5s"]),
        [
            "README.md: `shakedown run --rates -d 5s`: no flag --rates",
            "README.md: `shakedown run --rates -d 5s`: no flag -d"
        ]
    );
}

#[test]
fn a_module_that_only_one_table_has_is_found() {
    let page = "| layer | module | what |\n|---|---|---|\n| 0 | `base` | `run` is not meant |\n| 1 | `load`, `io` (its files) | |\n";
    let on_page = layers_on(page);
    assert_eq!(on_page, [(0, "base".to_owned()), (1, "load".to_owned()), (1, "io".to_owned())]);
    let others = [(0, "base".to_owned()), (1, "load".to_owned()), (2, "io".to_owned())];
    assert_eq!(
        differences(("the page", &on_page), ("the table", &others)),
        ["the table lacks (1, \"io\")", "the page lacks (2, \"io\")"]
    );
}
