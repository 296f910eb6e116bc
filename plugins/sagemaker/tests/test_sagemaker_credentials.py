"""Whose keys sign, in which region, at which address: botocore's rules, off the event loop."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.errors import BadServerString, InvalidRequest, UpstreamAuthError, UpstreamUnavailable
from h2o_relay.testing.scripts import in_turn, json, whole
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay_sagemaker.account import Account
from h2o_relay_sagemaker.standin import ACCESS_KEY, OpenAIContainer, refused

from .sagemaker_kit import asked, server_of

NOBODYS = "sagemaker_chat:ep"
HOST = "runtime.sagemaker.us-east-2.amazonaws.com"


async def answering(request: Received, answer: Answer) -> None:
    script = json(OpenAIContainer().whole(request, ["Hi"], "stop"))
    await script(request, answer)


def key_of(request: Received) -> str:
    return request.headers["authorization"].partition("Credential=")[2].partition("/")[0]


@pytest.fixture
def without_keys(aws_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    aws_environment.delenv("AWS_ACCESS_KEY_ID")
    aws_environment.delenv("AWS_SECRET_ACCESS_KEY")
    return aws_environment


def process(folder: Path, *, held: bool = False) -> str:
    """A credential process: a new key each time, good for 5 minutes.

    If it is `held` it makes a file `asked<number>` and gives its key only once that is gone; after
    10 seconds it gives none at all.
    """
    script = folder / "process.py"
    ends = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    script.write_text(
        "import json, pathlib, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "count = folder / 'count'\n"
        "number = len(count.read_text()) if count.exists() else 0\n"
        "count.write_text('x' * (number + 1))\n"
        f"if {held}:\n"
        "    asked, deadline = folder / f'asked{number}', time.monotonic() + 10\n"
        "    asked.touch()\n"
        "    while asked.exists():\n"
        "        assert time.monotonic() < deadline\n"
        "        time.sleep(0.01)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{number}', 'SecretAccessKey': 'S',"
        f"'SessionToken': f'token{{number}}', 'Expiration': {ends!r}}}))\n"
    )
    return f"{sys.executable} {script}"


def release(folder: Path) -> list[str]:
    """Let the processes go on that are held; their files' names."""
    waiting = list(folder.glob("asked*"))
    for file in waiting:
        file.unlink()
    return [file.name for file in waiting]


