"""The rows of the security checklist, and the tests that prove those which stand elsewhere.

A row that is not here is proven by tests of this folder, or of `tests/proxy/test_security_keys.py`,
that begin with its number.
"""

from __future__ import annotations

from collections.abc import Mapping

ROWS = tuple(f"S{number:02d}" for number in range(1, 53))
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "S07": (
        "tests/proxy/test_bad_http.py::test_paths_are_exact",
        "tests/proxy/test_bad_http.py::test_absolute_targets_and_queries",
        "tests/proxy/test_hosts.py::test_a_foreign_host_is_refused_before_anything_else",
        "tests/security/test_tree.py::test_s52_what_is_installed_has_no_known_hole",
    ),
    "S11": (
        "tests/proxy/test_desk.py::TestKeys::test_a_revoked_keys_streams_end_at_once",
        "tests/core/test_keys_ring.py::test_expired_and_revoked_keys_are_as_wrong_as_any",
        "tests/core/test_keys_ring.py::test_a_key_that_leaves_h2ogpts_file_is_revoked",
        "tests/ui/test_signin_gate.py::test_listed_keys_do_too_and_a_key_that_goes_ends_its_sessions",
        "tests/ui/test_signin_gate.py::test_a_new_password_of_a_pair_ends_its_sessions",
        "tests/ui/test_signin_gate.py::test_who_has_no_account_any_more_is_out",
    ),
    "S12": (
        "tests/core/test_store_conversations.py::test_another_owners_are_as_if_there_were_none",
        "tests/ui/test_chats.py::test_nobody_reaches_another_ones_chat",
        "tests/ui/test_chats.py::test_another_window_cannot_stop_another_ones_answer",
        "tests/ui/test_chat_events.py::test_another_ones_chat_is_not_there",
        "tests/ui/test_conversations_panel.py::test_another_ones_chat_is_neither_exported_nor_changed",
        "tests/browser/test_people.py::test_anothers_chat_is_not_reachable",
    ),
    "S22": ("tests/ui/test_bad_paths.py::test_a_url_asks_nothing",),
    "S23": (
        "tests/core/prompts/test_prompt_templates.py::test_templates_that_are_refused",
        "tests/core/prompts/test_prompt_templates.py::test_memory_is_limited",
        "tests/core/prompts/test_prompt_templates.py::test_processor_time_is_limited",
        "tests/core/prompts/test_prompt_templates.py::test_the_process_has_none_of_our_environment",
    ),
    "S26": (
        "plugins/llama_cpp/tests/test_llama_cpp_engine.py::test_a_broken_model_is_reported",
        "plugins/llama_cpp/tests/test_llama_cpp_metadata.py::test_heads_that_cannot_be_read",
    ),
    "S27": (
        "tests/e2e/test_processes.py::test_engine_that_is_killed_takes_nothing_along",
        "plugins/llama_cpp/tests/test_llama_cpp_engine.py::test_a_killed_engine_comes_back",
    ),
    "S28": (
        "tests/ui/test_page.py::test_markup_is_made_harmless_and_gradio_is_closed",
        "tests/browser/test_hostile_answers.py::test_nothing_of_it_happens",
    ),
    "S29": (
        "tests/ui/test_front.py::test_nothing_from_elsewhere_may_be_loaded_and_nothing_is_kept",
        "tests/browser/test_hostile_answers.py::test_nothing_of_it_happens",
    ),
    "S30": (
        "tests/proxy/test_announce.py::test_names_cannot_steer_the_terminal",
        "tests/proxy/test_request_log.py::test_no_name_steers_a_terminal_or_makes_a_line",
        "tests/proxy/test_gone_on.py::test_a_name_cannot_end_the_comment",
        "tests/proxy/test_respond.py::test_no_value_becomes_a_header_of_its_own",
        "tests/ui/test_system_tab.py::test_hostile_words_are_only_text",
    ),
    "S33": (
        "tests/security/test_canaries.py::test_s32_no_secret_is_anywhere",
        "tests/proxy/test_request_log.py::test_an_upstream_cannot_put_its_words_into_the_log",
    ),
    "S36": (
        "tests/ui/test_system_tab.py::test_no_secret_is_shown",
        "tests/ui/test_models_tab.py::test_an_edit_shows_what_was_written_and_changes_only_that",
        "tests/browser/test_people.py::test_the_system_tab_shows_no_secret",
        "tests/security/test_canaries.py::test_s32_no_secret_is_anywhere",
    ),
    "S39": (
        "tests/core/test_limits.py::test_requests_per_minute",
        "tests/core/test_limits.py::test_tokens_per_minute_and_what_they_really_were",
        "tests/core/test_limits.py::test_at_the_same_time",
        "tests/core/test_limits.py::test_headers",
        "tests/ui/test_signin_gate.py::test_addresses_are_told_apart_behind_a_proxy_on_this_machine",
    ),
    "S40": ("tests/ui/test_signin_gate.py::test_attempts_are_slowed_down",),
}
NOT_YET: Mapping[str, str] = {}
"""Rows that nothing proves, and why."""
