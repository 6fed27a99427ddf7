//! Our tokenizers and chat templates against transformers: the same files must give the same tokens and masks.

use std::collections::BTreeMap;

use serde_json::json;

use palestra::text::{ChatTemplate, Message, Method, Tokenizer, VocabularyOptions};

use super::script;

/// Marks the assistant's text in the template itself, which transformers needs for a mask.
const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}\
                        {% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}\
                        {{ m.content + eos_token }}{% endif %}{{ '\n' }}{% endfor %}\
                        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// As [`TEMPLATE`] without marks: the assistant's parts follow from the text that each message adds.
fn unmarked() -> String {
    TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
}

fn texts() -> Vec<String> {
    let lines = [
        "The cat  sat on the mat;\tthe dog's",
        "<|im_start|>user\nhi<|im_end|>",
        "caf\u{e9} \u{6570}\u{5b66}\r\n\n 42",
    ];
    lines.map(String::from).to_vec()
}

/// Vocabularies trained with each method load in `AutoTokenizer`, and give the same tokens and the same conversation
/// masks.
#[test]
#[ignore = "needs Python with transformers: cargo xtask parity"]
fn what_is_encoded_is_encoded_by_transformers() {
    let parent = tempfile::tempdir().unwrap();
    let chat =
        [("system", "be terse"), ("user", "the cat?"), ("assistant", "The mat."), ("user", "and"), ("assistant", " ")];
    let chat = chat.map(|(role, content)| Message::new(role, content));
    let special = ["<|im_end|>", "<|im_start|>", "<|pad|>"].map(String::from).to_vec();
    let options = VocabularyOptions { size: 300, special, ..VocabularyOptions::default() };
    let mut directories = Vec::new();
    for method in [Method::Bpe, Method::Unigram, Method::Characters] {
        let training = (0..20).flat_map(|_| texts()).map(Ok);
        let tokenizer = Tokenizer::train(method, &options, training).unwrap();
        let encode = |text: &String| {
            let mut tokens = Vec::new();
            tokenizer.encode(text, &mut tokens).unwrap();
            tokens
        };
        let tokens: Vec<Vec<u32>> = texts().iter().map(encode).collect();
        let directory = parent.path().join(format!("{method:?}"));
        std::fs::create_dir(&directory).unwrap();
        let mut ours = json!({ "texts": texts(), "tokens": tokens, "vocab_size": tokenizer.vocab_size() });
        if method != Method::Characters {
            let eos = BTreeMap::from([("eos_token".to_string(), "<|im_end|>".to_string())]);
            let template = |text: &str| ChatTemplate::new("test", text, eos.clone()).unwrap();
            let marked = template(TEMPLATE).encode(&tokenizer, &chat).unwrap();
            assert_eq!(template(&unmarked()).encode(&tokenizer, &chat).unwrap(), marked);
            std::fs::write(directory.join("chat_template.jinja"), TEMPLATE).unwrap();
            ours["chat"] = json!({ "messages": chat, "tokens": marked.tokens, "mask": marked.is_assistant });
        }
        let files = [
            ("tokenizer.json", tokenizer.to_json().unwrap()),
            ("tokenizer_config.json", tokenizer.to_config_json()),
            ("ours.json", ours.to_string()),
        ];
        files.iter().for_each(|(name, text)| std::fs::write(directory.join(name), text).unwrap());
        directories.push(directory.to_str().unwrap().to_string());
    }
    let directories = directories.iter().map(String::as_str);
    println!("{}", script("parity.py", &["tokenizers"].into_iter().chain(directories).collect::<Vec<_>>()));
}
