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
        """What a server with this certificate listens with; given `client_ca` it demands one of its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context


class Authority:
    """A certificate authority, in a folder of its own: a root, or with `above` one that another vouches for."""

    def __init__(self, folder: Path, name: str = "test authority", above: Authority | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._above = above
        if above:
            self._own = above._sign(name, folder, "basicConstraints=critical,CA:TRUE")
        else:
            self._own = self_sign(folder, name)
        #: What a client must trust.
        self.root: Path = above.root if above else self._own.certificate

    def issue(
        self, name: str, *, names: str = LOOPBACK, curve: str = "P-256", days: int = 2, extra: str = ""
    ) -> Identity:
        """Issues a certificate for `names`; `days` 0: it expires at once. `extra` adds a line of extensions."""
        extensions = f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n{extra}\n"
        made = self._sign(name, self.folder, extensions, curve=curve, days=days)
        if self._above:
            # A server shows the authorities between itself and the root as well.
            made.certificate.write_bytes(made.certificate.read_bytes() + self._own.certificate.read_bytes())
        return made

    def self_signed(self, name: str) -> Identity:
        """A certificate that signs itself, as `openssl req -x509` makes it: with CA:TRUE."""
        return self_sign(self.folder, name, "-addext", f"subjectAltName={LOOPBACK}")

    def issue_ahead(self, name: str) -> Identity:
        """Issues a certificate that is not valid before the year 2099."""
        made = self.issue(name)
        config, database = self.folder / f"{name}.cnf", self.folder / f"{name}.index"
        database.write_text("")
        lines = ("[ca]", "default_ca=own", "[own]", f"database={database}", f"new_certs_dir={self.folder}")
        more = ("rand_serial=yes", "default_md=sha256", "policy=policy", "[policy]", "commonName=supplied")
        config.write_text("\n".join((*lines, *more, "")))
        period = ("-startdate", "20990101000000Z", "-enddate", "21000101000000Z")
        signer = ("-cert", self._own.certificate, "-keyfile", self._own.key, "-extfile", self.folder / f"{name}.ext")
        request = ("-in", self.folder / f"{name}.csr", "-out", made.certificate)
        openssl("ca", "-batch", "-notext", "-config", config, *period, *signer, *request)
        return made

    def _sign(self, name: str, folder: Path, extensions: str, *, curve: str = "P-256", days: int = 2) -> Identity:
        made = files(folder, name)
        request, lines = folder / f"{name}.csr", folder / f"{name}.ext"
        lines.write_text(extensions)
        openssl("req", *new_key(curve), "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        signer: list[str | Path] = ["-CA", self._own.certificate, "-CAkey", self._own.key, "-CAcreateserial"]
        openssl(
            "x509", "-req", "-days", str(days), "-in", request, *signer, "-extfile", lines, "-out", made.certificate
        )
        return made


def files(folder: Path, name: str) -> Identity:
    return Identity(folder / f"{name}.pem", folder / f"{name}.key")


def self_sign(folder: Path, name: str, *more: str) -> Identity:
    made = files(folder, name)
    subject = ["-days", "2", "-subj", f"/CN={name}", *more]
    openssl("req", "-x509", *new_key("P-256"), *subject, "-keyout", made.key, "-out", made.certificate)
    return made


def new_key(curve: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-nodes"]


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
