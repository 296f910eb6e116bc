"""The plugin asks, and the stand-in answers, as Replicate's own OpenAPI document has it.

`replicate_published.json` is the document that the API serves at /openapi.json, in a public copy
and reduced to the routes that the stand-in has; it says itself which file it was made of. It has no
streams and no refusals: those are checked by the official client (`test_replicate_sdk.py`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from published_spec import Published
from recorded import Recorder

from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.testing.upstream import Answer, Received, until
from h2o_relay_replicate.standin import GPT, VERSION, Cloud

from .replicate_kit import chat, relayed

PUBLISHED = Published.read(Path(__file__).with_name("replicate_published.json"))
BY_NAME = "POST /models/{model_owner}/{model_name}/predictions"
MODEL = "GET /models/{model_owner}/{model_name}"
ONE = "GET /predictions/{prediction_id}"
# The document says that such URLs exist (`urls.stream`), and no more.
FOLLOWED = {"GET /v1/stream/p1 is not published"}


class Watched(Cloud):
    """The stand-in, and what was said to it and by it."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.recorder = Recorder(partial(Cloud.__call__, self))

    async def __call__(self, request: Received, answer: Answer) -> None:
        await self.recorder(request, answer)

    @property
    def unlike(self) -> set[str]:
        return PUBLISHED.unlike(self.recorder.exchanges)

    @property
    def covered(self) -> set[str]:
        return PUBLISHED.covered(self.recorder.exchanges)


async def stream(kernel: Kernel, **more: Any) -> None:
    async with kernel.stream("chat", chat("Hi", stream=True, **more)) as answer:
        async for _ in answer:
            pass


async def by_name() -> Watched:
    cloud = Watched(official=True)
    async with relayed(cloud) as kernel:
        await stream(kernel, max_tokens=9, temperature=0.5, top_p=0.9, seed=3, stop="x")
    return cloud


async def by_version(**inputs: Any) -> Watched:
    """A model without a stream, looked at until it is done: `Prefer: wait` ends before that."""
    cloud = Watched(iterates=False, streams=False, pace=0.02, longest_wait=0.01, **inputs)
    async with relayed(cloud, f"replicate:meta/llama:{VERSION}") as kernel:
        await kernel.generate("chat", chat("Hi", "there", "all", system="Be brief."))
    return cloud


async def left() -> Watched:
    cloud = Watched(pace=0.05)
    async with relayed(cloud) as kernel:
        async with kernel.stream("chat", chat("Hi", stream=True)) as answer:
            async for _ in answer:
                break
        await until(lambda: cloud.cancelled, within=5)
    return cloud


async def test_an_official_model_that_streams() -> None:
    cloud = await by_name()
    assert cloud.unlike == FOLLOWED
    assert cloud.covered == {f"{MODEL} 200", f"{BY_NAME} 201", f"{ONE} 200", "None 200"}


@pytest.mark.parametrize("inputs", [{}, {"inputs": GPT}])
async def test_a_version_that_does_not_stream(inputs: dict[str, Any]) -> None:
    cloud = await by_version(**inputs)
    assert cloud.unlike == set()
    assert "POST /predictions 202" in cloud.covered
    assert [one.request.headers.get("prefer") for one in cloud.recorder.exchanges][1] == "wait=2"


async def test_one_that_is_left() -> None:
    assert (await left()).unlike == FOLLOWED


async def test_every_published_route_is_tried() -> None:
    clouds = [await by_name(), await by_version(), await left()]
    tried = {one.rpartition(" ")[0] for cloud in clouds for one in cloud.covered}
    assert tried == PUBLISHED.operations | {"None"}  # the stream's URL


async def test_one_that_waits_to_the_end() -> None:
    cloud = Watched(iterates=False, official=False)
    async with relayed(cloud) as kernel:
        await kernel.generate("chat", chat("Hi"))
    assert cloud.unlike == set()
    assert "POST /predictions 201" in cloud.covered


async def test_one_that_fails() -> None:
    cloud = Watched(error="CUDA out of memory", streams=False, pace=0.01)
    async with relayed(cloud) as kernel:
        with pytest.raises(RelayError):
            await kernel.generate("chat", chat("Hi"))
    assert cloud.unlike == set()
    (last,) = cloud.recorder.exchanges[-1].documents()
    assert (last["status"], last["error"]) == ("failed", "CUDA out of memory")


async def test_refusals_are_not_in_the_document() -> None:
    cloud = Watched(inputs={"prompt": {"type": "integer"}})
    async with relayed(cloud) as kernel:
        with pytest.raises(RelayError):
            await kernel.generate("chat", chat("Hi"))
    assert cloud.unlike == {f"{BY_NAME} answers 422, which is not published"}


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"data_removed": ...}, ": 'data_removed' is a required property"),
        ({"urls": {"get": "/", "cancel": "/"}}, ".urls: 'web' is a required property"),
        ({"logs": None}, ".logs: None is not of type 'string'"),
        ({"source": "cli"}, ".source: 'cli' is not one of ['web', 'api']"),
        ({"hardware": "cpu"}, ".hardware is not named"),
    ],
)
async def test_a_wrong_answer_is_caught(changed: dict[str, Any], difference: str) -> None:
    """Whatever the plugin makes of it."""
    cloud = Watched(iterates=False, official=True)
    right = cloud.state

    def wrong(stored: Any) -> dict[str, Any]:
        return {key: value for key, value in {**right(stored), **changed}.items() if value != ...}

    cloud.state = wrong  # type: ignore[method-assign]
    async with relayed(cloud) as kernel:
        await kernel.generate("chat", chat("Hi"))
    assert cloud.unlike == {f"{BY_NAME} answers 201 {difference}"}


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"model": "meta/llama"}, ".model is not named"),
        ({"input": "Hi"}, ".input: 'Hi' is not of type 'object'"),
        ({"stream": "yes"}, ".stream: 'yes' is not of type 'boolean'"),
    ],
)
def test_a_wrong_request_is_caught(changed: dict[str, Any], difference: str) -> None:
    schema = {"$ref": "#/components/schemas/schemas_prediction_request"}
    right = {"input": {"prompt": "Hi"}, "stream": True}
    assert list(PUBLISHED.wrong(schema, right)) == []
    assert difference in PUBLISHED.wrong(schema, {**right, **changed})
