"""The inline banner: what happened, what to do, one button that does it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QVBoxLayout

from app import theme
from app.widgets.basic import label
from app.widgets.icons import icon


class Banner(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.message = label(bold=True, wrap=True)
        self.hint = label(wrap=True)
        self.action = QPushButton()
        self.action.setAccessibleName("Next step")
        self._callback: Callable[[], object] | None = None
        self.action.clicked.connect(lambda _checked=False: self._act())
        self._close = close = QToolButton()
        close.setAccessibleName("Dismiss the message")
        close.setToolTip("Dismiss")
        close.setAutoRaise(True)
        close.clicked.connect(lambda _checked=False: self.hide())
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.message)
        words.addWidget(self.hint)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 10, 12, 10)
        layout.setSpacing(12)
        layout.addLayout(words, 1)
        layout.addWidget(self.action)
        layout.addWidget(close)
        self.hide()

    def show_message(self, message: str, hint: str, action: tuple[str, Callable[[], object]] | None) -> None:
        self.message.setText(message)
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        self._callback = action[1] if action else None
        if action:
            self.action.setText(action[0])
            self.action.setAccessibleName(action[0])
        self.action.setVisible(action is not None)
        self._close.setIcon(icon("close", theme.tokens().color("muted")))
        self.setAccessibleName(f"{message} {hint}")
        self.show()

    def _act(self) -> None:
        self.hide()
        if self._callback:
            self._callback()
