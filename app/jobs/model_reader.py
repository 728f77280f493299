"""Reads model folders off the UI thread: files only, no torch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QRunnable, QThreadPool, Signal

from app.context import Context
from core.errors import BugError, ForeshotError
from core.types import ModelRef

if TYPE_CHECKING:
    from core.catalog import ModelCard


class _Said(QObject):
    """Carries a result from the worker thread to the UI thread."""

    read = Signal(object, object)


class _Task(QRunnable):
    def __init__(self, ref: ModelRef, said: _Said) -> None:
        super().__init__()
        self.ref = ref
        self.said = said

    def run(self) -> None:
        result: object
        try:
            from core.catalog import inspect_model  # here: not before the first model is chosen

            result = inspect_model(self.ref)
        except ForeshotError as error:
            result = error
        except Exception as error:
            result = BugError(
                "inspect", f"Reading {self.ref.name} failed: {type(error).__name__}: {error}.", "Please report it."
            )
        self.said.read.emit(self.ref, result)


class ModelReader(QObject):
    """Cards of every model seen in this session.

    Attributes:
        cards: card, or the error that says why there is none, by ``str(ref)``; absent while it is read.

    Signals:
        card_ready(ModelRef): look into ``cards``.
    """

    card_ready = Signal(object)

    def __init__(self, context: Context, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.cards: dict[str, ModelCard | ForeshotError] = {}
        self._reading: set[str] = set()
        self._said = _Said(self)
        self._said.read.connect(self._on_read)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        context.pair_changed.connect(self._read_pair)

    def read(self, ref: ModelRef) -> None:
        """Read a model if that was not done yet; ``card_ready`` follows."""
        key = str(ref)
        if key not in self.cards and key not in self._reading:
            self._reading.add(key)
            self._pool.start(_Task(ref, self._said))

    def card(self, ref: ModelRef) -> ModelCard | None:
        found = self.cards.get(str(ref))
        return None if isinstance(found, ForeshotError) else found

    def error(self, ref: ModelRef) -> ForeshotError | None:
        found = self.cards.get(str(ref))
        return found if isinstance(found, ForeshotError) else None

    def wait(self) -> None:
        """Let a reading in progress end: for closing the window."""
        self._pool.clear()
        self._pool.waitForDone(5000)

    def _read_pair(self) -> None:
        places = [self.context.teacher, self.context.student]
        for choice in places:
            if choice is not None:
                self.read(choice.ref)
        self._give_cards()

    def _on_read(self, ref: ModelRef, result: ModelCard | ForeshotError) -> None:
        self._reading.discard(str(ref))
        self.cards[str(ref)] = result
        if isinstance(result, ForeshotError):
            student = self.context.student
            role = "student" if student is not None and student.ref == ref else "teacher"
            again = ("Open another folder…", partial(self.context.choose_requested.emit, role))
            self.context.show_error(result.message, result.hint, again)
        self._give_cards()
        self.card_ready.emit(ref)

    def _give_cards(self) -> None:
        """Put cards that are known into the pair."""
        teacher, student = self.context.teacher, self.context.student
        if teacher is not None and teacher.card is None:
            teacher = replace(teacher, card=self.card(teacher.ref))
        if student is not None and student.card is None:
            student = replace(student, card=self.card(student.ref))
        self.context.set_pair(teacher, student)
