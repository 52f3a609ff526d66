"""A biller and a db_writer by themselves on a real database, which talk to each other as long as the test lets them."""

import threading
import time
from collections.abc import Callable
from typing import Any

from actors import writer
from actors.biller import Biller
from actors.context import ActorContext
from actors.messages import ALARMS, BILLER, DB_WRITER, Overdue, Poll
from actors.writer import DbWriter
from alarming.conditions import ConditionActive, ConditionCleared
from tests.support.supervision import ActorHarness


class BillerAlone:
    """Biller and db_writer in the test's own thread."""

    def __init__(self, parts: ActorContext) -> None:
        self.stages = {
            BILLER: ActorHarness(BILLER, lambda: Biller(parts)),
            DB_WRITER: ActorHarness(DB_WRITER, lambda: DbWriter(parts)),
        }
        self.signs: list[ConditionActive | ConditionCleared] = []
        for stage in self.stages.values():
            stage.actor.on_start()

    def until(self, condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
        """Lets them talk, and time pass, until the condition holds."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {seconds} s"
            self._talk()
            beats = {BILLER: (Overdue(), Poll()), DB_WRITER: (writer._Retry(), Poll())}
            for name, messages in beats.items():
                for each in messages:
                    self.stages[name].actor.on_receive(each)
            threading.Event().wait(0.02)
        return found

    def _talk(self) -> None:
        while told := [each for stage in self.stages.values() for each in stage.told]:
            for stage in self.stages.values():
                stage.told.clear()
            for name, message in told:
                if name == ALARMS:
                    self.signs.append(message)
                elif name in self.stages:
                    self.stages[name].actor.on_receive(message)

    def troubled(self, code: str) -> list[str]:
        """The summaries of all signs of this code."""
        return [sign.summary for sign in self.signs if isinstance(sign, ConditionActive) and sign.code == code]

    def close(self) -> None:
        for stage in self.stages.values():
            stage.actor.on_stop()
