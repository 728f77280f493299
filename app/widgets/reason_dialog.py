"""Asks for a reason in one line; there is no judgement without one."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLineEdit, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import label


class ReasonDialog(QDialog):
    """``ask`` returns the reason, "" where the user thought better of it."""

    def __init__(self, title: str, question: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(460)
        self.line = QLineEdit()
        self.line.setAccessibleName(question)
        self.line.setPlaceholderText("Your reason, in a sentence")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.done_button = self.buttons.addButton(title, QDialogButtonBox.ButtonRole.AcceptRole)
        self.done_button.setEnabled(False)
        self.done_button.setToolTip("Needs a reason")
        self.line.textChanged.connect(lambda text: self.done_button.setEnabled(bool(text.strip())))
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(12)
        column.addWidget(label(question, bold=True, wrap=True))
        column.addWidget(self.line)
        column.addWidget(
            label(
                "It is appended to the run with your account's name and the time. Nothing that was said before is "
                "overwritten, and the scan's own verdict stays.",
                size=theme.SMALL,
                muted=True,
                wrap=True,
            )
        )
        column.addWidget(self.buttons)

    @classmethod
    def ask(cls, title: str, question: str, parent: QWidget | None = None) -> str:
        dialog = cls(title, question, parent)
        given = dialog.exec() == QDialog.DialogCode.Accepted
        dialog.deleteLater()
        return dialog.line.text().strip() if given else ""
