"""`h2o prompt`, called in this process: what it renders, shows, refuses and exits with."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.cli import main
from h2o_relay.prompts.catalog import names

pytestmark = pytest.mark.usefixtures("no_settings")
H2O = Callable[..., tuple[int, str, str]]
DATA = Path(__file__).parents[1] / "data" / "prompt_golden.json"
CASES: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))
NAMED = [pytest.param(case, id=f"{case['prompt_type']}-{case['case']}") for case in CASES]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}[{{ tools[0].function.name }}]{% endif %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL = [sys.executable, "-c", "import sys; from h2o_relay.cli import main; sys.exit(main())"]


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> H2O:
    """Run `h2o prompt` with words and piped input: exit code, stdout, stderr."""

    def run(*words: str, piped: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        code = main(["prompt", *words])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


@pytest.fixture
def template(tmp_path: Path) -> str:
    path = tmp_path / "template.jinja"
    path.write_text(TEMPLATE, encoding="utf-8")
    return str(path)


def as_flags(case: dict[str, Any]) -> list[str]:
    words = [f"--prompt_type={case['prompt_type']}", f"--system_prompt={case['system_prompt']}"]
    words += [f"--instruction={case['instruction']}"]
    if case["history"]:
        words += [f"--chat_conversation={json.dumps(case['history'])}"]
    if case.get("prompt_dict"):
        words += ["--prompt_dict", repr(case["prompt_dict"])]
    return words


def as_messages(case: dict[str, Any]) -> list[dict[str, str]]:
    spoken = []
    for user, answer in case["history"]:
        spoken.append({"role": "user", "content": user})
        spoken.append({"role": "assistant", "content": answer})
    return [*spoken, {"role": "user", "content": case["instruction"]}]


# What h2oGPT renders.


@pytest.mark.parametrize("case", NAMED)
def test_every_golden_case(call: H2O, case: dict[str, Any]) -> None:
    words = as_flags(case)
    code, out, err = call("render", "--json", *words)
    assert (code, err) == (0, "")
    got = json.loads(out)
    assert got["prompt"] == case["expected_prompt"]
    assert got["stop_sequences"] == case["stop_sequences"]
    assert got["stop_set"] == case["stop_set"]
    assert got["can_handle_system_prompt"] == case["can_handle_system_prompt"]
    assert got["chosen_by"] == "prompt_type"
    assert call("render", "--raw", *words) == (0, case["expected_prompt"], "")


@pytest.mark.parametrize("case", NAMED)
def test_every_golden_case_as_openai_messages(call: H2O, case: dict[str, Any]) -> None:
    words = [word for word in as_flags(case) if not word.startswith(("--inst", "--chat"))]
    piped = json.dumps({"messages": as_messages(case)}).encode()
    assert call("render", "--raw", *words, "--messages", "-", piped=piped) == (
        0,
        case["expected_prompt"],
        "",
    )


def test_the_prompt_dict_of_h2ogpts_document(call: H2O) -> None:
    given = (
        r"{'PreInput': None,'PreInstruct': '',    'PreResponse': '<bot>:',    'botstr': '<bot>:',"
        r"    'chat_sep': '\n',    'humanstr': '<human>:',    'promptA': '<human>: ',"
        r"    'promptB': '<human>: ',    'terminate_response': ['<human>:', '<bot>:']}"
    )
    for words in (["--prompt_type=custom"], ["--prompt_type=-1"], []):
        words = [*words, "--prompt_dict", given, "--instruction=Q"]
        assert call("render", "--raw", *words) == (0, "<human>: Q\n<bot>:", "")
        found = json.loads(call("render", "--json", *words)[1])
        assert found["stop_set"] == ["<bot>:", "<human>:"]


# Which type it is, and why.


@pytest.mark.parametrize(
    ("words", "kind", "chosen_by", "reason"),
    [
        ("--model lmsys/vicuna-13b-v1.5", "vicuna11", "model", "the type of lmsys/vicuna-13b-v1.5"),
        ("--base_model=GPT2", "plain", "model", "the type of GPT2"),
        ("--model who/knows", "openai", "fallback", "no type is known for who/knows"),
        ("--prompt_type LLAMA2 --model gpt2", "llama2", "prompt_type", "; gpt2 has plain"),
        ("--prompt_type 0 --model gpt2", "plain", "prompt_type", ", and the type of gpt2"),
        ("--prompt_type 0 --model who", "plain", "prompt_type", "; who has no type of its own"),
        ("--prompt_type=None --model gpt2", "plain", "model", "the type of gpt2"),
        ("--model a/zephyr-7b-beta.Q5_K_M.gguf", "zephyr", "model", "the type of a/zephyr-7b-beta"),
        (
            "--model https://huggingface.co/TheBloke/Orca-2-13B-GGUF/resolve/main/o.gguf",
            "orca2",
            "model",
            "the type of https://",
        ),
    ],
)
def test_which_type_and_why(call: H2O, words: str, kind: str, chosen_by: str, reason: str) -> None:
    code, out, err = call("render", "--json", *words.split())
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["prompt_type"], found["chosen_by"]) == (kind, chosen_by)
    assert reason in found["reason"]


def test_a_request_names_its_model_itself(call: H2O, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    body = {"model": "gpt2", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
    path.write_text(json.dumps(body))
    found = json.loads(call("render", "--json", "--messages", str(path))[1])
    assert (found["prompt_type"], found["prompt"]) == ("plain", "hi\n")
    words = ("--prompt_type", "human_bot", "--messages", str(path))
    assert call("render", "--raw", *words)[1] == "<human>: hi\n<bot>:"


def test_the_clock_and_the_extra_input(call: H2O) -> None:
    words = ("--prompt_type=human_bot_orig", "--clock=2024-03-05T14:07:09", "--instruction=A")
    assert "14:07:09" in call("render", "--raw", *words)[1]
    words = ("--prompt_type=instruct", "--instruction=None", "--iinput=x y")
    assert call("render", "--raw", *words)[1].endswith(
        "\n### Instruction:\nNone\n### Input:\nx y\n\n### Response:\n"
    )


def test_an_answer_that_is_to_be_continued(call: H2O, template: str) -> None:
    messages = b'[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well,"}]'
    words = ("render", "--raw", "--continue_final", "--messages=-")
    assert call(*words, "--prompt_type=human_bot", piped=messages)[1].endswith("<bot>: Well,")
    assert call(*words, "--chat_template", template, piped=messages)[1].endswith(">Well,")


# Chat templates.


def test_a_template_with_tools_and_a_system_prompt(call: H2O, template: str) -> None:
    request = {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "look"}}],
    }
    words = ("render", "--chat_template", template, "--system_prompt=Be brief.", "--messages=-")
    code, out, err = call(*words, "--json", piped=json.dumps(request).encode())
    assert (code, err) == (0, "")
    found = json.loads(out)
    wanted = "<|system|>Be brief.<|im_end|>\n<|user|>hi<|im_end|>\n[look]<|assistant|>"
    assert found["prompt"] == wanted
    assert found["stop_set"] == found["stop_sequences"] == ["<|im_end|>"]
    assert (found["prompt_type"], found["chosen_by"]) == ("template", "chat_template")
    words = (*words, "--prompt_type=template", "--eos_token=<eos>")
    found = json.loads(call(*words, "--json", piped=json.dumps(request).encode())[1])
    assert found["prompt"] == wanted
    assert found["stop_set"] == ["<eos>", "<|im_end|>"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{{ 1 }}\n{% if %}", "cannot be used: line 2: "),
        ("{{ raise_exception('no tools here') }}", "refuses these messages: no tools here"),
        ("{{ ''.__class__ }}", "cannot be used: not allowed: "),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes"),
        ("{{ nothing.at.all }}", "cannot be used: UndefinedError: 'nothing' is undefined"),
    ],
)
def test_templates_that_cannot_be_used(call: H2O, text: str, line: str) -> None:
    code, out, err = call("render", "--chat_template=-", "--raw", piped=text.encode())
    assert (code, out) == (2, "")
    assert err.startswith("h2o: the model's chat template ")
    assert line in err
    assert len(err.splitlines()) == 1


# What cannot be done is one line, perhaps a hint, and exit code 2.


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("list nosuchmodel", "no prompt type and no model is called 'nosuchmodel'"),
        (
            "list vicunna11",
            "no prompt type and no model is called 'vicunna11'; did you mean vicuna11",
        ),
        ("render", "nothing says which prompt is meant: give --prompt-type, "),
        ("render --prompt_type lama2", "there is no prompt type 'lama2'. Did you mean llama2"),
        ("render --prompt_type 99", "there is no prompt type '99'."),
        ("render --prompt_type custom", "the prompt type custom needs a prompt_dict."),
        ("render --prompt_dict {'PreInstrct':''}", "'PreInstrct' is no key of a prompt_dict. Did"),
        ("render --prompt_dict {oops", "this prompt_dict is neither JSON nor a Python literal"),
        ("render --prompt_type=plain --prompt_dict={}", "--prompt-dict is read for the type cust"),
        ("render --prompt_type=plain --chat_template=x", "--prompt-type plain and --chat-template"),
        ("render --prompt_dict={} --chat_template=x", "--prompt-dict and --chat-template exclude"),
        ("render --chat_template=/no/such", "--chat-template: cannot read /no/such: No such file"),
        (
            "render --prompt_type=plain --messages=/no/such",
            "--messages: cannot read /no/such: No s",
        ),
        ("render --model=gpt2 --messages=/tmp", "--messages: cannot read /tmp: Is a directory"),
        ("render --messages=- --chat_template=-", "--messages and --chat-template cannot both"),
        ("render --messages=- --instruction=x", "--messages and --instruction exclude each other"),
        ("render --model=gpt2 --chat_conversation=[[1,2]]", "--chat-conversation is no list of p"),
        ("render --model=gpt2 --chat_conversation=junk", "--chat-conversation is no list of pairs"),
        ("render --model=gpt2 --clock=noon", "--clock: 'noon' is no time like "),
        ("render --model=gpt2 --eos_token=x", "--eos-token is for chat templates alone"),
        ("render --model=gpt2 --raw --json", "--raw and --json exclude each other"),
        ("render --model=gpt2 --mesages=x", "unknown option --mesages; did you mean --messages?"),
    ],
)
def test_mistakes(call: H2O, words: str, line: str) -> None:
    code, out, err = call(*words.split(" "))
    assert (code, out) == (2, "")
    assert err.startswith(f"h2o: {line}")
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("piped", "line"),
    [
        (b"{", "--messages: - is not JSON: "),
        (b"\xff", "--messages: cannot read -: it is not UTF-8"),
        (b'"hi"', "--messages: - holds no list of messages, nor an object with one"),
        (b"{}", "--messages: - holds no list of messages, nor an object with one"),
        (b"[]", "there must be at least one message."),
        (b'[{"role": "user"}, "hi"]', "--messages: messages[1] of - is not an object"),
        (b'[{"role": "boss", "content": "hi"}]', "messages[0].role: a message's role must be "),
        (b'[{"role": "user", "content": 7}]', "'messages[0].content' must be a string or an arr"),
        (b'[{"role": "user", "content": [{"type": "image_url"}]}]', "messages[0].content[0]: the "),
        (b'{"messages": [{"role": "user"}], "tools": [1]}', "--messages: tools of - is not a list"),
        (b'{"messages": [{"role": "user"}], "tools": [{}]}', "prompt types have no place for tool"),
    ],
)
def test_messages_that_cannot_be_rendered(call: H2O, piped: bytes, line: str) -> None:
    words = ("render", "--prompt_type=plain", "--messages=-")
    code, out, err = call(*words, piped=piped)
    assert (code, out) == (2, "")
    assert err.startswith(f"h2o: {line}")
    assert len(err.splitlines()) == 1


def test_half_a_character_is_refused(call: H2O) -> None:
    given = r"{'PreResponse': '\ud83d'}"
    code, out, err = call("render", "--prompt_dict", given, "--raw")
    assert (code, out, err) == (2, "", "h2o: the prompt cannot be written as UTF-8\n")
    words = ("--prompt_type=plain", "--system_prompt=\udcff")
    assert call("render", *words)[2] == "h2o: --system-prompt cannot be written as UTF-8\n"


# How it looks.

MARKS = b'[{"role": "user", "content": "a  \\n\\tb\\u001b[31m\\u202e\\nc\\\\n"}]'


def test_a_pipe_gets_the_bytes_and_stderr_the_rest(call: H2O) -> None:
    code, out, err = call("render", "--prompt_type=human_bot", "--messages=-", piped=MARKS)
    assert (code, out) == (0, "<human>: a  \n\tb\x1b[31m\u202e\nc\\n\n<bot>:")
    assert err.splitlines() == [
        "prompt type human_bot (3): asked for with --prompt-type",
        r'stop sequences: "\n<bot>:"  "\n<human>:"  "<bot>:"  "<human>:"',
        'removed from the end: "<human"  "<bot"',
    ]


def test_the_frame_shows_what_cannot_be_seen(call: H2O) -> None:
    words = ("render", "--prompt_type=human_bot", "--frame", "--messages=-")
    code, out, err = call(*words, piped=MARKS)
    assert (code, err) == (0, "")
    assert out.split("\n\n")[1].splitlines() == [
        "│ <human>: a··⏎", r"│ \tb\x1b[31m\u202e⏎", r"│ c\n⏎", "│ <bot>:"
    ]  # fmt: skip
    assert out.startswith("prompt type human_bot (3): ")


def test_escaped_is_a_json_string(call: H2O) -> None:
    _, raw, _ = call("render", "--prompt_type=qwen", "--raw", "--messages=-", piped=MARKS)
    _, out, _ = call("render", "--prompt_type=qwen", "--escaped", "--messages=-", piped=MARKS)
    assert json.loads(out) == raw
    assert len(out.splitlines()) == 1


def test_a_terminal_gets_the_frame() -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [*CALL, "prompt", "render", "--prompt_type=plain", "--instruction=hi "],
        stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:  # fmt: skip
        assert process.communicate(timeout=30)[1] == b""
        os.close(terminal)
    seen = os.read(screen, 4096).decode()
    os.close(screen)
    assert process.returncode == 0
    assert seen.splitlines()[-1] == "│ hi·⏎"


def test_the_list_has_every_type(call: H2O) -> None:
    code, out, err = call("list", "--json")
    assert (code, err) == (0, "")
    rows = {row["prompt_type"]: row for row in json.loads(out)}
    assert set(rows) == set(names())
    assert [row["number"] for row in rows.values()] == sorted(r["number"] for r in rows.values())
    for case in CASES:
        if case["prompt_type"] == "custom":
            continue  # its markers are the prompt_dict's
        row = rows[case["prompt_type"]]
        assert row["stop_sequences"] == case["stop_sequences"]
        assert row["stop_set"] == case["stop_set"]
        assert row["can_handle_system_prompt"] == case["can_handle_system_prompt"]
        assert {model.lower() for model in case["model_examples"]} <= set(row["models"])


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("llama2", ["plain", "llama2", "groq"]),  # which have models with llama2 in their names
        ("29", ["llama2"]),
        ("LMSYS/vicuna-13b", ["vicuna11", "vicuna11nosys"]),
        ("vicuna11", ["vicuna11", "vicuna11nosys"]),
    ],
)
def test_the_list_is_narrowed(call: H2O, word: str, wanted: list[str]) -> None:
    assert [row["prompt_type"] for row in json.loads(call("list", word, "--json")[1])] == wanted


def test_the_table(call: H2O) -> None:
    code, out, err = call("list", "vicuna-33b")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["No.", "Type", "System", "Stop", "sequences", "Models"]
    assert '24   vicuna11  yes     "</s>"  "ASSISTANT:"  lmsys/vicuna-33b-v1.3, ' in out
    assert call()[1] == call("list")[1]
    assert len(call("list")[1].splitlines()) == 1 + len(names())
