"""A real model to guard: it reads the handwritten digits that come with scikit-learn.

    models:
      - {name: digits, version: "1", python: guardhouse_examples.digits:model}

`python -m guardhouse_examples.digits sample out.npy` writes a digit it was not trained on, and says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from guardhouse.server.models import Signature

Array = np.ndarray[Any, np.dtype[Any]]
BRIGHTEST = 16.0  # of a pixel in this data set
HELD_OUT = 360  # of 1797 digits


class Digits:
    """Multinomial logistic regression over 8 x 8 pixels; trained in `load`, in well under a second.

    Attributes:
        signature: Takes images as rows of 64 pixels of 0 to 16; gives labels, and ten probabilities each.
        accuracy: Share of the held-out digits it reads rightly; 0 until trained.
    """

    signature = Signature.of(
        inputs={"image": ("FP32", [-1, 64])},
        outputs={"label": ("INT64", [-1]), "probabilities": ("FP32", [-1, 10])},
    )

    def __init__(self) -> None:
        self.accuracy = 0.0
        self._weights = np.zeros((64, 10))
        self._bias = np.zeros(10)

    def load(self) -> None:
        """Train, and measure on the digits held out."""
        images, labels, unseen, answers = digits()
        from sklearn.linear_model import LogisticRegression

        learner = LogisticRegression(max_iter=1000).fit(images / BRIGHTEST, labels)
        self._weights, self._bias = learner.coef_.T, learner.intercept_
        self.accuracy = float(np.mean(self.predict(unseen)["label"] == answers))

    def predict(self, image: Array) -> dict[str, Array]:
        """Label and probabilities of each row of *image*, of which there may be none."""
        scores = image / BRIGHTEST @ self._weights + self._bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        return {"label": probabilities.argmax(axis=1), "probabilities": probabilities}


def digits() -> tuple[Array, Array, Array, Array]:
    """Images and labels to learn from, and as many again, held out; the same ones every time.

    Images are FP32 rows of 64 pixels, labels INT64. ImportError, in one line, without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("scikit-learn is not installed; pip install 'guardhouse[demo]'") from None
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order].astype(np.float32), labels[order].astype(np.int64)
    return images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT]


def sample(index: int = 0) -> Array:
    """One held-out digit as the model takes it: FP32 of shape [1, 64]. IndexError past the last."""
    return digits()[2][[index]]


def answer(index: int = 0) -> int:
    """The right answer for `sample(index)`."""
    return int(digits()[3][index])


model = Digits()


@click.group()
def main() -> None:
    """Handwritten digits for the example model."""


@main.command("sample")
@click.argument("out", type=click.Path(dir_okay=False, writable=True))
@click.option(
    "--index", default=0, show_default=True, type=click.IntRange(0, HELD_OUT - 1), help="Which one."
)
def write_sample(out: str, index: int) -> None:
    """Write a digit the model was not trained on to OUT, as .npy, and say which digit it is."""
    try:
        image = sample(index)
        with Path(out).open("wb") as file:
            np.save(file, image)
    except ImportError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror}") from None
    click.echo(f"{out}: a handwritten {answer(index)}")


if __name__ == "__main__":
    main(prog_name="python -m guardhouse_examples.digits")
