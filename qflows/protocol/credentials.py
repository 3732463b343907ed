"""What a vendor declares for its users: the fields of its credentials and the options of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from qflows.errors import ProgramRejected


class VendorCredentials(BaseModel):
    """Base of a vendor's credentials: its fields are what the entry point's `connect` receives.

    A subclass named in `<vendor folder>/credentials.py` becomes a Prefect block type; secrets are `SecretStr`. Import
    no vendor SDK there, because Prefect loads block types when it starts.
    """

    model_config = ConfigDict(extra="forbid")

    vendor: ClassVar[str]
    title: ClassVar[str]
    logo_url: ClassVar[str]
    documentation_url: ClassVar[str]


class VendorOptions(BaseModel):
    """Base of the options a vendor takes for one job; its fields are what `options=` may hold.

    Values are checked strictly, so that "no" is not a true bool; text from a command line goes through `parse`.
    Explicitly set values are sent, even if false. A field whose vendor default costs money says so in
    `json_schema_extra={"vendor_default": ..., "costs": "why"}`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> dict[str, Any]:
        """Values of options given as text, such as `false` or `0.5` on a command line, by the types of the fields.

        Unknown names are passed on unchanged, for `check` to refuse. A text that does not fit its field's type raises
        ProgramRejected.
        """
        found: dict[str, Any] = {}
        for name, text in texts.items():
            field = cls.model_fields.get(name)
            if field is None:
                found[name] = text
                continue
            read: TypeAdapter[Any] = TypeAdapter(cast(Any, field.annotation))
            for reading in (lambda r=read, t=text: r.validate_json(t), lambda r=read, t=text: r.validate_python(t)):
                try:
                    found[name] = reading()
                    break
                except ValidationError as error:
                    problem = error.errors(include_input=False, include_url=False)[0]["msg"]
            else:
                raise ProgramRejected(f"option {name}={text[:80]!r}: {problem}")
        return found
