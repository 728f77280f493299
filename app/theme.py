"""Colours, type and spacing of the window: Fusion, light or dark as the system says.

Every colour has a meaning; nothing is green for "safe". Widgets that paint themselves ask ``tokens()`` in
``paintEvent``, so a change of scheme needs no bookkeeping; everything else is styled by one style sheet.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final, Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

from core.types import RESOURCES

SMALL: Final = 12
BODY: Final = 13
LEAD: Final = 15
TITLE: Final = 20
HERO: Final = 28
RADIUS: Final = 6
STEP: Final = 4  # every space is a multiple of this


@dataclass(frozen=True)
class Tokens:
    """Colours as ``#rrggbb``.

    Attributes:
        window: behind everything; surface: cards, rail, header; sunken: selected rows, code.
        hairline: one-pixel lines; text and muted: words; accent: progress and focus.
        teacher, student: the two models, everywhere; needle: the finding against its controls.
        highlight, on_highlight: a trigger inside its prompt.
        sev_info … sev_high: file findings. band: the strip of the margin δ. edge: of a field that can be changed.
    """

    dark: bool
    window: str
    surface: str
    sunken: str
    hairline: str
    text: str
    muted: str
    accent: str
    teacher: str
    student: str
    needle: str
    control: str
    highlight: str
    on_highlight: str
    band: str
    edge: str
    sev_info: str
    sev_low: str
    sev_medium: str
    sev_high: str

    def color(self, name: str) -> QColor:
        return QColor(getattr(self, name))


LIGHT: Final = Tokens(
    dark=False,
    window="#f6f6f4",
    surface="#ffffff",
    sunken="#f0efea",
    hairline="#dddcd7",
    text="#1d2023",
    muted="#65696e",
    accent="#2b5c73",
    teacher="#46698b",
    student="#95581a",
    needle="#9c2a2a",
    control="#b7bac0",
    highlight="#f0d9bf",
    on_highlight="#5e3a10",
    band="#dde2e8",
    edge="#888c92",
    sev_info="#65696e",
    sev_low="#46698b",
    sev_medium="#8f5a12",
    sev_high="#9c2a2a",
)
DARK: Final = Tokens(
    dark=True,
    window="#191b1e",
    surface="#212428",
    sunken="#2b2e33",
    hairline="#373b41",
    text="#e9ebed",
    muted="#9ba1a7",
    accent="#6aa9cc",
    teacher="#7db0d8",
    student="#e29a58",
    needle="#ea8283",
    control="#b9bdc3",
    highlight="#5b3b12",
    on_highlight="#f3d3a8",
    band="#3d444d",
    edge="#747a82",
    sev_info="#9ba1a7",
    sev_low="#7db0d8",
    sev_medium="#e0a95e",
    sev_high="#e98181",
)


Scheme = Literal["system", "light", "dark"]
_forced: Scheme = "system"


def is_dark() -> bool:
    if _forced != "system":
        return _forced == "dark"
    return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def tokens() -> Tokens:
    """The colours of now."""
    return DARK if is_dark() else LIGHT


@lru_cache(maxsize=1)
def _families() -> tuple[str, str]:
    """(sans, mono): the bundled ones if they are there, else the system's."""
    for path in sorted((RESOURCES / "fonts").glob("*.[ot]tf")):
        if "CJK" not in path.name:  # large: registered after the first paint, see load_companion_fonts
            QFontDatabase.addApplicationFont(str(path))
    have = set(QFontDatabase.families())
    system = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont).family()
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    sans = next((f for f in ("Inter", "Source Sans 3", "Noto Sans", "DejaVu Sans") if f in have), system)
    wanted_mono = ("JetBrains Mono", "Source Code Pro", "IBM Plex Mono", "DejaVu Sans Mono")
    mono = next((f for f in wanted_mono if f in have), fixed)
    return sans, mono


def load_companion_fonts() -> None:
    """Register the large CJK companions. Called once the window is on screen."""
    for path in sorted((RESOURCES / "fonts").glob("*CJK*.[ot]tf")):
        QFontDatabase.addApplicationFont(str(path))


def ui_font(size: int = BODY, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    """The sans in pixels, with tabular figures so that numbers line up."""
    font = QFont(_families()[0])
    font.setPixelSize(size)
    font.setWeight(weight)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def mono_font(size: int = SMALL) -> QFont:
    """For prompts, triggers, hashes and paths."""
    font = QFont(_families()[1])
    font.setPixelSize(size)
    font.setStyleHint(QFont.StyleHint.Monospace)
    font.setFeature(QFont.Tag("calt"), 0)  # no ligatures: a trigger `!=` or an option `--x` is shown as it is typed
    return font


def _palette(t: Tokens) -> QPalette:
    palette = QPalette()
    role = QPalette.ColorRole
    for name, colour in {
        role.Window: t.window,
        role.WindowText: t.text,
        role.Base: t.surface,
        role.AlternateBase: t.sunken,
        role.Text: t.text,
        role.Button: t.surface,
        role.ButtonText: t.text,
        role.ToolTipBase: t.surface,
        role.ToolTipText: t.text,
        role.PlaceholderText: t.muted,
        role.Highlight: t.sunken,
        role.HighlightedText: t.text,
        role.Link: t.accent,
        role.Mid: t.hairline,
        role.Midlight: t.hairline,
        role.Dark: t.hairline,
        role.Light: t.surface,
        role.Accent: t.accent,
    }.items():
        palette.setColor(name, QColor(colour))
    for disabled in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, disabled, QColor(t.muted))
    return palette


