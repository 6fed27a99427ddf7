#!/usr/bin/env python3
"""Random chat templates as Jinja2 renders them: the fixture of `crates/text`.

    python3 tests/differential/random_templates.py

It writes `random-templates.json`: groups of templates with the values that they read. Templates are made from a grammar of what
published chat templates use: loops over messages, conditions, namespaces, macros, slices, filters, tests, and marks of
white space. A template has its text, or null where Jinja2 refuses it. The settings are those of transformers. It needs Jinja2.
"""
import json, pathlib, random

from jinja2.sandbox import ImmutableSandboxedEnvironment

SEED, GROUPS, TEMPLATES = 20, 20, 20
MARKED = 20  # groups of short templates that mark text as HTML

ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
ENVIRONMENT.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)

WORDS = ["", "a", "Hello, World", "  spaced  ", "two\nlines\n", "<think>\nwhy\n</think>\n\nSo.", "é 数学 🙂", "it's \"so\"", "x,y,,z", "A-b_c", "7"]
ROLES = ["system", "user", "assistant", "tool"]

class Grammar:
    """Templates from random choices. Names are those of VALUES; `depth` bounds how deep constructs are nested."""

    def __init__(self, rng, marks=False):
        self.rng = rng
        self.marks = marks

    def one(self, *choices):
        choice = self.rng.choice(choices)
        return choice() if callable(choice) else choice

    def text_literal(self):
        return repr(self.rng.choice(["", "a", "l", "\n", ", ", "<|im_start|>", "</think>", "user", "it"]))

    def number(self):
        return str(self.rng.choice([0, 1, 2, 3, -1, 10]))

    def message(self):
        return self.one("messages[0]", "messages[-1]", "m", "messages[1]")

    def text(self, depth=2):
        """An expression whose value is a text."""
        if depth == 0:
            return self.one(self.text_literal, "name", "eos_token", "m.role", "m['content']", "messages[0]['role']", "messages[-1].content")
        inner = lambda: self.text(depth - 1)
        if self.marks and self.rng.random() < .4:
            return f"({inner()}) | {self.rng.choice(['e', 'escape', 'forceescape', 'safe', 'safe | trim', 'e | upper', 'e | last', 'e | list | join'])}"
        return self.one(
            self.text_literal, "eos_token", lambda: self.message() + self.rng.choice([".role", "['content']", ".content", "['role']"]),
            lambda: f"{inner()} + {inner()}", lambda: f"{inner()} ~ {self.number()}", lambda: f"({inner()}) | trim",
            lambda: f"({inner()}) | {self.rng.choice(['upper', 'lower', 'title', 'capitalize', 'string', 'escape'])}",
            lambda: f"({inner()}).{self.rng.choice(['strip()', 'upper()', 'lower()', 'lstrip()', 'rstrip()', 'title()', 'capitalize()'])}",
            lambda: f"({inner()}).split({self.text_literal() if self.rng.random() < .3 else repr('</think>')})[{self.rng.choice(['0', '-1'])}]",
            lambda: f"({inner()}).replace({self.rng.choice(WORDS[1:3])!r}, {self.text_literal()})",
            lambda: f"({inner()}) | replace('l', {self.text_literal()})",
            lambda: f"({inner()}) | default({self.text_literal()}, true)",
            lambda: f"({inner()})[{self.rng.choice(['1:', ':2', ':-1', '::2', '1:3', '::-1'])}]",
            lambda: f"({inner()} if {self.condition(depth - 1)} else {inner()})",
            lambda: f"{self.list(depth - 1)} | join({self.text_literal()})",
            lambda: f"({inner()}) | indent({self.rng.choice(['2', '4, true', 'width=3'])})",
            lambda: f"({inner()}) | tojson", lambda: f"({self.value(depth - 1)}) | string",
            lambda: f"'%s-%s' % ({inner()}, {self.number()})", lambda: f"'{{}}: {{}}'.format({inner()}, {self.number()})")

    def integer(self, depth=2):
        if depth == 0:
            return self.one(self.number, "count", "loop.index0 if loop is defined else 0", "messages | length")
        inner = lambda: self.integer(depth - 1)
        return self.one(
            self.number, "count", "messages | length", lambda: f"({self.list(depth - 1)}) | length", lambda: f"({self.text(depth - 1)}) | length",
            lambda: f"({inner()} {self.rng.choice(['+', '-', '*', '%', '//'])} {inner()})", lambda: f"({inner()}) | abs",
            lambda: f"({self.text(depth - 1)}) | int", lambda: f"({self.text(depth - 1)}).count('l')", lambda: f"({self.text(depth - 1)}).find('l')",
            lambda: f"numbers | {self.rng.choice(['sum', 'min', 'max', 'first', 'last'])}")

    def list(self, depth=2):
        if depth == 0:
            return self.one("words", "numbers", "[]", "['b', 'a']", "range(3) | list", "messages | map(attribute='role') | list")
        inner = lambda: self.list(depth - 1)
        return self.one(
            "words", "numbers", lambda: f"({self.text(depth - 1)}).split()", lambda: f"({self.text(depth - 1)}).split(',')",
            lambda: f"({self.text(depth - 1)}).splitlines()", lambda: f"({inner()}) | reverse | list", lambda: f"({inner()})[{self.rng.choice(['1:', ':2', '::-1', ':-1'])}]",
            lambda: f"({inner()}) + ({inner()})", lambda: f"words | {self.rng.choice(['sort', 'unique | list', 'map(' + repr('upper') + ') | list', 'select | list'])}",
            lambda: f"messages | {self.rng.choice(['selectattr', 'rejectattr'])}('role', 'equalto', {self.rng.choice(ROLES)!r}) | map(attribute='content') | list",
            lambda: f"[{self.text(depth - 1)}, {self.integer(depth - 1)}]", "config | list", "config.keys() | list", "config | dictsort | map('first') | list")

    def value(self, depth=2):
        return self.one(lambda: self.text(depth), lambda: self.integer(depth), lambda: self.condition(depth), "none", "config", "messages[0]",
                        "tools", lambda: f"config.get({self.rng.choice(['a', 'zz'])!r}, {self.number()})", "1.5", "config['b']")

    def condition(self, depth=2):
        if depth == 0:
            return self.one("true", "false", "tools", "name", "missing is defined", "add_generation_prompt", "messages[0].role == 'system'", "m is defined")
        inner = lambda: self.condition(depth - 1)
        return self.one(
            "add_generation_prompt", lambda: f"not ({inner()})", lambda: f"({inner()} {self.rng.choice(['and', 'or'])} {inner()})",
            lambda: f"{self.text(depth - 1)} {self.rng.choice(['==', '!=', 'in', 'not in'])} {self.text(depth - 1)}",
            lambda: f"{self.integer(depth - 1)} {self.rng.choice(['==', '<', '>=', '!='])} {self.integer(depth - 1)}",
            lambda: f"{self.text_literal()} in words", lambda: f"'a' {self.rng.choice(['in', 'not in'])} config",
            lambda: f"({self.value(depth - 1)}) is {self.rng.choice(['string', 'none', 'defined', 'number', 'mapping', 'not none', 'iterable', 'not defined', 'boolean'])}",
            lambda: f"({self.text(depth - 1)}).{self.rng.choice(['startswith', 'endswith'])}({self.text_literal()})",
            lambda: f"{self.integer(depth - 1)} is {self.rng.choice(['odd', 'even', 'divisibleby(2)'])}")

    def tag(self, code):
        left, right = self.rng.choice([("", ""), ("-", "-"), ("-", ""), ("", "-"), ("", "")])
        return "{%" + left + " " + code + " " + right + "%}"

    def output(self):
        left, right = self.rng.choice([("", ""), ("-", "-"), ("", ""), ("", "-")])
        value = self.one(self.text, self.text, self.integer, self.value, lambda: f"({self.value()}) | tojson",
                         lambda: f"{self.list()} | tojson", lambda: f"tools | tojson(indent={self.rng.choice([2, 4])})", "config")
        return "{{" + left + " " + value + " " + right + "}}"

    def plain(self):
        return self.rng.choice(["\n", " ", "\n\n", "<|im_start|>", "text\n", "  two ", "", "{ x }", "\n  "])

    def body(self, depth):
        return "".join(self.one(self.plain, self.output, lambda: self.statement(depth)) for _ in range(self.rng.randint(1, 4)))

    def statement(self, depth):
        if depth == 0:
            return self.output()
        inner = lambda: self.body(depth - 1)
        return self.one(
            lambda: self.tag("for m in messages") + inner() + self.tag("endfor"),
            lambda: self.tag(f"for m in messages{self.rng.choice(['[1:]', '[::-1]', '', ' if m.role != ' + repr('tool')])}") + inner()
            + "{{ " + self.rng.choice(["loop.index", "loop.first", "loop.last", "loop.revindex0", "loop.length", "loop.index0"]) + " }}" + self.tag("endfor"),
            lambda: self.tag("for key, value in config.items()") + "{{ key }}={{ value }}" + self.tag("endfor"),
            lambda: self.tag(f"for w in {self.list()}") + "{{ w }}" + inner() + self.tag("else") + "none" + self.tag("endfor"),
            lambda: self.tag(f"if {self.condition()}") + inner() + self.tag("endif"),
            lambda: self.tag(f"if {self.condition()}") + inner() + self.tag(f"elif {self.condition()}") + inner() + self.tag("else") + inner() + self.tag("endif"),
            lambda: self.tag(f"set x = {self.value()}") + "{{ x }}",
            lambda: self.tag("set x") + inner() + self.tag("endset") + "[{{ x | trim }}]",
            lambda: self.tag("set ns = namespace(found=false, n=0)") + self.tag("for m in messages") + self.tag(f"if {self.condition(1)}")
            + self.tag("set ns.found = true") + self.tag("endif") + self.tag("set ns.n = ns.n + loop.index") + self.tag("endfor") + "{{ ns.found }} {{ ns.n }}",
            lambda: self.tag(f"macro show(m, end={self.text_literal()})") + inner() + "{{ end }}" + self.tag("endmacro") + "{{ show(messages[0]) }}",
            lambda: self.tag("for w in words") + self.tag(f"if {self.condition(1)}") + self.tag(self.rng.choice(["break", "continue"])) + self.tag("endif")
            + "{{ w }}" + self.tag("endfor"),
            lambda: "{# " + self.rng.choice(["a remark", "{{ x }}"]) + " #}", lambda: self.tag("raw") + "{{ x }}" + self.tag("endraw"))

    def template(self):
        return "".join(self.one(self.plain, self.output, lambda: self.statement(2), lambda: self.statement(2)) for _ in range(self.rng.randint(1, 3)))

    def values(self):
        rng, text = self.rng, lambda: self.rng.choice(WORDS)
        return {
            "messages": [{"role": rng.choice(ROLES), "content": text()} for _ in range(rng.randint(2, 4))],
            "words": [text() for _ in range(rng.randint(0, 4))], "numbers": [rng.randint(-5, 20) for _ in range(rng.randint(1, 4))],
            "config": {"b": rng.choice([1, 2.5, None, True, "x"]), "a": text(), "c": [1, {"d": text()}]}, "count": rng.randint(0, 5),
            "name": text(), "eos_token": "</s>", "add_generation_prompt": rng.random() < 0.5, "tools": rng.choice([None, [{"name": "add", "n": 1}]]),
        }

def rendered(template, values):
    try:
        return ENVIRONMENT.from_string(template).render(**values)
    except Exception:  # what Jinja2 refuses, for whichever reason
        return None

def main():
    rng = random.Random(SEED)
    groups = []
    for number in range(GROUPS + MARKED):
        marks = number >= GROUPS
        grammar = Grammar(rng, marks)
        values, templates = grammar.values(), []
        while len(templates) < TEMPLATES:
            template = "{{ (" + grammar.text(3) + ") | e }}" if marks else grammar.template()
            text = rendered(template, values)
            # Most templates that are refused are mistakes of the grammar; a tenth of them is enough.
            most = 120 if marks else 500
            if len(template) < most and len(text or "") < 1000 and (text is not None or rng.random() < 0.1):
                templates.append([template, text])
        groups.append({"values": values, "templates": templates})
    lines = ",\n".join(
        '{"values": ' + json.dumps(group["values"], ensure_ascii=False) + ', "templates": [\n'
        + ",\n".join(json.dumps(one, ensure_ascii=False) for one in group["templates"]) + "]}" for group in groups)
    (pathlib.Path(__file__).parent / "random-templates.json").write_text("[\n" + lines + "\n]\n")

if __name__ == "__main__":
    main()
