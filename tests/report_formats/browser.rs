//! A page in headless Chromium.

use std::collections::BTreeMap;

use crate::support::{PATIENCE, tool};

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Pixels.
    pub width: u32,
    pub dark: bool,
}

/// Asks the page about its own layout once it is there, and leaves the answers in it.
const QUESTIONS: &str = r#"<script>
addEventListener('load', () => {
  const all = (what) => [...document.querySelectorAll(what)];
  const shown = (what) => all(what).filter((element) => element.getBoundingClientRect().height > 0).length;
  const style = getComputedStyle(document.body);
  // What is wider than the page, but for what scrolls by itself.
  const wide = all('main *').filter((element) =>
    element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('.scroll, pre'));
  const labels = all('svg text').filter((text) => text.getBoundingClientRect().height > 0);
  const answers = {
    window: innerWidth, page: document.documentElement.scrollWidth, wide: wide.map((element) => element.tagName).join(),
    figures: shown('figure'), narrow_charts: shown('svg.narrow'), wide_charts: shown('svg.wide'),
    background: style.backgroundColor.replaceAll(' ', ''), color: style.color.replaceAll(' ', ''),
    smallest_label: Math.floor(Math.min(...labels.map((text) => text.getBoundingClientRect().height))),
    line: [...new Set(all('svg.wide polyline').map((line) => getComputedStyle(line).stroke.replaceAll(' ', '')))].join('|'),
  };
  const said = Object.entries(answers).map(([name, answer]) => `${name}=${answer}`).join('\n');
  document.body.append(Object.assign(document.createElement('output'), { id: 'answers', textContent: said }));
});
</script>"#;

/// What the page is after it was loaded.
///
/// # Panics
/// If the browser is missing, or does not end in time.
pub fn dom(page: &str, view: View) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("page.html");
    std::fs::write(&file, page).expect("a folder of our own");
    let mut command = assert_cmd::Command::new(tool("chromium"));
    // A sandbox is not to be had in every container; the page is our own.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--window-size={},900", view.width));
    command.arg(format!("--blink-settings=preferredColorScheme={}", if view.dark { 0 } else { 1 }));
    command.arg("--dump-dom").arg(format!("file://{}", file.display()));
    let output = command.timeout(4 * PATIENCE).output().expect("chromium starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("only UTF-8 is printed")
}

/// The layout of a page, which must not forbid scripts for that: its own policy is taken off.
pub fn layout(page: &str, view: View) -> BTreeMap<String, String> {
    let begin = page.find("<meta http-equiv=\"Content-Security-Policy\"").expect("the page has a policy");
    let end = begin + page[begin..].find('>').expect("the element ends") + 1;
    let free = format!("{}{}{}", &page[..begin], QUESTIONS, &page[end..]);
    let dom = dom(&free, view);
    let begin = dom.find("<output id=\"answers\">").unwrap_or_else(|| panic!("no answers in {dom}"));
    let answers = &dom[begin..];
    let answers = &answers[answers.find('>').expect("it ends") + 1..answers.find("</output>").expect("it ends")];
    answers.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}
