//! The HTML report in a browser: desk and phone, light and dark, and words that want to be more.

use std::collections::BTreeMap;

use super::browser::{View, dom, layout, layouts};
use super::saved::{OF_RUNS, OF_SEARCHES, Saved};

const DESK: View = View { width: 1280, dark: false };
const PHONE: View = View { width: 390, dark: false };

fn number(layout: &BTreeMap<String, String>, name: &str) -> u32 {
    layout[name].parse().unwrap_or_else(|_| panic!("{name} is no number: {layout:?}"))
}

fn all() -> impl Iterator<Item = &'static Saved> {
    OF_RUNS.iter().chain(OF_SEARCHES.iter())
}

#[test]
fn a_page_fits_a_phone_and_a_desk() {
    let pages: Vec<_> = all().map(|saved| saved.report("--format html")).collect();
    for view in [DESK, PHONE] {
        for (saved, layout) in all().zip(layouts(&pages, view)) {
            let place = format!("{} at {}: {layout:?}", saved.name, view.width);
            assert_eq!(number(&layout, "window"), view.width, "{place}");
            assert!(number(&layout, "page") <= view.width, "{place}");
            assert_eq!(layout["wide"], "", "{place}");
            let (shown, hidden) =
                if view.width < 640 { ("narrow_charts", "wide_charts") } else { ("wide_charts", "narrow_charts") };
            assert_eq!(number(&layout, shown), number(&layout, "figures"), "{place}");
            assert_eq!(number(&layout, hidden), 0, "{place}");
        }
    }
}

#[test]
fn labels_of_charts_can_be_read_on_a_phone() {
    for saved in [&OF_RUNS[0], &OF_SEARCHES[0]] {
        let layout = layout(&saved.report("--format html"), PHONE);
        assert!(number(&layout, "figures") >= 3, "{layout:?}");
        // Pixels of a line of text: a height of letters of 9 or more.
        assert!(number(&layout, "smallest_label") >= 9, "{layout:?}");
    }
}

#[test]
fn a_dark_page_has_light_text_and_its_own_colours() {
    let page = OF_RUNS[0].report("--format html");
    let [light, dark] = [false, true].map(|dark| layout(&page, View { dark, ..DESK }));
    let brightness = |layout: &BTreeMap<String, String>, name: &str| -> u32 {
        let numbers = layout[name].trim_start_matches("rgb(").trim_end_matches(')').split(',');
        numbers.map(|part| part.parse::<u32>().expect("rgb(r,g,b)")).sum()
    };
    assert!(brightness(&light, "background") > 600 && brightness(&light, "color") < 200, "{light:?}");
    assert!(brightness(&dark, "background") < 150 && brightness(&dark, "color") > 600, "{dark:?}");
    assert_ne!(light["line"], dark["line"]);
    // The colour of the drawing itself, unchanged, would be hard to see.
    assert!(light["line"].contains("rgb(37,99,235)") && !dark["line"].contains("rgb(37,99,235)"), "{light:?} {dark:?}");
}

#[test]
fn words_of_others_are_words_in_a_browser() {
    let hostile = "\"'><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script></style>";
    let saved = OF_RUNS[2].edited("hostile-words", |json| {
        for place in [
            "/plan/targets/0/name",
            "/failures/0/detail",
            "/failures/0/advice",
            "/by_target/0/name",
            "/by_population/0/name",
            "/environment/cpu_model",
            "/environment/kernel",
            "/started_at",
            "/tool/version",
            "/plan/scenario",
        ] {
            *json.pointer_mut(place).unwrap_or_else(|| panic!("{place} is there")) = hostile.into();
        }
        json["labels"] = serde_json::json!({ hostile: hostile, "attach:x": hostile });
        json["failures"][0]["reasons"] = serde_json::json!([{ "text": hostile, "count": 1 }]);
        json["events"] = serde_json::json!([{ "t_s": 1.0, "code": hostile, "text": hostile }]);
        json["generator"]["findings"] = serde_json::json!([
            { "code": "cpu_steal", "severity": "warning", "message": hostile, "remedy": hostile }
        ]);
    });
    let page = saved.report("--format html");
    // Even without the policy that forbids scripts.
    let free = page.replace("Content-Security-Policy", "X-None");
    for page in [page, free] {
        let dom = dom(&page);
        assert!(!dom.contains("<img") && !dom.contains("<script"), "{dom}");
        assert!(!dom.contains("<title>owned"), "{dom}");
        assert!(dom.contains("&lt;img src=x onerror="), "{dom}");
    }
}

#[test]
fn a_page_asks_nothing_of_a_network() {
    for saved in all() {
        let page = saved.report("--format html");
        for reference in ["src=", "<script", "<link rel=\"stylesheet\"", "@import", "url(", "<iframe", "<object"] {
            assert!(!page.contains(reference), "{}: {reference}", saved.name);
        }
        let links: Vec<_> = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or("")).collect();
        assert!(links.iter().all(|link| link.starts_with('#') || *link == "data:,"), "{}: {links:?}", saved.name);
        assert!(page.contains("default-src 'none'"), "{}", saved.name);
    }
}
