"""What libraries say of a store, in one line and without what nobody may see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "***"
SHORTEST = 4  # characters of a secret; what is shorter stands in every other word
MAX_DETAIL = 300  # characters
# Who asks, in an address; what follows a '?', as in one that is signed; what is called a secret. Compiled when used.
PATTERNS = {
    r"(?<=://)[^/@\s]+@": f"{HIDDEN}@",
    r"\?\S+": f"?{HIDDEN}",
    r"(?i)\b(authorization|credential|signature|x-amz-security-token|password|passphrase|secret\w*|token)"
    r"(['\"]?\s*[=:]\s*)(?:(?:basic|bearer)\s+)?['\"]?[^\s,;'\"]+": rf"\1\2{HIDDEN}",
}


def scrubbed(text: object, secrets: Iterable[str] = ()) -> str:
    """What an error of a library says, in one line and without a secret.

    Parameters
    ----------
    text : object
        An exception, or a text.
    secrets : iterable of str
        To hide wherever they stand.
    """
    line = (str(text).strip().splitlines() or [""])[0] or type(text).__name__
    for secret in sorted((one for one in secrets if len(one) >= SHORTEST), key=len, reverse=True):
        for shape in (secret, quote(secret, safe=""), quote(secret)):
            line = line.replace(shape, HIDDEN)
    for pattern, instead in PATTERNS.items():
        line = re.sub(pattern, instead, line)
    return line[:MAX_DETAIL]
