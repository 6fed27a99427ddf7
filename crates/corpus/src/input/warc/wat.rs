use serde_json::Value;

use crate::provenance::Provenance;

/// Text of the metadata of a page in a WAT file: its title, its description and the texts of its links, a line each. `None`
/// for metadata of anything else than a response.
///
/// # Errors
/// Bytes that are no JSON.
pub(super) fn text_of(json: &[u8], provenance: &mut Provenance) -> Result<Option<String>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| format!("its metadata is no JSON: {error}"))?;
    let envelope = &value["Envelope"];
    if envelope["WARC-Header-Metadata"]["WARC-Type"] != "response" {
        return Ok(None);
    }
    let response = &envelope["Payload-Metadata"]["HTTP-Response-Metadata"];
    let page = &response["HTML-Metadata"];
    if let Value::Object(fields) = &response["Headers"] {
        for (_, value) in fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-robots-tag")) {
            provenance.add_robots(value.as_str().unwrap_or_default());
        }
    }
    let mut lines = vec![text(&page["Head"], "Title")];
    for meta in list(&page["Head"]["Metas"]) {
        let name = text(meta, "name");
        if name.eq_ignore_ascii_case("robots") {
            provenance.add_robots(text(meta, "content"));
        } else if name.eq_ignore_ascii_case("description") {
            lines.push(text(meta, "content"));
        }
    }
    for link in list(&page["Head"]["Link"]).iter().chain(list(&page["Links"])) {
        if text(link, "rel").split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("license")) {
            provenance.add_license(text(link, "url"));
        }
        lines.push(text(link, "text"));
    }
    lines.retain(|line| !line.trim().is_empty());
    Ok(Some(lines.join("\n")))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_description_and_links_are_the_text() {
        let json = br#"{"Envelope": {"WARC-Header-Metadata": {"WARC-Type": "response"}, "Payload-Metadata":
            {"HTTP-Response-Metadata": {"Headers": {"x-robots-tag": "noai"}, "HTML-Metadata": {
            "Head": {"Title": "On whales", "Metas": [{"name": "Description", "content": "All of them."},
            {"name": "ROBOTS", "content": "noindex"}], "Link": [{"path": "LINK@/href", "rel": "license", "url": "/by"}]},
            "Links": [{"path": "A@/href", "url": "/b", "text": "Sperm whales"}, {"path": "IMG@/src", "url": "/c.png"},
            {"path": "A@/href", "url": "/by", "rel": "nofollow license", "text": "CC BY"}]}}}}}"#;
        let mut provenance = Provenance::default();
        let text = text_of(json, &mut provenance).unwrap().unwrap();
        assert_eq!(text, "On whales\nAll of them.\nSperm whales\nCC BY");
        assert_eq!((provenance.robots.as_deref(), provenance.license.as_deref()), (Some("noai, noindex"), Some("/by")));
        let request = br#"{"Envelope": {"WARC-Header-Metadata": {"WARC-Type": "request"}}}"#;
        assert_eq!(text_of(request, &mut provenance), Ok(None));
        assert!(text_of(b"{", &mut provenance).unwrap_err().starts_with("its metadata is no JSON: "));
    }
}
