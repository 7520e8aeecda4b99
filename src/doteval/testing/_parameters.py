"""What a request may be given: the names of both SDKs, by which a fake model knows a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable

_OPENAI = """
    audio extra_body extra_headers extra_query frequency_penalty function_call functions logit_bias logprobs
    max_completion_tokens max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty
    prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed
    service_tier stop store stream_options temperature timeout tool_choice tools top_logprobs top_p user verbosity
    web_search_options
"""
_ANTHROPIC = """
    cache_control container diagnostics inference_geo max_tokens metadata output_config service_tier speed
    stop_sequences system temperature thinking timeout tool_choice tools top_k top_p user_profile_id workspace_id
"""
KNOWN = frozenset(_OPENAI.split()) | frozenset(_ANTHROPIC.split())
_NEAR = 0.85
"""How much alike two names are of which one is the other one misspelt."""


def check_spelling(names: Iterable[str]) -> None:
    """Refuse a name that is nearly one of a parameter; any other may be one of some model's.

    Raises:
        TypeError: There is one; says which may have been meant.
    """
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        from difflib import get_close_matches  # noqa: PLC0415  # only where it may be needed

        for name in unknown:
            meant = get_close_matches(name, sorted(KNOWN), n=1, cutoff=_NEAR)
            if meant:
                raise TypeError(f"a request has no keyword argument {name}; did you mean {meant[0]}?")
