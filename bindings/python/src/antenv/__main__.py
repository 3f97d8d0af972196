"""`python -m antenv`: versions and paths, to be named in reports."""

from __future__ import annotations

import os
import platform

from . import _native

print(f"antenv   {_native.VERSION} (ABI version {_native.abi_version()})")
print(f"library  {_native.PATH}")
print(f"package  {os.path.dirname(os.path.abspath(__file__))}")
print(f"python   {platform.python_version()} {platform.python_implementation()}, {platform.platform()}")
