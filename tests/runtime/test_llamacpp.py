import json
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bedside.errors import MissingExtra, ModelError, UsageError
from bedside.models import locate
from bedside.models.gguf import GgufMetadata
from bedside.recipe import PromptSection
from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.runtime import llamacpp
from bedside.runtime.budget import stream_with_answer
from tests.greedy import greedy_ids

QUESTION = [Message("user", "Name one cause of a raised jugular venous pressure.")]


def metadata(**changes: object) -> GgufMetadata:
    fields = {"name": "m", "template": "{{ bos_token }}{{ messages[0].content }}", "bos": "<s>", "eos": "</s>"}
    rest = {"adds_bos": False, "pre_tokenizer": "default", "context_length": 512, "prompt": None, "licence": ""}
    return GgufMetadata(**{**fields, **rest, **changes})  # type: ignore[arg-type]


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for the file's metadata; a test sets what it says."""
    said = SimpleNamespace(metadata=metadata())
    monkeypatch.setattr(llamacpp, "metadata", lambda path: said.metadata)
    return said


def test_counting_tokens_does_not_wait_for_ever(described: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp, "COUNT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        served = SimpleNamespace(listening_address=f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(llamacpp, "_serve", lambda *given: served)
        with pytest.raises(ModelError, match="did not count the tokens"):
            llamacpp.LlamaCpp(Path("m.gguf")).tokens("Fever")


def test_a_file_without_template_cannot_be_asked(described: SimpleNamespace) -> None:
    described.metadata = metadata(template="")
    with pytest.raises(ModelError, match=r"m.gguf: the file holds no chat template"):
        llamacpp.LlamaCpp(Path("m.gguf"))


@pytest.mark.usefixtures("described")
def test_without_llama_cpp_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtra, match=r"pip install 'bedside\[serve\]'"):
        llamacpp.LlamaCpp(Path("m.gguf"))


@pytest.mark.usefixtures("described")
def test_a_file_that_llama_cpp_cannot_load_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF\3" + b"\0" * 64)  # a sound header of no keys
    with pytest.raises(ModelError, match=r"m\.gguf: llama\.cpp cannot load it"):
        llamacpp.LlamaCpp(path)


def test_llama_cpp_is_given_no_file_whose_header_does_not_hold(tmp_path: Path) -> None:
    path, given = tmp_path / "x.gguf", SimpleNamespace(model=SimpleNamespace(path=None))
    path.write_bytes(b"GGUF" + b"\xff" * 64)
    with pytest.raises(ModelError, match="not a whole GGUF file"):
        llamacpp.opened(path, given)
    assert given.model.path is None


@pytest.mark.parametrize(("adds_bos", "text"), [(True, "hi"), (False, "<s>hi")])
def test_the_begin_token_is_left_to_llama_cpp_where_it_adds_one(
    described: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, adds_bos: bool, text: str
) -> None:
    monkeypatch.setattr(llamacpp, "_serve", lambda *_: None)
    described.metadata = metadata(adds_bos=adds_bos)
    assert llamacpp.LlamaCpp(Path("m.gguf")).prompt_text([Message("user", "hi")]) == text


def test_a_file_is_prompted_as_it_says_or_else_bare(
    described: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "_serve", lambda *_: None)
    assert llamacpp.LlamaCpp(Path("m.gguf")).prompt.system == ""
    described.metadata = metadata(prompt=PromptSection(system="Be brief."))
    model = llamacpp.LlamaCpp(Path("m.gguf"), context=4096)
    assert model.prompt.system == "Be brief."
    assert model.context == 512


@pytest.mark.slow
def test_a_model_that_is_closed_as_soon_as_it_is_opened_is_freed() -> None:
    """Dropped before llama.cpp's own thread ran, it was never freed; on a busy machine that was one time in two."""

    def open_and_close() -> None:
        for _ in range(6):
            llamacpp.LlamaCpp(locate.embedded_gguf(), context=256).close()

    thread = threading.Thread(target=open_and_close, daemon=True)
    thread.start()
    thread.join(timeout=120)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def embedded() -> Iterator[llamacpp.LlamaCpp]:
    model = llamacpp.LlamaCpp(locate.embedded_gguf(), context=512, slots=1, threads=2)
    yield model
    model.close()


def finished(model: llamacpp.LlamaCpp, options: GenerationOptions) -> tuple[list[Delta], Generation]:
    *deltas, last = model.stream(QUESTION, options)
    assert isinstance(last, Generation)
    return [delta for delta in deltas if isinstance(delta, Delta)], last


