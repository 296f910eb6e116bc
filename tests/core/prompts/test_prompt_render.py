"""Rendering beyond the golden cases: other types, odd conversations, extra inputs."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import InvalidRequest
from h2o_relay.prompts.catalog import by_name_or_number, names
from h2o_relay.prompts.render import render


def said(*texts: str, system: str | None = None) -> list[dict[str, Any]]:
    """A conversation that the user begins."""
    roles = ("user", "assistant")
    spoken = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return spoken if system is None else [{"role": "system", "content": system}, *spoken]


# Written out from the marker table of the reference.
@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        ("instruct", ("Below is an instruction that describes a task. Write a response that "
         "appropriately completes the request.\n\n### Instruction:\nA\n\n### Response:\nB\n"
         "\n### Instruction:\nC\n\n### Response:\n")),
        ("wizard_lm", "A</s>\n\n### Response\nB</s>C</s>\n\n### Response\n"),
        ("mixtralnosys", "<s> [INST] A [/INST]B</s> [INST] C [/INST]"),
        ("danube", "<|prompt|>A</s><|answer|>B</s><|prompt|>C</s><|answer|>"),
        ("llava", "AB\nC"),
        ("groq", "AB\nC"),
        ("guanaco", "### Human: A\n### Assistant:B\n### Human: C\n### Assistant:"),
        ("aquila_legacy", "### Human: A\n### Assistant: B</s>### Human: C\n### Assistant: "),
        ("beacon", "\nQuestion: A\n\nAnswer: B\n\n\nQuestion: C\n\nAnswer:"),
        ("docsgpt", "### Instruction\nA\n### Answer\nB\n### Instruction\nC\n### Answer\n"),
        ("dai_faq", ("Answer the following Driverless AI question.\n"
         "\n### Driverless AI frequently asked question:\nA\n\n"
         "\n### Driverless AI documentation answer:\nB\n\n"
         "\n### Driverless AI frequently asked question:\nC\n\n"
         "\n### Driverless AI documentation answer:\n")),
    ],
)  # fmt: skip
def test_types_without_a_system_prompt(kind: str, prompt: str) -> None:
    assert render(kind, said("A", "B", "C"), system_prompt="").prompt == prompt


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        ("orca2", ("<|im_start|>system\nS\n<|im_end|><|im_start|>user\nA<|im_end|>"
         "<|im_start|>assistant\n")),
        ("beluga", "### System:\nS\n\n### User:\nA\n\n### Assistant:\n"),
        ("yi", ("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
         "<|im_start|>assistant\n")),
        ("xwin", "S USER: A\nASSISTANT:"),
        ("aquila", "S###Human: A###Assistant:"),
        ("idefics2", "System: S<end_of_utterance>\nUser: A<end_of_utterance>\nAssistant:"),
        ("jais", ("### Instruction: S [|Human|] and [|AI|]:\n### Input: [|Human|] A"
         "\n### Response: [|AI|]")),
        ("deepseek_coder", "S### Instruction:\nA\n### Response:\n"),
        ("docsgpt", "### Instruction\nA\n### Answer\n"),
        ("wizard_vicuna", ("USER: Who are you and what do you do?\nASSISTANT: S\nUSER: A\n"
         "ASSISTANT: ")),
    ],
)  # fmt: skip
def test_types_with_a_system_prompt(kind: str, prompt: str) -> None:
    assert render(kind, said("A", system="S")).prompt == prompt


def test_the_clock_of_human_bot_orig() -> None:
    clock = lambda: datetime(2024, 3, 5, 14, 7, 9, tzinfo=UTC)  # noqa: E731
    stamp = "Current Date: 2024-03-05\nCurrent Time: 14:07:09 PM UTC\n\n"
    one = render("human_bot_orig", said("A"), clock=clock)
    assert one.prompt == stamp + "<human>: A\n<bot>:"
    more = render("human_bot_orig", said("A", "B", "C"), clock=clock)
    assert more.prompt == stamp + "<human>: A\n<bot>: B\n<human>: C\n<bot>:"


def test_the_extra_input_of_instruct_models() -> None:
    prompt = render("instruct", said("Translate."), extra_input="Bonjour").prompt
    assert prompt.startswith("Below is an instruction that describes a task, paired with")
    assert prompt.endswith("\n### Instruction:\nTranslate.\n### Input:\nBonjour\n\n### Response:\n")
    assert render("plain", said("Translate"), extra_input="Bonjour").prompt == (
        "Translate: Bonjour\n"
    )
    assert render("human_bot", said("Q"), extra_input="X").prompt == "<human>: Q\nX\n<bot>:"
    assert render("plain", said(""), extra_input="X").prompt == "X\n"


def test_the_default_system_prompt_is_only_for_those_who_say_nothing() -> None:
    default = render("zephyr", said("A")).prompt
    assert default.startswith("<|system|>\nYou are an AI that follows instructions")
    for value in ("auto", "None", None):
        assert render("zephyr", said("A"), system_prompt=value).prompt == default
    assert (
        render("zephyr", said("A"), system_prompt="").prompt == "<|user|>\nA</s>\n<|assistant|>\n"
    )
    assert render("zephyr", said("A", system="")).prompt == "<|user|>\nA</s>\n<|assistant|>\n"
    # The words of a message are nothing but words.
    assert "<|system|>\nauto</s>" in render("zephyr", said("A", system="auto")).prompt


def test_the_made_up_turn_can_be_turned_off_or_asked_otherwise() -> None:
    talk = said("A", system="S")
    assert render("falcon", talk, fake_system_question="").prompt == "User: A\n\nAssistant:"
    asked = render("falcon", talk, fake_system_question="Who?").prompt
    assert asked == "User: Who?\n\nAssistant: S\n\nUser: A\n\nAssistant:"
    # Only this type has a default of its own to tell that way.
    assert "A chat between a curious user" in render("vicuna11nosys", said("A")).prompt


def test_a_system_prompt_survives_an_empty_turn() -> None:
    prompt = render("llama2", said("", system="S")).prompt
    assert prompt == "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\n [/INST]"


def test_braces_and_placeholders_of_users_mean_nothing() -> None:
    prompt = render("qwen", said("{system} %s {0}", system="{system}{}")).prompt
    assert "<|im_start|>system\n{system}{}<|im_end|>" in prompt
    assert "user\n{system} %s {0}<|im_end|>" in prompt


def test_line_breaks_in_html_stay_as_they_are() -> None:
    prompt = render("vicuna11", said("a<br>b", "c<br>d", "e"), system_prompt="").prompt
    assert prompt == " USER: a<br>b ASSISTANT: c<br>d</s>USER: e ASSISTANT:"


def test_messages_in_other_orders() -> None:
    greeting = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "A"}]
    assert render("falcon", greeting).prompt == "Assistant: Hi\n\nUser: A\n\nAssistant:"
    twice = [{"role": "user", "content": "A"}, {"role": "user", "content": "B"}]
    assert render("falcon", twice).prompt == "User: A\n\nB\n\nAssistant:"
    late = [*said("A", "B", "C", system="S"), {"role": "developer", "content": "T"}]
    assert render("zephyr", late).prompt.startswith("<|system|>\nS\n\nT</s>\n<|user|>\nA</s>")


def test_an_answer_that_is_there_is_history_or_a_beginning() -> None:
    talk = said("A", "B")
    assert render("falcon", talk).prompt == "User: A\n\nAssistant: B\n\nAssistant:"
    assert render("falcon", talk, continue_final=True).prompt == "User: A\n\nAssistant: B"
    system = render("llama2", said("A", "B", system="S"), continue_final=True).prompt
    assert system == "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B"


def test_tools_are_told_in_words() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": '{"tz":"UTC"}'}}
    talk = [
        *said("When?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12:00"},
    ]
    assert render("falcon", talk).prompt == (
        'User: When?\n\nAssistant: {"name":"now","arguments":"{\\"tz\\":\\"UTC\\"}"}\n\n'
        "User: 12:00\n\nAssistant:"
    )


def test_parts_of_text_and_nothing_else() -> None:
    parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    assert render("plain", [{"role": "user", "content": parts}]).prompt == "A\nB\n"
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    with pytest.raises(InvalidRequest, match="text-only") as caught:
        render("plain", [*said("A", "B"), {"role": "user", "content": [parts[0], picture]}])
    assert caught.value.param == "messages[2].content[1]"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "robot", "content": "A"}], "messages[0].role"),
        ([{"content": "A"}], "messages[0].role"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": ["A"]}], "messages[0].content[0]"),
    ],
)
def test_messages_that_cannot_be_rendered(messages: list[Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render("plain", messages)
    assert caught.value.param == param


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(WORDS, min_size=1, max_size=5), st.one_of(st.none(), WORDS))
def test_no_word_is_lost_in_any_type(texts: list[str], system: str | None) -> None:
    for name in names():
        kind = by_name_or_number(name)
        prompt = render(kind, said(*texts, system=system)).prompt
        place = 0
        for text in texts:
            assert text in prompt[place:], name
            place = prompt.index(text, place) + len(text)
        if system is not None and kind.system_place != "outside":
            assert system in prompt, name
