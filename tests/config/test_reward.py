"""The section `reward`: how long a call may take, and how a classifier reads."""

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from mva_ray.config.reward import RewardSettings


def test_a_call_has_a_time_limit_unasked() -> None:
    """A reward that hangs would hold the whole search."""
    settings = RewardSettings(function="mva_ray.rewards:brief")
    assert settings.timeout == 300
    assert RewardSettings(function="mva_ray.rewards:brief", timeout=2.5).timeout == 2.5


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "60", None, True])
def test_a_time_limit_is_a_number_above_zero(timeout: Any) -> None:
    with pytest.raises(ValidationError, match="timeout"):
        RewardSettings(function="mva_ray.rewards:brief", timeout=timeout)


def test_whether_a_label_was_given_outlives_the_way_to_its_process() -> None:
    """The first label by default is another thing than the first label by choice."""
    for settings, given in ((RewardSettings(model="org/m"), False), (RewardSettings(model="org/m", label=0), True)):
        copied = pickle.loads(pickle.dumps(settings))
        assert ("label" in copied.model_fields_set) is given


@pytest.mark.parametrize("wrong", ["yes", 1, "true"])
def test_a_chat_template_is_used_or_not(wrong: Any) -> None:
    assert RewardSettings(model="org/m").chat_template is None
    with pytest.raises(ValidationError, match="chat_template"):
        RewardSettings(model="org/m", chat_template=wrong)
