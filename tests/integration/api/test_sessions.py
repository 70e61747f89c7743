"""Signing in, enrolling, refreshing, signing out."""

import asyncio

import asyncpg
import pytest
from argon2 import PasswordHasher

from config.limits import ACCESS_TOKEN_MS, ENROLMENT_CODE_MS, SIGN_IN_FAILURES_MAX, SIGN_IN_WINDOW_MS
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens
from tests.fakes import ManualClock
from tests.integration.api.conftest import PASSWORD, Api, Person

EMAIL = "dispatcher@demo.clenzy.test"


async def sign_in(api: Api, email: str = EMAIL, password: str = PASSWORD) -> dict[str, str]:
    said = await api.post("/v1/auth/sign-in", {"email": email, "password": password})
    assert said.status == 200, said.body
    return dict(said.body)


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def test_a_password_opens_a_session(api: Api, access_tokens: AccessTokens, clock: ManualClock) -> None:
    tokens = await sign_in(api, email=EMAIL.upper())
    principal = access_tokens.verify(tokens["access_token"], clock.now_ms())
    assert (str(principal.person_id), principal.role) == (tokens["person_id"], Role.DISPATCHER)
    assert principal.expires_at_ms == clock.now_ms() + ACCESS_TOKEN_MS
    me = await api.get("/v1/me", headers=bearer(tokens))
    assert (me.status, me.body["email"], me.body["full_name"]) == (200, EMAIL, "Dario Desk")


@pytest.mark.parametrize(
    ("email", "password"), [(EMAIL, "wrong"), ("nobody@demo.clenzy.test", PASSWORD)], ids=["password", "account"]
)
async def test_what_is_wrong_is_not_told(api: Api, email: str, password: str) -> None:
    said = await api.post("/v1/auth/sign-in", {"email": email, "password": password})
    assert (said.status, said.code) == (401, "not_signed_in")
    assert said.body["detail"] == "The e-mail or the password is wrong."


@pytest.mark.parametrize("email", [EMAIL, "nobody@demo.clenzy.test"])
async def test_failures_close_the_account_for_a_while(api: Api, clock: ManualClock, email: str) -> None:
    bodies = [{"email": email, "password": "wrong"}] * (SIGN_IN_FAILURES_MAX + 3)
    said = await asyncio.gather(*(api.post("/v1/auth/sign-in", body) for body in bodies))
    assert sorted(one.status for one in said) == [401] * SIGN_IN_FAILURES_MAX + [429] * 3
    refused = await api.post("/v1/auth/sign-in", {"email": email, "password": PASSWORD})
    assert (refused.status, refused.code) == (429, "too_many")
    assert int(refused.headers["Retry-After"]) > 0
    clock.step_ms(SIGN_IN_WINDOW_MS)
    again = await api.post("/v1/auth/sign-in", {"email": email, "password": PASSWORD})
    assert again.status == (200 if email == EMAIL else 401)


async def test_success_forgives_the_failures(api: Api, pool: asyncpg.Pool) -> None:
    for _ in range(SIGN_IN_FAILURES_MAX - 1):
        await api.post("/v1/auth/sign-in", {"email": EMAIL, "password": "wrong"})
    await sign_in(api)
    assert await pool.fetchval("SELECT count(*) FROM sign_in_failure") == 0


async def test_a_hash_of_weaker_parameters_is_replaced(api: Api, pool: asyncpg.Pool) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    await pool.execute("UPDATE person SET password_hash = $1 WHERE email = $2", weak, EMAIL)
    await sign_in(api)
    assert "m=19456,t=2,p=1" in await pool.fetchval("SELECT password_hash FROM person WHERE email = $1", EMAIL)
    await sign_in(api)


