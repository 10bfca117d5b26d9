"""The registered label families and patterns, in words: `vstats families` prints them."""

from collections.abc import Sequence
from dataclasses import dataclass

from vstats.kernels import patterns
from vstats.kernels.rules import Column
from vstats.pipeline import families


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFacts:
    """A registered label family: what its columns mean, for each pattern and for the whole crop."""

    name: str
    version: int
    description: str
    columns: dict[str, str]
    global_columns: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternFacts:
    """A registered pattern, and what its blocks are compared by."""

    name: str
    version: int
    compare: str
    description: str


def describe_families() -> tuple[FamilyFacts, ...]:
    """Return every registered label family."""
    return tuple(
        FamilyFacts(
            name=f.name,
            version=f.version,
            description=f.description,
            columns=_meanings(f.columns),
            global_columns=_meanings(f.global_columns),
        )
        for f in map(families.get, families.names())
    )


def describe_patterns() -> tuple[PatternFacts, ...]:
    """Return every registered pattern."""
    return tuple(
        PatternFacts(name=p.name, version=p.version, compare=p.compare, description=p.description)
        for p in map(patterns.get, patterns.names())
    )


def _meanings(columns: Sequence[Column]) -> dict[str, str]:
    return {column.name: column.meaning for column in columns}