@pytest.mark.slow
def test_the_deltas_make_up_the_generation(embedded: llamacpp.LlamaCpp) -> None:
    deltas, last = finished(embedded, GenerationOptions(max_tokens=12))
    assert "".join(delta.answer for delta in deltas).strip() == last.answer != ""
    assert (last.finish, last.completion_tokens) == ("length", 12)
    assert last.prompt_tokens > 10


@pytest.mark.slow
def test_greedy_decoding_repeats_itself(embedded: llamacpp.LlamaCpp) -> None:
    options = GenerationOptions(max_tokens=16)
    assert finished(embedded, options)[1] == finished(embedded, options)[1]


@pytest.mark.slow
def test_sampling_repeats_itself_with_its_seed(embedded: llamacpp.LlamaCpp) -> None:
    def sample(seed: int) -> str:
        return finished(embedded, GenerationOptions(max_tokens=16, temperature=1.5, seed=seed))[1].answer

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(3)}) > 1


@pytest.mark.slow
def test_a_stop_word_ends_the_answer(embedded: llamacpp.LlamaCpp) -> None:
    _, whole = finished(embedded, GenerationOptions(max_tokens=16))
    word = whole.answer.split()[2]
    _, cut = finished(embedded, GenerationOptions(max_tokens=16, stop=(word,)))
    assert cut.finish == "stop"
    assert word not in cut.answer


@pytest.mark.slow
def test_a_conversation_longer_than_the_context_is_refused_with_both_numbers(embedded: llamacpp.LlamaCpp) -> None:
    with pytest.raises(UsageError, match=r"the conversation has \d{3,} tokens, the context 512; shorten it"):
        list(embedded.stream([Message("user", "fever " * 900)], GenerationOptions(max_tokens=4)))


@pytest.mark.slow
def test_closing_the_stream_stops_the_model_and_frees_it_for_the_next(embedded: llamacpp.LlamaCpp) -> None:
    stream = embedded.stream(QUESTION, GenerationOptions(max_tokens=400))
    assert isinstance(next(stream), Delta)
    stream.close()
    assert finished(embedded, GenerationOptions(max_tokens=4))[1].completion_tokens == 4


@pytest.mark.slow
def test_greedy_ids_are_the_same_from_text_and_from_ids(embedded: llamacpp.LlamaCpp) -> None:
    from bedside.recipe import ModelSection
    from bedside.runtime import hf

    text = embedded.prompt_text(QUESTION)
    ids = greedy_ids(embedded._server, text, 12)
    tokenizer = hf.load_tokenizer(locate.resolve(ModelSection()).folder, PromptSection())
    assert len(ids) == 12
    assert greedy_ids(embedded._server, hf.encode(tokenizer, text), 12) == ids
    assert finished(embedded, GenerationOptions(max_tokens=12))[1].answer == tokenizer.decode(ids).strip()


PAIR = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": False}
SCHEMA = json.dumps(PAIR)
FEW = GenerationOptions(max_tokens=12)


@pytest.fixture(scope="module")
def tiny(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[llamacpp.LlamaCpp]:
    """A random model, in two slots."""
    from bedside.export.convert import write_gguf

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_llama, path, "f32", "tiny")
    model = llamacpp.LlamaCpp(path, context=256, slots=2, threads=1, name="tiny-base")
    yield model
    model.close()


def test_a_model_may_be_named(tiny: llamacpp.LlamaCpp) -> None:
    assert tiny.name == "tiny-base"


def test_deltas_and_generation_are_one_and_its_tokens_are_counted(tiny: llamacpp.LlamaCpp) -> None:
    deltas, last = finished(tiny, FEW)
    assert "".join(delta.answer for delta in deltas).strip() == last.answer != ""
    assert (last.finish, last.completion_tokens) == ("length", 12)
    assert last.prompt_tokens == tiny.tokens(tiny.prompt_text(QUESTION))


def test_what_is_cached_of_a_prompt_is_counted_too(tiny: llamacpp.LlamaCpp) -> None:
    assert len({finished(tiny, FEW)[1].prompt_tokens for _ in range(2)}) == 1


def test_what_must_be_the_same_again_is_computed_without_what_was_asked_before(tiny: llamacpp.LlamaCpp) -> None:
    def computed(afresh: bool) -> int:
        """Tokens of the prompt that llama.cpp computed."""
        request = llamacpp._request(tiny.prompt_text(QUESTION), replace(FEW, afresh=afresh))
        *_, last = tiny._chunks(request)
        return int(last["timings"]["prompt_n"])

    computed(False)
    assert computed(False) < 3
    assert computed(True) == tiny.tokens(tiny.prompt_text(QUESTION))


