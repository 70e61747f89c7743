"""Passwords, codes and the names of skills, without a database."""

import asyncio
import threading

import pytest
from argon2 import PasswordHasher

from engine.people import passwords as module
from engine.people.enrolment import code_hash, new_code
from engine.people.passwords import Passwords, hash_password, needs_rehash, verify_password
from engine.people.people_store import skill_codes
from engine.people.refresh_tokens import token_hash


def test_a_password_fits_its_own_hash_only() -> None:
    stored = hash_password("päßword 1")
    assert verify_password(stored, "päßword 1")
    assert not verify_password(stored, "passwort 1")
    assert hash_password("päßword 1") != stored
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("stored", [None, "", "plain", "$argon2id$broken"])
def test_without_a_sound_hash_nothing_fits(stored: str | None) -> None:
    assert not verify_password(stored, "nobody's password")
    assert not verify_password(stored, "")


def test_only_other_parameters_need_a_new_hash() -> None:
    assert not needs_rehash(hash_password("x"))
    assert needs_rehash(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("x"))


async def test_hashing_leaves_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    loop_turns = 0
    finished = threading.Event()

    def slow_verify(_hash: str | None, _password: str) -> bool:
        threads.add(threading.current_thread().name)
        return finished.wait(5)

    monkeypatch.setattr(module, "verify_password", slow_verify)
    passwords = Passwords()
    checks = asyncio.gather(*(passwords.verify("h", "p") for _ in range(4)))
    while loop_turns < 50:
        await asyncio.sleep(0)
        loop_turns += 1
    finished.set()
    assert await checks == [True] * 4
    passwords.close()
    assert threading.current_thread().name not in threads
    assert 1 <= len(threads) <= 2


async def test_many_passwords_keep_their_places() -> None:
    passwords = Passwords()
    first, nothing, second = await passwords.hash_all(["one", None, "two"])
    passwords.close()
    assert nothing is None
    assert first is not None
    assert verify_password(first, "one")
    assert second is not None
    assert verify_password(second, "two")


def test_codes_are_read_as_people_type_them() -> None:
    code = new_code()
    assert len(code) == 19
    assert len({new_code() for _ in range(1000)}) == 1000
    typed = [code.lower(), code.replace("-", ""), code.replace("-", " "), f"  {code} \n"]
    assert {code_hash(text) for text in typed} == {code_hash(code)}
    assert code_hash(code[:-1]) != code_hash(code)


def test_a_token_is_stored_as_its_hash() -> None:
    assert len(token_hash("a")) == 32
    assert token_hash("a") != token_hash("b")


def test_skills_are_named_in_the_order_of_their_bits() -> None:
    bits = {"plumbing": 1, "cleaning": 0, "electrical": 5}
    assert skill_codes(0b100001, bits) == ["cleaning", "electrical"]
    assert skill_codes(0, bits) == []
    assert skill_codes(0b1000, bits) == []
