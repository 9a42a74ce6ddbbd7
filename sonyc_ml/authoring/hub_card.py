"""The model card of a bundle: ``README.md`` with the front matter that the hub reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sonyc_ml.base.human import size
from sonyc_ml.bundles.about import Quantisation
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.integrity import quoted
from sonyc_ml.bundles.manifest import Manifest

MARK = "<!-- written by sonyc-ml bundle publish -->"  # without it, a card is a person's, and stays
# Names by which the hub knows licences; another one is called other, with its own name beside.
LICENCES = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "unlicense", "wtfpl", "zlib"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0"),
        *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0"),
        *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0"),
        *("odbl", "pddl", "ecl-2.0", "epl-2.0", "eupl-1.2", "ms-pl", "ofl-1.1"),
    }
)


def model_card(bundle: Bundle, hub_id: str = "") -> str:
    """What a bundle is, how to use it and what is known of it, from its manifest alone.

    Parameters
    ----------
    bundle : Bundle
        With its manifest.
    hub_id : str
        ``OWNER/NAME``, if it is known.
    """
    manifest = bundle.manifest
    assert manifest is not None  # who publishes has seen to it
    short = manifest.metadata.short_description if manifest.metadata else ""
    long = manifest.metadata.long_description if manifest.metadata else ""
    parts = [
        _front_matter(manifest),
        f"# {_line(manifest.name)} {manifest.version}",
        *(_line(text) for text in dict.fromkeys((short, long, manifest.description)) if text),
        "## Use",
        _use(bundle, hub_id),
        "## What it reads and says",
        "\n".join(f"- {text}" for text in _facts(manifest)),
    ]
    if manifest.labels:
        parts += ["## Labels", "\n".join(f"{i}. {_line(label)}" for i, label in enumerate(manifest.labels, 1))]
    if manifest.quantisation:
        parts += ["## Quantisation", "\n".join(f"- {text}" for text in _losses(manifest.quantisation, bundle))]
    parts += ["## Files", _files(bundle), "## Audacity", AUDACITY, MARK]
    return "\n\n".join(parts) + "\n"


AUDACITY = (
    "`metadata.json` has the keys that Audacity's deep learning tools read. Those tools themselves load TorchScript "
    "(`model.pt`), and this is a TFLite network: Audacity cannot run it, and so it does not have the tag `audacity`. "
    "`sonyc-ml labels` writes what it hears as label tracks, which Audacity opens."
)


def _front_matter(manifest: Manifest) -> str:
    """YAML, of which JSON's strings and lists are a part."""
    licence = manifest.licence.lower()
    has_scores = bool(manifest.labels or manifest.head or "scores" in manifest.outputs)
    task = "audio-classification" if has_scores else "feature-extraction"
    domains = manifest.metadata.domains if manifest.metadata else ()
    tags = manifest.metadata.tags if manifest.metadata else ()
    table: dict[str, Any] = {
        "license": licence if licence in LICENCES else "other" if licence else "unknown",
        **({"license_name": manifest.licence} if licence and licence not in LICENCES else {}),
        "library_name": "sonyc-ml",
        "pipeline_tag": "audio-to-audio" if manifest.waveform else task,
        "tags": list(dict.fromkeys(["tflite", "audio", *domains, *tags])),
    }
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())
    return "\n".join(["---", *lines, "---"])


def _use(bundle: Bundle, hub_id: str) -> str:
    address = f"hf://{hub_id}@REVISION" if hub_id else bundle.path.name
    has_tracks = bundle.manifest is not None and bundle.manifest.waveform is not None
    load, use = ("load_waveform_model", "separate") if has_tracks else ("load_model", "get_outputs")
    lines = [
        "```python",
        "import sonyc_ml",
        "",
        f"model = sonyc_ml.{load}({json.dumps(address, ensure_ascii=False)})",
        'y, sr = sonyc_ml.read_recording("a.wav")',
        f"outputs = model.{use}(y, sr)",
        "```",
    ]
    text = ["\n".join(lines)]
    if hub_id:
        text.append("`REVISION` is the full revision, 40 hexadecimal digits, as the hub shows it under History.")
    verb, output = ("separate", "tracks/") if has_tracks else ("embed", "embeddings/")
    command = f"sonyc-ml {verb} recordings/ --model {quoted(Path(bundle.path.name))} --output {output}"
    text.append(f"Or with the files in this folder: `{command}`.")
    if bundle.code:
        what = "a class of its author's package" if bundle.manifest and bundle.manifest.foreign_class else "a pickle"
        text.append(
            f"It holds code ({what}), which runs only after you have accepted it: `sonyc-ml bundle trust`. Do that "
            "only if you trust its author."
        )
    return "\n\n".join(text)


def _facts(manifest: Manifest) -> Iterator[str]:
    rate = f"{manifest.sample_rate:,} Hz" if manifest.sample_rate else "the rate of the recording"
    yield f"reads {manifest.input.kind} at {rate}: windows of {manifest.window_size_s:g} s"
    yield f"every {manifest.hop_size_s:g} s, unless you say otherwise"
    given = manifest.waveform.tracks if manifest.waveform else manifest.outputs
    yield f"gives {', '.join([*given, *(['scores'] if manifest.head else [])])}"
    if manifest.golden:
        yield "has a golden vector, by which each machine proves that it computes the same numbers"


def _losses(found: Quantisation, bundle: Bundle) -> Iterator[str]:
    yield f"recipe {_line(found.recipe)}, by {_line(found.tool)}, of {_line(found.source)} (float32)"
    yield f"{size(found.source_bytes)} before, {size(len(bundle.network))} after"
    if found.n_windows:
        yield f"ranges measured on {found.n_windows:,} windows of {found.n_recordings:,} recordings"
    yield f"judged by {found.n_held_out:,} recordings that were held out:"
    if found.cosine is not None and found.lowest_cosine is not None:
        yield f"cosine {found.cosine:.4f} on average, {found.lowest_cosine:.4f} at the lowest"
    if found.agreement is not None:
        yield f"the same top class in {found.agreement:.1%} of the windows"
    if found.accuracy_before is not None and found.accuracy_after is not None:
        yield (
            f"accuracy {found.accuracy_before:.1%} before, {found.accuracy_after:.1%} after, "
            f"of {found.n_of_classes:,} recordings"
        )


def _files(bundle: Bundle) -> str:
    assert bundle.manifest is not None  # who publishes has seen to it
    rows = [f"{digest}  {name}" for name, digest in sorted(bundle.manifest.files.items())]
    rows.append(f"{bundle.sha256}  {bundle.path.with_suffix('.json').name}")
    return "\n".join(["```text", *rows, "```"])


def _line(text: str) -> str:
    """A text of the manifest in one line, of which Markdown makes nothing but text."""
    line = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*[]<>#|" else char for char in line)
