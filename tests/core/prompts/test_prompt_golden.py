"""What h2oGPT's own code renders, case by case, by way of the code that serves requests."""

import json
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.prompts.catalog import by_name_or_number, for_model, resolve
from h2o_relay.prompts.render import render

DATA = Path(__file__).parents[2] / "data" / "prompt_golden.json"
CASES: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))


def messages(case: dict[str, Any]) -> list[dict[str, Any]]:
    spoken: list[dict[str, Any]] = []
    for user, answer in case["history"]:
        spoken.append({"role": "user", "content": user})
        spoken.append({"role": "assistant", "content": answer})
    return [*spoken, {"role": "user", "content": case["instruction"]}]


NAMED = [pytest.param(case, id=f"{case['prompt_type']}-{case['case']}") for case in CASES]


@pytest.mark.parametrize("case", NAMED)
def test_prompt_and_stops(case: dict[str, Any]) -> None:
    done = render(
        case["prompt_type"],
        messages(case),
        prompt_dict=case.get("prompt_dict"),
        system_prompt=case["system_prompt"],
    )
    assert done.prompt == case["expected_prompt"]
    assert list(done.prompt_type.terminate_response) == case["stop_sequences"]
    assert sorted(done.stops) == case["stop_set"]
    assert done.prompt_type.takes_system == case["can_handle_system_prompt"]


@pytest.mark.parametrize(
    "case", [c for c in NAMED if c.values[0]["system_prompt"] not in ("", "auto")]
)
def test_a_system_message_is_the_same_as_the_setting(case: dict[str, Any]) -> None:
    system = {"role": "system", "content": case["system_prompt"]}
    done = render(
        case["prompt_type"], [system, *messages(case)], prompt_dict=case.get("prompt_dict")
    )
    assert done.prompt == case["expected_prompt"]


@pytest.mark.parametrize("case", [c for c in NAMED if c.values[0]["case"] == "single_no_system"])
def test_models_and_numbers(case: dict[str, Any]) -> None:
    wanted = case["prompt_type"]
    assert by_name_or_number(by_name_or_number(wanted).number).name == wanted
    for model in case["model_examples"]:
        assert for_model(model) == wanted
        assert for_model(f"  {model.upper()} ") == wanted
        assert resolve(model).name == wanted


def test_the_data_is_all_there() -> None:
    assert len(CASES) == 287
    assert len({case["prompt_type"] for case in CASES}) == 41
