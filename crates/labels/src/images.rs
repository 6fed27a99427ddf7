//! Images among the parts of messages, in place of which a message gets Markdown that the page shows.
//!
//! An image is a `data:` URL, or a file in the folder of the file that names it, whose content becomes one. Nothing is loaded
//! from elsewhere: an address on the web becomes a link.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::render::IMAGES;

/// Maximum size of an image, in bytes.
const MAX_SIZE: u64 = 2 << 20;

/// Puts Markdown in place of the images in a prompt or in answers.
///
/// # Errors
/// An image that is too large, of another kind, or outside of the folder.
pub(crate) fn inline(content: &mut Value, folder: &Path) -> Result<(), String> {
    match content {
        Value::Array(list) => list.iter_mut().try_for_each(|value| inline(value, folder)),
        Value::Object(message) => match message.get_mut("content") {
            Some(Value::Array(parts)) => parts.iter_mut().try_for_each(|part| inline_part(part, folder)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn inline_part(part: &mut Value, folder: &Path) -> Result<(), String> {
    let Some(source) = source(part) else { return Ok(()) };
    let text = if source.starts_with("http://") || source.starts_with("https://") {
        format!("[image](<{}>)", source.replace(['<', '>', '\n'], ""))
    } else {
        format!("![image]({})", data_url(source, folder)?)
    };
    *part = json!({"type": "text", "text": format!("\n\n{text}\n\n")});
    Ok(())
}

/// Source of an image, as OpenAI's `image_url` and the `image` of transformers have it.
fn source(part: &Value) -> Option<&str> {
    let fields = match part["type"].as_str()? {
        "image_url" | "input_image" => ["/image_url/url", "/image_url", "/url"],
        "image" => ["/image", "/url", "/path"],
        _ => return None,
    };
    fields.iter().find_map(|field| part.pointer(field)?.as_str())
}

fn data_url(source: &str, folder: &Path) -> Result<String, String> {
    if source.starts_with("data:") {
        let is_known = IMAGES.iter().any(|image| source.starts_with(image)) && !source.contains([' ', '(', ')', '\n']);
        return match (is_known, source.len() as u64 <= MAX_SIZE / 3 * 4) {
            (false, _) => {
                Err(format!("an image is {:?}...; it should be {KINDS}", source.chars().take(24).collect::<String>()))
            }
            (_, false) => Err(too_large(source.len() as u64)),
            _ => Ok(source.to_string()),
        };
    }
    let path = folder.join(source);
    let wrong = |error: std::io::Error| format!("image {source:?}: {error}");
    let (file, folder) = (path.canonicalize().map_err(wrong)?, folder.canonicalize().map_err(wrong)?);
    if !file.starts_with(&folder) {
        return Err(format!("image {source:?}: is outside of the folder {}; put it there", folder.display()));
    }
    let size = file.metadata().map_err(wrong)?.len();
    if size > MAX_SIZE {
        return Err(format!("image {source:?}: {}", too_large(size)));
    }
    let bytes = std::fs::read(&file).map_err(wrong)?;
    let kind =
        kind(&bytes).ok_or_else(|| format!("image {source:?}: is no image that is shown; it should be {KINDS}"))?;
    Ok(format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)))
}

const KINDS: &str = "PNG, JPEG, GIF, WebP or AVIF";

fn too_large(size: u64) -> String {
    format!("an image of {size} bytes, and {MAX_SIZE} are the most; make it smaller")
}

/// Kind of an image by its first bytes.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => Some("avif"),
        _ => None,
    }
}

/// The text with `[image]` in place of each image of its Markdown, for readers that show none.
pub(crate) fn without_data(text: &str) -> String {
    let mut pieces = text.split("](data:image/");
    let first = pieces.next().unwrap_or_default().to_string();
    pieces.fold(first, |mut shown, piece| {
        shown.push(']');
        shown += piece.split_once(')').map_or(piece, |(_, rest)| rest);
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items_of_file;
    use crate::render::parts;

    const PNG: &[u8] = &[0x89, b'P', b'N', b'G', 13, 10, 26, 10, 0];

    /// Prompt with a text and an image of this source, read from a file in a folder with `cat.png` and `notes.txt`.
    fn read(part: Value) -> Result<palestra_datasets::Content, String> {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("in");
        std::fs::create_dir(&folder).unwrap();
        for (name, bytes) in [("in/cat.png", PNG), ("in/notes.txt", b"text"), ("secret.png", PNG)] {
            std::fs::write(outer.path().join(name), bytes).unwrap();
        }
        std::fs::write(folder.join("large.png"), [PNG, &[0; MAX_SIZE as usize]].concat()).unwrap();
        let prompt = json!([{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]);
        let file = folder.join("items.jsonl");
        std::fs::write(&file, json!({"prompt": prompt, "completions": ["a cat", "a dog"]}).to_string()).unwrap();
        let item = items_of_file(&file, false).unwrap().next().unwrap();
        item.map(|item| item.prompt).map_err(|error| error.to_string())
    }

    #[test]
    fn images_of_the_folder_and_data_urls_are_shown() {
        let url = format!("data:image/png;base64,{}", STANDARD.encode(PNG));
        for part in [
            json!({"type": "image", "image": "cat.png"}),
            json!({"type": "image_url", "image_url": {"url": "./cat.png"}}),
            json!({"type": "image_url", "image_url": {"url": url}}),
        ] {
            let prompt = read(part.clone()).unwrap();
            let shown = parts(&prompt).concat();
            assert!(shown.contains(&format!("<img src=\"{url}\" alt=\"image\">")), "{part}: {shown}");
            assert_eq!(without_data(&prompt.as_text()).split_whitespace().last(), Some("![image]"));
        }
        let link = read(json!({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})).unwrap();
        let shown = parts(&link).concat();
        assert!(shown.contains("href=\"https://example.org/a.png\"") && !shown.contains("<img"), "{shown}");
    }

    #[test]
    fn other_files_and_kinds_are_refused_by_name() {
        let refused = |source: &str, expected: &str| {
            let error = read(json!({"type": "image", "image": source})).unwrap_err();
            assert!(error.contains("line 1, prompt: ") && error.contains(expected), "{source}: {error}");
        };
        refused("../secret.png", "is outside of the folder");
        refused("none.png", "image \"none.png\": ");
        refused("notes.txt", "is no image that is shown; it should be PNG, JPEG");
        refused("large.png", "bytes, and 2097152 are the most");
        refused("data:image/svg+xml;base64,PHN2Zz4=", "it should be PNG, JPEG");
        refused("data:text/html,x", "it should be PNG, JPEG");
    }
}
