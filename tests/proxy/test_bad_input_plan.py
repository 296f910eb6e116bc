"""No bad input of the acceptance plan is left out, and the tests that rows name are there."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from .bad_input_rows import FIELDS, RAW

TESTS = Path(__file__).parents[1]
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "B04": ("proxy/test_bad_http.py::test_a_body_that_is_cut",),
    "B11": ("proxy/test_bad_input_rows.py::test_models_that_are_not_there",),
    "B14": ("proxy/test_bad_input_rows.py::test_models_that_are_not_there",),
    "B19": ("proxy/test_bad_input_rows.py::test_what_is_at_a_limit_passes",),
    "B32": ("proxy/test_bad_input_rows.py::test_what_is_at_a_limit_passes",),
    "B35": (
        "proxy/test_bad_http.py::test_a_large_body_is_refused_before_it_is_read",
        "proxy/test_bad_http.py::test_body_sizes",
        "proxy/test_bad_http.py::test_a_length_that_is_too_small",
    ),
    "B37": (
        "proxy/test_bad_http.py::test_chunks",
        "proxy/test_bad_http.py::test_a_chunk_extension_has_bounds",
    ),
    "B38": ("proxy/test_bad_http.py::test_media_types",),
    "B40": (
        "proxy/test_auth.py::test_no_key",
        "proxy/test_auth.py::test_wrong_keys",
        "proxy/test_auth.py::test_two_authorization_headers",
        "proxy/test_bad_http.py::test_sizes_of_heads",
    ),
    "B41": ("proxy/test_auth.py::test_ways_to_send_the_key", "proxy/test_auth.py::test_no_key"),
    "B43": (
        "proxy/test_hosts.py::test_a_foreign_host_is_refused_before_anything_else",
        "proxy/test_bad_input_rows.py::test_hosts",
    ),
    "B44": (
        "proxy/test_bad_http.py::test_paths_are_exact",
        "proxy/test_bad_http.py::test_absolute_targets_and_queries",
    ),
    "B46": (
        "proxy/test_bad_http.py::test_paths_are_exact",
        "proxy/test_openapi.py::test_it_is_served_behind_the_key",
    ),
    "B47": ("proxy/test_bad_http.py::test_sizes_of_heads",),
    "B49": (
        "proxy/test_bad_http.py::test_header_values",
        "proxy/test_bad_http.py::test_what_is_not_http",
    ),
    "B50": ("proxy/test_bad_input_rows.py::test_many_ranges",),
    "B52": (
        "proxy/test_models.py::test_models_that_do_not_exist",
        "proxy/test_models.py::test_one_model_by_its_name",
    ),
    "B53": ("proxy/test_bad_input_rows.py::test_what_no_server_offers",),
    "B55": ("ui/test_bad_paths.py::test_files_of_the_machine",),
    "B56": (
        "ui/test_bad_paths.py::test_a_url_asks_nothing",
        "ui/test_chat_events.py::test_another_ones_chat_is_not_there",
    ),
}
"""Where the rows are that are no body, by the tests that have them."""
PLAN = tuple(
    f"B{number:02d}"
    for number in (
        1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35,
        37, 38, 40, 41, 43, 44, 46, 47, 49, 50, 52, 53, 55, 56,
    )
)  # fmt: skip
"""The rows of the plan."""


@cache
def functions(file: str) -> frozenset[str]:
    """The names of a file's functions, its classes' too."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_no_row_of_the_plan_is_left_out() -> None:
    tabled = {row.id for row in (*RAW, *FIELDS)}
    assert set(PLAN) - tabled - set(ELSEWHERE) == set()
    assert set(ELSEWHERE) <= set(PLAN)


@pytest.mark.parametrize("test", sorted({test for tests in ELSEWHERE.values() for test in tests}))
def test_what_rows_name_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in functions(file)
