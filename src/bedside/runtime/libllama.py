"""llama.cpp's own C functions, in the library that xllamacpp brings.

In: a GGUF file. Out: its tokens of a text, and log-probabilities of every token of the vocabulary at many positions at
once, which the Python calls of xllamacpp do not tell. Structures are laid out as in llama.cpp's include/llama.h; of
those that hold settings only the first fields are named here, and what was set is asked back.
"""

import ctypes
import importlib.util
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_uint8, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.errors import ContextTooLong, MissingExtra, ModelError
from bedside.models import header
from bedside.runtime.hardware import cores

BATCH = 2048
"""Tokens of one call at most; llama.cpp's own default."""


class _ModelSettings(ctypes.Structure):
    _fields_ = (("all", c_uint8 * 1024),)


class _ContextSettings(ctypes.Structure):
    _fields_ = (
        ("context", c_uint32),
        ("batch", c_uint32),
        ("micro_batch", c_uint32),
        ("sequences", c_uint32),
        ("rest", c_uint8 * 1024),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("count", c_int32),
        ("token", POINTER(c_int32)),
        ("embedding", POINTER(c_float)),
        ("position", POINTER(c_int32)),
        ("sequences_of", POINTER(c_int32)),
        ("sequence", POINTER(POINTER(c_int32))),
        ("wanted", POINTER(c_int8)),
    )


SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_model_default_params": (_ModelSettings, ()),
    "llama_context_default_params": (_ContextSettings, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, _ModelSettings)),
    "llama_init_from_model": (c_void_p, (c_void_p, _ContextSettings)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_meta_val_str": (c_int32, (c_void_p, c_char_p, c_char_p, ctypes.c_size_t)),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_n_batch": (c_uint32, (c_void_p,)),
    "llama_n_seq_max": (c_uint32, (c_void_p,)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)),
    "llama_batch_init": (_Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (_Batch,)),
    "llama_decode": (c_int32, (c_void_p, _Batch)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_log_set": (None, (c_void_p, c_void_p)),
}


