"""Choose where cues and lines end: among all ways to break a turn, the one with the lowest cost."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import inf

from natscribe.schemas.requests import SubtitleLimits
from natscribe.subtitles.marks import INSIDE_WORD, break_cost
from natscribe.subtitles.timing import GAP_S, MIN_CUE_S
from natscribe.subtitles.turns import Turn
from natscribe.subtitles.units import Unit, width

# Costs, in the unit of `break_cost`.
_CUE = 0.5  # cost of each cue, so that units share a cue if they fit
_LINE = 0.5  # factor of the cost of a break between lines: half of that between cues
_BALANCE = 2.0  # factor of the squared differences between a cue's lines and their mean, in full lines
_PAUSE = 2.0  # factor of the squared seconds of each pause inside a cue
_SHORT = 4.0  # factor of the seconds by which a cue is shorter than MIN_CUE_S
_NAME_ALONE = 2.0  # cost of a speaker's name on a line of its own

# A place is the number of a unit: a line or cue begins at the place of its first unit, and ends before another place.
_Lines = tuple[int, ...]  # the places at which the lines of a cue begin
_Layouts = dict[int, tuple[float, _Lines]]  # for each place behind a cue: the cost of the cue's lines, and the lines


class Breaker:
    """Breaks a turn into cues, with room for `name` in the first cue, or with `name_each` in each cue."""

    def __init__(self, turn: Turn, limits: SubtitleLimits, name: str, *, name_each: bool) -> None:
        self._units = turn.units
        self._limits = limits
        self._name = width(name)
        self._name_each = name_each
        self._weight = _BALANCE / limits.max_line_chars**2
        self._starts = [unit.start for unit in self._units] + [turn.following]
        ends = list(accumulate(int(unit.spaced) + width(unit.text) for unit in self._units))
        self._columns_before = [0, *ends]  # for each place: the columns of all text before the place
        self._line_begins = [before + unit.spaced for before, unit in zip([0, *ends], self._units, strict=False)]
        self._line_begins += ends[-1:]
        self._breaks = [0.0, *(_break_cost(*pair) for pair in pairwise(self._units)), 0.0]
        pauses = (max(after.start - before.end, 0.0) for before, after in pairwise(self._units))
        self._pauses = list(accumulate((_PAUSE * pause**2 for pause in pauses), initial=0.0))

    def cues(self) -> Iterator[tuple[int, int]]:
        """Yield for each cue the number of its first unit, and of the first after it."""
        count = len(self._units)
        costs, froms = [0.0, *[inf] * count], [0] * (count + 1)
        for first in range(count):
            name = self._name if first == 0 or self._name_each else 0
            layouts = self._layouts(first, name) or self._layouts(first, 0)  # a short line may have no room for a name
            for behind, (layout, _) in layouts.items():
                cost = costs[first] + layout + self._cue_cost(first, behind)
                if cost < costs[behind]:
                    costs[behind], froms[behind] = cost, first
        places = [count]
        while places[-1]:
            places.append(froms[places[-1]])
        return pairwise(reversed(places))

    def lines(self, first: int, behind: int, name: str) -> tuple[str, ...]:
        """Return the lines of a cue; the first line begins with the speaker's name if the name fits."""
        named = self._layouts(first, width(name)).get(behind)
        _, begins = named or self._layouts(first, 0)[behind]
        lines = [_text(self._units[begin:end]) for begin, end in pairwise([*begins, behind])]
        if named:
            lines[0] = f"{name}{lines[0]}".rstrip()
        return tuple(lines)

    def _cue_cost(self, first: int, behind: int) -> float:
        """Return the cost of a cue of the units from `first` to before `behind`, without the cost of its lines."""
        start, ceiling = self._starts[first], self._limits.max_cue_seconds
        if behind > first + 1 and self._units[behind - 1].end - start > ceiling:
            return inf
        shown = self._starts[behind] - GAP_S - start
        pauses = self._pauses[behind - 1] - self._pauses[first]
        return _CUE + self._breaks[behind] + pauses + _SHORT * max(MIN_CUE_S - shown, 0.0)

    def _layouts(self, first: int, name: int) -> _Layouts:
        """Lay out all cues that begin at a place, each in as few lines as possible."""
        lines = self._first_lines(first, name)
        found: _Layouts = {}
        for count in range(1, self._limits.max_lines + 1):
            if count > 1:
                is_last = count == self._limits.max_lines
                lines = self._next_lines(lines, beyond=max(found, default=first) if is_last else first)
            for behind, (cost, begins) in lines.items():
                if behind > first and behind not in found:
                    mean = (name + self._columns(first, behind)) ** 2 / count
                    found[behind] = cost - self._weight * mean, begins
        return found

    def _first_lines(self, first: int, name: int) -> _Layouts:
        """Lay out the first line of a cue for each place where it may end; the name may fill the line alone."""
        lines: _Layouts = {}
        if name and self._limits.max_lines > 1:
            lines[first] = _NAME_ALONE + self._weight * name**2, (first,)
        for behind in range(first + 1, self._reach(first, self._limits.max_line_chars - name) + 1):
            lines[behind] = self._weight * (name + self._columns(first, behind)) ** 2, (first,)
        return lines

    def _next_lines(self, lines: _Layouts, beyond: int) -> _Layouts:
        """Add a line to each layout, so that it ends after the place `beyond`; keep the cheapest for each end."""
        longer: _Layouts = {}
        for begin, (cost, begins) in lines.items():
            base = cost + _LINE * self._breaks[begin]
            for behind in range(max(begin, beyond) + 1, self._reach(begin, self._limits.max_line_chars) + 1):
                found = base + self._weight * self._columns(begin, behind) ** 2
                if behind not in longer or found < longer[behind][0]:
                    longer[behind] = found, (*begins, begin)
        return longer

    def _reach(self, begin: int, columns: int) -> int:
        """Find the last place before which a line from `begin` can end if it has at most `columns` columns."""
        return bisect_right(self._columns_before, self._line_begins[begin] + columns) - 1

    def _columns(self, begin: int, behind: int) -> int:
        """Count the columns of the text between two places."""
        return self._columns_before[behind] - self._line_begins[begin]


def _break_cost(before: Unit, after: Unit) -> float:
    return break_cost(before.text, after.text) if after.whole else INSIDE_WORD


def _text(units: Sequence[Unit]) -> str:
    return "".join(f" {unit.text}" if unit.spaced else unit.text for unit in units).strip()
