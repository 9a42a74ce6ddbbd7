"""Answers laid out for reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from sonyc_ml.base.human import count, shown, size, span

Answer: TypeAlias = dict[str, Any]
Rows: TypeAlias = list[tuple[str, str]]

N_REASONS = 5
N_GAPS = 20  # of a live source, the last ones
STATE_WORDS = {"done": "embedded"}
CLOCK = {True: "synchronised", False: "not synchronised: times may be wrong", None: "not known whether synchronised"}


def status_text(answer: Answer) -> str:
    """Lay out what :func:`sonyc_ml.node.operate.status.status` answers."""
    rows: Rows = [("state", answer["text"])]
    if answer["running"]:
        since = f"since {answer['since']}, " if answer["since"] else ""
        rows.append(("running", f"{since}process {answer['pid']}, version {answer['version']}"))
    if answer["node"]:
        rows.append(("node", _node(answer["node"])))
    folder, last = answer["folder"], answer["last_output"]
    if folder["path"]:
        how = {"watched": "", "polled": f": {folder['detail']}"}.get(folder["word"], f": {folder['detail']}")
        rows.append(("folder", folder["path"] + (how if folder["word"] else "")))
    rows += _listed("live", [f"{one['source']}: {one['text']}" for one in answer["sources"]])
    rows += _backlog_rows(answer["backlog"])
    rows.append(("recordings", ", ".join(f"{found['recordings']:,} {s}" for s, found in answer["counts"].items())))
    for state in ("quarantined", "shed"):
        if answer["counts"][state]["recordings"]:
            rows.append((state, _reasons(answer["counts"][state]["reasons"])))
    if last:
        rows.append(("last output", f"of {last['recording']}, {last['at']}, {span(last['age_s'])} ago"))
    rows += _bundle_rows(answer["bundles"], answer["reload"])
    rows += [("rollout", f"{one['detail']}; looked {one['looked']}") for one in answer["rollouts"]]
    if answer["upload"]:
        rows.append(("upload", answer["upload"]["text"]))
    for name, disk in answer["disk"].items():
        if disk:
            rows.append((f"disk, {name}", _disk(disk)))
    rows.append(("journal", f"{answer['journal']['path']}, {size(answer['journal']['bytes'])}"))
    rows.append(("clock", CLOCK[answer["clock_synchronised"]]))
    if answer["start_times"]:
        rows.append(("start times", answer["start_times"].removeprefix("start times: ")))
    rows += _listed("attention", answer["attention"] or ["nothing"])
    return table(rows)


def _node(node: Answer) -> str:
    """What a node is called, and where it stands."""
    place = "" if "latitude" not in node else f"{node['latitude']}, {node['longitude']}"
    height = "" if "elevation_m" not in node else f"{node['elevation_m']:g} m above the sea"
    more = (node.get(key, "") for key in ("time_zone", "microphone", "owner", "note"))
    return ", ".join(part for part in (node.get("name", ""), place, height, *more) if part)


def _backlog_rows(backlog: Answer) -> Rows:
    if not backlog["recordings"]:
        return [("backlog", "empty")]
    rows = [("backlog", f"{count(backlog['recordings'])}, the oldest found {span(backlog['lag_s'])} ago")]
    for waiting in backlog["waiting"]:
        reason = waiting["reason"] or "no reason given"
        rows.append(("", f"{count(waiting['recordings'])} not due yet ({reason}), the next at {waiting['next']}"))
    return rows


def _bundle_rows(bundles: list[Answer], reload: Answer | None) -> Rows:
    rows = []
    for bundle in bundles:
        name = f"{bundle.get('name')} {bundle.get('version')}".strip()
        kernels = f"XNNPACK took {bundle.get('xnnpack_operators')} of {bundle.get('operators')} operators"
        if bundle["warning"]:
            kernels = f"WARNING: {bundle['warning']}"
        rows.append(("bundle", f"{name}, SHA-256 {bundle.get('sha256', '')[:12]}, {bundle.get('runtime')}, {kernels}"))
    if reload:
        rows.append(("last reload", f"{reload['at']}: {'' if reload['ok'] else 'failed: '}{reload['detail']}"))
    return rows


def _disk(disk: Answer) -> str:
    if disk["problem"]:
        return f"{disk['folder']}: {disk['problem']}"
    share = "" if disk["free_share"] is None else f" ({disk['free_share']:.0%})"
    return f"{size(disk['free_bytes'])} of {size(disk['total_bytes'])} free{share}, {disk['folder']}"


def _reasons(reasons: dict[str, int]) -> str:
    top = sorted(reasons.items(), key=lambda item: -item[1])
    words = [f"{n:,} {word}" for word, n in top[:N_REASONS]]
    if len(top) > N_REASONS:
        words.append(f"{sum(n for _, n in top[N_REASONS:]):,} others")
    return ", ".join(words)


def _listed(name: str, sentences: Iterable[str]) -> Rows:
    return [("" if number else name, sentence) for number, sentence in enumerate(sentences)]


def explain_text(answer: Answer) -> str:
    """Lay out what :func:`sonyc_ml.node.operate.status.explain` answers."""
    name = answer["name"] or answer["file"]
    if not answer["known"]:
        return lines([f"{name}: the journal does not know it", *(f"  {why}" for why in answer["why"])])
    parts = []
    for recording in answer["recordings"]:
        parts.append(f"{name}: {recording['bytes']:,} bytes, last changed {recording['mtime']}")
        parts += [f"  {sentence}" for sentence in recording["sentences"]]
    return lines(parts)


def audit_text(answer: Answer) -> str:
    """Lay out what :func:`sonyc_ml.node.operate.audit.audit` answers."""
    rows: Rows = [("span", f"{answer['since']} to {answer['until']}")]
    if answer["history_begins"] is None:
        return table([*rows, ("recorded", "nothing is known: the journal is empty")])
    if not answer["whole"]:
        rows.append(("history", f"begins {answer['history_begins']}, later than the span"))
    share = answer["embedded_share"]
    embedded = "" if share is None else f"; {share:.1%} of the recordings"
    if answer["embedded_share_of_seconds"] is not None:
        embedded += f", {answer['embedded_share_of_seconds']:.1%} of the time known"
    rows += [
        ("recorded", _total(answer["recorded"])),
        ("embedded", _total(answer["embedded"]) + embedded),
        ("salvaged", _total(answer["salvaged"])),
    ]
    for state in ("quarantined", "shed"):
        reasons = _reasons(answer[state]["reasons"])
        rows.append((state, _total(answer[state]) + (f": {reasons}" if reasons else "")))
    rows.append(("pending", _total(answer["pending"])))
    rows += _listed("days", _day_sentences(answer["days"]))
    rows += _listed("node", [f"{_node(one)}, since {one['since']}" for one in answer["nodes"]])
    rows += _listed("gaps", [_gap(gap) for gap in answer["gaps"]] or [f"none longer than {span(answer['gap_s'])}"])
    for source in answer["sources"]:
        rows += _listed(source["source"], _source_sentences(source))
    if not answer["running"]:
        rows.append(("", "the daemon is not running: what it has not found is not in here"))
    return table(rows)


def _source_sentences(source: Answer) -> list[str]:
    """What became of a live source's sound, and its last gaps."""
    parts = [f"{span(seconds)} {STATE_WORDS.get(state, state)}" for state, seconds in source["seconds"].items()]
    shown, n_more = source["gaps"][-N_GAPS:], max(0, len(source["gaps"]) - N_GAPS)
    sentences = [f"live: {', '.join(parts) or 'nothing recorded'}; {span(source['missing'])} missing"]
    if n_more:
        sentences.append(f"{count(n_more, 'earlier gap')}: see --json")
    for gap in shown:
        still = ", up to now" if gap["open"] else ""
        why = f"{gap['reason']}: {gap['detail']}" if gap["detail"] else gap["reason"]
        sentences.append(f"{gap['start']} to {gap['end']}, {span(gap['seconds'])}{still}: {why}")
    return sentences


