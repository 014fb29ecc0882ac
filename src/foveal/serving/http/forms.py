"""Forms that only our own pages can send: each carries a token bound to the browser.

`origins.Origins` has refused what a page of elsewhere sends before; the token holds where a browser says nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from foveal.serving.refusal import Refusal
from foveal.serving.settings import Settings

SECRET_FILE = "forms.key"


class Tokens:
    """Makes and checks the tokens of forms."""

    def __init__(self, settings: Settings) -> None:
        """Take the secret of `settings`, or the one in the data folder, which is made where there is none."""
        said = settings.secret.get_secret_value()
        self._secret = said.encode() if said else stored_secret(settings.data_folder / "keys" / SECRET_FILE)

    def make(self, binding: str) -> str:
        """Return the token of the browser whose cookie is `binding`."""
        return hmac.new(self._secret, b"form\0" + binding.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def check(self, binding: str | None, token: str | None) -> None:
        """Raise Refusal unless `token` was made for `binding`."""
        if not binding or not token or not hmac.compare_digest(self.make(binding).encode(), token.encode()):
            raise Refusal(
                403, "bad_form", "The form is not of this session: load the page again; what you wrote is kept there."
            )


def stored_secret(file: Path) -> bytes:
    """Return the secret in `file`, made at first use and readable by its owner only.

    Where nothing can be written the secret lives as long as the process: open forms are then refused after a restart.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError:
        return secrets.token_bytes(32)
    else:
        with os.fdopen(made, "wb") as stream:
            stream.write(secrets.token_hex(32).encode())
            stream.flush()
            os.fsync(stream.fileno())
    try:
        content = file.read_bytes()
    except OSError:
        content = b""
    return content if len(content) >= 32 else secrets.token_bytes(32)