class File:
    """A loaded file with room for `sequences` texts of `context` tokens each. Raises ModelError if it cannot load."""

    def __init__(self, path: Path, context: int, sequences: int = 1) -> None:
        header.read(path)  # before llama.cpp is given the file
        self._lib = library()
        self._model = self._lib.llama_model_load_from_file(str(path).encode(), self._lib.llama_model_default_params())
        if not self._model:
            raise ModelError(f"{path}: llama.cpp cannot load it (damaged, or an architecture it does not know)")
        self.path, self.context, self.sequences = path, context, sequences
        self._held: list[list[int]] = [[] for _ in range(sequences)]
        self._vocabulary = self._lib.llama_model_get_vocab(self._model)
        self.vocabulary = int(self._lib.llama_vocab_n_tokens(self._vocabulary))
        try:
            self._context = self._open_context()
        except BaseException:
            self._lib.llama_model_free(self._model)
            raise
        self._at_once = int(self._lib.llama_n_batch(self._context))
        self._batch = self._lib.llama_batch_init(self._at_once, 0, 1)

    def tokens(self, text: str) -> list[int]:
        """Token ids of a rendered prompt, the begin token included where llama.cpp adds one."""
        data = text.encode()
        room = len(data) + 2
        ids = (c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocabulary, data, len(data), ids, room, True, True)
        return ids[:count]

    def told(self, key: str) -> str:
        """A value of the file's metadata as text; "" if it is not there."""
        text = ctypes.create_string_buffer(256)
        self._lib.llama_model_meta_val_str(self._model, key.encode(), text, len(text))
        return text.value.decode(errors="replace")

    def ends(self, token: int) -> bool:
        """Whether llama.cpp ends an answer at this token."""
        return bool(self._lib.llama_vocab_is_eog(self._vocabulary, token))

    def logprobs(self, texts: Sequence[tuple[Sequence[int], int]]) -> list[NDArray[np.float32]]:
        """Of each (token ids, start): log-probabilities [len(ids) - start, vocabulary] of what follows ids[start], ….

        Raises ContextTooLong if a text does not fit.
        """
        found = []
        for ids, start in texts:
            kept = self.keep(0, ids[:start])
            found.append(self.extend([(0, ids[kept:], start - kept)])[0])
        return found

    def keep(self, sequence: int, ids: Sequence[int]) -> int:
        """How many of the first `ids` the sequence holds now; whatever else it held is forgotten.

        What another sequence holds more of is taken over from there, so that a common beginning is computed once.
        """
        known = [common_length(held, ids) for held in self._held]
        kept = max(known)
        if kept > known[sequence]:
            self.copy(known.index(kept), sequence)
        held = self._held[sequence]
        memory = self._lib.llama_get_memory(self._context)
        if not self._lib.llama_memory_seq_rm(memory, sequence, kept, -1):  # some caches forget all or nothing
            self._lib.llama_memory_seq_rm(memory, sequence, -1, -1)
            kept = 0
        del held[kept:]
        return kept

    def copy(self, source: int, target: int) -> None:
        """What one sequence holds, another holds instead of its own."""
        memory = self._lib.llama_get_memory(self._context)
        self._lib.llama_memory_seq_rm(memory, target, -1, -1)
        self._lib.llama_memory_seq_cp(memory, source, target, -1, -1)
        self._held[target] = self._held[source].copy()

    def extend(self, parts: Sequence[tuple[int, Sequence[int], int]]) -> list[NDArray[np.float32]]:
        """Adds tokens to sequences: (sequence, new ids, first of these to tell of) each.

        Returns log-probabilities [told ids, vocabulary] of the next token after each id that is told of. Raises
        ContextTooLong if one does not fit.
        """
        longest = max(len(self._held[sequence]) + len(ids) for sequence, ids, _ in parts)
        if longest > self.context:  # llama.cpp would end the process
            raise ContextTooLong(f"{self.path}: a text has {longest} tokens, {self.context} are reserved")
        wanted_of = [max(0, len(ids) - first) for _, ids, first in parts]
        logits_TV = np.empty((sum(wanted_of), self.vocabulary), np.float32)
        place = 0
        for piece in self._pieces(parts):
            batch = self._batch
            batch.count = len(piece)
            for i, (part, token, position, wanted) in enumerate(piece):
                batch.token[i], batch.position[i], batch.wanted[i] = token, position, wanted
                batch.sequences_of[i], batch.sequence[i][0] = 1, parts[part][0]
            if self._lib.llama_decode(self._context, batch):
                raise ModelError(f"{self.path}: llama.cpp could not compute {len(piece)} tokens")
            for i, (_, _, _, wanted) in enumerate(piece):  # in the order of the parts
                if wanted:
                    logits_TV[place] = self._logits_at(i)
                    place += 1
        for sequence, ids, _ in parts:
            self._held[sequence] += ids
        return np.split(_log_softmax(logits_TV), np.cumsum(wanted_of)[:-1])

    def close(self) -> None:
        """Frees everything; the file cannot be used any more."""
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    def _open_context(self) -> int:
        settings = self._lib.llama_context_default_params()
        settings.context, settings.batch = self.context * self.sequences, BATCH
        settings.sequences = self.sequences
        opened = self._lib.llama_init_from_model(self._model, settings)
        if not opened:
            raise ModelError(f"{self.path}: llama.cpp has no memory for {self.sequences} × {self.context} tokens")
        if self._lib.llama_n_ctx(opened) < settings.context or self._lib.llama_n_seq_max(opened) != self.sequences:
            self._lib.llama_free(opened)
            raise ModelError("xllamacpp: its llama.cpp takes other settings than this version of Bedside gives it")
        self._lib.llama_set_n_threads(opened, cores(), cores())
        return int(opened)

    def _pieces(self, parts: Sequence[tuple[int, Sequence[int], int]]) -> Iterator[list[tuple[int, int, int, bool]]]:
        """(part, token, position, whether to tell) of all parts, as many as llama.cpp takes in one call."""
        every = [
            (part, token, len(self._held[sequence]) + i, i >= first)
            for part, (sequence, ids, first) in enumerate(parts)
            for i, token in enumerate(ids)
        ]
        for start in range(0, len(every), self._at_once):
            yield every[start : start + self._at_once]

    def _logits_at(self, place: int) -> NDArray[np.float32]:
        """llama.cpp's own memory, good until its next call."""
        return np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, place), (self.vocabulary,))


def _log_softmax(logits_TV: NDArray[np.float32]) -> NDArray[np.float32]:
    """In place."""
    logits_TV -= logits_TV.max(-1, keepdims=True)
    logits_TV -= np.log(np.exp(logits_TV).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return logits_TV


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def library_file() -> Path | None:
    """Where xllamacpp keeps it; None if that is not installed."""
    spec = importlib.util.find_spec("xllamacpp")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = (file for folder in folders for file in sorted(Path(folder).glob("xllamacpp*.*")))
    return next((file for file in files if file.suffix in (".so", ".pyd", ".dylib")), None)


@cache
def library() -> Any:
    """The shared library, whose extension exports the functions; none of its Python code is run."""
    file = library_file()
    if file is None:
        raise MissingExtra.named("comparing with llama.cpp", "export")
    found = ctypes.CDLL(str(file))
    for name, (result, arguments) in SIGNATURES.items():
        if not hasattr(found, name):
            raise ModelError(f"{file.name} has no {name}; install the xllamacpp that constraints.txt names")
        function = getattr(found, name)
        function.restype, function.argtypes = result, list(arguments)
    found.llama_log_set(ctypes.cast(_silence, c_void_p), None)
    return found


_silence = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)(lambda level, text, data: None)
