#!/usr/bin/env python3
"""Snippets of chat templates as transformers' Jinja2 renders them: the fixture of `crates/text`.

    python3 tests/transformers/chat_templates.py

It writes `fixtures/chat-templates.json`: `values`, which all snippets read, and each snippet with its text, or with null where
Jinja2 refuses it. `date` is the day of `strftime_now`. It runs in the environment of environment.py.
"""
import datetime, json, pathlib, re

import environment

environment.enter()
from transformers.utils import chat_template_utils

CLOCK = datetime.datetime(2024, 7, 6)

VALUES = {
    "n": None, "t": "text", "e": "", "i": 3, "big": 2**40, "neg": -7, "f": 1.5, "whole": 2.0, "tiny": 1e-7, "huge": 1e20, "b": True,
    "l": [3, 1, 2], "el": [], "em": {}, "m": {"b": 1, "a": [1, 2], "c": None, "d": {"z": "é", "y": True}},
    "html": "<a href='x'>&\"q\"</a>", "uni": "héé 数学 🙂", "ctl": "a\tb\n\"c\"\\ \u0001\u007f\u2028/", "s": "  a b  c  ", "lines": "a\nb\r\nc\n",
    "think": "<think>\nwhy\n</think>\n\nBecause.</think>", "words": ["x", "yy", "Zed", "apple"], "get": {"items": 1, "keys": [2], "get": "own"},
    "rows": [{"role": "user", "n": 2}, {"role": "tool", "n": 1}, {"role": "tool", "n": 3}, {"role": "user", "n": 2}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Sum"}, {"type": "image"}, {"type": "text", "text": " 1"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"type": "function", "id": "c1", "function": {"name": "add", "arguments": {"b": 2, "a": 1.0, "deep": {"x": [], "y": None}}}}]},
        {"role": "tool", "name": "add", "content": "3"},
        {"role": "assistant", "content": "It is 3."},
    ],
    "tools": [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {
        "type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "number"}}, "required": ["b", "a"]}}}],
    "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "documents": None,
}

SNIPPETS = r"""
{{ m }}
{{ l }}
{{ m | tojson }}
{{ l | tojson }}
{{ messages | tojson }}
{{ tools | tojson }}
{{ tools | tojson(indent=4) }}
{{ m | tojson(indent=2) }}
{{ m | tojson(2) }}
{{ m | tojson(indent=0) }}
{{ el | tojson(indent=2) }}{{ em | tojson(indent=2) }}
{{ [[], {}] | tojson(indent=1) }}
{{ m | tojson(separators=(',', ':')) }}
{{ m | tojson(separators=(', ', ': ')) }}
{{ m | tojson(indent=2, separators=(',', ': ')) }}
{{ m | tojson(indent=2, separators=(' ;', ' = ')) }}
{{ m | tojson(sort_keys=true) }}
{{ tools | tojson(sort_keys=true, indent=2) }}
{{ uni | tojson }}
{{ uni | tojson(ensure_ascii=true) }}
{{ m | tojson(ensure_ascii=False) }}
{{ m | tojson(ensure_ascii=True, indent=1) }}
{{ m | tojson(indent='--') }}
{{ html | tojson }}
{{ ctl | tojson }}
{{ ctl | tojson(ensure_ascii=true) }}
{{ f | tojson }} {{ whole | tojson }} {{ i | tojson }} {{ tiny | tojson }} {{ huge | tojson }} {{ big | tojson }}
{{ n | tojson }} {{ b | tojson }} {{ e | tojson }}
{{ missing | tojson }}
{{ (1, 'a') | tojson }}
{{ {'a': 1, 2: 'b'} | tojson }}
{{ {'a': x} | tojson }}
{{ m.d | tojson | length }}
{{ f }} {{ whole }} {{ tiny }} {{ huge }} {{ big }} {{ neg }}
{{ 1e16 }} {{ 1e15 }} {{ 123456789.0 }} {{ 0.0001 }} {{ 0.00001 }}
{{ n }} {{ b }} {{ not b }} [{{ missing }}]
{{ [n, b, missing, 'x', "it's", 'q"q', 1.0] }}
{{ (1,) }} {{ (1, 2) }} {{ () }}
{{ {'a': 'b', 'c': [1, {'d': none}]} }}
{{ uni }} {{ [uni, ctl] }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'b'] }}
{{ 7 / 2 }} {{ 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }}
{{ 'ab' * 3 }} {{ [0] * 2 }} {{ [1] + [2] }}
{{ 1 + 2.0 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }} {{ true + 1 }}
{{ n is iterable }} {{ t is iterable }} {{ l is iterable }} {{ m is iterable }} {{ i is iterable }} {{ missing is iterable }}
{{ n is sequence }} {{ t is sequence }} {{ l is sequence }} {{ m is sequence }} {{ i is sequence }} {{ e is sequence }} {{ missing is sequence }}
{{ n is mapping }} {{ t is mapping }} {{ l is mapping }} {{ m is mapping }} {{ em is mapping }} {{ missing is mapping }}
{{ n is string }} {{ t is string }} {{ l is string }} {{ i is string }}
{{ n is none }} {{ missing is none }} {{ e is none }} {{ n is defined }} {{ missing is defined }} {{ m.c is defined }} {{ m.zzz is defined }}
{{ i is number }} {{ f is number }} {{ b is number }} {{ t is number }} {{ i is integer }} {{ f is float }} {{ b is integer }} {{ whole is integer }}
{{ b is boolean }} {{ i is boolean }} {{ b is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }}
{{ i is odd }} {{ i is even }} {{ 6 is divisibleby(3) }} {{ 6 is divisibleby 4 }}
{{ 1 in l }} {{ 'ex' in t }} {{ 'a' in m }} {{ 9 not in l }} {{ 1 is in [1] }}
{{ i is eq 3 }} {{ i is gt 2 }} {{ i is lt(2) }} {{ i is ne 3 }} {{ i is ge 3 }} {{ i is sameas 3 }}
{{ t is lower }} {{ 'T' is upper }} {{ add is callable }} {{ range is callable }} {{ 'trim' is filter }} {{ 'odd' is test }}
{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\n\na\n'.strip('\n') }}
{{ 'a,b,c'.split(',') }} {{ s.split() }} {{ s.split(' ') }} {{ 'a,b,c'.split(',', 1) }}
{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b,c'.rsplit(',') }} {{ s.rsplit() }} {{ s.rsplit(none, 1) }} {{ s.split(none, 1) }}
{{ 'a,b,c'.split(',', maxsplit=1) }} {{ 'a,b,c'.rsplit(sep=',', maxsplit=1) }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removeprefix('x') }} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removesuffix('') }}
{{ 'abcab'.index('b') }} {{ 'abcab'.rindex('b') }} {{ 'abcab'.find('b', 2) }} {{ 'abc'.find('z') }} {{ uni.index('数') }}
{{ 'abc'.index('z') }}
{{ l.index(1) }} {{ l.count(3) }}
{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }}
{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'aXbX' | replace('X', '-') }} {{ 'aXbX' | replace('X', '-', 1) }}
{{ 'hello world'.title() }} {{ "they're bill's".title() }} {{ 'hELLO'.capitalize() }} {{ 'hELLO'.swapcase() }} {{ 'É'.lower() }} {{ 'ß'.upper() }} {{ 'ß'.casefold() }}
{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}|{{ 'a'.center(4, '*') }}|{{ '7'.zfill(3) }}|{{ '-7'.zfill(4) }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ 'ab'.islower() }} {{ 'A b'.istitle() }} {{ ''.isdigit() }} {{ 'a1'.islower() }} {{ 'a_1'.isidentifier() }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ 'abc'.endswith(('x', 'y')) }} {{ 'abc'.startswith('b', 1) }}
{{ ', '.join(['a', 'b']) }} {{ ''.join(words) }} {{ '-'.join(m) }}
{{ ', '.join([1, 2]) }}
{{ 'abcabc'.count('bc') }} {{ 'aaa'.count('aa') }} {{ 'a\tb'.expandtabs(4) }}
{{ '{} and {}'.format(1, 'b') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x:>4}|{y:.2f}'.format(x=1, y=2.5) }} {{ '{{}}'.format() }}
{{ '%s and %d' % ('a', 3) }} {{ '%s' % 'x' }} {{ '%5.2f|%-4s|%04d|%x|%%' % (3.14159, 'ab', 42, 255) }}
{{ '%(a)s-%(b)d' % {'a': 'x', 'b': 2} }}
{{ '%s %s' % (m, l) }} {{ '%r' % 'a' }} {{ '%s' % n }} {{ '%s' % true }} {{ '%.3s' % 'abcdef' }}
{{ '%s=%s' | format('a', 1) }} {{ '%(k)s' | format(k='v') }}
{{ t[1:] }} {{ t[:-1] }} {{ t[::-1] }} {{ t[-2:] }} {{ t[::2] }} {{ uni[1:4] }}
{{ l[1:] }} {{ l[::-1] }} {{ l[-1] }} {{ l[:2] }} {{ l[5:] }} {{ l[-2:] }} {{ l[1:-1] }} {{ messages[::-1][0].role }}
{{ (1, 2, 3)[1:] }} {{ t[0] }} {{ t[-1] }} [{{ t[9] }}] [{{ l[9] }}]
{{ m['a'][0] }} {{ m.a.0 }} {{ m['zzz'] }}|{{ m.zzz }}|{{ messages[0]['content'] }} {{ messages[-1].content }}
{{ m.get('a') }} {{ m.get('zzz') }} {{ m.get('zzz', 'd') }} {{ m.get('c', 'd') }}
{{ m.items() | list }} {{ m.keys() | list }} {{ m.values() | list }}
{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in m %}{{ k }} {% endfor %}{% for k, v in m | items %}{{ loop.index }}{{ k }}{% endfor %}
{% for k, v in m | dictsort %}{{ k }}={{ v }};{% endfor %}{% for k, v in {'b': 2, 'A': 3} | dictsort(by='value') %}{{ k }}{% endfor %}
{{ get['items'] }} {{ get.keys() | list }} {{ get['get'] }}
{{ m | length }} {{ t | length }} {{ uni | length }} {{ l | count }} {{ messages | length }}
{{ l | first }} {{ l | last }} {{ l | sort }} {{ l | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ l | reverse | list }} {{ t | reverse }}
{{ l | sum }} {{ l | min }} {{ l | max }} {{ rows | sum(attribute='n') }} {{ [1, 1, 2] | unique | list }}
{{ l | join(', ') }} {{ words | join }} {{ rows | join(',', attribute='role') }} {{ [1, none, true] | join('-') }}
{{ rows | map(attribute='role') | list }} {{ words | map('upper') | join(' ') }} {{ rows | map(attribute='zzz', default='d') | list }} {{ l | map('string') | list }}
{{ rows | selectattr('role', 'equalto', 'tool') | list | length }} {{ rows | rejectattr('role', 'equalto', 'tool') | map(attribute='n') | list }} {{ rows | selectattr('n', 'gt', 1) | list | length }} {{ rows | selectattr('zzz') | list }}
{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ [0, 1, ''] | select | list }}
{{ messages | selectattr('role', 'in', ['user', 'system']) | map(attribute='role') | list }} {{ messages | selectattr('tool_calls', 'defined') | list | length }}
{{ rows | groupby('role') | list | length }} {% for role, group in rows | groupby('role') %}{{ role }}:{{ group | length }} {% endfor %}
{% for g in [1, 2, 3, 4, 5] | batch(2, 'x') %}{{ g }}{% endfor %} {% for g in [1, 2, 3, 4, 5] | slice(2) %}{{ g }}{% endfor %}
{{ missing | default('d') }} {{ e | default('d') }} {{ e | default('d', true) }} {{ n | default('d') }} {{ n | d('x', boolean=True) }} {{ m.zzz | default({}) }}
{{ s | trim }}|{{ 'xax' | trim('x') }}|{{ t | upper }} {{ t | capitalize }} {{ 'a b' | title }} {{ 'A' | lower }}
{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(4, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('>>') }}|{{ 'a\nb' | indent(width=3, first=True) }}
{{ '3' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ -3 | abs }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 2.4 | round(method='ceil') }} {{ 1234 | round(-2) }}
{{ i | string }} {{ l | string }} {{ n | string }} {{ 'abc' | list }} {{ m | list }} {{ i | string | length }}
{{ html | escape }} {{ html | e }} {{ html | safe }} {{ html | striptags }} {{ html | forceescape }}
{{ 'a b c d' | wordcount }} {{ 'a long text here' | truncate(9) }} {{ 'a long text here' | truncate(9, true, '') }} {{ 'a b' | urlencode }} {{ 12345 | filesizeformat }}
{{ 'ab' | center(6) }}| {{ m | attr('a') }}
{{ range(3) | list }} {{ range(1, 6, 2) | list }} {{ range(3, 0, -1) | list }} {{ range(3) }} {{ range(5)[2] }} {{ range(0) | length }}
{{ dict(a=1, b='x') }} {{ dict({'a': 1}, c=2) }} {{ namespace(a=1).a }} {{ cycler('a', 'b').next() }} {% set j = joiner('; ') %}{{ j() }}a{{ j() }}b
{% set ns = namespace(n=0, found=false) %}{% for x in l %}{% set ns.n = ns.n + x %}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }}
{% set ns = namespace() %}{% set ns.a = [] %}{% for x in l %}{% set ns.a = ns.a + [x] %}{% endfor %}{{ ns.a }} [{{ ns.zzz }}]
{% set ns = namespace({'a': 1}) %}{{ ns.a }}
{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% set a, b2 = 1, 2 %}{{ a }}{{ b2 }} {% set (c, d) = (3, 4) %}{{ c }}{{ d }}
{% set x %}a{{ i }}b{% endset %}[{{ x }}] {{ x | length }} {{ x is string }}
{% set x | upper %}abc{% endset %}{{ x }}
{% set x | trim | replace('a', 'b') %}  aa {% endset %}[{{ x }}]
{% generation %}{% set x %}in{{ i }}{% endset %}{{ x }}{% endgeneration %}
{% generation %}{% set y = 5 %}{{ y }}{% endgeneration %}[{{ y }}]
{% for x in l %}{% generation %}{{ x }}{% if not loop.last %},{% endif %}{% endgeneration %}{% endfor %}
{%- generation -%}  a  {%- endgeneration -%}  b
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %} {% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in l %}{% generation %}{{ x }}{% endgeneration %}{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.cycle('a', 'b') }} {% endfor %}
{% for x in l %}[{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}]{{ loop.changed(x) }} {% endfor %}
{% for x in l %}{% if loop.previtem is defined and loop.previtem == 3 %}after3{% endif %}{% if loop.nextitem is undefined %}end{% endif %}{% endfor %}
{% for x in el %}a{% else %}none{% endfor %} {% for x in l if x > 1 %}{{ x }}/{{ loop.length }} {% else %}z{% endfor %}
{% for x in missing %}a{% else %}none{% endfor %}
{% for x in n %}a{% else %}none{% endfor %}
{% for c in t %}{{ c }}.{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{% if x is sequence %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}
{% for m in messages %}{% set i = loop.index0 %}{% for p in l %}{{ i }}{{ loop.index }} {% endfor %}{% endfor %}
{% macro f(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, c='y') }} {{ f(a=1, b=3) }} {{ f(1, 2, 3) | length }}
{% macro f(a, b=none) %}{% if b is none %}no{% else %}{{ b }}{% endif %}{% endmacro %}{{ f(1) }}{{ f(1, 2) }}[{{ f() }}]
{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}
{% macro f(a, d=[]) %}{{ a | tojson }}{{ d }}{% endmacro %}{{ f({'x': 1}) }}{{ f(a='q', d=[1]) }}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% macro wrap(x) %}<{{ x }}:{{ caller() }}>{% endmacro %}{% call wrap('a') %}body{% endcall %} {% macro each(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) each(l) %}[{{ x }}]{% endcall %}
{% macro f(x) -%}   {{ x }}   {%- endmacro %}[{{ f(1) }}] {{ f.name }} {{ f.arguments }}
{% macro g() %}{{ i }}{{ z }}{% endmacro %}{% set z = 4 %}{{ g() }}
{% filter upper %}abc {{ t }}{% endfilter %} {% filter replace('a', 'b') | upper %}aa{% endfilter %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}[{{ a }}] {% raw %}{{ raw }}{% endraw %} {# comment #}x{#- c -#} y
{% if n %}a{% elif e %}b{% elif el %}c{% elif em %}d{% elif 0 %}e{% elif 0.0 %}f{% else %}g{% endif %}
{{ 'y' if t else 'n' }} {{ 'y' if e }}| {{ 'a' if missing is defined and missing else 'b' }} {{ n or 'x' }} {{ e or l }} {{ t and i }} {{ n and 1 }} {{ not n }} {{ not e or false }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ 3 >= i }} {{ none == false }} {{ n == none }} {{ [1] == [1] }} {{ {'a': 1} == {'a': 1.0} }} {{ (1, 2) == [1, 2] }}
{{ True }} {{ False }} {{ None }} {{ true }} {{ none }} {{ 0x1f }} {{ 1_000 }} {{ 0b11 }}
{{ "a" "b" }} {{ 'it''s' }} {{ 'a\\n\u00e9\x41\'' }} {{ "tab\there" }}
{{ messages[2].content is none }} {{ messages[2]['tool_calls'][0]['function']['arguments'] | tojson }} {{ messages[2].tool_calls[0].function.arguments.items() | list }}
{% for message in messages %}{% if message.content is string %}S{% elif message.content is none %}N{% elif message.content is iterable %}I{% for p in message.content %}{{ p.type }}{{ p['text'] if p.type == 'text' }}{% endfor %}{% endif %}{% endfor %}
{% for message in messages %}{% if message['tool_calls'] %}T{% endif %}{% if message.tool_calls is defined and message.tool_calls is not none %}D{% endif %}{% if 'tool_calls' in message %}K{% endif %}{% if not message.name %}n{% endif %}{% endfor %}
{% if tools is iterable and tools | length > 0 %}{% for tool in tools %}{{ tool['function']['name'] }}({% for p, d in tool.function.parameters.properties.items() %}{{ p }}: {{ d.type }}{{ ', ' if not loop.last }}{% endfor %}){% endfor %}{% endif %}
{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ system }}{{ loop_messages | length }}
{{ think.split('</think>')[0].split('<think>')[-1].strip('\n') }}|{{ think.split('</think>')[-1].lstrip('\n') }}|{{ think.split('</think>', 1)[1] }}|{{ think.rsplit('</think>', 1)[0] }}
{{ raise_exception('no') }}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%B %d, %Y') }} {{ strftime_now('%A %a %j %H:%M:%S %p %I %y %%') }} {{ strftime_now('%-d %e %m %-m %_d') }} {{ strftime_now('%U %W %u %w %C %F %D %T %R %c %x %X %k %l %q') }}
{% if strftime_now is defined %}{{ strftime_now('%d %B %Y') }}{% else %}26 Jul 2024{% endif %}
{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ add_generation_prompt }}{{ documents is none }}
{{ bos_token + messages[0].content }}
{{ 'a' + 1 }}
{{ 'a' + missing }}
{{ n + 'a' }}
{{ messages[2].content + 'a' }}
{{ missing.x }}
{{ n.x }}|{{ n['x'] }}
{{ messages[2].content.strip() }}
{{ n | length }}
{{ n | trim }} {{ i | trim }} {{ n | upper }}
{{ missing | trim }}|{{ missing | length }}|{{ missing | list }}|{{ missing | upper }}
{{ messages[2].content | default('', true) | trim }}
{{ t.frobnicate() }}
{{ t | frobnicate }}
{{ undefined_function() }}
{{ l.append(4) }}
{{ m.update({'a': 1}) }}
{{ l.pop() }}
{{ t.__class__ }}
{{ l[0:2] | tojson }} {{ m.keys() | list | tojson }} {{ rows | map(attribute='n') | list | tojson }} {{ range(3) | list | tojson }} {{ (l + [4]) | tojson }}
{{ namespace(a=1) is mapping }} {{ range(2) is sequence }} {{ range(2) is iterable }} {{ m.items() is iterable }} {{ m.items() is sequence }} {{ (1, 2) is sequence }}
{{ 'x' in n }}
{{ 'x' in missing }}
{{ i }}{{ ',' if 1 }}{{- ' a' }}  {{- 'b' -}}  c {%- if b %} d{% endif %}
{{ 'a' is in 'abc' }} {{ 'a' in ['a'] and 'b' not in 'abc' }} {{ not 'a' in 'abc' }} {{ l is not none }} {{ not (i is odd) }}
{{ -i }} {{ +i }} {{ - neg }} {{ -i ** 2 }} {{ 2 * 3 + 4 }} {{ (1 + 2) * 3 }} {{ 1 - -1 }} {{ 10 // 3 * 3 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }} {{ i ~ -1 }}
{{ l | length - 1 }} {{ l | length > 2 }} {{ -1 | abs }} {{ 'a' ~ 'b' | upper }} {{ 'a' + 'b' | upper }} {{ l | first + 1 }}
{{ [1, 2, 3] | map('float') | sum }} {{ 3 | float }} {{ 10 ** 20 }} {{ 1.0 * 3 }} {{ 0.1 + 0.2 }} {{ 1 / 3 }}
{{ words | map('length') | list }} {{ words | map('first') | list }} {{ words | select('in', ['x']) | list }} {{ words | reject('equalto', 'x') | list }} {{ words | select('string') | list | length }}
{{ rows | map(attribute='role') | unique | join(',') }} {{ rows | sort(attribute='n') | map(attribute='n') | join }} {{ rows | sort(attribute='role,n') | map(attribute='n') | join }} {{ (rows | max(attribute='n')).n }}
{{ words | tojson | replace('"', "'") }} {{ words | string | replace("'", '"') }} {{ m | string }}
{{ t.upper is callable }} {{ m.items is callable }} {{ t.upper is defined }}
{% if message is not defined %}u{% endif %}{% if missing %}t{% else %}f{% endif %}{% if missing == none %}n{% endif %}{% if missing == '' %}e{% endif %}
{% do l.append(1) %}
{% trans %}hi{% endtrans %}
{% include 'x' %}
{{ loop }}
{{ self is defined }} {{ caller is defined }} {{ messages[0].keys() | join(' ') }} {{ messages[0].role ~ messages[0]['content'][:2] }}
{% set content = message.content if message is defined else 'none' %}{{ content }}{% set d = {'x': [1]} %}{{ d.x[0] }}{{ d['x'] | first }}{% set q = [] %}{{ q }}
{% for message in messages[1:] if message.role != 'tool' %}{{ message.role[:1] }}{{ loop.index }}{% if loop.first %}F{% endif %}{% endfor %}
{% for i in range(messages | length - 1, -1, -1) %}{{ messages[i].role[0] }}{% endfor %} {% for m in messages | reverse %}{{ m.role[0] }}{% endfor %}
{{ 'a' if i > 2 else 'b' if i > 1 else 'c' }} {{ ('x' if e) is defined }} {{ [('x' if e)] }}
""".strip("\n").split("\n")
# A line of expressions alone is one snippet for each.
SNIPPETS = [part for line in SNIPPETS
            for part in (re.split(r"(?<=\}\})[ |]+(?=\{\{)", line) if "{%" not in line else [line])]

# With line breaks, and with those of Windows: white space around blocks.
LONG = [
    "a\n{% if b %}\n  b\n{% endif %}\nc\n",
    "a\r\n{% if b %}\r\n  b\r\n{% endif %}\r\nc\r\n",
    "{%- for m in messages %}\r\n    {{- m.role }}\r\n{%- endfor %}\r\n",
    "  {% if b %}x{% endif %}\n  {{ i }}\n\t{% set x = 1 %}\n  {# c #}\n{{ x }}",
    "{{ i }}\n\n",
    "{{ i }}\r\n",
    "{{ i }}\n{% if b %}\n\n{{ i }}\n\n{% endif %}",
    "  {%+ if b %}\n x\n  {%+ endif %}\n",
    "{% if b -%}\n  x\n  {%- endif +%}\ny",
    "{% generation %}\n  a\n{% endgeneration %}\nb\n",
    "{%- generation %}\r\n  a\r\n  {%- endgeneration %}\r\nb\r\n",
    "{% set x %}\n  a\n{% endset %}\n[{{ x }}]",
    "{# a\n comment #}\nx {#- b -#} y",
    "{{ 'a\nb' }}|{{ 'a\r\nb' }}",
    "{{\n  messages\n  | map(attribute='role')\n  | join(',')\n}}",
    "{% macro f(x) %}\n  {{ x }}\n{% endmacro %}\n[{{ f(1) }}]",
    "{% raw %}\n{{ x }}\n{% endraw %}\ny",
    "{#- header -#}\n{%- if tools %}\n{{- 'tools: ' }}\n{%- for tool in tools %}\n{{- tool | tojson(indent=4) }}\n{{- '\\n\\n' }}\n{%- endfor %}\n{%- endif %}\n",
    "# line\n## {{ i }}\n",
    "{% for x in l %}\n{%- if loop.first %}[{% endif %}\n{{ x }}\n{%- endfor %}\n",
]


def text_of(snippet):
    try:
        return chat_template_utils._compile_jinja_template(snippet).render(**json.loads(json.dumps(VALUES)))
    except Exception:
        return None


def main():
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return CLOCK

    chat_template_utils.datetime = Clock
    snippets = [[snippet, text_of(snippet)] for snippet in SNIPPETS + LONG]
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in snippets)
    head = f'"date": {json.dumps(str(CLOCK.date()))},\n"values": {json.dumps(VALUES, ensure_ascii=False)}'
    path = pathlib.Path(__file__).resolve().parent / "fixtures/chat-templates.json"
    path.write_text(f'{{{head},\n"snippets": [\n{rows}\n]}}\n')
    print(f"{len(snippets)} snippets, of which {sum(text is None for _, text in snippets)} are refused")


if __name__ == "__main__":
    main()
