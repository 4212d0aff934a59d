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
  parent.postMessage(Object.entries(answers).map(([name, answer]) => `${name}=${answer}`).join('\n'), '*');
});
</script>"#;

/// A window is at least 500 pixels wide; a frame in it is as narrow as a phone.
const FRAME: &str = r#"<!DOCTYPE html><meta name="color-scheme" content="light dark"><script>
addEventListener('message', (message) => {
  document.body.append(Object.assign(document.createElement('output'), { id: 'answers', textContent: message.data }));
});
</script><iframe src="page.html" style="border: 0; height: 900px; width: WIDTHpx"></iframe>"#;

/// What the page is after it was loaded.
///
/// # Panics
/// If the browser is missing, or does not end in time.
pub fn dom(page: &str) -> String {
    loaded(&[("page.html", page)], false)
}

/// The layout of a page, which must not forbid scripts for that: its own policy is taken off.
pub fn layout(page: &str, view: View) -> BTreeMap<String, String> {
    let begin = page.find("<meta http-equiv=\"Content-Security-Policy\"").expect("the page has a policy");
    let end = begin + page[begin..].find('>').expect("the element ends") + 1;
    let free = format!("{}{}{}", &page[..begin], QUESTIONS, &page[end..]);
    let frame = FRAME.replace("WIDTH", &view.width.to_string());
    let dom = loaded(&[("frame.html", &frame), ("page.html", &free)], view.dark);
    let begin = dom.find("<output id=\"answers\">").unwrap_or_else(|| panic!("no answers in {dom}"));
    let answers = &dom[begin..];
    let answers = &answers[answers.find('>').expect("it ends") + 1..answers.find("</output>").expect("it ends")];
    answers.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The first of `files`, loaded, in a folder with the others.
fn loaded(files: &[(&str, &str)], dark: bool) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a folder of our own");
    }
    let mut command = assert_cmd::Command::new(tool("chromium"));
    // A sandbox is not to be had in every container; the page is our own.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    // The answers may come some time after the frame is there.
    command.args(["--hide-scrollbars", "--window-size=1400,1000", "--virtual-time-budget=10000"]);
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }));
    command.arg("--dump-dom").arg(format!("file://{}", folder.path().join(files[0].0).display()));
    let output = command.timeout(4 * PATIENCE).output().expect("chromium starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("only UTF-8 is printed")
}
