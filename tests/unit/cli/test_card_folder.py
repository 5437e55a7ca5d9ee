"""Reading a model's folder."""

from pathlib import Path

import pytest

from taximeter.cli.cards.folder import read_folder
from taximeter.kernel.errors import InvalidRequest


def test_a_number_with_more_digits_than_python_reads_is_refused_by_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": ' + "9" * 5000 + "}")
    with pytest.raises(InvalidRequest, match=r"config\.json"):
        read_folder(tmp_path)
