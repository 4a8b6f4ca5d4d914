"""Masking of secrets in every text that leaves the process."""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from connectors.context import Secret

MASK = "***"
_SHORTEST = 4  # shorter registered values would mask ordinary words

_NAMES = (
    r"access_token|refresh_token|id_token|client_secret|client_assertion|assertion|password|passwd|pwd|secret"
    r"|api[_-]?key|apikey|token|code_verifier|session[_-]?id|sid|signature|x-api-key|x-sfdc-session|set-cookie|cookie"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(authorization\b[\"']?\s*[,:=]\s*[\"']?)[^\r\n\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic|oauth)\s+[A-Za-z0-9._~+/=!:-]{8,}"), rf"\1 {MASK}"),
    # https://developer.salesforce.com/docs/atlas.en-us.sfdx_cli_reference.meta: force://id:secret:refresh@host
    (re.compile(r"force://[^\s\"'<>]+"), f"force://{MASK}"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)(\bhttps?://[^\s?\"'<>]*\?)[^\s\"'<>]+"), rf"\1{MASK}"),
    (
        re.compile(rf"(?i)([\"']?\b(?:{_NAMES})\b[\"']?\s*[:=]\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s&,;\"'<>}}]+)"),
        rf"\1{MASK}",
    ),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"\b00D[A-Za-z0-9]{12,15}(?:!|%21)[A-Za-z0-9._%]+"), MASK),
    (re.compile(r"\b(?:sk|pk|pat|ghp|xox[abp])[-_][A-Za-z0-9_-]{8,}"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)


class Redactor:
    """Masks registered secrets, in the spellings they travel in, and whatever looks like one."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._spellings: set[str] = set()
        for secret in secrets:
            self.add(secret)

    def __repr__(self) -> str:
        return f"Redactor({len(self._spellings)} spellings)"

    def add(self, secret: Secret) -> None:
        """Mask this value from now on: as it stands, URL-encoded, JSON-escaped and in base64."""
        value = secret.reveal()
        if len(value) < _SHORTEST:
            return
        escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        encoded = base64.b64encode(value.encode()).decode()
        self._spellings |= {value, quote(value), quote(value, safe=""), quote_plus(value), encoded, *escaped}
        self._spellings |= {line for line in value.splitlines() if len(line) >= _SHORTEST and "-----" not in line}

    def __call__(self, text: str) -> str:
        """The text with every secret masked; registered values first, the longest before its parts."""
        for spelling in sorted(self._spellings, key=len, reverse=True):
            text = text.replace(spelling, MASK)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text
