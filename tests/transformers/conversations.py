#!/usr/bin/env python3
"""Conversations as transformers encodes them, and single turns as the templates of Qwen3 and of DeepSeek-R1's distilled models write
them: the fixture of `crates/text`.

    python3 tests/transformers/conversations.py

It writes `fixtures/conversations.json`: a byte-level tokenizer, the rows, five chat templates with `{% generation %}` in the style
of a model family each, and for each template the token ids and assistant masks of all rows. `single_turns` are conversations with
the text of their family's own template, which TRL keeps beside its code. It runs in the environment of environment.py.
"""
import json, pathlib

import environment

environment.enter()
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

CLOCK = {"type": "function", "function": {"name": "clock", "description": "Tells the time of a place.", "parameters": {
    "type": "object", "properties": {"place": {"type": "string"}, "hour": {"type": "integer"}}, "required": ["place"]}}}
SUM = {"type": "function", "function": {"name": "sum", "description": "Adds numbers, \"all\" of them & more <b>é</b>.", "parameters": {
    "type": "object", "properties": {"numbers": {"type": "array", "items": {"type": "number"}}}}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **further):
    return {"role": "assistant", "content": content, **further}


def tool(content, **further):
    return {"role": "tool", "content": content, **further}


def system(content):
    return {"role": "system", "content": content}


def call(name, arguments, **further):
    return {**further, "type": "function", "function": {"name": name, "arguments": arguments}}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


ROWS = [
    {"messages": [user("Hello?"), assistant("Hello.")]},
    {"messages": [system("Be brief."), user("Why is the sky blue?"), assistant("Air scatters blue light most.")]},
    {"messages": [user("One"), assistant("Two"), user("Three"), assistant("Four"), user("Five"), assistant("Six")]},
    {"messages": [user("Grüße! 数学 🙂"), assistant("Ça va: 数 🙂🙂 é")]},
    {"messages": [user(parts("What is", " this?")), assistant(parts("A list", " of parts."))]},
    {"messages": [system(parts("Be kind.")), user("x"), assistant("y")]},
    {"messages": [user("The time in Rome?"), assistant(None, tool_calls=[call("clock", {"place": "Rome", "hour": 12})]),
                  tool("12:00", name="clock"), assistant("It is noon.")], "tools": [CLOCK]},
    {"messages": [user("The time in Rome?"), assistant("", tool_calls=[call("clock", {"place": "Rome"}, id="call00001")]),
                  tool("12:00", name="clock", tool_call_id="call00001"), assistant("Noon.")], "tools": [CLOCK, SUM]},
    {"messages": [user("Sum 1 and 2.5"), assistant("Let me see.", tool_calls=[call("sum", {"numbers": [1, 2.5, -3e-7, 1e20]})]),
                  tool(parts("3.", "5"), name="sum"), assistant("3.5")], "tools": [SUM]},
    {"messages": [user("Both"), assistant(None, tool_calls=[call("sum", {"numbers": []}, id="a"), call("clock", {"place": "Oslo"}, id="b")]),
                  tool("0", name="sum", tool_call_id="a"), tool("01:00", name="clock", tool_call_id="b"), assistant("0, at one.")],
     "tools": [SUM, CLOCK]},
    {"messages": [user("As text"), assistant(None, tool_calls=[call("clock", "{\"place\": \"Bonn\"}")]), tool("9"), assistant("Nine.")]},
    {"messages": [user("2 + 2?"), assistant("4", reasoning_content="Add the two.")]},
    {"messages": [user("2 + 2?"), assistant("4", reasoning_content="Add."), user("3 + 3?"), assistant("6", reasoning_content="Again:\nadd.")]},
    {"messages": [user("Think"), assistant("<think>\nwhy not\n</think>\n\nDone.")]},
    {"messages": [user("a"), assistant("b"), user("c")]},
    {"messages": [user("No tools"), assistant("None.")], "tools": []},
    {"messages": [user("  spaces  and\ttabs\n\nlines  "), assistant("  kept  \n\n- so\n- so\n")]},
    {"messages": [user("{{ braces }} {% raw %} <|end|> </s>"), assistant("\"quotes\" \\ back & <b>")]},
    {"messages": [system("You call tools."), user("Where?"), assistant(None, reasoning_content="Ask.", tool_calls=[
        call("clock", {"place": "Köln", "hour": None, "deep": {"b": [True, False], "a": {}}})]), tool("{\"ok\": true}", name="clock"),
        assistant("There.", reasoning_content="Good.")], "tools": [CLOCK]},
    {"messages": [user("Name"), {"role": "assistant", "name": "ann", "content": "Ann."}, {"role": "user", "name": "bob", "content": "Bob"},
                  {"role": "assistant", "name": "ann", "content": "Hi, Bob."}]},
]

TEXT_OF = """{%- macro text_of(content) %}
{%- if content is string %}{{ content }}{% elif content is iterable %}{% for part in content %}{{ part.text }}{% endfor %}{% endif %}
{%- endmacro %}
"""

TEMPLATES = {
    # ChatML, as Qwen: tools in the system message, calls in tags, thinking in front.
    "chatml": TEXT_OF + """{%- if tools %}{{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- text_of(messages[0].content) + '\n' }}{%- endif %}
    {%- for tool in tools %}{{- tool | tojson + '\n' }}{%- endfor %}{{- '<|im_end|>\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>' + text_of(m.content) + '</tool_response><|im_end|>\n' }}
    {%- elif m.role != 'assistant' %}
        {%- if not (tools and loop.first and m.role == 'system') %}{{- '<|im_start|>' + m.role + '\n' + text_of(m.content) + '<|im_end|>\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}
        {%- if m.reasoning_content is string %}{{- '<think>\n' + m.reasoning_content.strip('\n') + '\n</think>\n\n' }}{%- endif %}
        {{- text_of(m.content) }}
        {%- for c in m.tool_calls or [] %}{%- set c = c.function %}
            {{- '<tool_call>{"name": "' + c.name + '", "arguments": ' }}{{- c.arguments if c.arguments is string else c.arguments | tojson }}{{- '}</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
""",
    # Headers around roles, as Llama 3: trimmed contents, one call, tools with an indent in the first message.
    "headers": TEXT_OF + """{{- bos_token }}
{%- if tools is not none and tools %}
    {{- '<|start_header_id|>system<|end_header_id|>\n\nTools:\n' }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\n\n' }}{%- endfor %}{{- '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
        {%- generation %}
        {%- if message.tool_calls %}
            {%- for one in message.tool_calls %}
                {{- '{"name": "' + one['function']['name'] + '", "parameters": ' }}{{- one['function']['arguments'] | tojson }}{{- '}' }}
            {%- endfor %}
        {%- else %}{{- text_of(message['content']) | trim }}{%- endif %}
        {{- '<|eot_id|>' }}
        {%- endgeneration %}
    {%- else %}
        {{- '<|start_header_id|>' ~ ('ipython' if message['role'] == 'tool' else message['role']) ~ '<|end_header_id|>\n\n' }}
        {{- text_of(message['content']) | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
""",
    # Instructions in brackets, as Mistral: the system text before the first question, lists of calls as JSON with their ids.
    "brackets": TEXT_OF + """{{- bos_token }}{%- set ns = namespace(system='') %}
{%- if messages[0].role == 'system' %}{%- set ns.system = text_of(messages[0].content) + '\n\n' %}{%- set messages = messages[1:] %}{%- endif %}
{%- if tools %}{{- '[AVAILABLE_TOOLS] ' + tools | map(attribute='function') | list | tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' ~ ns.system ~ text_of(message.content) ~ '[/INST]' }}{%- set ns.system = '' %}
    {%- elif message.role == 'tool' %}
        {%- set id = message.tool_call_id if message.tool_call_id is defined else 'none' %}
        {{- '[TOOL_RESULTS] {"content": ' ~ text_of(message.content) | tojson ~ ', "call_id": "' ~ id ~ '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {%- generation %}
        {%- if message.tool_calls is defined and message.tool_calls is not none and message.tool_calls | length > 0 %}
            {{- '[TOOL_CALLS] [' }}
            {%- for c in message.tool_calls %}
                {%- set out = c.function | tojson %}
                {{- out[:-1] }}{{- ', "id": "' ~ (c.id or 'none') ~ '"}' }}{{- ', ' if not loop.last }}
            {%- endfor %}
            {{- ']' }}
        {%- else %}{{- ' ' ~ text_of(message.content) }}{%- endif %}
        {{- eos_token }}
        {%- endgeneration %}
    {%- endif %}
{%- endfor %}
""",
    # Turns of user and model, as Gemma: other names of roles, contents that are trimmed, the name of a tool's message.
    "turns": TEXT_OF + """{{ bos_token }}
{%- for message in messages -%}
    {%- set role = {'assistant': 'model', 'tool': 'user', 'system': 'user'}.get(message['role'], message['role']) -%}
    {{ '<start_of_turn>' + role + '\n' }}
    {%- if role == 'model' -%}
        {%- generation -%}
        {{ text_of(message['content']) | trim }}
        {%- for c in message['tool_calls'] | default([], true) -%}
            {{ 'call ' ~ c['function']['name'] ~ '(' }}
            {%- if c['function']['arguments'] is mapping -%}
                {%- for name, value in c['function']['arguments'].items() -%}{{ name ~ '=' ~ value | tojson }}{{ ', ' if not loop.last }}{%- endfor -%}
            {%- else -%}{{ c['function']['arguments'] }}{%- endif -%}
            {{ ')' }}
        {%- endfor -%}
        {{ '<end_of_turn>' }}
        {%- endgeneration -%}
        {{ '\n' }}
    {%- else -%}
        {{ (message['name'] ~ ': ' if message['name'] is defined) ~ text_of(message['content']) | trim ~ '<end_of_turn>\n' }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
""",
    # Full-width marks, as DeepSeek: thinking and calls in the answer, outputs of tools gathered.
    "marks": TEXT_OF + """{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{{- text_of(message.content) }}
    {%- elif message.role == 'user' %}{{- '<｜User｜>' + text_of(message.content) }}
    {%- elif message.role == 'tool' %}
        {{- '' if loop.previtem.role == 'tool' else '<｜outputs｜>' }}{{- '<｜output｜>' + text_of(message.content) }}
    {%- else %}
        {{- '<｜Assistant｜>' }}
        {%- generation %}
        {%- if message.reasoning_content is defined and message.reasoning_content %}{{- '<think>' ~ message.reasoning_content ~ '</think>' }}{%- endif %}
        {{- text_of(message.content) }}
        {%- for c in message.tool_calls or [] %}
            {{- '<｜call｜>' + c['type'] + '<｜sep｜>' + c['function']['name'] + '\n```json\n' }}
            {{- c['function']['arguments'] if c['function']['arguments'] is string else c['function']['arguments'] | tojson(ensure_ascii=False) }}
            {{- '\n```' }}
        {%- endfor %}
        {{- eos_token }}
        {%- endgeneration %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜>' }}{%- endif %}
""",
}

SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>",
           "<end_of_turn>", "<｜User｜>", "<｜Assistant｜>", "[INST]", "[/INST]"]

# Conversations of one turn, with thinking where their family's template keeps it, and prompts.
SINGLE_TURNS = [
    {"messages": [user("2 + 2?")], "add_generation_prompt": True},
    {"messages": [system("Be brief."), user("2 + 2?")], "add_generation_prompt": True},
    {"messages": [user("2 + 2?"), assistant("4")]},
    {"messages": [system("Be brief."), user("2 + 2?"), assistant("4\n")]},
    {"messages": [user("é 数\n"), assistant("<b> & \"c\"")]},
]
OF_QWEN3 = SINGLE_TURNS + [
    {"messages": [user("2 + 2?"), assistant("<think>\nadd\n</think>\n\n4")]},
    {"messages": [user("2 + 2?"), assistant("<think>\n\nadd\nit\n\n</think>\n\n\n4\n")]},
    {"messages": [user("2 + 2?"), assistant("4", reasoning_content="\nadd\n")]},
    {"messages": [user("The time?")], "tools": [CLOCK, SUM], "add_generation_prompt": True},
    {"messages": [system("Be brief."), user("The time?"), assistant("", tool_calls=[call("clock", {"place": "Köln"})])], "tools": [CLOCK]},
    {"messages": [user("The time?"), assistant("Both.", tool_calls=[call("clock", "{\"place\": \"Rome\"}"), call("sum", {"numbers": []})])], "tools": [CLOCK]},
    {"messages": [user("The time?"), assistant("Hm.", reasoning_content="a", tool_calls=[call("clock", {})]), tool("12"), tool("13"),
                  assistant("Noon.", reasoning_content="b")], "tools": [CLOCK]},
]
FAMILIES = {"qwen3-training": ("qwen3.jinja", OF_QWEN3), "r1-training": ("deepseek_r1_distill.jinja", SINGLE_TURNS)}


