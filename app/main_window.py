"""The frame: rail, header, banner, pages, job tray. Pages are made on first sight."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, cast

from PySide6.QtCore import QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.actions import Actions
from app.context import Context, ModelChoice
from app.jobs.engine_process import Outcome
from app.opening import kind_of, with_adapter
from app.pages.base import Page
from app.pages.start import StartPage
from app.widgets.banner import Banner
from app.widgets.basic import label
from app.widgets.chip import ModelChip, dropped_paths
from app.widgets.palette import Palette
from app.widgets.rail import Rail
from app.widgets.tray import Tray
from core.errors import ForeshotError
from core.runs.events import Event, Heartbeat, Hello, Log, Progress, State
from core.runs.folder import RunFolder
from core.specs import (
    AskSpec,
    AuditSpec,
    CanarySpec,
    DistillSpec,
    JobSpec,
    LoadOptions,
    ScanSpec,
    SoftLabelsSpec,
    SuiteSpec,
)
from core.types import ModelRef, Role

PAGES: Final = (
    ("start", "Start"),
    ("models", "Models"),
    ("scan", "Scan"),
    ("suites", "Suites"),
    ("distil", "Distil"),
    ("transfer", "Transfer"),
    ("scorecard", "Scorecard"),
    ("runs", "Runs"),
)
SHOWN_ON: Final = {
    "scan": ("scan",),
    "suite": ("suites",),
    "audit": ("scan", "suites", "scorecard"),
    "distill": ("distil",),
    "softlabels": ("distil",),
    "canary": ("transfer",),
}
"""Which pages show a run of a kind; the last one comes to the front."""


class MainWindow(QMainWindow):
    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.actions_ = Actions(self)
        self.pages: dict[str, Page] = {}
        self.current = ""
        self._job = ""  # the run that the tray shows
        self._started: list[str] = []
        self._stopping: set[str] = set()
        self.setWindowTitle("Foreshot")
        self.setMinimumSize(1024, 640)
        self.resize(1360, 850)
        self.setAcceptDrops(True)
        present = [(n, t) for n, t in PAGES if importlib.util.find_spec(f"app.pages.{n}")]
        self.rail = Rail([(name, title, name) for name, title in present])
        self.rail.chosen.connect(self.open_page)
        self._build()
        self._register(present)
        context.pair_changed.connect(self._on_pair)
        context.page_requested.connect(self.open_page)
        context.error_shown.connect(self.banner.show_message)
        context.run_opened.connect(self.open_run)
        context.audit_requested.connect(self.audit)
        context.choose_requested.connect(lambda role: self.choose_folder(role_of(role)))
        context.paths_dropped.connect(lambda paths, role: self.open_paths(paths, role_of(role)))
        context.run_queued.connect(lambda _run: self._show_queue())
        context.run_started.connect(self._on_started)
        context.run_event.connect(self._on_event)
        context.run_finished.connect(self._on_finished)
        self.open_page("start")

    # building

    def _build(self) -> None:
        self.title = label(size=theme.LEAD, bold=True)
        self.chips: dict[Role, ModelChip] = {"teacher": ModelChip("teacher"), "student": ModelChip("student")}
        arrow = QPushButton("→")
        arrow.setFlat(True)
        arrow.setFixedSize(32, 28)
        arrow.setStyleSheet("padding: 0; border: none; background: transparent;")
        arrow.setAccessibleName("Swap teacher and student")
        arrow.setToolTip("Swap teacher and student (Ctrl+Shift+X)")
        arrow.clicked.connect(lambda _checked=False: self.swap())
        commands = QPushButton("Ctrl K")
        commands.setFont(theme.ui_font(11))
        commands.setStyleSheet("padding: 2px 8px;")
        commands.setAccessibleName("Commands")
        commands.setToolTip("Every command, by name (Ctrl+K)")
        commands.clicked.connect(lambda _checked=False: self.show_palette())
        for role, chip in self.chips.items():
            chip.clicked.connect(lambda _checked=False, role=role: self._on_chip(role))
            chip.dropped.connect(lambda paths, role=role: self.open_paths(paths, role))
        header = QFrame()
        header.setObjectName("header")
        header.setFixedHeight(48)
        row = QHBoxLayout(header)
        row.setContentsMargins(20, 0, 16, 0)
        row.setSpacing(8)
        row.addWidget(self.title)
        row.addStretch(1)
        row.addWidget(self.chips["teacher"])
        row.addWidget(arrow)
        row.addWidget(self.chips["student"])
        row.addSpacing(4)
        row.addWidget(commands)

        self.banner = Banner()
        self.stack = QStackedWidget()
        self.tray = Tray()
        self.tray.cancel_asked.connect(self.cancel_job)
        self._palette: Palette | None = None

        right = QVBoxLayout()
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        right.addWidget(header)
        right.addWidget(self.banner)
        right.addWidget(self.stack, 1)
        middle = QHBoxLayout()
        middle.setContentsMargins(0, 0, 0, 0)
        middle.setSpacing(0)
        middle.addWidget(self.rail)
        middle.addLayout(right, 1)
        whole = QWidget()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(middle, 1)
        column.addWidget(self.tray)
        self.setCentralWidget(whole)

    def _register(self, present: Sequence[tuple[str, str]]) -> None:
        add = self.actions_.add
        for number, (name, title) in enumerate(present, start=1):
            add(f"page.{name}", f"Go to {title}", partial(self.open_page, name), f"Ctrl+{number}")
        add("open", "Open a model or run folder…", self.choose_folder, "Ctrl+O")
        add("open.teacher", "Open the teacher…", lambda: self.choose_folder("teacher"), "Ctrl+Shift+T")
        add("open.student", "Open the student…", lambda: self.choose_folder("student"), "Ctrl+Shift+S")
        add("open.gguf", "Open a .gguf file…", self.choose_file, "Ctrl+Shift+O")
        add("swap", "Swap teacher and student", self.swap, "Ctrl+Shift+X")
        add("clear", "Take both models away", lambda: self.context.set_pair(None, None))
        add("audit", "Audit this pair", self.audit, "Ctrl+Return")
        add("scan.one", "Scan one model", self.scan_one, "Ctrl+Shift+Return")
        add("distil", "Distil", lambda: self.open_page("distil"))
        add("demo", "See the demo", self.demo, "Ctrl+D")
        add("cancel", "Cancel the running job", self.cancel_job, "Ctrl+.")
        add("palette", "Show all commands", self.show_palette, "Ctrl+K")
        schemes: tuple[theme.Scheme, ...] = ("system", "light", "dark")
        for scheme in schemes:
            add(f"scheme.{scheme}", f"Colours: {scheme}", partial(self.set_scheme, scheme))
        add("quit", "Quit", self.close, "Ctrl+Q")
        self._on_pair()
        self._show_queue()

    # pages

    def open_page(self, name: str) -> None:
        """Bring a page to the front; it is made on first sight."""
        if name not in self.rail.buttons:
            return
        page = self.page(name)
        self.current = name
        self.stack.setCurrentWidget(page)
        self.title.setText(page.title)
        self.rail.show_chosen(name)

    def page(self, name: str) -> Page:
        if name not in self.pages:
            module = importlib.import_module(f"app.pages.{name}")
            kinds = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Page) and c.name == name]
            made = cast(Callable[[Context], Page], kinds[0])(self.context)
            if isinstance(made, StartPage):
                made.add_cards(
                    self.actions_["audit"], self.actions_["scan.one"], self.actions_["distil"], self.actions_["demo"]
                )
            self.pages[name] = made
            self.stack.addWidget(made)
            made.set_pair(self.context.teacher, self.context.student)
            for run_id in self._started:
                made.on_started(run_id)
        return self.pages[name]

    def open_run(self, path: Path) -> None:
        """Show a run folder on its pages, with the models it was about in their places."""
        try:
            folder = RunFolder.open(path)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.context.folders[folder.id] = folder
        if self.context.index is not None:
            self.context.index.add(folder.path)
        spec = folder.spec
        self.context.set_pair(*pair_of(spec, self.context.teacher, self.context.student))
        names = [n for n in SHOWN_ON.get(job_of(spec), ()) if n in self.rail.buttons]
        for name in names:
            self.page(name).open_run(folder.path)
        if names:
            self.open_page(names[-1])

    # opening models

    def choose_folder(self, role: Role | None = None) -> None:
        start = str(self.context.settings.value("last_folder") or Path.home())
        path = QFileDialog.getExistingDirectory(self, f"Open {role or 'a model or run folder'}", start)
        if path:
            self.context.settings.setValue("last_folder", str(Path(path).parent))
            self.open_paths([Path(path)], role)

    def choose_file(self, role: Role | None = None) -> None:
        start = str(self.context.settings.value("last_folder") or Path.home())
        path, _kind = QFileDialog.getOpenFileName(self, "Open a .gguf file", start, "GGUF models (*.gguf)")
        if path:
            self.open_paths([Path(path)], role)

    def open_paths(self, paths: Sequence[Path], role: Role | None = None) -> None:
        """Put models in their places, open a run. Without a role the first free place is taken."""
        for path in list(paths)[:2]:
            try:
                kind = kind_of(path)
                if kind == "run":
                    self.open_run(path)
                    continue
                self._place(path, kind == "adapter", role)
            except ForeshotError as error:
                self.context.show_error(error.message, error.hint)
            role = None if role is None else ("student" if role == "teacher" else "teacher")

    def open_arguments(self, texts: Sequence[str]) -> None:
        """Paths of the command line; ``BASE+ADAPTER`` is one model."""
        for role, text in zip(cast("tuple[Role, ...]", ("teacher", "student")), texts, strict=False):
            ref = ModelRef.parse(text)
            if ref.adapter is not None:
                self.open_paths([Path(ref.path).absolute()], role)
                self.open_paths([Path(ref.adapter).absolute()], role)
            else:
                self.open_paths([Path(text).absolute()], role)

    def _place(self, path: Path, adapter: bool, role: Role | None) -> None:
        context = self.context
        if role is None:
            if adapter:
                role = "student" if context.student is not None and context.teacher is None else "teacher"
            else:
                role = "teacher" if context.teacher is None else "student"
        old = context.teacher if role == "teacher" else context.student
        ref = with_adapter(path, old.ref if old else None) if adapter else ModelRef(str(path))
        new = replace(old, ref=ref, card=None) if old else ModelChoice(ref)
        context.set_pair(*((new, context.student) if role == "teacher" else (context.teacher, new)))

    def _on_chip(self, role: Role) -> None:
        """An empty place asks for its model; a pair changes places."""
        if (self.context.teacher if role == "teacher" else self.context.student) is None:
            self.choose_folder(role)
        else:
            self.swap()

    def swap(self) -> None:
        self.context.set_pair(self.context.student, self.context.teacher)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.open_paths(dropped_paths(event))

    def _on_pair(self) -> None:
        teacher, student = self.context.teacher, self.context.student
        self.chips["teacher"].set_choice(teacher)
        self.chips["student"].set_choice(student)
        self.actions_["swap"].setEnabled(bool(teacher or student))
        self.actions_["clear"].setEnabled(bool(teacher or student))
        for page in self.pages.values():
            page.set_pair(teacher, student)

    # jobs

    def audit(self) -> None:
        """The guided audit; pressed again in it, the audit starts with what was answered so far."""
        page = cast(StartPage, self.page("start"))
        if self.current == "start" and page.guide is not None and page.stack.currentWidget() is page.guide:
            page.guide.start()
            return
        self.open_page("start")
        page.begin_audit()

    def scan_one(self) -> None:
        """Over to the Scan page; asks for a model first where there is none."""
        if self.context.teacher is None and self.context.student is None:
            self.choose_folder("teacher")
        if self.context.teacher is not None or self.context.student is not None:
            self.open_page("scan")

    def demo(self) -> None:
        from core.specs.demo import demo_spec, small_model_folder

        model = small_model_folder()
        if not (model / "config.json").exists():
            command = "python -m core model"
            self.context.show_error(
                "The small model of the demo is not on this machine yet.",
                f"Fetch it once with `{command}` (the window itself never goes online), then press again.",
                ("Copy command", lambda: copy(command)),
            )
            return
        spec = demo_spec(model, LoadOptions())
        self.context.set_pair(*pair_of(spec, None, None))
        if self.context.submit(spec):
            self.open_page("scan")

    def cancel_job(self) -> None:
        if self._job:
            first = self._job not in self._stopping
            self._stopping.add(self._job)
            if first:
                self.tray.set_stopping()
            self.context.cancel(self._job)

    def _on_started(self, run_id: str) -> None:
        self._started.append(run_id)
        if not self._job:
            self._show_job(run_id)
        self._show_queue()
        for page in self.pages.values():
            page.on_started(run_id)

    def _show_job(self, run_id: str) -> None:
        self._job = run_id
        folder = self.context.folders.get(run_id)
        self.tray.set_job(job_title(folder.spec) if folder else run_id)

    def _on_event(self, run_id: str, event: Event) -> None:
        if run_id == self._job:
            self._feed_tray(event)
        for page in self.pages.values():
            page.on_event(run_id, event)

    def _feed_tray(self, event: Event) -> None:
        match event:
            case Progress() if self._job not in self._stopping:
                self.tray.set_progress(event)
            case Hello():
                self.tray.set_device(event.device)
            case Heartbeat():
                self.tray.set_rss(event.rss)
            case State() if event.detail:
                self.tray.set_note(event.detail)
            case Log() if event.level == "warning":
                self.tray.set_note(event.message)

    def _on_finished(self, run_id: str, outcome: Outcome) -> None:
        if run_id in self._started:
            self._started.remove(run_id)
        self._stopping.discard(run_id)
        folder = self.context.folders.get(run_id)
        tried = folder is not None and isinstance(folder.spec, AskSpec)  # belongs to the run whose finding it tries
        if self.context.index is not None and not tried:
            self.context.index.add(self.context.run_folder(run_id))
        if run_id == self._job:
            self._job = ""
            self.tray.set_idle()
            if self._started:
                self._show_job(self._started[0])
        self._show_queue()
        for page in self.pages.values():
            page.on_finished(run_id, outcome)
        if outcome.ok:
            if folder is not None and isinstance(folder.spec, AuditSpec):
                self.open_run(folder.path)
        elif outcome.status != "cancelled":
            log = outcome.error.detail_path if outcome.error and outcome.error.detail_path else outcome.log
            show = ("Open the log", lambda: open_file(Path(log))) if log and Path(log).exists() else None
            self.context.show_error(outcome.sentence, outcome.hint, show)

    def _show_queue(self) -> None:
        self.actions_["cancel"].setEnabled(bool(self._job))
        self.tray.set_waiting(len(getattr(self.context.jobs, "waiting", ())))

    # the rest

    def set_scheme(self, scheme: theme.Scheme) -> None:
        self.context.settings.setValue("scheme", scheme)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.set_scheme(app, scheme)

    def show_palette(self) -> None:
        if self._palette is None:
            self._palette = Palette(self.actions_, self)
        self._palette.open_over(self)

    def closeEvent(self, event: QCloseEvent) -> None:
        self.context.settings.setValue("geometry", self.saveGeometry())
        self.context.shutdown()
        super().closeEvent(event)


def role_of(text: str) -> Role | None:
    return cast(Role, text) if text in ("teacher", "student") else None


def job_of(spec: JobSpec) -> str:
    return type(spec).__name__.removesuffix("Spec").lower()


def job_title(spec: JobSpec) -> str:
    """What the tray says is running."""
    if isinstance(spec, AuditSpec):
        student = f" → {ModelRef.parse(spec.student).name}" if spec.student else ""
        return f"Audit of {ModelRef.parse(spec.teacher).name}{student}"
    if isinstance(spec, ScanSpec):
        return f"{spec.preset.capitalize()} scan of {spec.ref.name}"
    if isinstance(spec, AskSpec):
        return f"A prompt to {spec.ref.name}"
    if isinstance(spec, SoftLabelsSpec):
        return f"Soft labels of {spec.ref.name} and {ModelRef.parse(spec.student).name}"
    if isinstance(spec, CanarySpec):
        return f"Canary experiment on {spec.ref.name}"
    if isinstance(spec, DistillSpec):
        return f"Distillation of {spec.ref.name}"
    return f"Suites on {spec.ref.name}"


def pair_of(
    spec: JobSpec, teacher: ModelChoice | None, student: ModelChoice | None
) -> tuple[ModelChoice | None, ModelChoice | None]:
    """The places after a run about ``spec`` was opened; a model that stands in its place already keeps its card."""

    def keep(choice: ModelChoice | None, new: ModelChoice) -> ModelChoice:
        return choice if choice is not None and (choice.ref, choice.load) == (new.ref, new.load) else new

    if isinstance(spec, AuditSpec):
        named = keep(teacher, ModelChoice(ModelRef.parse(spec.teacher), spec.teacher_load))
        new_teacher = teacher if spec.teacher_answers else named  # a name of whoever answered is no folder
        if spec.student is None:
            return new_teacher, student
        return new_teacher, keep(student, ModelChoice(ModelRef.parse(spec.student), spec.student_load))
    if isinstance(spec, SoftLabelsSpec):
        new_teacher = keep(teacher, ModelChoice(spec.ref, spec.teacher_load))
        return new_teacher, keep(student, ModelChoice(ModelRef.parse(spec.student), spec.student_load))
    if isinstance(spec, CanarySpec):
        new_teacher = keep(teacher, ModelChoice(spec.ref, spec.teacher_load))
        # students are trained in fp32; how the given one is read elsewhere is another matter
        load = LoadOptions(device=spec.student_load.device, force=spec.student_load.force)
        known = student is not None and student.ref == ModelRef.parse(spec.student)
        return new_teacher, student if known else ModelChoice(ModelRef.parse(spec.student), load)
    if isinstance(spec, DistillSpec):
        source = spec.plan.stages[0].student.source
        new_teacher = keep(teacher, ModelChoice(spec.ref, spec.load))
        return new_teacher, student if source == "teacher" else keep(student, ModelChoice(ModelRef.parse(source)))
    placed = any(choice is not None and choice.ref == spec.ref for choice in (teacher, student))
    if placed or (isinstance(spec, SuiteSpec) and spec.answers):
        return teacher, student
    return ModelChoice(spec.ref, spec.load), student


def copy(text: str) -> None:
    QGuiApplication.clipboard().setText(text)


def open_file(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
