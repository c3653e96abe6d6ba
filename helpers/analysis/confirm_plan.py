"""The plan of a confirmation: its seeds and candidates are recorded before the first training.

Who adds seeds until the result pleases finds gains by chance. So every change of the plan after a training has finished
counts as a further look at the results, and `corrected_level` widens the intervals.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gazegaussian.errors import ConfigError
from gazegaussian.utils.plain_files import read_plain
from helpers.utils.files import stored_json, write_json

logger = logging.getLogger(__name__)

PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Look:
    """What one look at the results was planned to compare."""

    seeds: int
    candidates: tuple[str, ...]
    mesh_heads: bool = False  # stage one is trained with every seed, too
    people: tuple[str, ...] = ()  # that test; empty: a plan that does not name them

    def repeats(self, other: Look) -> bool:
        """Whether it asks what another look asked."""
        return self == (other if other.people else replace(other, people=self.people))


@dataclass(frozen=True)
class Plan:
    """All looks so far, the present one last unless it repeats an earlier one."""

    looks: tuple[Look, ...]

    @property
    def candidates(self) -> int:
        """Configurations that were compared with the baseline in any look."""
        return len({name for look in self.looks for name in look.candidates})


def record_look(folder: Path, look: Look, earlier: Mapping[str, Any] | None = None) -> Plan:
    """Note what this call is going to compare, before anything is trained.

    Args:
        folder: Of the confirmation's trainings; made when missing.
        look: Of this call.
        earlier: A stored report of a version that kept no plan; it counts as the first look.

    Raises:
        ConfigError: The stored plan is damaged.
    """
    looks = _read(folder / PLAN_FILE)
    if not looks and earlier is not None:
        names = [row["name"] for row in earlier["configurations"] if not row["is_baseline"]]
        looks = [Look(len(earlier["seeds"]), tuple(sorted(names)))]
    if not _anything_finished(folder):
        looks = []  # nothing was seen, so the plan may still change
    looks = [look if look.repeats(one) else one for one in looks]
    if look not in looks:
        if looks:
            others = " on other test people" if looks[0].people not in ((), look.people) else ""
            logger.warning(
                "confirm: planned were %d seeds of %d candidates, now it is %d of %d%s: this counts as look %d at the results and "
                "widens the intervals",
                looks[0].seeds, len(looks[0].candidates), look.seeds, len(look.candidates), others, len(looks) + 1,
            )  # fmt: skip
        looks = [*looks, look]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN_FILE, {"looks": [asdict(one) for one in looks]})
    return Plan(tuple(looks))


def planned(seeds: int, candidates: Sequence[str], mesh_heads: bool, people: Sequence[str] = ()) -> Look:
    """Make a look whose order of candidates and people does not matter."""
    return Look(seeds, tuple(sorted(candidates)), mesh_heads, tuple(sorted(people)))


def _read(path: Path) -> list[Look]:
    if not path.is_file():
        return []
    try:
        content = json.loads(read_plain(path))
        return [
            Look(int(row["seeds"]), tuple(row["candidates"]), bool(row.get("mesh_heads")), tuple(row.get("people", ())))
            for row in content["looks"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}), so it is not known which seeds were planned. Restore it, or move {path.parent} "
            "away to confirm anew."
        ) from error


def _anything_finished(folder: Path) -> bool:
    """Whether a training of the confirmation ended and may have been looked at."""
    return any("run" in (stored_json(path) or {}) for path in folder.glob("*/run.json"))
