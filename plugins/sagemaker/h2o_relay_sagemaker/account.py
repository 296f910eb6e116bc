"""Who we are to AWS and where requests go: everything here may block, so call it in a thread.

Credentials come from wherever botocore finds them: the environment, profiles, SSO, a process, a
web identity, a container's or a machine's role. Temporary ones are renewed by botocore before they
end. Requests are signed by its Signature Version 4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from h2o_relay.errors import BadServerString, RelayError, UpstreamAuthError, UpstreamUnavailable
from h2o_relay.http_head import split_url
from h2o_relay.types import Server

SERVICE = "sagemaker-runtime"
SIGNING_NAME = "sagemaker"  # of the API's published service model
DEFAULT_PORTS = {"http": 80, "https": 443}
NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "AWS_PROFILE, or give this machine a role"
)
log = logging.getLogger(__name__)


class Account:
    """Region, URL and credentials of one server. Making one raises RelayError."""

    def __init__(self, server: Server) -> None:
        self._server = server
        session = _session()
        self.region = _region(session, server)
        self.url = _base(session, server, self.region)
        self._credentials: Any = _credentials(session)

    def sign(self, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers with those of a signed POST; lower-case names.

        Raises UpstreamAuthError where credentials cannot be renewed.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        if self._credentials is None:
            self._credentials = _credentials(_session())
        try:
            keys = self._credentials.get_frozen_credentials()
        except Exception as error:  # botocore passes on what any of its sources raises
            self._credentials = None
            raise _unusable(error) from error
        request = AWSRequest(method="POST", url=url, headers=dict(headers), data=body)
        SigV4Auth(keys, SIGNING_NAME, self.region).add_auth(request)
        return {str(name).lower(): str(value) for name, value in request.headers.items()}

    def forget(self) -> None:
        """Look for credentials anew next time: these were refused."""
        self._credentials = None


def _session() -> Any:
    from botocore.session import Session

    return Session()


def _region(session: Any, server: Server) -> str:
    region = server.options.get("region") or _asked(session.get_config_variable, "region")
    if not region:
        raise BadServerString(
            "its region is missing: write it after the endpoint, or set AWS_DEFAULT_REGION or a "
            "profile with one", shown=server.shown, example=f"{server.shown}:us-east-2",
        )  # fmt: skip
    return str(region)


def _credentials(session: Any) -> Any:
    found = _asked(session.get_credentials)
    if found is None:
        raise UpstreamAuthError(NO_CREDENTIALS)
    return found


def _base(session: Any, server: Server, region: str) -> str:
    """The runtime API's URL: H2O_SAGEMAKER_ENDPOINT_URL, else what botocore says (partitions,
    FIPS, dual stack, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, a profile's `services`).
    """
    if server.url is not None:
        split_url(server.url)  # refuses what is no URL
        return _without_default_port(server.url)
    client = _asked(session.create_client, SERVICE, region_name=region)
    try:
        return _without_default_port(str(client.meta.endpoint_url))
    finally:
        client.close()


def _asked(ask: Any, *args: Any, **options: Any) -> Any:
    """The result of a call to botocore, with its errors as ours."""
    try:
        return ask(*args, **options)
    except Exception as error:  # as above
        raise _unusable(error) from error


def _unusable(error: Exception) -> RelayError:
    """What callers are told; botocore's own text may repeat what a credential process printed."""
    from botocore.exceptions import (
        ConnectionError as NoConnection,
    )
    from botocore.exceptions import (
        HTTPClientError,
        ProfileNotFound,
    )

    name = type(error).__name__
    log.debug("AWS credentials or configuration", exc_info=error)
    if isinstance(error, ProfileNotFound):
        return UpstreamAuthError(str(error))
    if isinstance(error, NoConnection | HTTPClientError):
        return UpstreamUnavailable(f"the source of the AWS credentials cannot be reached ({name})")
    return UpstreamAuthError(f"the AWS credentials or configuration cannot be used ({name})")


def _without_default_port(url: str) -> str:
    """As the signer writes the Host header: without the scheme's own port."""
    parts = urlsplit(url.rstrip("/"))
    if parts.port is None or parts.port != DEFAULT_PORTS.get(parts.scheme):
        return parts.geturl()
    return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()
