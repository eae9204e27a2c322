import json
from pathlib import Path

import pytest
from onnx_asr.loader import AsrNames, create_asr_resolver

from app.engines.family import IncompleteModelError
from app.engines.onnx.published import NEEDED, PUBLISHED, detect

E2E = ("v3_e2e_ctc.onnx", "v3_e2e_ctc_vocab.txt")


def make(folder: Path, *files: str, config: dict[str, object] | None = None) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_library_publishes_what_we_name() -> None:
    # Given the names that the library knows
    published = set(AsrNames.__args__)  # type: ignore[attr-defined]

    # Then they are ours, but for its Whisper, which CTranslate2 runs here
    assert set(PUBLISHED) == published - {"whisper-base"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_guide_names_every_model(name: str) -> None:
    # Given a published model, then docs/models.md says what it is for
    assert f"`{name}`" in (Path(__file__).parents[4] / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_library_wants_the_files_that_we_name(name: str, tmp_path: Path) -> None:
    # Given a folder with the files that we say a published model needs
    patterns = NEEDED[PUBLISHED[name].architecture]
    files = [pattern.format("").replace("?", "3").replace("*", "a") for pattern in patterns]
    make(tmp_path, *files, config={})

    # When the library reads it, then nothing is missing
    assert create_asr_resolver(name, tmp_path).resolve_model()


@pytest.mark.parametrize(
    ("files", "config", "architecture"),
    [
        # The graph's weights lie in a file beside it.
        (("model.onnx", "model.onnx.data", "vocab.txt"), {"model_type": "nemo-conformer-ctc"}, "nemo-conformer-ctc"),
        (
            ("encoder-model.onnx", "decoder_joint-model.onnx", "vocab.txt"),
            {"model_type": "nemo-conformer-tdt"},
            "nemo-conformer-tdt",
        ),
        (
            ("encoder-model.onnx", "decoder-model.onnx", "vocab.txt"),
            {"model_type": "nemo-conformer-aed"},
            "nemo-conformer-aed",
        ),
        (("v3_ctc.onnx", "v3_vocab.txt"), {"model_type": "gigaam-v3-rnnt"}, "gigaam-v2-ctc"),
        (E2E, {}, "gigaam-v3-e2e-ctc"),
        (("model.onnx",), {"encoder_params": {}, "decoder_params": {}}, "t-one-ctc"),
        (
            ("am-onnx/encoder.onnx", "am-onnx/decoder.onnx", "am-onnx/joiner.onnx", "lang/tokens.txt"),
            None,
            "vosk",
        ),
    ],
)
def test_a_folder_is_recognised(
    tmp_path: Path, files: tuple[str, ...], config: dict[str, object] | None, architecture: str
) -> None:
    # Given a folder that an operator has named as he likes
    make(tmp_path, *files, config=config)

    # When it is examined
    detected = detect(tmp_path, "ours", None)

    # Then its config.json or its files say what it is
    assert detected is not None
    assert (detected.architecture, detected.precision) == (architecture, None)
    assert {file.name for file in detected.files} >= {Path(name).name for name in files}


def test_the_folder_of_a_published_model_has_its_name(tmp_path: Path) -> None:
    # Given published models, one with a slash in its name, without a vocabulary
    make(tmp_path, "encoder-model.onnx", "decoder_joint-model.onnx", "model.onnx", config={})

    # When they are examined, then the files and languages of each are known by its name
    detected = detect(tmp_path, "t-one", None)
    assert detected is not None
    assert detected.languages == ("ru",)
    with pytest.raises(IncompleteModelError, match=r"vocab\.txt"):
        detect(tmp_path, "nemo-parakeet-tdt-0.6b-v2", None)


@pytest.mark.parametrize(
    "config", ['{"model_type": "wav2vec2"}', '{"model_type": 7}', "{}", None, "", "[1]", "{", "\udc80"]
)
def test_other_folders_are_not_recognised(tmp_path: Path, config: str | None) -> None:
    # Given a folder with a network of some other kind, or a damaged config.json, when it is inspected, then it is none
    # of the library's
    make(tmp_path, "model.onnx", "vocab.txt")
    if config is not None:
        (tmp_path / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    assert detect(tmp_path, "ours", None) is None


@pytest.mark.parametrize(
    ("files", "requested", "precision"),
    [
        (("model.onnx", "model.int8.onnx"), None, None),
        (("model.onnx", "model.int8.onnx"), "int8", "int8"),
        (("model.onnx", "model.fp16.onnx"), "float16", "fp16"),
        (("model.onnx", "model.int8.onnx"), "float32", None),
        (("model.onnx", "model.int8.onnx"), "int8_float16", None),  # which is for Whisper models beside this one
        (("model.onnx",), "int8", None),
        (("model.int8.onnx",), None, "int8"),
    ],
)
def test_of_several_precisions_the_wanted_one_is_taken(
    tmp_path: Path, files: tuple[str, ...], requested: str | None, precision: str | None
) -> None:
    # Given a folder with some precisions of a model
    make(tmp_path, *files, "vocab.txt", config={"model_type": "nemo-conformer-ctc"})

    # When it is examined
    detected = detect(tmp_path, "ours", requested)

    # Then the files are those of the precision requested, or of one that is there
    assert detected is not None
    assert detected.precision == precision
    assert len([file for file in detected.files if file.suffix == ".onnx"]) == 1


@pytest.mark.parametrize(
    ("files", "config"),
    [
        (("model.onnx",), {"model_type": "nemo-conformer-ctc", "languages": ["en", "ru"]}),
        (("encoder-model.onnx", "decoder-model.onnx"), {"model_type": "nemo-conformer-aed"}),  # a Canary
    ],
)
def test_an_own_model_reports_its_languages(tmp_path: Path, files: tuple[str, ...], config: dict[str, object]) -> None:
    # Given a model with an unpublished name, whose config.json or vocabulary lists its languages
    make(tmp_path, *files, config=config)
    (tmp_path / "vocab.txt").write_text("<|en|> 0\n<|ru|> 1\n<|pnc|> 2\n\u2581no 3\n", encoding="utf-8")

    # When it is examined, then they are known
    detected = detect(tmp_path, "ours", None)
    assert detected is not None
    assert detected.languages == ("en", "ru")
