use palestra_datasets::Content;
use palestra_text::ChatTemplate;

use super::*;

/// Writes the name, the text and the calls of each message.
const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }} {{ m.name }}>{{ m.content }}\
                        {% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %};{% endfor %}\
                        {% if add_generation_prompt %}<assistant >{% endif %}";

const PROMPTS: &str = r#"{"prompt": [{"role": "user", "name": "ada", "content": [{"type": "text", "text": "Time?"}]}, {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "clock", "arguments": {"zone": null}}}]}, {"role": "tool", "content": "12:00", "name": "clock"}]}
{"prompt": "[{\"role\": \"user\", \"content\": \"x\"}]", "turns": ["[1, 2, 3]"]}
"#;

#[test]
fn messages_are_the_same_tokens_in_play_and_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let [prompts, path] = ["prompts.jsonl", "log.parquet"].map(|name| folder.path().join(name));
    std::fs::write(&prompts, PROMPTS).unwrap();
    let registry = Registry::builtin();
    let mut definition = registry.definition("completion").unwrap();
    definition.options = Options::new(toml_table(&prompts));
    let printable: String = (' '..='~').collect();
    let tokenizer = Tokenizer::from_alphabet(&printable).unwrap();
    let shape = ModelConfig { context: 512, layers: 1, width: 8, heads: 2, ..ModelConfig::default() };
    let device = open_device("flex").unwrap();
    let shape = shape.resolve(tokenizer.vocab_size()).unwrap();
    let policy = Policy::new(&shape, Heads { value: false, critic: None }, 3, &device);
    for context in [Context::Observation, Context::Transcript] {
        let config =
            RolloutConfig { context, environments: 2, chat: true, max_new_tokens: 3, ..RolloutConfig::default() };
        let template = ChatTemplate::new("example", TEMPLATE, Default::default()).unwrap();
        let encoder = Encoder::new(tokenizer.clone(), config.encoding(512)).with_chat(template);
        let pool = Pool::new(&registry, &definition, 2).unwrap();
        let mut rollout = Rollout::new(pool, encoder, config, None);
        let (mut played, _) = rollout.play(&policy, 1, 0..8, &Sampling::default()).unwrap();

        let path = path.with_extension(format!("{context:?}"));
        let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
        for RolloutResult { episode, .. } in &mut played {
            episode.tokenizer_hash = Some(tokenizer.fingerprint().to_string());
            writer.write(episode).unwrap();
        }
        writer.finish().unwrap();
        let log = Log::open(&[path.display().to_string()], ReadOptions::default()).unwrap();
        let mut kinds = [0, 0];
        for (RolloutResult { episode, trajectory, .. }, logged) in played.iter().zip(log.episodes()) {
            let logged = logged.unwrap().episode;
            assert_eq!(logged, *episode);
            let replayed = rollout.encoder.trajectory(&logged).unwrap();
            let tokens = |of: &Trajectory| of.segments.iter().map(|part| part.tokens.clone()).collect::<Vec<_>>();
            assert_eq!(tokens(&replayed), tokens(trajectory));
            let first = &tokens(&replayed)[0];
            let text = tokenizer.decode(first).unwrap();
            let expected = match &logged.turns[0].observation {
                Content::Messages(_) => {
                    "<user ada>Time?;<assistant >[{\"id\": \"1\", \"function\": {\"name\": \"clock\", \"arguments\": \
                     {\"zone\": null}}}];<tool clock>12:00;<assistant >"
                }
                Content::Text(_) => "<user >[{\"role\": \"user\", \"content\": \"x\"}];<assistant >",
            };
            assert!(text.starts_with(expected), "{text}");
            kinds[logged.turns.len() - 1] += 1;
        }
        assert!(kinds.iter().sum::<usize>() == 8 && !kinds.contains(&0), "{kinds:?}");
    }
}

fn toml_table(prompts: &std::path::Path) -> toml::Table {
    toml::Table::from_iter([("file".to_string(), prompts.display().to_string().into())])
}
