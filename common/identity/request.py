"""`request.json`: with what a site asks to be admitted; signed by its own key, so that nobody asks with another's.

    {"request": {"schema_version": 1, "name": "hospital-a", "public_key": "-----BEGIN…", "code_version": "0.1.0+…"},
     "signature": "…"}

That the key is the hospital's is not in the file: a person reads its fingerprint to the coordinator.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator

from common.errors import StudyError
from common.identity.signing import MAX_PEM, MAX_SIGNATURE, Purpose, SigningKey, VerifyKey
from common.settings.frozen import Frozen, SiteName

MAX_REQUEST = 8 * 1024
CodeVersion = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+-]{1,64}$")]


class Request(Frozen):
    """What a site says of itself.

    Attributes:
        name: lower-case letters, digits and hyphens; under it the site stands in rosters and results.
        public_key: PEM of its EC P-384 key.
        code_version: the GlioFed that it has installed.
    """

    schema_version: Literal[1] = 1
    name: SiteName
    public_key: Annotated[str, StringConstraints(max_length=MAX_PEM)]
    code_version: CodeVersion

    @field_validator("public_key")
    @classmethod
    def _check_key(cls, pem: str) -> str:
        try:
            key = VerifyKey.from_pem(pem)
        except StudyError as error:
            raise ValueError(str(error)) from None
        if not key.is_site_key:
            raise ValueError("must be of EC P-384, the kind that Flower takes of a node")
        return key.pem

    @property
    def key(self) -> VerifyKey:
        """The site's public key."""
        return VerifyKey.from_pem(self.public_key)

    @property
    def _signed(self) -> bytes:
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":")).encode()


class SignedRequest(Frozen):
    """A request as it lies in its file."""

    request: Request
    signature: Annotated[str, Field(max_length=MAX_SIGNATURE)]


def write_request(name: str, key: SigningKey, code_version: str) -> bytes:
    """Return the request of the site that holds `key`."""
    request = Request(name=name, public_key=key.public.pem, code_version=code_version)
    signed = SignedRequest(request=request, signature=key.sign(Purpose.REQUEST, request._signed))
    return (json.dumps(signed.model_dump(), indent=2) + "\n").encode()


def read_request(blob: bytes, origin: str = "request") -> Request:
    """Parse a request strictly.

    Raises:
        StudyError: with every problem found.
        SignatureError: where the one who sent it does not hold the key in it.
    """
    if len(blob) > MAX_REQUEST:
        raise StudyError(f"{origin}: larger than {MAX_REQUEST} bytes; a request names a site and its key")
    try:
        signed = SignedRequest.model_validate_json(blob, strict=True)
    except ValidationError as error:
        problems = [
            f"{origin}: {'.'.join(map(str, item['loc'])) or 'request'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False)
        ]
        raise StudyError("\n".join(problems)) from None
    signed.request.key.verify(Purpose.REQUEST, signed.request._signed, signed.signature)
    return signed.request