def _total(total: Answer) -> str:
    if not total["recordings"]:
        return "none"
    unknown = f", {total['unmeasured']:,} of unknown length" if total["unmeasured"] else ""
    if total["unmeasured"] == total["recordings"]:
        return f"{count(total['recordings'])} of unknown length"
    return f"{span(total['seconds'])} in {count(total['recordings'])}{unknown}"


def _day_sentences(days: Answer) -> list[str]:
    sentences = []
    if days["counted"]:
        sentences.append(f"{count(len(days['counted']), 'day')} known in sum only, with the totals above")
    for day, n in days["cut"].items():
        sentences.append(f"{count(n)} of {day} not counted: known by the day only, and the span has a part of it")
    return sentences


def _gap(gap: Answer) -> str:
    text = f"{gap['start']} to {gap['end']}, {span(gap['seconds'])}"
    if gap["open"]:
        text += ", up to now: a recording that is being made is not known yet"
    if gap["unmeasured"]:
        text += f"; {count(gap['unmeasured'])} of unknown length may lie in it"
    if gap["known_by_day"]:
        text += f"; {count(gap['known_by_day'])} of these days known by the day only"
    return text


def listing_text(answer: Answer) -> str:
    """Lay out what :func:`sonyc_ml.node.operate.status.listing` answers."""
    if not answer["entries"]:
        return f"nothing is {' or '.join(answer['states'])}"
    parts = []
    for entry in answer["entries"]:
        why = entry["reason"] + (f": {entry['detail']}" if entry["detail"] else "")
        parts.append("  ".join(part for part in (entry["changed"], f"{entry['state']:11}", entry["name"], why) if part))
    if answer["more"]:
        parts.append("… and more; see --limit")
    return lines(parts)


def heard_text(answer: Answer) -> str:
    """Lay out what :func:`sonyc_ml.node.operate.listing.heard_listing` answers."""
    if not answer["labels"]:
        others = answer["others"]
        if not others:
            return "no detections are known; ask for some with sonyc-ml watch --detect, or [detections] in its file"
        return f"{answer['heard']} was heard in no recording; heard were {', '.join(others)}"
    if not answer["entries"]:
        return f"{', '.join(answer['labels'])}: not heard since then"
    parts = [
        f"{entry['at']}  {entry['score']:.2f}  {entry['label']}  {entry['name']}, "
        f"{entry['start_s']:.1f} to {entry['end_s']:.1f} s"
        for entry in answer["entries"]
    ]
    if answer["more"]:
        parts.append("… and more; see --limit")
    return lines(parts)


def table(rows: Rows) -> str:
    """Names, and what there is to say, below each other."""
    return lines(f"{name:15} {text}".rstrip() for name, text in rows)


def lines(parts: Iterable[str]) -> str:
    """One below the other, each safe on a terminal."""
    return "\n".join(shown(part) for part in parts)
