"""What a provider answers, as far as it can be read. Pure."""

import orjson


def answer_fields(body: bytes) -> dict[str, object]:
    """Return the fields of a JSON object; none where the body is anything else, because the status says enough."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}
