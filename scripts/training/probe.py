"""The linear probe: how much a linear classifier can read out of a network's embeddings.

Multinomial logistic regression (C = 0.01) on standardised, clip-pooled embeddings: mean, standard deviation and maximum
over a clip's windows. The mean and deviation of the standardisation come from the training folds, like the regression.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

C = 0.01


def pooled(embeddings: Sequence[Floats]) -> Floats:
    """Clips' embeddings, each `(n_windows, n_dims)`, as one row of `3 * n_dims` numbers a clip."""
    return np.stack([np.concatenate([e.mean(axis=0), e.std(axis=0), e.max(axis=0)]) for e in embeddings])


def predicted(train: Floats, train_labels: Integers, test: Floats) -> Integers:
    """Labels that the probe, fitted on pooled rows `train`, gives to pooled rows `test`."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))
    probe.fit(train, train_labels)
    return np.asarray(probe.predict(test), np.int64)
