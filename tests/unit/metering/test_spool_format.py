"""The bytes of a spool: whatever happens to them, what can be read is read and nothing is made up."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from taximeter.ledger import Kind, Operation, SettleCode
from taximeter.metering.spool_format import MARK, Entry, Posted, decode, encode

FACTS = st.none() | st.text(max_size=200)
ENTRIES = st.builds(
    Entry,
    number=st.integers(1, 10**9),
    kept_at_ms=st.integers(0, 2**42),
    id=st.uuids(),
    kind=st.sampled_from([int(Kind.SETTLE), int(Kind.VOID)]),
    lane=st.integers(0, 63),
    amount_utok=st.integers(0, 10**15),
    code=st.sampled_from([int(code) for code in SettleCode]),
    fact=FACTS,
)
FILES = st.lists(ENTRIES, max_size=6, unique_by=lambda entry: entry.number)


def entry(number: int, fact: str = "{}") -> Entry:
    return Entry(number=number, kept_at_ms=1, id=UUID(int=number), kind=int(Kind.SETTLE), lane=0, amount_utok=5, code=0, fact=fact)


def test_an_operation_comes_back_whole() -> None:
    operation = Operation(id=UUID(int=7), kind=Kind.SETTLE, lane=3, amount_utok=11, code=SettleCode.NEVER_LATE, fact='{"receipt": "é\\u0000"}')
    back = decode(encode(Entry.of(1, 2, operation))).entries[1].operation()
    assert back == operation
    assert back.digest() == operation.digest()


@given(FILES)
def test_a_file_gives_back_what_was_written(entries: list[Entry]) -> None:
    contents = decode(b"".join(map(encode, entries)))
    assert list(contents.entries.values()) == entries
    assert (contents.torn, contents.damaged) == (False, 0)


@given(FILES, st.data())
def test_any_prefix_gives_a_prefix_of_the_entries(entries: list[Entry], data: st.DataObject) -> None:
    records = [encode(entry) for entry in entries]
    whole = b"".join(records)
    cut = data.draw(st.integers(0, len(whole)))
    contents = decode(whole[:cut])
    ends = [sum(map(len, records[: count + 1])) for count in range(len(records))]
    assert list(contents.entries.values()) == entries[: sum(end <= cut for end in ends)]
    assert contents.torn == (cut not in {0, *ends})
    assert contents.damaged == 0


@given(FILES.filter(bool), st.data())
def test_one_changed_byte_costs_at_most_its_own_entry_and_is_noticed(entries: list[Entry], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(encode, entries)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    contents = decode(bytes(whole))
    assert contents.torn or contents.damaged == 1
    assert len(contents.entries) == len(entries) - 1
    assert all(found in entries for found in contents.entries.values())


@given(st.binary(max_size=300))
def test_nonsense_is_read_without_complaint_and_holds_nothing(data: bytes) -> None:
    assert decode(data).entries == {}


def test_what_was_posted_is_not_waiting() -> None:
    contents = decode(encode(entry(1)) + encode(entry(2)) + encode(Posted(1)))
    assert list(contents.entries) == [2]


def test_space_that_was_reserved_and_never_written_is_a_torn_end() -> None:
    contents = decode(encode(entry(1)) + bytes(4096))
    assert (list(contents.entries), contents.torn, contents.damaged) == ([1], True, 0)


def test_a_damaged_middle_leaves_both_sides() -> None:
    middle = bytearray(encode(entry(2)))
    middle[20] ^= 0xFF
    contents = decode(encode(entry(1)) + bytes(middle) + encode(entry(3)))
    assert (list(contents.entries), contents.torn, contents.damaged) == ([1, 3], False, 1)


def test_a_mark_inside_a_fact_is_no_record() -> None:
    tricky = encode(entry(1, fact=MARK.decode("latin-1")))
    assert MARK not in tricky[len(MARK) :]
    assert list(decode(b"\0" + tricky).entries) == [1]
