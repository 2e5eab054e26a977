"""Every reader reads files with changed bytes, or refuses them in one line: for a moment each."""

import pytest

from tests.faults.fuzz import READERS, fuzzed, has_what_it_needs

pytestmark = pytest.mark.fast


# Torch files need torch to be made: `make test-faults` fuzzes them where it is installed.
@pytest.mark.parametrize("name", filter(has_what_it_needs, READERS))
def test_changed_files_are_read_or_refused_in_a_line(name, tmp_path, caplog):
    outcome = fuzzed(name, 0.4, tmp_path)
    assert not outcome.failures
    assert outcome.read + outcome.refused
