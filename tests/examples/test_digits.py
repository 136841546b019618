"""The digits example reads digits it has not seen, and says so of itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from guardhouse.server.models import ModelLoadError, Models, Source
from guardhouse_examples import digits

pytest.importorskip("sklearn", reason="the digits example needs scikit-learn (guardhouse[demo])")
REFERENCE = "guardhouse_examples.digits:model"


@pytest.fixture(scope="module")
def models() -> Any:
    """The example loaded as the server loads it."""
    loaded = Models.load([Source("digits", python=REFERENCE)])
    yield loaded
    loaded.close()


async def test_it_reads_the_sample_rightly(models: Any) -> None:
    """The digit that `make run` offers gets its right answer, and probabilities that add up to one."""
    given = await models.get("digits").infer({"image": digits.sample()}, {})

    assert given["label"].tolist() == [digits.answer()]
    assert given["probabilities"].shape == (1, 10)
    assert given["probabilities"].sum() == pytest.approx(1)


def test_its_accuracy_is_measured_on_digits_held_out(models: Any) -> None:
    """The stated accuracy is what the model reaches on digits that were not among those it learned from."""
    images, _, unseen, answers = digits.digits()
    labels = digits.model.predict(unseen)["label"]

    assert digits.model.accuracy == np.mean(labels == answers)
    assert digits.model.accuracy > 0.95
    assert len(images) + len(unseen) == 1797


def test_training_gives_the_same_model_every_time(models: Any) -> None:
    """Two trainings answer alike, so an example's output can be printed in a document."""
    again = digits.Digits()
    again.load()
    image = digits.digits()[2]

    np.testing.assert_array_equal(
        again.predict(image)["probabilities"], digits.model.predict(image)["probabilities"]
    )


async def test_no_images_get_no_labels(models: Any) -> None:
    """An empty batch is a question too."""
    given = await models.get("digits").infer({"image": np.empty((0, 64), np.float32)}, {})

    assert (given["label"].shape, given["probabilities"].shape) == ((0,), (0, 10))


@pytest.mark.parametrize("name", ["digit.npy", "no-suffix"])
def test_the_command_writes_a_digit_and_says_which(name: str, tmp_path: Path) -> None:
    """`sample` writes the file it was told to, in the form the model takes, and prints the right answer."""
    out = tmp_path / name
    result = CliRunner().invoke(digits.main, ["sample", str(out), "--index", "3"])

    assert result.exit_code == 0
    assert result.output == f"{out}: a handwritten {digits.answer(3)}\n"
    image = np.load(out)
    assert (image.dtype, image.shape) == (np.float32, (1, 64))
    np.testing.assert_array_equal(image, digits.sample(3))


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    """The command says what it could not write."""
    out = tmp_path / "absent" / "digit.npy"
    result = CliRunner().invoke(digits.main, ["sample", str(out)])

    assert result.exit_code == 1
    assert result.output == f"Error: cannot write {out}: No such file or directory\n"


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the model and the command both name the extra."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)

    result = CliRunner().invoke(digits.main, ["sample", "unused.npy"])
    with pytest.raises(ModelLoadError) as caught:
        Models.load([Source("digits", python=REFERENCE)])

    assert result.output == "Error: scikit-learn is not installed; pip install 'guardhouse[demo]'\n"
    assert "pip install 'guardhouse[demo]'" in str(caught.value)
