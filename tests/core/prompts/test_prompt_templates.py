"""Chat templates: what transformers' do, and what hostile ones cannot."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest
from h2o_relay.prompts.stops import StopCutter
from h2o_relay.prompts.templates import (
    Limits,
    TemplateRejected,
    TemplateRenderer,
    template_text,
)

CHATML = """\
{% for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
STRICT = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}"""
TOOLS = """\
{%- for tool in tools or [] %}{{ tool | tojson }}{{ '\\n' }}{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'tool' %}{{ '<result>' + m.content + '</result>' }}
    {%- elif m.tool_calls is defined %}
        {%- for call in m.tool_calls %}
            {%- set f = call.function %}
            {{- '<call>' + f.name + ' ' + (f.arguments | tojson(indent=None)) + '</call>' }}
        {%- endfor %}
    {%- else %}{{ '<' + m.role + '>' + m.content }}
    {%- endif %}
{%- endfor %}"""
PARTS = """\
{%- for message in messages %}{{ message.role | capitalize }}:
    {%- for part in message['content'] %}
        {%- if part['type'] == 'text' %}{{ ' ' + part['text'] }}{% endif %}
    {%- endfor %}{{ '\\n' }}
{%- endfor %}"""
USER = [{"role": "user", "content": "Hi é 你"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *USER]


@pytest.fixture
async def renderer() -> AsyncIterator[TemplateRenderer]:
    async with TemplateRenderer() as one:
        yield one


async def test_a_usual_template(renderer: TemplateRenderer) -> None:
    done = await renderer.render(CHATML, SYSTEM, eos_token="<|endoftext|>")
    assert done.prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi é 你<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert done.stops == ("<|endoftext|>", "<|im_end|>")
    cutter = StopCutter.of(done.prompt_type, done.stops)
    assert cutter.feed("Hello<|im_e") + cutter.feed("nd|>\n") == "Hello"


async def test_developer_messages_are_system_messages_to_templates_of_old(
    renderer: TemplateRenderer,
) -> None:
    told = [{"role": "developer", "content": "Be brief."}, *USER]
    assert "<|im_start|>system\nBe brief." in (await renderer.render(CHATML, told)).prompt
    knows = CHATML + "{# developer #}"
    assert "<|im_start|>developer\nBe brief." in (await renderer.render(knows, told)).prompt


async def test_a_refused_system_prompt_becomes_a_first_turn(renderer: TemplateRenderer) -> None:
    done = await renderer.render(STRICT, SYSTEM, bos_token="<s>", eos_token="</s>")
    assert done.prompt == (
        "<s>[INST] Who are you and what do you do? [/INST] Be brief.</s>[INST] Hi é 你 [/INST]"
    )
    assert done.stops == ("</s>",)
    with pytest.raises(TemplateRejected, match="refuses these messages: Roles must al") as caught:
        await renderer.render(STRICT, [*SYSTEM, *USER])
    assert (caught.value.status, caught.value.param) == (400, "messages")


async def test_an_ignored_system_prompt_becomes_a_first_turn(renderer: TemplateRenderer) -> None:
    deaf = "{% for m in messages if m.role != 'system' %}{{ m.role + ':' + m.content }}{% endfor %}"
    done = await renderer.render(deaf, SYSTEM)
    asked = "Who are you and what do you do?"
    assert done.prompt == f"user:{asked}assistant:Be brief.user:Hi é 你"
    # Written in another way it is not ignored.
    quoted = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
    told = [{"role": "system", "content": 'Say "yes".\nOr no.'}, *USER]
    assert (await renderer.render(quoted, told)).prompt == '"Say \\"yes\\".\\nOr no.""Hi é 你"'


async def test_tools_and_their_results(renderer: TemplateRenderer) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": '{"tz": "é"}'}}
    talk: list[dict[str, Any]] = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12:00"},
    ]
    tool = {"type": "function", "function": {"name": "now"}}
    done = await renderer.render(TOOLS, talk, tools=[tool])
    assert done.prompt == (
        json.dumps(tool) + '\n<user>Hi é 你<call>now {"tz": "é"}</call><result>12:00</result>'
    )


async def test_templates_that_walk_over_the_parts_of_a_content(renderer: TemplateRenderer) -> None:
    assert (await renderer.render(PARTS, USER)).prompt == "User: Hi é 你\n"


async def test_an_answer_that_is_to_be_continued(renderer: TemplateRenderer) -> None:
    talk = [*USER, {"role": "assistant", "content": "Once upon "}]
    done = await renderer.render(CHATML, talk, continue_final=True)
    assert done.prompt.endswith("<|im_start|>assistant\nOnce upon ")
    with pytest.raises(InvalidRequest, match="can continue"):
        await renderer.render(CHATML, USER, continue_final=True)


async def test_what_transformers_offers() -> None:
    def clock() -> datetime:
        return datetime(2024, 7, 26, 9, 30, tzinfo=UTC)

    template = """
    {%- set ns = namespace(n=0) %}
    {%- for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i > 3 %}{% break %}{% endif %}
        {%- set ns.n = ns.n + i %}
    {%- endfor %}
    {{- ns.n }} {{ strftime_now("%d %b %Y") }} {{ '<é>' | tojson }}
    {%- generation %}{{ messages[0].content.strip() }}{% endgeneration %}"""
    async with TemplateRenderer(clock=clock) as renderer:
        done = await renderer.render(template, [{"role": "user", "content": " x "}])
    assert done.prompt == '5 26 Jul 2024 "<é>"x'


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ ''.__class__.__mro__ }}", "out of bounds"),
        ("{{ ''|attr('__class__') }}", "out of bounds"),
        ("{{ messages|map(attribute='__class__')|list }}", "out of bounds"),
        ("{% set f = '{0.__class__}'.format %}{{ f(1) }}", "out of bounds"),
        ("{{ ('{0.__class__}'|attr('format'))(1) }}", "out of bounds"),
        ("{{ '{0.__class__}'.format_map({'0': 1}) }}", "cannot be used"),
        ("{{ raise_exception.__globals__ }}", "out of bounds"),
        ("{{ strftime_now.__code__ }}", "out of bounds"),
        ("{{ messages.append(1) }}", "out of bounds"),
        ("{{ messages[0].update({'a': 1}) }}", "out of bounds"),
        ("{{ lipsum.__globals__ }}", "is undefined"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% for i in range(10**9) %}{% endfor %}", "counts or nests further"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "counts or nests further"),
        ("{{" + "(" * 3000 + ")" * 3000 + "}}", "counts or nests further"),
        (("{% for i in range(9999) %}{% for j in range(9) %}{{ 'a'*10**5 }}{% endfor %}"
         "{% endfor %}"), "writes more text"),
        ("{% if %}", "line 1"),
        ("\n{% nonsense %}", "line 2"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("x" * 262_145, "more than 262144 characters"),
    ],
)  # fmt: skip
async def test_templates_that_are_refused(
    renderer: TemplateRenderer, template: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        await renderer.render(template, USER)
    assert caught.value.param == "chat_template"
    assert (await renderer.render(CHATML, USER)).prompt.endswith("assistant\n")


DOUBLING = "{% set ns = namespace(a='a') %}{% for i in range(99) %}{% set ns.a = ns.a + ns.a %}"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    "template",
    ["{{ 'a' * 10**10 }}", DOUBLING + "{% endfor %}", "{{ 'x'|center(10**10) }}",
     "{{ '%0999999999d' % 1 }}", "{{ [0] * 10**9 }}"],
)  # fmt: skip
async def test_memory_is_limited(renderer: TemplateRenderer, template: str) -> None:
    with pytest.raises(InvalidRequest, match="more memory than it may"):
        await renderer.render(template, USER)
    assert (await renderer.render(CHATML, USER)).prompt.endswith("assistant\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no limit on processor time")
@pytest.mark.parametrize(
    "template",
    ["{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
     "{{ 10**(10**9) }}"],
)  # fmt: skip
async def test_processor_time_is_limited(template: str) -> None:
    async with TemplateRenderer(limits=Limits(cpu=0.2)) as renderer:
        with pytest.raises(InvalidRequest, match="more processor time than it may"):
            await renderer.render(template, USER)
        assert (await renderer.render(CHATML, USER)).prompt.endswith("assistant\n")


async def test_time_on_the_clock_is_limited_and_the_others_go_on() -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    async with TemplateRenderer(limits=Limits(cpu=30, wall=0.5)) as renderer:
        await renderer.check(CHATML)
        hostile = asyncio.create_task(renderer.render(endless, USER))
        await asyncio.sleep(0.1)
        done = await renderer.render(CHATML, USER)
        assert done.prompt.endswith("assistant\n")
        assert not hostile.done()
        with pytest.raises(InvalidRequest, match=r"takes longer than 0\.5 s"):
            await hostile


async def test_a_render_that_is_given_up_leaves_no_answer_for_the_next() -> None:
    slow = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    async with TemplateRenderer(workers=1) as renderer:
        await renderer.check(CHATML)
        given_up = asyncio.create_task(renderer.render(slow, USER))
        await asyncio.sleep(0.05)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await renderer.render(CHATML, USER)).prompt.endswith("assistant\n")


async def test_many_at_once_share_the_processes(renderer: TemplateRenderer) -> None:
    def talk(number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"<{number}>"}]

    done = await asyncio.gather(*(renderer.render(CHATML, talk(n)) for n in range(50)))
    assert all(f"user\n<{n}>" in one.prompt for n, one in enumerate(done))


async def test_a_kept_process_is_quick(renderer: TemplateRenderer) -> None:
    await renderer.check(CHATML)
    start = time.perf_counter()
    for _ in range(100):
        await renderer.render(CHATML, SYSTEM)
    assert (time.perf_counter() - start) / 100 < 0.02


async def test_a_long_conversation_is_not_too_much(renderer: TemplateRenderer) -> None:
    long = [{"role": "user", "content": "é" * 2_000_000}]
    assert len((await renderer.render(CHATML, long)).prompt) > 2_000_000


async def test_checking_a_template(renderer: TemplateRenderer) -> None:
    await renderer.check(STRICT)
    with pytest.raises(InvalidRequest, match="line 3"):
        await renderer.check("{# one #}\n\n{% for %}")


async def test_no_control_characters_come_back(renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateRejected) as caught:
        await renderer.render("{{ raise_exception('red \\x1b[31m\\nalert') }}", USER)
    assert caught.value.message.endswith("red  [31m alert")


async def test_the_process_has_none_of_our_environment(
    renderer: TemplateRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    await renderer.check(CHATML)
    (worker,) = renderer._workers
    if sys.platform == "linux":
        with open(f"/proc/{worker.pid}/environ", "rb") as file:  # noqa: ASYNC230
            env = file.read()
        assert b"PYTHONPATH=" in env
        assert b"canary" not in env


def test_it_works_on_uvloop_and_leaves_no_process() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def once() -> int:
        async with TemplateRenderer() as renderer:
            assert (await renderer.render(CHATML, USER)).prompt.endswith("assistant\n")
            (worker,) = renderer._workers
            assert worker.alive
        assert not worker.alive
        return worker.pid

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pid = runner.run(once())
    assert pid > 0


def test_templates_as_base64() -> None:
    assert template_text(base64.b64encode(CHATML.encode()).decode()) == CHATML
    assert template_text(CHATML) == CHATML
    assert template_text("abcd") == "abcd"
    assert template_text("no template") == "no template"