async def test_a_refresh_token_is_spent_for_the_next(api: Api, clock: ManualClock) -> None:
    first = await sign_in(api)
    clock.step_ms(ACCESS_TOKEN_MS)
    assert (await api.get("/v1/me", headers=bearer(first))).code == "not_signed_in"
    said = await api.post("/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert said.status == 200
    assert said.body["refresh_token"] != first["refresh_token"]
    assert (await api.get("/v1/me", headers=bearer(said.body))).status == 200


async def test_a_reused_refresh_token_ends_the_whole_family(api: Api, pool: asyncpg.Pool) -> None:
    first = await sign_in(api)
    bystander = await sign_in(api)
    second = (await api.post("/v1/auth/refresh", {"refresh_token": first["refresh_token"]})).body
    reused = await api.post("/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert (reused.status, reused.code) == (401, "not_signed_in")
    assert (await api.post("/v1/auth/refresh", {"refresh_token": second["refresh_token"]})).status == 401
    assert (await api.get("/v1/me", headers=bearer(second))).status == 401
    assert (await api.get("/v1/me", headers=bearer(bystander))).status == 200
    actions = [row["action"] for row in await pool.fetch("SELECT action FROM audit_log ORDER BY audit_id")]
    assert "session.revoked_by_reuse" in actions


async def test_a_lost_answer_to_a_refresh_is_given_again(api: Api) -> None:
    """A phone whose connection broke sends the same request with the same key: that is no theft."""
    first = await sign_in(api)
    body = {"refresh_token": first["refresh_token"]}
    said = await api.post("/v1/auth/refresh", body, key="refresh-1")
    again = await api.post("/v1/auth/refresh", body, key="refresh-1")
    assert again.body == said.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await api.get("/v1/me", headers=bearer(again.body))).status == 200
    thief = await api.post("/v1/auth/refresh", body, key="refresh-2")
    assert thief.status == 401


async def test_one_of_two_who_bring_the_same_token_wins(api: Api) -> None:
    body = {"refresh_token": (await sign_in(api))["refresh_token"]}
    said = await asyncio.gather(*(api.post("/v1/auth/refresh", body) for _ in range(4)))
    assert sorted(one.status for one in said) == [200, 401, 401, 401]


async def test_signing_out_ends_the_session_at_once(api: Api) -> None:
    tokens, other = await sign_in(api), await sign_in(api)
    body = {"refresh_token": tokens["refresh_token"]}
    said = await api.call("POST", "/v1/auth/sign-out", body, headers=bearer(tokens))
    assert (said.status, said.body) == (204, None)
    assert (await api.post("/v1/auth/refresh", body)).status == 401
    assert (await api.get("/v1/me", headers=bearer(tokens))).status == 401
    assert (await api.get("/v1/me", headers=bearer(other))).status == 200


async def test_nobody_signs_out_somebody_else(api: Api, customer: Person) -> None:
    tokens = await sign_in(api)
    said = await api.post("/v1/auth/sign-out", {"refresh_token": tokens["refresh_token"]}, by=customer)
    assert said.status == 204
    assert (await api.get("/v1/me", headers=bearer(tokens))).status == 200


@pytest.mark.parametrize(
    "change",
    [
        "status = 'suspended'",
        "role = 'customer'",
        "tokens_valid_after = tokens_valid_after + interval '1 hour'",
    ],
)
async def test_events_overtake_a_token(api: Api, pool: asyncpg.Pool, dispatcher: Person, change: str) -> None:
    assert (await api.get("/v1/me", by=dispatcher)).status == 200
    await pool.execute(f"UPDATE person SET {change} WHERE person_id = $1", dispatcher.person_id)
    assert (await api.get("/v1/me", by=dispatcher)).code == "not_signed_in"


async def test_a_suspended_person_neither_signs_in_nor_refreshes(api: Api, pool: asyncpg.Pool) -> None:
    tokens = await sign_in(api)
    await pool.execute("UPDATE person SET status = 'suspended' WHERE email = $1", EMAIL)
    assert (await api.post("/v1/auth/sign-in", {"email": EMAIL, "password": PASSWORD})).status == 401
    assert (await api.post("/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status == 401


async def enrolment_code(api: Api, admin: Person) -> str:
    people = {"people": [{"role": "worker", "full_name": "New", "external_ref": "n1", "skills": ["cleaning"]}]}
    said = await api.post("/v1/people/batch", people, by=admin, key="batch")
    return str(said.body["items"][0]["enrolment_code"])


async def test_a_code_works_once_and_as_people_type_it(api: Api, admin: Person) -> None:
    code = await enrolment_code(api, admin)
    said = await api.post("/v1/auth/enrol", {"code": f" {code.lower().replace('-', ' ')} "})
    assert (said.status, said.body["role"]) == (200, "worker")
    me = await api.get("/v1/me", headers=bearer(said.body))
    assert (me.body["skills"], me.body["duty"], me.body["offer"], me.body["booking"]) == (
        ["cleaning"],
        "off",
        None,
        None,
    )
    assert (await api.post("/v1/auth/enrol", {"code": code})).code == "not_signed_in"


async def test_a_code_expires(api: Api, admin: Person, clock: ManualClock) -> None:
    code = await enrolment_code(api, admin)
    clock.step_ms(ENROLMENT_CODE_MS)
    assert (await api.post("/v1/auth/enrol", {"code": code})).status == 401


async def test_a_new_code_ends_the_old_one(api: Api, admin: Person) -> None:
    old = await enrolment_code(api, admin)
    again = {"people": [{"role": "worker", "full_name": "New", "external_ref": "n1"}]}
    new = (await api.post("/v1/people/batch", again, by=admin, key="again")).body["items"][0]["enrolment_code"]
    assert (await api.post("/v1/auth/enrol", {"code": old})).status == 401
    assert (await api.post("/v1/auth/enrol", {"code": new})).status == 200


async def test_strangers_with_the_same_key_do_not_meet(api: Api) -> None:
    """Before sign-in everybody shares one space of keys."""
    one, two = await sign_in(api), await sign_in(api, email="admin@demo.clenzy.test")
    first = await api.post("/v1/auth/refresh", {"refresh_token": one["refresh_token"]}, key="1")
    second = await api.post("/v1/auth/refresh", {"refresh_token": two["refresh_token"]}, key="1")
    assert (first.body["role"], second.body["role"]) == ("dispatcher", "admin")


async def test_nothing_secret_is_stored_readable(api: Api, pool: asyncpg.Pool, admin: Person) -> None:
    tokens = await sign_in(api)
    code = await enrolment_code(api, admin)
    refreshed = (await api.post("/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]}, key="k")).body
    secrets = [PASSWORD, tokens["refresh_token"], refreshed["refresh_token"], code, code.replace("-", "")]
    tables = [row[0] for row in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    for table in tables:
        rows = await pool.fetch(f'SELECT * FROM "{table}"')
        for value in (value for row in rows for value in row.values()):
            stored = value if isinstance(value, bytes) else str(value).encode()
            assert not any(secret.encode() in stored for secret in secrets), table