class TestCredentials:
    async def test_keys_of_the_environment(self) -> None:
        async with asked(answering) as relay:
            await relay.generate()
            assert key_of(relay.last) == ACCESS_KEY
            assert "x-amz-security-token" not in relay.last.headers

    async def test_a_profile(self, without_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "credentials").write_text(
            "[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = s\n"
            "aws_session_token = t\n"
        )
        (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n")
        without_keys.setenv("AWS_PROFILE", "work")
        async with asked(answering, NOBODYS) as relay:
            await relay.generate()
            assert key_of(relay.last) == "AKIDWORK"
            assert relay.last.headers["x-amz-security-token"] == "t"
            assert "/eu-west-1/sagemaker/" in relay.last.headers["authorization"]

    async def test_temporary_ones_are_renewed(
        self, without_keys: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "config").write_text(f"[default]\ncredential_process = {process(tmp_path)}\n")
        async with asked(answering) as relay:
            await relay.generate()
            first = relay.last.headers["x-amz-security-token"]
            await relay.generate()
            assert relay.last.headers["x-amz-security-token"] != first

    async def test_a_slow_source_holds_up_nobody(
        self, without_keys: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """It gives keys only when this loop tells it to: if that stood still, it never would."""
        command = process(tmp_path, held=True)
        (tmp_path / "config").write_text(f"[default]\ncredential_process = {command}\n")

        async def let_go() -> None:
            while True:
                told.extend(release(tmp_path))
                await asyncio.sleep(0.01)

        told: list[str] = []
        letting_go = asyncio.create_task(let_go())
        try:
            async with asked(answering) as relay:
                while_opening = len(told)
                assert (await relay.generate()).text == "Hi"
        finally:
            letting_go.cancel()
            await asyncio.wait([letting_go])
        assert while_opening >= 1
        assert len(told) > while_opening  # signing asked again

    async def test_a_machines_role(self, without_keys: pytest.MonkeyPatch) -> None:
        """The metadata service, version 2, as AWS's "Use IMDS" describes it."""
        given = {
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKIDROLE",
            "SecretAccessKey": "s", "Token": "role-token", "LastUpdated": "2026-01-01T00:00:00Z",
            "Expiration": (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip

        async def metadata(request: Received, answer: Answer) -> None:
            path = request.path.rstrip("/")
            if request.method == "PUT":
                script = whole(b"imds-token", content_type="text/plain")
            elif path.endswith("/security-credentials"):
                script = whole(b"my-role", content_type="text/plain")
            else:
                assert request.headers["x-aws-ec2-metadata-token"] == "imds-token"
                script = whole(orjson.dumps(given))
            await script(request, answer)

        without_keys.delenv("AWS_EC2_METADATA_DISABLED")
        async with ScriptedUpstream(metadata) as service:
            without_keys.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
            async with asked(answering) as relay:
                await relay.generate()
                assert key_of(relay.last) == "AKIDROLE"
                assert relay.last.headers["x-amz-security-token"] == "role-token"

    async def test_none_at_all_is_one_clear_line(self, without_keys: pytest.MonkeyPatch) -> None:
        async with asked(answering) as relay:
            (status,) = relay.kernel.status()
            error = await relay.failure("generate")
            assert relay.upstream.requests == []
        assert (status.stage, status.reason) == ("offline", error.message)
        assert isinstance(error, UpstreamAuthError)
        assert "\n" not in error.message
        assert error.message.startswith("no AWS credentials were found: set AWS_ACCESS_KEY_ID")

    async def test_keys_that_come_later_bring_it_alive(
        self, without_keys: pytest.MonkeyPatch
    ) -> None:
        async with asked(answering) as relay:
            assert relay.kernel.status()[0].stage == "offline"
            without_keys.setenv("AWS_ACCESS_KEY_ID", "AKIDLATE")
            without_keys.setenv("AWS_SECRET_ACCESS_KEY", "s")
            for _ in range(100):
                if relay.kernel.status()[0].stage == "ready":
                    break
                await asyncio.sleep(0.05)
            await relay.generate()
            assert key_of(relay.last) == "AKIDLATE"

    async def test_refused_ones_are_looked_up_anew(self, aws_environment: Any) -> None:
        expired = refused(403, "ExpiredTokenException", {"Message": "expired"})
        async with asked(in_turn(expired, answering)) as relay:
            assert isinstance(await relay.failure("generate"), UpstreamAuthError)
            aws_environment.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")
            await relay.generate()
            assert key_of(relay.last) == "AKIDNEW"

    @pytest.mark.parametrize(
        ("variable", "value", "says"),
        [
            ("AWS_PROFILE", "nobody", "nobody"),
            ("AWS_ACCESS_KEY_ID", "AKID-and-no-secret", "PartialCredentialsError"),
        ],
    )
    def test_unusable_ones(
        self, without_keys: pytest.MonkeyPatch, variable: str, value: str, says: str
    ) -> None:
        without_keys.setenv(variable, value)
        with pytest.raises(UpstreamAuthError, match=says) as caught:
            Account(server_of())
        assert "AKID" not in caught.value.message

    def test_what_a_credential_process_prints_is_not_repeated(
        self, without_keys: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        command = f"{sys.executable} -c \"raise SystemExit('s3cret')\""
        (tmp_path / "config").write_text(f"[default]\ncredential_process = {command}\n")
        with pytest.raises(UpstreamAuthError, match="CredentialRetrievalError") as caught:
            Account(server_of())
        assert "s3cret" not in caught.value.message

    def test_a_source_that_cannot_be_reached(
        self, without_keys: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "config").write_text(
            "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n"
            "retries = 0\n[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
        )
        without_keys.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
        without_keys.setenv("AWS_MAX_ATTEMPTS", "1")
        account = Account(server_of())
        with pytest.raises(UpstreamUnavailable, match="source of the AWS credentials"):
            account.sign(f"https://{HOST}/", {}, b"")


class TestRegionAndAddress:
    def test_no_region_anywhere(self) -> None:
        with pytest.raises(BadServerString, match="AWS_DEFAULT_REGION") as caught:
            Account(server_of(NOBODYS))
        assert caught.value.example == "sagemaker_chat:ep:us-east-2"

    def test_the_strings_region_wins(self, aws_environment: pytest.MonkeyPatch) -> None:
        aws_environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert Account(server_of(NOBODYS)).region == "eu-west-1"
        assert Account(server_of()).region == "us-east-2"

    @pytest.mark.parametrize(
        ("region", "env", "url"),
        [
            ("us-east-2", {}, f"https://{HOST}"),
            ("cn-north-1", {}, "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
            (
                "us-east-2",
                {"AWS_USE_FIPS_ENDPOINT": "true"},
                "https://runtime-fips.sagemaker.us-east-2.amazonaws.com",
            ),
            (
                "us-east-2",
                {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": "http://127.0.0.1:4566"},
                "http://127.0.0.1:4566",
            ),
        ],
    )
    def test_the_address(
        self, aws_environment: pytest.MonkeyPatch, region: str, env: dict[str, str], url: str
    ) -> None:
        for name, value in env.items():
            aws_environment.setenv(name, value)
        assert Account(server_of(f"sagemaker:ep:{region}")).url == url

    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ("https://vpce.example:443/", "https://vpce.example"),
            ("http://h:80/aws", "http://h/aws"),
            ("https://h:80", "https://h:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ],
    )
    def test_our_own_variable_wins(
        self, aws_environment: pytest.MonkeyPatch, given: str, url: str
    ) -> None:
        aws_environment.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:4566")
        assert Account(server_of(H2O_SAGEMAKER_ENDPOINT_URL=given)).url == url

    @pytest.mark.parametrize("given", ["vpce.example", "ftp://h", "http://h:99999", "http://u:p@h"])
    def test_what_is_no_url(self, given: str) -> None:
        with pytest.raises(InvalidRequest):
            Account(server_of(H2O_SAGEMAKER_ENDPOINT_URL=given))

    async def test_the_endpoint_is_listed_with_what_was_found(self) -> None:
        async with asked(answering) as relay:
            ((model,),) = [status.models for status in relay.kernel.status()]
            url = relay.upstream.url
        about = {"endpoint": "test-model", "region": "us-east-2", "url": url, "payload": "openai"}
        assert (model.id, model.raw) == ("test-model", about)
