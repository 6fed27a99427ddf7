#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::labels::html;

fuzz_target!(|text: &str| {
    let html = html(text).to_ascii_lowercase();
    assert!(!html.contains("<script"), "{html}");
});
