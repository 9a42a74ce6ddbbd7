"""How well the node is, what needs attention, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sonyc_ml.base.human import count, shell_word, span
from sonyc_ml.node.config import RetentionConfig
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.operate.explain import Order, order_for
from sonyc_ml.node.operate.listing import NEED_ATTENTION
from sonyc_ml.node.operate.status import status
from sonyc_ml.node.operate.whereabouts import state_of_file
from sonyc_ml.web.page.cards import bundle_cards, versions
from sonyc_ml.web.page.examination import Examiner
from sonyc_ml.web.page.node import Node
from sonyc_ml.web.page.visit import Visit

N_GIVEN_UP = 25  # that are shown one by one
STATES = {"done": "embedded"}  # by another name


class Health:
    """The page, with what it remembers.

    Parameters
    ----------
    node : Node
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._examiner = Examiner(node.config_path, node.state_folder)

    def content(self, visit: Visit) -> Mapping[str, Any]:
        """Return what the template ``health.html`` shows."""
        answer = visit.ask(lambda journal: status(journal, visit.now_s))
        given_up = visit.ask(lambda journal: list(_given_up(journal))) or []
        config = self._node.config
        examination = self._examiner.last()
        return {
            "status": answer,
            "given_up": given_up[:N_GIVEN_UP],
            "more": len(given_up) > N_GIVEN_UP,
            "orders": _orders(self._node, answer) if answer else [],
            "history": visit.ask(_history),
            "examination": examination,
            "is_examined": self._examiner.is_at_it,
            "retention": retention_sentences(config.retention),
            "bundles": list(bundle_cards(config.model, answer["bundles"] if answer else [])),
            "versions": versions(),
            "node": self._node,
        }


def _given_up(journal: Journal) -> Iterator[tuple[Entry, Order | None]]:
    """Yield what was quarantined or shed, the latest first, each with the command that clears it."""
    facts = journal.facts()
    folder = Path(facts.daemon.folder) if facts.daemon and facts.daemon.folder else None
    for entry in journal.latest(NEED_ATTENTION, N_GIVEN_UP + 1, with_replaced=False):
        file = state_of_file(folder, entry.identity) if folder else None
        yield entry, order_for(journal, entry, facts, file)


def _orders(node: Node, answer: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """For each reason of what was given up: the reason, of how many, and the command that tries all again."""
    where = f"--config {shell_word(str(node.config_path.absolute()))}"
    reasons = [
        (state, reason, n) for state in NEED_ATTENTION for reason, n in answer["counts"][state]["reasons"].items()
    ]
    return [
        (f"{state}: {reason}", n, f"sonyc-ml retry --{state} --reason {shell_word(reason)} {where}")
        for state, reason, n in reasons
    ]


def _history(journal: Journal) -> dict[str, Any]:
    days = journal.days("")
    return {
        "begins_s": journal.begins_s(),
        "n_by_day": sum(row[4] for row in days),
        "first_day": days[0][0] if days else "",
    }


def retention_sentences(settings: RetentionConfig) -> list[str]:
    """What becomes of recordings, in sentences."""
    which = " or ".join(STATES.get(state, state) for state in settings.states)
    history = f"The journal keeps each recording by itself for {count(round(settings.history_days), 'day')}, then sums."
    if settings.policy == "keep":
        return ["Recordings are kept: nothing is moved or deleted.", history]
    does = f"moved to {settings.folder}" if settings.policy == "move" else "deleted"
    after = f", {span(settings.after_s)} after that" if settings.after_s else ""
    sentences = [f"Recordings that are {which} are {does}{after}, and only after proof that the output is whole."]
    if settings.free_low:
        low, high = f"{settings.free_low:.0%}", f"{settings.free_high:.0%}"
        sentences.append(
            f"That happens when less than {low} of the disk is free, until {high} is; the oldest go first."
        )
    return [*sentences, history]
