"""RAdam: what it refuses; its steps stand beside torch's own in test_optimizers."""

from typing import Any

import pytest

from metadip.fitting import RAdam


@pytest.mark.parametrize("options", [{"lr": 0}, {"lr": 1, "eps": -1}, {"lr": 1, "betas": (1, 0)}])
def test_bad_radam_is_refused(options: dict[str, Any]):
    with pytest.raises(ValueError, match="bad RAdam arguments"):
        RAdam(**options)
