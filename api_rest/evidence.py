"""Evidence of an incident, chunk by chunk: a phone only adds, the desk also reads. See `engine.safetap.evidence`."""

from base64 import b64decode
from binascii import Error as NotBase64
from typing import Annotated, Final
from uuid import UUID

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Query, Reply
from api_rest.route import DESK, PROTECTED, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from config.limits import EVIDENCE_CHUNK_BYTES_MAX, EVIDENCE_CHUNKS_MAX
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.safetap.chain import GENESIS
from engine.safetap.evidence import (
    Chunk,
    add_chunk,
    incident_of_desk,
    incident_of_trigger,
    list_evidence,
    read_chunk,
)
from engine.safetap.incident_reads import note_read
from engine.safetap.sound import check_sound

BYTES: Final = "application/octet-stream"
BASE64_CHARS_MAX: Final = 4 * (EVIDENCE_CHUNK_BYTES_MAX // 3 + 1)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DeskChunk(Body):
    """One chunk. The uploader chooses `evidence_id`; `prev_sha256` is what the chunk before was answered with."""

    evidence_id: UUID
    n: Annotated[int, Field(ge=0, lt=EVIDENCE_CHUNKS_MAX)]
    prev_sha256: Sha256 = GENESIS.hex()
    data: Annotated[str, Field(min_length=1, max_length=BASE64_CHARS_MAX)]
    """Base64."""
    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]{1,60}$")] = BYTES
    is_last: bool = False


class PhoneChunk(DeskChunk):
    """The same from a phone, which knows its trigger and no incident."""

    trigger_id: UUID


class ChunkAnswer(Answer):
    """It is kept; `sha256` goes into the next chunk."""

    evidence_id: UUID
    n: int
    sha256: str


class Evidence(Answer):
    """One piece; `sha256` is where its chain ends so far."""

    evidence_id: UUID
    media_type: str
    uploaded_by: str
    created_at: AwareDatetime
    chunks: int
    bytes: int
    is_complete: bool
    sha256: str | None


class EvidenceList(Answer):
    """All of an incident."""

    items: list[Evidence]


class ChunkQuery(Query):
    """Which chunk."""

    n: Annotated[int, Field(ge=0, lt=EVIDENCE_CHUNKS_MAX)] = 0


async def add_from_desk(call: Call[DeskChunk, NoQuery]) -> Reply:
    """Keep a chunk that somebody at the desk adds."""
    wanted = IncidentId(call.ids["incident_id"])
    incident_id = await incident_of_desk(call.conn, incident_id=wanted, actor=call.principal)
    return await _kept(call, incident_id, call.body, from_phone_of=None)


async def add_from_phone(call: Call[PhoneChunk, NoQuery]) -> Reply:
    """Keep a chunk of whoever called for help."""
    incident_id = await incident_of_trigger(call.conn, trigger_id=call.body.trigger_id, actor=call.principal)
    return await _kept(call, incident_id, call.body, from_phone_of=call.principal.person_id)


async def list_pieces(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what there is."""
    incident_id = await _read(call)
    return Reply({"items": await list_evidence(call.conn, incident_id)})


async def get_chunk(call: Call[NoBody, ChunkQuery]) -> Reply:
    """Return the bytes of one chunk, never as anything that a browser would show."""
    incident_id = await _read(call)
    data = await read_chunk(call.conn, incident_id=incident_id, evidence_id=call.ids["evidence_id"], n=call.query.n)
    return Reply(data, media_type=BYTES)


async def _kept(
    call: "Call[DeskChunk, NoQuery] | Call[PhoneChunk, NoQuery]",
    incident_id: IncidentId,
    body: DeskChunk,
    *,
    from_phone_of: PersonId | None,
) -> Reply:
    await check_sound(
        call.conn,
        incident_id,
        body.media_type,
        jurisdictions=call.services.jurisdictions,
        from_phone_of=from_phone_of,
    )
    chunk = Chunk(
        evidence_id=body.evidence_id,
        n=body.n,
        prev_hash=bytes.fromhex(body.prev_sha256),
        data=_bytes(body.data),
        media_type=body.media_type,
        is_last=body.is_last,
    )
    digest = await add_chunk(call.conn, incident_id=incident_id, actor=call.principal, chunk=chunk, now_ms=call.now_ms)
    return Reply({"evidence_id": str(body.evidence_id), "n": body.n, "sha256": digest.hex()})


async def _read(call: "Call[NoBody, NoQuery] | Call[NoBody, ChunkQuery]") -> IncidentId:
    incident_id = IncidentId(call.ids["incident_id"])
    await note_read(call.conn, incident_id=incident_id, actor=call.principal, what="evidence", now_ms=call.now_ms)
    return incident_id


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raise InvalidInput("Base64 with padding.", field="data") from None


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/safetap/evidence",
        access=PROTECTED,
        handler=add_from_phone,
        summary="Add a chunk of evidence to one's own alarm",
        uses=Uses.TRANSACTION,
        body=PhoneChunk,
        answer=ChunkAnswer,
        errors=(NotFound, NotAllowed, Conflict, InvalidInput),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/evidence",
        access=DESK,
        handler=add_from_desk,
        summary="Add a chunk of evidence to an incident",
        uses=Uses.TRANSACTION,
        body=DeskChunk,
        answer=ChunkAnswer,
        errors=(NotFound, NotAllowed, Conflict, InvalidInput),
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/evidence",
        access=DESK,
        handler=list_pieces,
        summary="The evidence of an incident",
        uses=Uses.TRANSACTION,
        answer=EvidenceList,
        errors=(NotFound, NotAllowed),
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/evidence/{evidence_id}",
        access=DESK,
        handler=get_chunk,
        summary="The bytes of one chunk",
        uses=Uses.TRANSACTION,
        query=ChunkQuery,
        answer=EvidenceList,
        other_media_types=(BYTES,),
        errors=(NotFound, NotAllowed),
    ),
)
