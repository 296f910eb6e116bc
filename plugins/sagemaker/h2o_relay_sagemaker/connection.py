"""One open server: signed requests over the relay's HTTP client, so that leaving closes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from h2o_relay.errors import UpstreamAuthError
from h2o_relay.http import HttpClient, Response
from h2o_relay.openai_shape import beginning
from h2o_relay.types import Server

from .account import Account
from .failures import refusal

JSON = "application/json"
WHOLE, STREAMED = "invocations", "invocations-response-stream"
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
COMPONENT = "x-amzn-sagemaker-inference-component"


class Connection:
    """What the plugin's hooks are given as `client`."""

    def __init__(self, http: HttpClient, account: Account, server: Server) -> None:
        self.settings = http.settings
        self.account = account
        self.endpoint = str(server.options["endpoint"])
        self._http = http
        self._component = server.options.get("inference_component")

    @asynccontextmanager
    async def invoke(
        self,
        operation: str,
        body: bytes,
        *,
        attributes: str | None = None,
        first_byte: float | None = None,
        total: float | None = None,
    ) -> AsyncIterator[Response]:
        """POST to `invocations` or `invocations-response-stream`; the answer has status 200.

        Headers are those of the operations InvokeEndpoint and InvokeEndpointWithResponseStream.
        Seconds as in `HttpClient.request`. Raises RelayError for a refusal.
        """
        url = f"{self.account.url}/endpoints/{self.endpoint}/{operation}"
        headers = {"content-type": JSON}
        if operation == WHOLE:
            headers["accept"] = JSON
        if attributes:
            headers[ATTRIBUTES] = attributes
        if self._component:
            headers[COMPONENT] = str(self._component)
        signed = await asyncio.to_thread(self.account.sign, url, headers, body)
        exchange = self._http.request(
            "POST", url, headers=signed, body=body, first_byte=first_byte, total=total
        )
        async with exchange as response:
            if response.status >= 300:
                text = await beginning(response)
                error = refusal(response.status, response.headers, text, self.endpoint)
                if isinstance(error, UpstreamAuthError):
                    self.account.forget()
                raise error
            yield response


@asynccontextmanager
async def opened(server: Server, http: HttpClient) -> AsyncIterator[Connection]:
    """Find region and credentials, and open an HTTP client. Raises RelayError."""
    account = await asyncio.to_thread(Account, server)
    yield Connection(http, account, server)
