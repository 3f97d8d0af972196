"""Has PyInstaller take the shared library along: it is loaded by its path, which PyInstaller does not see."""

from PyInstaller.utils.hooks import collect_dynamic_libs  # type: ignore[import-untyped]

binaries = collect_dynamic_libs("antenv")
