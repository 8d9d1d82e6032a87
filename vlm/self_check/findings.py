"""What a check found, as one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redundancy.display import Displayed

Status = Literal["pass", "FAIL", "refused", "note"]


@dataclass(frozen=True, repr=False)
class Finding(Displayed):
    """One line of the page.

    Attributes
    ----------
    what : str
        What was checked.
    status : {"pass", "FAIL", "refused", "note"}
        "refused": the library does not offer this here and says why; "note": a figure without a limit.
    found : str
        The figure or the reason.
    """

    what: str
    status: Status
    found: str


@dataclass(frozen=True, repr=False)
class Checkup(Displayed):
    """What :func:`vlm.check` found. Its text is one page, and belongs into a bug report.

    Attributes
    ----------
    machine : str
        Model class, versions, device and type of weights.
    findings : tuple of Finding
        In the order in which they were made.

    See Also
    --------
    vlm.check : Makes one.

    Examples
    --------
    >>> import vlm
    >>> result = vlm.check(*vlm.load("tiny"), "vision:8-", rounds=1)
    >>> result
    Checkup(12 of 12 pass, 0 refused)
    """

    machine: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not any(item.status == "FAIL" for item in self.findings)

    def __repr__(self) -> str:
        count = {status: sum(item.status == status for item in self.findings) for status in ("pass", "FAIL", "refused")}
        return f"Checkup({count['pass']} of {count['pass'] + count['FAIL']} pass, {count['refused']} refused)"

    def __str__(self) -> str:
        width = max(len(item.what) for item in self.findings)
        lines = [f"{item.status:8s}{item.what:{width}s}  {item.found}" for item in self.findings]
        return "\n".join([self.machine, "", *lines, "", "all checks pass" if self.passed else "SOME CHECKS FAILED"])
