"""Certificates made for the tests with openssl, and what servers need to show them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

LOOPBACK = "DNS:localhost,IP:127.0.0.1"


class Identity(NamedTuple):
    """A certificate with its key, each a PEM file."""

    certificate: Path
    key: Path

    def context(self, client_ca: Path | None = None) -> ssl.SSLContext:
        """What a server with this certificate listens with; with `client_ca` it demands a certificate of its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context


class Authority:
    """A certificate authority, in a folder of its own."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.root = folder / "root.pem"
        self._key = folder / "root-key.pem"
        openssl("req", "-x509", *new_key("P-256"), "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.root)

    def issue(self, name: str, *, names: str = LOOPBACK, curve: str = "P-256", days: int = 2, extra: str = "") -> Identity:
        """Issues a certificate for `names`; `days` below zero: it has expired. `extra` adds lines of extensions."""
        files = {kind: self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr", "ext")}
        files["ext"].write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n{extra}\n")
        openssl("req", *new_key(curve), "-subj", f"/CN={name}", "-keyout", files["key"], "-out", files["csr"])
        signed = ["-CA", self.root, "-CAkey", self._key, "-CAcreateserial", "-extfile", files["ext"], "-out", files["pem"]]
        openssl("x509", "-req", "-days", str(days), "-in", files["csr"], *signed)
        return Identity(files["pem"], files["key"])

    def self_signed(self, name: str) -> Identity:
        """A certificate that signs itself, as `openssl req -x509` makes it: with CA:TRUE."""
        made = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={LOOPBACK}"]
        openssl("req", "-x509", *new_key("P-256"), "-days", "2", *subject, "-keyout", made.key, "-out", made.certificate)
        return made


def new_key(curve: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-nodes"]


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
