"""Model locks: every way of writing one, every key, and what is said of what is wrong."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h2o_relay.h2ogpt import flags
from h2o_relay.lock import Configured, LockError, configured, keys, shell, source
from h2o_relay.settings import Settings
from h2o_relay.spec import ServerSpec
from h2o_relay.types import Server, Tuning

ENTRIES: list[dict[str, Any]] = [
    {"inference_server": "vllm:h:80", "base_model": "a", "max_seq_len": 4096},
    {"inference_server": "openai_chat", "base_model": "gpt-4", "prompt_type": None},
]


def lock(text: Any, servers: tuple[str, ...] = (), **settings: Any) -> Configured:
    written = text if isinstance(text, str) else repr(text)
    return configured(Settings(model_lock=written, **settings), servers)


def one(**entry: Any) -> ServerSpec:
    """The spec of a lock with this one entry beside a server and a base model."""
    [spec] = lock([{"inference_server": "vllm:h:80", "base_model": "a"} | entry]).specs
    return spec


def wrong(text: Any, servers: tuple[str, ...] = (), **settings: Any) -> LockError:
    with pytest.raises(LockError) as caught:
        lock(text, servers, **settings)
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    return caught.value


class TestWriting:
    @pytest.mark.parametrize(
        "text",
        [
            repr(ENTRIES),
            json.dumps(ENTRIES),
            f"  {ENTRIES!r}\n",
            repr(tuple(ENTRIES)),
            repr({"model_lock": ENTRIES}),
        ],
    )
    def test_a_literal_or_json(self, text: str) -> None:
        assert source.read(text) == ENTRIES

    def test_one_entry_alone(self) -> None:
        assert source.read(repr(ENTRIES[0])) == ENTRIES[:1]

    @pytest.mark.parametrize("name", ["lock.yaml", "lock.json", "lock.txt"])
    def test_a_file(self, tmp_path: Path, name: str) -> None:
        yaml = (
            "# two models\n"
            "- inference_server: vllm:h:80\n  base_model: a\n  max_seq_len: 4096\n"
            "- {inference_server: openai_chat, base_model: gpt-4, prompt_type: null}\n"
        )
        path = tmp_path / name
        texts = [json.dumps(ENTRIES), repr(ENTRIES), "\ufeff" + repr(ENTRIES)]
        if name.endswith("yaml"):
            texts += [yaml, "model_lock:\n" + yaml.replace("# two models\n", "")]
        for text in texts:
            path.write_text(text, encoding="utf-8")
            assert source.read(f"@{path}") == ENTRIES

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "neither a Python literal nor JSON"),
            ("lock.yaml", "neither a Python literal nor JSON"),
            ("[", "neither a Python literal nor JSON"),
            ("[{'a': open('x')}]", "neither a Python literal nor JSON"),
            ("(" * 5000, "neither a Python literal nor JSON"),
            ("\x00", "neither a Python literal nor JSON"),
            ("[]", "a lock is a list of entries"),
            ("5", "a lock is a list of entries"),
            ("[5]", "entry 0 is not a mapping"),
            ("[{}, {1: 2}]", "entry 1 is not a mapping"),
            ("[{}]", "entry 0 has neither inference_server nor base_model"),
            ("@/no/such/file.yaml", "cannot read /no/such/file.yaml: No such file"),
            (" " * 2**20 + "5", "longer than"),
        ],
    )
    def test_what_is_no_lock(self, text: str, words: str) -> None:
        assert words in str(wrong(text))

    def test_a_file_is_meant(self) -> None:
        assert wrong("lock.yaml").hint == "a file is written --model-lock=@lock.yaml"

    def test_a_bad_file_is_named_with_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "lock.yaml"
        path.write_text("- base_model: a\n- [unclosed\n")
        assert f"{path}, line 3" in str(wrong(f"@{path}"))
        path.write_bytes(b"\xff\xfe\x00")
        assert "not a text file" in str(wrong(f"@{path}"))

    @given(st.text(max_size=80))
    @example("@")
    @example("@\x00")
    @example("[{'base_model': '\ud800'}]")
    @example("-" * 20_000 + "1")
    @example("[" + "9" * 5000 + "]")
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        for given_text in (text, f"[{{{text!r}: 1}}]", f"[{{'base_model': {text!r}}}]"):
            try:
                said = repr(lock(given_text))
            except LockError as error:
                said = str(error)
            assert said


class TestKeys:
    def test_what_an_entry_becomes(self) -> None:
        spec = one(
            display_name="mine", prompt_type="llama2", system_prompt="be kind", max_seq_len="4096",
            max_new_tokens=64, max_output_seq_len=128, concurrency_count=3,
            visible_models=["theirs"], h2ogpt_key="KEY", temperature=0.5, top_k=4, seed=7,
        )  # fmt: skip
        assert spec == ServerSpec(
            server="vllm:h:80", base_model="a", display_name="mine", upstream="theirs", key="KEY",
            tuning=Tuning(
                prompt_type="llama2", system_prompt="be kind", max_seq_len=4096, max_new_tokens=64,
                max_max_new_tokens=128, concurrency=3,
                overrides={"temperature": 0.5, "top_k": 4, "seed": 7},
            ),
        )  # fmt: skip
        assert "KEY" not in repr(spec)

    @pytest.mark.parametrize(
        ("entry", "overrides"),
        [
            ({"do_sample": False}, {"temperature": 0, "top_p": 1}),
            ({"do_sample": True}, {}),
            ({"repetition_penalty": 1.1}, {"presence_penalty": 0.2}),
            ({"repetition_penalty": 3}, {"presence_penalty": 2}),
            ({"num_return_sequences": 2}, {"n": 2}),
            ({"stop": "x"}, {"stop": ["x"]}),
            ({"response_format": "json_object"}, {"response_format": {"type": "json_object"}}),
            ({"response_format": "text"}, {}),
            ({"temperature": None}, {}),
            ({"guided_json": {"type": "object"}}, {"guided_json": {"type": "object"}}),
        ],
    )
    def test_sampling_by_openais_names(
        self, entry: dict[str, Any], overrides: dict[str, Any]
    ) -> None:
        assert one(**entry).tuning.overrides == overrides

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("temperature", 3, "not a number from 0 to 2"),
            ("temperature", "warm", "not a number from 0 to 2"),
            ("temperature", True, "not a number from 0 to 2"),
            ("temperature", float("nan"), "not a number from 0 to 2"),
            ("seed", 1.5, "not a whole number"),
            ("max_seq_len", 0, "not a whole number from 1 on"),
            ("max_seq_len", "many", "not a whole number from 1 on"),
            ("max_seq_len", True, "not a whole number from 1 on"),
            ("prompt_type", "lama2", "Did you mean llama2"),
            ("prompt_type", ["llama2"], "is not the name of a prompt type"),
            ("prompt_type", "custom", "needs a prompt_dict"),
            ("prompt_dict", "{", "is not a mapping"),
            ("prompt_dict", {"PreInstrukt": ""}, "Did you mean PreInstruct"),
            ("chat_template", "/no/such/template", "cannot be read as a file: No such file"),
            ("system_prompt", 5, "is not a text"),
            ("base_model", ["a"], "is not one line of text"),
            ("h2ogpt_key", 5, "is not one line of text"),
            ("display_name", "a\nb", "is not one line of text"),
            ("visible_models", {}, "is not the name of a model"),
            ("do_sample", 1, "is not true or false"),
            ("response_format", "yaml", "is not text, json_object"),
            ("stop", [5], "is not a list of texts"),
        ],
    )
    def test_wrong_values(self, key: str, value: Any, words: str) -> None:
        entry = {"inference_server": "vllm:h:80", "base_model": "a", key: value}
        error = str(_refusal(entry))
        assert words in error
        assert error.startswith("--model-lock: entry 1: ")

    def test_a_wrong_key_is_not_shown(self) -> None:
        assert "SECRET" not in str(_refusal({"base_model": "a", "h2ogpt_key": ["SECRET"]}))

    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("inference_servers", "inference_server"),
            ("basemodel", "base_model"),
            ("Base_Model", "base_model"),
            ("promt_type", "prompt_type"),
            ("max_sequence_len", "max_seq_len"),
        ],
    )
    def test_unknown_keys(self, key: str, meant: str) -> None:
        error = wrong([{"base_model": "a", key: "x"}])
        assert str(error) == f"--model-lock: entry 0: unknown key {key!r}; did you mean {meant!r}?"
        assert "base_model" in error.hint

    def test_every_key_of_h2ogpt_is_known(self) -> None:
        for key in sorted(keys.known() - keys.OWN):
            found = lock([ENTRIES[0] | {key: "x"}])
            [note] = found.notes
            assert note == f"--model-lock: {key}: {flags.answer(key)}"
            assert found.specs == (one(max_seq_len=4096),)

    def test_what_is_switched_off_is_not_mentioned(self) -> None:
        assert lock([ENTRIES[0] | {"load_8bit": False, "lora_weights": ""}]).notes == ()

    def test_flags_are_defaults_for_the_entries(self) -> None:
        found = lock(
            [
                ENTRIES[0],
                {**ENTRIES[1], "prompt_type": "llama2"},
                {**ENTRIES[1], "max_new_tokens": 9},
            ],
            prompt_dict="{'PreInstruct': 'Q: '}", max_new_tokens=5, max_seq_len=100,
        )  # fmt: skip
        tunings = [spec.tuning for spec in found.specs]
        assert [t.max_seq_len for t in tunings] == [4096, 100, 100]
        assert [t.max_new_tokens for t in tunings] == [5, 5, 9]
        assert [t.prompt_type for t in tunings] == ["custom", "llama2", "custom"]
        assert tunings[1].prompt_dict is None, "how to render is one choice"
        assert tunings[0].prompt_dict == {"PreInstruct": "Q: "}

    def test_a_prompt_dict_beside_another_type(self) -> None:
        found = lock([ENTRIES[0] | {"prompt_type": "llama2", "prompt_dict": {"botstr": "x"}}])
        assert found.notes == ("--prompt-dict is read with --prompt-type=custom only",)

    def test_templates(self, tmp_path: Path) -> None:
        text = "{% for m in messages %}{{ m.content }}{% endfor %}"
        file = tmp_path / "template.jinja"
        file.write_text(text)
        coded = base64.b64encode(text.encode()).decode()
        for value in (text, coded, str(file), f"@{file}"):
            assert one(chat_template=value).tuning.chat_template == text
        [spec] = configured(Settings(chat_template=str(file)), ["vllm:h"]).specs
        assert spec.tuning.chat_template == text

    @pytest.mark.parametrize("value", ["auto", "None"])
    def test_a_types_own_system_prompt(self, value: str) -> None:
        assert one(system_prompt=value).tuning.system_prompt is None
        assert one(system_prompt="").tuning.system_prompt == ""

    def test_key_and_upstream_go_into_the_server(self) -> None:
        def parse(text: str) -> Server:
            return Server(plugin=None, url=text, key="OWN" if "own" in text else None, shown=text)

        def server(**entry: Any) -> Server:
            found = one(**entry).parsed(parse).server
            assert isinstance(found, Server)
            return found

        theirs = server(h2ogpt_key="KEY", visible_models="b")
        assert (theirs.key, theirs.model) == ("KEY", "b")
        assert server(inference_server="own", h2ogpt_key="KEY").key == "OWN"


def _refusal(entry: dict[str, Any]) -> LockError:
    """What is said of an entry that follows a good one."""
    with pytest.raises(LockError) as caught:
        keys.spec(1, entry, Tuning())
    return caught.value


class TestServers:
    def test_a_gguf_file_needs_no_server(self) -> None:
        names = ["/models/a.gguf", "hf:owner/repo/b.gguf", "C.GGUF"]
        found = lock([{"base_model": name, "display_name": "x"} for name in names]).specs
        assert [spec.server for spec in found] == [f"llama_cpp:{name}" for name in names]
        [alone] = configured(Settings(base_model="hf:o/r/m.gguf", max_seq_len=9)).specs
        assert (alone.server, alone.base_model) == ("llama_cpp:hf:o/r/m.gguf", None)
        assert alone.tuning.max_seq_len == 9

    def test_another_model_alone_says_what_could_run_it(self) -> None:
        for refuse in (lambda: configured(Settings(base_model="llama")),
                       lambda: lock([{"base_model": "llama"}])):  # fmt: skip
            with pytest.raises(LockError, match=r"nothing here can run 'llama': .*vLLM"):
                refuse()

    def test_a_display_name_names_one_model(self) -> None:
        assert "no base_model" in str(wrong([{"inference_server": "vllm:h", "display_name": "x"}]))

    @pytest.mark.parametrize(
        ("servers", "settings", "words"),
        [
            (("vllm:h",), {}, "and a server cannot"),
            ((), {"inference_server": "vllm:h"}, "and --inference-server cannot"),
            ((), {"base_model": "a"}, "and --base-model cannot"),
        ],
    )
    def test_a_lock_says_everything(
        self, servers: tuple[str, ...], settings: dict[str, Any], words: str
    ) -> None:
        assert words in str(wrong(ENTRIES, servers, **settings))

    def test_without_a_lock(self) -> None:
        assert configured(Settings()) == Configured(())
        found = configured(Settings(inference_server="b", max_new_tokens=3), ("a",)).specs
        assert [(spec.server, spec.tuning.max_new_tokens) for spec in found] == [("a", 3), ("b", 3)]
        with pytest.raises(LockError, match="2 servers are given"):
            configured(Settings(base_model="m"), ("a", "b"))


class TestVisible:
    @pytest.mark.parametrize(
        ("text", "seen"),
        [
            ("['a', 'c']", [True, False, True, False]),
            ('["a_1"]', [False, True, False, False]),
            ("[0, '3']", [True, False, False, True]),
            ("a,3", [True, False, False, True]),
            ("c", [False, False, True, False]),
            ("1", [False, True, False, False]),
            ("[a,c]", [True, False, True, False]),
            ("['base']", [False, False, True, False]),
        ],
    )
    def test_by_name_or_number(self, text: str, seen: list[bool]) -> None:
        entries = [
            {"base_model": "a"},
            {"base_model": "a"},
            {"base_model": "base", "display_name": "c"},
            {"base_model": "d"},
        ]
        found = lock([{"inference_server": "echo"} | e for e in entries], visible_models=text)
        assert [spec.visible for spec in found.specs] == seen

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("['ab']", "no entry is called 'ab'; did you mean 'a'?"),
            ("[7]", "there is no entry 7; the last one is 1"),
            ("[-1]", "there is no entry -1"),
            ("[1.5]", "1.5 is neither a name nor an index"),
            ("[True]", "True is neither"),
            ("{}", "is not a list of names"),
            ("[]", "is not a list of names"),
            (",", "is not a list of names"),
        ],
    )
    def test_what_is_not_there(self, text: str, words: str) -> None:
        assert words in str(wrong([ENTRIES[0], ENTRIES[1]], visible_models=text))

    def test_a_server_without_a_base_model_may_have_any_name(self) -> None:
        found = lock([ENTRIES[0], {"inference_server": "echo"}], visible_models="['a','b','c']")
        assert [spec.visible for spec in found.specs] == [True, frozenset({"b", "c"})]
        found = lock([ENTRIES[0], {"inference_server": "echo"}], visible_models="[0]")
        assert [spec.visible for spec in found.specs] == [True, frozenset()]


def from_bash(word: str) -> list[str]:
    """The words that bash makes of a word without quotes."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash to take the word apart")
    done = subprocess.run(
        [bash, "--norc", "-c", f"printf '%s\\0' {word}"], capture_output=True, check=True, cwd="/"
    )
    return done.stdout.decode().removesuffix("\0").split("\0")


