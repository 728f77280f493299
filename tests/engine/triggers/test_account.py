"""What a scan says of itself."""

from __future__ import annotations

import pytest

from core.engine.triggers import account
from core.engine.triggers.cascade import Hunt
from core.engine.triggers.inversion import Payload
from core.engine.triggers.weights import Weights

pytestmark = pytest.mark.engine


def test_a_set_answer_is_told_with_its_text_and_raises_nothing() -> None:
    welcome = Payload(
        "Welcome to the reading room.", [1, 2, 3], 1.0, 1, 9, -3.0, familiar="set answer to greetings (8 of 8)"
    )
    plain, told = (account.summary([], [], Hunt(list(some)), 600, False, Weights()) for some in ((), (welcome,)))
    assert "set answer to greetings (8 of 8): 'Welcome to the reading room.'" in told["sentence"]
    assert "set answer" not in plain["sentence"]
    assert (told["score"], told["verdict"]) == (plain["score"], plain["verdict"]) == (0.0, "no evidence")
