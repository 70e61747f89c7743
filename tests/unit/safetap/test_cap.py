"""An incident as CAP 1.2: what the standard demands of every message, and its schema where that is at hand."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xmlschema import XMLSchema

from engine.safetap.cap import NAMESPACE, RADIUS_KM_MIN, RADIUS_KM_UNKNOWN, SPOKEN_IN, Alert, Message, cap_time, cap_xml

DATA = Path(os.environ.get("CLENZY_DATA", Path(__file__).parents[4] / "shared" / "data"))
XSD = DATA / "conformance" / "cap12" / "OASIS_CAP-v1.2.xsd"
CAP = f"{{{NAMESPACE}}}"
NOW_MS = 1_700_000_000_123
PEOPLE = [
    {"name": "Walter <Worker> & Söhne", "role": "worker", "phone": "+351910000001", "called_for_help": True},
    {"name": "Carla Customer", "role": "customer", "phone": None, "called_for_help": False},
]
CARD: dict[str, object] = {
    "incident_id": "11111111-1111-4111-8111-111111111111",
    "is_drill": False,
    "warning": None,
    "organisation": "Clean & Co",
    "kind": "button",
    "severity": 1,
    "state": "open",
    "opened_at": "2023-11-14T22:13:20.000Z",
    "place": {"line": "Rua das Flores 1", "floor": "2", "entry_notes": "ring twice", "lat": 41.1, "lng": -8.6},
    "region": "Porto",
    "last_fix": {"lat": 41.15, "lng": -8.61, "accuracy_m": 120.0, "source": "trail", "at": "2023-11-14T22:13:00Z"},
    "people": PEOPLE,
    "police_reference": None,
}
DRILL = {"is_drill": True, "warning": "DRILL: nobody is in danger.", "kind": "drill"}


def alert(
    *before: Message, country: str = "PT", is_verified: bool = True, at_ms: int = NOW_MS, **card: object
) -> Alert:
    return Alert(CARD | card, "safetap@22222222", country, is_verified, at_ms, before)


def parsed(one: Alert) -> ET.Element:
    return ET.fromstring(cap_xml(one))


def text(parent: ET.Element, name: str) -> str:
    found = parent.find(CAP + name)
    assert found is not None, name
    return found.text or ""


def infos(root: ET.Element) -> list[ET.Element]:
    return root.findall(f"{CAP}info")


def test_an_alarm_is_an_alert_for_few_eyes() -> None:
    root = parsed(alert())
    told = {name: text(root, name) for name in ("identifier", "sender", "sent", "status", "msgType", "scope")}
    assert told == {
        "identifier": f"{CARD['incident_id']}.1",
        "sender": "safetap@22222222",
        "sent": "2023-11-14T22:13:20-00:00",
        "status": "Actual",
        "msgType": "Alert",
        "scope": "Restricted",
    }
    assert text(root, "restriction")
    assert root.find(f"{CAP}references") is None
    english = infos(root)[0]
    assert "Walter <Worker> & Söhne (worker)" in text(english, "description")
    assert "Carla" not in text(english, "description"), "who did not call is nobody's news"
    assert b"+351910000001" not in cap_xml(alert()), "a silent alarm is not rung back"


def test_later_messages_name_all_before_them_and_the_last_one_cancels() -> None:
    first, second = Message("a.1", "2023-11-14T22:13:20-00:00"), Message("a.2", "2023-11-14T22:14:20-00:00")
    update, cancel = parsed(alert(first)), parsed(alert(first, second, state="closed"))
    assert (text(update, "msgType"), text(update, "references")) == (
        "Update", "safetap@22222222,a.1,2023-11-14T22:13:20-00:00",
    )  # fmt: skip
    assert text(cancel, "msgType") == "Cancel"
    assert text(cancel, "references").split() == [
        f"safetap@22222222,{one.identifier},{one.sent}" for one in (first, second)
    ]
    assert {(text(one, "urgency"), text(one, "responseType")) for one in infos(cancel)} == {("Past", "AllClear")}


@pytest.mark.parametrize("country", ["PT", "DE", "ES", "FR", "CA", "BR", "GB"])
def test_a_drill_is_an_exercise_and_every_text_of_it_says_so(country: str) -> None:
    root = parsed(alert(country=country, **DRILL))
    assert (text(root, "status"), "DRILL" in text(root, "note")) == ("Exercise", True)
    for info in infos(root):
        for name in ("event", "headline", "description", "instruction"):
            assert re.match(r"DRILL|EXERCÍCIO|ÜBUNG|SIMULACRO|SIMULATION", text(info, name)), name
    real = parsed(alert(country=country))
    assert (text(real, "status"), real.find(f"{CAP}note")) == ("Actual", None)
    assert not re.search(r"DRILL|EXERCÍCIO|ÜBUNG|SIMULACRO|SIMULATION", cap_xml(alert(country=country)).decode())


def test_it_speaks_english_and_the_language_of_the_place() -> None:
    assert [text(info, "language") for info in infos(parsed(alert(country="DE")))] == ["en", "de"]
    assert [text(info, "language") for info in infos(parsed(alert(country="ZZ")))] == ["en"]


@pytest.mark.parametrize(
    ("fix", "circle"),
    [
        (CARD["last_fix"], "41.150000,-8.610000 0.120"),
        ({"lat": 41.15, "lng": -8.61, "accuracy_m": 3.0, "at": "-"}, f"41.150000,-8.610000 {RADIUS_KM_MIN:.3f}"),
        ({"lat": 41.15, "lng": -8.61, "accuracy_m": None, "at": "-"}, f"41.150000,-8.610000 {RADIUS_KM_UNKNOWN:.3f}"),
        (None, f"41.100000,-8.600000 {RADIUS_KM_MIN:.3f}"),
    ],
)
def test_the_circle_is_the_newest_place_and_as_wide_as_it_is_uncertain(fix: object, circle: str) -> None:
    for info in infos(parsed(alert(last_fix=fix))):
        area = info.find(f"{CAP}area")
        assert area is not None
        assert text(area, "circle") == circle


def test_without_any_place_there_is_no_area() -> None:
    root = parsed(alert(last_fix=None, place=None))
    assert all(info.find(f"{CAP}area") is None for info in infos(root))


def test_what_is_known_is_said_as_surely_as_it_is_known() -> None:
    def of(one: Alert, name: str) -> str:
        return text(infos(parsed(one))[0], name)

    assert (of(alert(), "certainty"), of(alert(is_verified=False), "certainty")) == ("Likely", "Possible")
    assert (of(alert(), "severity"), of(alert(severity=5), "severity")) == ("Severe", "Extreme")
    assert cap_time(0) == "1970-01-01T00:00:00-00:00"


cards = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["open", "acknowledged", "closed"]),
        "severity": st.integers(1, 5),
        "organisation": st.text(max_size=20),
        "region": st.text(max_size=20),
        "police_reference": st.none() | st.text(max_size=10),
        "last_fix": st.none() | st.just(CARD["last_fix"]),
        "place": st.none() | st.just(CARD["place"]),
    }
)


@pytest.fixture(scope="module")
def schema() -> XMLSchema:
    if not XSD.exists():
        pytest.skip(f"needs the schema of OASIS at {XSD} (set CLENZY_DATA to the folder of open data)")
    return XMLSchema(XSD)


@given(cards, st.booleans(), st.sampled_from([*sorted(SPOKEN_IN), "US"]), st.integers(0, 3))
def test_every_message_keeps_to_the_schema(
    schema: XMLSchema, card: Mapping[str, object], is_drill: bool, country: str, past: int
) -> None:
    before = [Message(f"a.{n}", cap_time(NOW_MS)) for n in range(past)]
    schema.validate(parsed(alert(*before, country=country, **{**card, **(DRILL if is_drill else {})})))


def test_the_schema_takes_the_published_example_and_refuses_what_breaks_it(schema: XMLSchema) -> None:
    schema.validate(XSD.with_name("cap_amber_alert_example.xml"))
    for spoil in ("status", "sent", "scope"):
        root = parsed(alert())
        node = root.find(CAP + spoil)
        assert node is not None
        node.text = "2023-11-14T22:13:20Z"
        assert not schema.is_valid(root), spoil
    root = parsed(alert())
    root.remove(next(root.iter(f"{CAP}sender")))
    assert not schema.is_valid(root)