_SHEET = """
QToolTip { background: @surface; color: @text; border: 1px solid @hairline; padding: 4px; }
QFrame#card { background: @surface; border: 1px solid @hairline; border-radius: 6px; }
QFrame#rail { background: @surface; border: none; border-right: 1px solid @hairline; }
QFrame#header { background: @surface; border: none; border-bottom: 1px solid @hairline; }
QFrame#tray { background: @surface; border: none; border-top: 1px solid @hairline; }
QFrame#banner { background: @sunken; border: none; border-bottom: 1px solid @hairline;
    border-left: 4px solid @sev_high; }
QLabel#muted { color: @muted; }
QLabel#heading { color: @text; font-weight: 600; }
QLabel#teacher { color: @teacher; }
QLabel#student { color: @student; }
QLabel#sev_high { color: @sev_high; }
QLabel#sev_medium { color: @sev_medium; }
QLabel#sev_low { color: @sev_low; }
QLabel#sev_info { color: @sev_info; }
QLabel#code { background: @sunken; border-radius: 6px; padding: 8px; }
QPushButton { background: @surface; color: @text; border: 1px solid @hairline; border-radius: 6px; padding: 5px 12px; }
QPushButton:hover { background: @sunken; }
QPushButton:focus { border: 1px solid @accent; }
QPushButton:disabled { color: @muted; background: @window; }
QPushButton#primary { background: @text; color: @surface; border: 1px solid @text; }
QPushButton#primary:hover, QPushButton#primary:focus { background: @accent; border: 1px solid @accent; }
QPushButton#primary:disabled { background: @sunken; color: @muted; border: 1px solid @hairline; }
QLineEdit, QPlainTextEdit, QTextEdit { background: @surface; border: 1px solid @hairline; border-radius: 6px;
    padding: 5px; selection-background-color: @accent; selection-color: @surface; }
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus { border: 1px solid @accent; }
QComboBox { background: @surface; color: @text; border: 1px solid @edge; border-radius: 6px; padding: 3px 6px; }
QComboBox:focus { border: 2px solid @accent; padding: 2px 5px; }
QComboBox:disabled { color: @muted; border: 1px solid @hairline; }
QComboBox::drop-down { subcontrol-position: center right; width: 18px; border: none; }
QComboBox::down-arrow { image: url(@chevron); width: 12px; height: 12px; }
QComboBox QLineEdit, QComboBox QLineEdit:focus { border: none; padding: 0; background: transparent; }
QTableView, QTreeView, QListView { background: @surface; border: none; outline: none; gridline-color: transparent;
    selection-background-color: @sunken; selection-color: @text; }
QTableView::item, QTreeView::item, QListView::item { border-bottom: 1px solid @hairline; padding: 0 8px; }
QTableView::item:selected, QTreeView::item:selected, QListView::item:selected { background: @sunken; }
QHeaderView { background: @surface; border: none; }
QHeaderView::section { background: @surface; color: @muted; border: none; border-bottom: 1px solid @hairline;
    padding: 4px 11px; font-weight: 400; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 0; }
QScrollBar::handle { background: @control; border-radius: 3px; margin: 2px; min-height: 28px; min-width: 28px; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QSplitter::handle { background: transparent; }
QScrollArea, QScrollArea > QWidget > QWidget#page { background: transparent; border: none; }
QProgressBar { background: @sunken; border: none; border-radius: 3px; max-height: 6px; min-height: 6px; }
QProgressBar::chunk { background: @accent; border-radius: 3px; }
"""


def style_sheet(t: Tokens) -> str:
    """The sheet with its ``@tokens`` filled in."""
    sheet = _SHEET
    for name in sorted((f.name for f in fields(t) if f.name != "dark"), key=len, reverse=True):
        sheet = sheet.replace("@" + name, getattr(t, name))
    return sheet.replace("@chevron", (RESOURCES / "icons" / "chevron.svg").as_posix())


def apply(app: QApplication) -> None:
    """Set style, palette, font and sheet, and follow the system when it changes."""
    app.setStyle(QStyleFactory.create("Fusion"))
    app.setFont(ui_font())
    _paint(app)
    if not app.property("follows_the_system"):
        app.setProperty("follows_the_system", True)
        QGuiApplication.styleHints().colorSchemeChanged.connect(lambda _scheme: _paint(app))


def set_scheme(app: QApplication, scheme: Scheme) -> None:
    """Light or dark whatever the system says, or again as it says."""
    global _forced
    _forced = scheme
    _paint(app)


def _paint(app: QApplication) -> None:
    app.setPalette(_palette(tokens()))
    app.setStyleSheet(style_sheet(tokens()))
