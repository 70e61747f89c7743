"""People who call for help in the demo city, each with a token of their own, and what their phones send."""

import hashlib
import json
import time
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.browser.demo_city import ANSWER_TIMEOUT_S, DemoCity, send

PASSWORD = "correct horse battery"
PLACE = {"lat": 41.15, "lng": -8.61}


@dataclass(frozen=True)
class Caller:
    """Somebody with a phone."""

    city: DemoCity
    name: str
    person_id: str
    token: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        return send(self.city.url + path, method, body, token=self.token)

    def trigger(self, kind: str = "button") -> str:
        """Call for help; return the incident's id."""
        body, deadline = a_trigger(kind), time.monotonic() + 20
        # On a busy machine it may be in the spool first: it is sent again until it is committed, as phones do.
        while self.call("POST", "/v1/safetap", body)["state"] != "committed":
            assert time.monotonic() < deadline, "never committed"
            time.sleep(0.2)
        return self.incident_id()

    def trigger_unverified(self) -> str:
        """Call for help with a token that nobody has signed; return the incident's id once it is there."""
        head, claims, signature = self.token.split(".")
        forged = ".".join((head, claims, signature[::-1]))
        headers = {"Authorization": f"Bearer {forged}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.city.url}/v1/safetap", method="POST", data=json.dumps(a_trigger("button")).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
            assert response.status == 202
        return self.incident_id()

    def incident_id(self) -> str:
        """Wait for this person's open incident at the desk."""
        return incident_of(self.city, self.person_id)

    def record(self, trigger_id: str, chunks: list[bytes], media_type: str) -> str:
        """Send evidence as a phone does; return the hash that its chain ends in."""
        evidence_id, previous = str(uuid4()), bytes(32)
        for n, data in enumerate(chunks):
            body = {
                "trigger_id": trigger_id,
                "evidence_id": evidence_id,
                "n": n,
                "prev_sha256": previous.hex(),
                "data": b64encode(data).decode(),
                "media_type": media_type,
                "is_last": n == len(chunks) - 1,
            }
            answer = self.call("POST", "/v1/safetap/evidence", body)
            previous = hashlib.sha256(previous + data).digest()
            assert answer["sha256"] == previous.hex()
        return previous.hex()


@dataclass
class Callers:
    """Brings people in, and closes what they opened: no alarm of one test may ring in the next."""

    city: DemoCity
    _people: list[str] = field(default_factory=list)

    def bring_in(self, *names: str, role: str = "worker", **more: str) -> list[Caller]:
        emails = [f"{uuid4().hex}@demo.clenzy.test" for _ in names]
        people = [
            {"role": role, "full_name": name, "email": email, "password": PASSWORD, **more}
            for name, email in zip(names, emails, strict=True)
        ]
        items = self.city.call("admin", "POST", "/v1/people/batch", {"people": people})["items"]
        callers = []
        for name, email, item in zip(names, emails, items, strict=True):
            tokens = send(f"{self.city.url}/v1/auth/sign-in", "POST", {"email": email, "password": PASSWORD})
            callers.append(Caller(self.city, name, item["person_id"], tokens["access_token"]))
        return callers

    def drill(self, person_id: str) -> str:
        """Begin a drill in which this person plays the part; return the incident's id."""
        self.city.call("dispatcher", "POST", "/v1/drills", {"person_id": person_id})
        return incident_of(self.city, person_id)

    def close_all(self) -> None:
        for state in ("open", "acknowledged"):
            for incident in self.city.call("admin", "GET", f"/v1/incidents?state={state}&limit=200")["items"]:
                path = f"/v1/incidents/{incident['incident_id']}/close"
                for who in ("admin", "dispatcher"):  # a policy may want two people
                    self.city.call(who, "POST", path, {"reason": "Reviewed: a test."})


def incident_of(city: DemoCity, person_id: str) -> str:
    """Wait for a person's open incident."""
    deadline = time.monotonic() + 20
    while True:
        items = city.call("dispatcher", "GET", "/v1/incidents?state=open&limit=200")["items"]
        found = [one["incident_id"] for one in items if one["person"]["person_id"] == person_id]
        if found:
            return str(UUID(found[0]))
        assert time.monotonic() < deadline, "no incident of this person"
        time.sleep(0.1)


def a_trigger(kind: str) -> dict[str, object]:
    fix = {**PLACE, "accuracy_m": 8, "ts_ms": time.time_ns() // 1_000_000}
    return {"trigger_id": str(uuid4()), "kind": kind, "fix": fix}
