"""An incident as a CAP 1.2 message, for authorities and centres that take alerts in (OASIS CAP-v1.2, 2010). Pure.

Source: https://docs.oasis-open.org/emergency/cap/v1.2/CAP-v1.2-os.html. A message never changes: what is sent later
is an `Update` or a `Cancel` that names those before it. A drill's status is `Exercise`, and every text of it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
RADIUS_KM_MIN: Final = 0.05
RADIUS_KM_UNKNOWN: Final = 0.5
"""The circle around a place of unknown accuracy."""
SEVERE_FROM: Final = 3
"""An incident of this severity is `Extreme`."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an incident that was sent before."""

    identifier: str
    sent: str


@dataclass(frozen=True, slots=True)
class Words:
    """What is said in one language."""

    language: str
    event: str
    drill: str
    over: str
    instruction: str
    unknown_place: str


ENGLISH: Final = Words(
    "en", "Personal safety alarm", "DRILL, nobody is in danger: ", "The alarm is over: ",
    "Silent alarm: do not ring the person or the door bell. Call the organisation.", "place unknown",
)  # fmt: skip
PORTUGUESE: Final = Words(
    "pt", "Alarme de segurança pessoal", "EXERCÍCIO, ninguém está em perigo: ", "O alarme terminou: ",
    "Alarme silencioso: não telefone à pessoa nem toque à campainha. Contacte a organização.", "local desconhecido",
)  # fmt: skip
GERMAN: Final = Words(
    "de", "Persönlicher Notfallalarm", "ÜBUNG, für niemanden besteht Gefahr: ", "Alarm beendet: ",
    "Stiller Alarm: die Person nicht anrufen und nicht klingeln. Die Organisation anrufen.", "Ort unbekannt",
)  # fmt: skip
SPANISH: Final = Words(
    "es", "Alarma de seguridad personal", "SIMULACRO, nadie está en peligro: ", "La alarma ha terminado: ",
    "Alarma silenciosa: no llame a la persona ni al timbre. Llame a la organización.", "lugar desconocido",
)  # fmt: skip
FRENCH: Final = Words(
    "fr", "Alarme de sécurité personnelle", "SIMULATION, personne n'est en danger : ", "L'alarme est terminée : ",
    "Alarme silencieuse : n'appelez pas la personne et ne sonnez pas. Appelez l'organisation.", "lieu inconnu",
)  # fmt: skip
SPOKEN_IN: Final[Mapping[str, Words]] = {
    "PT": PORTUGUESE, "BR": PORTUGUESE, "DE": GERMAN, "ES": SPANISH, "FR": FRENCH, "CA": FRENCH,
}  # fmt: skip
"""What is spoken where, beside English, in which every message is written as well."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What a message is made of. `card` is the incident's call card, `sent_at_ms` Unix milliseconds."""

    card: Mapping[str, object]
    sender: str
    country_code: str
    is_verified: bool
    sent_at_ms: int
    before: Sequence[Message]


def next_message(alert: Alert) -> Message:
    """Return what names the message: its number among the incident's, and its time."""
    return Message(f"{alert.card['incident_id']}.{len(alert.before) + 1}", cap_time(alert.sent_at_ms))


def cap_time(at_ms: int) -> str:
    """Return a time as CAP writes it: whole seconds, and `-00:00` for UTC (3.2.1)."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")


def cap_xml(alert: Alert) -> bytes:
    """Return the message."""
    named, card = next_message(alert), alert.card
    root = Element("alert", xmlns=NAMESPACE)
    is_over = card["state"] == "closed"
    _add(root, "identifier", named.identifier)
    _add(root, "sender", alert.sender)
    _add(root, "sent", named.sent)
    _add(root, "status", "Exercise" if card["is_drill"] else "Actual")
    _add(root, "msgType", "Alert" if not alert.before else "Cancel" if is_over else "Update")
    _add(root, "scope", "Restricted")
    _add(root, "restriction", "For emergency services and monitoring centres only.")
    if card["is_drill"]:
        _add(root, "note", ENGLISH.drill + str(card["warning"]))
    if alert.before:
        _add(root, "references", " ".join(f"{alert.sender},{one.identifier},{one.sent}" for one in alert.before))
    _add(root, "incidents", str(card["incident_id"]))
    local = SPOKEN_IN.get(alert.country_code)
    for words in (ENGLISH, *([] if local is None else [local])):
        _add_info(root, alert, words, is_over=is_over)
    body: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body


def _add_info(root: Element, alert: Alert, words: Words, *, is_over: bool) -> None:
    card, info = alert.card, SubElement(root, "info")
    severity = card["severity"]
    assert isinstance(severity, int)
    mark = words.drill if card["is_drill"] else ""
    _add(info, "language", words.language)
    _add(info, "category", "Security")
    _add(info, "category", "Rescue")
    _add(info, "event", mark + words.event)
    _add(info, "responseType", "AllClear" if is_over else "Assess")
    _add(info, "urgency", "Past" if is_over else "Immediate")
    _add(info, "severity", "Extreme" if severity >= SEVERE_FROM else "Severe")
    _add(info, "certainty", "Likely" if alert.is_verified else "Possible")
    _add(info, "onset", cap_time(_ms(card["opened_at"])))
    _add(info, "senderName", str(card["organisation"]))
    _add(info, "headline", mark + (words.over if is_over else "") + words.event)
    _add(info, "description", mark + "\n".join(_description(card, words)))
    _add(info, "instruction", mark + words.instruction)
    for name in ("kind", "severity", "police_reference"):
        if card[name] is not None:
            parameter = SubElement(info, "parameter")
            _add(parameter, "valueName", name)
            _add(parameter, "value", str(card[name]))
    _add_area(info, card, words)


def _description(card: Mapping[str, object], words: Words) -> list[str]:
    people = card["people"]
    assert isinstance(people, Sequence)
    lines = [f"{person['name']} ({person['role']})" for person in people if person["called_for_help"]]
    lines.append(_place_text(card) or words.unknown_place)
    fix = card["last_fix"]
    if isinstance(fix, Mapping):
        lines.append(f"{fix['lat']:.6f}, {fix['lng']:.6f} ({fix['at']})")
    return lines


def _add_area(info: Element, card: Mapping[str, object], words: Words) -> None:
    fix, place = card["last_fix"], card["place"]
    centre = fix if isinstance(fix, Mapping) else place
    if not isinstance(centre, Mapping):
        return
    area = SubElement(info, "area")
    _add(area, "areaDesc", _place_text(card) or words.unknown_place)
    accuracy_m = centre.get("accuracy_m") if centre is fix else 0.0
    radius_km = RADIUS_KM_UNKNOWN if accuracy_m is None else max(RADIUS_KM_MIN, float(accuracy_m) / 1000)
    _add(area, "circle", f"{centre['lat']:.6f},{centre['lng']:.6f} {radius_km:.3f}")


def _place_text(card: Mapping[str, object]) -> str:
    place = card["place"]
    if not isinstance(place, Mapping):
        return str(card["region"])
    parts = (place["line"], place["floor"], place["entry_notes"], card["region"])
    return ", ".join(str(part) for part in parts if part)


def _ms(text: object) -> int:
    return int(datetime.fromisoformat(str(text)).timestamp() * 1000)


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = "".join(sign for sign in text if sign == "\n" or sign.isprintable())
