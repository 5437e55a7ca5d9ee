"""The gateway and two peers that keep no books, LiteLLM proxy and Portkey gateway, before the same mock upstream.

All run at the same time, each in processes of its own, and take turns within every round, in another order each round.
Every one answers the same plain chat completion.  How the peers are configured:

LiteLLM   its production page: LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, uvicorn with one worker for each gateway process of
          ours, no callbacks, no retries, no database, no Redis.  The key that it insists on is the master key, which it
          compares in memory.  Its list of prices is the one in the package.
Portkey   `gateway --headless` on Node with NODE_ENV=production: no console and no log; the mock is named by x-portkey-custom-host.
          It checks no key.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import uvloop

from bench import installs, load, mock_upstream, processes
from bench.contenders import Contender, Field, started
from bench.figures import Spread, Table, publish, spread, verdict
from bench.gateway import Race
from bench.passthrough import PATH
from bench.product import audit, folder

NAME = "peers"
LITELLM, PORTKEY, OURS = "litellm", "portkey", "taximeter"
LEFT_OUT = "no books"
GOALS = {LITELLM: 25.0, PORTKEY: 2.5}
GOAL_CONNECTIONS = 32
MODE = "plain"


@dataclass(frozen=True)
class Plan:
    """How long and how often; ``warm_up_s`` lets Node compile what is hot."""

    rounds: int
    seconds: float
    warm_up_s: float
    connections: tuple[int, ...] = (1, 8, 32)


FULL = Plan(rounds=5, seconds=3.0, warm_up_s=3.0)
QUICK = Plan(rounds=2, seconds=1.5, warm_up_s=1.0)


@dataclass(frozen=True)
class Peer(Contender):
    """Somebody else's gateway; ``headers`` tell it where to send."""

    headers: Mapping[str, str] = field(default_factory=dict)

    def target(self, mode: str) -> load.Target:
        """The same question, with this peer's headers."""
        body = super().target(mode).request.partition(b"\r\n\r\n")[2]
        return load.Target(self.port, load.post(PATH, body, self.key, self.headers))


@dataclass
class Contest:
    """What ran and what came out.

    Attributes:
        missing: peers that could not run, and why.
        resident_mb: by contender, the most memory that its processes had.
    """

    contenders: Sequence[Contender]
    missing: dict[str, str]
    race: Race = field(default_factory=Race)
    resident_mb: dict[str, float] = field(default_factory=dict)


@contextmanager
def opened(name: str, open_peer: Callable[[ExitStack], Peer], contest: Contest) -> Iterator[None]:
    """A peer that takes part for the duration of the block, or is missing from the contest."""
    with ExitStack() as stack:
        try:
            peer = open_peer(stack)
            asyncio.run(ask(peer))
            # Ours stays the last.
            contest.contenders = [*contest.contenders[:-1], peer, *contest.contenders[-1:]]
        except (installs.PeerUnavailable, load.LoadError, RuntimeError) as reason:
            # What has been started of it must not take the others' time.
            stack.close()
            contest.missing[name] = str(reason)
            print(f"  peers: {name} is left out: {reason}", file=sys.stderr, flush=True)
        yield


