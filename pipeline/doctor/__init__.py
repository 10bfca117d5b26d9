"""What a machine, an installation and a store's place are fit for, before a night is spent on them.

A check is one function from `Case` to `Answer`, or None where there is nothing to check; `CHECKS` lists them all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vstats.kernels.errors import VstatsError
from vstats.pipeline.doctor import installation, machine, place
from vstats.pipeline.doctor.case import Answer, Case, State, fail
from vstats.pipeline.estimate import Estimate

__all__ = ["CHECKS", "Case", "Diagnosis", "Finding", "examine"]

CHECKS: dict[str, Callable[[Case], Answer | None]] = {
    "python": installation.python,
    "packages": installation.packages,
    "decoders": installation.decoders,
    "kernels": installation.kernels,
    "gpu": machine.gpu,
    "proof": installation.proven,
    "cpu": machine.cpu,
    "memory": machine.memory,
    "open files": machine.open_files,
    "shared memory": machine.shared_memory,
    "workers": machine.workers,
    "store": place.store,
    "estimate": place.estimated,
    "disk": place.disk,
}
"""Every check by the name that its line begins with, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer of a check."""

    check: str
    state: State
    found: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All findings in the order in which they were made, and the estimate where there are videos."""

    findings: tuple[Finding, ...]
    estimate: Estimate | None

    @property
    def state(self) -> State:
        """The worst that was found."""
        found = {finding.state for finding in self.findings}
        return "fail" if "fail" in found else "warn" if "warn" in found else "ok"


def examine(case: Case, tell: Callable[[Finding], None] = lambda _: None) -> Diagnosis:
    """Make every check, and tell each finding as soon as it is made. A check that breaks is a finding too."""
    findings = []
    for name, check in CHECKS.items():
        try:
            answer = check(case)
        except VstatsError as error:
            answer = fail(str(error), "mend it, and ask again")
        except Exception as error:
            answer = fail(f"the check broke ({type(error).__name__}: {error})", "report it, with this line")
        if answer is not None:
            finding = Finding(check=name, state=answer.state, found=answer.found, advice=answer.advice)
            findings.append(finding)
            tell(finding)
    return Diagnosis(findings=tuple(findings), estimate=case.estimate)