def tokenizer():
    """A byte-level tokenizer trained on the rows, with the marks of all templates."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator([json.dumps(row, ensure_ascii=False) for row in ROWS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def encoded(tok, template, row):
    """Ids and the places of the assistant's tokens of a row."""
    chat = tok.apply_chat_template(row["messages"], tools=row.get("tools"), chat_template=template, return_dict=True, return_assistant_tokens_mask=True)
    return {"ids": chat["input_ids"], "mask": "".join(map(str, chat["assistant_masks"]))}


def single_turns():
    """Single turns of each family with the text of its own template."""
    folder = pathlib.Path(trl.__file__).parent / "chat_templates"
    for name, (file, chats) in FAMILIES.items():
        template = (folder / file).read_text()
        for chat in chats:
            texts, _ = render_jinja_template([chat["messages"]], tools=chat.get("tools"), chat_template=template, bos_token="<s>", eos_token="<｜end▁of▁sentence｜>",
                                             add_generation_prompt=chat.get("add_generation_prompt", False))
            yield {"template": name, **chat, "text": texts[0]}


def main():
    tok = tokenizer()
    fixture = {
        "tokenizer": json.loads(tok.backend_tokenizer.to_str()), "rows": ROWS, "templates": TEMPLATES,
        "encoded": {name: [encoded(tok, template, row) for row in ROWS] for name, template in TEMPLATES.items()},
        "single_turns": list(single_turns()),
    }
    path = pathlib.Path(__file__).resolve().parent / "fixtures/conversations.json"
    path.write_text(json.dumps(fixture, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{path}: {len(ROWS)} rows, {len(TEMPLATES)} templates, {len(fixture['single_turns'])} single turns")


if __name__ == "__main__":
    main()
