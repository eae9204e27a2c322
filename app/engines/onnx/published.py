"""Models of onnx-asr: their published names, the files that each needs, and how the model in a folder is detected.

A model is detected without importing the library, which is an optional extra.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from app.engines.family import IncompleteModelError

_RUSSIAN = ("ru",)
_ENGLISH = ("en",)
_EUROPEAN = (
    *("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu", "it"),
    *("lt", "lv", "mt", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "uk"),
)

_CONFIG = "config.json"
CANARY = "nemo-conformer-aed"
_LANGUAGE_TOKEN = re.compile(r"^<\|([a-z]{2})\|> ", re.MULTILINE)  # a language token in Canary's vocabulary
_PLAIN, _INT8, _FLOAT16 = "", "?int8", "?fp16"  # precisions in the library's patterns of file names
# The file name suffix of each precision that an operator may configure. No model has files for the precisions in the
# last line, which exist for Whisper models.
PRECISIONS: Mapping[str, str] = {
    "int8": _INT8,
    "float16": _FLOAT16,
    "float32": _PLAIN,
    **dict.fromkeys(("int8_float16", "int8_bfloat16", "int8_float32", "int16", "bfloat16"), _PLAIN),
}


def _gigaam_transducer(stem: str) -> tuple[str, ...]:
    return tuple(f"{stem}_{part}{{}}.onnx" for part in ("encoder", "decoder", "joint"))


_NEMO_TRANSDUCER = ("encoder-model{}.onnx", "decoder_joint-model{}.onnx", "vocab.txt", _CONFIG)
# The patterns of the library for the files that each architecture needs; `{}` stands for the precision.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "nemo-conformer-ctc": ("model{}.onnx", "vocab.txt", _CONFIG),
    "nemo-conformer-rnnt": _NEMO_TRANSDUCER,
    "nemo-conformer-tdt": _NEMO_TRANSDUCER,
    CANARY: ("encoder-model{}.onnx", "decoder-model{}.onnx", "vocab.txt", _CONFIG),
    "t-one-ctc": ("model{}.onnx", _CONFIG),
    "gigaam-v2-ctc": ("v?_ctc{}.onnx", "v?_vocab.txt", _CONFIG),
    "gigaam-v2-rnnt": (*_gigaam_transducer("v?_rnnt"), "v?_vocab.txt", _CONFIG),
    "gigaam-v3-e2e-ctc": ("v3_e2e_ctc{}.onnx", "v3_e2e_ctc_vocab.txt", _CONFIG),
    "gigaam-v3-e2e-rnnt": (*_gigaam_transducer("v3_e2e_rnnt"), "v3_e2e_rnnt_vocab.txt", _CONFIG),
    "gigaam-multilingual-ctc": ("multilingual*_ctc{}.onnx", "multilingual_vocab.txt", _CONFIG),
    "vosk": ("*/encoder{}.onnx", "*/decoder{}.onnx", "*/joiner{}.onnx", "*/tokens.txt"),
}

_DETECTED_BY_FILES = [architecture for architecture in NEEDED if architecture.startswith(("gigaam", "vosk"))]


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A published model, which onnx-asr can download by its name.

    `architecture`: as onnx-asr names it, such as "nemo-conformer-ctc"; NEEDED has all of them. `languages`: the codes
    of the languages that the model can transcribe; empty: many or unknown.
    """

    architecture: str
    languages: tuple[str, ...]


# The model names of onnx-asr 0.12, with the languages in its documentation and on the models' pages.
PUBLISHED: Mapping[str, PublishedModel] = {
    "gigaam-v2-ctc": PublishedModel("gigaam-v2-ctc", _RUSSIAN),
    "gigaam-v2-rnnt": PublishedModel("gigaam-v2-rnnt", _RUSSIAN),
    "gigaam-v3-ctc": PublishedModel("gigaam-v2-ctc", _RUSSIAN),
    "gigaam-v3-rnnt": PublishedModel("gigaam-v2-rnnt", _RUSSIAN),
    "gigaam-v3-e2e-ctc": PublishedModel("gigaam-v3-e2e-ctc", _RUSSIAN),
    "gigaam-v3-e2e-rnnt": PublishedModel("gigaam-v3-e2e-rnnt", _RUSSIAN),
    "gigaam-multilingual-ctc": PublishedModel("gigaam-multilingual-ctc", ()),
    "gigaam-multilingual-large-ctc": PublishedModel("gigaam-multilingual-ctc", ()),
    "nemo-fastconformer-ru-ctc": PublishedModel("nemo-conformer-ctc", _RUSSIAN),
    "nemo-fastconformer-ru-rnnt": PublishedModel("nemo-conformer-rnnt", _RUSSIAN),
    "nemo-parakeet-ctc-0.6b": PublishedModel("nemo-conformer-ctc", _ENGLISH),
    "nemo-parakeet-rnnt-0.6b": PublishedModel("nemo-conformer-rnnt", _ENGLISH),
    "nemo-parakeet-tdt-0.6b-v2": PublishedModel("nemo-conformer-tdt", _ENGLISH),
    "nemo-parakeet-tdt-0.6b-v3": PublishedModel("nemo-conformer-tdt", _EUROPEAN),
    "nemo-canary-1b-v2": PublishedModel(CANARY, _EUROPEAN),
    "t-tech/t-one": PublishedModel("t-one-ctc", _RUSSIAN),
    "alphacep/vosk-model-ru": PublishedModel("vosk", _RUSSIAN),
    "alphacep/vosk-model-small-ru": PublishedModel("vosk", _RUSSIAN),
}