def open_litellm(stack: ExitStack, mock_port: int, workers: int) -> Peer:
    """LiteLLM proxy.  Raises PeerUnavailable, or RuntimeError when it does not start."""
    command = installs.litellm(installs.cache(os.environ))
    home = stack.enter_context(folder())
    upstream = {"model": f"openai/{mock_upstream.MODEL}", "api_base": f"http://127.0.0.1:{mock_port}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": mock_upstream.MODEL, "litellm_params": upstream}],
        "litellm_settings": {"callbacks": [], "num_retries": 0, "request_timeout": 600, "set_verbose": False},
    }
    # JSON is YAML.
    (home / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    key = f"sk-{secrets.token_hex(32)}"
    environ = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    port = processes.free_port()
    arguments = ["--config", str(home / "config.yaml"), "--host", "127.0.0.1", "--port", str(port), "--num_workers", str(workers)]
    process = stack.enter_context(processes.child(LITELLM, [str(command), *arguments], environ=environ))
    processes.await_port(LITELLM, process, port)
    about = f"LiteLLM proxy {installs.LITELLM_VERSION}: {workers} worker, no callbacks, no database"
    return Peer(LITELLM, about, port, key, tuple(processes.children_of(process.pid)))


def open_portkey(stack: ExitStack, mock_port: int) -> Peer:
    """Portkey gateway.  Raises PeerUnavailable, or RuntimeError when it does not start."""
    script = installs.portkey(installs.cache(os.environ))
    port = processes.free_port()
    command = [installs.program("node"), str(script), f"--port={port}", "--headless"]
    process = stack.enter_context(processes.child(PORTKEY, command, environ={"NODE_ENV": "production"}))
    processes.await_port(PORTKEY, process, port)
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{mock_port}/v1"}
    about = f"Portkey gateway {installs.PORTKEY_VERSION}: one Node process, headless"
    return Peer(PORTKEY, about, port, "none", tuple(processes.children_of(process.pid)), headers=headers)


async def ask(contender: Contender) -> None:
    """See that it passes on what the mock says.  Raises LoadError."""
    answer = await load.ask_once(contender.target(MODE))
    if mock_upstream.TEXT.encode() not in answer:
        message = f"{contender.name} answers {answer[:300]!r}"
        raise load.LoadError(message)


async def run(contest: Contest, plan: Plan) -> None:
    """Every contender at every number of connections, in every round."""
    race = contest.race
    for contender in contest.contenders:
        await ask(contender)
        warm = await load.measure(contender.target(MODE), 8, plan.warm_up_s)
        race.answers[contender.name] = 1 + warm.answers
    for number in range(plan.rounds):
        first = number % len(contest.contenders)
        for connections in plan.connections:
            for contender in [*contest.contenders[first:], *contest.contenders[:first]]:
                await race.turn(contender, MODE, connections, plan.seconds)
                sizes = [processes.resident_bytes(pid) or 0 for pid in contender.pids]
                contest.resident_mb[contender.name] = max(contest.resident_mb.get(contender.name, 0.0), sum(sizes) / 1e6)
        print(f"  peers: round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)


def ratio(race: Race, connections: int, name: str, other: str) -> Spread | None:
    """Answers a second of one against those of another, round by round; None where one did not run."""
    pairs = [race.cells.get((MODE, connections, one)) for one in (name, other)]
    if pairs[0] is None or pairs[1] is None:
        return None
    return spread(mine.rate / theirs.rate for mine, theirs in zip(pairs[0], pairs[1], strict=True))


def table(contest: Contest, plan: Plan) -> Table:
    """A row for each, also for those that could not run."""
    made = Table(
        f"Peers, plain answers: {plan.rounds} rounds of {plan.seconds} s",
        ("conns contender", "requests/s", "of litellm", "of portkey", "p50 ms", "p99 ms", "CPU us", "database us", "resident MB"),
    )
    for connections in plan.connections:
        made.rows += [_row(contest, connections, contender.name) for contender in contest.contenders]
        made.rows += [(f"{connections:>5} {name}", "did not run", *[""] * 7) for name in contest.missing]
    made.notes = (
        *_verdicts(contest, plan),
        *(f"{contender.name}: {contender.about}" for contender in contest.contenders),
        *(f"{name} did not run: {reason}" for name, reason in contest.missing.items()),
        f"CPU us: CPU time of the contender's own processes, and of its database, for one answer, on {os.cpu_count()} cores",
        "resident MB: the contender's own processes; for taximeter the gateway process alone, without supervisor, worker and database",
    )
    return made


def _row(contest: Contest, connections: int, name: str) -> Sequence[str]:
    race, key = contest.race, (MODE, connections, name)
    ratios = [ratio(race, connections, name, other) for other in (LITELLM, PORTKEY)]
    cpu = [[value for value in values if value] for values in zip(*((cell.cpu_us, cell.book_cpu_us) for cell in race.cells[key]), strict=True)]
    return (
        f"{connections:>5} {name}",
        race.spread(key, lambda cell: cell.rate).show(),
        *("" if found is None else "1" if name == other else found.show(2) for other, found in zip((LITELLM, PORTKEY), ratios, strict=True)),
        race.spread(key, lambda cell: cell.p50_ms).show(2),
        race.spread(key, lambda cell: cell.p99_ms).show(2),
        *(f"{spread(values).median:,.0f}" if values else "" for values in cpu),
        f"{contest.resident_mb[name]:,.0f}" if contest.resident_mb[name] else "",
    )


def _verdicts(contest: Contest, plan: Plan) -> Iterator[str]:
    at = GOAL_CONNECTIONS if GOAL_CONNECTIONS in plan.connections else plan.connections[-1]
    for peer, goal in GOALS.items():
        found = ratio(contest.race, at, OURS, peer)
        if found is None:
            yield f"goal at {at} connections, >= {goal:g} x {peer}: not measured"
            continue
        ours, theirs = (contest.race.spread((MODE, at, name), lambda cell: cell.p99_ms).median for name in (OURS, peer))
        yield verdict(f"at {at} connections, requests/s >= {goal:g} x {peer}", found.median, met=found.median >= goal)
        yield verdict(f"at {at} connections, p99 below {peer}'s {theirs:.1f} ms", ours, met=ours < theirs)


def contest_of(entered: Field) -> Contest:
    """The gateway benchmark's field without the gateway that keeps no books, ours last."""
    return Contest([contender for contender in entered.contenders if contender.name != LEFT_OUT], {})


def main() -> int:
    """Run, print, keep; exit code 1 when the books do not agree with what was answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    plan = QUICK if parser.parse_args().quick else FULL
    with ExitStack() as stack:
        entered = stack.enter_context(started())
        contest, mock_port = contest_of(entered), entered.contenders[0].port
        workers = len(entered.product.gateway_pids())
        stack.enter_context(opened(PORTKEY, lambda own: open_portkey(own, mock_port), contest))
        stack.enter_context(opened(LITELLM, lambda own: open_litellm(own, mock_port, workers), contest))
        uvloop.run(run(contest, plan))
        found = audit(entered.product, contest.race.answers[OURS])
    made = table(contest, plan)
    made.notes = (*made.notes, f"books: {found.sentence()}")
    cells = [{"connections": connections, "contender": name, "rounds": cells} for (_, connections, name), cells in contest.race.cells.items()]
    versions = {"litellm": installs.LITELLM_VERSION, "portkey": installs.PORTKEY_VERSION}
    facts = {"plan": plan, "versions": versions, "missing": contest.missing, "cells": cells, "resident_mb": contest.resident_mb, "audit": found}
    publish(NAME, [made], facts)
    return 0 if found.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
