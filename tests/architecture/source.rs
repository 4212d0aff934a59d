//! Just enough of Rust's syntax to read paths and calls out of a file.

/// A source file in the three forms that the rules read; all have the same length, so offsets and lines agree.
pub struct SourceFile {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// Comments and the contents of literals blanked.
    pub code: String,
    /// `code` with test code blanked as well.
    pub shipped: String,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_literals(text);
        let is_test_file = path.ends_with("/tests.rs") || path.contains("/tests/") || !path.starts_with("src/");
        let shipped = if is_test_file { blank(&code, 0..code.len()) } else { blank_test_items(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }

    /// `file:line` of a byte offset.
    pub fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.path, 1 + self.text[..offset].matches('\n').count())
    }

    /// The module that this file is: `src/io/ring/mod.rs` is `["io", "ring"]`, `src/lib.rs` is `[]`.
    pub fn module(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').filter(|&name| name != "mod" && name != "lib").collect()
    }

    /// Every path of the shipped code that starts at the crate's root or climbs with `super`, from the root on and
    /// with nested groups written out, together with its offset.
    pub fn crate_paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut paths = Vec::new();
        let mut climbed_to = 0;
        for (offset, word) in words(&self.shipped) {
            if offset < climbed_to || self.shipped[..offset].ends_with("::") || self.shipped[..offset].ends_with('$') {
                continue;
            }
            let mut base: Vec<String> = self.module().into_iter().map(str::to_owned).collect();
            let mut rest = offset + word.len();
            match word {
                "crate" | "shakedown" => base.clear(),
                "super" => {
                    base.pop();
                    while let Some(deeper) = self.shipped[rest..].strip_prefix("::super") {
                        base.pop();
                        rest = self.shipped.len() - deeper.len();
                    }
                    climbed_to = rest;
                }
                _ => continue,
            }
            if let Some(tree) = self.shipped[rest..].strip_prefix("::") {
                read_tree(tree, &base, &mut |path| paths.push((offset, path)));
            }
        }
        paths
    }
}

/// Every identifier and keyword with its offset.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + code[from..].find(is_word)?;
        from = code[start..].find(|c| !is_word(c)).map_or(code.len(), |length| start + length);
        Some((start, &code[start..from]))
    })
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads `a::{b, c::d}` after `prefix`, calling `each` per leaf; returns what follows the tree.
fn read_tree<'a>(tree: &'a str, prefix: &[String], each: &mut impl FnMut(Vec<String>)) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = tree.trim_start();
    loop {
        if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = group.trim_start().trim_start_matches(',').trim_start();
                if let Some(after) = group.strip_prefix('}') {
                    return after;
                }
                let after = read_tree(group, &path, each);
                let Some(next) = after.find([',', '}']) else { return "" };
                group = &after[next..];
            }
        }
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        path.push(rest[..length].to_owned());
        rest = &rest[length..];
        match rest.strip_prefix("::") {
            Some(deeper) if deeper.starts_with(|c: char| is_word(c) || c == '{') => rest = deeper,
            _ => {
                each(path);
                return rest;
            }
        }
    }
}

/// Replaces comments and what stands in string and character literals by spaces; newlines stay.
fn blank_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = text.to_owned();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = at
            + match bytes[at] {
                b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                b'/' if rest.starts_with("/*") => block_comment_length(rest),
                b'"' => string_length(rest),
                b'r' if !text[..at].trim_end_matches('b').ends_with(is_word) && raw_string_length(rest).is_some() => {
                    raw_string_length(rest).unwrap_or(1)
                }
                b'\'' => match char_length(rest) {
                    Some(length) => length,
                    None => {
                        at += 1;
                        continue;
                    }
                },
                _ => {
                    at += rest.chars().next().map_or(1, char::len_utf8);
                    continue;
                }
            };
        code = blank(&code, at..end);
        at = end;
    }
    code
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    for (offset, _) in text.char_indices() {
        if text[offset..].starts_with("/*") {
            depth += 1;
        } else if text[..offset].ends_with("*/") && offset >= 4 {
            depth -= 1;
            if depth == 0 {
                return offset;
            }
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return offset + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of `r"..."` or `r#"..."#`; none when this is an identifier.
fn raw_string_length(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|&byte| byte == b'#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&close).map_or(text.len(), |length| 2 + hashes + length + close.len()))
}

/// The length of a character literal; none when the quote starts a lifetime.
fn char_length(text: &str) -> Option<usize> {
    let mut inner = text[1..].char_indices();
    let (_, first) = inner.next()?;
    if first == '\\' {
        inner.next();
        return inner.find(|&(_, c)| c == '\'').map(|(offset, _)| offset + 2);
    }
    inner.next().filter(|&(_, c)| c == '\'').map(|(offset, _)| offset + 2)
}

/// Blanks every item under `#[cfg(test)]`.
fn blank_test_items(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut shipped = code.to_owned();
    while let Some(start) = shipped.find(MARK) {
        let mut depth = 0_u32;
        let end = shipped[start + MARK.len()..].char_indices().find_map(|(offset, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth == 0 && (c == '}' || c == ';')).then_some(start + MARK.len() + offset + 1)
        });
        shipped = blank(&shipped, start..end.unwrap_or(shipped.len()));
    }
    shipped
}

/// `text` with spaces for the bytes of `range`, newlines kept.
fn blank(text: &str, range: std::ops::Range<usize>) -> String {
    let spaces = text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
    let mut blanked = text[..range.start].to_owned();
    blanked.extend(spaces);
    blanked.push_str(&text[range.end..]);
    blanked
}

#[test]
fn comments_literals_and_tests_are_blanked() {
    let text = "use a; // use b\n/* x /* y */ z */ let s = \"q\\\"\"; let r = r#\"t\"u\"#; let c = '\"'; let l: &'a str;\n\
                #[cfg(test)]\nmod tests { fn v() { w() } }\nfn last() {}\n";
    let file = SourceFile::new("src/base/x.rs", text);
    let seen: Vec<&str> = words(&file.shipped).map(|(_, word)| word).collect();
    assert_eq!(seen, ["use", "a", "let", "s", "let", "r", "let", "c", "let", "l", "a", "str", "fn", "last"]);
    assert_eq!(file.place(file.shipped.find("last").expect("kept")), "src/base/x.rs:5");
    assert!(file.code.contains("mod tests"));
}

#[test]
fn paths_are_found_in_every_form() {
    let text = "pub use crate::a::B;\nuse crate::{c, d::{e, f::G as H}, i::*};\nfn j() { crate::k::l::<crate::m::N>() }\n\
                use super::op::Op;\nuse super::super::load::Share;\nmacro_rules! o { () => { $crate::p::q } }";
    let file = SourceFile::new("src/io/ring/mod.rs", text);
    let paths: Vec<String> = file.crate_paths().into_iter().map(|(_, path)| path.join("::")).collect();
    assert_eq!(paths, ["a::B", "c", "d::e", "d::f::G", "i", "k::l", "m::N", "io::op::Op", "load::Share"]);
}
