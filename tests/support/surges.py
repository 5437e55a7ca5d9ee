"""A surge price as the leading worker would have set it."""

from taximeter.admission.surge import Board, Policy, Sample, State
from taximeter.admission.surge.model import Current
from taximeter.admission.surge.store import LeaderStore
from taximeter.db.pool import connect_app
from taximeter.metering import Office


async def set_price(
    office: Office, engine: str, factor_pct: int, load_bp: int | None = 9_500, policy: Policy | None = None, good_s: float = 60.0
) -> None:
    """Write a price down, with its audit, and let this office see it at once; others see it when they read again."""
    connection = await connect_app(office.settings.database_url)
    try:
        store = LeaderStore(connection)
        now_ms = await store.now_ms()
        known = (await store.read()).get(engine)
        before = known or Current(
            engine=engine,
            policy=policy or Policy(),
            state=State(),
            load_bp=None,
            reason="",
            source="a test",
            change=0,
            changes=0,
            surplus_utok=0,
            left_s=0.0,
        )
        smoothed = None if load_bp is None else load_bp * 100
        state = State(factor_pct=factor_pct, smoothed_ppm=smoothed, followed_ppm=smoothed or 0, known_ms=now_ms, decided_ms=now_ms, since_ms=now_ms)
        await store.write(before, state, Sample(load_bp), good_s)
    finally:
        await connection.close()
    office.desk.surge = Board(office.desk.clock, await office.surge.read())
