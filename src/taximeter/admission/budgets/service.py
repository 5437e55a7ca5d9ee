"""Budgets' face: which bound a request, why one refused, and what operators do with them."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from taximeter.admission.budgets.errors import BudgetExceeded, BudgetExists, TooManyBudgets
from taximeter.admission.budgets.model import BUDGET_PREFIX, BUDGETS_MAX, BudgetState, NewBudget
from taximeter.admission.budgets.rules import check_end_user, check_limit, check_new, check_thresholds, refusal
from taximeter.admission.budgets.store import BudgetStore
from taximeter.admission.model import Ask
from taximeter.identity import Caller, terms
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import IdFactory, encode_id
from taximeter.kernel.texts import storable

END_USERS_KEPT = 10_000
Bounds: TypeAlias = tuple[terms.Budget, ...]
_Asked: TypeAlias = tuple[UUID, str, int]


class Budgets:
    """One for each process.

    Which budgets bound a key comes with the verdict on it.  Those of end users are looked up, and opened, when a request names one
    for the first time; what was found is kept as long as the project's budgets for end users stay as they are.
    """

    def __init__(self, store: BudgetStore, ids: IdFactory) -> None:
        self._store = store
        self._ids = ids
        self._known: OrderedDict[_Asked, Bounds] = OrderedDict()
        self._running: dict[_Asked, asyncio.Task[Bounds]] = {}

    async def bounding(self, ask: Ask) -> Bounds:
        """The budgets that a request is held on.

        Asks the database only for an end user that this process does not know.  Raises InvalidRequest for a ``user`` under which no
        budget can be kept.
        """
        found = ask.caller.terms.budgets
        bounds = tuple(bound for bound in found if bound.account)
        if len(bounds) == len(found) or not ask.end_user:
            return bounds
        check_end_user(ask.end_user, "user")
        stamp = next(bound.stamp for bound in found if not bound.account)
        asked = (ask.caller.project_id, storable(ask.end_user), stamp)
        known = self._known.get(asked)
        if known is None:
            known = await self._look_up(asked)
        else:
            self._known.move_to_end(asked)
        return bounds + known

    async def refusal(self, bounds: Bounds, maximum_utok: int, available_utok: int) -> BudgetExceeded | None:
        """Why a hold on these budgets was refused; None: the wallet did not have enough (see ``rules.refusal``)."""
        hard = [UUID(bound.id) for bound in bounds if bound.hard]
        return refusal(await self._store.now(hard), maximum_utok, available_utok) if hard else None

    async def create(self, new: NewBudget) -> BudgetState:
        """A new budget; it counts from now on.

        Raises InvalidRequest for one that cannot be, NotFound for an unknown owner, BudgetExists, TooManyBudgets.
        """
        budget_id, is_new = await self._make(new)
        if not is_new:
            message = f"There is such a budget: change {encode_id(BUDGET_PREFIX, budget_id)} or remove it."
            raise BudgetExists(message)
        return await self._rolled(budget_id)

    async def put(self, new: NewBudget) -> BudgetState:
        """A new budget, or this limit and these thresholds for the one of its kind that there is.  Raises as ``create`` does."""
        budget_id, is_new = await self._make(new)
        return await (self._rolled(budget_id) if is_new else self.change(budget_id, new.limit_utok, new.thresholds))

    async def create_beside(self, connection: Any, new: NewBudget) -> None:  # noqa: ANN401 - the caller's transaction
        """A new budget in the transaction that makes what it bounds.  Raises as ``create`` does."""
        await self._make(new, connection)

    async def change(self, budget_id: UUID, limit_utok: int | None, thresholds: Sequence[int] | None) -> BudgetState:
        """Another limit or other thresholds, for what is used already too; None leaves what it has.

        Raises NotFound, and InvalidRequest for a limit or thresholds that cannot be.
        """
        if limit_utok is not None:
            check_limit(limit_utok)
        if thresholds is not None:
            check_thresholds(thresholds)
        if not await self._store.change(budget_id, limit_utok, thresholds):
            raise _no_budget()
        return await self._rolled(budget_id)

    async def remove(self, budget_id: UUID) -> BudgetState:
        """Let it bound no new request; gateways see it within a second.  Raises NotFound."""
        if not await self._store.remove(budget_id):
            raise _no_budget()
        (state,) = await self._store.now([budget_id])
        return state

    async def budget(self, budget_id: UUID) -> BudgetState:
        """One budget, a removed one too.  Raises NotFound."""
        found = await self._store.now([budget_id])
        if not found:
            raise _no_budget()
        return found[0]

    async def budgets(self, owners: Sequence[UUID | None], end_user: str | None, after: UUID | None, limit: int) -> list[BudgetState]:
        """Those of an organisation, a project and a key (None: any), newest first; with an end user, his alone."""
        return await self._store.find(owners, end_user, after, limit)

    async def of_caller(self, caller: Caller, end_user: str | None) -> list[BudgetState]:
        """Those that bound a caller's requests, and those that name this end user."""
        return await self._store.bounding((caller.organisation_id, caller.project_id, caller.key_id), end_user)

    async def _rolled(self, budget_id: UUID) -> BudgetState:
        """A budget that was made or changed, with its account brought to its limit: the next hold would do it."""
        (state,) = await self._store.now([budget_id])
        await self._store.roll(state.lane, [budget_id])
        return state

    async def _make(self, new: NewBudget, connection: Any = None) -> tuple[UUID, bool]:  # noqa: ANN401
        """The budget's id, and whether it is new."""
        check_new(new)
        outcome, found = await self._store.make(self._ids.new(), new, BUDGETS_MAX, connection)
        if outcome == "no_owner":
            message = f"There is no {'project' if new.scope == 'end_user' else new.scope} with this id."
            raise NotFound(message)
        if outcome == "too_many":
            message = f"With this budget a request could be bounded by more than {BUDGETS_MAX}; remove one of the others first."
            raise TooManyBudgets(message)
        assert found is not None
        return found, outcome == "made"

    async def _look_up(self, asked: _Asked) -> Bounds:
        """One question at a time about an end user; who goes away does not take it from the others."""
        task = self._running.get(asked)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._open(asked))
            self._running[asked] = task
            task.add_done_callback(lambda done: self._finished(asked, done))
        return await asyncio.shield(task)

    async def _open(self, asked: _Asked) -> Bounds:
        project_id, end_user, _ = asked
        found = await self._store.open_for(project_id, end_user)
        while len(self._known) >= END_USERS_KEPT:
            self._known.popitem(last=False)
        self._known[asked] = found
        return found

    def _finished(self, asked: _Asked, task: asyncio.Task[Bounds]) -> None:
        del self._running[asked]
        if not task.cancelled():
            task.exception()  # Everybody who asked may be gone; asyncio would then complain that nobody looked.


def _no_budget() -> NotFound:
    return NotFound("There is no budget with this id, or it was removed.")
