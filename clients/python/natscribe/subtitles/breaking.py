"""Chooses where subtitle cues and their lines end, so that the breaks in a turn have the lowest total cost."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import inf

from natscribe.schemas.requests import SubtitleLimits
from natscribe.subtitles.break_costs import INSIDE_WORD, break_cost
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

# A line or cue is the interval of units from an index to before another index (`stop`).
_Lines = tuple[int, ...]  # the indexes at which the lines of a cue start
_Layouts = dict[int, tuple[float, _Lines]]  # for each stop of a cue: the cost of its lines, and the lines


class LineBreaker:
    """Breaks a turn, i.e. speech of one speaker without a long pause, into cues and lines, by dynamic programming.

    `name`: the speaker's name, for which the first cue reserves room; `name_each`: whether all other cues do, too. A
    unit is a word or a part of one, inside which no line may break. A cue or line is given by the index of its first
    unit, and by `stop`, the index after its last unit.
    """

    def __init__(self, turn: Turn, limits: SubtitleLimits, name: str, *, name_each: bool) -> None:
        self._units = turn.units
        self._limits = limits
        self._name = width(name)
        self._name_each = name_each
        self._weight = _BALANCE / limits.max_line_chars**2
        self._starts = [unit.start for unit in self._units] + [turn.following]
        ends = list(accumulate(int(unit.spaced) + width(unit.text) for unit in self._units))
        self._columns_before = [0, *ends]  # for each index: the columns of all text before it
        self._line_columns = [before + unit.spaced for before, unit in zip([0, *ends], self._units, strict=False)]
        self._line_columns += ends[-1:]
        self._breaks = [0.0, *(_break_cost(*pair) for pair in pairwise(self._units)), 0.0]
        pauses = (max(after.start - before.end, 0.0) for before, after in pairwise(self._units))
        self._pauses = list(accumulate((_PAUSE * pause**2 for pause in pauses), initial=0.0))

    def cues(self) -> Iterator[tuple[int, int]]:
        """Divide the turn into cues; yield for each the index of its first unit, and the index after its last unit."""
        count = len(self._units)
        costs, best_firsts = [0.0, *[inf] * count], [0] * (count + 1)
        for first in range(count):
            name = self._name if first == 0 or self._name_each else 0
            layouts = self._layouts(first, name) or self._layouts(first, 0)  # a short line may have no room for a name
            for stop, (layout, _) in layouts.items():
                cost = costs[first] + layout + self._cue_cost(first, stop)
                if cost < costs[stop]:
                    costs[stop], best_firsts[stop] = cost, first
        stops = [count]
        while stops[-1]:
            stops.append(best_firsts[stops[-1]])
        return pairwise(reversed(stops))

    def lines(self, first: int, stop: int, name: str) -> tuple[str, ...]:
        """Return the lines of the cue with the units `first` to `stop - 1`.

        `name`: the speaker's name with a colon, e.g. `Anna: `, or an empty string. The first line starts with it if the
        cue has room for it.
        """
        named = self._layouts(first, width(name)).get(stop)
        _, line_starts = named or self._layouts(first, 0)[stop]
        lines = [_text(self._units[line_start:end]) for line_start, end in pairwise([*line_starts, stop])]
        if named:
            lines[0] = f"{name}{lines[0]}".rstrip()
        return tuple(lines)

    def _cue_cost(self, first: int, stop: int) -> float:
        """Return the cost of a cue with the units `first` to `stop - 1`, apart from the cost of its line breaks.

        The cost is infinite if the cue has several units and lasts longer than `max_cue_seconds`.
        """
        start, ceiling = self._starts[first], self._limits.max_cue_seconds
        if stop > first + 1 and self._units[stop - 1].end - start > ceiling:
            return inf
        shown = self._starts[stop] - GAP_S - start
        pauses = self._pauses[stop - 1] - self._pauses[first]
        return _CUE + self._breaks[stop] + pauses + _SHORT * max(MIN_CUE_S - shown, 0.0)

    def _layouts(self, first: int, name: int) -> _Layouts:
        """Return the best division into lines, with its cost, of each possible cue that starts at the unit `first`.

        The keys are the index after the last unit of the cue. The best division is the cheapest one with as few lines
        as possible. `name`: the number of columns that the first line reserves for a speaker's name.
        """
        lines = self._first_lines(first, name)
        cheapest: _Layouts = {}
        for count in range(1, self._limits.max_lines + 1):
            if count > 1:
                is_last = count == self._limits.max_lines
                lines = self._next_lines(lines, beyond=max(cheapest, default=first) if is_last else first)
            for stop, (cost, line_starts) in lines.items():
                if stop > first and stop not in cheapest:
                    mean = (name + self._columns(first, stop)) ** 2 / count
                    cheapest[stop] = cost - self._weight * mean, line_starts
        return cheapest

    def _first_lines(self, first: int, name: int) -> _Layouts:
        """Return all possible first lines of a cue that starts at the unit `first`, with their costs.

        The keys are the index after the last unit of the line. `name`: the number of columns that the line reserves for
        a speaker's name. If a further line is allowed, the first line may consist of the name alone.
        """
        lines: _Layouts = {}
        if name and self._limits.max_lines > 1:
            lines[first] = _NAME_ALONE + self._weight * name**2, (first,)
        for stop in range(first + 1, self._reach(first, self._limits.max_line_chars - name) + 1):
            lines[stop] = self._weight * (name + self._columns(first, stop)) ** 2, (first,)
        return lines

    def _next_lines(self, lines: _Layouts, beyond: int) -> _Layouts:
        """Append one more line, of every possible length, to each layout in `lines`, and return the new layouts.

        A layout is one way to break the start of a cue into lines; its key is the index after its last unit. Of several
        new layouts with the same key, only the cheapest is returned. `beyond`: new layouts with a key up to this index
        are not needed, and left out.
        """
        longer: _Layouts = {}
        for line_start, (cost, line_starts) in lines.items():
            base = cost + _LINE * self._breaks[line_start]
            for stop in range(max(line_start, beyond) + 1, self._reach(line_start, self._limits.max_line_chars) + 1):
                total = base + self._weight * self._columns(line_start, stop) ** 2
                if stop not in longer or total < longer[stop][0]:
                    longer[stop] = total, (*line_starts, line_start)
        return longer

    def _reach(self, line_start: int, columns: int) -> int:
        """Return the index after the last unit that fits into a line of `columns` columns from unit `line_start` on."""
        return bisect_right(self._columns_before, self._line_columns[line_start] + columns) - 1

    def _columns(self, line_start: int, stop: int) -> int:
        """Return the width, in columns, of a line with the words (or parts of words) `line_start` to `stop - 1`."""
        return self._columns_before[stop] - self._line_columns[line_start]


def _break_cost(before: Unit, after: Unit) -> float:
    return break_cost(before.text, after.text) if after.whole else INSIDE_WORD


def _text(units: Sequence[Unit]) -> str:
    return "".join(f" {unit.text}" if unit.spaced else unit.text for unit in units).strip()
