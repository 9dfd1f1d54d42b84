"""The audio files in a folder, without what editors and systems leave there."""

from __future__ import annotations

from pathlib import Path

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2"),
    *(".aif", ".aiff", ".aifc", ".caf", ".w64", ".rf64", ".au"),
    *(".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".aac", ".webm", ".mka", ".mkv"),  # through ffmpeg
)
"""How the names of files end that are read, in lower case."""

_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"}


def audio_files(folder: Path) -> list[Path]:
    """List the audio files below a folder, sorted, without those that are hidden."""
    return [p for p in visible_files(folder) if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()]


def visible_files(folder: Path) -> list[Path]:
    """List all below a folder, sorted, but what editors and systems leave there of their own.

    Examples: ``._dog.wav``, ``.ipynb_checkpoints/dog-checkpoint.wav``, ``__MACOSX/dog.wav``.
    """
    return [p for p in sorted(folder.rglob("*")) if not is_hidden(p.relative_to(folder))]


def is_hidden(path: Path) -> bool:
    """Tell if a file or a folder, or one above it, is hidden or a system's own."""
    return any(map(is_hidden_name, path.parts))


def is_hidden_name(name: str) -> bool:
    """Tell if a file or a folder of this name is hidden or a system's own."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS
