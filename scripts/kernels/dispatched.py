"""Names of the instructions that numpy uses here beyond those that it was built for."""

from __future__ import annotations

import numpy as np

umath = getattr(np, "_core", None) or np.core
features = umath._multiarray_umath.__cpu_features__  # noqa: SLF001  nothing public tells
print(" ".join(name for name in umath._multiarray_umath.__cpu_dispatch__ if features[name]))  # noqa: SLF001
