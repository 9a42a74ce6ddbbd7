"""A comparison of two folders, as people read it."""

from __future__ import annotations

from typing import Any

from sonyc_ml.base.human import count, shown

MAX_LISTED = 10  # that are listed one by one


def comparison_text(table: dict[str, Any]) -> str:
    """A comparison's table, with the names of the two under ``a`` and ``b``, as lines for a terminal."""
    a, b = shown(table["a"]), shown(table["b"])
    lines = [f"A           {a}", f"B           {b}", f"in both     {count(table['recordings_in_both'])}"]
    for name, part in (("embedding", table["embedding"]), ("scores", table["scores"])):
        if part is not None:
            lines += _part_lines(name, part)
    if table["detections"] is not None:
        lines += _detection_lines(table["detections"])
    for found in table["provenance"]:
        ours, theirs = _apart(found["a"], found["b"])
        lines.append(f"{found['field']}: {ours} against {theirs} ({count(found['recordings'])})")
    apart = [f"{shown(entry['recording'])}: {shown(entry['why'])}" for entry in table["not_comparable"]]
    lines += _listed("missing in A", map(shown, table["missing_in_a"]))
    lines += _listed("missing in B", map(shown, table["missing_in_b"]))
    lines += _listed("not comparable", apart)
    lines += _listed("made of other files", map(shown, table["recording_sha256_differs"]))
    lines += _listed("beyond tolerance", map(shown, table["beyond_tolerance"]))
    return "\n".join([*lines, _verdict(table)])


def groups_text(groups: dict[str, dict[str, Any]]) -> str:
    """What the nodes or bundles of a dataset have heard, by name, as lines for a terminal."""
    lines: list[str] = []
    for name, group in groups.items():
        nodes = count(len(group["nodes"]), "node")
        lines.append(f"{shown(name)}: {count(group['recordings'])} of {nodes}, {group['sound_h']:.1f} h of sound")
        if group["first"]:
            lines.append(f"  from {group['first']} to {group['last']}")
        if group["recordings_without_detections"]:
            lines.append(f"  {count(group['recordings_without_detections'])} without detections, in no rate")
    labels = sorted({label for group in groups.values() for label in group["classes"]})
    for label in labels:
        lines.append(shown(label))
        lines += [f"  {_class_line(group['classes'].get(label))}  {shown(name)}" for name, group in groups.items()]
    return "\n".join(lines)


def _class_line(heard: dict[str, Any] | None) -> str:
    if heard is None:
        return "nothing of it"
    parts = []
    if heard["detections_per_h"] is not None:
        span = f"nodes {heard['lowest_node_per_h']:.3g} to {heard['highest_node_per_h']:.3g}"
        parts.append(f"{heard['detections_per_h']:.3g} detections per hour ({span})")
    if heard["mean_score"] is not None:
        parts.append(f"mean score {heard['mean_score']:.4f}, {heard['share_of_windows']:.2%} of windows from 0.5 on")
    return ", ".join(parts) or "nothing of it"


def _part_lines(name: str, part: dict[str, Any]) -> list[str]:
    largest = part["largest_difference"]
    shares = _share(part["equal_share"]), _share(part["equal_share_but_for_rounding"])
    head = (
        f"{name:<11} {count(part['windows'], 'window')}, {shares[0]} of the values equal, {shares[1]} but for rounding"
    )
    lines = [head]
    value = "a number against none" if largest["value"] is None else f"{largest['value']:.6g}"
    lines.append(f"  largest difference   {value}{_where(largest)}")
    if name == "embedding":
        lines.append(f"  lowest cosine        {part['lowest_cosine']['value']:.6f}{_where(part['lowest_cosine'])}")
        if part["largest_difference_steps"] is not None:
            lines.append(
                f"  in steps             {part['largest_difference_steps']} of {part['quantisation_step']:.6g}, "
                "the smallest gap between two values"
            )
    else:
        lines.append(f"  the same top class   {_share(part['top_class_agreement'])} of the windows")
    return lines


def _detection_lines(found: dict[str, Any]) -> list[str]:
    in_both, scores = found["in_both"], found["largest_difference_of_scores"]
    apart = f"{scores:.6g} of scores, {found['largest_difference_of_times_s']:.3g} s of times"
    alone = [f"{found[of] - in_both:,} in {name} alone" for of, name in (("in_a", "A"), ("in_b", "B"))]
    return [f"detections  {in_both:,} in both, {', '.join(alone)}", f"  largest difference   {apart}"]


def _share(share: float) -> str:
    """In per cent, and never 100 % of what is not all."""
    return f"{share:.2%}" if share in (0, 1) else f"{min(max(share, 0.0001), 0.9999):.2%}"


def _where(place: dict[str, Any]) -> str:
    if place["value"] in (0, 1):
        return ""
    return f"  {shown(place['recording'])}, window {place['window']} at {place['start_s']:.2f} s"


def _apart(ours: str, theirs: str) -> tuple[str, str]:
    """Two values without the parts that they share: of many versions, those that differ."""
    parts = [value.split("; ") for value in (ours, theirs)]
    own = [[part for part in parts[i] if part not in parts[1 - i]] for i in (0, 1)]
    named = [shown("; ".join(kept)) or "nothing" for kept in own]
    return named[0], named[1]


def _listed(title: str, entries: Any) -> list[str]:
    named = list(entries)
    if not named:
        return []
    lines = [f"{title}: {count(len(named))}", *(f"  {entry}" for entry in named[:MAX_LISTED])]
    if len(named) > MAX_LISTED:
        lines.append(f"  and {len(named) - MAX_LISTED:,} more; --json lists them all")
    return lines


def _verdict(table: dict[str, Any]) -> str:
    allowed = table["tolerances"]
    within = f"a cosine of {allowed['cosine']:g}, scores {allowed['scores']:g} apart"
    if table["same"]:
        return "the same, to the last bit" if allowed["exact"] else f"the same, within tolerance ({within})"
    return "they differ"
