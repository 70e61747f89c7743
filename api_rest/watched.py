"""What a person may know of the desk's looks at them, and the silent chat where they chose to be contacted."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import PROTECTED, AnyRoute, Route, Uses
from api_rest.schemas import Answer, Text
from config.limits import NOTE_CHARS_MAX
from engine.core.errors import InvalidInput, NotFound
from engine.safetap.chat_seen import note_chat_seen
from engine.safetap.incident_work import read_chat, say_to_desk
from engine.safetap.watched import who_watched


class Look(Answer):
    """Somebody looked at one's places; `from` and `to` are the piece of trail."""

    at: AwareDatetime
    who: str | None
    role: str | None
    what: str
    begin: AwareDatetime | None = Field(alias="from")
    end: AwareDatetime | None = Field(alias="to")
    reason: str | None


class Looks(Answer):
    """The newest ones, newest first."""

    items: list[Look]


class Message(Answer):
    """One message; the desk's people have no names here."""

    n: int
    is_mine: bool
    text: str
    at: AwareDatetime


class Chat(Answer):
    """All of the live incident, oldest first."""

    items: list[Message]


class Say(Body):
    """A message."""

    text: Annotated[Text, Field(min_length=1, max_length=NOTE_CHARS_MAX)]


async def get_watched(call: Call[NoBody, NoQuery]) -> Reply:
    """Return who looked at one's places; what belongs to a live or held incident is withheld."""
    return Reply({"items": await who_watched(call.conn, call.principal.person_id)})


async def get_chat(call: Call[NoBody, NoQuery]) -> Reply:
    """Return one's messages with the desk, which is told that they were fetched."""
    person_id = call.principal.person_id
    items = await read_chat(call.conn, person_id=person_id)
    await note_chat_seen(call.conn, person_id=person_id, now_ms=call.now_ms)
    return Reply({"items": items})


async def post_chat(call: Call[Say, NoQuery]) -> Reply:
    """Write to the desk."""
    person_id = call.principal.person_id
    await say_to_desk(call.conn, person_id=person_id, text=call.body.text, now_ms=call.now_ms)
    return Reply({"items": await read_chat(call.conn, person_id=person_id)})


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/me/watched",
        access=PROTECTED,
        handler=get_watched,
        summary="Who looked at my places, when and why",
        uses=Uses.CONNECTION,
        answer=Looks,
    ),
    Route(
        method="GET",
        path="/v1/me/safety/chat",
        access=PROTECTED,
        handler=get_chat,
        summary="One's messages with the desk, where one chose to be contacted",
        uses=Uses.TRANSACTION,
        answer=Chat,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/me/safety/chat",
        access=PROTECTED,
        handler=post_chat,
        summary="Write to the desk, where one chose to be contacted",
        uses=Uses.TRANSACTION,
        body=Say,
        answer=Chat,
        errors=(NotFound, InvalidInput),
    ),
)
