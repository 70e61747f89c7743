"""How people are reached, and their doors for a locked phone: browsers, apps, a number with a word, a button."""

import asyncpg
import pytest

from tests.integration.api.conftest import Api, Person
from tests.peers.push import FakeBrowser

ENDPOINT = "https://push.test/one"


def browser(endpoint: str = ENDPOINT) -> FakeBrowser:
    return FakeBrowser(url=endpoint)


async def test_a_browser_subscribes_once_and_ends_it(api: Api, dispatcher: Person, admin: Person) -> None:
    subscription = browser().to_json()
    first = await api.post("/v1/me/push-subscriptions", subscription, by=dispatcher)
    again = await api.post("/v1/me/push-subscriptions", subscription, by=dispatcher)
    assert (first.status, first.body) == (201, again.body)
    listed = (await api.get("/v1/me/push-subscriptions", by=dispatcher)).body
    assert [one["subscription_id"] for one in listed["items"]] == [first.body["subscription_id"]]
    path = f"/v1/me/push-subscriptions/{first.body['subscription_id']}"
    assert (await api.call("DELETE", path, by=admin)).status == 404, "it is somebody else's"
    assert (await api.call("DELETE", path, by=dispatcher)).status == 204
    assert (await api.get("/v1/me/push-subscriptions", by=dispatcher)).body["items"] == []


async def test_who_signs_in_on_a_shared_browser_takes_it_over(api: Api, dispatcher: Person, admin: Person) -> None:
    subscription = browser().to_json()
    await api.post("/v1/me/push-subscriptions", subscription, by=dispatcher)
    await api.post("/v1/me/push-subscriptions", subscription, by=admin)
    assert (await api.get("/v1/me/push-subscriptions", by=dispatcher)).body["items"] == []


async def test_of_more_browsers_than_allowed_the_oldest_ends(api: Api, dispatcher: Person) -> None:
    told = [
        await api.post("/v1/me/push-subscriptions", browser(f"{ENDPOINT}/{number}").to_json(), by=dispatcher)
        for number in range(11)
    ]
    items = (await api.get("/v1/me/push-subscriptions", by=dispatcher)).body["items"]
    assert {one["subscription_id"] for one in items} < {one.body["subscription_id"] for one in told}
    assert len(items) == 10


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "ftp://push.test/x"}, "endpoint"),
        ({"keys": {"p256dh": "AAAA", "auth": "A" * 22}}, "keys.p256dh"),
        ({"keys": {"p256dh": "!", "auth": "A" * 22}}, "keys"),
    ],
)
async def test_a_subscription_that_cannot_be_told(
    api: Api, dispatcher: Person, changes: dict[str, object], field: str
) -> None:
    said = await api.post("/v1/me/push-subscriptions", browser().to_json() | changes, by=dispatcher)
    assert (said.status, said.body["errors"][0]["field"]) == (422, field)


async def test_an_app_registers_and_ends_it(api: Api, worker: Person) -> None:
    said = await api.post("/v1/me/push-devices", {"token": "fcm token"}, by=worker)
    again = await api.post("/v1/me/push-devices", {"token": "fcm token"}, by=worker)
    assert said.body == again.body
    path = f"/v1/me/push-devices/{said.body['push_device_id']}"
    assert (await api.call("DELETE", path, by=worker)).status == 204
    assert (await api.call("DELETE", path, by=worker)).status == 404


async def test_a_number_is_registered_with_a_word_that_is_never_told(
    api: Api, worker: Person, pool: asyncpg.Pool
) -> None:
    assert (await api.get("/v1/me/phone-door", by=worker)).status == 404
    door = {"phone": "+351 910 000 001", "word": "Blue Heron", "calls": True}
    said = await api.call("PUT", "/v1/me/phone-door", door, by=worker)
    assert said.body == {"phone": "+351910000001", "calls": True, "number": None}
    assert (await api.get("/v1/me/phone-door", by=worker)).body == said.body
    row = await pool.fetchrow("SELECT * FROM phone_door")
    assert row is not None
    assert "heron" not in str(dict(row)).lower()
    assert (await api.call("DELETE", "/v1/me/phone-door", by=worker)).status == 204


@pytest.mark.parametrize(
    ("changes", "field"), [({"phone": "910000001"}, "phone"), ({"word": "...."}, "word"), ({"word": "abc"}, "word")]
)
async def test_a_number_or_a_word_that_would_not_do(
    api: Api, worker: Person, changes: dict[str, object], field: str
) -> None:
    said = await api.call("PUT", "/v1/me/phone-door", {"phone": "+351910000001", "word": "heron"} | changes, by=worker)
    assert (said.status, said.body["errors"][0]["field"]) == (422, field)
