"""``[output]``: where embeddings go, and what of the numbers they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.outputs.rules import Kept


@dataclass(frozen=True, slots=True)
class OutputConfig:
    """``[output]``: where embeddings go; what is kept of the numbers, where the bundle's manifest is not to say it."""

    folder: Path = field(metadata={"flag": "--output DIR"})
    format: str = "npz"
    scores: str | None = None
    top_k: int | None = None
    score_dtype: str | None = None
    embedding_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.format not in ("npz", "csv"):
            raise ValueError(f"format must be npz or csv, not {self.format!r}")
        Kept(**self.keep())

    def keep(self) -> dict[str, Any]:
        """What is said of :class:`sonyc_ml.outputs.rules.Kept`."""
        names = ("scores", "top_k", "score_dtype", "embedding_dtype")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
