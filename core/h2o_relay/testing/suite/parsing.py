"""`parse_server_string`: what is documented is read, what is foreign is left, nothing leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from ...errors import BadServerString
from ..sockets import no_sockets
from .base import SuiteBase

FOREIGN = ("", " ", "no-such-plugin", "no-such-plugin:host:8000", "http://host:8000", "héé:host")


class ParsingTests(SuiteBase):
    documented: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Every server string that the documentation shows, with fields of the `Server` it gives."""
    foreign: ClassVar[Sequence[str]] = ()
    """Strings that are not the plugin's; those that are no plugin's are tried anyway."""
    malformed: ClassVar[Sequence[str]]
    """Strings with the plugin's prefix that cannot be read."""
    secret: ClassVar[str] = "sk-conformance-0123456789abcdef"
    secret_string: ClassVar[str] = ""
    """A server string that contains `secret`. Where the plugin's have no keys, the tests of keys do
    not apply."""

    def test_documented_strings_are_read(self) -> None:
        assert self.documented, "no server string is documented"
        plugins = self.plugins()
        for text, fields in self.documented.items():
            server = plugins.parse(text)
            assert server.plugin == self.plugin, text
            found = {name: getattr(server, name) for name in fields}
            assert found == dict(fields), text

    def test_a_string_is_read_the_same_every_time(self) -> None:
        for text in self.documented:
            assert self.hooks().parse_server_string(text) == self.hooks().parse_server_string(text)

    def test_foreign_strings_are_left_alone(self) -> None:
        for text in (*FOREIGN, *self.foreign):
            assert self.hooks().parse_server_string(text) is None, text

    def test_malformed_strings_are_refused(self) -> None:
        assert self.malformed, "no malformed server string is given"
        for text in self.malformed:
            try:
                server = self.plugins().parse(text)
            except BadServerString as error:
                refusal = error
            else:
                pytest.fail(f"{text!r} was read as {server!r}")
            assert refusal.status == 400, text
            assert refusal.reason, text

    def test_parsing_opens_no_socket(self) -> None:
        with no_sockets():
            for text in self.documented:
                self.hooks().parse_server_string(text)

    def test_a_key_is_never_shown(self) -> None:
        assert self.secret in self.secret_string, "secret_string must contain secret"
        server = self.plugins().parse(self.secret_string)
        for shown in (repr(server), str(server), f"{server}", server.shown):
            assert self.secret not in shown
        assert server.shown, "a server needs a text that people can be shown"

    def test_a_key_is_not_in_the_error_of_a_malformed_string(self) -> None:
        assert self.secret in self.secret_string, "secret_string must contain secret"
        for text in (f"{self.secret_string}\r", f"{self.secret_string}\x00"):
            try:
                server = self.plugins().parse(text)
                shown = f"{server!r} {server.shown}"
            except BadServerString as error:
                shown = f"{error} {error!r} {error.shown} {error.body()}"
            assert self.secret not in shown