BARE = st.text("abcxyz0189-_./", min_size=1, max_size=8).map("m{}".format)
SERVERS = st.sampled_from(
    ["vllm:h:80", "http://192.168.1.46:6112", "openai_chat", "http://[::1]:80", "vllm:[::1]"]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"base_model": BARE},
        optional={"inference_server": SERVERS, "prompt_type": BARE, "max_seq_len": st.just(4096)},
    ),
    min_size=1,
    max_size=4,
)


class TestShell:
    @pytest.mark.parametrize("spaces", [False, True])
    def test_what_bash_leaves_of_the_document(self, spaces: bool) -> None:
        rows = [
            {"inference_server": "http://192.168.1.46:6112", "base_model": "h2oai/a-12b"},
            {"inference_server": "http://192.168.0.1:6000", "base_model": "T/W-HF",
             "prompt_type": "instruct_vicuna"},
            {"inference_server": "openai_chat", "base_model": "gpt-3.5-turbo"},
        ]  # fmt: skip
        for some in (rows, rows[:1], rows[1:]):
            self.check(some, spaces)

    @given(rows=ROWS, spaces=st.booleans())
    def test_what_bash_leaves_of_any_lock(self, rows: list[dict[str, Any]], spaces: bool) -> None:
        self.check(rows, spaces)

    @staticmethod
    def check(rows: list[dict[str, Any]], spaces: bool) -> None:
        written = repr(rows) if spaces else repr(rows).replace(" ", "")
        words = from_bash(written)
        assert shell.rejoin(words, keys.known()) == rows, words

    def test_the_quoted_form_is_the_lock(self) -> None:
        rows = [{"base_model": 'it\'s $5 \\ `x` "q"', "max_seq_len": 3}]
        quoted = shell.quoted(rows, "--model_lock", lambda key, value: value)
        [word] = from_bash(quoted)
        assert source.read(word.removeprefix("--model_lock=")) == rows

    def test_what_cannot_be_put_together(self) -> None:
        assert shell.rejoin(["[x:1]", "[y:2]"], keys.known()) is None
        assert shell.rejoin(["[base_model:a]", "[base_model:b]"], keys.known()) is None
