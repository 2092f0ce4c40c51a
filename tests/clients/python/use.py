"""Uses the generated client as an application would.

Usage: use.py BASE ENDPOINT, with the generated package on the path. Hands in three events, all of which arrive.
"""

import sys
import time

from tidegate_client import Client
from tidegate_client.api.events import enqueue, show_event
from tidegate_client.api.policies import explain, list_policies, pause_policy, resume_policy, show_policy
from tidegate_client.api.throttling import (
    create_throttling_config,
    deploy_throttling_config,
    get_throttling_config,
)
from tidegate_client.models import (
    AcceptedLine,
    AdobeState,
    Event,
    EventHeaders,
    EventState,
    Explanation,
    PauseRequest,
    Policy,
    PolicyList,
    Problem,
    Receipt,
    RefusedLine,
    ThrottlingConfig,
)

BASE, ENDPOINT = sys.argv[1:]
# Variables of the machine that name a proxy must not change what is tested.
CLIENT = Client(base_url=BASE, httpx_args={"trust_env": False})


def eventually(what, ask):
    until = time.monotonic() + 20
    while not (answer := ask()):
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.05)
    return answer


def of(kind, answer):
    assert isinstance(answer, kind), f"{answer!r} is no {kind.__name__}"
    return answer


def deployed_config():
    """Creates and deploys a limit of Adobe's Throttling API."""
    config = ThrottlingConfig(name="orders", url_pattern=f"{ENDPOINT}/*", methods=["POST"], max_throughput=200)
    created = create_throttling_config.sync(client=CLIENT, body=config)
    assert created.can_deploy.validation_status == "ok", created
    deployed = deploy_throttling_config.sync_detailed(created.uid, client=CLIENT)
    assert deployed.status_code == 204, deployed
    shown = get_throttling_config.sync(created.uid, client=CLIENT).result
    assert shown.state == AdobeState.DEPLOYED and shown.max_throughput == 200.0, shown
    return created.uid


def enqueued(number):
    event = Event(url=f"{ENDPOINT}/orders", body={"n": number}, headers=EventHeaders.from_dict({"x-source": "shop"}))
    return of(Receipt, enqueue.sync(client=CLIENT, body=event))


def main():
    policy = deployed_config()
    known = of(PolicyList, list_policies.sync(client=CLIENT))
    assert [known.id for known in known.policies] == [policy], known

    first = enqueued(1)
    assert first.policies == [policy] and not first.forecast.expires_first, first
    settled = eventually("it is delivered", lambda: ended(first.id))
    assert settled.outcome == "delivered", settled

    paused = of(Policy, pause_policy.sync(policy, client=CLIENT, body=PauseRequest(reason="a rebuild", for_seconds=600)))
    assert paused.hold.reason == "a rebuild", paused
    second = enqueued(2)
    held = eventually("the pause holds it", lambda: held_by_pause(second.id))
    assert held.lane.name == second.lane and held.ahead == 0, held
    state = of(EventState, show_event.sync(second.id, client=CLIENT))
    assert state.url == f"{ENDPOINT}/orders" and state.attempts == 0, state
    resumed = of(Policy, resume_policy.sync(policy, client=CLIENT))
    assert resumed.hold is None, resumed
    eventually("it is delivered", lambda: ended(second.id))

    third = Event(url=f"{ENDPOINT}/orders", body={"n": 3})
    lines = enqueue.sync(client=CLIENT, body=[third, Event(url="ftp://shop")])
    accepted, refused = of(AcceptedLine, lines[0]), of(RefusedLine, lines[1])
    assert (refused.line, refused.code, refused.errors[0].pointer) == (2, "invalid_event", "/url"), refused
    eventually("it is delivered", lambda: ended(accepted.id))

    # One type for what goes wrong, whatever it is.
    unmatched = of(Problem, enqueue.sync(client=CLIENT, body=Event(url="http://shop.example/none")))
    missing = of(Problem, show_policy.sync("none", client=CLIENT))
    codes = (unmatched.status, unmatched.code, missing.status, missing.code)
    assert codes == (422, "unmatched", 404, "policy_not_found"), codes


def ended(event):
    state = of(EventState, show_event.sync(event, client=CLIENT))
    return state if state.state == "settled" else None


def held_by_pause(event):
    told = explain.sync(client=CLIENT, id=event)
    return told if isinstance(told, Explanation) and told.held.reason == "paused" else None


main()