@pytest.mark.parametrize("top", [0, 1, 5])
def test_each_token_of_an_answer_is_told_with_its_likelihood(tiny: llamacpp.LlamaCpp, top: int) -> None:
    deltas, last = finished(tiny, replace(FEW, logprobs=top))
    assert tuple(one for delta in deltas for one in delta.logprobs) == last.logprobs
    assert "".join(one.token for one in last.logprobs).strip() == last.answer
    assert all(one.logprob <= 0 and len(one.top) == top for one in last.logprobs)
    whole_characters = [one for one in last.logprobs if len(one.token.encode()) == len(one.token)]
    assert whole_characters
    if top:  # greedily the likeliest is taken
        assert all(one.logprob == one.top[0][1] for one in last.logprobs)
        assert all(one.top == tuple(sorted(one.top, key=lambda each: -each[1])) for one in last.logprobs)


def test_likelihoods_are_told_only_where_they_are_asked_for(tiny: llamacpp.LlamaCpp) -> None:
    deltas, last = finished(tiny, FEW)
    assert last.logprobs == ()
    assert not any(delta.logprobs for delta in deltas)


def test_of_what_a_stop_sequence_cuts_off_no_likelihood_is_told(tiny: llamacpp.LlamaCpp) -> None:
    _, whole = finished(tiny, replace(FEW, logprobs=0))
    stop = whole.logprobs[3].token[-1]
    _, cut = finished(tiny, replace(FEW, logprobs=0, stop=(stop,)))
    assert cut.finish == "stop"
    assert 0 < len(cut.logprobs) < len(whole.logprobs)
    assert cut.answer.startswith("".join(one.token for one in cut.logprobs).strip())


def test_an_answer_follows_its_schema(tiny: llamacpp.LlamaCpp) -> None:
    assert tiny.constrains
    _, last = finished(tiny, GenerationOptions(max_tokens=60, schema=SCHEMA))
    assert json.loads(last.answer) in ({"a": "x"}, {"a": "y"})
    assert (last.finish, last.forced) == ("stop", False)


def test_reasoning_is_free_of_the_schema_and_ends_where_it_must(tiny: llamacpp.LlamaCpp) -> None:
    opened = [*QUESTION, Message("assistant", "Let me see.")]
    prompt = tiny.prompt_text(opened) + "<think>\n"
    options = GenerationOptions(max_tokens=60, schema=SCHEMA, thinking_tokens=9)
    *_, last = stream_with_answer(tiny._stream_text, prompt, options)
    assert isinstance(last, Generation)
    assert json.loads(last.answer) in ({"a": "x"}, {"a": "y"})
    assert last.reasoning
    assert last.forced


def test_white_space_of_a_shaped_answer_is_that_of_json_dumps(tiny: llamacpp.LlamaCpp) -> None:
    _, last = finished(tiny, GenerationOptions(max_tokens=60, schema=SCHEMA, thinking_tokens=0))
    assert last.answer == json.dumps(json.loads(last.answer))


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "nonsense"}',
        '{"$ref": "#/nowhere"}',
        '{"type": "string", "pattern": "(("}',
        "[1]",
        '{"uniqueItems": 1}',
    ],
)
def test_a_schema_that_llama_cpp_would_pass_over_is_refused(tiny: llamacpp.LlamaCpp, schema: str) -> None:
    with pytest.raises(UsageError, match="tiny-base cannot be held to this JSON Schema"):
        tiny.stream(QUESTION, replace(FEW, schema=schema))
    with pytest.raises(UsageError, match="tiny-base cannot be held"):
        tiny.complete("Why?", replace(FEW, schema=schema))


def test_a_schema_that_is_no_json_is_refused(tiny: llamacpp.LlamaCpp) -> None:
    with pytest.raises(UsageError, match="the JSON Schema is no JSON"):
        tiny.stream(QUESTION, replace(FEW, schema="{"))


def test_a_text_is_continued_without_a_template(tiny: llamacpp.LlamaCpp) -> None:
    *deltas, last = tiny.complete("Aspirin 300 mg", FEW)
    assert isinstance(last, Generation)
    assert last.prompt_tokens == tiny.tokens("Aspirin 300 mg")
    assert "".join(delta.answer for delta in deltas if isinstance(delta, Delta)) == last.answer


def test_two_are_answered_at_the_same_time(tiny: llamacpp.LlamaCpp) -> None:
    first, second = (tiny.complete(text, GenerationOptions(max_tokens=100)) for text in ("Yes", "No"))
    assert all(isinstance(next(stream), Delta) for stream in (first, second, first, second))
    first.close()
    second.close()
    assert finished(tiny, FEW)[1].completion_tokens == 12
