//! Texts of others (names, servers' words, files): what a terminal or a browser would act upon instead of showing it is
//! written out, so that no text can colour, move, hide or turn around what stands beside it.

use std::borrow::Cow;

/// `text` in one line, with every such character as `\u{1b}`, and line ends as `\n`.
pub fn visible(text: &str) -> Cow<'_, str> {
    written_out(text, |c| !acts(c))
}

/// `text` likewise, but its lines and tabulators stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| matches!(c, '\n' | '\t') || !acts(c))
}

/// The JSON `text` with every such character escaped as JSON does: another text of the same value.
///
/// Outside of JSON's strings only blanks and line ends can be such characters, and they stay.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| matches!(c, '\n' | '\r' | '\t') || !acts(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\r' | '\t') || !acts(c) {
            shown.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        }
    }
    Cow::Owned(shown)
}

/// A text that was rendered twice, without colours and with them: visible lines with those colours that the renderer
/// set, and none that came with a text of others.
///
/// The two differ by the renderer's own escape sequences alone, so any other is in `plain` as well. Where they cannot be told
/// apart, there are no colours.
pub fn colored_lines(plain: &str, colored: &str) -> String {
    merged(plain, colored).unwrap_or_else(|| visible_lines(plain).into_owned())
}

fn merged(plain: &str, colored: &str) -> Option<String> {
    let mut shown = String::with_capacity(colored.len());
    let (mut plain, mut rest) = (plain.chars(), colored);
    while let Some(c) = rest.chars().next() {
        if plain.as_str().starts_with(c) {
            plain.next();
            shown.push_str(&visible_lines(&rest[..c.len_utf8()]));
            rest = &rest[c.len_utf8()..];
        } else {
            let (sequence, after) = color_sequence(rest)?;
            shown.push_str(sequence);
            rest = after;
        }
    }
    plain.as_str().is_empty().then_some(shown)
}

/// The sequence that selects a graphic rendition (ECMA-48, 8.3.117) at the beginning of `text`, and what follows it.
fn color_sequence(text: &str) -> Option<(&str, &str)> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then(|| text.split_at(text.len() - parameters.len() + end + 1))
}

fn written_out(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if stays(c) => shown.push(c),
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c => shown.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character is acted upon, or takes no room: controls, what turns the direction of writing around, and what
/// has no width or no ink (Unicode 16: categories Cc, Cf, Zl and Zp, and `Default_Ignorable_Code_Point`).
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_be_acted_upon_is_written_out() {
        for (text, shown) in [
            ("a \u{2705} \u{e9} \u{1f600} \u{2800}", "a \u{2705} \u{e9} \u{1f600} \u{2800}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}evil\u{2066}", "\\u{202e}evil\\u{2066}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("\u{e0041}\u{2028}", "\\u{e0041}\\u{2028}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("a\n\t\u{7f}b"), "a\n\t\\u{7f}b");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{202e}": "\u{1b}\u{9b}\u{e0041}\u{200b}\n\t\u{e9}" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = visible_json(&text);
        assert!(shown.contains(r"\u202e") && shown.contains(r"\udb40\udc41") && shown.contains('\u{e9}'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert_eq!(visible_json("{\n\t\"a\": 1}"), "{\n\t\"a\": 1}");
    }

    #[test]
    fn only_the_renderers_colours_are_kept() {
        let rendered = |name: &str, color: bool| {
            if color { format!("\u{1b}[1m{name}\u{1b}[0m: ok\n") } else { format!("{name}: ok\n") }
        };
        let shown = |name: &str| colored_lines(&rendered(name, false), &rendered(name, true));
        assert_eq!(shown("a"), "\u{1b}[1ma\u{1b}[0m: ok\n");
        assert_eq!(shown("a\u{202e}"), "\u{1b}[1ma\\u{202e}\u{1b}[0m: ok\n");
        assert_eq!(shown("a\u{1b}[2Jb"), "\u{1b}[1ma\\u{1b}[2Jb\u{1b}[0m: ok\n");
        assert_eq!(shown("\u{1b}[31ma"), "\\u{1b}[31ma: ok\n", "which of two are whose cannot be told");
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_act(text in any::<String>(), other in any::<String>()) {
            prop_assert!(!visible(&text).chars().any(acts));
            prop_assert!(!visible_lines(&text).chars().any(|c| !matches!(c, '\n' | '\t') && acts(c)));
            let colored = colored_lines(&text, &other);
            let mut escapes = colored.match_indices('\u{1b}');
            prop_assert!(escapes.all(|(at, _)| color_sequence(&colored[at..]).is_some()));
            let raw = colored.chars().any(|c| !matches!(c, '\n' | '\t' | '\u{1b}') && acts(c));
            prop_assert!(!raw, "{colored:?}");
            let once = visible(&text);
            prop_assert_eq!(visible(&once), once.as_ref());
        }

        #[test]
        fn a_visible_json_text_has_the_same_value(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&visible_json(&json)).unwrap(), text);
        }
    }
}
