"""What a push shows. A phone's lock screen may be read by anybody, so it names neither a person nor a place. Pure."""

from typing import Final

from engine.safetap.channels.notifier import NoticeMessage

FROM_OUTSIDE: Final = "Somebody near you needs help. Look from outside only, do not enter."


def push_fields(message: NoticeMessage) -> dict[str, str]:
    """Return the fields of a push; `tag` lets a repetition take the place of the first one on the screen."""
    drill = "Drill: " if message.incident["is_drill"] else ""
    return {
        "type": "incident",
        "incident_id": str(message.incident_id),
        "notice_id": str(message.notice_id),
        "tag": f"incident-{message.incident_id}",
        "title": f"{drill}SafeTap alarm",
        "body": "Somebody needs help. Open the desk." if message.advice is None else FROM_OUTSIDE,
    }
