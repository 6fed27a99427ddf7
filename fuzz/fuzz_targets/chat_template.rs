#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::text::{ChatTemplate, Message};

fuzz_target!(|text: &str| {
    let messages = [Message::new("user", "a"), Message::new("assistant", "b")];
    if let Ok(template) = ChatTemplate::new("fuzz", text, Default::default()) {
        let _ = template.mark(&messages);
    }
});
