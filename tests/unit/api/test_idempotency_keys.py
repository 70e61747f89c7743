"""How a keyed request is named and sealed, without a database."""

from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag

from api_rest.idempotency import NOBODY, KeyedRequest
from engine.core.ids import PersonId

OWNER = PersonId(uuid4())


def request(
    key: str = "k", *, owner: PersonId | None = OWNER, path: str = "/v1/bookings", body: bytes = b"{}"
) -> KeyedRequest:
    return KeyedRequest.of(key, owner=owner, method="POST", path=path, body=body)


def test_the_same_request_has_the_same_name_and_seal() -> None:
    assert request() == request()
    assert request().opened(request().sealed(b"answer")) == b"answer"
    assert request().opened(request().sealed(b"")) == b""


def test_another_body_or_path_is_another_request_under_the_same_name() -> None:
    for other in (request(body=b"[]"), request(path="/v1/other")):
        assert other.row_key == request().row_key
        assert other.request_mac != request().request_mac
        with pytest.raises(InvalidTag):
            other.opened(request().sealed(b"answer"))


def test_parts_do_not_run_into_each_other() -> None:
    one = KeyedRequest.of("k", owner=OWNER, method="POST", path="/a", body=b"b")
    two = KeyedRequest.of("k", owner=OWNER, method="POST", path="/ab", body=b"")
    assert one.request_mac != two.request_mac


def test_another_key_opens_nothing() -> None:
    with pytest.raises(InvalidTag):
        request("other").opened(request().sealed(b"answer"))
    assert request("other").row_key != request().row_key


def test_nothing_readable_is_stored() -> None:
    keyed = request("my-secret-key", body=b"my-password")
    stored = keyed.row_key.encode() + keyed.request_mac + keyed.sealed(b"my-token")
    for secret in (b"my-secret-key", b"my-password", b"my-token"):
        assert secret not in stored
    assert keyed.sealed(b"x") != keyed.sealed(b"x")


def test_strangers_who_count_from_one_do_not_meet() -> None:
    one, two = request("1", owner=None, body=b"mine"), request("1", owner=None, body=b"yours")
    assert one.owner == two.owner == NOBODY
    assert one.row_key != two.row_key
