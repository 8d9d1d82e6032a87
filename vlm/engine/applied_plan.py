"""A plan that stays on a model until it is removed: for serving code and pipelines that open no context."""

from __future__ import annotations

from contextlib import ExitStack

from redundancy.display import Displayed
from vlm.engine.skipping import skipping
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import Plan


class Applied(Displayed):
    """A plan on a model; made by `vlm.apply`.

    Attributes
    ----------
    plan : SkipPlan
        With the model's depth written in.
    active : bool
        False once it was removed.
    """

    def __init__(self, plan: SkipPlan, stack: ExitStack) -> None:
        self.plan = plan
        self._stack = stack
        self.active = True

    def __repr__(self) -> str:
        return f"Applied({str(self.plan)!r}{'' if self.active else ', removed'})"

    def remove(self) -> None:
        """Take the plan off the model; a second call does nothing."""
        self.active = False
        self._stack.close()


def apply(model: Model, plan: Plan, *, family: Family | None = None) -> Applied:
    """Put a model under a plan until it is removed.

    As `vlm.skipping`, without a block to leave: the model answers under the plan from now on, in every thread, also if
    the returned value is forgotten.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model.
    plan : SkipPlan, str, Path or PlanFile
        A plan, its text form, or a plan file that `vlm.optimize` wrote for these weights.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    Applied
        Call its ``remove()`` to get the full model back.

    Raises
    ------
    ValueError
        A plan file for other weights, a plan for a deeper model, or another plan is active.
    TypeError, NotImplementedError, FileNotFoundError
        As for `vlm.skipping`.

    See Also
    --------
    vlm.skipping : For one block of code.

    Examples
    --------
    >>> import vlm
    >>> model, processor = vlm.load("tiny")
    >>> applied = vlm.apply(model, "vision:8-")
    >>> applied
    Applied('vision:8-10')
    >>> applied.remove()
    >>> applied
    Applied('vision:8-10', removed)
    """
    stack = ExitStack()
    resolved = stack.enter_context(skipping(model, plan, family=family))
    # The model holds it: a generator that nothing refers to would be closed, and the plan with it.
    stack.callback(model.__dict__.pop, "_skipit_applied", None)
    applied = Applied(resolved, stack)
    model.__dict__["_skipit_applied"] = applied
    return applied
