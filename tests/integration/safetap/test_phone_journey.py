"""The whole way in two real roots: an alarm, a text message at the provider, its receipt, the reply that takes it."""

from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from clenzy.ports import any_free
from config.settings import Settings
from engine.people.tokens import AccessTokens
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, door_settings, open_door
from tests.integration.safetap.test_run_notify import notify_process
from tests.integration.safetap.world import World
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, open_twilio

PHONE = "+351910000077"
STEPS = [{"delay_s": 0, "notify": [{"target": "dispatchers", "channels": ["sms"]}]}]


async def test_a_text_message_arrives_and_its_reply_acknowledges(
    tmp_path: Path, database_url: str, token_keys: TokenKeys, world: World, tokens: AccessTokens,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await world.set_policy(steps=STEPS)
    await world.pool.execute("UPDATE person SET phone = $2 WHERE person_id = $1", world.dispatcher, PHONE)
    async with open_twilio() as twilio:
        chosen = {
            "phone_api_url": twilio.url,
            "phone_account": ACCOUNT,
            "phone_secret": SecretStr(SECRET),
            "phone_sender": NUMBER,
            "redis_url": SecretStr(f"redis://127.0.0.1:{any_free()}/0"),
        }
        settings: Settings = door_settings(tmp_path, database_url, token_keys.public_pem).model_copy(update=chosen)
        twilio.door_url = settings.safetap_url
        async with open_door(settings) as door, notify_process(settings):
            token = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
            status, _answer = await door.trigger(token, {"trigger_id": str(uuid4()), "kind": "button"})
            assert status == 200
            await twilio.has(1)
            (sent,) = twilio.messages
            assert sent.to == PHONE
            assert await twilio.tell(sent, "delivered") == 204
            assert (await twilio.text_in(PHONE, f"ACK {sent.code}"))[0] == 200
            incident = await world.incident()
    assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", world.dispatcher)
    events = await world.events()
    assert {"triggered", "step", "notified", "notice_delivered", "acknowledged", "notice_read"} <= set(events)
    printed = capsys.readouterr()
    assert PHONE not in printed.out + printed.err
    assert "910000077" not in printed.out + printed.err
