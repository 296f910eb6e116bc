"""What the suite's tests are about: a plugin that fails is told which of these it fails.

Each test belongs to one check, and a single mistake in a plugin fails a single check. A plugin's
own tests, beyond the suite's, are the check `own`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OWN = "own"

CHECKS: Mapping[str, Sequence[str]] = {
    "server strings": (
        "test_documented_strings_are_read",
        "test_a_string_is_read_the_same_every_time",
        "test_foreign_strings_are_left_alone",
        "test_malformed_strings_are_refused",
    ),
    "parsing offline": ("test_parsing_opens_no_socket",),
    "secrets": (
        "test_a_key_is_never_shown",
        "test_a_key_is_not_in_the_error_of_a_malformed_string",
    ),
    "declarations": (
        "test_capabilities_are_declared",
        "test_capabilities_are_the_documented_ones",
        "test_capabilities_are_pure",
        "test_there_is_a_way_to_generate",
    ),
    "target": ("test_target_is_pure", "test_a_steady_target_sends_bodies_as_they_are"),
    "fix_text": ("test_fix_text_is_pure", "test_fix_text_is_idempotent"),
    "answers": (
        "test_generate_gives_the_text",
        "test_stream_gives_the_text",
        "test_generate_and_stream_agree",
        "test_payloads_are_the_upstreams_own",
        "test_the_upstream_is_asked_once_for_an_answer",
        "test_generate_answers",
        "test_stream_answers",
        "test_odd_conversations_are_answered_or_refused",
    ),
    "parameters": (
        "test_unknown_params_reach_the_wire_or_are_reported",
        "test_unknown_params_are_reported",
    ),
    "splits": ("test_segments_may_be_cut_anywhere", "test_http_chunks_may_be_cut_anywhere"),
    "event loop": (
        "test_many_streams_leave_the_loop_free",
        "test_many_answers_leave_the_loop_free",
    ),
    "models": (
        "test_listed_models_can_be_asked_for",
        "test_a_server_may_list_nothing",
        "test_a_failing_list_is_no_list",
        "test_a_list_of_the_wrong_shape_is_no_list",
        "test_a_model_is_listed",
    ),
    "refusals": (
        "test_a_status_becomes_its_error",
        "test_a_refusal_that_breaks_off_is_what_its_status_says",
        "test_a_redirect_is_not_followed",
    ),
    "errors in a 200": (
        "test_what_is_not_an_answer_is_an_error",
        "test_an_error_in_mid_stream_follows_the_text",
    ),
    "timeouts": (
        "test_silence_before_the_head_times_out",
        "test_a_stalled_stream_times_out",
        "test_a_stalled_whole_answer_times_out",
    ),
    "truncation": (
        "test_a_connection_reset_at_once",
        "test_a_truncated_stream_is_an_error",
        "test_a_stream_cut_within_a_piece_is_an_error",
        "test_a_reset_stream_is_an_error",
        "test_an_answer_without_a_finish_reason_is_incomplete",
        "test_a_whole_answer_cut_short_is_an_error",
    ),
    "cancel stream": (
        "test_leaving_after_one_chunk_closes_the_upstream",
        "test_leaving_before_reading_closes_the_upstream",
        "test_an_exception_in_the_reader_closes_the_upstream",
        "test_cancelling_a_stream_closes_the_upstream",
        "test_cancelling_before_the_first_chunk_closes_the_upstream",
        "test_leaving_a_stream_ends_its_work",
    ),
    "cancel generate": (
        "test_cancelling_generate_closes_the_upstream",
        "test_cancelling_generate_in_mid_answer_closes_the_upstream",
        "test_generate_asks_for_a_stream_where_only_that_can_be_stopped",
        "test_cancelling_generate_ends_its_work",
    ),
    "isolation": (
        "test_a_relay_works_on_after_failures",
        "test_leaving_one_answer_leaves_the_others_alone",
    ),
    "no network": ("test_answers_need_no_network",),
    "deviations": ("test_deviations_have_reasons",),
}
_CHECK_OF = {test: check for check, tests in CHECKS.items() for test in tests}


def check_of(test: str) -> str:
    """The check that a test belongs to; `test` is the function's name, without parameters."""
    return _CHECK_OF.get(test, OWN)
