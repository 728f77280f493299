"""The command palette (Ctrl+K): type, arrow, Enter."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QDialog, QHeaderView, QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

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
        self.list = QTreeWidget()
        self.list.setColumnCount(2)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.header().setStretchLastSection(False)
        self.list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.list.setAccessibleName("Commands")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(lambda _item, _column: self._run())
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
            item = QTreeWidgetItem([action.text(), action.shortcut().toString()])
            item.setSizeHint(0, QSize(0, 30))
            item.setForeground(1, theme.tokens().color("muted"))
            self.list.addTopLevelItem(item)
        self._go_to(0)

    def _row(self) -> int:
        item = self.list.currentItem()
        return self.list.indexOfTopLevelItem(item) if item is not None else -1

    def _go_to(self, row: int) -> None:
        item = self.list.topLevelItem(row % len(self._shown)) if self._shown else None
        if item is not None:
            self.list.setCurrentItem(item)

    def _run(self) -> None:
        row = self._row()
        self.hide()
        if 0 <= row < len(self._shown):
            self._shown[row].trigger()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step and self._shown:
                self._go_to(self._row() + step)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run()
                return True
        return super().eventFilter(watched, event)