_BY_FOLDER_NAME = {alias: model for name, model in PUBLISHED.items() for alias in (name, name.rpartition("/")[2])}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a model in a folder, and what onnx-asr has to know to load them.

    `architecture`: as onnx-asr names it, such as "nemo-conformer-ctc"; NEEDED has all of them. `precision`: as onnx-asr
    names it; None: full precision. `languages`: the codes of the languages that the model can transcribe; empty: many
    or unknown.
    """

    architecture: str
    precision: str | None
    languages: tuple[str, ...]
    files: tuple[Path, ...]


def detect(folder: Path, name: str, compute_type: str | None) -> ModelFiles | None:
    """Return the files of the model in a folder; None if the folder contains no model that the library can load.

    The architecture follows from `name` if a published model has that name, else from `model_type` in config.json, else
    from the files. Of several precisions, the one in `compute_type` is preferred, then full precision, int8 and
    float16.

    Raises:
        IncompleteModelError: The architecture is known, but some of its files are missing.
    """
    config, known = _config(folder), _BY_FOLDER_NAME.get(name)
    architecture = known.architecture if known else _architecture(folder, config)
    if architecture is None:
        return None
    suffixes = [suffix for suffix in _preferred(compute_type) if not _missing(folder, architecture, suffix)]
    if not suffixes:
        raise IncompleteModelError(_missing(folder, architecture, _PLAIN))
    return ModelFiles(
        architecture=architecture,
        precision=suffixes[0].removeprefix("?") or None,
        languages=known.languages if known else _languages(folder, config),
        files=tuple(_files(folder, architecture, suffixes[0])),
    )


def fetch(name: str, compute_type: str | None) -> Path:
    """Return the folder of a published model in the cache of the model hub; download the model unless it is cached.

    A cached model is used even if it has another precision than `compute_type`; a download prefers this precision.

    Raises:
        Exception: The model hub cannot be reached; its client raises many types of error.
    """
    suffixes = _preferred(compute_type)
    for suffix in suffixes:
        with suppress(Exception):  # any error of the hub's client means that these files are not in the cache
            return _resolve(name, suffix, offline=True)
    with suppress(Exception):  # not every model is published in every precision
        return _resolve(name, suffixes[0], offline=False)
    return _resolve(name, suffixes[1], offline=False)


def _resolve(name: str, suffix: str, *, offline: bool) -> Path:
    from onnx_asr.loader import create_asr_resolver  # noqa: PLC0415 -- an optional extra

    files = create_asr_resolver(name, offline=offline).resolve_model(quantization=suffix.removeprefix("?") or None)
    depth = NEEDED[PUBLISHED[name].architecture][0].count("/")
    return next(iter(files.values())).parents[depth]


def _preferred(compute_type: str | None) -> list[str]:
    first = PRECISIONS.get(compute_type or "", _PLAIN)
    return list(dict.fromkeys([first, _PLAIN, _INT8, _FLOAT16]))


def _architecture(folder: Path, config: Mapping[str, object]) -> str | None:
    configured = str(config.get("model_type"))
    configured = PUBLISHED[configured].architecture if configured in PUBLISHED else configured
    if configured in NEEDED and _is_complete(folder, configured):
        return configured
    if "decoder_params" in config:
        return "t-one-ctc"
    complete = (architecture for architecture in _DETECTED_BY_FILES if _is_complete(folder, architecture))
    return next(complete, configured if configured in NEEDED else None)


def _is_complete(folder: Path, architecture: str) -> bool:
    return any(not _missing(folder, architecture, suffix) for suffix in (_PLAIN, _INT8, _FLOAT16))


def _missing(folder: Path, architecture: str, suffix: str) -> list[str]:
    patterns = [pattern.format(suffix) for pattern in NEEDED[architecture]]
    return [pattern for pattern in patterns if not any(folder.glob(pattern))]


def _files(folder: Path, architecture: str, suffix: str) -> Iterator[Path]:
    """Yield the files in a folder that a model of this architecture needs, including external data files of weights."""
    patterns = [pattern.format(suffix) for pattern in NEEDED[architecture]]
    beside = [f"{pattern}?data" for pattern in patterns if pattern.endswith(".onnx")]
    return chain.from_iterable(sorted(folder.glob(pattern)) for pattern in (*patterns, *beside))


def _languages(folder: Path, config: Mapping[str, object]) -> tuple[str, ...]:
    listed = config.get("languages")
    if isinstance(listed, list):
        return tuple(str(language) for language in listed)
    if config.get("model_type") == CANARY:
        return tuple(_LANGUAGE_TOKEN.findall((folder / "vocab.txt").read_text(encoding="utf-8")))
    return ()


def _config(folder: Path) -> Mapping[str, object]:
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
