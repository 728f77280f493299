"""The command palette (Ctrl+K): type, arrow, Enter."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QDialog, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from app import theme
from app.actions import Actions


class Palette(QDialog):
    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setWindowTitle("Commands")
        self._actions = actions
        self._shown: list[QAction] = []
        self.field = QLineEdit()
        self.field.setPlaceholderText("What to do?")
        self.field.setAccessibleName("Search commands")
        self.field.setFont(theme.ui_font(theme.LEAD))
        self.field.textChanged.connect(self._filter)
        self.field.installEventFilter(self)
        self.list = QListWidget()
        self.list.setAccessibleName("Commands")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(lambda _item: self._run())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(self.field)
        layout.addWidget(self.list)
        self.resize(520, 360)

    def open_over(self, window: QWidget) -> None:
        """Show it near the top, empty."""
        self.field.clear()
        self._filter("")
        corner = window.mapToGlobal(window.rect().topLeft())
        self.move(corner.x() + (window.width() - self.width()) // 2, corner.y() + 96)
        self.show()
        self.field.setFocus()

    def _filter(self, text: str) -> None:
        self.list.clear()
        self._shown = self._actions.matching(text)
        for action in self._shown:
            keys = action.shortcut().toString()
            self.list.addItem(QListWidgetItem(f"{action.text()}    {keys}" if keys else action.text()))
        self.list.setCurrentRow(0)

    def _run(self) -> None:
        row = self.list.currentRow()
        self.hide()
        if 0 <= row < len(self._shown):
            self._shown[row].trigger()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step and self._shown:
                self.list.setCurrentRow((self.list.currentRow() + step) % len(self._shown))
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run()
                return True
        return super().eventFilter(watched, event)
