//! Saved results in the forms that others read: pages in a real browser, files against the published schemas, tables and
//! distributions against the result that they show.

mod support;

mod report_formats {
    mod saved;

    mod browser;
    mod page;
    mod schema;
    mod tables;
}
