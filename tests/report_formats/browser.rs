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
  answers.file = location.pathname.split('/').pop();
  parent.postMessage(Object.entries(answers).map(([name, answer]) => `${name}=${answer}`).join('\n'), '*');
});
</script>"#;

/// A window is at least 500 pixels wide; a frame in it is as narrow as a phone.
const FRAMES: &str = r#"<!DOCTYPE html><meta name="color-scheme" content="light dark"><script>
addEventListener('message', (message) => {
  document.body.append(Object.assign(document.createElement('output'), { className: 'answers', textContent: message.data }));
});
</script>"#;

/// What the page is after it was loaded.
///
/// # Panics
/// If the browser is missing, or does not end in time.
pub fn dom(page: &str) -> String {
    loaded(&[("page.html".to_owned(), page.to_owned())], false)
}

/// The layouts of pages, in their order. They must not forbid scripts for that: their own policy is taken off.
pub fn layouts(pages: &[String], view: View) -> Vec<BTreeMap<String, String>> {
    let free = |page: &String| {
        let begin = page.find("<meta http-equiv=\"Content-Security-Policy\"").expect("the page has a policy");
        let end = begin + page[begin..].find('>').expect("the element ends") + 1;
        format!("{}{QUESTIONS}{}", &page[..begin], &page[end..])
    };
    let name = |index: usize| format!("page-{index}.html");
    let mut frames = FRAMES.to_owned();
    for index in 0..pages.len() {
        frames += &format!(
            "<iframe src=\"{}\" style=\"border: 0; height: 900px; width: {}px\"></iframe>",
            name(index),
            view.width
        );
    }
    let pages = pages.iter().enumerate().map(|(index, page)| (name(index), free(page)));
    let files: Vec<_> = std::iter::once(("frames.html".to_owned(), frames)).chain(pages).collect();
    let dom = loaded(&files, view.dark);
    let answers = dom.split("<output class=\"answers\">").skip(1).map(|rest| {
        let said = rest.split("</output>").next().unwrap_or_default().lines();
        said.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    });
    let mut answers: Vec<BTreeMap<String, String>> = answers.collect();
    assert_eq!(answers.len() + 1, files.len(), "every page answers: {dom}");
    // They answer as soon as each is there.
    answers.sort_by_key(|answer| files.iter().position(|(name, _)| *name == answer["file"]));
    answers
}

/// The layout of one page.
pub fn layout(page: &str, view: View) -> BTreeMap<String, String> {
    layouts(&[page.to_owned()], view).remove(0)
}

/// The first of `files`, loaded, in a folder with the others.
fn loaded(files: &[(String, String)], dark: bool) -> String {
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
    command.arg("--dump-dom").arg(format!("file://{}", folder.path().join(&files[0].0).display()));
    let output = command.timeout(4 * PATIENCE).output().expect("chromium starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("only UTF-8 is printed")
}
