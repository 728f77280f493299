"""Import a downloaded data set: what it is, under which licence, and its first items, before it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.widgets.basic import ElidedLabel, button, heading, label
from app.widgets.paper import Work
from core.errors import ForeshotError

if TYPE_CHECKING:
    from core.suites.importers import Imported, Preview

ROWS = 30
"""Items shown before the import."""


class ImportDialog(QDialog):
    """``out`` is the folder for suites of the user's own. After ``accept``, ``imported`` says what was written."""

    def __init__(self, out: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from core.suites import importers  # reads nothing heavy, yet only who imports needs it

        self.importers = importers
        self.out = out
        self.path: Path | None = None
        self.preview: Preview | None = None
        self.imported: Imported | None = None
        self.work = Work(self)
        self.work.done.connect(self._done)
        self.setWindowTitle("Import a data set")
        self.resize(860, 620)
        self._build()
        self._show()

    def _build(self) -> None:
        self.file = ElidedLabel("no file chosen", muted=True)
        self.format = QComboBox()
        self.format.setAccessibleName("Format of the file")
        for name, shape in self.importers.FORMATS.items():
            self.format.addItem("A table of your own" if name == "table" else shape.title, name)
        self.format.currentIndexChanged.connect(lambda _at: self._read())
        self.kind = QComboBox()
        self.kind.setAccessibleName("What the rows are")
        self.kind.addItems(list(self.importers.KINDS))
        self.kind.setCurrentText("prompts")
        self.kind.currentIndexChanged.connect(lambda _at: self._read())
        self.columns: dict[str, QComboBox] = {}
        self.mapping = QFormLayout()
        self.name = QLineEdit()
        self.name.setAccessibleName("Name of the suite")
        self.facts = label(size=theme.SMALL, muted=True, wrap=True)
        self.facts.setAccessibleName("Licence, release and limits")
        self.table = QTableWidget()
        self.table.setAccessibleName("The first items")
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.fault = label(wrap=True)
        self.ok = button("Import", self.start, primary=True)

        choose = QHBoxLayout()
        choose.addWidget(button("Choose a file…", self.choose))
        choose.addWidget(self.file, 1)
        form = QFormLayout()
        form.addRow("File", choose)
        form.addRow("Format", self.format)
        form.addRow("Rows are", self.kind)
        form.addRow(self.mapping)
        form.addRow("Keep as", self.name)
        self.form = form
        foot = QHBoxLayout()
        foot.addWidget(self.fault, 1)
        foot.addWidget(button("Cancel", self.reject))
        foot.addWidget(self.ok)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(10)
        column.addLayout(form)
        column.addWidget(self.facts)
        column.addWidget(heading("The first items, as they will be asked"))
        column.addWidget(self.table, 1)
        column.addLayout(foot)

    # choosing

    def choose(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, "Choose a data set", str(self.path or Path.home()))
        if path:
            self.take(Path(path))

    def take(self, path: Path) -> None:
        """Look at ``path``: a published file is recognised by its hash; else the format stays as chosen."""
        self.path = path
        self.file.setText(str(path))
        self.name.setText(path.stem)
        try:
            known = self.importers.recognise(path)
        except ForeshotError:
            known = None  # reading it says why
        if known is not None and known != self.format.currentData():
            self.format.setCurrentIndex(self.format.findData(known))  # reads
        else:
            self._read()

    def chosen_columns(self) -> dict[str, str]:
        """Name → column of the file, for a table of the user's own."""
        return {name: box.currentText() for name, box in self.columns.items() if box.currentText()}

    def _read(self, mapping: Mapping[str, str] | None = None) -> None:
        own = self.format.currentData() == "table"
        if mapping is None:
            self._drop_columns()
        if self.path is None:
            self._show()
            return
        self.preview = None
        try:
            found = self.importers.preview(
                str(self.format.currentData()), self.path, ROWS, kind=self.kind.currentText(), mapping=mapping
            )
        except ForeshotError as error:
            self._show(f"{error.message} {error.hint}")
            return
        self.preview = found
        if own and mapping is None:
            self._offer_columns(found.names)
        self._show()

    def _offer_columns(self, names: tuple[str, ...]) -> None:
        from core.suites.importers.generic import ALWAYS, KINDS

        required, optional = KINDS[self.kind.currentText()]
        for name in (*required, *optional, *ALWAYS):
            box = QComboBox()
            box.setAccessibleName(f"Column for {name}")
            box.addItems(["", *names])
            box.setCurrentText(name if name in names else "")
            box.currentIndexChanged.connect(lambda _at: self._read(self.chosen_columns()))
            self.columns[name] = box
            self.mapping.addRow(name + (" (needed)" if name in required else ""), box)

    def _drop_columns(self) -> None:
        while self.mapping.rowCount():
            self.mapping.removeRow(0)
        self.columns = {}

    # showing

    def _show(self, fault: str = "") -> None:
        own = self.format.currentData() == "table"
        self.form.setRowVisible(self.kind, own)
        self.fault.setText(fault)
        found = self.preview
        self.ok.setEnabled(found is not None and bool(found.rows) and not fault)
        self.facts.setText(facts(found) if found is not None else "")
        self.table.clear()
        self.table.setRowCount(0 if found is None else len(found.rows))
        self.table.setColumnCount(0 if found is None else len(found.columns))
        if found is None:
            return
        self.table.setHorizontalHeaderLabels(list(found.columns))
        for at, row in enumerate(found.rows):
            for column, text in enumerate(row):
                cell = QTableWidgetItem(text)
                cell.setToolTip(text)
                self.table.setItem(at, column, cell)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.table.horizontalHeader().setStretchLastSection(True)

    # importing

    def start(self) -> None:
        """Write the suite, away from the window's thread."""
        if self.path is None:
            return
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in self.name.text().strip())
        out = self.out / f"{stem or self.path.stem}.yaml"
        if out.exists():
            self.fault.setText(f"{out.name} is there already: choose another name.")
            return
        name, path, kind = str(self.format.currentData()), self.path, self.kind.currentText()
        mapping = self.chosen_columns() or None
        self.ok.setEnabled(False)
        self.fault.setText("Importing…")

        def run() -> Any:
            self.out.mkdir(parents=True, exist_ok=True)
            return self.importers.import_set(name, [path], out, kind=kind, mapping=mapping)

        self.work.run("import", run)

    def _done(self, _key: object, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.imported = result
            self.accept()
            return
        self.ok.setEnabled(True)
        words = (
            f"{error.message} {error.hint}" if isinstance(error, ForeshotError) else f"It cannot be written: {error}."
        )
        self.fault.setText(words)

    def done(self, result: int) -> None:
        self.work.wait()
        super().done(result)

    def keyPressEvent(self, event: Any) -> None:
        # Return in the name field imports only when there is something to import
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not self.ok.isEnabled():
            return
        super().keyPressEvent(event)


def facts(found: Preview) -> str:
    """Licence, release and what the importer knows of it, for a reader who decides."""
    release = f"recognised: {found.release}" if found.recognised else "not a release that is known here"
    lines = [f"{found.title} · {found.kind} · licence {found.licence} · {release}"]
    if found.attribution:
        lines.append(found.attribution)
    if not found.tried:
        lines.append("The format is read after its description; it was not tried on the real file.")
    if not found.verbatim:
        lines.append("Share-alike: reports name its items by id and do not print them.")
    return "\n".join([*lines, found.limits])
