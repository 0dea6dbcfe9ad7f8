"""Methods that have a file of their own for some tasks, under one name for users."""

from __future__ import annotations

from collections.abc import Sequence

# (method, task) -> the file in conf/method; other tasks take the file of the method's own name.
VARIANTS = {("double_dip", "cdi"): "double_dip_cdi"}


def for_task(overrides: Sequence[str]) -> list[str]:
    """Return user settings with the method replaced by its variant for the task, if it has one.

    Example:
        >>> for_task(["task=cdi", "method=double_dip"]), for_task(["method=double_dip"])
        (['task=cdi', 'method=double_dip_cdi'], ['method=double_dip'])
    """
    chosen = {name: value for name, _, value in (text.partition("=") for text in overrides)}
    method = chosen.get("method", "")
    variant = VARIANTS.get((method, chosen.get("task", "")), method)
    return [f"method={variant}" if text == f"method={method}" else text for text in overrides]
